"""The write position of what is stored: how far its partition had been applied when it was written.

Law: an owner's write positions never go down, and compaction keeps their order. So a changelog record with a lower one
than a record before it comes from a worker that had lost its partition (paused, then woken). It is refused, and
reported.

Value: byte 0 = schema number, bytes 1..8 = write position (little-endian int64), the rest belongs to the pipeline. A
record that deletes has the write position in its header `written_at`, as the same eight bytes. Values of schema 1 had
another number there, and deletions had none. Such records are taken as they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Protocol

WRITTEN_AT = Struct("<q")
_PREFIX_BYTES = 9
#: Header of a changelog record that deletes.
WRITTEN_AT_HEADER = "written_at"


class ChangelogRecord(Protocol):
    """The part of aiokafka's ConsumerRecord that recovery reads."""

    key: bytes
    value: bytes | None
    offset: int
    headers: Sequence[tuple[str, bytes]]


def write_position(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> int | None:
    """Return the write position of a changelog record; None if it was written before there were any.

    Raises ValueError if the value is too short for one.
    """
    if value is None:
        return next((int(WRITTEN_AT.unpack(data)[0]) for name, data in headers if name == WRITTEN_AT_HEADER), None)
    if len(value) < _PREFIX_BYTES:
        raise ValueError(f"a state value has at least {_PREFIX_BYTES} bytes, this one has {len(value)}")
    return None if value[0] == 1 else int(WRITTEN_AT.unpack_from(value, 1)[0])


def deletion_headers(written_at: int) -> list[tuple[str, bytes]]:
    """Return the headers of a changelog record that deletes."""
    return [(WRITTEN_AT_HEADER, WRITTEN_AT.pack(written_at))]


def rewritten(value: bytes, written_at: int) -> bytes:
    """Return a stored value as written at another position."""
    return value[:1] + WRITTEN_AT.pack(written_at) + value[_PREFIX_BYTES:]


def judge(records: Sequence[ChangelogRecord], highest: int) -> tuple[dict[bytes, bytes | None], set[bytes], int]:
    """Return key → its last value among records that an owner wrote; keys whose last record isn't one; the new highest.

    `highest`: the highest write position before these records.
    """
    latest: dict[bytes, bytes | None] = {}
    refused: set[bytes] = set()
    for record in records:
        position = write_position(record.value, record.headers)
        if position is not None:
            if position < highest:
                refused.add(record.key)
                continue
            highest = position
        latest[record.key] = record.value
        refused.discard(record.key)
    return latest, refused, highest
