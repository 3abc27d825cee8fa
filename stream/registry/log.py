"""The models' log in Kafka: what was published, promoted, rolled back and retired, for ever and in order.

One partition gives one order. Each record has a key of its own, so compaction keeps them all. Whoever needs the log
reads it whole: it holds some model files and a line for each step.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from memberstream.models.log_record import encode
from memberstream.models.log_steps import Step
from memberstream.models.registry import Registry
from memberstream.stream.kafka.clients import DENIED, Kafka
from memberstream.stream.kafka.topics import TopicsUnreadable, create_missing

T = TypeVar("T")

#: Of one record. A model file of 4,096 columns and ten classes has about 1 MB.
MAX_STEP_BYTES = 8 << 20
#: Of who reads the log once. The embedded broker lets each fetch wait this long, even if there are records.
_ONCE_WAIT_MS = 20
_CONFIGS = {"cleanup.policy": "compact", "max.message.bytes": str(MAX_STEP_BYTES + 65_536)}


class ModelsLogError(OSError):
    """The models' log can't be read or written; the text says what to do next."""


class ModelsLog:
    """The log of one installation.

    Args:
        patience_s: how long to wait, when connecting, for a broker that doesn't answer yet.
    """

    def __init__(self, kafka: Kafka, topic: str, replication_factor: int, patience_s: float = 5.0) -> None:
        self._kafka, self.topic, self._replication_factor = kafka, topic, replication_factor
        self.patience_s = patience_s
        self.partition = TopicPartition(topic, 0)

    async def read(self) -> Registry:
        """Return what the log holds now. Creates the topic if it doesn't exist. Raises ModelsLogError."""
        await self._create()
        registry = Registry()
        async with self.consumer(fetch_max_wait_ms=_ONCE_WAIT_MS) as consumer:
            await self.read_on(consumer, registry)
        return registry

    async def append(self, step: Step) -> tuple[Registry, str]:
        """Append a step. Returns the registry up to it, and why it doesn't count; "" if it does.

        Raises:
            ModelsLogError: there is no broker, it doesn't take the record, or a transaction holds the record back.
        """
        value = encode(step)
        if len(value) > MAX_STEP_BYTES:
            raise ModelsLogError(
                f"{step.label}: {len(value)} bytes, the limit is {MAX_STEP_BYTES}. Next: fewer examples"
            )
        key = f"{step.action}/{step.label}/{secrets.token_hex(8)}".encode()
        offset = await self.append_value(key, value)
        registry = Registry()
        verdict: str | None = None
        async with self.consumer(fetch_max_wait_ms=_ONCE_WAIT_MS) as consumer:
            async for record in self._records(consumer, registry):
                why_not = registry.take(record.offset, record.value)
                if record.offset == offset:
                    verdict = why_not
        if verdict is None:
            raise ModelsLogError(
                f"topic {self.topic}: the step is there, at offset {offset}, but somebody's transaction in it "
                "has not ended and holds it back; it counts once that has. Next: don't repeat it; see who writes to it "
                '(docs/operations.md, "Transactions of producers")'
            )
        return registry, verdict

    async def append_value(self, key: bytes, value: bytes, times: int = 1) -> int:
        """Append a record, as often as asked. Returns the last one's offset. Raises like `append`."""
        producer = self._kafka.producer(max_request_size=MAX_STEP_BYTES + 65_536)
        await self._start(producer)
        try:
            with self._kafka.explained(ModelsLogError, self.topic):
                acks = [await producer.send(self.topic, value, key, partition=0) for _ in range(times)]
                return int((await asyncio.gather(*acks))[-1].offset)
        finally:
            await producer.stop()

    async def read_on(self, consumer: AIOKafkaConsumer, registry: Registry) -> None:
        """Take in what has come since, up to where the log ends now."""
        async for record in self._records(consumer, registry):
            registry.take(record.offset, record.value)

    async def _records(self, consumer: AIOKafkaConsumer, registry: Registry) -> AsyncIterator[Any]:
        """Yield the records from where the registry is to where the log ends now."""
        consumer.seek(self.partition, registry.offset + 1)
        # This is exact even on the embedded broker, which answers the last batch's base offset + 1: each batch has one
        # record.
        end = (await consumer.end_offsets([self.partition]))[self.partition]
        while await consumer.position(self.partition) < end:
            for record in (await consumer.getmany(self.partition, timeout_ms=1_000)).get(self.partition, []):
                yield record

    @asynccontextmanager
    async def consumer(self, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
        """Give a consumer of the log, from its beginning on. `options`: aiokafka's."""
        consumer = self._kafka.consumer(max_partition_fetch_bytes=MAX_STEP_BYTES, **options)
        await self._start(consumer)
        try:
            consumer.assign([self.partition])
            yield consumer
        except DENIED as error:
            raise ModelsLogError(self._kafka.said(error)) from None
        finally:
            await consumer.stop()

    @asynccontextmanager
    async def asker(self) -> AsyncIterator[AIOKafkaConsumer]:
        """Give a client that reads nothing, to ask where the log ends. Brokers answer one question of a connection at a
        time, and a reader's fetch waits half a second for records."""
        consumer = self._kafka.consumer()
        await self._start(consumer)
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def _create(self) -> None:
        admin = self._kafka.admin()
        await self._start(admin, close=admin.close)
        try:
            await create_missing(admin, self.topic, 1, self._replication_factor, _CONFIGS)
        except TopicsUnreadable as error:
            raise ModelsLogError(str(error)) from None
        finally:
            await admin.close()

    async def _start(self, client: Any, close: Callable[[], Awaitable[None]] | None = None) -> None:
        deadline = monotonic() + self.patience_s
        while True:
            try:
                await client.start()
                return
            except KafkaError as error:
                if monotonic() > deadline:
                    await (close or client.stop)()
                    raise ModelsLogError(self._kafka.said(error)) from None
                await asyncio.sleep(0.5)
