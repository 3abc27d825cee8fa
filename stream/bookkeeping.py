"""What a partition remembers of itself beside its members, in the same state and changelog.

`\0applied`: everything up to this position is applied, how far the partition's clock was, and which topic the events
came from. (A member's own position can't say that of a member who was deleted and forgotten.)
`\0scored`: which models and predictors all members of the partition have been scored with; not today's: rescore. And up
to which offset of the models' log that was: lists that had ended by then are withdrawn.

Format: u8 schema · i64 written_at (all state values begin so, see stream/state_store.py) · then of `\0applied` i64
position · i64 clock_ms · the topic's id, 16 bytes or none; of `\0scored` u64 fingerprint
· i64 offset (left out by the first release).
Schema 1, still read: written_at was the position, and nothing was known of the topic.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from models.position import NOWHERE, position_of, split_position

APPLIED = b"\0applied"
SCORED = b"\0scored"
_SCHEMA = 2
_APPLIED = struct.Struct("<Bqqq")
_APPLIED_1 = struct.Struct("<Bqq")
_SCORED = struct.Struct("<BqQq")
_SCORED_1 = struct.Struct("<BqQ")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition is: the last applied position, the latest event time (ms), the id of the topic if known."""

    position: int = NOWHERE
    clock_ms: int = 0
    topic_id: bytes = b""

    @property
    def epoch(self) -> int:
        return split_position(self.position + 1)[0]

    @property
    def next_offset(self) -> int:
        """The first offset of the epoch that isn't applied yet."""
        return split_position(self.position + 1)[1]

    def encode(self, written_at: int) -> bytes:
        return _APPLIED.pack(_SCHEMA, written_at, self.position, self.clock_ms) + self.topic_id


def begin_epoch(progress: Progress, epoch: int, topic_id: bytes) -> Progress:
    """Return the progress of a partition that nothing of the epoch's topic has been applied to yet."""
    return Progress(position_of(epoch, -1), progress.clock_ms, topic_id)


def decode_progress(data: bytes | None) -> Progress:
    """Return the progress of stored bytes; of none, the beginning."""
    if data is None:
        return Progress()
    if data[0] == 1:
        _, position, clock_ms = _APPLIED_1.unpack(data)
        return Progress(position, clock_ms)
    _, _, position, clock_ms = _APPLIED.unpack_from(data)
    return Progress(position, clock_ms, data[_APPLIED.size :])


class Mark(NamedTuple):
    """A partition's `\0scored`: the publication's fingerprint, and its offset in the models' log; -1: not known."""

    fingerprint: int | None = None
    offset: int = -1


def encode_mark(written_at: int, fingerprint: int, offset: int) -> bytes:
    return _SCORED.pack(_SCHEMA, written_at, fingerprint, offset)


def decode_mark(data: bytes | None) -> Mark:
    """Return the mark of stored bytes; of none, one that fits no publication."""
    if data is None:
        return Mark()
    if len(data) == _SCORED_1.size:
        return Mark(_SCORED_1.unpack(data)[2])
    return Mark(*_SCORED.unpack(data)[2:])
