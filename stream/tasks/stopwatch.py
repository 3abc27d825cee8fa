"""Where the time of a batch goes, stage by stage, and when others get the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

# How long computing may keep the event loop from the others: several calls to Redis, or a turn of the loop for nothing.
BREATHLESS_S = 0.001


class Stopwatch:
    """Seconds by stage, each from the end of the one before.

    Attributes:
        stages: stage → seconds.
        began: when it was made, by `perf_counter`.
        timeline: stage, or part of one → from when to when it went on, by the same clock. Stages of several slices
            overlap.
    """

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self.timeline: dict[str, tuple[float, float]] = {}
        self.began = self._last = self._breathed_at = perf_counter()

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._last
        self._note(stage, self._last, now)
        self._last = now

    async def during(self, part: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do a part of a stage, beside others, and note when it went on. (A coroutine would complain if it is cancelled
        before it begins.)
        """
        began = perf_counter()
        try:
            return await work()
        finally:
            self._note(part, began, perf_counter())

    def whole(self) -> dict[str, tuple[float, float]]:
        """Return the timeline so far, and under "" the whole."""
        return {"": (self.began, perf_counter()), **self.timeline}

    def _note(self, stage: str, began: float, ended: float) -> None:
        self.timeline[stage] = self.timeline.get(stage, (began, ended))[0], ended

    def resume(self) -> None:
        """Leave out the time since the last lap: it was somebody else's."""
        self._last = self._breathed_at = perf_counter()

    async def lap_and_breathe(self, stage: str) -> None:
        """End a stage. If it is time, let others have the event loop; their time isn't counted."""
        self.lap(stage)
        if self._last - self._breathed_at > BREATHLESS_S:
            await self.breathe(stage)

    async def breathe(self, stage: str) -> None:
        """Let others have the event loop within a stage."""
        self.lap(stage)
        await asyncio.sleep(0)
        self.resume()
