"""How members' records and counts are stored, and what makes them valid after a crash.

Laws:
- A batch's records and counts are written one by one, then how far the partition is counted. Only this last write makes
  them valid. Each says at which position its batch ends, so that a crash in between counts nothing twice and loses
  nothing. A record beyond what is counted carries what is still to be added, and the replay adds it (`outstanding`). A
  count beyond what is counted isn't valid. It carries the count before it, and that one is (`counts_at`).
- The attributes of a record up to `added` are those of the version before, which reads them, and leaves out the rest.
  Counts have a key of their own, at which that version doesn't look. So it can take over, and come back
  (docs/upgrades.md).

Format: u8 "E" · i64 written_at (all state values have it, see stream/faust_batch/store.py) · the attributes of
`Engagement` in their order as a MessagePack array. Of a count: u8 "T" · i64 written_at · i64 position at which its
batch ended · the tally as text · line feed · the tally before that batch as text. Keys of counts: a byte, the campaign,
a space, `field_of` the cell.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple, cast

import msgspec

from memberstream.models.counts import (
    NOTHING,
    AnyCell,
    AnyTally,
    Cell,
    Changes,
    Tally,
    cell_of,
    field_of,
    tally_of,
    text_of,
)
from memberstream.models.engagement import Engagement
from memberstream.models.member import StateError
from memberstream.models.old_counts import OldCell, OldTally, old_cell_of, old_tally_of
from memberstream.models.packed import pack

_PREFIX = struct.Struct("<cq")
_PREFIX_SIZE = _PREFIX.size
_CELL_PREFIX = struct.Struct("<cqq")
_RECORD, _TALLY = b"E", b"T"
#: Begin the keys of counts: by the rules before, and by those of now. No member id begins so (it is printable), and the
#: counts stand before the members.
OLD_CELL_PREFIX, CELL_PREFIX = b"\x01", b"\x02"
CELL_PREFIXES = (OLD_CELL_PREFIX, CELL_PREFIX)

_unpack = msgspec.msgpack.Decoder(Engagement).decode
_unpack_owed = msgspec.msgpack.Decoder(list[tuple[Cell, Tally | str]]).decode


def outstanding(record: Engagement, counted_to: int) -> Changes:
    """Return what a record has added and the counts, written up to a position, still lack. Otherwise drop it."""
    if record.counted_at <= counted_to:
        record.added, record.owed = [], b""
        return {}
    found: Changes = {old_cell_of(campaign, field): tally for campaign, field, tally in record.added}
    owed = _unpack_owed(record.owed) if record.owed else []
    return found | {cell: tally_of(tally) if isinstance(tally, str) else tally for cell, tally in owed}


def owe(record: Engagement, changes: Changes) -> None:
    """Note in a record what its batch adds to the counts."""
    owed = list(changes.items())
    record.added = []
    if OldCell in map(type, changes):  # of a batch that the version before began
        record.added = [(its.campaign, field_of(its), cast(OldTally, n)) for its, n in owed if type(its) is OldCell]
        owed = [item for item in owed if type(item[0]) is Cell]
    try:
        record.owed = pack(owed)
    except OverflowError:  # a sum, or its square, that MessagePack doesn't take as a number
        record.owed = pack([(cell, text_of(tally)) for cell, tally in owed])


def encode(record: Engagement, written_at: int) -> bytes:
    """Return a record's bytes."""
    return _PREFIX.pack(_RECORD, written_at) + pack(record)


def decode(data: bytes) -> Engagement:
    """Return the record of `encode`'s bytes.

    Raises:
        StateError: other or damaged bytes.
    """
    try:
        if not data.startswith(_RECORD):
            raise StateError(f"a member's interactions: expected a record of kind {_RECORD!r}, found {data[:1]!r}")
        return _unpack(data[_PREFIX_SIZE:])
    except msgspec.MsgspecError as error:
        raise StateError(f"a member's interactions: damaged bytes ({error})") from None


class Count(NamedTuple):
    """A count in the state: the tally, the position at which its batch ended, and the tally before that batch."""

    tally: AnyTally
    counted_at: int
    before: AnyTally


def counts_at(counts: Mapping[AnyCell, Count], counted_to: int) -> tuple[Changes, dict[AnyCell, AnyTally | None]]:
    """Return the counts that hold when a partition is counted up to a position; and those that must be corrected.

    None: the cell is to be removed. Nothing more may be counted until the corrections are written. Otherwise, once the
    partition has passed the end of the batch that was cut short, what that batch left behind would look valid.
    """
    valid: Changes = {}
    wrong: dict[AnyCell, AnyTally | None] = {}
    for cell, (tally, counted_at, before) in counts.items():
        if counted_at <= counted_to:
            valid[cell] = tally
        elif not any(before):
            wrong[cell] = None
        else:
            wrong[cell] = valid[cell] = before
    return valid, wrong


def nothing_of(cell: AnyCell) -> AnyTally:
    """Return the tally of a cell that counts nothing yet."""
    return NOTHING if isinstance(cell, Cell) else OldTally()


def cell_key(cell: AnyCell) -> bytes:
    """Return the key of a count in the state."""
    prefix = CELL_PREFIX if isinstance(cell, Cell) else OLD_CELL_PREFIX
    return prefix + f"{cell.campaign} {field_of(cell)}".encode()


def encode_count(count: Count, written_at: int) -> bytes:
    """Return the bytes of a count."""
    texts = f"{text_of(count.tally)}\n{text_of(count.before)}"
    return _CELL_PREFIX.pack(_TALLY, written_at, count.counted_at) + texts.encode()


def decode_count(key: bytes, value: bytes) -> tuple[AnyCell, Count]:
    """Return the count of a cell's key and value. Raises StateError."""
    try:
        campaign, _, field = key[1:].decode().partition(" ")
        kind, _, counted_at = _CELL_PREFIX.unpack_from(value)
        if kind != _TALLY:
            raise ValueError(f"found kind {kind!r}")
        tally, before = value[_CELL_PREFIX.size :].decode().split("\n")
        if key.startswith(CELL_PREFIX):
            return cell_of(campaign, field), Count(tally_of(tally), counted_at, tally_of(before))
        return old_cell_of(campaign, field), Count(old_tally_of(tally), counted_at, old_tally_of(before))
    except (ValueError, struct.error) as error:
        raise StateError(f"a count in the state: damaged bytes ({error})") from None
