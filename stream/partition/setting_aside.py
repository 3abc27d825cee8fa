"""What a person does about a record that can't be handled: look at it, and set it aside (skips.py).

Law: a step is appended only for a record that is there. Unless forced, it must be the record at which its partition
stands: the first behind what the group has committed. So a typing error takes no good record away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.topics import look_up
from memberstream.stream.partition.skip_log import SkipLog
from memberstream.stream.partition.skips import Skip, Skips

_FETCH_MS = 3_000  # to wait for a record that may not be there
_POLL_S = 0.2


class CannotSkip(OSError):
    """The record can't be set aside; the text says what to do next."""


class Found(NamedTuple):
    """The record (aiokafka's ConsumerRecord), the id of its topic, and the offset at which its partition stands.

    `stands_at`: None if nothing is left to handle. If the record there was removed, the offset has no record.
    """

    record: Any
    topic_id: str
    stands_at: int | None


class SettingAside:
    """Sets records of one topic aside, for one group that reads it."""

    def __init__(self, kafka: Kafka, topic: str, group: str, log: SkipLog) -> None:
        self._kafka, self._topic, self._group, self._log = kafka, topic, group, log

    async def look(self, partition: int, offset: int) -> Found:
        """Return the record at an offset. Raises CannotSkip: no such topic, partition or record."""
        n_partitions, topic_id = await look_up(self._kafka, self._topic)
        if not 0 <= partition < n_partitions:
            known = f"it has partitions 0 to {n_partitions - 1}" if n_partitions else "there is no such topic"
            raise CannotSkip(f"{self._topic}: no partition {partition}, {known}. Next: take both numbers from /readyz")
        part = TopicPartition(self._topic, partition)
        async with self._reading(part) as consumer:
            begins = (await consumer.beginning_offsets([part]))[part]
            if offset < begins:
                raise CannotSkip(
                    f"{self._topic}, partition {partition}: offset {offset} was removed from the topic, which begins "
                    f"at {begins}: there is nothing to set aside. Next: see /readyz, which tells of the gap within "
                    'seconds (docs/operations.md, "A gap in the topic")'
                )
            record = await _first(consumer, part, offset)
            if record is None or record.offset != offset:
                raise CannotSkip(
                    f"{self._topic}, partition {partition}: no record at offset {offset}. "
                    "Next: take both numbers from /readyz"
                )
            committed = await consumer.committed(part)
            if (
                committed is not None and committed < begins
            ):  # a gap: the partition stands at an offset without a record
                return Found(record, topic_id.hex(), committed)
            stands = await _first(consumer, part, begins if committed is None else committed)
        return Found(record, topic_id.hex(), None if stands is None else stands.offset)

    def refuse(self, found: Found, forced: bool) -> None:
        """Refuse a record at which its partition doesn't stand. Raises CannotSkip."""
        offset, stands_at = found.record.offset, found.stands_at
        if stands_at != offset and not forced:
            stands = "has nothing left to do" if stands_at is None else f"stands at offset {stands_at}"
            raise CannotSkip(
                f"{self._topic}, partition {found.record.partition} {stands}: nothing fails at {offset}. Next: take "
                "both numbers from /readyz; --force if it is meant: a record that is handled already stays so"
            )

    async def set_aside(self, found: Found, actor: str, at_ms: int, reason: str, forced: bool) -> None:
        """Append the step. Raises CannotSkip, SkipLogError."""
        record = found.record
        self.refuse(found, forced)
        await self._log.create()
        await self._log.append(
            Skip(
                topic=self._topic,
                topic_id=found.topic_id,
                partition=record.partition,
                offset=record.offset,
                at_ms=at_ms,
                actor=actor,
                reason=reason,
                forced=forced,
            )
        )

    async def passed(self, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until the group has committed behind an offset. Returns False if that takes too long."""
        part, give_up_at = TopicPartition(self._topic, partition), monotonic() + timeout_s
        async with self._reading(part) as consumer:
            while (await consumer.committed(part) or 0) <= offset:
                if monotonic() > give_up_at:
                    return False
                await asyncio.sleep(_POLL_S)
        return True

    async def history(self) -> Skips:
        """Return all steps of the installation. Raises SkipLogError."""
        if not (await look_up(self._kafka, self._log.topic)).n_partitions:  # asking for a missing topic may create it
            return self._log.skips
        return await self._log.read()

    @asynccontextmanager
    async def _reading(self, part: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
        """Give a consumer that may ask what the group has committed. Assigned by hand, it doesn't join the group."""
        consumer = self._kafka.consumer(group_id=self._group, max_partition_fetch_bytes=16 << 20)
        try:
            with self._kafka.explained(CannotSkip, self._topic):
                await consumer.start()
                consumer.assign([part])
                yield consumer
        finally:
            await consumer.stop()


async def _first(consumer: AIOKafkaConsumer, part: TopicPartition, offset: int) -> Any:
    """Return the first record at or behind an offset; None if none comes."""
    consumer.seek(part, offset)
    found = await consumer.getmany(part, timeout_ms=_FETCH_MS, max_records=1)
    return next(iter(found.get(part, [])), None)
