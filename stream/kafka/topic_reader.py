"""A topic read once from its beginning to its end, from outside the worker.

Laws: each partition's records come in their order, and all come that were committed when the reading began. It doesn't
wait for records that an open transaction holds back. If the end can't be reached, that is an error, never a shorter
answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.topics import count_partitions

_PATIENCE_S = 30.0  # without a record on the way to the end: longer than a broker takes for a new leader


class TopicUnreadable(OSError):
    """The topic can't be read; the text says what to do next."""


@asynccontextmanager
async def connected(
    kafka: Kafka, topic: str, advice: str
) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
    """Give a consumer and the topic's partitions. `advice`: what to do next if there is no such topic."""
    n_partitions = await count_partitions(kafka, topic)
    if not n_partitions:
        raise TopicUnreadable(f"no topic {topic}. Next: {advice}")
    consumer = kafka.consumer(fetch_max_wait_ms=100, max_partition_fetch_bytes=16 << 20, max_poll_records=50_000)
    try:
        with kafka.explained(TopicUnreadable):
            await consumer.start()
        yield consumer, [TopicPartition(topic, number) for number in range(n_partitions)]
    finally:
        await consumer.stop()


async def records(
    consumer: AIOKafkaConsumer, partition: TopicPartition, start: int | None = None
) -> AsyncIterator[list[Any]]:
    """Yield the records of a partition from its beginning, or an offset, to its end, many at a time.

    The embedded broker, asked for the end, takes the first record of the last batch for the last record of all. So if
    the end that comes with the records is higher, that one is believed.
    """
    consumer.assign([partition])
    if start is None:
        await consumer.seek_to_beginning(partition)
    else:
        consumer.seek(partition, start)
    end = (await consumer.end_offsets([partition]))[partition]
    give_up_at = monotonic() + _PATIENCE_S
    while await consumer.position(partition) < end:
        found = (await consumer.getmany(partition, timeout_ms=1_000)).get(partition, [])
        if found:
            yield found
            give_up_at = monotonic() + _PATIENCE_S
        elif monotonic() > give_up_at:
            where = f"{partition.topic}, partition {partition.partition}"
            raise TopicUnreadable(f"{where}: nothing came for {_PATIENCE_S:g} s before its end. Next: check the broker")
        end = max(end, readable_end(consumer, partition) or 0)


def readable_end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """Return the offset up to which a partition could be read at its last fetch; None before the first one.

    That is its end, or where a transaction begins that hasn't ended (the last stable offset; `highwater` is behind
    it)."""
    end: int | None = consumer.highwater(partition)
    stable: int | None = consumer.last_stable_offset(partition)
    return end if stable is None or stable < 0 else stable
