"""What goes on beside the batches of an owned partition: rebuild, backfill, timers, roll call.

Laws:
- Each is a task in the supervisor, named by its kind and partition. They begin here and end here.
- A batch, a rebuild and a slice of any of them take turns, by the partition's lock.
- A task that is ended isn't waited for: it may be waiting for Redis, and a rebalance or a stop can't wait for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from memberstream.stream.members.backfill import Backfill
from memberstream.stream.members.rebuild import Rebuild
from memberstream.stream.members.roll_call import RollCall
from memberstream.stream.members.timers import MemberTimers
from memberstream.stream.partition.locks import Locks
from memberstream.stream.projection.writer import Writer
from memberstream.stream.tasks.side_by_side import side_by_side
from memberstream.stream.tasks.supervisor import Supervisor

KINDS = REBUILD, BACKFILL, TIMERS, ROLL_CALL = "rebuild", "backfill", "timers", "roll_call"


class Background:
    """Begins and ends the tasks of partitions.

    Args:
        tasks: runs them, and knows KINDS.
        locks: of the partitions.
    """

    def __init__(
        self,
        *,
        tasks: Supervisor,
        locks: Locks,
        writer: Writer,
        rebuild: Rebuild,
        backfill: Backfill,
        timers: MemberTimers,
        roll_call: RollCall,
    ) -> None:
        self._tasks, self._locks, self._writer = tasks, locks, writer
        self._rebuild, self._backfill, self._timers, self._roll_call = rebuild, backfill, timers, roll_call

    async def make_whole(self, partitions: Iterable[int]) -> None:
        """Return when Redis has all of these partitions' members.

        All partitions at once: they share the look at what Redis holds (members/sweep.py).
        """
        await self._rebuild.probe()
        await side_by_side([self.repair(partition) for partition in sorted(partitions)])

    def begin(self, partitions: Iterable[int]) -> None:
        """Begin the tasks that an owned partition has as long as it is owned."""
        for partition in partitions:
            self._tasks.keep(TIMERS, partial(self._timers.run, partition), partition)
            self._tasks.keep(ROLL_CALL, partial(self._roll_call.run, partition), partition)

    def fill_in(self, partitions: Iterable[int]) -> None:
        """Begin the backfill of the partitions that need it."""
        for partition in partitions:
            if not self._tasks.is_doing(BACKFILL, partition) and self._backfill.is_needed(partition):
                self._tasks.do(BACKFILL, partial(self._backfill.run, partition), partition)

    def rebuild(self, partitions: Iterable[int]) -> None:
        """Begin to make Redis whole, if it isn't."""
        for partition in partitions:
            self._tasks.do(REBUILD, partial(self.repair, partition), partition)

    async def repair(self, partition: int) -> None:
        """Write the partition's members to Redis if it lacks them, unless the partition has been given away."""
        async with self._locks.of(partition):
            if partition in self._writer.progress:
                await self._rebuild.if_needed(partition)

    def on_batch(self, partition: int) -> None:
        """A batch is written: now the partition may be level with its topic, and Redis complete."""
        if self._rebuild.has_become_level(partition):
            self.rebuild([partition])

    def end(self, partitions: Iterable[int]) -> None:
        """End all tasks of partitions that are given away."""
        for partition in partitions:
            for kind in KINDS:
                self._tasks.end(kind, partition)

    def leave(self, partition: int) -> None:
        """Forget a partition that is no longer owned."""
        self._backfill.leave(partition)
        self._rebuild.leave(partition)
