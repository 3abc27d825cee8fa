"""What a partition remembers of itself beside its members, in the same state and changelog.

`\\0applied`: everything up to this offset is applied, and how far the partition's clock was. (A member's own offset
can't say that of a member who was deleted and forgotten.)
`\\0scored`: which models and predictors all members of the partition have been scored with; not today's: rescore.

Format: u8 schema · i64 offset (state values begin so, see stream/state_store.py) · i64 clock_ms or u64 fingerprint.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

APPLIED = b"\0applied"
SCORED = b"\0scored"
_SCHEMA = 1
_APPLIED = struct.Struct("<Bqq")
_SCORED = struct.Struct("<BqQ")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition is: the last applied offset (-1: none), and the latest event time, ms."""

    offset: int = -1
    clock_ms: int = 0

    def encode(self) -> bytes:
        return _APPLIED.pack(_SCHEMA, self.offset, self.clock_ms)


def decode_progress(data: bytes | None) -> Progress:
    """Return the progress of stored bytes; of none, the beginning."""
    if data is None:
        return Progress()
    _, offset, clock_ms = _APPLIED.unpack(data)
    return Progress(offset, clock_ms)


def encode_scored(offset: int, fingerprint: int) -> bytes:
    return _SCORED.pack(_SCHEMA, offset, fingerprint)


def decode_scored(data: bytes | None) -> int | None:
    """Return the fingerprint of stored bytes."""
    return None if data is None else int(_SCORED.unpack(data)[2])
