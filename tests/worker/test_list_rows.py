"""Rows of lists in a topic of a real broker: whoever reads them is told of all withdrawals."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer
from servers import Broker, create_topic, unique

from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.lists.rows import SEPARATOR, Appender, read


async def test_a_withdrawal_of_while_the_last_rows_are_taken_is_read(broker: Broker) -> None:
    """All rows are read; the reader is told when, and what is acknowledged before it goes on is read after that."""
    topic, prefix, kafka = unique("lists"), b"buyers@1/token", Kafka((broker.bootstrap,))
    await create_topic(broker.bootstrap, topic, partitions=1)
    async with Appender(kafka, topic, prefix, [0]) as appender:
        await appender.append([b"a", b"b"], [1, 2])
        await appender.flush()
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
    await producer.start()
    found: list[dict[bytes, bytes | None]] = []
    try:
        async for chunk in read(kafka, topic, "", 0, 0, appender.end[0]):
            found.append(chunk.rows_of(prefix))
            if found == [{b"a": b"1", b"b": b"2"}, {}]:
                batch = producer.create_batch()
                for member in (b"b", b"a"):
                    batch.append(key=prefix + SEPARATOR + member, value=None, timestamp=1)
                await (await producer.send_batch(batch, topic, partition=0))
    finally:
        await producer.stop()
    assert found[:3] == [{b"a": b"1", b"b": b"2"}, {}, {b"a": None, b"b": None}]
    assert not any(found[3:])
