"""Once a second readers are told how far the owned partitions are, and losses of Redis are noticed.

Laws:
- Losses are only noticed here. Writing again what was lost takes its time, beside this (background.py).
- Telling takes the worker about a millisecond, however many partitions, versions and clusters there are: of sizes it
  tells at most some in a second, of each partition at least every SIZES_WITHIN_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from memberstream.stream.keyspace.formats import Behind, Door, Sizes
from memberstream.stream.members.backfill import Backfill
from memberstream.stream.members.background import Background
from memberstream.stream.members.rebuild import Rebuild
from memberstream.stream.members.roll_call import RollCall
from memberstream.stream.projection.writer import Writer

#: Well under the time after which they count as those of a worker that is gone (keyspace).
SIZES_WITHIN_S = 10
#: Counts told in a second, as long as that isn't too seldom. To gather and write 1,000 takes half a millisecond.
SIZES_PER_S = 1_000


class RedisWatch:
    """Tells and looks.

    Args:
        lag: asks how many records of each partition wait.
        wall_ms: the wall clock, ms.
        address: where questions about members are answered; None: nowhere.
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
        address: tuple[str, int] | None = None,
    ) -> None:
        self._writer, self._background, self._rebuild = writer, background, rebuild
        self._backfill, self._roll_call, self._lag, self._wall_ms = backfill, roll_call, lag, wall_ms
        self._address, self._turn = address, 0

    async def run(self) -> None:
        """Tell and look once a second. Never returns."""
        while True:
            await asyncio.sleep(self._writer.BEACON_INTERVAL_S)
            self._background.rebuild([*await self._writer.beacon(), *self._rebuild.owed()])
            self._roll_call.look()
            await self._writer.tell_scored(self._backfill.told(), self._behind(), self._sizes(), self._doors())

    def _behind(self) -> dict[int, Behind]:
        """Return for each owned partition how far it is behind."""
        lags, now_ms = self._lag(), self._wall_ms()
        return {p: Behind(lags.get(p), *standing, now_ms) for p, standing in self._roll_call.standing.items()}

    def _sizes(self) -> dict[int, Sizes]:
        """Return how many members are in which cluster, of the partitions whose turn it is."""
        partitions, cells = self._roll_call.counted(), self._roll_call.cells()
        n = sum(len(clusters) for _, clusters in cells) * len(partitions)
        n_turns, self._turn = max(1, min(SIZES_WITHIN_S, -(-n // SIZES_PER_S))), self._turn + 1
        now_ms = self._wall_ms()
        return {p: Sizes(now_ms, self._roll_call.sizes(p, cells)) for p in partitions[self._turn % n_turns :: n_turns]}

    def _doors(self) -> dict[int, Door]:
        """Return for each owned partition where questions about its members are answered."""
        if self._address is None:
            return {}
        door = Door(self._wall_ms(), *self._address)
        return dict.fromkeys(self._writer.progress, door)
