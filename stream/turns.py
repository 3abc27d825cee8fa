"""Work beside the stream, without being felt by it: a slice of members at a time, and pauses while events arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
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
        await asyncio.sleep(0)
        if self._n_batches() != n_batches:  # events arrive
            await asyncio.sleep(worked_s * (1 / SHARE - 1))
