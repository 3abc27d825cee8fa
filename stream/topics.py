"""Creating the topic of change events, for `local` and the demo; elsewhere it is the operator's to create."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient, NewTopic


async def create_topic(bootstrap: str, topic: str, n_partitions: int) -> None:
    """Create a topic without replication."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, n_partitions, 1)])
    finally:
        await admin.close()
