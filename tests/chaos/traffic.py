"""Events that keep coming while brokers don't: sent all the time, remembered if acknowledged.

Laws:
1. The producer isn't ours: plain, acks=all, in any codec, no versions of its own. What it sends twice is twice in the
   topic, and the topic is the truth (check.py); what it couldn't send at all is counted and is nobody's loss.
2. What a broker has acknowledged must be in the topic in the end, at the place it was given: `nothing_is_lost`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from chaos.check import read_whole
from chaos.load import Load
from e2e.system import Sent, System

_EVERY_S = 0.1


class Traffic:
    """`async with Traffic(system, load):` sends random events until the block ends; then all is on the broker, or not.

    Attributes:
        acknowledged: (partition, offset) → the event that a broker took there.
        failed: events that no broker has acknowledged; they may be in the topic all the same.
    """

    def __init__(self, system: System, load: Load, per_s: int = 400) -> None:
        self._system, self._load, self._portion = system, load, int(per_s * _EVERY_S)
        self._task: asyncio.Task[None] | None = None
        self._acks: list[tuple[Sent, Any]] = []
        self.acknowledged: dict[tuple[int, int], Sent] = {}
        self.failed = 0

    async def _send(self) -> None:
        partitions, choose = list(range(self._system.n_partitions)), DefaultPartitioner()
        while True:
            for event in self._load.some(self._portion):
                key, value, headers = event
                try:
                    ack = await self._producer.send(
                        self._system.settings.topic,
                        value,
                        key=key,
                        headers=list(headers),
                        partition=choose(key, partitions, partitions) if key else 0,
                    )
                except KafkaError:  # no room: the brokers are away
                    self.failed += 1
                else:
                    self._acks.append((event, ack))
            await asyncio.sleep(_EVERY_S)

    async def _settle(self) -> None:
        """Wait for every answer; then ask the broker where the topic ends, for `system.applied`."""
        for event, ack in self._acks:
            try:
                found = await ack
            except KafkaError:
                self.failed += 1
            else:
                self.acknowledged[found.partition, found.offset] = event
        await self._producer.stop()
        consumer = AIOKafkaConsumer(bootstrap_servers=self._system.pair.broker.bootstrap)
        await consumer.start()
        try:
            parts = [TopicPartition(self._system.settings.topic, p) for p in range(self._system.n_partitions)]
            ends = await consumer.end_offsets(parts)
        finally:
            await consumer.stop()
        self._system.next_offset = {part.partition: end for part, end in ends.items()}

    async def nothing_is_lost(self) -> None:
        """Raise AssertionError unless every acknowledged event is in the topic."""
        records: Sequence[Any] = await read_whole(self._system, self._system.settings.topic)
        found = {(r.partition, r.offset): (r.key, r.value) for r in records}
        lost = [place for place, event in self.acknowledged.items() if found.get(place) != event[:2]]
        assert lost == [], f"{len(lost)} of {len(self.acknowledged)} acknowledged events aren't where they were put"

    async def __aenter__(self) -> Self:
        codec = self._load.chance.choice([None, "gzip", "snappy", "lz4", "zstd"])
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._system.pair.broker.bootstrap, acks="all", compression_type=codec
        )
        await self._producer.start()
        self._task = asyncio.create_task(self._send())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        was_running = not self._task.done()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        assert was_running, "the traffic ended by itself"
        if error is None:
            await self._settle()
        else:
            await self._producer.stop()
