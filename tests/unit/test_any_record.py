"""Reading every legal record and writing it again byte for byte, by fetches made by hand; cutting what is too large."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st
from unit.shell import Record

from memberstream.models.event import BadEvent, Reason
from memberstream.stream.kafka.any_record import read_any_record
from memberstream.stream.kafka.outgoing import ZSTD, Batch, Outgoing, cut
from memberstream.stream.partition.dead_letters import DeadLetter, to_records

read_any_record()
PART = TopicPartition("t", 0)
CONTENT = st.none() | st.binary(max_size=20)
NAMES = st.binary(max_size=6).map(lambda name: name.decode(errors="surrogateescape"))
RECORDS = st.builds(Outgoing, CONTENT, CONTENT, st.lists(st.tuples(NAMES, CONTENT), max_size=4), st.just(()), st.none())


def fetched(batches: list[list[Outgoing]], compression: int = 0, first: int = 0) -> tuple[bytes, list[int]]:
    """Return what a fetch brings: batches one after the other, and where each begins."""
    data, starts, offset = b"", [], first
    for records in batches:
        starts.append(len(data))
        batch = Batch(records, 77, compression)._build()
        struct.pack_into(">q", batch, 0, offset)
        data += batch
        offset += len(records)
    return data, starts


def read(data: bytes, isolation_level: int = 0, aborted: Any = (), offset: int = 0) -> Any:
    return fetcher.PartitionRecords(
        PART, fetcher.MemoryRecords(data), list(aborted), offset, None, None, True, isolation_level
    )


@given(st.lists(st.lists(RECORDS, min_size=1, max_size=4), min_size=1, max_size=5), st.sampled_from([0, ZSTD]))
def test_a_fetch_is_read_whole_and_written_again_byte_for_byte(batches: list[list[Outgoing]], compression: int) -> None:
    """Whatever headers are called, in whichever batches; also from an offset inside of a batch."""
    data, starts = fetched(batches, compression)
    expected = [(i, *record[:3]) for i, record in enumerate(record for batch in batches for record in batch)]
    first = [sum(map(len, batches[:i])) for i in range(len(batches))]
    for offset in {0, len(expected) // 2}:  # a broker begins with the batch that has it
        begins = max(start for start, its_first in zip(starts, first, strict=True) if its_first <= offset)
        found = [(r.offset, r.key, r.value, list(r.headers)) for r in read(data[begins:], offset=offset)]
        assert found == expected[offset:]
    again = [Outgoing(r.key, r.value, r.headers, ()) for r in read(data)][: len(batches[0])]
    assert bytes(Batch(again, 77)._build()) == bytes(Batch(batches[0], 77)._build())


def test_the_bytes_of_a_name() -> None:
    """They are in the batch as they were, with their length before them."""
    assert b"\x04a\xff\x02x" in bytes(Batch([Outgoing(b"k", None, [("a\udcff", b"x")], ())], 5)._build())


def test_what_is_not_legal_is_refused_as_before() -> None:
    """A wrong checksum, before and behind a batch that is read here; what lies before it is handed out."""
    odd, plain = Outgoing(b"k", b"v", [("\udcff", b"")], ()), Outgoing(b"k", b"v", [], ())
    for batches, good in (([[plain], [odd], [plain]], 2), ([[odd], [odd]], 1)):
        data, _ = fetched(batches)
        damaged = bytearray(data)
        damaged[-1] ^= 1
        records = read(bytes(damaged))
        assert [next(records).offset for _ in range(good)] == list(range(good))
        with pytest.raises(CorruptRecordException):
            next(records)


def test_aborted_transactions_stay_unseen_behind_a_batch_that_is_read_here() -> None:
    """One producer's first transaction is aborted, its marker is read; its second is aborted, too, around a batch of
    another producer with an odd header."""
    odd, plain = Outgoing(b"k", b"v", [("\udcff", b"")], ()), Outgoing(b"k", b"v", [], ())
    marker = Outgoing(struct.pack(">hh", 0, 0), b"\0" * 6, [], ())
    data, starts = fetched([[plain], [marker], [plain], [odd], [plain], [marker], [odd], [plain]])
    batches = bytearray(data)
    for i, attributes in enumerate([0x10, 0x30, 0x10, 0, 0x10, 0x30, 0x10, 0x10]):
        end = [*starts, len(data)][i + 1]
        producer = 9 if i == 3 else 8 if i == 7 else 7
        struct.pack_into(">h", batches, starts[i] + 21, attributes)
        struct.pack_into(">qh", batches, starts[i] + 43, producer, 0)
        struct.pack_into(">I", batches, starts[i] + 17, calc_crc32c(bytes(batches[starts[i] + 21 : end])))
    records = read(bytes(batches), 1, [(7, 0), (7, 2), (7, 6)])
    assert [record.offset for record in records] == [3, 7]


LARGE = st.integers(0, 40_000).map(lambda n: b"x" * n)
ORIGIN = [("reason", b"bad_key"), ("detail", b"d" * 200), ("origin_topic", b"docs")]


@given(
    st.none() | LARGE,
    st.none() | LARGE,
    st.lists(st.tuples(NAMES, st.none() | LARGE), max_size=30),
    st.integers(2_000, 90_000),
)
def test_a_cut_record_fits_and_says_what_is_missing(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], limit: int
) -> None:
    """It stays below the limit as a batch; its sender's headers are whole; what it kept are first bytes and headers."""
    whole = Outgoing(key, value, headers, ORIGIN)
    part = cut(whole, limit)
    assert Batch([part], 5).size() <= part.n_bytes <= limit
    if Batch([whole], 5).size() > limit:
        assert part != whole
    if part == whole:
        return
    assert list(part.added[:3]) == ORIGIN
    marks = dict(part.added[3:])
    named = {name for name in (marks.pop("cut") or b"").decode().split(",") if name}
    for name, before, after in (("key", key, part.key), ("value", value, part.value)):
        assert (name in named) == (before != after)
        if name in named and before is not None and after is not None:
            assert before.startswith(after)
            assert marks.pop(f"{name}_bytes") == b"%d" % len(before)
            assert marks.pop(f"{name}_sha256") == hashlib.sha256(before).hexdigest().encode()
    assert ("headers" in named) == (len(part.headers) < len(headers))
    assert list(part.headers) == headers[: len(part.headers)]
    if "headers" in named:
        assert marks.pop("header_count") == b"%d" % len(headers)
    assert marks == {}


def test_a_value_is_cut_before_headers() -> None:
    """All headers stay while they fit; the value has the rest."""
    headers = [(f"h{i}", b"y" * 100) for i in range(100)]
    part = cut(Outgoing(b"k", b"v" * 1_000_000, headers, ORIGIN), 100_000)
    assert (part.key, part.headers) == (b"k", headers)
    assert 80_000 < len(part.value or b"") < 100_000


def test_letters_are_records_with_their_reason() -> None:
    """Own headers first, whatever they are called."""
    [letter] = to_records(
        [DeadLetter(Record(7, b"k", b"v", 1, (("\udcff", b""),)), BadEvent(Reason.NOT_JSON, "x"))], "docs", 3, 9
    )
    assert list(letter.headers) == [("\udcff", b"")]
    assert letter.added[0] == ("reason", b"not_json")
