"""The models' log in Kafka: what was published, promoted, rolled back and retired, for ever and in order.

One partition gives one order; each record has a key of its own, so compaction keeps them all. Read whole by whoever
needs it: it holds some model files and a line for each step.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models.model import label
from models.registry import Registry, Step, StepError, decode, encode
from stream.topics import TopicsUnreadable, create_missing

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Of one record. A model file of 4,096 columns and ten classes has about 1 MB.
MAX_STEP_BYTES = 8 << 20
_CONFIGS = {"cleanup.policy": "compact", "max.message.bytes": str(MAX_STEP_BYTES + 65_536)}


class ModelsLogError(OSError):
    """The models' log can't be read or written; the text says what to do next."""


class ModelsLog:
    """The log of one installation.

    Args:
        patience_s: how long a broker that doesn't answer yet is waited for, when connecting.
    """

    def __init__(self, bootstrap: Sequence[str], topic: str, replication_factor: int, patience_s: float = 5.0) -> None:
        self._bootstrap, self._topic, self._replication_factor = list(bootstrap), topic, replication_factor
        self._patience_s = patience_s
        self._partition = TopicPartition(topic, 0)

    async def read(self) -> Registry:
        """Return what the log holds now; makes the topic if it isn't there. Raises ModelsLogError."""
        await self._create()
        registry = Registry()
        async with self._consumer() as consumer:
            await self._read_on(consumer, registry)
        return registry

    async def append(self, step: Step) -> tuple[Registry, str]:
        """Append a step; returns the registry up to it, and why it doesn't count, "" if it does.

        Raises:
            ModelsLogError: no broker, or it doesn't take the record.
        """
        value = encode(step)
        if len(value) > MAX_STEP_BYTES:
            name = label(step.name, step.version)
            raise ModelsLogError(f"{name}: {len(value)} bytes, the limit is {MAX_STEP_BYTES}. Next: fewer examples")
        key = f"{step.action}/{label(step.name, step.version)}/{secrets.token_hex(8)}".encode()
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", max_request_size=MAX_STEP_BYTES + 65_536
        )
        await self._start(producer)
        try:
            offset = (await producer.send_and_wait(self._topic, value, key, partition=0)).offset
        except KafkaError as error:
            raise ModelsLogError(f"topic {self._topic}: {error!r}. Next: check the broker and try again") from None
        finally:
            await producer.stop()
        registry = Registry()
        verdict = ""
        async with self._consumer() as consumer:
            async for record in self._records(consumer, registry):
                why_not = _take(registry, record)
                if record.offset == offset:
                    verdict = why_not
        return registry, verdict

    async def follow(self, registry: Registry, changed: Callable[[], Awaitable[None]]) -> None:
        """Keep a registry up to date, and say so after each change. Never returns; an outage of Kafka is waited out."""
        while True:
            try:
                async with self._consumer() as consumer:
                    consumer.seek(self._partition, registry.offset + 1)
                    while True:
                        if await self._read_on(consumer, registry, wait_ms=60_000):
                            await changed()
            except (ModelsLogError, KafkaError) as error:
                log.warning("the models' log can't be read: %s", error)
                await asyncio.sleep(self._patience_s)

    async def _read_on(self, consumer: AIOKafkaConsumer, registry: Registry, wait_ms: int = 0) -> int:
        """Take what has come, with `wait_ms` the first of it; returns the number of records."""
        if wait_ms:
            found = await consumer.getmany(self._partition, timeout_ms=wait_ms)
            records = found.get(self._partition, [])
            for record in records:
                _take(registry, record)
            return len(records)
        n = 0
        async for record in self._records(consumer, registry):
            _take(registry, record)
            n += 1
        return n

    async def _records(self, consumer: AIOKafkaConsumer, registry: Registry) -> AsyncIterator[Any]:
        """Yield the records from where the registry is to where the log ends now."""
        consumer.seek(self._partition, registry.offset + 1)
        # Exact also on the embedded broker, whose answer is the last batch's base offset + 1: batches have one record.
        end = (await consumer.end_offsets([self._partition]))[self._partition]
        while await consumer.position(self._partition) < end:
            for record in (await consumer.getmany(self._partition, timeout_ms=1_000)).get(self._partition, []):
                yield record

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=MAX_STEP_BYTES,
        )
        await self._start(consumer)
        try:
            consumer.assign([self._partition])
            yield consumer
        finally:
            await consumer.stop()

    async def _create(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await self._start(admin, close=admin.close)
        try:
            await create_missing(admin, self._topic, 1, self._replication_factor, _CONFIGS)
        except TopicsUnreadable as error:
            raise ModelsLogError(str(error)) from None
        finally:
            await admin.close()

    async def _start(self, client: Any, close: Callable[[], Awaitable[None]] | None = None) -> None:
        deadline = monotonic() + self._patience_s
        while True:
            try:
                await client.start()
                return
            except KafkaError as error:
                if monotonic() > deadline:
                    await (close or client.stop)()
                    raise ModelsLogError(
                        f"no Kafka broker at {', '.join(self._bootstrap)} ({error}). "
                        "Next: start one, or set MEMBERSTREAM_KAFKA_BOOTSTRAP"
                    ) from None
                await asyncio.sleep(0.5)


def _take(registry: Registry, record: Any) -> str:
    """Fold one record into the registry; what isn't a step is said aloud and left out."""
    try:
        return registry.add(record.offset, decode(record.value))
    except StepError as error:
        log.error("offset %d: %s", record.offset, error)
        registry.offset = record.offset
        return str(error)
