"""Members whose memberships change when nothing arrives: each is rescored when it falls due.

Laws:
- A member falls due at the end of its memberships' validity, which its state holds. The index of timers
  (faust_batch/timer_index.py) only says whom to look at. Members that are due longest come first.
- It goes a slice at a time, each under its partition's lock. Then the stream has its turn (tasks/turns.py). Redis,
  changelog and state are written as by a backfill (rescoring.py).
- It costs in proportion to the members that are due. Members that wait take no memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from memberstream.stream.members.rescoring import Rescoring
from memberstream.stream.partition.locks import Locks
from memberstream.stream.partition.state import State, Timer
from memberstream.stream.registry.publication import Current
from memberstream.stream.tasks.pace import Pace
from memberstream.stream.tasks.turns import SLICE, Turns

# Seconds after which the earliest timer is looked at again: an earlier one may have come.
POLL_S = 0.1
# Due members counted between two breaths of the event loop: about a millisecond.
_COUNTED = 1_000


class MemberTimers:
    """Rescores the members of the owned partitions as they fall due.

    Args:
        locks: of the partitions, which batches take, too.
        on_rescored: is called for each slice with how late its members were, ms by the clock of scoring.

    Attributes:
        waiting: partition that has members due → (about how many; when the first of them fell due, ms).
        rescored: members rescored since the start.
        pace: how many members a slice has.
    """

    def __init__(
        self,
        current: Current,
        state: State,
        rescoring: Rescoring,
        locks: Locks,
        turns: Turns,
        on_rescored: Callable[[Sequence[int]], None],
    ) -> None:
        self._current, self._state, self._rescoring = current, state, rescoring
        self._locks, self._turns, self._on_rescored = locks, turns, on_rescored
        self.waiting: dict[int, tuple[int, int]] = {}
        self.rescored = 0
        self.pace = Pace(SLICE)

    async def run(self, partition: int) -> None:
        """Rescore the members of an owned partition as they fall due. Never returns."""
        await self._state.index_timers(partition)
        try:
            while True:
                wait_ms = self._state.next_due_ms(partition) - self._rescoring.now_ms(partition)
                await asyncio.sleep(min(POLL_S, max(0, wait_ms) / 1000))
                await self.catch_up(partition)
        finally:
            self.waiting.pop(partition, None)

    async def catch_up(self, partition: int) -> None:
        """Rescore all members due now, a slice at a time."""
        n = 0
        while timers := self._due(partition):
            if n <= 0:
                n = await self._count(partition, timers)
            self.waiting[partition] = n, timers[0].due_ms
            async with self._turns.slice(self._locks.of(partition)):
                await self._slice(partition)
            n -= len(timers)
        self.waiting.pop(partition, None)

    def _due(self, partition: int) -> list[Timer]:
        limit = self.pace.members(self._current.publication)
        return self._state.due(partition, self._rescoring.now_ms(partition), limit)

    async def _slice(self, partition: int) -> None:
        """Rescore due members under the lock. A batch may have had the lock before, so their states decide."""
        publication, timers = self._current.publication, self._due(partition)
        keys = [timer.key for timer in timers]
        states = self._state.get_many(partition, keys)
        found = dict(await self._rescoring.decode(self.pace, zip(keys, states, strict=True), is_packed=True))
        obsolete = [t for t in timers if t.key not in found or found[t.key].valid_until_ms != t.due_ms]
        members, now_ms = list(found.items()), self._rescoring.now_ms(partition)
        rescored = await self._rescoring.bring_up(self.pace, partition, publication, members, now_ms, obsolete)
        self.pace.took(len(keys))
        self.rescored += len(rescored)
        readable_ms = self._rescoring.now_ms(partition)
        self._on_rescored([readable_ms - one.was_due_ms for one in rescored])

    async def _count(self, partition: int, timers: Sequence[Timer]) -> int:
        """Return how many members are due, these included."""
        n, now_ms, part = len(timers), self._rescoring.now_ms(partition), list(timers)
        while part:
            await asyncio.sleep(0)
            part = self._state.due(partition, now_ms, _COUNTED, part[-1])
            n += len(part)
        return n
