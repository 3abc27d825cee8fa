"""Histories of change events, for training data: an NDJSON file, Parquet files, or the topic itself.

Laws: records come in the order in which a worker would apply them, or with their offsets. What can't be anybody's event
is reported with its place, never passed over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from memberstream.models.event import BadEvent, Reason, decode, decode_key
from memberstream.models.placement import Partitioner, Placement
from memberstream.models.timestamps import MAX_MS
from memberstream.models.training import Record
from memberstream.models.training.history import NO_TIME
from memberstream.stream.files.lines import lines
from memberstream.stream.files.parquet import ParquetError, arrow, read_batches
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.topic_reader import connected, records
from memberstream.stream.tasks.meter import Meter, unwatched

_NOBODY = b"?"


@dataclass(frozen=True)
class History:
    """Records, to be read once.

    Attributes:
        place_of: number of a record (from 0) → where it stands, for people.
        problems: what wasn't an event at all, each with its place. Complete when all records have been read.
    """

    records: Iterable[Record]
    place_of: Callable[[int], str]
    problems: list[str]


def key_of(value: bytes) -> bytes:
    """Return the record key of a line of NDJSON: its member_id. (`decode` finds what else is wrong with the line.)

    Raises:
        BadEvent: no member_id, or one that can't be a key.
    """
    try:
        envelope: Any = orjson.loads(value)
    except orjson.JSONDecodeError:
        return _NOBODY
    member_id = envelope.get("member_id") if isinstance(envelope, dict) else "?"
    if not isinstance(member_id, str):
        raise BadEvent(Reason.MISSING_FIELD, "member_id: expected a text (it becomes the record's key)")
    key = member_id.encode()
    decode_key(key)
    return key


def ndjson_history(path: Path) -> History:
    """Return the events of a file that `memberstream events send` takes: one envelope a line, each with its `at`."""
    problems: list[str] = []
    left_out: list[int] = []  # the numbers that the next records would have had

    def read() -> Iterator[Record]:
        number = 0
        with path.open("rb") as file:
            for line_number, line in enumerate(lines(file, path), 1):
                value = line.strip()
                try:
                    key = key_of(value) if value else None
                    if key == _NOBODY:
                        decode(key, value, NO_TIME, MAX_MS)  # says what is wrong
                except BadEvent as error:
                    problems.append(f"{path}:{line_number}: {error}")
                    key = None
                if key is None:
                    left_out.append(number)
                    continue
                yield Record(key, value)
                number += 1

    return History(read(), lambda number: f"{path}:{number + 1 + bisect_right(left_out, number)}", problems)


def parquet_history(path: Path) -> History:
    """Return the records of a Parquet file, or of a folder of them in the order of their names.

    Columns: key (or member_id) and value (text or bytes; null deletes). Optional: timestamp (a timestamp, or ms since
    1970) and offset.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise ParquetError(f"{path}: expected files *.parquet, found none. Next: check the path")

    def read() -> Iterator[Record]:
        for file in files:
            for batch in read_batches(file, ["key|member_id", "value"], ["timestamp", "offset"]):
                n = len(batch["key"])
                times = _milliseconds(file, batch["timestamp"]) if "timestamp" in batch else [NO_TIME] * n
                offsets = _whole(file, "offset", batch["offset"]) if "offset" in batch else [None] * n
                yield from map(Record, _bytes(file, "key", batch), _bytes(file, "value", batch), times, offsets)

    return History(read(), lambda number: f"{path}, record {number + 1}", [])


def _bytes(file: Path, name: str, batch: Mapping[str, Any]) -> list[bytes | None]:
    pyarrow, column = arrow(), batch[name]
    if name == "key" and pyarrow.types.is_integer(column.type):
        column = column.cast(pyarrow.string())
    try:
        found: list[bytes | None] = column.cast(pyarrow.binary()).to_pylist()
    except pyarrow.ArrowException:
        raise _unexpected(file, name, "texts or bytes", column) from None
    return found


def _milliseconds(file: Path, column: Any) -> list[int]:
    pyarrow = arrow()
    if pyarrow.types.is_timestamp(column.type):
        column = column.cast(pyarrow.timestamp("ms", column.type.tz), safe=False).cast(pyarrow.int64())
    return [NO_TIME if time is None else time for time in _whole(file, "timestamp", column)]


def _whole(file: Path, name: str, column: Any) -> list[int | None]:
    if not arrow().types.is_integer(column.type):
        expected = "timestamps or whole numbers, ms since 1970" if name == "timestamp" else "whole numbers"
        raise _unexpected(file, name, expected, column)
    found: list[int | None] = column.to_pylist()
    return found


def _unexpected(file: Path, name: str, expected: str, column: Any) -> ParquetError:
    return ParquetError(f"{file}: column {name}: expected {expected}, found {column.type}. Next: convert it")


async def topic_history(
    kafka: Kafka,
    topic: str,
    keys: Container[bytes],
    partitioner: Partitioner,
    progress: Meter = unwatched,
    *,
    may_be_json: bool,
) -> History:
    """Return the records of some keys from the topic of change events, each partition from its beginning to its end.

    A record in another partition than its member's own is left out and reported, because a worker refuses it. So is
    one whose key is JSON itself, unless `may_be_json` (MEMBERSTREAM_JSON_KEYS).

    Raises:
        TopicUnreadable: no broker there, no such topic, or its end can't be reached.
    """
    found: list[Record] = []
    problems: list[str] = []
    starts: list[int] = []  # number of each partition's first record
    async with connected(kafka, topic, "check MEMBERSTREAM_TOPIC") as (consumer, partitions):
        total = sum((await consumer.end_offsets(partitions)).values())
        placement, done = Placement(partitioner, len(partitions)), 0
        for partition in partitions:
            starts.append(len(found))
            async for some in records(consumer, partition):
                its = {one.key for one in some if one.key in keys}
                foreign = set(placement.misplaced(list(its), partition.partition))
                for one in some:
                    if one.key in foreign:
                        place = _place(topic, partition.partition, one.offset)
                        problems.append(f"{place}: {Reason.WRONG_PARTITION}: not the member's own partition, left out")
                        continue
                    try:
                        decode_key(one.key, may_be_json=may_be_json)
                    except BadEvent as error:
                        problems.append(f"{_place(topic, partition.partition, one.offset)}: {error}")
                        continue
                    if one.key in keys:
                        found.append(Record(one.key, one.value, one.timestamp, one.offset))
                done += len(some)
                progress(done, max(done, total))
    return History(
        found, lambda number: _place(topic, bisect_right(starts, number) - 1, found[number].offset), problems
    )


def _place(topic: str, partition: int, offset: int | None) -> str:
    return f"{topic}, partition {partition}, offset {offset}"
