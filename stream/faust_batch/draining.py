"""The loop that hands a partition's records as a whole list to one coroutine, and takes back what became of them.

The law of this file:
1. A partition has one batch in flight. At most two batches are large: one is computed while the other is written out.
   Beside them there is one fetch (aiokafka prefetches one), no more. That is the back-pressure. Small batches end
   together. The head of another backlog, fetched beside a large batch, waits for its next records (heads.py).
   Heartbeats come from aiokafka's own thread, so neither a long batch nor a waiting handler costs the membership.
2. Records that arrive for a generation that is over are dropped. Then every position is sought again (positions.py).
3. What a handler raises stops the worker, unless it says that the worker lost the partition. The part of the batch
   before the record that fails is applied and committed (isolating.py), nothing else. If that record has failed too
   often, its partition is held instead.
4. A held partition (stream/partition/holds.py) isn't fetched. When a hold begins or ends, reading goes on everywhere
   behind what is durable.
5. Once the worker ends, for whatever reason, a batch that fails is left to the replay. No record is blamed for it.

It is one file because each step reads and sets what the others go by: what is in flight, in hand, held, to be sought.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

from faust.types import TP

from memberstream.models.wording import counted
from memberstream.stream.faust_batch.errors import Fenced
from memberstream.stream.faust_batch.fetching import BESIDE_S, fetch
from memberstream.stream.faust_batch.heads import Heads
from memberstream.stream.faust_batch.in_flight import InFlight
from memberstream.stream.faust_batch.isolating import BadRecord, handle_isolating
from memberstream.stream.faust_batch.offsets import RangeConsumer
from memberstream.stream.kafka.clients import advice
from memberstream.stream.partition.holds import Hold

#: How often the loop, while it waits for a batch, shows that this process isn't paused.
TICK_S = 0.5


class DrainingConsumer(RangeConsumer):
    """Faust's consumer with the loop in place of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._in_flight = InFlight(self._handle)
        self._heads = Heads()
        self._parked = asyncio.Event()
        self._parked.set()
        super().__init__(*args, **kwargs)
        self._held: Mapping[int, Hold] = self._owned.holds.now  # as of the last step

    @property
    def is_handling(self) -> bool:
        """Whether a batch is in flight."""
        return bool(self._in_flight)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._step()
            await self._settle(asyncio.ALL_COMPLETED)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if self.app.should_stop or fetcher.should_stop:
                return  # being cancelled during a stop is no crash
            task = asyncio.current_task()
            if self.app.rebalancing or (task is not None and task.cancelling()):
                raise  # Faust restarts its fetcher so
            raise RuntimeError("a library's CancelledError ended the fetches") from None  # Faust would let them go
        except Exception as error:
            self.log.error("stopping: %s: %s%s", type(error).__name__, error, advice(error))
            if isinstance(error, BadRecord):
                await self.commit_range()  # up to that record; once the app has crashed, nobody could do it
            raise  # Faust's fetcher crashes the app with it
        finally:
            await self._in_flight.abandon()
            self._positions.must_seek = True  # for the next loop, if Faust starts one: behind what is durable
            self._parked.set()

    async def _step(self) -> None:
        if not self.flow_active or self._positions.must_seek or self._held is not self._owned.holds.now:
            await self._settle(asyncio.ALL_COMPLETED)
        if self._held is not self._owned.holds.now:  # law 4; also for holds that have just ended
            self._held, self._positions.must_seek = self._owned.holds.now, True
        if not self.flow_active:
            self._positions.must_seek = self._positions.must_seek or bool(self._heads)
            self._parked.set()
            await self.wait(self.can_resume_flow)
            return
        self._parked.clear()
        # A copy: aiokafka's thread reads it.
        active = frozenset(tp for tp in self._get_active_partitions() if tp not in self._in_flight)
        if self._held:
            active = frozenset(tp for tp in active if not self._is_held(tp))
        if not active and not self._in_flight:  # between two phases of a recovery, or all are held
            self._membership.tick()
            await asyncio.sleep(0.01)
            return
        if self._positions.must_seek:
            await self._seek_to_next()
        generation = self.app.consumer_generation_id
        fetched = await self._fetch(active)
        if not self.flow_active or generation != self.app.consumer_generation_id:
            self._positions.must_seek = self._positions.must_seek or bool(fetched or self._heads)  # law 2
            return
        self._membership.tick()
        work = []
        for raw, records in fetched.items():
            tp = TP(raw.topic, raw.partition)
            if tp.topic == self._source.name:
                work.append((tp, records))
            else:
                self.app.tables.recovery.feed(tp, records)
        await self.app.tables.recovery.after_fetch()
        if self._thread.out_of_range:
            await self._positions.look_at_range(self._thread, self.assignment())
            if self._positions.must_seek:
                return
        if work := self._heads.sift(work, self._in_flight.largest, self.end_of):
            await self._begin(work)
        await self._pass(active)
        n_large = self._in_flight.n_large
        if not n_large:
            await self._settle(asyncio.ALL_COMPLETED)
        elif n_large > 1 or all(tp in self._in_flight for tp in active):
            await self._settle(asyncio.FIRST_COMPLETED)
        else:
            self._take_finished()
        await asyncio.sleep(0)  # otherwise a call that finds everything prefetched never yields

    def _is_held(self, tp: TP) -> bool:
        return tp.partition in self._held and tp.topic == self._source.name

    async def _fetch(self, active: frozenset[TP]) -> dict[Any, list[Any]]:
        wait_s = BESIDE_S if self._in_flight else self._thread.wait_s
        return await fetch(self._getmany, active, lambda: self.flow_active, wait_s)

    def stop_flow(self) -> None:
        """Stop fetching. Whoever waits for records is woken: a rebalance or a stop waits for that."""
        super().stop_flow()
        self._thread.wake()

    async def _begin(self, work: list[tuple[TP, list[Any]]]) -> None:
        """Begin batches of several partitions side by side, a call for each."""
        reading_at = self._thread.positions
        if not await self._may_begin({tp: records[0].offset for tp, records in work}):
            self._drop("before a batch")
            return
        for tp, records in work:
            self._in_flight.begin(tp, records, max(records[-1].offset + 1, reading_at.get(tp, 0)))

    async def _pass(self, fetched: Iterable[TP]) -> None:
        """Note how far reading is in partitions with nothing in hand, and let their state know (offsets.py)."""
        reading_at = self._thread.positions
        quiet = {
            tp: reading_at[tp]
            for tp in fetched
            if tp in reading_at
            and tp.topic == self._source.name
            and tp not in self._in_flight
            and tp not in self._heads
        }
        if self._positions.must_seek:  # a batch was dropped: its records are to come again
            return
        self._positions.next |= quiet
        if due := self._positions.trailing.due(quiet, monotonic()):
            if not await self._may_begin({tp: quiet[tp] for tp in due}):
                self._drop("before a batch")
                return
            for tp in due:
                self._in_flight.begin(tp, [], quiet[tp])

    async def _may_begin(self, positions: Mapping[TP, int]) -> bool:
        """`is_member`, asked as long as the flow goes on: a rebalance or a stop waits for this loop, and the broker's
        answer may wait for the rebalance.
        """
        if self._membership.is_sure:  # as nearly always
            return bool(self.flow_active)
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
            self._membership.tick()  # a long batch is no pause
        self._take_finished()

    def _take_finished(self) -> None:
        """Take each partition's own outcome. Raises the first failure."""
        failure: BaseException | None = None
        dropped = False
        for batch in self._in_flight.take_finished():
            if batch.error is None:
                self._advance(batch.tp, batch.next_offset)
                self._positions.trailing.know(batch.tp, batch.next_offset, monotonic())
            elif isinstance(batch.error, asyncio.CancelledError) and self.flow_active:
                self.log.warning("partition %d: a batch was cancelled from outside, it comes again", batch.tp.partition)
                self._positions.must_seek = True  # `park` didn't do it, so there is no rebalance to wait for
            elif isinstance(batch.error, Fenced | asyncio.CancelledError):
                dropped = True
            elif isinstance(batch.error, BadRecord):
                self._advance(batch.tp, batch.error.offset)
                n_owned = len(self._owned.partitions)
                if self._source.stuck.failed(batch.tp.partition, batch.error.offset, batch.error.error, n_owned):
                    failure = failure or batch.error
            else:
                self.log.error(
                    "partition %d: %s before offset %d: not applied",
                    batch.tp.partition, counted(batch.n_records, "record"), batch.next_offset,
                )  # fmt: skip
                failure = failure or batch.error
        if failure is not None:
            raise failure
        if dropped:
            self._drop("during a batch")
        self._membership.tick()

    def _advance(self, tp: TP, next_offset: int) -> None:
        self._positions.next[tp] = next_offset
        self._read_offset[tp] = next_offset - 1
        self._source.stuck.passed(tp.partition, next_offset)

    async def _handle(self, tp: TP, records: list[Any], next_offset: int) -> None:
        started = monotonic()
        await handle_isolating(self._hand_on, tp.partition, records, next_offset)
        self.app.monitor.stream_inbound_time[tp] = started  # or Faust logs that the stream is stuck

    async def _hand_on(self, partition: int, records: Sequence[Any], next_offset: int) -> None:
        """Law 5. What a batch needs may be closed already, and what it meets then is no record's fault."""
        try:
            await self._owned.handle(partition, records, next_offset)
        except Exception as error:
            if not self.app.should_stop:
                raise
            kind = type(error).__name__
            self.log.warning("partition %d: %s while the worker ends: the batch will be replayed", partition, kind)
            raise Fenced("the worker ends") from None

    async def _seek_to_next(self) -> None:
        self._heads.clear()
        await self._positions.seek(self._thread, self.assignment(), self.app.tables.recovery.next_offsets())

    def _drop(self, when: str) -> None:
        """Leave a batch to its owner and wait for the rebalance that is due; recovery resumes the flow after it."""
        self.log.warning("batch dropped %s: this worker lost its membership or a rebalance began", when)
        self._positions.must_seek = True
        self.stop_flow()
