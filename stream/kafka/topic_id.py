"""The identity of a topic: the id that the broker gave it. A topic made anew under the same name has another id.

Source: Kafka's Metadata request, version 10 (KIP-516; brokers since 2.8). aiokafka speaks version 5, so version 10 is
spelt out here. If the broker doesn't know it, or doesn't tell, the topic has no identity: b"".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, cast

from aiokafka.errors import IncompatibleBrokerVersion, UnknownTopicOrPartitionError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_NONE = bytes(16)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka is Any to mypy
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        return cast(bytes, data.read(16))


_TAGS = ("tags", TaggedFields)


class _Response(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                _TAGS,
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition_index", Int32),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("replica_nodes", CompactArray(Int32)),
                        ("isr_nodes", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("topic_authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("cluster_authorized_operations", Int32),
        _TAGS,
    )


class _RequestV10(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class _Request(Request[_RequestV10]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics = tuple(topics)

    def build(self, request_struct_class: type[_RequestV10]) -> _RequestV10:
        return request_struct_class([(_NONE, topic, {}) for topic in self._topics], False, False, False, {})


async def topic_id(client: Any, topic: str) -> bytes:
    """Return a topic's id, 16 bytes; b"" if the broker gives topics no id, or doesn't know the topic now.

    `client`: an aiokafka client that is started. Raises KafkaError if no broker answers.
    """
    return (await topic_ids(client, [topic])).get(topic, b"")


async def topic_ids(client: Any, topics: Collection[str]) -> dict[str, bytes]:
    """Return the ids of the topics that the broker knows; otherwise like `topic_id`."""
    try:
        response = await client.send(client.get_random_node(), _Request(topics))
    except (NotImplementedError, IncompatibleBrokerVersion):
        # docs/operations.md, "Limits", tells what goes unseen without ids; the worker says so when it starts.
        known = (await client.fetch_all_metadata()).topics()
        return {topic: b"" for topic in topics if topic in known}
    return {
        name: b"" if code or found == _NONE else cast(bytes, found)
        for code, name, found, *_ in response.topics
        if code != UnknownTopicOrPartitionError.errno
    }
