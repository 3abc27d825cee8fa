"""Once a second readers are told how far the owned partitions are, and losses of Redis are noticed.

Law: losses are only noticed here. Writing again what was lost takes its time, beside this (background.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from memberstream.stream.keyspace.formats import Behind
from memberstream.stream.members.backfill import Backfill
from memberstream.stream.members.background import Background
from memberstream.stream.members.rebuild import Rebuild
from memberstream.stream.members.roll_call import RollCall
from memberstream.stream.projection.writer import Writer


class RedisWatch:
    """Tells and looks.

    Args:
        lag: asks how many records of each partition wait.
        wall_ms: the wall clock, ms.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        background: Background,
        rebuild: Rebuild,
        backfill: Backfill,
        roll_call: RollCall,
        lag: Callable[[], Mapping[int, int]],
        wall_ms: Callable[[], int],
    ) -> None:
        self._writer, self._background, self._rebuild = writer, background, rebuild
        self._backfill, self._roll_call, self._lag, self._wall_ms = backfill, roll_call, lag, wall_ms

    async def run(self) -> None:
        """Tell and look once a second. Never returns."""
        while True:
            await asyncio.sleep(self._writer.BEACON_INTERVAL_S)
            self._background.rebuild([*await self._writer.beacon(), *self._rebuild.owed()])
            self._roll_call.look()
            await self._writer.tell_scored(self._backfill.told(), self._behind())

    def _behind(self) -> dict[int, Behind]:
        """Return for each owned partition how far it is behind."""
        lags, now_ms = self._lag(), self._wall_ms()
        return {p: Behind(lags.get(p), *standing, now_ms) for p, standing in self._roll_call.standing.items()}
