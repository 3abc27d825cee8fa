"""Is Kafka there, and is there something to fetch? Asked of the brokers on a connection of its own.

The law of this file:
1. The worker's own clients reconnect for ever and keep silent about it. So the question is asked separately: the
   leaders of the owned partitions must tell where these end.
2. A long wait for an acknowledgement is a wait for Kafka, too: with too few replicas in sync a leader may answer and
   yet take no writes.
3. Health, metrics and the watchdog read what is found. It stops the worker only if a restart is the cure: the topic was
   created anew, this user may join the group again, or somebody else wrote to the changelog. (A busy owner sees that
   at its next write. A quiet owner must not wait for one: until it repairs the changelog, compaction may drop what the
   foreign record hides.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, KafkaError

from memberstream.stream.faust_batch.acks import Acks
from memberstream.stream.faust_batch.changelog import Changelog, foreign_write
from memberstream.stream.faust_batch.errors import Readmitted
from memberstream.stream.faust_batch.source import Source
from memberstream.stream.faust_batch.topic_watch import TopicWatch
from memberstream.stream.kafka.clients import Kafka, closed_is_outage
from memberstream.stream.kafka.group import check_group
from memberstream.stream.partition.holds import Kind

#: Seconds between two questions. An outage is known within this time and the time-out.
INTERVAL_S = 2.0
#: Longest wait for an answer, and for an acknowledgement, before Kafka counts as away. It is far above a leader change
#: on a slow day of a healthy cluster, and far below what anybody would call a short outage.
PATIENCE_S = 5.0


class KafkaProbe:
    """See the law above.

    Args:
        stop: stops the worker for an error that no batch has met.
    """

    def __init__(
        self,
        kafka: Kafka,
        group: str,
        source: Source,
        changelog: Changelog,
        watch: TopicWatch,
        acks: Acks,
        stop: Callable[[Exception], Awaitable[None]],
    ) -> None:
        self._kafka, self._group, self._source, self._changelog, self._watch = kafka, group, source, changelog, watch
        self._acks, self._stop = acks, stop
        self._client: Any = None
        self._failure: tuple[float, str] | None = None  # since, why
        self._was_denied = False

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        try:
            while True:
                asked_at = monotonic()
                self._source.see_transactions()
                try:
                    with closed_is_outage():
                        async with asyncio.timeout(PATIENCE_S):
                            await self._ask_anew()
                except TimeoutError:
                    self._fail(asked_at, f"no answer from {self._kafka} within {PATIENCE_S:g} s. Next: see the brokers")
                    await self._close()
                except (KafkaError, OSError) as error:
                    self._fail(asked_at, self._kafka.said(error))
                    await self._close()
                else:
                    self._failure = None
                await asyncio.sleep(INTERVAL_S)
        finally:
            await self._close()

    async def _ask_anew(self) -> None:
        """Ask; a second time if the connection was closed. Brokers close one that is idle, or whose log-in ended."""
        was_open = self._client is not None
        try:
            await self._ask()
        except KafkaConnectionError:
            if not was_open:
                raise
            await self._close()
            await self._ask()

    async def _ask(self) -> None:
        source = self._source
        if self._client is None:
            self._client = self._kafka.consumer(
                client_id="memberstream-probe", request_timeout_ms=int(PATIENCE_S * 1000)
            )
            await self._client.start()
        await self._check_group()
        await self._watch.look(self._client._client)
        if self._changelog.topic not in self._watch.missing:
            await self._check_changelog()
        if source.name in self._watch.missing:
            source.behind = 0  # it has no end that one could ask for, and nothing can be fetched
            return
        owned = sorted(source.owned.partitions)
        asked = owned or range(source.partition_count)
        ends = await self._client.end_offsets([TopicPartition(source.name, p) for p in asked])
        source.ends = {partition: ends[TopicPartition(source.name, partition)] for partition in owned}
        await self._look_at_stuck()
        positions = {p: source.position(p) for p in owned if p not in source.owned.holds}
        source.behind = sum(
            max(0, source.ends[p] - position) for p, position in positions.items() if position is not None
        )

    async def _check_group(self) -> None:
        try:
            is_allowed = await check_group(self._client._client, self._group)
        except GroupAuthorizationFailedError:
            self._was_denied = True
            raise
        if self._was_denied and is_allowed:
            await self._stop(
                Readmitted(f"this user may join the group {self._group} now. Next: start this worker again")
            )

    async def _look_at_stuck(self) -> None:
        """Release partitions whose record is no longer there: reading then finds what is gone, and reports it."""
        holds = self._source.owned.holds
        stand_at = {
            TopicPartition(self._source.name, p): hold.offset
            for p, hold in holds.now.items()
            if hold.kind is Kind.STUCK and hold.offset >= 0
        }
        if stand_at:
            begins = await self._client.beginning_offsets(list(stand_at))
            holds.release([part.partition for part, offset in stand_at.items() if begins[part] > offset])

    async def _check_changelog(self) -> None:
        topic, expected = self._changelog.topic, self._changelog_ends()
        ends = await self._client.end_offsets([TopicPartition(topic, partition) for partition in expected])
        for partition, still in self._changelog_ends().items():
            if still == expected.get(partition) and (found := ends[TopicPartition(topic, partition)]) > still:
                await self._stop(foreign_write(partition, topic, still, found))
                return

    def _changelog_ends(self) -> dict[int, int]:
        """Return where the changelog ends, as this worker knows, of the owned partitions that it isn't writing."""
        owned = self._source.owned
        return self._changelog.quiet_ends(owned.partitions) if owned.is_settled else {}

    def _fail(self, since: float, why: str) -> None:
        self._failure = (self._failure[0] if self._failure else since, why)

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.stop()

    @property
    def problem(self) -> tuple[float, str] | None:
        """Since when (monotonic clock) and why Kafka can't be used; None while it can. May be read from any thread."""
        if self._failure is not None:
            return self._failure
        oldest = self._acks.longest(self._watch.missing)
        if oldest is not None and monotonic() - oldest[0] > PATIENCE_S:
            why = "no leader, or too few replicas in sync"
            return oldest[0], f"a write to {oldest[1]} isn't acknowledged: {why}. Next: see the brokers"
        return None
