"""Sending change events: keyed, in order, acknowledged by all replicas. What `events send` and the demo use."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer

from memberstream.models.placement import Partitioner, PartitionUnknown, partition_of
from memberstream.stream.kafka.clients import Kafka


class SendError(OSError):
    """Kafka didn't take the events; the text says what to do next."""


class Producer:
    """A producer for one topic; use as an async context manager.

    Args:
        partitioner: how a key's partition is chosen.
        linger_ms: how long a record may wait for others to travel with. 0 sends at once, which suits single events.
    """

    MAX_IN_FLIGHT = 10_000  # records awaiting acknowledgement; bounds memory when the broker is slow

    def __init__(self, kafka: Kafka, topic: str, *, partitioner: Partitioner = "murmur2", linger_ms: int = 5) -> None:
        self._kafka, self._topic, self._linger_ms = kafka, topic, linger_ms
        self._partitioner = partitioner
        self._producer: AIOKafkaProducer | None = None
        self._in_flight: deque[asyncio.Future[Any]] = deque()

    async def __aenter__(self) -> Self:
        try:
            partition_of(b"anybody", 1, self._partitioner)
        except PartitionUnknown as error:
            raise SendError(str(error)) from None
        self._producer = self._kafka.producer(
            linger_ms=self._linger_ms, max_batch_size=262_144, partitioner=self._choose
        )
        try:
            with self._kafka.explained(SendError):
                await self._producer.start()
        except SendError:
            await self._producer.stop()
            raise
        return self

    async def send(self, key: bytes | None, value: bytes | None) -> asyncio.Future[Any]:
        """Queue one record; returns a future of its metadata (partition, offset, timestamp).

        Raises:
            SendError: an earlier record was refused, or the topic doesn't exist.
        """
        assert self._producer is not None  # noqa: S101 (inside the context manager; narrows the type)
        if len(self._in_flight) >= self.MAX_IN_FLIGHT:
            await self._settle(len(self._in_flight) // 2)
        with self._kafka.explained(SendError, self._topic):
            future: asyncio.Future[Any] = await self._producer.send(self._topic, value, key)
        self._in_flight.append(future)
        return future

    def _choose(self, key: bytes | None, partitions: list[int], available: list[int]) -> int:
        """Return the partition of a record's key; without a key any that can be written to. (aiokafka calls this.)"""
        if not key:
            return secrets.choice(available or partitions)
        return partitions[partition_of(key, len(partitions), self._partitioner)]

    async def flush(self) -> None:
        """Wait until all records are acknowledged.

        Raises:
            SendError: one of them was refused.
        """
        await self._settle(len(self._in_flight))

    async def _settle(self, n: int) -> None:
        with self._kafka.explained(SendError, self._topic):
            for _ in range(n):
                await self._in_flight.popleft()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._producer is not None  # noqa: S101
        await self._producer.stop()
