"""Work beside the stream, without being felt by it: a slice of members at a time, and pauses while events arrive.

Laws:
- One slice at a time in a worker, whoever it is for, its pause included; so a pause shows what the stream alone takes.
- While events arrive, the work takes a part of the time that the stream leaves idle: a worker that is nearly busy
  would otherwise be made to queue, and events wait many times as long. At most SHARE, so that a slice and the
  events of its time don't meet often; at least LEAST_SHARE, so that the work comes to an end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter

# Members between two turns of the stream: about 10 ms, and well below that what an event waits at the median.
SLICE = 100
# Of the time while events arrive, the share that goes to work beside the stream; and of what the stream leaves.
SHARE, LEAST_SHARE, OF_IDLE = 0.25, 0.05, 1 / 3


class Turns:
    """Gives the stream its turns.

    Args:
        n_batches: counts the worker's batches: it stands still while nothing arrives.
        cpu_s: processor time that the worker has taken, all its threads: Python runs one of them at a time.
    """

    def __init__(self, n_batches: Callable[[], int], cpu_s: Callable[[], float] = time.process_time) -> None:
        self._n_batches, self._cpu_s = n_batches, cpu_s
        self._one_at_a_time = asyncio.Lock()
        self._load = 0.0  # of the stream alone, lately; 1: one core

    @asynccontextmanager
    async def slice(self, lock: asyncio.Lock) -> AsyncIterator[None]:
        """Work on one slice under a partition's lock. Then, if events arrive, the stream has its turn."""
        async with self._one_at_a_time:
            n_batches = self._n_batches()
            async with lock:
                began = perf_counter()
                yield
                worked_s = perf_counter() - began
            await self._give_way(worked_s, n_batches)

    def giving_way(self) -> Callable[[], Awaitable[None]]:
        """Return what is to be awaited after each piece of work that needs no lock."""
        began, n_batches = perf_counter(), self._n_batches()

        async def give_way() -> None:
            nonlocal began, n_batches
            await self._give_way(perf_counter() - began, n_batches)
            began, n_batches = perf_counter(), self._n_batches()

        return give_way

    @property
    def share(self) -> float:
        """Of the time while events arrive, what goes to work beside the stream now."""
        return min(SHARE, max(LEAST_SHARE, OF_IDLE * (1 - self._load)))

    async def _give_way(self, worked_s: float, n_batches: int) -> None:
        await asyncio.sleep(0)
        if self._n_batches() == n_batches:  # nothing arrives
            return
        began, cpu_s = perf_counter(), self._cpu_s()
        await asyncio.sleep(worked_s * (1 / self.share - 1))
        found = (self._cpu_s() - cpu_s) / max(perf_counter() - began, 1e-9)
        self._load += (min(found, 1.0) - self._load) / 4  # some pauses: one alone is short
