"""What a finished batch tells its listeners (metrics, logs); the pipeline itself knows of none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter

from stream.batch import Batch

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
        """What has passed since the last lap was somebody else's."""
        self._last = self._breathed_at = perf_counter()

    async def lap_and_breathe(self, stage: str) -> None:
        """End a stage; if it is time, let others have the event loop: their time isn't counted."""
        self.lap(stage)
        if self._last - self._breathed_at > BREATHLESS_S:
            await asyncio.sleep(0)
            self.resume()


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A batch that is durable and readable.

    Attributes:
        finished_ms: wall clock at that moment; minus a record's timestamp: its freshness.
        stages: stage → seconds.
    """

    partition: int
    batch: Batch
    finished_ms: int
    stages: dict[str, float]
