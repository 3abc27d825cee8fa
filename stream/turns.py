"""Work beside the stream, without being felt by it: a slice of members at a time, and pauses while events arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter

# Members between two turns of the stream: about 10 ms, and well below that what an event waits at the median.
SLICE = 100
# Of the time while events arrive, the share that goes to work beside the stream.
SHARE = 0.25


class Turns:
    """Gives the stream its turns.

    Args:
        n_batches: counts the worker's batches: it stands still while nothing arrives.
    """

    def __init__(self, n_batches: Callable[[], int]) -> None:
        self._n_batches = n_batches

    @asynccontextmanager
    async def slice(self, lock: asyncio.Lock) -> AsyncIterator[None]:
        """Work on one slice under a partition's lock. Then, if events arrive, the stream has three times as long."""
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

    async def _give_way(self, worked_s: float, n_batches: int) -> None:
        await asyncio.sleep(0)
        if self._n_batches() != n_batches:  # events arrive
            await asyncio.sleep(worked_s * (1 / SHARE - 1))
