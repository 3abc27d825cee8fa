"""Topics seen from outside the worker: how many partitions one has; and creating one for `local` and the demo."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError


class TopicsUnreadable(OSError):
    """Kafka doesn't tell of its topics; the text says what to do next."""


async def count_partitions(bootstrap: Sequence[str], topic: str) -> int:
    """Return how many partitions a topic has, 0 if there is no such topic. Raises TopicsUnreadable.

    (A consumer's own `partitions_for_topic` knows only topics that it has been assigned.)
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=list(bootstrap))
    try:
        await admin.start()
        if topic not in await admin.list_topics():  # asking for one may create it
            return 0
        [described] = await admin.describe_topics([topic])
        return len(described["partitions"])
    except KafkaConnectionError as error:
        raise TopicsUnreadable(
            f"no Kafka broker at {', '.join(bootstrap)} ({error}). Next: check MEMBERSTREAM_KAFKA_BOOTSTRAP"
        ) from None
    finally:
        await admin.close()


async def create_topic(bootstrap: str, topic: str, n_partitions: int) -> None:
    """Create a topic without replication. The operator's task elsewhere."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, n_partitions, 1)])
    finally:
        await admin.close()
