"""Reading a member's state from outside the worker: the newest record of its key in the changelog.

For people's questions (`explain`), not for services: it reads the member's whole changelog partition once.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import DefaultPartitioner

from models.member import Member, decode

_PATIENCE_MS = 2_000  # an empty partition answers nothing at all; a full one answers in milliseconds


class StateUnreadable(OSError):
    """The changelog can't be read; the text says what to do next."""


async def read_members(bootstrap: Sequence[str], changelog: str, member_ids: Sequence[str]) -> dict[str, Member]:
    """Return the states of those of the members that have one.

    Raises:
        StateUnreadable: no broker there, or no such changelog.
        StateError: the state was written by another version of memberstream.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=list(bootstrap), enable_auto_commit=False, fetch_max_wait_ms=100)
    try:
        await consumer.start()
    except KafkaConnectionError as error:
        await consumer.stop()
        raise StateUnreadable(
            f"no Kafka broker at {', '.join(bootstrap)} ({error}). Next: check MEMBERSTREAM_KAFKA_BOOTSTRAP"
        ) from None
    try:
        await consumer.topics()  # else partitions_for_topic answers from an empty cache
        partitions = sorted(consumer.partitions_for_topic(changelog) or ())
        if not partitions:
            raise StateUnreadable(f"no topic {changelog}. Next: check MEMBERSTREAM_GROUP, and that a worker has run")
        wanted = {member_id.encode() for member_id in member_ids}
        choose = DefaultPartitioner()
        found: dict[bytes, bytes | None] = {}
        for partition in sorted({choose(key, partitions, partitions) for key in wanted}):
            await _read(consumer, TopicPartition(changelog, partition), wanted, found)
        return {key.decode(): decode(value) for key, value in found.items() if value is not None}
    finally:
        await consumer.stop()


async def _read(
    consumer: AIOKafkaConsumer, partition: TopicPartition, wanted: set[bytes], found: dict[bytes, bytes | None]
) -> None:
    """Add the newest value of each wanted key of a partition to `found`.

    The end is the high watermark that came with the records: ListOffsets is wrong on the embedded broker.
    """
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    while True:
        records = (await consumer.getmany(partition, timeout_ms=_PATIENCE_MS)).get(partition, [])
        for record in records:
            if record.key in wanted:
                found[record.key] = record.value
        end = consumer.highwater(partition)
        if not records or end is None or await consumer.position(partition) >= end:
            return
