"""Waiting until the owners of partitions have handled records that somebody has sent, as they tell readers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from time import monotonic

from memberstream.models.wording import named
from memberstream.stream.keyspace.formats import BEACON_STALE_MS, Beacon, Behind
from memberstream.stream.partition.holds import held_by_now
from memberstream.stream.projection.installation import projection_of
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter, Waits, unheard, unwatched

PATIENCE_S = 60.0  # of waiting while a partition makes no progress
_SILENT_S = 5.0  # a large batch takes a second or two
_POLL_S = 0.1


class NotHandled(OSError):
    """No worker has handled a record; the text says what to do next."""


async def handled(
    settings: Settings, offsets: Mapping[int, int], what: str, progress: Meter = unwatched, waits: Waits = unheard
) -> None:
    """Return when the owners of partitions have passed these offsets.

    Args:
        what: stands in them, for the message.
        progress: is told how many of these offsets are passed, of all since the first look.
        waits: is told what is waited for while none of the partitions moves.

    Raises:
        NotHandled: a partition hasn't moved for a minute.
    """
    waiting, seen, moved_at = dict(offsets), dict.fromkeys(offsets, -1), monotonic()
    began: dict[int, int] = {}
    async with await projection_of(settings) as projection:
        while waiting:
            beacons = (await projection.partitions.look()).beacons
            for partition, offset in list(waiting.items()):
                reached = beacons[partition].next_offset if partition in beacons else -1
                began.setdefault(partition, max(0, reached))
                if reached > seen[partition]:
                    seen[partition], moved_at = reached, monotonic()
                if reached > offset:
                    del waiting[partition]
            total = sum(max(0, offset + 1 - began[partition]) for partition, offset in offsets.items())
            left = sum(offset + 1 - max(0, seen[partition]) for partition, offset in waiting.items())
            progress(max(0, total - left), total)
            still_s = monotonic() - moved_at
            if waiting and still_s > _SILENT_S:
                waits(in_the_way(waiting, beacons, await projection.partitions.behind(), time.time_ns() // 1_000_000))
            else:
                waits("")
            if still_s > PATIENCE_S:
                raise NotHandled(
                    f"partition {next(iter(waiting))} hasn't moved for {PATIENCE_S:g} s; {what} in it "
                    "and will be handled. Next: see the workers' /readyz, then repeat this: what is done stays done"
                )
            await asyncio.sleep(_POLL_S)


def in_the_way(
    waiting: Collection[int], beacons: Mapping[int, Beacon], behind: Mapping[int, Behind], now_ms: int
) -> str:
    """Return why partitions don't move, as their workers tell in Redis, with what to do."""
    if held := [p for p in held_by_now(beacons, behind, now_ms) if p in waiting]:
        are = "is" if len(held) == 1 else "are"
        return f"{named('partition', held)} {are} held until somebody acts. Next: memberstream doctor says what to do"
    if silent := sorted(p for p in waiting if p not in behind or behind[p].written_ms < now_ms - BEACON_STALE_MS):
        return f"no worker has answered for {named('partition', silent)}. Next: memberstream worker"
    return f"the workers are at {named('partition', sorted(waiting))}. Next: wait; memberstream doctor says how far"
