"""The identity of a topic: the id that the broker gave it when it was created. Made anew under its name it has another.

Source: Kafka's Metadata request, version 10 (KIP-516; brokers since 2.8). aiokafka speaks version 5, so the one we need
is spelt out here. A broker that doesn't know it, or doesn't tell, leaves the topic without identity: b"".
"""

from __future__ import annotations

from typing import Any, cast

from aiokafka.errors import IncompatibleBrokerVersion
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

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_RequestV10]) -> _RequestV10:
        return request_struct_class([(_NONE, self._topic, {})], False, False, False, {})


async def topic_id(client: Any, topic: str) -> bytes:
    """Return a topic's id, 16 bytes; b"" when the broker gives topics none, or doesn't know the topic (now).

    `client`: an aiokafka client that is started. Raises KafkaError when no broker answers.
    """
    try:
        response = await client.send(client.get_random_node(), _Request(topic))
    except (NotImplementedError, IncompatibleBrokerVersion):
        return b""  # what that leaves unseen: docs/operations.md, "Limits"; the worker says it at its start
    for code, name, found, *_ in response.topics:
        if name == topic and not code and found != _NONE:
            return cast(bytes, found)
    return b""
