"""Members' states read from outside the worker: the newest record of each key in the changelog.

For people's questions (`explain`, `model compare`), not for services: whole partitions of the changelog are read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import DefaultPartitioner

from models.member import Member, decode
from stream.topics import count_partitions

_PATIENCE_MS = 2_000  # an empty partition answers nothing at all; a full one answers in milliseconds
_SLICE = 1_000

Progress = Callable[[int, int], None]  # changelog records read, records in all


class StateUnreadable(OSError):
    """The changelog can't be read; the text says what to do next."""


async def read_members(bootstrap: Sequence[str], changelog: str, member_ids: Sequence[str]) -> dict[str, Member]:
    """Return the states of those of the members that have one.

    Raises:
        StateUnreadable: no broker there, or no such changelog.
        StateError: the state was written by another version of memberstream.
    """
    wanted = {member_id.encode() for member_id in member_ids}
    found: dict[bytes, bytes | None] = {}
    async with _connected(bootstrap, changelog) as (consumer, partitions):
        choose = DefaultPartitioner()
        for partition in sorted({choose(key, partitions, partitions) for key in wanted}):
            async for records in _records(consumer, TopicPartition(changelog, partition)):
                found.update((record.key, record.value) for record in records if record.key in wanted)
    return {key.decode(): decode(value) for key, value in found.items() if value is not None}


async def all_members(
    bootstrap: Sequence[str], changelog: str, progress: Progress = lambda done, total: None
) -> AsyncIterator[list[tuple[bytes, Member]]]:
    """Yield (id, state) of the members that have a document, a thousand at a time.

    One partition's newest values are held in memory at a time. Raises as `read_members`.
    """
    async with _connected(bootstrap, changelog) as (consumer, numbers):
        partitions = [TopicPartition(changelog, number) for number in numbers]
        total = sum((await consumer.end_offsets(partitions)).values())
        done = 0
        for partition in partitions:
            newest: dict[bytes, bytes | None] = {}
            async for records in _records(consumer, partition):
                newest.update((record.key, record.value) for record in records)
                done += len(records)
                progress(done, max(done, total))
            states = [(key, value) for key, value in newest.items() if value is not None and not key.startswith(b"\0")]
            for start in range(0, len(states), _SLICE):
                members = [(key, decode(value)) for key, value in states[start : start + _SLICE]]
                yield [(key, member) for key, member in members if member.document is not None]


@asynccontextmanager
async def _connected(bootstrap: Sequence[str], changelog: str) -> AsyncIterator[tuple[AIOKafkaConsumer, list[int]]]:
    """Give a consumer and the changelog's partitions."""
    n_partitions = await count_partitions(bootstrap, changelog)
    if not n_partitions:
        raise StateUnreadable(f"no topic {changelog}. Next: check MEMBERSTREAM_GROUP, and that a worker has run")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=list(bootstrap),
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=16 << 20,
        max_poll_records=50_000,
    )
    try:
        try:
            await consumer.start()
        except KafkaConnectionError as error:
            raise StateUnreadable(
                f"no Kafka broker at {', '.join(bootstrap)} ({error}). Next: check MEMBERSTREAM_KAFKA_BOOTSTRAP"
            ) from None
        yield consumer, list(range(n_partitions))
    finally:
        await consumer.stop()


async def _records(consumer: AIOKafkaConsumer, partition: TopicPartition) -> AsyncIterator[list[Any]]:
    """Yield the records of a partition from its beginning to its end.

    The end is the high watermark that came with the records: ListOffsets is wrong on the embedded broker.
    """
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    while True:
        records = (await consumer.getmany(partition, timeout_ms=_PATIENCE_MS)).get(partition, [])
        if records:
            yield records
        end = consumer.highwater(partition)
        if not records or end is None or await consumer.position(partition) >= end:
            return
