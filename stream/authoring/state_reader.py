"""Members' states read from outside the worker: the newest record of each key in the changelog, of its owners.

For people's questions (`explain`, `model compare`), not for services: whole partitions of the changelog are read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from memberstream.models.member import Member, decode
from memberstream.models.placement import Partitioner, Placement
from memberstream.models.position import NOWHERE
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.topic_reader import connected, records
from memberstream.stream.partition.write_position import judge
from memberstream.stream.tasks.meter import Meter, unwatched

_SLICE = 1_000
_ADVICE = "check MEMBERSTREAM_GROUP, and that a worker has run"


async def read_members(
    kafka: Kafka, changelog: str, member_ids: Sequence[str], partitioner: Partitioner
) -> dict[str, Member]:
    """Return the states of members that have one, each from the member's own partition.

    Args:
        partitioner: with `any` every partition is read.

    Raises:
        TopicUnreadable: no broker there, or no such changelog.
        StateError: the state was written by another version of memberstream.
    """
    wanted = {member_id.encode() for member_id in member_ids}
    found: dict[bytes, bytes] = {}
    async with connected(kafka, changelog, _ADVICE) as (consumer, partitions):
        everywhere = range(len(partitions))
        placement = Placement(partitioner, len(partitions))
        own = everywhere if partitioner == "any" else sorted({placement.partition_of(key) for key in wanted})
        for number in own:
            newest: dict[bytes, bytes | None] = {}
            async for latest, _ in _written(consumer, partitions[number]):
                newest.update((key, value) for key, value in latest.items() if key in wanted)
            found |= {key: value for key, value in newest.items() if value is not None}
    return {key.decode(): decode(value) for key, value in found.items()}


async def is_held(kafka: Kafka, changelog: str, member_id: str, partition: int) -> bool:
    """Return whether a partition has a state of a member. Raises TopicUnreadable."""
    key, value = member_id.encode(), None
    async with connected(kafka, changelog, _ADVICE) as (consumer, partitions):
        for part in partitions[partition : partition + 1]:
            async for latest, _ in _written(consumer, part):
                value = latest.get(key, value)
    return value is not None


async def misplaced_members(
    kafka: Kafka, changelog: str, partitioner: Partitioner, progress: Meter = unwatched
) -> list[tuple[str, int, int]]:
    """Return (id, partition, own partition) of members that lie in another partition than the partitioner says.

    Raises like `read_members`.
    """
    found: list[tuple[str, int, int]] = []
    async with connected(kafka, changelog, _ADVICE) as (consumer, partitions):
        placement = Placement(partitioner, len(partitions))
        total = sum((await consumer.end_offsets(partitions)).values())
        done = 0
        for number, partition in enumerate(partitions):
            held: dict[bytes, bool] = {}
            async for latest, n in _written(consumer, partition):
                held.update((key, value is not None) for key, value in latest.items())
                done += n
                progress(done, max(done, total))
            keys = [key for key, is_held in held.items() if is_held and not key.startswith(b"\0")]
            found += [(k.decode(), number, placement.partition_of(k)) for k in placement.misplaced(keys, number)]
    return found


async def all_members(
    kafka: Kafka, changelog: str, progress: Meter = unwatched
) -> AsyncIterator[list[tuple[bytes, Member]]]:
    """Yield (id, state) of the members that have a document, a thousand at a time.

    The newest values of one partition at a time are held in memory. Raises like `read_members`.
    """
    async with aclosing(partitions_of(kafka, changelog, progress)) as partitions:
        async for states, _ in partitions:
            for start in range(0, len(states), _SLICE):
                members = [(key, decode(value)) for key, value in states[start : start + _SLICE]]
                yield [(key, member) for key, member in members if member.document is not None]


async def ids_of_members(kafka: Kafka, changelog: str, progress: Meter = unwatched) -> AsyncIterator[list[bytes]]:
    """Yield the ids of the members that have a document, a partition at a time; states aren't kept in memory.

    Raises like `read_members`.
    """
    async with connected(kafka, changelog, _ADVICE) as (consumer, partitions):
        total = sum((await consumer.end_offsets(partitions)).values())
        done = 0
        for partition in partitions:
            held: dict[bytes, bool] = {}
            async for latest, n in _written(consumer, partition):
                held.update(
                    (key, value is not None and decode(value).document is not None)
                    for key, value in latest.items()
                    if not key.startswith(b"\0")
                )
                done += n
                progress(done, max(done, total))
            yield [key for key, is_there in held.items() if is_there]


async def sample_documents(
    kafka: Kafka, changelog: str, most: int, most_bytes: int
) -> tuple[list[dict[str, Any]], int]:
    """Return documents of members, evenly from the first partitions that have enough; and about how many members there
    are in all. Raises like `read_members`.

    Args:
        most_bytes: of their states, all together.
    """
    documents: list[dict[str, Any]] = []
    n_bytes = n_members = 0
    share_read = 1.0
    async with aclosing(partitions_of(kafka, changelog)) as partitions:
        async for states, share in partitions:
            share_read, n_members = share, n_members + len(states)
            for _, value in states[:: 1 + len(states) // most]:
                n_bytes += len(value)
                if len(documents) < most and n_bytes < most_bytes and (document := decode(value).document) is not None:
                    documents.append(document)
            if len(documents) >= most or n_bytes >= most_bytes:
                break
    return documents, round(n_members / share_read)


async def partitions_of(
    kafka: Kafka, changelog: str, progress: Meter = unwatched
) -> AsyncGenerator[tuple[list[tuple[bytes, bytes]], float], None]:
    """Yield each partition's states of members, and the share of all records that has been read."""
    async with aclosing(everything_of(kafka, changelog, progress)) as partitions:
        async for values, share in partitions:
            yield [(key, value) for key, value in values.items() if not key.startswith(b"\0")], share


async def everything_of(
    kafka: Kafka, changelog: str, progress: Meter = unwatched
) -> AsyncGenerator[tuple[dict[bytes, bytes], float], None]:
    """Yield key → newest value of each partition, what it remembers of itself included, and the share as above."""
    async with connected(kafka, changelog, _ADVICE) as (consumer, partitions):
        total = sum((await consumer.end_offsets(partitions)).values())
        done = 0
        for partition in partitions:
            newest: dict[bytes, bytes | None] = {}
            async for latest, n in _written(consumer, partition):
                newest.update(latest)
                done += n
                progress(done, max(done, total))
            yield {k: v for k, v in newest.items() if v is not None}, max(done, 1) / max(done, total, 1)


async def _written(
    consumer: AIOKafkaConsumer, partition: TopicPartition
) -> AsyncIterator[tuple[dict[bytes, bytes | None], int]]:
    """Yield key → newest value of some records at a time, and how many those were. Like recovery, it leaves out what a
    worker wrote that had lost the partition."""
    highest = NOWHERE
    async for some in records(consumer, partition):
        latest, _, highest = judge(some, highest)
        yield latest, len(some)
