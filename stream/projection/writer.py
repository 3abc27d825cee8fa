"""Redis as the pipeline sees it: always there. An outage is waited out (patience.py)."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import ClassVar

from memberstream.stream.keyspace.formats import Announcement, Beacon, Behind, Door, Scored, Sizes
from memberstream.stream.partition.bookkeeping import Progress
from memberstream.stream.partition.holds import Holds
from memberstream.stream.projection.build import FinishState
from memberstream.stream.projection.calls import NotPermitted, RedisUnavailable
from memberstream.stream.projection.members import PartitionMismatch, Write
from memberstream.stream.projection.partitions import is_older
from memberstream.stream.projection.patience import Patience
from memberstream.stream.projection.projection import Projection
from memberstream.stream.settings import Clock
from memberstream.stream.wire.cluster import Address

log = logging.getLogger(__name__)
_SAY_EVERY_S = 10.0  # the metric counts those that aren't logged


class Writer:
    """Writes memberships and beacons, repeating each call until Redis takes it.

    Attributes:
        progress: owned partition → how far it is; what beacons tell readers.
        problem: since when (monotonic clock) and why a call waits for Redis; None while none does.
        refused: writes that the guard refused because Redis held a later position, since the start.
        foreign: partition → members not written because Redis has them from another partition, since the start.
        is_whole: whether Redis was complete at the last beacon.
    """

    BEACON_INTERVAL_S: ClassVar[float] = (
        1.0  # a thirtieth of the age at which readers take a beacon for dead (keyspace)
    )

    def __init__(self, projection: Projection, holds: Holds, clock: Clock, wall_ms: Callable[[], int]) -> None:
        self._projection, self._holds, self._clock, self._wall_ms = projection, holds, clock, wall_ms
        self.progress: dict[int, Progress] = {}
        # partition → the offset below which Redis has all, while state is ahead of that
        self._behind: dict[int, int] = {}
        self._beacons: dict[int, Beacon] = {}  # the last acknowledged
        self._patience = Patience()
        self.refused, self.foreign, self.is_whole = 0, Counter[int](), False
        self._said_at = -_SAY_EVERY_S

    @property
    def round_trip_s(self) -> float:
        """How long Redis takes to answer, at best."""
        return self._projection.calls.round_trip.seconds

    @property
    def problem(self) -> tuple[float, str] | None:
        return self._patience.problem

    def take_on(self, partition: int, progress: Progress, committed: int) -> None:
        """Begin to own a partition. If its last owner died in between, its state has what Redis lacks: the records from
        the committed offset on, which are read again.
        """
        self.progress[partition] = progress
        if committed < progress.next_offset:
            self._behind[partition] = committed

    def advance(self, partition: int, progress: Progress, up_to: int) -> None:
        """Note how far a partition is, and that what its records below an offset say is in Redis."""
        self.progress[partition] = progress
        if partition in self._behind:
            self._behind[partition] = up_to
            if up_to >= progress.next_offset:
                del self._behind[partition]

    def leave(self, partition: int) -> None:
        """Forget a partition that is no longer owned."""
        self.progress.pop(partition, None)
        self._behind.pop(partition, None)

    async def write(self, partition: int, updates: Sequence[Write]) -> None:
        """Write one partition's updates. Rows that Redis holds at a later position, or from another partition, stay."""
        if not updates:
            return
        try:
            members = self._projection.members
            self.refused += await self._patience.until_available(lambda: members.write(partition, updates))
        except PartitionMismatch as error:
            self.refused += error.refused
            self.foreign[partition] += error.foreign
            if monotonic() - self._said_at >= _SAY_EVERY_S:
                self._said_at = monotonic()
                log.error("%s", error)

    async def beacon(self) -> list[int]:
        """Tell readers how far the owned partitions are. Returns partitions whose members Redis has lost.

        A partition that is being written counts as lost until it is finished: its writer may have been cut short.
        """
        # Health wants to know, also without partitions.
        await self._patience.until_available(self._projection.calls.ping)
        beacons = {partition: self._beacon_of(partition) for partition in self.progress}
        if not beacons:
            return []
        reply = await self._patience.until_available(lambda: self._projection.build.beacon(beacons))
        went_back = [p for p, last in reply.last.items() if is_older(last, self._beacons.get(p))]
        self._beacons = beacons
        self.is_whole = reply.epoch and not (reply.restarted or went_back)
        if reply.restarted or (reply.epoch and went_back):
            log.warning("Redis may have lost what was written last (a restart, a fail-over): all members are rewritten")
            if not reply.restarted:
                await self._patience.until_available(self._projection.build.forget)
            return list(beacons)
        if reply.epoch:
            return []
        return [partition for partition, mark in reply.built.items() if mark is None or not mark.done]

    async def reset(self, partition: int) -> None:
        """Begin a new epoch of a partition: how far it was, as readers know it, no longer holds."""
        await self._patience.until_available(lambda: self._projection.build.reset_beacon(partition))

    async def farewell(self, partitions: Iterable[int]) -> None:
        """Tell readers once more how far partitions are that are given away. An outage isn't waited out."""
        beacons = {p: self._beacon_of(p) for p in partitions if p in self.progress}
        if beacons and self.problem is None:
            with suppress(RedisUnavailable, TimeoutError):
                async with asyncio.timeout(self.BEACON_INTERVAL_S):
                    await self._projection.build.beacon(beacons)

    def prepare(self, announcement: Announcement) -> None:
        """Note what `begin` tells about the models if Redis has lost it. What readers see stays."""
        self._projection.readers.announcement = announcement

    async def announce(self, announcement: Announcement) -> None:
        """Tell readers which models exist and which are live, unless they know something newer."""
        await self._patience.until_available(lambda: self._projection.readers.announce(announcement))

    async def known(self) -> int:
        """Return up to which step of the models' log readers know; -1: they know none."""
        return await self._patience.until_available(self._projection.readers.known)

    async def tell_scored(
        self,
        scored: Mapping[int, Scored],
        behind: Mapping[int, Behind],
        sizes: Mapping[int, Sizes],
        doors: Mapping[int, Door],
    ) -> None:
        """Tell how far the owned partitions are scored with the published models, how far they are behind, how many
        members are in which cluster, and where questions about them are answered.
        """
        if scored or behind:
            partitions = self._projection.partitions
            await self._patience.until_available(lambda: partitions.tell(scored, behind, sizes, doors))

    async def drop(self, keys: Sequence[bytes], fields: Sequence[bytes]) -> None:
        """Remove fields from members: of retired versions, of lists that they have left."""
        if keys and fields:
            await self._patience.until_available(lambda: self._projection.rows.drop(keys, fields))

    async def enlist(
        self, field: bytes, rows: Sequence[tuple[bytes, bytes]], over_tombstones: bool = False
    ) -> list[bytes]:
        """Write a list's field of members. Deleted members are refused, unless `over_tombstones`; returns them."""
        if not rows:
            return []
        return await self._patience.until_available(lambda: self._projection.rows.enlist(field, rows, over_tombstones))

    async def rows(self) -> AsyncGenerator[list[tuple[bytes, bytes]], None]:
        """Yield all members' rows that Redis holds, (member id, row) each, some of them twice.

        Raises NotPermitted when the user in Redis lacks a right for it.
        """
        is_over = False
        while not is_over:
            is_over = True
            for node in await self._patience.until_available(self._projection.calls.nodes):
                cursor = b"0"
                while (page := await self._patience.until_available(partial(self._scan, node, cursor))) is not None:
                    if isinstance(page, NotPermitted):
                        raise page
                    cursor, rows = page
                    yield rows
                    if cursor == b"0":
                        break
                else:
                    is_over = False  # a node has left the cluster, and its rows lie elsewhere: begin again
                    break

    async def _scan(
        self, node: Address | None, cursor: bytes
    ) -> tuple[bytes, list[tuple[bytes, bytes]]] | NotPermitted | None:
        try:
            return await self._projection.rows.scan(node, cursor)
        except NotPermitted as error:  # to wait for it would hold up what can be done without it
            return error

    async def cut(self, parts: Sequence[tuple[bytes, bytes]]) -> int:
        """Remove parts of rows as they were read. Returns how many were still there."""
        return await self._patience.until_available(lambda: self._projection.rows.cut(parts)) if parts else 0

    async def begin(self, partition: int) -> bytes:
        """Begin to write all members of a partition. Returns the token to finish with."""
        return await self._patience.until_available(lambda: self._projection.build.begin(partition))

    async def finish(self, partition: int, token: bytes, n_partitions: int) -> FinishState:
        """Tell that all members of a partition are written. Returns "restart" if Redis has lost them meanwhile."""
        return await self._patience.until_available(
            lambda: self._projection.build.finish(partition, token, n_partitions, self._wall_ms())
        )

    def _beacon_of(self, partition: int) -> Beacon:
        progress, told_ms = self.progress[partition], self._holds.told_ms(partition, self._wall_ms())
        applied = self._behind.get(partition, progress.next_offset)
        return Beacon(applied, told_ms if self._clock == "wall" else progress.clock_ms, told_ms)
