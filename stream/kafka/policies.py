"""What brokers do with old records of a topic (`cleanup.policy`), and which topics are there: asked, never assumed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeConfigsRequest

_POLICY = "cleanup.policy"


async def cleanup_policies(client: Any, topics: Iterable[str]) -> dict[str, str]:
    """Return the policies of the topics whose settings the broker tells. `client` is started.

    It asks for all settings of one topic at a time: the embedded broker ends the connection over anything else.
    """
    policies: dict[str, str] = {}
    for topic in topics:
        asked = DescribeConfigsRequest([(ConfigResourceType.TOPIC, topic, None)])
        try:
            response = await client.send(client.get_random_node(), asked)
        except (NotImplementedError, KafkaError):
            continue  # the broker doesn't tell, or not now
        for code, _, _, _, entries, *_ in response.resources:
            settings = {} if code else {entry[0]: entry[1] for entry in entries}
            if policy := settings.get(_POLICY):
                policies[topic] = policy
    return policies
