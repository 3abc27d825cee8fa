"""The first load: whole documents of many members, from files into the topic of change events.

Each row becomes a `replace` event with a version. So a row changes nothing of a member that has had a newer version,
and sent twice it changes nothing the second time.

    1  the ends of the partitions are read   which rows of this load are there already: a header says so
    2  rows are checked, as a worker would   a bad one is told, with file and row, and left out; the others go on
    3  rows are sent, in order               a crash after some of them: the next run finds the last row of each
                                             partition by 1, and sends those behind it
    4  the workers have passed the last row  (if somebody waits for it)

Laws:
- Nothing is stored beside the topic. A load is known by its files, its version, and what decides which rows are sent
  and where: the number of partitions, two settings. If one of these is another, it is another load.
- Rows of one partition lie there in the order of the files, because the next batch of a partition is sent when the one
  before is acknowledged. So its last row says that all before it are there.
- All rows are checked by every run, also those that aren't sent any more: what a run tells is complete.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, UnsupportedVersionError

from memberstream.models.event import REPLACE, BadEvent, Reason, decode
from memberstream.models.placement import PartitionUnknown, Placement
from memberstream.stream.authoring.handling import handled
from memberstream.stream.files.documents import Columns, Row, count_rows, fingerprint, read_documents
from memberstream.stream.kafka.producer import SendError
from memberstream.stream.kafka.topic_reader import connected, records
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter, Waits, unheard, unwatched

#: The header of a row: the load's id, the row's number over all files.
LOAD = "load"
#: How far back an earlier run is looked for. One that ended before begins anew: that is harmless.
LOOK_BACK_MS = 86_400_000
_TAIL = 2_000  # records at the end of a partition that are looked at first; then ever more
_BATCH_BYTES = 500_000


class Rejected(NamedTuple):
    """A row that makes no event, and why."""

    file: Path
    row: int
    why: str


@dataclass(slots=True)
class Loaded:
    """What became of the rows.

    Attributes:
        there: rows that an earlier run had sent.
        last: partition → offset of the last row that is there.
    """

    sent: int = 0
    there: int = 0
    rejected: int = 0
    last: dict[int, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.sent + self.there + self.rejected


class Loading:
    """One load.

    Args:
        columns: which columns hold ids and versions.
        as_of_ms: the snapshot's time: version and time of all rows. None: each row has its version.
        on_rejected: is told of each bad row.
    """

    def __init__(
        self,
        settings: Settings,
        files: Sequence[Path],
        columns: Columns,
        as_of_ms: int | None,
        on_rejected: Callable[[Rejected], None],
    ) -> None:
        self._settings, self._files, self._columns, self._as_of_ms = settings, files, columns, as_of_ms
        self._on_rejected = on_rejected
        for file in files:  # so a file that isn't one, or lacks a column, is said at once
            next(read_documents(file, columns), None)
        self._id = b""
        self.outcome = Loaded()

    async def load(
        self, rate: float | None, progress: Meter = unwatched, looking: Meter = unwatched, *, is_anew: bool = False
    ) -> Loaded:
        """Send the rows that aren't there yet.

        Args:
            rate: rows a second at most.
            progress: is told how far the files are.
            looking: is told before how far the search for an earlier run is; a total of 0 isn't known.
            is_anew: send all rows, and look for no earlier run.

        Raises:
            SendError: Kafka doesn't take them, or the partitioner is `any`.
            ParquetError, OSError: a file can't be read.
            TopicUnreadable: no such topic.
        """
        total = sum(map(count_rows, self._files))
        try:
            Placement(self._settings.partitioner, 1).partition_of(b"anybody")
        except PartitionUnknown as error:
            raise SendError(str(error)) from None
        async with connected(self._settings.kafka, self._settings.topic, "check MEMBERSTREAM_TOPIC") as (
            consumer,
            partitions,
        ):
            placement = Placement(self._settings.partitioner, len(partitions))
            looking(0, 0)  # files are read once for this
            self._id = await asyncio.to_thread(self._name, len(partitions))
            done = dict.fromkeys((part.partition for part in partitions), 0)
            if not is_anew:
                done = await self._last_rows(consumer, partitions, looking)  # 1
        sender = _Sender(self._settings, rate)
        try:
            await sender.start()
            before = number = 0
            for file in self._files:
                so_far = last = 0
                for rows, so_far in read_documents(file, self._columns):
                    last = rows[-1].number if rows else last
                    await sender.send(self._checked(file, rows, number, placement, done))
                    progress(before + so_far, total)
                number += last
                before += so_far
            await sender.flush()
        except KafkaError as error:
            kafka, topic = self._settings.kafka, self._settings.topic
            raise SendError(f"{kafka.said(error, topic)}; then repeat: it goes on where it ended") from None
        finally:
            self.outcome.last |= sender.last
            self.outcome.sent = sender.n_sent
            await sender.stop()
        return self.outcome

    def _name(self, n_partitions: int) -> bytes:
        its = self._settings
        what = its.topic, n_partitions, its.partitioner, its.json_keys, self._as_of_ms, *self._columns
        told = "/".join(map(str, what)).encode()
        return hashlib.sha256(b"".join([told, *map(fingerprint, self._files)])).hexdigest()[:16].encode()

    async def check(self, progress: Meter = unwatched) -> Loaded:
        """Check all rows and send none; `sent` is how many would be. Raises ParquetError, OSError: as of `load`."""
        total, before = sum(map(count_rows, self._files)), 0
        placement = Placement("murmur2", 1)
        for file in self._files:
            so_far = 0
            for rows, so_far in read_documents(file, self._columns):
                self.outcome.sent += sum(1 for _ in self._checked(file, rows, 0, placement, {0: 0}))
                progress(before + so_far, total)
            before += so_far
        return self.outcome

    async def level(self, progress: Meter = unwatched, waits: Waits = unheard) -> None:
        """Return when workers have applied all rows. Raises NotHandled."""  # 4
        await handled(self._settings, self.outcome.last, "the rows stand", progress, waits)

    def _checked(
        self, file: Path, rows: Iterable[Row], before: int, placement: Placement, done: dict[int, int]
    ) -> Iterable[tuple[int, bytes, bytes, bytes]]:
        """Yield (partition, key, value, header) of the rows to be sent."""
        now_ms = time.time_ns() // 1_000_000
        for row in rows:
            try:
                value = self._event(row, now_ms)  # 2
            except BadEvent as error:
                self.outcome.rejected += 1
                self._on_rejected(Rejected(file, row.number, row.problem or str(error)))
                continue
            key, number = row.key or b"", before + row.number
            partition = placement.partition_of(key)
            if number <= done[partition]:
                self.outcome.there += 1
                continue
            yield partition, key, value, b"%b/%d" % (self._id, number)

    def _event(self, row: Row, now_ms: int) -> bytes:
        """Return a row's event. Raises BadEvent: a worker would refuse it."""
        if row.problem:
            raise BadEvent(Reason.WRONG_TYPE, row.problem)
        at_ms = self._as_of_ms
        version = row.version if at_ms is None else at_ms
        if type(version) is not int:
            raise BadEvent(Reason.BAD_VERSION, "version: expected a whole number, found another value or none")
        at = b"" if at_ms is None else b'"at":%d,' % at_ms
        value = b'{"op":"replace","version":%d,%b"document":%b}' % (version, at, row.document)
        event = decode(row.key, value, now_ms, now_ms, may_be_json=self._settings.are_json_keys_allowed)
        if (event.op, event.version, event.at_ms) != (REPLACE, version, now_ms if at_ms is None else at_ms):
            raise BadEvent(Reason.NOT_JSON, "document: expected one JSON object, found more")
        return value

    async def _last_rows(
        self, consumer: AIOKafkaConsumer, parts: Sequence[TopicPartition], looking: Meter
    ) -> dict[int, int]:
        """Return partition → the last row of this load that it holds; 0: none."""
        bounds = {part: await _bounds(consumer, part) for part in parts}
        total, before, found = sum(end - begin for begin, end in bounds.values()), 0, {}
        for part, (begin, end) in bounds.items():
            last, stop, size = 0, end, _TAIL
            while not last and stop > begin:
                start = max(begin, stop - size)
                async for some in records(consumer, part, start):
                    for record in some:
                        if (row := self._row_of(record)) > last:
                            last, self.outcome.last[part.partition] = row, record.offset
                    seen = min(some[-1].offset + 1, stop)
                    looking(before + end - stop + seen - start, total)
                    if stop < end and seen == stop:
                        break
                stop, size = start, size * 4
            before += end - begin
            found[part.partition] = last
        return found

    def _row_of(self, record: Any) -> int:
        for name, value in record.headers:
            if name == LOAD and value and value.startswith(self._id + b"/"):
                with suppress(ValueError):
                    return int(value[len(self._id) + 1 :])
        return 0


async def _bounds(consumer: AIOKafkaConsumer, part: TopicPartition) -> tuple[int, int]:
    """Return between which offsets an earlier run is looked for."""
    end = (await consumer.end_offsets([part]))[part]
    begin = (await consumer.beginning_offsets([part]))[part]
    with suppress(UnsupportedVersionError):
        since_ms = time.time_ns() // 1_000_000 - LOOK_BACK_MS
        found = (await consumer.offsets_for_times({part: since_ms}))[part]
        begin = end if found is None else max(begin, found.offset)
    return begin, end


class _Sender:
    """Sends records, those of a partition in order, batch after batch."""

    def __init__(self, settings: Settings, rate: float | None) -> None:
        self._producer: AIOKafkaProducer = settings.kafka.producer(
            max_batch_size=_BATCH_BYTES, max_request_size=2 * _BATCH_BYTES + (1 << 20)
        )
        self._topic, self._rate = settings.topic, rate
        self._began_at = monotonic()
        self._in_flight: dict[int, asyncio.Task[None]] = {}
        self.last: dict[int, int] = {}
        self.n_sent = 0

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        for task in self._in_flight.values():
            task.cancel()
        await asyncio.gather(*self._in_flight.values(), return_exceptions=True)
        await self._producer.stop()

    async def send(self, rows: Iterable[tuple[int, bytes, bytes, bytes]]) -> None:
        """Send rows; returns when the batches before theirs are acknowledged."""
        by_partition: defaultdict[int, list[tuple[bytes, bytes, bytes]]] = defaultdict(list)
        n = 0
        for partition, *record in rows:
            by_partition[partition].append((record[0], record[1], record[2]))
            n += 1
        for partition, some in by_partition.items():
            if (before := self._in_flight.get(partition)) is not None:
                await before
            self._in_flight[partition] = asyncio.create_task(self._send(partition, some))
        self.n_sent += n
        if self._rate is not None and (ahead_s := self._began_at + self.n_sent / self._rate - monotonic()) > 0:
            await asyncio.sleep(ahead_s)

    async def _send(self, partition: int, some: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        start = 0
        while start < len(some):
            batch, end = self._producer.create_batch(), start
            now_ms = time.time_ns() // 1_000_000
            for key, value, header in some[start:]:
                if batch.append(key=key, value=value, timestamp=now_ms, headers=[(LOAD, header)]) is None:
                    break
                end += 1
            acked = await (await self._producer.send_batch(batch, self._topic, partition=partition))
            self.last[partition] = acked.offset + end - start - 1
            start = end

    async def flush(self) -> None:
        """Return when all is acknowledged."""
        await asyncio.gather(*self._in_flight.values())
