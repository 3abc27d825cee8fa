"""How much is computed at a time: the event loop breathes within a slice, and a slice has as many members as fit.

"The loop breathes" means that other work of the event loop gets a turn.

Laws:
- The loop is kept from others for BREATHLESS_S and one step at most. A step is a few predictors or a model over a
  slice, or the bytes of one member or of some events.
- A slice takes SLICE_S, judged by the slices before it, or has one member. As long as it takes, it holds the
  partition's lock, and the partition's events wait. With other models slices begin at one member and grow: nobody knows
  yet what a member costs.
- Work that goes on isn't a stall, however slow it is: `breaths` rises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter, thread_time

from memberstream.models.steps import Steps, T

# An ordinary slice of 100 members takes 3 to 10 ms and fits. A lower bound would gain nothing: events wait for the
# next turn of the loop anyhow.
SLICE_S = 0.02
# Below what an ordinary slice takes, so that it isn't cut; well below what anybody waits for.
BREATHLESS_S = 0.005


async def turn() -> None:
    """Let others have the event loop once."""
    await asyncio.sleep(0)


class Pace:
    """The pace of one kind of work.

    Args:
        most: members of a slice at most.

    Attributes:
        breaths: how often the loop has breathed within the work since the start.
    """

    def __init__(self, most: int) -> None:
        self._most, self._fits = most, 1
        self._models: object = None
        self._worked_s = 0.0  # of the slice under way; processor time: a busy machine must not count
        self.breaths = 0

    def members(self, models: object) -> int:
        """Return how many members the next slice may have, under these models."""
        if models is not self._models:
            self._models, self._fits = models, 1
        return self._fits

    async def run(self, steps: Steps[T], breathe: Callable[[], Awaitable[None]] = turn) -> T:
        """Do the steps of a part of the slice under way."""
        began, limit = thread_time(), perf_counter() + BREATHLESS_S
        while True:
            try:
                next(steps)
            except StopIteration as end:
                self._worked_s += thread_time() - began
                made: T = end.value
                return made
            if perf_counter() > limit:
                self._worked_s += thread_time() - began
                self.breaths += 1
                await breathe()
                began, limit = thread_time(), perf_counter() + BREATHLESS_S

    def took(self, n: int) -> None:
        """Note that the slice of `n` members is done. If members are cheap, the next slice may have twice as many."""
        worked_s, self._worked_s = self._worked_s, 0.0
        fits = 2 * self._fits if n >= self._fits else self._fits
        if worked_s > BREATHLESS_S:  # less tells of the slice, not of its members
            fits = min(fits, int(SLICE_S * n / worked_s))
        self._fits = max(1, min(fits, self._most))
