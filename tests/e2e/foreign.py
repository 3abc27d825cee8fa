"""Producers and brokers as others have them: librdkafka, its transactions, records removed, topics altered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Producer
from e2e.system import Sent, System


class Transactional:
    """A producer of librdkafka whose records belong to transactions; partitions are chosen as Java's clients do."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic, self._is_ready = topic, False
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": f"{topic}-{id(self)}",
                "partitioner": "murmur2_random",
                "log_level": 0,  # nothing after the broker has gone
            }
        )

    @classmethod
    def of(cls, system: System, topic: str = "") -> Transactional:
        """Return a producer for a topic of an installation: change events, unless another is named."""
        return cls(system.pair.broker.bootstrap, topic or system.settings.topic)

    async def begin(self, records: Iterable[Sent], partition: int = -1) -> None:
        """Begin a transaction; returns when the broker has its records."""

        def work() -> None:
            if not self._is_ready:
                self._producer.init_transactions(30)
                self._is_ready = True
            self._producer.begin_transaction()
            more: dict[str, Any] = {} if partition < 0 else {"partition": partition}
            for record in records:
                self._producer.produce(self._topic, key=record.key, value=record.value, **more)
            self._producer.flush(30)

        await asyncio.to_thread(work)

    async def commit(self) -> None:
        await asyncio.to_thread(self._producer.commit_transaction, 30)

    async def abort(self) -> None:
        await asyncio.to_thread(self._producer.abort_transaction, 30)


async def ends(system: System, topic: str = "") -> dict[int, int]:
    """Return where each partition ends, control records included."""
    consumer = system.settings.kafka.consumer(isolation_level="read_uncommitted")
    await consumer.start()
    try:
        parts = [TopicPartition(topic or system.settings.topic, p) for p in range(system.n_partitions)]
        return {part.partition: end for part, end in (await consumer.end_offsets(parts)).items()}
    finally:
        await consumer.stop()


async def remove_before(system: System, offsets: Mapping[int, int], topic: str = "") -> None:
    """Remove the records of partitions before these offsets, as retention does."""
    name = topic or system.settings.topic
    admin = await _admin(system)
    try:
        await admin.delete_records({TopicPartition(name, p): RecordsToDelete(o) for p, o in offsets.items()})
    finally:
        await admin.close()


async def set_policy(system: System, policy: str, topic: str = "") -> None:
    """Set the cleanup.policy of a topic (all other settings fall back to the broker's)."""
    admin = await _admin(system)
    try:
        name = topic or system.settings.topic
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"cleanup.policy": policy})])
    finally:
        await admin.close()


async def delete_topic(system: System, topic: str) -> None:
    """Delete a topic; returns when the broker doesn't know it any more."""
    admin = await _admin(system)
    try:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():  # noqa: ASYNC110 - brokers announce nothing
            await asyncio.sleep(0.1)
    finally:
        await admin.close()


async def _admin(system: System) -> AIOKafkaAdminClient:
    admin = system.settings.kafka.admin()
    await admin.start()
    return admin
