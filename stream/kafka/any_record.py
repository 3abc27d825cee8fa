"""aiokafka's reader, made to read every record that may legally be in a topic.

Laws:
- aiokafka's parser (in C) reads what it can, as before. A batch that it can't read is read here. The next batch goes to
  aiokafka's parser again.
- A header's name is text, as in aiokafka. Bytes in it that aren't UTF-8 become lone surrogates ("surrogateescape").
  They become the same bytes again wherever the record is written again (stream/kafka/outgoing.py).
- What isn't legal, such as a batch with a wrong checksum, is refused as before.

The reason: a header's name that isn't UTF-8 ended every reader, again and again. Kafka's brokers take any bytes there.
This patches two names in aiokafka.consumer.fetcher (stream/faust_batch/supported.py lists them), because the code that
makes a fetch's records offers no other place to hook into. Faust's consumer uses the same fetcher.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

_BASE_OFFSET_AND_LENGTH = struct.Struct(">qi")
_LAST_OFFSET_DELTA_AT = 23  # in a batch of format 2; its format stands at 16
_FORMAT_AT = 16


def read_any_record() -> None:
    """Have aiokafka's consumers of this process read every legal record. Whoever makes a consumer calls this."""
    fetcher.MemoryRecords = _Fetched
    fetcher.PartitionRecords = _PartitionRecords


class _Fetched(MemoryRecords):  # type: ignore[misc]  # aiokafka is Any to mypy
    """What a fetch brought for a partition, with its bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


_aiokafkas = fetcher.PartitionRecords


class _PartitionRecords(_aiokafkas):  # type: ignore[misc, valid-type]
    """The records of a fetch, one after the other."""

    _records: Any
    _records_iterator: Any

    def __next__(self) -> Any:
        try:
            return next(self._records_iterator)  # a call of aiokafka's own `__next__` would cost half as much more
        except StopIteration:
            self._records_iterator = None
            raise
        except (UnicodeDecodeError, CorruptRecordException):
            rest = _Rest.of(self._records, self.next_fetch_offset)
            if rest is None:
                raise
        self._records = rest
        self._records_iterator = self._unpack_records()  # records handed out before are below next_fetch_offset
        return next(self)


class _Rest:
    """The rest of a fetch (a MemoryRecords for aiokafka): the batch that its parser can't read, then the others.

    Attributes:
        reads_here: whether the latest batch that was asked for is read here.
    """

    def __init__(self, batch: _Batch, others: _Fetched) -> None:
        self._batch: _Batch | None = batch
        self.others, self.reads_here = others, False

    @classmethod
    def of(cls, fetched: Any, next_offset: int) -> _Rest | None:
        """Return the rest, beginning with the batch that holds `next_offset`; None if that was read here already."""
        if isinstance(fetched, cls):
            if fetched.reads_here:
                return None
            fetched = fetched.others
        data = memoryview(fetched.data)
        for start, end in _batches(data):
            if data[start + _FORMAT_AT] != 2:
                continue
            base_offset, last = struct.unpack_from(">q", data, start)[0], start + _LAST_OFFSET_DELTA_AT
            if base_offset + struct.unpack_from(">i", data, last)[0] >= next_offset:
                return cls(_Batch(data[start:end]), _Fetched(bytes(data[end:])))
        return None

    def has_next(self) -> bool:
        return self._batch is not None or bool(self.others.has_next())

    def next_batch(self) -> Any:
        batch, self._batch = self._batch, None
        self.reads_here = batch is not None
        return batch or self.others.next_batch()


def _batches(data: memoryview) -> Iterator[tuple[int, int]]:
    """Yield where each whole batch begins and ends."""
    start = 0
    while start + _BASE_OFFSET_AND_LENGTH.size <= len(data):
        end = start + _BASE_OFFSET_AND_LENGTH.size + _BASE_OFFSET_AND_LENGTH.unpack_from(data, start)[1]
        if end > len(data):
            return
        yield start, end
        start = end


class _Batch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """aiokafka's batch in Python; its headers may have any names."""

    _buffer: bytearray
    _pos: int

    def _read_msg(self, decode_varint: Any = decode_varint) -> Any:
        buffer, pos = self._buffer, self._pos
        length, pos = decode_varint(buffer, pos)
        end = pos + length
        _, pos = decode_varint(buffer, pos)  # attributes: none are defined
        delta, pos = decode_varint(buffer, pos)
        timestamp = self.max_timestamp if self.timestamp_type == self.LOG_APPEND_TIME else self.first_timestamp + delta
        offset_delta, pos = decode_varint(buffer, pos)
        key, pos = _read_bytes(buffer, pos)
        value, pos = _read_bytes(buffer, pos)
        n_headers, pos = decode_varint(buffer, pos)
        headers = []
        for _ in range(n_headers):
            name, pos = _read_bytes(buffer, pos)
            content, pos = _read_bytes(buffer, pos)
            headers.append(((name or b"").decode(errors="surrogateescape"), content))
        if pos != end:
            raise CorruptRecordException(f"a record of {length} bytes holds {length + pos - end}")
        self._pos = pos
        offset = self.base_offset + offset_delta
        return _DefaultRecordPy(offset, timestamp, self.timestamp_type, key, value, headers)


def _read_bytes(buffer: bytearray, pos: int) -> tuple[bytes | None, int]:
    length, pos = decode_varint(buffer, pos)
    if length < 0:
        return None, pos
    if pos + length > len(buffer):
        raise CorruptRecordException("a length beyond the end of its batch")
    return bytes(buffer[pos : pos + length]), pos + length
