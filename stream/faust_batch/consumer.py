"""The batch path: Faust's aiokafka transport, handing whole per-partition record lists to one coroutine.

The law of this file:
1. An offset advances only when the handler has returned for everything below it: one number per partition is the whole
   book-keeping, and Faust's own commit timer, stop and rebalance code commit that number.
2. One batch per partition is in flight, at most two of them large (one is computed while the other is written out), and
   one fetch beside them (aiokafka prefetches one), no more: that is the back-pressure. Small ones end together.
   The head of another backlog, fetched beside a large batch, is held for what comes next of it (held.py).
   Heartbeats come from aiokafka's own thread, so neither a long batch nor a waiting handler costs the membership.
3. Positions move only while the loop is parked (no fetch, no batch in flight). Records that arrive for a generation
   that is over are dropped, and then every position is sought again, the changelogs' too: dropping without seeking
   would skip them.
4. A worker that may have slept proves its membership to the broker before it writes (a forced OffsetCommit carries
   member id and generation); one that lost it drops its batch.
5. Whatever else a handler raises stops the worker; nothing of that partition's batch is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from stream.faust_batch.consumer_thread import BatchThread
from stream.faust_batch.errors import Fenced, StartError
from stream.faust_batch.held import Held
from stream.faust_batch.in_flight import FEW_RECORDS, InFlight

if TYPE_CHECKING:
    from stream.faust_batch.app import BatchApp

#: How long one fetch call waits for records. Short, because a rebalance, a stop and the end of a recovery wait for it;
#: twenty empty calls a second cost half a percent of a core.
FETCH_TIMEOUT_S = 0.05
#: Records that came sooner than this lay ready: fetched while the last batch was in flight. The hop to aiokafka's
#: thread and back takes half of it.
LAY_READY_S = 0.002
#: How long records newer than those are waited for: a broker that has some answers in one or two milliseconds.
NEWER_TIMEOUT_S = 0.002
#: How long a rebalance or a stop waits for the batch in flight before cancelling it. Heartbeats go on meanwhile. Less
#: than the 10 s a supervisor commonly gives between SIGTERM and SIGKILL.
BATCH_GRACE_S = 5.0
#: After a pause of this share of the session timeout, membership is proved before anything is written: the broker may
#: have given the partitions away after a whole one, and its clock and ours are not the same.
PAUSE_SHARE = 0.4
#: How often the loop shows while it waits for a batch that this process isn't paused.
TICK_S = 0.5


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer with a drain loop and acknowledgements by range."""

    app: BatchApp

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._next: dict[TP, int] = {}  # everything below is durable
        self._in_flight = InFlight(self._handle)
        self._held = Held()
        self._parked = asyncio.Event()
        self._parked.set()
        self._revoking = False
        self._must_seek = False
        self._wanted: dict[int, int] = {}  # partition → first offset that the state has not applied
        self._alive_at = monotonic()
        self.revocations = 0
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> BatchThread:
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def is_handling(self) -> bool:
        """Whether a batch is in flight."""
        return bool(self._in_flight)

    # -- law 1: the range -------------------------------------------------------------------------------------------

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return [tp for tp in self._next if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        return self._next.get(tp)

    def lag(self) -> dict[int, int]:
        """Records not yet handled per assigned source partition, by the high watermark of the last fetch."""
        lags = {}
        for partition in self.app.assigned_partitions:
            tp = TP(self.app.source_topic, partition)
            if (end := self.end_of(tp)) is not None:
                lags[partition] = max(0, end - (self._next.get(tp) or self._committed_offset[tp] or 0))
        return lags

    def end_of(self, tp: TP) -> int | None:
        """Where a partition ended at its last fetch; None before one, and when it isn't assigned any more."""
        try:
            end: int | None = self.highwater(tp)
        except (AssertionError, AttributeError, KeyError):  # unassigned in aiokafka's thread a moment ago
            return None
        return end

    # -- the loop ---------------------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._step()
            await self._settle(asyncio.ALL_COMPLETED)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not (self.app.should_stop or fetcher.should_stop):
                raise  # Faust restarts its fetcher so; a cancel during a stop is no crash
        except Exception as error:
            self.log.error("stopping: %s: %s", type(error).__name__, error)
            raise  # Faust's fetcher crashes the app with it
        finally:
            await self._in_flight.abandon()
            self._must_seek = True  # for the next one, if Faust starts one: behind what is durable
            self._parked.set()

    async def _step(self) -> None:
        if not self.flow_active or self._must_seek:
            await self._settle(asyncio.ALL_COMPLETED)
        if not self.flow_active:
            self._must_seek = self._must_seek or bool(self._held)
            self._parked.set()
            await self.wait(self.can_resume_flow)
            return
        self._parked.clear()
        # A copy: aiokafka's thread reads it.
        active = frozenset(tp for tp in self._get_active_partitions() if tp not in self._in_flight)
        if not active and not self._in_flight:  # between two phases of a recovery
            await asyncio.sleep(0.01)
            return
        if self._must_seek:
            await self._seek_to_next()
        generation = self.app.consumer_generation_id
        fetched = await self._fetch(active)
        if not self.flow_active or generation != self.app.consumer_generation_id:
            self._must_seek = self._must_seek or bool(fetched or self._held)  # law 3
            return
        self._tick()
        work = []
        for raw, records in fetched.items():
            tp = TP(raw.topic, raw.partition)
            if tp.topic == self.app.source_topic:
                work.append((tp, records))
            else:
                self.app.tables.recovery.feed(tp, records)
        await self.app.tables.recovery.after_fetch()
        if work := self._held.sift(work, self._in_flight.largest, self.end_of):
            await self._begin(work)
        n_large = self._in_flight.n_large
        if not n_large:
            await self._settle(asyncio.ALL_COMPLETED)
        elif n_large > 1 or all(tp in self._in_flight for tp in active):
            await self._settle(asyncio.FIRST_COMPLETED)
        else:
            self._take_finished()
        await asyncio.sleep(0)  # a call that finds everything prefetched never yields otherwise

    async def _fetch(self, active: frozenset[TP]) -> dict[Any, list[Any]]:
        """What has arrived. aiokafka fetches ahead once: what lies ready is as old as the batch that was in flight, and
        taking it lets the next fetch go. So after few old records, the newer ones are waited for, too.
        """
        if not active:
            return {}
        asked_at = monotonic()
        fetched: dict[Any, list[Any]] = await self._getmany(active_partitions=active, timeout=FETCH_TIMEOUT_S)
        lay_ready = monotonic() - asked_at < LAY_READY_S
        if fetched and lay_ready and sum(map(len, fetched.values())) < FEW_RECORDS and self.flow_active:
            newer = await self._getmany(active_partitions=active, timeout=NEWER_TIMEOUT_S)
            for tp, records in newer.items():
                fetched[tp] = fetched.get(tp, []) + records
        return fetched

    async def _begin(self, work: list[tuple[TP, list[Any]]]) -> None:
        """Partitions side by side, one call per partition."""
        if not await self._may_begin({tp: records[0].offset for tp, records in work}):
            self._drop("before a batch")
            return
        for tp, records in work:
            self._in_flight.begin(tp, records)

    async def _may_begin(self, positions: Mapping[TP, int]) -> bool:
        """`is_member`, asked as long as the flow goes on: a rebalance or a stop waits for this loop, and the broker's
        answer may wait for the rebalance.
        """
        asking = asyncio.ensure_future(self.is_member(positions))
        try:
            done = False
            while not done and self.flow_active:
                done = bool((await asyncio.wait([asking], timeout=TICK_S))[0])
            return done and asking.result()
        finally:
            asking.cancel()

    async def _settle(self, return_when: str) -> None:
        """Wait for one of the batches in flight, or for all, and take what has ended."""
        while not await self._in_flight.wait(return_when, TICK_S):
            self._tick()  # a long batch is no pause
        self._take_finished()

    def _take_finished(self) -> None:
        """Each partition's own outcome; the first failure is raised."""
        failure: BaseException | None = None
        dropped = False
        for batch in self._in_flight.take_finished():
            if batch.error is None:
                self._next[batch.tp] = batch.last + 1
                self._read_offset[batch.tp] = batch.last
            elif isinstance(batch.error, Fenced | asyncio.CancelledError):
                dropped = True
            else:
                self.log.error(
                    "partition %d, offsets %d to %d: not applied", batch.tp.partition, batch.first, batch.last
                )
                failure = failure or batch.error
        if failure is not None:
            raise failure
        if dropped:
            self._drop("during a batch")
        self._tick()

    async def _handle(self, tp: TP, records: list[Any]) -> None:
        started = monotonic()
        await self.app.handler.handle(tp.partition, records)
        self.app.observe_batch(tp.partition, len(records), monotonic() - started)
        self.app.monitor.stream_inbound_time[tp] = started  # or Faust logs that the stream is stuck

    # -- law 3: positions -------------------------------------------------------------------------------------------

    async def park(self) -> None:
        """Stop the flow; return when no fetch and no batch is in flight. A batch that takes too long is cancelled."""
        self.stop_flow()
        for grace_s in (BATCH_GRACE_S, 1.0):
            try:
                await asyncio.wait_for(self._parked.wait(), grace_s)
                return
            except TimeoutError:
                self.log.warning("a batch in flight did not end within %s s: cancelled, it will be replayed", grace_s)
                self._in_flight.cancel()
        raise RuntimeError("the handler ignores its cancellation: stopping rather than running beside a new owner")

    async def _seek_to_next(self) -> None:
        self._held.clear()
        assigned = self.assignment()
        committed = await self._thread.seek_to_committed()
        for tp in (tp for tp in assigned if tp.topic == self.app.source_topic):
            if tp in self._next:
                await self._thread.seek_wait({tp: self._next[tp]})
            elif not committed.get(tp):  # aiokafka doesn't move a partition without a commit
                await self._thread.seek_to_beginning(TopicPartition(tp.topic, tp.partition))
            elif committed[tp] > (wanted := self._wanted.get(tp.partition, committed[tp])):
                self.log.info("partition %d: reading from %d, before what is committed", tp.partition, wanted)
                await self._thread.seek_wait({tp: wanted})
        # A changelog's, too: a standby that misses what was dropped would one day take over without it.
        sought = self.app.tables.recovery.next_offsets()
        await self._thread.seek_wait({tp: offset for tp, offset in sought.items() if tp in assigned})
        self._must_seek = False

    async def read_from(self, offsets: Mapping[int, int]) -> None:
        """What the state lacks of each newly assigned partition begins here: read from there if more is committed.

        A commit may be of another topic of the same name, or the changelog may have lost what it stands for.
        """
        self._wanted = {}
        committed_of = self._thread._ensure_consumer().committed
        for partition, wanted in offsets.items():
            tp = TopicPartition(self.app.source_topic, partition)
            if (await self._thread.call_thread(committed_of, tp) or 0) > wanted:
                self._wanted[partition] = wanted
                self._must_seek = True

    def _drop(self, when: str) -> None:
        """Leave a batch to its owner and wait for the rebalance that is due; recovery resumes the flow after it."""
        self.log.warning("batch dropped %s: this worker lost its membership or a rebalance began", when)
        self._must_seek = True
        self.stop_flow()

    def resume_flow(self) -> None:
        """Faust resumes the flow also from a recovery that a rebalance has overtaken: not between the two."""
        if not self._revoking:
            super().resume_flow()

    def allow_flow(self) -> None:
        """Called by the recovery of a new assignment: from here on a resume is meant for it."""
        self._revoking = False

    # -- law 4: membership ------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = monotonic()
        if now - self._alive_at <= PAUSE_SHARE * self.app.conf.broker_session_timeout:
            self._alive_at = now  # otherwise it stays: only the broker's word closes a long gap

    async def is_member(self, positions: Mapping[TP, int] | None = None) -> bool:
        """False when the broker no longer counts this worker as owner. `positions`: first offsets not yet handled."""
        pause = monotonic() - self._alive_at
        if pause <= PAUSE_SHARE * self.app.conf.broker_session_timeout:
            return True
        assigned = self.assignment()
        known = {**(positions or {}), **{tp: offset for tp, offset in self._next.items() if offset}}
        offsets = {tp: offset for tp, offset in known.items() if tp in assigned}
        if not offsets:
            return positions is None  # nothing to ask with: the changelog's own check remains
        self.log.info("after a pause of %.1f s: asking the broker whether this worker is still a member", pause)
        if not await self._thread.commit(offsets):
            return False
        self._alive_at = monotonic()
        return True

    # -- rebalances -------------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Numbered, because a crash or a lost membership may come between any two."""
        self.revocations += 1
        self._revoking = True
        self.app.is_settled = False
        try:
            # 1. No batch runs on. Crash here: nothing of an unfinished batch is committed.
            await self.park()
            await self.app.tables.recovery.cancel_assigning()
            # 2. Commit what is durable. Crash, or refusal by the broker: the new owner replays, which changes nothing.
            await self.commit_range()
            # 3. The pipeline forgets the partitions before anybody else can own them.
            await self.app.release()
        except Exception as error:
            await self.app.crash(error)
        for tp in revoked:
            self._next.pop(tp, None)
        # 4. Faust's own bookkeeping; the changelog and RocksDB of these partitions are closed by it.
        await super().on_partitions_revoked(revoked)

    async def commit_range(self) -> None:
        """Commit now. Twice, because Faust's commit does nothing when it finds another one under way."""
        try:
            async with asyncio.timeout(BATCH_GRACE_S):
                _ = await self.commit() or await self.commit()
        except TimeoutError:
            self.log.warning("the broker did not take the last offsets in time: these records will be replayed")

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._alive_at = monotonic()  # the assignment is the broker's word
        grown = max((tp.partition for tp in assigned if tp.topic == self.app.source_topic), default=-1)
        if grown >= self.app.partition_count:
            await self.app.crash(
                StartError(
                    f"topic {self.app.source_topic} has more partitions than the {self.app.partition_count} its state "
                    "was made for: members have moved to other partitions. Next: stop all workers and replay the "
                    "topic under a new group name."
                )
            )
            return
        await super().on_partitions_assigned(assigned, generation_id)
