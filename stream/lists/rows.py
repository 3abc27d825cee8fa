"""The rows of uploaded lists in Kafka: who is in which cluster. One record each, in a compacted topic, `<group>-lists`.

Laws:
- Key: the list's prefix (models/list_version.py), a zero byte, the member id. Value: the cluster as text. No value: the
  row is withdrawn, because its member was deleted or its list retired. Compaction then removes it.
- Partition: crc32(member id) % partitions. (Kafka's own murmur2 costs 10 µs a key in Python. A row has no position that
  would have to be compared, so it needn't lie beside its member's events.) There are as many partitions as in the topic
  of events. The owner of partition p there looks after partition p here.
- A reader of a row reads on to the end of the partition, and further on once the row is written, because a later record
  may withdraw the row. It waits for somebody's transaction there that hasn't ended: withdrawals may lie behind it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self
from zlib import crc32

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from memberstream.models.wording import counted
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.topic_reader import readable_end
from memberstream.stream.kafka.topics import TopicsUnreadable, count_partitions, create_missing, look_up

log = logging.getLogger(__name__)

SEPARATOR = b"\0"
#: Below the 1 MiB that brokers take by default, so that a topic made by hand works too.
BATCH_BYTES = 900_000
#: Batches that may wait for their acknowledgement. This bounds memory when the broker is slow.
MAX_IN_FLIGHT = 8
#: Rows handed out together. Decoding them takes 2 ms, and the worker's event loop does nothing else meanwhile.
CHUNK = 500
_PATIENCE_S = 5.0
_TRANSACTION = "somebody's transaction there hasn't ended: docs/operations.md, \"Transactions of producers\""
_EMPTY_S = 1.0  # the embedded broker answers nothing at all for an empty partition
CONFIGS = {"cleanup.policy": "compact"}


class ListRowsError(OSError):
    """Rows can't be written or read; the text says what to do next."""


class RowsLost(ListRowsError):
    """The topic ends before a list's rows do. Operator: was it deleted? The list must be uploaded again."""


class Chunk(NamedTuple):
    """Some records of a partition, in order.

    Attributes:
        records: (key, value) of rows of any lists.
        position: the offset to go on from.
        end: where the partition ended, as far as known.
    """

    records: list[tuple[bytes, bytes | None]]
    position: int
    end: int

    def rows_of(self, prefix: bytes) -> dict[bytes, bytes | None]:
        """Return one list's rows after the chunk: member id → cluster as text; None: withdrawn."""
        start = prefix + SEPARATOR
        n = len(start)
        return {key[n:]: value for key, value in self.records if key.startswith(start)}


class Ready(NamedTuple):
    """The topic, ready for rows: an offset at or before each partition's end, and the topic's id."""

    first: tuple[int, ...]
    topic_id: str


def partition_of(member_id: bytes, n_partitions: int) -> int:
    """Return the partition of a member's rows."""
    return crc32(member_id) % n_partitions


async def prepare(kafka: Kafka, topic: str, source_topic: str, replication_factor: int) -> Ready:
    """Make the topic if it isn't there; returns where rows may be appended.

    Raises:
        ListRowsError: no broker, no topic of events, or another number of partitions than in that topic.
    """
    n = await count_partitions(kafka, source_topic)
    if not n:
        raise ListRowsError(f"no topic {source_topic}. Next: create it, or check MEMBERSTREAM_TOPIC")
    admin = kafka.admin()
    try:
        with kafka.explained(ListRowsError, topic):
            await admin.start()
            await create_missing(admin, topic, n, replication_factor, CONFIGS)
    finally:
        await admin.close()
    found, topic_id = await look_up(kafka, topic)
    if found != n:
        raise ListRowsError(
            f"{source_topic} has {counted(n, 'partition')} and {topic} {found}. Next: was the topic of events "
            "re-partitioned? Then MEMBERSTREAM_GROUP is to be a new one (docs/operations.md)"
        )
    async with _consumer(kafka) as consumer:
        partitions = [TopicPartition(topic, p) for p in range(n)]
        ends = await consumer.end_offsets(partitions)
    return Ready(tuple(int(ends[partition]) for partition in partitions), topic_id.hex())


class Appender:
    """Appends rows of one list; use as an async context manager.

    Attributes:
        end: partition → the offset after the last acknowledged row.
    """

    def __init__(self, kafka: Kafka, topic: str, prefix: bytes, first: Sequence[int]) -> None:
        self._kafka, self._topic, self._prefix = kafka, topic, prefix + SEPARATOR
        self._n = len(first)
        self.end = list(first)
        self._producer: AIOKafkaProducer | None = None
        self._batches: list[Any] = [None] * self._n
        self._in_flight: deque[tuple[int, int, asyncio.Future[Any]]] = deque()

    async def __aenter__(self) -> Self:
        producer = self._kafka.producer(max_batch_size=BATCH_BYTES)
        try:
            with self._explained():
                await producer.start()
        except ListRowsError:
            await producer.stop()
            raise
        self._producer = producer
        return self

    async def append(self, member_ids: Iterable[bytes], clusters: Iterable[int]) -> None:
        """Append rows; they are acknowledged by `flush` at the latest. Raises ListRowsError."""
        assert self._producer is not None  # noqa: S101 (inside the context manager; narrows the type)
        now_ms, n, prefix, batches = time.time_ns() // 1_000_000, self._n, self._prefix, self._batches
        create = self._producer.create_batch
        for member_id, cluster in zip(member_ids, clusters, strict=True):
            p, key, value = crc32(member_id) % n, prefix + member_id, b"%d" % cluster
            batch = batches[p]
            if batch is None:
                batch = batches[p] = create()
            if batch.append(timestamp=now_ms, key=key, value=value, headers=[]) is None:
                await self._send(p)
                batch = batches[p] = create()
                batch.append(timestamp=now_ms, key=key, value=value, headers=[])

    async def flush(self) -> None:
        """Return when all rows are acknowledged. Raises ListRowsError."""
        for p in range(self._n):
            if self._batches[p] is not None:
                await self._send(p)
        while self._in_flight:
            await self._settle()

    async def _send(self, p: int) -> None:
        batch, self._batches[p] = self._batches[p], None
        while len(self._in_flight) >= MAX_IN_FLIGHT:
            await self._settle()
        assert self._producer is not None  # noqa: S101
        with self._explained():
            future = await self._producer.send_batch(batch, self._topic, partition=p)
        self._in_flight.append((p, batch.record_count(), future))

    async def _settle(self) -> None:
        p, count, future = self._in_flight.popleft()
        with self._explained():
            acked = await future
        self.end[p] = max(self.end[p], acked.offset + count)

    def _explained(self) -> AbstractContextManager[None]:
        return self._kafka.explained(ListRowsError, self._topic)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._producer is not None  # noqa: S101
        await self._producer.stop()


async def read(
    kafka: Kafka, topic: str, topic_id: str, partition: int, first: int, end: int
) -> AsyncGenerator[Chunk, None]:
    """Yield the records of a partition from an offset to where it ends, at `end` or behind it.

    The last chunk is empty. A caller that has taken all others when it asks for that one has met every withdrawal that
    was acknowledged by then.

    Args:
        topic_id: of the topic to which the offsets belong (models/list_version.py). If the topic was made anew, its
            rows are lost.

    An outage of Kafka is waited out. Raises RowsLost; ListRowsError: no broker to begin with.
    """
    if why := await _why_gone(kafka, topic, topic_id, partition):  # asking for its records might create it
        raise _lost(why)
    part = TopicPartition(topic, partition)
    async with _consumer(kafka) as consumer:
        consumer.assign([part])
        consumer.seek(part, first)
        waited_since = said_at = time.monotonic()
        while True:
            records = (await consumer.getmany(part, timeout_ms=500, max_records=CHUNK)).get(part, [])
            # Each fetch brings it; what ListOffsets says is wrong on the embedded broker.
            position, highwater, now = await consumer.position(part), consumer.highwater(part), time.monotonic()
            if highwater is not None and highwater < end:
                raise _lost(f"partition {partition} of {topic} ends at {highwater}, the list's rows at {end}")
            known_end = max(end, highwater or 0)
            if records:
                yield Chunk([(record.key, record.value) for record in records], position, known_end)
                waited_since = now
            is_told = highwater is not None or now - waited_since > _EMPTY_S
            if position >= known_end and is_told:
                yield Chunk([], position, known_end)
                # The embedded broker's answer is too low for a batch of several records, but not if there is none.
                if (await consumer.end_offsets([part]))[part] <= position:
                    return
            if not records and now - max(waited_since, said_at) > _PATIENCE_S:
                said_at = now
                is_held = (readable_end(consumer, part) or known_end) < known_end
                log.warning(
                    "partition %d of %s can't be read, waiting for it since %.0f s. Next: %s",
                    partition, topic, now - waited_since, _TRANSACTION if is_held else "see the brokers",
                )  # fmt: skip


async def _why_gone(kafka: Kafka, topic: str, topic_id: str, partition: int) -> str:
    """Return what the brokers keep saying if a partition is gone, else "". While none answers, nobody knows."""
    give_up_at = time.monotonic() + _PATIENCE_S  # one that was made a moment ago isn't known to all brokers
    try:
        while True:
            found = await look_up(kafka, topic)
            if found.n_partitions <= partition:
                why = f"there is no partition {partition} of {topic} any more"
            elif topic_id and found.id and found.id.hex() != topic_id:
                why = f"{topic} was deleted and created again since"
            else:
                return ""
            if time.monotonic() > give_up_at:
                return why
            await asyncio.sleep(0.25)
    except (TopicsUnreadable, KafkaError):
        return ""


def _lost(what: str) -> RowsLost:
    return RowsLost(
        f"{what}: they are lost. Next: upload the list again, promote it, retire this one; was the topic deleted?"
    )


def withdrawals(
    prefixes: Iterable[bytes], member_ids: Iterable[bytes], n_partitions: int
) -> dict[int, list[tuple[bytes, bytes | None]]]:
    """Return the records, (key, value), that withdraw members' rows from lists, by partition."""
    found: dict[int, list[tuple[bytes, bytes | None]]] = {}
    if prefixes := list(prefixes):
        for member_id in member_ids:
            records = found.setdefault(partition_of(member_id, n_partitions), [])
            records += [(prefix + SEPARATOR + member_id, None) for prefix in prefixes]
    return found


@asynccontextmanager
async def _consumer(kafka: Kafka) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = kafka.consumer(fetch_max_wait_ms=100, max_partition_fetch_bytes=4 << 20)
    try:
        with kafka.explained(ListRowsError):
            await consumer.start()
        yield consumer
    finally:
        await consumer.stop()
