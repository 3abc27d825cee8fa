"""Is Kafka there, and is there something to fetch? Asked of the brokers on a connection of its own.

The law of this file:
1. The worker's own clients reconnect for ever and keep silent about it; so the question is put separately: the leaders
   of the owned partitions must tell where those end.
2. Whoever waits for an acknowledgement for long waits for Kafka, too: a leader may answer and yet take no writes, with
   too few replicas in sync.
3. What is found is read by health, metrics and the watchdog; it stops the worker only where a restart is the cure: the
   topic was created anew, or somebody else wrote to the changelog. (A busy owner sees that at its next write. A quiet
   one must not wait for that: until it repairs the changelog, compaction may drop what the foreign record hides.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from faust.types import TP

from stream.faust_batch.changelog import foreign_write

if TYPE_CHECKING:
    from stream.faust_batch.app import BatchApp

#: Seconds between two questions: an outage is known within this and the time-out.
INTERVAL_S = 2.0
#: Longest wait for an answer, and for an acknowledgement, before Kafka counts as away: far above a leader change on a
#: healthy cluster's slow day, far below what anybody would call a short outage.
PATIENCE_S = 5.0


class KafkaProbe:
    """See the law above.

    Attributes:
        behind: records of the owned partitions that the consumer hasn't fetched yet.
    """

    def __init__(self, app: BatchApp) -> None:
        self._app = app
        self._client: Any = None
        self._failure: tuple[float, str] | None = None  # since, why
        self._unacked: dict[object, tuple[float, str]] = {}  # since, what
        self.behind = 0

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        try:
            while True:
                asked_at = monotonic()
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        self.behind = await self._ask()
                except TimeoutError:
                    self._fail(asked_at, f"no answer from {', '.join(self._app.bootstrap)} within {PATIENCE_S:g} s")
                    await self._close()
                except (KafkaError, OSError) as error:
                    self._fail(asked_at, str(error) or type(error).__name__)
                    await self._close()
                else:
                    self._failure = None
                await asyncio.sleep(INTERVAL_S)
        finally:
            await self._close()

    async def _ask(self) -> int:
        app = self._app
        if self._client is None:
            client = AIOKafkaConsumer(
                bootstrap_servers=app.bootstrap,
                client_id="memberstream-probe",
                request_timeout_ms=int(PATIENCE_S * 1000),
                **credentials_to_aiokafka_auth(app.conf.broker_credentials, app.conf.ssl_context),
            )
            try:
                await client.start()
            except BaseException:
                await client.stop()
                raise
            self._client = client
        await app.check_topic(self._client._client)
        await self._check_changelog()
        owned = sorted(app.assigned_partitions)
        asked = owned or range(app.partition_count)
        ends = await self._client.end_offsets([TopicPartition(app.source_topic, p) for p in asked])
        return sum([max(0, ends[TopicPartition(app.source_topic, p)] - await self._position(p)) for p in owned])

    async def _check_changelog(self) -> None:
        app, topic = self._app, self._app.changelog_topic
        expected = app.partition_state.ends()
        ends = await self._client.end_offsets([TopicPartition(topic, partition) for partition in expected])
        for partition, still in app.partition_state.ends().items():
            if still == expected.get(partition) and (found := ends[TopicPartition(topic, partition)]) > still:
                await app.stop_because(foreign_write(partition, topic, still, found))
                return

    async def _position(self, partition: int) -> int:
        """The next offset to fetch; it is beyond the end for a partition that is changing hands just now."""
        try:
            async with asyncio.timeout(1.0):
                return int(await self._app.consumer.position(TP(self._app.source_topic, partition)))
        except (KafkaError, TimeoutError, TypeError, AssertionError):
            return 1 << 62

    def _fail(self, since: float, why: str) -> None:
        self._failure = (self._failure[0] if self._failure else since, why)

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.stop()

    @contextmanager
    def awaiting_ack(self, topic: str) -> Iterator[None]:
        """Around every wait for an acknowledgement (law 2)."""
        token = object()
        self._unacked[token] = (monotonic(), topic)
        try:
            yield
        finally:
            del self._unacked[token]

    @property
    def problem(self) -> tuple[float, str] | None:
        """Since when (monotonic clock) and why Kafka can't be used; None while it can. May be read from any thread."""
        if self._failure is not None:
            return self._failure
        oldest = min(list(self._unacked.values()), default=None)
        if oldest is not None and monotonic() - oldest[0] > PATIENCE_S:
            return oldest[0], f"a write to {oldest[1]} isn't acknowledged: no leader, or too few replicas in sync"
        return None
