"""Members whose memberships change when nothing arrives: each is rescored when it falls due.

Laws:
- A member falls due at the end of its memberships' validity, kept in its state; the index of timers (timer_index.py)
  only says whom to look at. Those due longest come first.
- A slice at a time, each under its partition's lock; then the stream has its turn (turns.py). Redis, changelog and
  state are written as a backfill writes them (rescoring.py).
- It costs in proportion to the members that are due. Nothing is in memory of those who wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from models.member import decode
from stream.locks import Locks
from stream.publication import Current
from stream.rescoring import Rescoring
from stream.state import State, Timer
from stream.turns import SLICE, Turns

# Seconds after which the earliest timer is looked at again: a sooner one may have come.
POLL_S = 0.1
# Due members counted between two breaths of the event loop: about a millisecond.
_COUNTED = 1_000


class MemberTimers:
    """Rescores the members of the owned partitions as they fall due.

    Args:
        locks: of the partitions, which batches take, too.
        on_rescored: is told of each slice how late its members were, ms by the clock that scoring goes by.

    Attributes:
        waiting: partition that has members due → (how many, about; when the first of them fell due, ms).
        rescored: members rescored since the start.
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
        return self._state.due(partition, self._rescoring.now_ms(partition), SLICE)

    async def _slice(self, partition: int) -> None:
        """Rescore those who are due under the lock, which a batch may have had; their states decide."""
        timers = self._due(partition)
        states = self._state.get_many(partition, [timer.key for timer in timers])
        found = {timer.key: decode(data) for timer, data in zip(timers, states, strict=True) if data is not None}
        obsolete = [t for t in timers if t.key not in found or found[t.key].valid_until_ms != t.due_ms]
        publication, now_ms = self._current.publication, self._rescoring.now_ms(partition)
        rescored = await self._rescoring.bring_up(partition, publication, list(found.items()), now_ms, obsolete)
        self.rescored += len(rescored)
        readable_ms = self._rescoring.now_ms(partition)
        self._on_rescored([readable_ms - was_due_ms for _, _, was_due_ms in rescored])

    async def _count(self, partition: int, timers: Sequence[Timer]) -> int:
        """Return how many members are due, these included."""
        n, now_ms, part = len(timers), self._rescoring.now_ms(partition), list(timers)
        while len(part) >= SLICE:
            await asyncio.sleep(0)
            part = self._state.due(partition, now_ms, _COUNTED, part[-1])
            n += len(part)
        return n
