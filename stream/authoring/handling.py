"""Waiting until the owners of partitions have handled records that somebody has sent, as they tell readers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic

from memberstream.models.wording import named
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
            which = named("partition", sorted(waiting))
            is_silent = waiting and still_s > _SILENT_S
            waits(f"no worker has answered for {which}. Next: memberstream worker" if is_silent else "")
            if still_s > PATIENCE_S:
                raise NotHandled(
                    f"partition {next(iter(waiting))} hasn't moved for {PATIENCE_S:g} s; {what} in it "
                    "and will be handled. Next: see the workers' /readyz, then repeat this: what is done stays done"
                )
            await asyncio.sleep(_POLL_S)
