"""The log of skips in Kafka: `<group>-skips`, one partition, compacted, each step under a key of its own.

Why it isn't part of the models' log: decision 0024.

Law: a worker that is assigned a partition first reads the log to its end. So a record that was set aside before is
never handled after. Then the worker follows the log, even if the log is deleted and made anew.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from memberstream.stream.kafka.clients import Kafka, closed_is_outage
from memberstream.stream.kafka.topic_id import topic_id
from memberstream.stream.kafka.topics import create_missing
from memberstream.stream.partition.skips import Skip, Skips, encode

log = logging.getLogger(__name__)

CONFIGS = {"cleanup.policy": "compact"}
_AGAIN_S = 2.0
_LOOK_EVERY_MS = 2_000  # as the questions to Kafka (faust_batch/probe.py)


class SkipLogError(OSError):
    """The log can't be read or written; the text says what to do next."""


class SkipLog:
    """The log of one installation, and what has been read of it.

    Attributes:
        skips: the steps so far.
    """

    def __init__(self, kafka: Kafka, topic: str, replication_factor: int) -> None:
        self._kafka, self.topic, self._replication_factor = kafka, topic, replication_factor
        self._partition = TopicPartition(topic, 0)
        self._id = b""  # of the topic that `skips` are of
        self.skips = Skips()

    async def create(self) -> None:
        """Create the topic if it isn't there. Raises OSError: the broker refuses, or there is no broker."""
        admin = self._kafka.admin()
        try:
            with self._explained():
                await admin.start()
                await create_missing(admin, self.topic, 1, self._replication_factor, CONFIGS)
        finally:
            await admin.close()

    async def append(self, skip: Skip) -> None:
        """Append a step. Returns when every replica in sync has it. Raises SkipLogError."""
        key = f"{skip.topic}/{skip.partition}/{skip.offset}/{secrets.token_hex(8)}".encode()
        producer = self._kafka.producer()
        try:
            with self._explained():
                await producer.start()
                await producer.send_and_wait(self.topic, encode(skip), key, partition=0)
        finally:
            await producer.stop()

    async def read(self) -> Skips:
        """Take in all that is in the log now. Raises SkipLogError."""
        with self._explained():
            async with self._consumer() as consumer:
                # This is exact even on the embedded broker, which answers the last batch's base offset + 1: each batch
                # has one record.
                end = (await consumer.end_offsets([self._partition]))[self._partition]
                while await consumer.position(self._partition) < end:
                    await self._take(consumer, 1_000)
        return self.skips

    async def catch_up(self) -> None:
        """Do `read`, however long it takes: nothing may be handled before it."""
        while True:
            try:
                await self.read()
                return
            except SkipLogError as error:
                log.warning("waiting for the log of skips: %s", error)
                await asyncio.sleep(_AGAIN_S)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Take in new steps, and log them. Never returns. An outage of Kafka is waited out."""
        while True:
            try:
                with self._explained():
                    async with self._consumer() as consumer:
                        while not await self._is_another(consumer):
                            await self._take(consumer, _LOOK_EVERY_MS)
                            changed()
            except SkipLogError as error:
                log.warning("the log of skips can't be followed: %s", error)
                await asyncio.sleep(_AGAIN_S)

    async def _take(self, consumer: AIOKafkaConsumer, wait_ms: int) -> None:
        found = await consumer.getmany(self._partition, timeout_ms=wait_ms)
        for record in found.get(self._partition, []):
            self.skips.take(record.offset, record.value)

    async def _is_another(self, consumer: AIOKafkaConsumer) -> bool:
        """Return whether the log isn't the one that was read, though it may be as long; some brokers don't tell."""
        with closed_is_outage():
            found = await topic_id(consumer._client, self.topic)
        return bool(found and self._id and found != self._id)

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        # A position is never moved silently: the reader begins again.
        consumer = self._kafka.consumer(auto_offset_reset="none")
        try:
            await consumer.start()
            part = self._partition
            consumer.assign([part])
            is_shorter = self.skips.offset >= (await consumer.end_offsets([part]))[part]
            if is_shorter or await self._is_another(consumer):
                log.warning(
                    "topic %s was deleted and made anew: it is read from its beginning. Next: nothing", self.topic
                )
                self.skips.begin_anew()
            self._id = await topic_id(consumer._client, self.topic)
            consumer.seek(part, max(self.skips.offset + 1, (await consumer.beginning_offsets([part]))[part]))
            yield consumer
        finally:
            await consumer.stop()

    def _explained(self) -> AbstractContextManager[None]:
        return self._kafka.explained(SkipLogError, self.topic)
