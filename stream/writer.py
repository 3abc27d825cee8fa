"""Redis as the pipeline sees it: always there. An outage is waited out (patience.py)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, Literal

from stream.bookkeeping import Progress
from stream.keyspace import Announcement, Beacon, Scored
from stream.patience import Patience
from stream.projection import Deletion, Projection, RedisUnavailable, Update
from stream.settings import Clock

log = logging.getLogger(__name__)


class Writer:
    """Writes memberships and beacons, repeating each call until Redis takes it.

    Attributes:
        progress: owned partition → how far it is; what beacons tell readers.
        problem: since when (monotonic clock) and why a call waits for Redis; None while none does.
        refused: writes that the guard refused because Redis knew better, since the start.
    """

    BEACON_INTERVAL_S: ClassVar[float] = 1.0  # a thirtieth of what readers take for a sign of death (keyspace)

    def __init__(self, projection: Projection, clock: Clock, wall_ms: Callable[[], int]) -> None:
        self._projection, self._clock, self._wall_ms = projection, clock, wall_ms
        self.progress: dict[int, Progress] = {}
        self._beacons: dict[int, Beacon] = {}  # the last acknowledged
        self._patience = Patience()
        self.refused = 0

    @property
    def problem(self) -> tuple[float, str] | None:
        return self._patience.problem

    async def write(self, partition: int, updates: Sequence[Update | Deletion]) -> None:
        """Write one partition's updates; what Redis already holds in a later form stays."""
        if updates:
            self.refused += await self._patience.until_available(lambda: self._projection.write(partition, updates))

    async def beacon(self) -> list[int]:
        """Tell readers how far the owned partitions are; return those whose members Redis has lost.

        One that is being written counts as lost until it is finished: whoever wrote it may have been cut short.
        """
        beacons = {partition: self._beacon_of(progress) for partition, progress in self.progress.items()}
        if not beacons:  # nothing to tell, but health wants to know whether Redis is there
            await self._patience.until_available(self._projection.ping)
            return []
        reply = await self._patience.until_available(lambda: self._projection.beacon(beacons))
        went_back = [p for p, last in reply.last.items() if self._is_older(last, self._beacons.get(p))]
        self._beacons = beacons
        if (reply.epoch and went_back) or self._projection.reconnected():
            log.warning("Redis may have lost what was written last (a restart, a fail-over): all members are rewritten")
            await self._patience.until_available(self._projection.forget)
            return list(beacons)
        if reply.epoch:
            return []
        return [partition for partition, mark in reply.built.items() if mark is None or not mark.done]

    @staticmethod
    def _is_older(found: Beacon | None, written: Beacon | None) -> bool:
        """Whether Redis holds an older beacon than was acknowledged; a later one is of another worker."""
        return written is not None and (found is None or found.written_ms < written.written_ms)

    async def reset(self, partition: int) -> None:
        """Begin a new epoch of a partition: what readers know of how far it was no longer holds."""
        await self._patience.until_available(lambda: self._projection.reset_beacon(partition))

    async def farewell(self, partitions: Iterable[int]) -> None:
        """Tell readers once more how far partitions are that are given away; an outage isn't waited out."""
        beacons = {p: self._beacon_of(self.progress[p]) for p in partitions if p in self.progress}
        if beacons and self.problem is None:
            with suppress(RedisUnavailable, TimeoutError):
                async with asyncio.timeout(self.BEACON_INTERVAL_S):
                    await self._projection.beacon(beacons)

    def prepare(self, announcement: Announcement) -> None:
        """Note what `begin` tells of the models when Redis has lost it; what readers see stays."""
        self._projection.announcement = announcement

    async def announce(self, announcement: Announcement) -> None:
        """Tell readers which models there are and which are live, unless they know something newer."""
        await self._patience.until_available(lambda: self._projection.announce(announcement))

    async def tell_scored(self, scored: Mapping[int, Scored]) -> None:
        """Tell how far the owned partitions are scored with the published models."""
        if scored:
            await self._patience.until_available(lambda: self._projection.tell_scored(scored))

    async def drop(self, keys: Sequence[bytes], fields: Sequence[bytes]) -> None:
        """Remove fields from members: of retired versions, of lists that they have left."""
        if keys and fields:
            await self._patience.until_available(lambda: self._projection.drop(keys, fields))

    async def enlist(self, field: bytes, rows: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Write a list's field of members; returns those that were deleted."""
        return await self._patience.until_available(lambda: self._projection.enlist(field, rows)) if rows else []

    async def begin(self, partition: int) -> bytes:
        """Begin to write all members of a partition; returns the token to finish with."""
        return await self._patience.until_available(lambda: self._projection.begin(partition))

    async def finish(
        self, partition: int, token: bytes, n_partitions: int
    ) -> Literal["restart", "waiting", "complete"]:
        """Say that all members of a partition are written; "restart" when Redis lost them meanwhile."""
        return await self._patience.until_available(
            lambda: self._projection.finish(partition, token, n_partitions, self._wall_ms())
        )

    def _beacon_of(self, progress: Progress) -> Beacon:
        return Beacon(progress.next_offset, self._now_ms(progress), self._wall_ms())

    def _now_ms(self, progress: Progress) -> int:
        return self._wall_ms() if self._clock == "wall" else progress.clock_ms
