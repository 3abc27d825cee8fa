"""Members' states read from outside the worker: the newest record of each key in the changelog.

For people's questions (`explain`, `model compare`), not for services: whole partitions of the changelog are read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from aiokafka.partitioner import DefaultPartitioner

from models.member import Member, decode
from stream.topic_reader import connected, records

_SLICE = 1_000
_ADVICE = "check MEMBERSTREAM_GROUP, and that a worker has run"

Progress = Callable[[int, int], None]  # changelog records read, records in all


async def read_members(bootstrap: Sequence[str], changelog: str, member_ids: Sequence[str]) -> dict[str, Member]:
    """Return the states of those of the members that have one.

    Raises:
        TopicUnreadable: no broker there, or no such changelog.
        StateError: the state was written by another version of memberstream.
    """
    wanted = {member_id.encode() for member_id in member_ids}
    found: dict[bytes, bytes | None] = {}
    async with connected(bootstrap, changelog, _ADVICE) as (consumer, partitions):
        choose, numbers = DefaultPartitioner(), list(range(len(partitions)))
        for number in sorted({choose(key, numbers, numbers) for key in wanted}):
            async for some in records(consumer, partitions[number]):
                found.update((record.key, record.value) for record in some if record.key in wanted)
    return {key.decode(): decode(value) for key, value in found.items() if value is not None}


async def all_members(
    bootstrap: Sequence[str], changelog: str, progress: Progress = lambda done, total: None
) -> AsyncIterator[list[tuple[bytes, Member]]]:
    """Yield (id, state) of the members that have a document, a thousand at a time.

    One partition's newest values are held in memory at a time. Raises as `read_members`.
    """
    async with connected(bootstrap, changelog, _ADVICE) as (consumer, partitions):
        total = sum((await consumer.end_offsets(partitions)).values())
        done = 0
        for partition in partitions:
            newest: dict[bytes, bytes | None] = {}
            async for some in records(consumer, partition):
                newest.update((record.key, record.value) for record in some)
                done += len(some)
                progress(done, max(done, total))
            states = [(key, value) for key, value in newest.items() if value is not None and not key.startswith(b"\0")]
            for start in range(0, len(states), _SLICE):
                members = [(key, decode(value)) for key, value in states[start : start + _SLICE]]
                yield [(key, member) for key, member in members if member.document is not None]
