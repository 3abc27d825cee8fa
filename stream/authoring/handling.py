"""Waiting until the owners of partitions have handled records that somebody has sent, as they tell readers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic

from memberstream.stream.projection.installation import projection_of
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter, unwatched

PATIENCE_S = 60.0  # of waiting while a partition makes no progress
_POLL_S = 0.1


class NotHandled(OSError):
    """No worker has handled a record; the text says what to do next."""


async def handled(settings: Settings, offsets: Mapping[int, int], what: str, progress: Meter = unwatched) -> None:
    """Return when the owners of partitions have passed these offsets.

    Args:
        what: stands in them, for the message.
        progress: is told how many of these offsets are passed, of all since the first look.

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
            if monotonic() - moved_at > PATIENCE_S:
                raise NotHandled(
                    f"partition {next(iter(waiting))} hasn't moved for {PATIENCE_S:g} s; {what} in it "
                    "and will be handled. Next: see the workers' /readyz, then repeat this: what is done stays done"
                )
            await asyncio.sleep(_POLL_S)
