"""Faust's table recovery, a fetch at a time, ending by what the fetches say.

The law of this file:
1. A partition is recovered when a fetch of its changelog has shown where it ends and everything up to there is applied.
   Never by a flag left from an earlier generation, never by ListOffsets alone: the first ends a takeover that restored
   nothing, the second is wrong on the embedded broker and blind to a stale worker's record that came after it.
2. The handler's `assigned` runs after that and before the first batch, alone, with the flow stopped; a rebalance
   cancels it.
3. A stale record found in a changelog is answered by publishing what is right behind it: otherwise compaction could
   one day keep only the stale one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from faust.tables import Table
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service

from stream.faust_batch.errors import StateAhead
from stream.state_store import StateStore, rewritten

if TYPE_CHECKING:
    from stream.faust_batch.app import BatchApp

#: Seconds between two progress lines in the log.
PROGRESS_EVERY_S = 2.0


@dataclass
class RecoveryProgress:
    """The current recovery, or the last one. `remaining` is None until the first fetch has shown where it ends."""

    applied: int = 0
    remaining: int | None = None
    started_at: float = 0.0
    seconds: float = 0.0

    @property
    def records_per_s(self) -> float:
        """Changelog records applied a second."""
        return self.applied / self.seconds if self.seconds else 0.0


class _UntilRecovered:
    """In place of Faust's event `signal_recovery_end`: asks for the condition instead of remembering it (law 1)."""

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
    """Same state machine as Faust's; records come from `feed`, not from a queue of single events."""

    app: BatchApp

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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
        """True until every active changelog partition is applied up to an end that a fetch has shown."""
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
        if title == "active":  # the first thing a new recovery does: the one before it is over
            consumer.allow_flow()
        await super()._build_highwaters(consumer, tps, destination, title)

    def feed(self, tp: TP, records: Sequence[Any]) -> None:
        """Apply one fetch of one changelog partition (active or standby)."""
        offsets = self.active_offsets if tp in self.active_tps else self.standby_offsets
        if tp not in self.active_tps and tp not in self.standby_tps:
            return  # revoked since the fetch was sent; its position is sought anew with the next assignment
        seen = offsets[tp]
        fresh = records if seen is None else [record for record in records if record.offset > seen]
        if not fresh:
            return
        refused, right = self.store.apply(tp.partition, fresh)
        stale = self._stale[tp.partition]
        stale -= right
        stale |= refused
        offsets[tp] = fresh[-1].offset
        if tp in self.active_tps:
            self.progress.applied += len(fresh)

    def next_offsets(self) -> dict[TP, int]:
        """Where reading goes on in each changelog partition: behind what is applied."""
        offsets = {tp: self.active_offsets[tp] for tp in self.active_tps}
        offsets |= {tp: self.standby_offsets[tp] for tp in self.standby_tps}
        return {tp: 0 if offset is None else offset + 1 for tp, offset in offsets.items()}

    async def after_fetch(self) -> None:
        """Learn from the fetch that just ended how far each active changelog partition goes. Raises StateAhead."""
        if not self.in_recovery:
            return
        for tp in tuple(self.active_tps):
            end = self.app.consumer.highwater(tp)
            if end is None:
                continue
            offset = self._offset(tp)
            if offset >= end:
                raise StateAhead(
                    f"local state of partition {tp.partition} is at position {offset} of the changelog {tp.topic}, "
                    f"which ends at {end - 1}: the broker lost records, or the data directory belongs to another "
                    f"cluster. Next: remove {self.store.partition_path(tp.partition)} to rebuild it from the "
                    "changelog, or bring the topic back."
                )
            if offset < end - 1 and await self.app.consumer.position(tp) >= end:
                # Everything was read and the last records are gone (compaction drops old tombstones).
                self.active_offsets[tp] = offset = end - 1
                self.store.set_persisted_offset(tp, offset)
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
                "recovery [%-20s] %d of %d records, %.0f records/s",
                bar, progress.applied, progress.applied + progress.remaining, progress.records_per_s,
            )  # fmt: skip

    @Service.task  # type: ignore[untyped-decorator]
    async def _slurp_changelogs(self) -> None:
        """In place of Faust's loop over single events: only says when the standbys have caught up."""
        while not self.should_stop:
            await self.sleep(0.2)
            waiting = not self.tables.standbys_ready and bool(self.standby_highwaters)
            if waiting and all((self.standby_offsets[tp] or -1) >= end for tp, end in self.standby_highwaters.items()):
                self.tables.on_standbys_ready()

    def standby_lag(self) -> dict[int, int]:
        """Changelog records that each standby partition's copy lacks, by the last fetch; before one, it is left out."""
        lags = {}
        for tp in tuple(self.standby_tps):
            if (end := self.app.consumer.end_of(tp)) is not None:
                offset = self.standby_offsets[tp]
                lags[tp.partition] = max(0, end - 1 - (-1 if offset is None else offset))
        return lags

    @property
    def store(self) -> StateStore:
        """The one store of the one table."""
        store: StateStore = self.app.state_table.data
        return store

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
        finally:  # also when this very coroutine is cancelled by a new rebalance
            task = self._assigning
            task.cancel()
            await asyncio.wait({task})
        if task.cancelled() or self._is_overtaken(generation_id):
            return
        task.result()  # what the handler raised stops the worker
        await super().on_recovery_completed(generation_id)
        self.app.is_settled = not self._is_overtaken(generation_id)

    async def _assign(self) -> None:
        partitions = frozenset(tp.partition for tp in self.active_tps)
        if not partitions:
            return
        for tp in self.active_tps:
            self.app.partition_state.start(tp.partition, self._offset(tp))
        await self._repair(partitions)
        self.app.assigned_partitions = partitions  # before the call: what was told of it is told of its end, too
        await self.app.consumer.read_from(await self.app.handler.assigned(partitions))

    async def _repair(self, partitions: frozenset[int]) -> None:
        state = self.app.partition_state
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
        """Called when partitions are revoked, before `handler.revoked`."""
        if self._assigning is not None and not self._assigning.done():
            self._assigning.cancel()
            await asyncio.wait({self._assigning})


class BatchTables(TableManager):  # type: ignore[misc]
    """Faust's table manager with the recovery above."""

    async def on_start(self) -> None:
        """Without Faust's pause of a second for agents to register tables: ours is registered already."""
        await self._update_channels()
        await self.recovery.start()

    @property
    def recovery(self) -> BatchRecovery:
        if self._recovery is None:
            self._recovery: BatchRecovery | None = BatchRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


class StateTable(Table):  # type: ignore[misc]
    """The table behind the members' state: never touched key by key, only through `PartitionState`."""

    def _new_store(self) -> StateStore:
        return StateStore(
            "rocksdb://", self.app, self, table_name=self.name, key_type=bytes, value_type=bytes, loop=self.loop
        )
