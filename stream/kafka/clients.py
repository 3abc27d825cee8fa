"""The one place that makes Kafka clients. What all of them need stands here, once.

Laws:
- Every consumer reads committed records only. Records of a transaction that was aborted, or may yet be aborted, don't
  exist for us.
- Every consumer can read every legal record, whatever the names of its headers.
- Nobody creates a topic by asking for it. A broker may do so (auto.create.topics.enable), with its own number of
  partitions. A topic that was deleted would be back before anybody noticed.
- Every producer waits for all replicas in sync. No client commits offsets by itself. A consumer begins where it is told
  to, or at the beginning.
- Faust makes its own consumer and producer: stream/faust_batch takes `options` and keeps the same laws.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import aiokafka.client
import aiokafka.conn
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    PolicyViolationError,
    RecordListTooLargeError,
    RecordTooLargeError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.metadata import MetadataRequest

from memberstream.stream.kafka.any_record import read_any_record
from memberstream.stream.kafka.refusal import CheckedOAuth, Unreachable, refusal
from memberstream.stream.kafka.security import Security

log = logging.getLogger(__name__)
READ_COMMITTED = "read_committed"
#: Seconds. A broker that is well answers within one; a person who waits wants to know for what.
SILENT_S = 3.0
_PLAIN = Security()
RIGHTS = 'grant it the rights that docs/kafka-security.md lists for it, "Rights"'
_SILENT = "waiting for Kafka at %s, which doesn't answer. Next: nothing while it starts; else check address and broker"
_without_creating = partial(MetadataRequest, allow_auto_topic_creation=False)


class _Client:
    """Brokers that take connections and don't answer are waited for at the start, and not in silence."""

    kafka: Kafka

    async def start(self) -> None:
        """Start it. Raises Unreachable: no broker lets it in."""
        told = asyncio.get_running_loop().call_later(SILENT_S, log.warning, _SILENT, self.kafka)
        try:
            await super().start()  # type: ignore[misc]  # aiokafka's
        except KafkaConnectionError as error:
            raise Unreachable(await self.kafka.refusal() or str(error)) from error
        finally:
            told.cancel()


class Producer(_Client, AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """A producer."""


class Admin(_Client, AIOKafkaAdminClient):  # type: ignore[misc]
    """An admin client."""


class Consumer(_Client, AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer that can be stopped at any time."""

    async def stop(self) -> None:
        """Stop it. aiokafka's own `stop` raises CancelledError, and leaves the rest open, in two cases.

        In the turn of its start: its task must have begun before it can be cancelled in peace. And during an outage: a
        fetch that has failed may be in its pause before the next one.
        """
        await asyncio.sleep(0)
        stopping = asyncio.create_task(super().stop())
        await asyncio.wait({stopping})
        if not stopping.cancelled():
            stopping.result()
            return
        fetches = tuple(self._fetcher._pending_tasks)
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        await self._client.close()


C = TypeVar("C", bound=_Client)


@contextmanager
def closed_is_outage() -> Iterator[None]:
    """Put this around questions to a broker. aiokafka cancels tasks that wait on a connection that it closes.

    That is an outage: then this raises KafkaConnectionError. A CancelledError that is meant for this task passes.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise KafkaConnectionError("the connection was closed while an answer was awaited") from None


#: What an ACL that is missing looks like.
DENIED = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)
#: What nobody's answer looks like.
_AWAY = (OSError, KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError)
_SMALLER = "raise max.message.bytes of the topic, or send less in one record"
_REPLICAS = "bring the brokers back that are down: too few replicas are in sync (min.insync.replicas)"
#: What to do about a refusal.
_REFUSED: Mapping[type[KafkaError], str] = {
    MessageSizeTooLargeError: _SMALLER,
    RecordListTooLargeError: _SMALLER,
    RecordTooLargeError: _SMALLER,
    NotEnoughReplicasError: _REPLICAS,
    NotEnoughReplicasAfterAppendError: _REPLICAS,
    InvalidReplicationFactorError: "set MEMBERSTREAM_REPLICATION_FACTOR to at most the number of brokers",
    PolicyViolationError: "create the topic by hand, as the broker's policy wants it",
}


def advice(error: BaseException) -> str:
    """Return what to do about an error of a client, to stand behind its text; "" if that isn't known."""
    return f". Next: {RIGHTS}" if isinstance(error, DENIED) else ""


@dataclass(frozen=True, slots=True)
class Kafka:
    """How to reach the brokers.

    Attributes:
        bootstrap: host:port of some of them.
        security: how to be let in.
    """

    bootstrap: tuple[str, ...]
    security: Security = _PLAIN

    def __post_init__(self) -> None:
        # aiokafka's clients, Faust's among them, ask for topics in a way that makes brokers create missing ones.
        aiokafka.client.MetadataRequest = _without_creating
        aiokafka.conn.OAuthAuthenticator = CheckedOAuth

    def __str__(self) -> str:
        return ", ".join(self.bootstrap)

    @property
    def options(self) -> Mapping[str, Any]:
        """Options that every client of aiokafka needs to connect. Raises SecurityError: certificates can't be used."""
        return {"bootstrap_servers": list(self.bootstrap), **self.security.options()}

    async def refusal(self) -> str | None:
        """Return why no broker lets us in, with the next action; None if one does."""
        return await refusal(self.bootstrap, self.security, self.options)

    def said(self, error: Exception, topic: str = "") -> str:
        """Return what an error of a client means to a person, with the next action. `topic`: at which it came."""
        where = f"topic {topic}: " if topic else ""
        if "Next: " in str(error):
            return f"{where}{error}"
        if isinstance(error, DENIED):
            return f"{where}Kafka at {self} doesn't allow that to this user ({error}). Next: {RIGHTS}"
        if isinstance(error, UnknownTopicOrPartitionError):
            return f"{where}Kafka at {self} has no such topic ({error}). Next: create it, or correct its name"
        if (action := _REFUSED.get(type(error))) is not None:
            return f"{where}Kafka at {self} refuses that ({error}). Next: {action}"
        if isinstance(error, _AWAY):
            check = "check the broker, and MEMBERSTREAM_KAFKA_BOOTSTRAP"
            return f"{where}Kafka at {self} can't be used ({error}). Next: {check}"
        return f"{where}Kafka at {self} has failed ({error}). Next: see the broker's log, and try again"

    @contextmanager
    def explained(self, as_error: Callable[[str], Exception], topic: str = "") -> Iterator[None]:
        """Raise an error of a client as one of ours, made of what `said` says of it."""
        try:
            yield
        except KafkaError as error:
            raise as_error(self.said(error, topic)) from None

    def consumer(self, **options: Any) -> Consumer:
        """Return a consumer that belongs to no group, not started. `options`: aiokafka's."""
        read_any_record()
        laws = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "isolation_level": READ_COMMITTED}
        return self._named(Consumer(**self.options, **{**laws, **options}))

    def producer(self, **options: Any) -> Producer:
        """Return a producer, not started. `options`: aiokafka's."""
        return self._named(Producer(**self.options, acks="all", **options))

    def admin(self, **options: Any) -> Admin:
        """Return an admin client, not started. `options`: aiokafka's."""
        return self._named(Admin(**self.options, **options))

    def _named(self, client: C) -> C:
        client.kafka = self
        return client
