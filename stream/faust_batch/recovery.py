"""Faust's table recovery, a fetch at a time, ending by what the fetches say.

The law of this file:
1. A partition is recovered when a fetch of its changelog has shown where it ends, and everything up to there is
   applied. A flag left from an earlier generation isn't enough: it would end a takeover that restored nothing.
   ListOffsets alone isn't enough: it is wrong on the embedded broker, and doesn't see a stale worker's record that came
   later.
2. The partitions are assigned after that (assigning.py), and only then the flow is opened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any

from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service

from memberstream.models.wording import counted
from memberstream.stream.faust_batch.assigning import Assigning, check
from memberstream.stream.faust_batch.errors import StateAhead
from memberstream.stream.faust_batch.progress import RecoveryProgress
from memberstream.stream.faust_batch.source import Source
from memberstream.stream.faust_batch.state import PartitionState

log = logging.getLogger(__name__)

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
        self._topic, self._owned, self._state = source.name, source.owned, state
        self.assigning = Assigning(source, state)
        self.progress = RecoveryProgress()
        self._ends: dict[TP, int] = {}  # from fetches of this assignment
        self._revocations_seen = 0
        self._logged_at = 0.0

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
        log.info(
            "rebalance: %s for this worker", _partitions(tp.partition for tp in assigned if tp.topic == self._topic)
        )
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
        self._state.store.apply(tp.partition, fresh)
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
            log.info(
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

    # -- law 2 ------------------------------------------------------------------------------------------------------

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
        task = await self.assigning.run(self.app.consumer, {tp.partition: self._offset(tp) for tp in self.active_tps})
        if self._is_overtaken(generation_id) or (task.cancelled() and self.app.should_stop):
            return
        check(task)  # what it raises stops the worker
        await super().on_recovery_completed(generation_id)
        self._owned.is_settled = not self._is_overtaken(generation_id)
        if self._owned.is_settled:
            self._say_ready()

    def _say_ready(self) -> None:
        log.info(
            "ready: %s, %s of the changelog read in %.1f s", _partitions(tp.partition for tp in self.active_tps),
            counted(self.progress.applied, "record"), monotonic() - self.progress.started_at,
        )  # fmt: skip


def _partitions(numbers: Iterable[int]) -> str:
    found = sorted(numbers)
    listed = ", ".join(map(str, found))
    return f"{'partition' if len(found) == 1 else 'partitions'} {listed}" if found else "no partition"
