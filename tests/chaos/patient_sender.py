"""Load that goes on whatever breaks: what couldn't be sent is sent again until the brokers have acknowledged it.

Laws:
1. The events of one partition are sent in their order, one batch at a time; partitions don't wait for one another.
2. What was acknowledged is remembered: the brokers must still have it in the end. A batch whose acknowledgement got
   lost is sent again and lies in the topic twice, so what is right follows from the topic, not from this list.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from chaos.load import Load
from e2e.system import Sent, System

_PORTIONS_PER_S = 20
_MOST_AT_ONCE = 500


class PatientSender:
    """`async with PatientSender(...)`: sends until the end of the block, which returns when all is acknowledged."""

    def __init__(self, system: System, load: Load, per_second: int) -> None:
        self._system, self._load, self._portion = system, load, per_second // _PORTIONS_PER_S
        self._queues: list[deque[Sent]] = [deque() for _ in range(system.n_partitions)]
        self._producer = AIOKafkaProducer(
            bootstrap_servers=system.pair.broker.bootstrap,
            acks="all",
            request_timeout_ms=3_000,  # a leader that went away is asked for soon
            metadata_max_age_ms=3_000,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._has_ended = False
        self.acknowledged: dict[tuple[int, int], bytes | None] = {}  # (partition, offset) → value

    def put(self, records: Iterable[Sent]) -> None:
        """Send these, too."""
        numbers = list(range(len(self._queues)))
        choose = DefaultPartitioner()
        for record in records:
            self._queues[choose(record.key, numbers, numbers) if record.key else 0].append(record)

    async def _generate(self) -> None:
        while not self._has_ended:
            self.put(self._load.some(self._portion))
            await asyncio.sleep(1 / _PORTIONS_PER_S)

    async def _drain(self, partition: int) -> None:
        queue = self._queues[partition]
        while queue or not self._has_ended:
            if not queue:
                await asyncio.sleep(0.01)
                continue
            try:
                await self._send_some(partition, queue)
            except KafkaError:
                await asyncio.sleep(0.1)

    async def _send_some(self, partition: int, queue: deque[Sent]) -> None:
        batch, taken = self._producer.create_batch(), []
        now_ms = time.time_ns() // 1_000_000
        for key, value, headers in list(queue)[:_MOST_AT_ONCE]:
            if batch.append(timestamp=now_ms, key=key, value=value, headers=list(headers)) is None:
                break
            taken.append(value)
        topic = self._system.settings.topic
        first = (await (await self._producer.send_batch(batch, topic, partition=partition))).offset
        for i, value in enumerate(taken):
            self.acknowledged[partition, first + i] = value
            queue.popleft()

    async def __aenter__(self) -> Self:
        await self._producer.start()
        drains = [self._drain(partition) for partition in range(len(self._queues))]
        self._tasks = [asyncio.create_task(coroutine) for coroutine in (self._generate(), *drains)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._has_ended = True
        try:
            if error is None:
                async with asyncio.timeout(60):
                    await asyncio.gather(*self._tasks)
                self._system.next_offset.update(await topic_ends(self._system))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._producer.stop()

    def assert_kept(self, records: Sequence[Any]) -> None:
        """Fail unless these, the whole topic, hold every record that was acknowledged, where it was."""
        found = {(record.partition, record.offset): record.value for record in records}
        lost = [place for place, value in self.acknowledged.items() if place not in found or found[place] != value]
        assert lost == [], f"{len(lost)} of {len(self.acknowledged)} acknowledged records lost: {lost[:10]}"


async def topic_ends(system: System) -> dict[int, int]:
    """Return where each partition of the topic ends, as the brokers say."""
    consumer = AIOKafkaConsumer(bootstrap_servers=system.pair.broker.bootstrap)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(
            [TopicPartition(system.settings.topic, p) for p in range(system.n_partitions)]
        )
        return {tp.partition: end for tp, end in ends.items()}
    finally:
        await consumer.stop()
