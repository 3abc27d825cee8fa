"""What a partition remembers about itself, beside its members, in the same state and changelog.

`\0applied`: everything up to this position is applied; how far the partition's clock was; from which topic the events
came. (Once a member is deleted and forgotten, its own position can't say what was applied.)

`\0scored`, the mark: with which models and predictors all members of the partition have been scored. If they aren't
today's, members are scored again. It also holds the offset of the models' log up to which that goes: lists that had
ended by then are withdrawn. The mark is right at any moment. A write of a member that is scored with other models voids
it in the same write, ahead of the member (`voiding`). Otherwise a worker whose models are older by some seconds could
write members, and a worker that finds its own models in the mark would not look.

`\0level`: once, all was applied that the partition's topic held (members/level.py).

Format: u8 schema · i64 written_at (all state values begin so, see write_position.py) · then
- of `\0applied`: i64 position · i64 clock_ms · the topic's id, 16 bytes or none
- of `\0scored`: u64 fingerprint · i64 offset (left out by the first release)
- of `\0level`: nothing more; the key alone says it.

Schema 1 is still read: there written_at was the position, and nothing was known about the topic. A later schema is
refused. Neither value may grow, because the topic's id is all that stands at the end. What else a version wants to
remember gets a key of its own, which versions before it store and don't look at (docs/upgrades.md).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from memberstream.models.member import newer
from memberstream.models.position import NOWHERE, position_of, split_position

APPLIED = b"\0applied"
SCORED = b"\0scored"
LEVEL = b"\0level"
_SCHEMA = 2
_APPLIED = struct.Struct("<Bqqq")
_APPLIED_1 = struct.Struct("<Bqq")
_SCORED = struct.Struct("<BqQq")
_SCORED_1 = struct.Struct("<BqQ")
_LEVEL = struct.Struct("<Bq")
_VOID = 0  # in place of a fingerprint: an older version takes it for one that isn't its own


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition is: the last applied position, the latest event time (ms), the topic's id if known."""

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
    """Return the progress of a partition to which nothing of the epoch's topic has been applied yet."""
    return Progress(position_of(epoch, -1), progress.clock_ms, topic_id)


def decode_progress(data: bytes | None) -> Progress:
    """Return the progress of stored bytes; without any, that of the beginning."""
    if data is None:
        return Progress()
    if data[0] == 1:
        _, position, clock_ms = _APPLIED_1.unpack(data)
        return Progress(position, clock_ms)
    _refuse_newer(APPLIED, data)
    _, _, position, clock_ms = _APPLIED.unpack_from(data)
    return Progress(position, clock_ms, data[_APPLIED.size :])


class Mark(NamedTuple):
    """A partition's `\0scored`: the publication's fingerprint, and its offset in the models' log; -1: not known.

    Without a fingerprint it is void: nobody knows whether all members are scored with one publication.
    """

    fingerprint: int | None = None
    offset: int = -1


def encode_mark(written_at: int, fingerprint: int, offset: int) -> bytes:
    return _SCORED.pack(_SCHEMA, written_at, fingerprint, offset)


def encode_level(written_at: int) -> bytes:
    return _LEVEL.pack(_SCHEMA, written_at)


def decode_mark(data: bytes | None) -> Mark:
    """Return the mark of stored bytes; without any, one that fits no publication."""
    if data is None:
        return Mark()
    if len(data) == _SCORED_1.size:
        return Mark(_SCORED_1.unpack(data)[2])
    _refuse_newer(SCORED, data)
    _, _, fingerprint, offset = _SCORED.unpack(data)
    return Mark(None if fingerprint == _VOID else fingerprint, offset)


def voiding(data: bytes | None, fingerprint: int, written_at: int) -> list[tuple[bytes, bytes]]:
    """Return what must be written ahead of members scored with a publication; nothing if the stored mark fits."""
    mark = decode_mark(data)
    is_allowed = mark.fingerprint is None or mark.fingerprint == fingerprint
    return [] if is_allowed else [(SCORED, encode_mark(written_at, _VOID, mark.offset))]


def _refuse_newer(key: bytes, data: bytes) -> None:
    if data[0] > _SCHEMA:
        raise newer(f"a partition's `{key[1:].decode()}`", data[0], _SCHEMA)
