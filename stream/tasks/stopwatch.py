"""Where the time of a batch goes, stage by stage, and when others get the event loop."""

from __future__ import annotations

import asyncio
from time import perf_counter

# How long computing may keep the event loop from the others: several calls to Redis, or a turn of the loop for nothing.
BREATHLESS_S = 0.001


class Stopwatch:
    """Seconds by stage, each from the end of the one before."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._last = self._breathed_at = perf_counter()

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._last
        self._last = now

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
