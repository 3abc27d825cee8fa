"""Work beside the stream that doesn't disturb it: a slice of members at a time, and pauses while events arrive.

Laws:
- A worker does one slice at a time, its pause included, whatever the slice is for. So a pause shows what the stream
  alone takes.
- While events arrive, the work takes a part of the time that the stream leaves idle. Otherwise a worker that is nearly
  busy would begin to queue, and events would wait many times as long. The part is SHARE at most, so that events seldom
  wait for a slice; and LEAST_SHARE at least, so that the work comes to an end.
- A slice that took longer than LONGEST_S has waited for Redis or Kafka. That took nothing from the stream, so no pause
  makes up for it. Otherwise due members would stay as they are for minutes after an outage.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter

# Members between two turns of the stream: about 10 ms. At the median an event waits well below that.
SLICE = 100
# The shares of work beside the stream while events arrive: at most, at least, and of the time that the stream leaves.
SHARE, LEAST_SHARE, OF_IDLE = 0.25, 0.05, 1 / 3
#: Seconds of a slice that a pause makes up for: ten times what a slice commonly takes.
LONGEST_S = 0.1


class Turns:
    """Gives the stream its turns.

    Args:
        n_batches: counts the worker's batches. It stands still while nothing arrives.
        cpu_s: processor time of all threads of the worker: Python runs one of them at a time.
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
        """Return a function to be awaited after each piece of work that needs no lock."""
        began, n_batches = perf_counter(), self._n_batches()

        async def give_way() -> None:
            nonlocal began, n_batches
            await self._give_way(perf_counter() - began, n_batches)
            began, n_batches = perf_counter(), self._n_batches()

        return give_way

    @property
    def share(self) -> float:
        """The share of time that work beside the stream takes now, while events arrive."""
        return min(SHARE, max(LEAST_SHARE, OF_IDLE * (1 - self._load)))

    async def _give_way(self, worked_s: float, n_batches: int) -> None:
        await asyncio.sleep(0)
        if self._n_batches() == n_batches:  # nothing arrives
            return
        began, cpu_s = perf_counter(), self._cpu_s()
        await asyncio.sleep(min(worked_s, LONGEST_S) * (1 / self.share - 1))
        found = (self._cpu_s() - cpu_s) / max(perf_counter() - began, 1e-9)
        self._load += (min(found, 1.0) - self._load) / 4  # some pauses, because one alone is short
