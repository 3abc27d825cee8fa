"""A record on its way into a topic for which it may be too large: whole whenever it fits, otherwise cut and marked so.

Laws:
- A record is written byte for byte as it came, whatever the names of its headers (stream/kafka/any_record.py).
- A record that doesn't fit is compressed. If it still doesn't fit, it is cut: first the value (its first bytes stay),
  then headers (the first of them stay), then the key. The sender's own headers, behind the others, are never cut.
- A cut record says so. The header `cut` names the parts that were cut. For each part there is its full length or
  number, and for key and value the SHA-256 of the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

NONE, ZSTD = _DefaultRecordBatchBuilderPy.CODEC_NONE, _DefaultRecordBatchBuilderPy.CODEC_ZSTD
_FRAME = 128  # of a batch of one record: its header, the record's own, the lengths of key and value
_HEADER_FRAME = 10  # two lengths, of five bytes at most
_MARKS = 400  # all marks together, names and frames included
_LEAST = 512  # for the first bytes of a value, however many headers there are

Headers = Sequence[tuple[str, bytes | None]]


class Outgoing(NamedTuple):
    """A record to be written.

    Attributes:
        headers: those that it came with.
        added: those of its sender.
        at_ms: its timestamp; None: when it is written.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    added: Headers
    at_ms: int | None = None

    @property
    def n_bytes(self) -> int:
        """The size of a batch with this record alone, at most."""
        return _FRAME + len(self.key or b"") + len(self.value or b"") + _size(self.headers) + _size(self.added)


class Batch:
    """A batch of one record or several, ready to be sent (a BatchBuilder for aiokafka's producer)."""

    def __init__(self, records: Sequence[Outgoing], now_ms: int, compression: int = NONE) -> None:
        builder = _DefaultRecordBatchBuilderPy(
            2, compression, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=1 << 31
        )
        for offset, record in enumerate(records):
            headers = [(_Name(name), value) for name, value in (*record.headers, *record.added)]
            at_ms = now_ms if record.at_ms is None else record.at_ms
            builder.append(offset, timestamp=at_ms, key=record.key, value=record.value, headers=headers)
        self._buffer: bytearray = builder.build()
        self._n = len(records)

    def _build(self) -> bytearray:
        return self._buffer

    def size(self) -> int:
        return len(self._buffer)

    def record_count(self) -> int:
        return self._n

    def closed(self) -> bool:
        return True

    def close(self) -> None:
        """Do nothing: it is closed already."""

    def append(self, **record: Any) -> None:
        """Nothing can be added."""


class _Name(str):
    """A header's name. Encoded, it gives the bytes from which it was read."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> bytes:
        return str.encode(self, encoding, errors)


def cut(record: Outgoing, limit: int) -> Outgoing:
    """Return a record cut for a batch of at most `limit` bytes. A record that fits is returned as it is.

    Below some 2,000 bytes nothing of the record itself is left: so much is taken by the sender's headers and the marks.
    """
    if record.n_bytes <= limit:
        return record
    key, value, headers, added, at_ms = record
    room = max(0, limit - _FRAME - _size(added) - _MARKS)
    marks: list[tuple[str, bytes]] = []
    if key is not None and len(key) > room // 4:
        marks += [("key_bytes", b"%d" % len(key)), ("key_sha256", _digest(key))]
        key = key[: room // 4]
    room -= len(key or b"")
    kept = _that_fit(headers, max(0, room - _LEAST) if value else room)
    if len(kept) < len(headers):
        marks.append(("header_count", b"%d" % len(headers)))
    room -= _size(kept)
    if value is not None and len(value) > room:
        marks += [("value_bytes", b"%d" % len(value)), ("value_sha256", _digest(value))]
        value = value[: max(0, room)]
    parts = {"key_bytes": b"key", "header_count": b"headers", "value_bytes": b"value"}
    what = b",".join(parts[name] for name, _ in marks if name in parts)
    return Outgoing(key, value, kept, [*added, ("cut", what), *marks], at_ms)


def _that_fit(headers: Headers, room: int) -> Headers:
    """Return the first headers that take no more than `room`."""
    for n, header in enumerate(headers):
        room -= _size([header])
        if room < 0:
            return headers[:n]
    return headers


def _size(headers: Headers) -> int:
    return sum(len(_Name(name).encode()) + len(value or b"") + _HEADER_FRAME for name, value in headers)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
