"""Faust's table recovery, a fetch at a time, ending by what the fetches say.

The law of this file:
1. A partition is recovered when a fetch of its changelog has shown where it ends, and everything up to there is
   applied. A flag left from an earlier generation isn't enough: it would end a takeover that restored nothing.
   ListOffsets alone isn't enough: it is wrong on the embedded broker, and doesn't see a stale worker's record that came
   later.
2. The owner's `assigned` runs after that and before the first batch, alone, with the flow stopped. A rebalance cancels
   it.
3. If a stale record is found in a changelog, what is right is published behind it. Otherwise compaction could one day
   keep only the stale one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from time import monotonic
from typing import Any

from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service

from memberstream.models.wording import counted
from memberstream.stream.faust_batch.errors import StateAhead
from memberstream.stream.faust_batch.progress import RecoveryProgress
from memberstream.stream.faust_batch.source import Source
from memberstream.stream.faust_batch.state import PartitionState
from memberstream.stream.partition.write_position import rewritten

#: Seconds between two progress lines in the log.
PROGRESS_EVERY_S = 2.0


class _UntilRecovered:
    """Stands in for Faust's event `signal_recovery_end`: it checks the condition and remembers nothing (law 1)."""

    def __init__(self, recovery: BatchRecovery) -> None:
        self._recovery = recovery

    def set(self) -> None:
        """Nothing is remembered."""

    def clear(self) -> None:
        """Nothing to forget."""

    async def wait(self) -> bool:
        while self._recovery.need_recovery():  # noqa: ASYNC110 - the condition has no single place that could notify
            await asyncio.sleep(0.005)
        return True


class BatchRecovery(Recovery):  # type: ignore[misc]  # Faust's classes are Any to mypy
    """Faust's state machine, but records come from `feed`, not from a queue of single events."""

    def __init__(self, *args: Any, source: Source, state: PartitionState, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._source, self._owned, self._state = source, source.owned, state
        self.progress = RecoveryProgress()
        self._ends: dict[TP, int] = {}  # from fetches of this assignment
        self._stale: defaultdict[int, set[bytes]] = defaultdict(set)
        self._revocations_seen = 0
        self._logged_at = 0.0
        self._assigning: asyncio.Task[None] | None = None

    # -- law 1 ------------------------------------------------------------------------------------------------------

    @property
    def signal_recovery_end(self) -> _UntilRecovered:
        return _UntilRecovered(self)

    def need_recovery(self) -> bool:
        """Whether some active changelog partition isn't applied yet up to an end that a fetch has shown."""
        return any(tp not in self._ends or self._offset(tp) < self._ends[tp] - 1 for tp in self.active_tps)

    def _offset(self, tp: TP) -> int:
        offset = self.active_offsets[tp]
        return -1 if offset is None else offset

    async def on_rebalance(self, assigned: Any, revoked: Any, newly_assigned: Any, generation_id: int = 0) -> None:
        self._ends.clear()
        self._revocations_seen = self.app.consumer.revocations
        self.progress = RecoveryProgress(started_at=monotonic())
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def _build_highwaters(self, consumer: Any, tps: Any, destination: Any, title: str) -> None:
        if title == "active":  # a new recovery does this first: the one before it is over
            consumer.allow_flow()
        await super()._build_highwaters(consumer, tps, destination, title)

    def feed(self, tp: TP, records: Sequence[Any]) -> None:
        """Apply one fetch of one changelog partition (active or standby)."""
        offsets = self.active_offsets if tp in self.active_tps else self.standby_offsets
        if tp not in self.active_tps and tp not in self.standby_tps:
            return  # revoked since the fetch was sent; the next assignment seeks its position anew
        seen = offsets[tp]
        fresh = records if seen is None else [record for record in records if record.offset > seen]
        if not fresh:
            return
        refused, right = self._state.store.apply(tp.partition, fresh)
        stale = self._stale[tp.partition]
        stale -= right
        stale |= refused
        offsets[tp] = fresh[-1].offset
        if tp in self.active_tps:
            self.progress.applied += len(fresh)

    def next_offsets(self) -> dict[TP, int]:
        """Return where reading goes on in each changelog partition: behind what is applied."""
        offsets = {tp: self.active_offsets[tp] for tp in self.active_tps}
        offsets |= {tp: self.standby_offsets[tp] for tp in self.standby_tps}
        return {tp: 0 if offset is None else offset + 1 for tp, offset in offsets.items()}

    async def after_fetch(self) -> None:
        """Learn from the fetch that just ended how far each active changelog partition goes. Raises StateAhead."""
        if not self.in_recovery:
            return
        for tp in tuple(self.active_tps):
            if (ends := self.app.consumer.ends_of(tp)) is None:
                continue
            end, whole_end = ends
            offset = self._offset(tp)
            if offset >= whole_end:
                raise StateAhead(
                    f"local state of partition {tp.partition} is at position {offset} of the changelog {tp.topic}, "
                    f"which ends at {whole_end - 1}: the broker lost records, or the data directory belongs to another "
                    f"cluster. Next: remove {self._state.store.partition_path(tp.partition)} to rebuild it from the "
                    "changelog, or bring the topic back."
                )
            if offset < end - 1 and await self.app.consumer.position(tp) >= end:
                # Everything was read. The last records are gone (compaction drops old tombstones), or can't be applied.
                self.active_offsets[tp] = offset = end - 1
                self._state.store.set_persisted_offset(tp, offset)
            self._ends[tp] = self.active_highwaters[tp] = end
            self.active_highwaters[tp] -= 1  # Faust's own tables count to the last record, not behind it
        self._report()

    def _report(self) -> None:
        progress, now = self.progress, monotonic()
        progress.seconds = now - progress.started_at
        progress.remaining = sum(end - 1 - self._offset(tp) for tp, end in self._ends.items())
        if progress.remaining and now - self._logged_at > PROGRESS_EVERY_S:
            self._logged_at = now
            share = progress.applied / (progress.applied + progress.remaining)
            bar = "#" * round(20 * share)
            self.log.info(
                "recovery [%-20s] %d of %s, %.0f records/s",
                bar, progress.applied, counted(progress.applied + progress.remaining, "record"), progress.records_per_s,
            )  # fmt: skip

    @Service.task  # type: ignore[untyped-decorator]
    async def _slurp_changelogs(self) -> None:
        """Stands in for Faust's loop over single events: it only logs when the standbys have caught up."""
        while not self.should_stop:
            await self.sleep(0.2)
            waiting = not self.tables.standbys_ready and bool(self.standby_highwaters)
            if waiting and all((self.standby_offsets[tp] or -1) >= end for tp, end in self.standby_highwaters.items()):
                self.tables.on_standbys_ready()

    def standby_lag(self) -> dict[int, int]:
        """Standby partition → changelog records that its copy lacks, by the last fetch. Left out before a fetch."""
        lags = {}
        for tp in tuple(self.standby_tps):
            if (end := self.app.consumer.end_of(tp)) is not None:
                offset = self.standby_offsets[tp]
                lags[tp.partition] = max(0, end - 1 - (-1 if offset is None else offset))
        return lags

    # -- laws 2 and 3 -----------------------------------------------------------------------------------------------

    def _is_overtaken(self, generation_id: int) -> bool:
        return bool(
            self._revocations_seen != self.app.consumer.revocations
            or generation_id != self.app.consumer_generation_id
            or self.signal_recovery_start.is_set()
            or self.need_recovery()  # Faust swallows the exception that tells it of a new rebalance
        )

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        if self._is_overtaken(generation_id):
            return
        await self.app.consumer.park()  # a standby's fetch may be in flight; positions are about to move
        self._assigning = asyncio.create_task(self._assign())
        try:
            await asyncio.wait({self._assigning})
        finally:  # even if a new rebalance cancels this very coroutine
            task = self._assigning
            task.cancel()
            await asyncio.wait({task})
        if self._is_overtaken(generation_id) or (task.cancelled() and self.app.should_stop):
            return
        if task.cancelled():  # then nobody would resume the flow
            raise RuntimeError("a library's CancelledError ended an assignment. Next: nothing, the restart begins anew")
        if (error := task.exception()) is not None:  # what the owner raised stops the worker
            self.log.error("stopping: %s: %s", type(error).__name__, error)
            raise error
        await super().on_recovery_completed(generation_id)
        self._owned.is_settled = not self._is_overtaken(generation_id)

    async def _assign(self) -> None:
        partitions = frozenset(tp.partition for tp in self.active_tps)
        if not partitions:
            return
        for tp in self.active_tps:
            self._state.start(tp.partition, self._offset(tp))
        await self._repair(partitions)
        if self._source.skip_log is not None:
            await self._source.skip_log.catch_up()
        committed = await self.app.consumer.committed_offsets(partitions)
        await self.app.consumer.read_from(await self._owned.take(committed), committed)

    async def _repair(self, partitions: frozenset[int]) -> None:
        state = self._state
        for partition in partitions:
            keys = sorted(self._stale[partition])
            if keys:
                written_at = state.written_at(partition)
                values = zip(keys, state.get_many(partition, keys), strict=True)
                items = [(key, None if value is None else rewritten(value, written_at)) for key, value in values]
                offset = await state.publish(partition, items, written_at)
                state.write(partition, items, offset, written_at)
                self.log.warning(
                    "partition %d: %d stale records of a former owner in the changelog, put right", partition, len(keys)
                )
                self._stale[partition].clear()

    async def cancel_assigning(self) -> None:
        """Called when partitions are revoked, before `owner.revoked`."""
        if self._assigning is not None and not self._assigning.done():
            self._assigning.cancel()
            await asyncio.wait({self._assigning})
