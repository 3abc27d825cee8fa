"""`BatchApp`: a real Faust app whose source topic is consumed in batches, with keyed state and a changelog.

The law of this file:
1. Every setting of Faust that matters is set here, with its reason. Faust reads the rest from the environment, so what
   is not named here has Faust's default.
2. Nothing is joined before it is checked: versions, data directory, source topic, changelog (see admin.py).
3. A stop finishes the batch in flight, commits it, tells the handler, and only then lets Faust stop. Without a broker
   it can do neither, and clients wait for one in a dozen places: it ends in time all the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any, Protocol

import faust
from aiokafka.errors import KafkaError
from faust.types import TP
from yarl import URL

from stream.faust_batch.admin import prepare_topics
from stream.faust_batch.changelog import BATCH_BYTES, CHANGELOG_MESSAGE_BYTES, PartitionState, patiently
from stream.faust_batch.errors import StartError
from stream.faust_batch.probe import KafkaProbe
from stream.faust_batch.recovery import BatchTables, RecoveryProgress, StateTable
from stream.faust_batch.supported import check_supported
from stream.faust_batch.transport import BatchTransport
from stream.source_topic import PROCEDURE, Record, TopicChanged
from stream.state_store import DataDir, StateStore
from stream.topic_id import topic_id

log = logging.getLogger(__name__)

#: The most that one fetch brings of a broker's partitions together, and of one of them. A member costs once in a batch
#: however many events it has there, so a partition that is behind gets large batches and catches up faster. Bounded,
#: because nothing of a batch is readable before all of it is written, and a stop waits for two of them.
FETCH_BYTES = 32 << 20
BATCH_RECORDS = 65_536

#: Name of the table: part of the changelog's name, `<group>-state-changelog`. Changing it loses the state.
TABLE = "state"
#: Seconds from the beginning of a stop to the end of the process, whatever hangs: a supervisor commonly gives 10.
STOP_LIMIT_S = 8.0


class BatchHandler(Protocol):
    """What is done with the batches. All calls come from the event loop; for one partition never two at a time."""

    async def assigned(self, partitions: frozenset[int]) -> Mapping[int, int]:
        """State of `partitions` is recovered, no batch of them came yet. May be cancelled by a rebalance.

        Returns the first offset that the state of each has not applied: reading begins there or below.
        """

    async def revoked(self, partitions: frozenset[int]) -> None:
        """No batch of `partitions` is in flight, what was handled is committed. Also called on a stop."""

    async def handle(self, partition: int, records: Sequence[Record]) -> None:
        """Return when everything is durable; the offset moves then. May be cancelled, and is replayed then."""


class BatchApp(faust.App):  # type: ignore[misc]  # Faust's classes are Any to mypy
    """Build it, set `handler`, hand it to `run`. Raises UnsupportedVersion."""

    def __init__(
        self,
        *,
        bootstrap: Sequence[str],
        group: str,
        source_topic: str,
        data_dir: Path,
        handler: BatchHandler | None = None,
        session_timeout_s: float = 10.0,
        heartbeat_s: float = 3.0,
        commit_interval_s: float = 1.0,
        fetch_max_wait_ms: int = 10,  # an idle broker's wait delays other partitions' records; costs 100 fetches/s
        max_poll_records: int = BATCH_RECORDS,
        replication_factor: int = 3,
        standby_replicas: int = 0,
        created_topics: Mapping[str, Mapping[str, str]] = MappingProxyType({}),  # name → settings
        credentials: Any = None,
        is_embedded_broker: bool = False,  # Tansu refuses idempotent producers
        source_topic_wait_s: float = 30.0,
    ) -> None:
        check_supported()
        self.bootstrap = list(bootstrap)
        self.source_topic = source_topic
        self.created_topics = created_topics
        self.fetch_max_wait_ms = fetch_max_wait_ms
        self.is_producer_idempotent = not is_embedded_broker  # Tansu answers InitProducerId with an error
        self.source_topic_wait_s = source_topic_wait_s
        self.partition_count = 0
        self.topic_id = b""  # of the source topic; b"" where the broker doesn't tell
        self.partition_state = PartitionState(self)
        self.assigned_partitions: frozenset[int] = frozenset()
        self.batches = self.records = 0
        self.turned_at = monotonic()
        self.is_settled = False  # whether the last rebalance is over, and its partitions recovered and assigned
        self.event_loop: asyncio.AbstractEventLoop | None = None
        self.probe = KafkaProbe(self)
        self.on_batch: Callable[[int, int, float], None] | None = None
        self._handler = handler
        self._data_dir = DataDir(data_dir)
        super().__init__(
            group,
            broker=[URL(f"kafka://{server}") for server in bootstrap],
            broker_credentials=credentials,
            datadir=data_dir,
            TableManager=BatchTables,
            # The web server shows tables and binds all interfaces; the leader topic serves timers that we don't have.
            web_enabled=False,
            topic_disable_leader=True,
            autodiscover=False,
            topic_replication_factor=replication_factor,
            table_standby_replicas=standby_replicas,
            # Membership. The request timeout must exceed the session timeout (Faust insists) and a rebalance (60 s).
            broker_session_timeout=session_timeout_s,
            broker_heartbeat_interval=heartbeat_s,
            broker_request_timeout=max(90.0, session_timeout_s + 10.0),
            # A handler that waits for a dependency keeps its partitions: nobody else could do better.
            broker_max_poll_interval=24 * 3600.0,
            broker_commit_interval=commit_interval_s,
            # Must exceed one fetch: aiokafka asks a broker again only when all it got from it is handed out.
            broker_max_poll_records=max_poll_records,
            consumer_max_fetch_size=FETCH_BYTES,
            # Anything else skips records after a loss of the committed offsets.
            consumer_auto_offset_reset="earliest",
            producer_acks=-1,
            producer_linger=0,
            producer_max_batch_size=BATCH_BYTES,
            producer_max_request_size=CHANGELOG_MESSAGE_BYTES,
            # Faust's own compares with ListOffsets (wrong on Tansu) and says only "inconsistent"; recovery.py compares
            # with what the fetch says, on every broker, and says what to do.
            recovery_consistency_check=False,
            stream_recovery_delay=0.0,
            worker_redirect_stdouts=False,
        )
        self.add_background(self.probe.run)

    # -- what the pipeline uses -------------------------------------------------------------------------------------

    @property
    def handler(self) -> BatchHandler:
        """Set before the app starts. Raises StartError while it isn't."""
        if self._handler is None:
            raise StartError("BatchApp.handler isn't set: set it before run()")
        return self._handler

    @handler.setter
    def handler(self, handler: BatchHandler) -> None:
        self._handler = handler

    async def produce(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]]
    ) -> None:
        """Write (key, value, headers) records; returns when every in-sync replica has them. Raises KafkaError."""
        producer = self.producer._ensure_producer()
        with self.probe.awaiting_ack(topic):
            acks = []
            for key, value, headers in records:
                send = partial(producer.send, topic, value, key=key, headers=list(headers))
                acks.append(await patiently(send))
            await asyncio.gather(*acks)

    async def produce_rows(self, topic: str, partition: int, rows: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write (key, value) records to one partition, in large batches; returns and raises as `produce`."""
        producer, acks = self.producer._ensure_producer(), []
        now_ms = int(time.time() * 1000)
        with self.probe.awaiting_ack(topic):
            batch = producer.create_batch()
            for key, value in rows:
                if batch.append(timestamp=now_ms, key=key, value=value, headers=[]) is None:  # full
                    acks.append(await patiently(partial(producer.send_batch, batch, topic, partition=partition)))
                    batch = producer.create_batch()
                    batch.append(timestamp=now_ms, key=key, value=value, headers=[])
            acks.append(await patiently(partial(producer.send_batch, batch, topic, partition=partition)))
            await asyncio.gather(*acks)

    async def partitions_of(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 if there is none. An outage is waited out.

        (All topics are asked for: asking for one may create it.)
        """
        client = self.producer._ensure_producer().client
        while True:
            try:
                return len((await client.fetch_all_metadata()).partitions_for_topic(topic) or ())
            except KafkaError:
                await asyncio.sleep(1.0)

    def add_background(self, coroutine: Callable[[], Awaitable[None]]) -> None:
        """Run `coroutine()` beside the batches once the worker is up; cancelled on stop, an exception stops all."""
        self.task(coroutine)

    # -- what metrics and health read -------------------------------------------------------------------------------

    @property
    def rebalances(self) -> int:
        """Rebalances begun since the start, the first join included."""
        return int(self.rebalancing_count)

    @property
    def is_recovering(self) -> bool:
        """True from a rebalance until the partitions it brought are recovered and assigned."""
        return bool(self.rebalancing or self.in_recovery)

    @property
    def is_busy(self) -> bool:
        """True while a batch is in flight or records wait to be fetched."""
        return self._consumer is not None and (self.consumer.is_handling or self.probe.behind > 0)

    @property
    def recovery(self) -> RecoveryProgress:
        """The current recovery, or the last one."""
        found = self.tables._recovery  # None until the app starts: health is asked before
        return RecoveryProgress() if found is None else found.progress

    def lag(self) -> dict[int, int]:
        """Records not yet handled per assigned source partition, by the high watermark of the last fetch."""
        lags: dict[int, int] = self.consumer.lag() if self._consumer is not None else {}
        return lags

    def standby_lag(self) -> dict[int, int]:
        """Changelog records that the copy of each partition this worker stands by for lacks."""
        found = self.tables._recovery
        return {} if found is None else dict(found.standby_lag())

    def end_offset(self, partition: int) -> int | None:
        """Where the source partition ended at the last fetch; None before one."""
        end: int | None = self.consumer.highwater(TP(self.source_topic, partition))
        return end

    async def check_topic(self, client: Any) -> None:
        """Stop the worker if the source topic has been created anew. The probe asks, every few seconds."""
        found = await topic_id(client, self.source_topic)
        if self.topic_id and found and found != self.topic_id:
            await self.stop_because(
                TopicChanged(f"topic {self.source_topic} was deleted and created again. Next: {PROCEDURE}.")
            )

    async def stop_because(self, error: Exception) -> None:
        """Stop the worker for something that no batch has run into."""
        log.error("stopping: %s: %s", type(error).__name__, error)
        await self.crash(error)

    def observe_batch(self, partition: int, records: int, seconds: float) -> None:
        """Called by the consumer after each `handle`."""
        self.batches += 1
        self.records += records
        if self.on_batch is not None:
            self.on_batch(partition, records, seconds)

    # -- what the other files of this package use -------------------------------------------------------------------

    @property
    def changelog_topic(self) -> str:
        """Name of the changelog topic."""
        return f"{self.conf.id}-{TABLE}-changelog"

    @property
    def store(self) -> StateStore:
        """The store behind `partition_state`."""
        store: StateStore = self.state_table.data
        return store

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    async def release(self) -> None:
        """Tell the handler, once, that it no longer has its partitions."""
        partitions, self.assigned_partitions = self.assigned_partitions, frozenset()
        if partitions:
            await self.handler.revoked(partitions)

    # -- start and stop ---------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Check and create what must exist before Faust starts. Raises StartError or DataDirInUse."""
        _ = self.handler
        self._data_dir.acquire()
        self.partition_count = await prepare_topics(self)
        self.state_table = StateTable(
            self, name=TABLE, partitions=self.partition_count, key_type=bytes, value_type=bytes
        )
        self.tables.add(self.state_table)
        self.topics.add(self.topic(self.source_topic, key_type=bytes, value_type=bytes))

    async def on_stop(self) -> None:
        asyncio.get_running_loop().call_later(STOP_LIMIT_S, _end_now)
        if self._consumer is not None and self.partition_count:
            try:
                await self.consumer.park()
                await self.tables.recovery.cancel_assigning()
                await self.consumer.commit_range()
                await self.release()
            except Exception:
                log.exception("stopping: not everything could be committed; it will be replayed")
        await super().on_stop()
        self._data_dir.release()


def _end_now() -> None:
    """End without ceremony; a crash at any point is safe."""
    why = "most likely because no broker answers"
    log.error("the stop did not end within %g s, %s: ending now, the rest will be replayed", STOP_LIMIT_S, why)
    logging.shutdown()
    os._exit(1)
