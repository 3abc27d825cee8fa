"""`BatchApp`: a real Faust app whose source topic is consumed in batches, with keyed state and a changelog.

The law of this file:
1. Here the parts of this package are put together. Faust's own parts find one another through Faust's app. Our parts
   are handed what they need when they are made, and none of them knows this class. The file is long because Faust and
   metrics ask one object for all of it.
2. The worker joins nothing before all is checked: versions, data directory, source topic, changelog (admin.py).
3. A stop finishes the batch in flight, commits it, tells the owner, and only then lets Faust stop. Without a broker it
   can do none of this, and clients wait for a broker in a dozen places. It ends in time all the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

import faust
from yarl import URL

from memberstream.stream.faust_batch.acks import Acks
from memberstream.stream.faust_batch.admin import prepare_topics
from memberstream.stream.faust_batch.changelog import Changelog
from memberstream.stream.faust_batch.data_dir import DataDir
from memberstream.stream.faust_batch.faust_settings import credentials, faust_settings
from memberstream.stream.faust_batch.owned import Handle, OnCommit, Owned, Owner, unheard
from memberstream.stream.faust_batch.probe import KafkaProbe
from memberstream.stream.faust_batch.producing import Producing
from memberstream.stream.faust_batch.progress import RecoveryProgress
from memberstream.stream.faust_batch.source import Source
from memberstream.stream.faust_batch.state import PartitionState
from memberstream.stream.faust_batch.store import StateStore
from memberstream.stream.faust_batch.supported import check_supported
from memberstream.stream.faust_batch.tables import BatchTables, StateTable
from memberstream.stream.faust_batch.topic_watch import TopicWatch
from memberstream.stream.faust_batch.topics import Topics
from memberstream.stream.faust_batch.transport import BatchTransport
from memberstream.stream.kafka.clients import Kafka, advice
from memberstream.stream.partition.gaps import OnGap
from memberstream.stream.partition.skip_log import SkipLog
from memberstream.stream.partition.stuck import Stuck

log = logging.getLogger(__name__)

#: Name of the table: part of the changelog's name, `<group>-state-changelog`. Changing it loses the state.
TABLE = "state"
#: Seconds from the beginning of a stop to the end of the process, whatever hangs. A supervisor commonly gives 10.
STOP_LIMIT_S = 8.0


class BatchApp(faust.App):  # type: ignore[misc]  # Faust's classes are Any to mypy
    """Build it, name by `serve` who does the work, hand it to `run`.

    Raises UnsupportedVersion.

    Attributes:
        source: the source topic as this worker sees it.
        owned: which of its partitions are this worker's.
        partition_state: their state.
        producing: writes what isn't state.
        probe: whether Kafka is there; `topic_watch`: whether the topics are.
        is_committed: after a stop, whether the broker has taken the offsets of all that was applied.
        is_name_taken: whether another process has this worker's name in the group. `must_stay_away`: after the end,
            that a restart would take it back at once, and nobody has asked for the end.
        event_loop: the loop in which it runs; None before the start. `turned_at`: when that loop turned last.
    """

    def __init__(
        self,
        *,
        kafka: Kafka,
        group: str,
        source_topic: str,
        data_dir: Path,
        group_instance_id: str | None = None,  # the worker's name in its group: static_membership.py
        session_timeout_s: float = 10.0,
        heartbeat_s: float = 3.0,
        commit_interval_s: float = 1.0,
        replication_factor: int = 3,
        standby_replicas: int = 0,
        created_topics: Mapping[str, Mapping[str, str]] = MappingProxyType({}),  # name → settings
        is_embedded_broker: bool = False,  # transport.py
        source_topic_wait_s: float = 30.0,
        skip_log: SkipLog | None = None,
        skip_command: str = "memberstream events skip",
        on_gap: OnGap = "stop",
        is_compaction_admitted: bool = False,  # of the source topic
        compaction_advice: str = "",  # what else may be done about it
    ) -> None:
        check_supported()
        super().__init__(
            group,
            broker=[URL(f"kafka://{server}") for server in kafka.bootstrap],
            broker_credentials=credentials(kafka.security),
            datadir=data_dir,
            TableManager=self._new_tables,
            **faust_settings(
                group_instance_id=group_instance_id,
                session_timeout_s=session_timeout_s,
                heartbeat_s=heartbeat_s,
                commit_interval_s=commit_interval_s,
                replication_factor=replication_factor,
                standby_replicas=standby_replicas,
            ),
        )
        self._kafka, self._replication_factor, self._wait_s = kafka, replication_factor, source_topic_wait_s
        self._is_embedded = is_embedded_broker
        self._data_dir = DataDir(data_dir)
        self._background: list[Callable[[], Awaitable[None]]] = []
        self.is_committed, self.is_name_taken, self.must_stay_away = True, False, False
        self.turned_at = monotonic()
        self.event_loop: asyncio.AbstractEventLoop | None = None
        self._topics = Topics(
            source=source_topic,
            changelog=f"{self.conf.id}-{TABLE}-changelog",
            created=created_topics,
            skips=None if skip_log is None else skip_log.topic,
            is_compaction_admitted=is_compaction_admitted,
            compaction_advice=compaction_advice,
        )
        self.owned, acks = Owned(), Acks()
        stuck = Stuck(data_dir / "stuck.json", self.owned.holds, skip_command, lambda: time.time_ns() // 1_000_000)
        self.source = Source(source_topic, self.owned, stuck, skip_log, on_gap)
        changelog = Changelog(self._topics.changelog, self._ensured_producer, acks)
        self.partition_state = PartitionState(self._store, changelog, self._is_member)
        self.producing = Producing(kafka, self._ensured_producer, acks)
        self.topic_watch = TopicWatch(kafka, self._topics, self.source, self._stop_because)
        self.probe = KafkaProbe(kafka, group, self.source, changelog, self.topic_watch, acks, self._stop_because)

    def serve(self, owner: Owner, handle: Handle, on_commit: OnCommit = unheard) -> None:
        """Name who is told of partitions and commits, and gets the batches. Called once, before the start."""
        self.owned.serve(owner, handle, on_commit)

    def add_background(self, coroutine: Callable[[], Awaitable[None]]) -> None:
        """Run `coroutine()` beside the batches, from the start on. A stop cancels it; any other end stops all."""

        async def until_stopped() -> None:
            try:
                await coroutine()
            except asyncio.CancelledError:
                if self.should_stop:
                    raise
            if not self.should_stop:  # Faust would drop it silently
                raise RuntimeError("what runs beside the batches has ended. Next: nothing, the restart begins it anew")

        self._background.append(until_stopped)

    # -- what metrics and health read -------------------------------------------------------------------------------

    @property
    def rebalances(self) -> int:
        """Rebalances begun since the start, including the first join."""
        return int(self.rebalancing_count)

    @property
    def recovery(self) -> RecoveryProgress:
        """The current recovery, or the last one."""
        found = self.tables._recovery  # None until the app starts: health is asked before
        return RecoveryProgress() if found is None else found.progress

    def standby_lag(self) -> dict[int, int]:
        """Changelog records that this worker's copy of each partition lacks, for partitions for which it stands by."""
        found = self.tables._recovery
        return {} if found is None else dict(found.standby_lag())

    # -- what the parts are handed, and Faust asks for --------------------------------------------------------------

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(
            self.conf.broker_consumer,
            self,
            source=self.source,
            is_embedded=self._is_embedded,
        )

    def _new_tables(self, **kwargs: Any) -> BatchTables:
        return BatchTables(source=self.source, state=self.partition_state, **kwargs)

    def _store(self) -> StateStore:
        store: StateStore = self._state_table.data
        return store

    def _ensured_producer(self) -> Any:
        return self.producer._ensure_producer()

    async def _is_member(self) -> bool:
        return bool(await self.consumer.is_member())

    async def _stop_because(self, error: Exception) -> None:
        """Stop the worker for an error that no batch has met."""
        log.error("stopping: %s: %s%s", type(error).__name__, error, advice(error))
        await self.crash(error)

    # -- start and stop ---------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Check and create what must exist before Faust starts. Raises StartError or DataDirInUse."""
        self._data_dir.acquire()
        self.source.stuck.load()
        found = await prepare_topics(self._kafka, self._topics, self._replication_factor, self._wait_s)
        self.source.partition_count, self.source.topic_id = found.partition_count, found.topic_id
        self.partition_state.largest = found.largest
        self._state_table = StateTable(
            self, name=TABLE, partitions=found.partition_count, key_type=bytes, value_type=bytes
        )
        self.tables.add(self._state_table)
        self.topics.add(self.topic(self.source.name, key_type=bytes, value_type=bytes))

    async def on_start(self) -> None:
        await super().on_start()
        for coroutine in self._background:  # Faust's own tasks begin when all is recovered, which may wait for these
            self.add_future(coroutine())

    async def on_stop(self) -> None:
        status = 0 if self.crash_reason is None else 1  # a signal, or our own end
        asyncio.get_running_loop().call_later(STOP_LIMIT_S, _end_now, status)
        if self._consumer is not None and self.source.partition_count:
            try:
                await self.consumer.park()
                await self.tables.recovery.assigning.cancel()
                self.is_committed = await self.consumer.commit_range()
                await self.owned.release()
            except Exception:
                self.is_committed = False
                log.exception("stopping: not everything could be committed; it will be replayed")
        await super().on_stop()
        await self.producing.close()
        self._data_dir.release()


def _end_now(status: int) -> None:
    """End without ceremony; a crash at any point is safe."""
    why = "most likely because no broker answers"
    log.error("the stop did not end within %g s, %s: ending now, the rest will be replayed", STOP_LIMIT_S, why)
    logging.shutdown()
    os._exit(status)
