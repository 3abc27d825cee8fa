"""Topics seen from outside the worker: how many partitions a topic has; creating the topics that commands write to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from memberstream.models.wording import counted
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.topic_id import topic_id


class TopicsUnreadable(OSError):
    """Kafka doesn't tell anything about its topics; the text says what to do next."""


class Found(NamedTuple):
    """A topic as the broker describes it. `id`: see topic_id.py; b"" if the broker tells none."""

    n_partitions: int
    id: bytes


async def count_partitions(kafka: Kafka, topic: str) -> int:
    """Return how many partitions a topic has, 0 if there is no such topic. Raises TopicsUnreadable."""
    return (await look_up(kafka, topic)).n_partitions


async def look_up(kafka: Kafka, topic: str) -> Found:
    """Return a topic; it has no partitions if it doesn't exist. Raises TopicsUnreadable.

    (A consumer's own `partitions_for_topic` knows only topics that it has been assigned.)
    """
    admin = kafka.admin()
    try:
        with kafka.explained(TopicsUnreadable):
            await admin.start()
            if topic not in await admin.list_topics():  # asking for one may create it
                return Found(0, b"")
            [described] = await admin.describe_topics([topic])
            return Found(len(described["partitions"]), await topic_id(admin._client, topic))
    finally:
        await admin.close()


async def create_missing(
    admin: AIOKafkaAdminClient, topic: str, n_partitions: int, replication_factor: int, configs: Mapping[str, str]
) -> None:
    """Create a topic if it isn't there. Raises TopicsUnreadable: the broker refuses."""
    if topic in await admin.list_topics():
        return
    try:
        new = NewTopic(topic, n_partitions, replication_factor, topic_configs=dict(configs))
        response = await admin.create_topics([new])
    except TopicAlreadyExistsError:
        return
    for _, code, *reason in response.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            why = f"{for_code(code).__name__} {reason[0] if reason else ''}"
            settings = ", ".join(f"{name}={value}" for name, value in configs.items())
            raise TopicsUnreadable(
                f"can't create the topic {topic}: {why}. Next: create it yourself "
                f"({counted(n_partitions, 'partition')}, {settings}), or allow this user to"
            )


async def create_topic(kafka: Kafka, topic: str, n_partitions: int) -> None:
    """Create a topic without replication, for `local` and the demo. Elsewhere that is the operator's task."""
    admin = kafka.admin()
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, n_partitions, 1)])
    finally:
        await admin.close()
