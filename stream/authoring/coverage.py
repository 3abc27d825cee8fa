"""How far the workers are with a version, as they say in Redis; and whether that is enough to promote it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from memberstream.models.html import progress, table
from memberstream.models.registry import Version
from memberstream.models.wording import counted, named
from memberstream.stream.kafka.topics import count_partitions
from memberstream.stream.keyspace.formats import BEACON_STALE_MS
from memberstream.stream.partition.holds import held_by_now
from memberstream.stream.projection.installation import projection_of
from memberstream.stream.projection.partitions import Partitions
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings

#: Events that may wait for workers before a promotion must be forced, because sizes and flips are as of before them. A
#: busy worker has thousands in hand and applies this many in a second. Or one event for each hundred members may wait.
MAX_WAITING, MAX_WAITING_SHARE = 10_000, 0.01
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a version is scored, as the workers say.

    Attributes:
        waiting: partitions that aren't done. `remaining`: about how many of their members are left.
        unscored: members that lack a version although their partition is done (the workers look for them).
        uncounted: partitions whose members are still being counted after an upgrade: nobody knows yet.
        events: events that have arrived and aren't applied. `members`: members with a document.
        untold: partitions whose worker tells none of these: it doesn't run, or is an older version.
        held: partitions whose events wait for somebody to act (stream/partition/holds.py).
    """

    n_partitions: int
    waiting: tuple[int, ...]
    remaining: int
    unscored: int
    uncounted: tuple[int, ...]
    events: int
    members: int
    untold: tuple[int, ...]
    held: tuple[int, ...] = ()

    @property
    def is_complete(self) -> bool:
        return not self.waiting and not self.unscored and not self.uncounted

    def _repr_html_(self) -> str:
        """Return how far it is, as a notebook shows it."""
        done = self.n_partitions - len(self.waiting)
        rows = [
            ("members left, about", f"{self.remaining:,}"),
            ("members without the version", f"{self.unscored:,}"),
            ("events waiting", f"{self.events:,}"),
            ("members in all", f"{self.members:,}"),
            *(
                (what, ", ".join(map(str, partitions)))
                for what, partitions in (
                    ("partitions still counted", self.uncounted),
                    ("partitions that say nothing", self.untold),
                    ("partitions held", self.held),
                )
                if partitions
            ),
        ]
        bar = progress("partitions scored", done, self.n_partitions, "complete" if self.is_complete else "")
        return bar + table(("", ""), rows)

    @property
    def is_behind(self) -> bool:
        """Whether so many events wait that members and sizes are out of date."""
        return self.events > max(MAX_WAITING, MAX_WAITING_SHARE * self.members)


async def follow(settings: Settings, entry: Version) -> AsyncIterator[Coverage]:
    """Yield how far a version is scored: at once, then a few times a second until it is done and few events wait.

    Raises:
        PublishError: a worker can't use it.
    """
    n = await count_partitions(settings.kafka, settings.topic)
    async with await projection_of(settings) as projection:
        while True:
            coverage = await coverage_of(projection.partitions, entry, n)
            yield coverage
            if coverage.is_complete and not coverage.is_behind:
                return
            await asyncio.sleep(_POLL_S)


async def coverage_of(partitions: Partitions, entry: Version, n: int) -> Coverage:
    """Return how far a version is in `n` partitions, as Redis says. Raises PublishError: a worker can't use it."""
    told, look, now_ms = await partitions.scored(), await partitions.look(), time.time_ns() // 1_000_000
    behind = {p: b for p, b in (await partitions.behind()).items() if now_ms - b.written_ms < BEACON_STALE_MS}
    if refusing := [p for p in range(n) if p in told and entry.offset in told[p].refused]:
        raise PublishError(
            f"{entry.label} can't be used by the workers of {len(refusing)} of "
            f"{counted(n, 'partition')}; the log of partition {refusing[0]}'s worker says why. Next: update these "
            "workers; of a list whose rows are lost: upload it again and retire this one"
        )
    waiting = tuple(p for p in range(n) if p not in told or told[p].offset < entry.offset)
    is_computed = not entry.definition.is_list
    return Coverage(
        n,
        waiting,
        sum(told[p].remaining for p in waiting if p in told),
        sum(behind[p].unscored or 0 for p in behind) if is_computed else 0,
        tuple(sorted(p for p in behind if behind[p].unscored is None)) if is_computed else (),
        sum(behind[p].waiting or 0 for p in behind),
        sum(behind[p].members or 0 for p in behind),
        tuple(p for p in range(n) if p not in behind or behind[p].waiting is None),
        tuple(held_by_now(look.beacons, behind, now_ms)),
    )


def check_coverage(entry: Version, coverage: Coverage) -> None:
    """Check that a version may be promoted. Raises PublishError: the text says what is in the way."""
    name = entry.label
    if coverage.waiting:
        raise PublishError(
            f"{name} isn't scored for all members yet: it waits for {named('partition', coverage.waiting)}, "
            f"about {counted(coverage.remaining, 'member')} left. Next: memberstream model wait, and see that workers "
            "run; or --force"
        )
    if coverage.uncounted:
        raise PublishError(
            f"{name}: members of {named('partition', coverage.uncounted)} are still being counted, "
            "so nobody knows whether all are scored. Next: memberstream model wait; or --force"
        )
    if coverage.unscored:
        raise PublishError(
            f"{counted(coverage.unscored, 'member lacks', 'members lack')} a version in scored partitions; the workers "
            "look for them. Next: memberstream model wait, and see /readyz of the workers; or --force"
        )
    if coverage.is_behind:
        raise PublishError(
            f"{counted(coverage.events, 'event waits', 'events wait')} for the workers, which have "
            f"{counted(coverage.members, 'member')} so far: sizes, and who would change, aren't those of now. Next: "
            f"{held_advice(coverage) or 'memberstream model wait'}; or --force"
        )


def awaited(coverage: Coverage) -> str:
    """Return what a version waits for, with what to do; "" if it waits for nothing."""
    if coverage.held:
        return held_advice(coverage)
    if silent := sorted({*coverage.waiting, *coverage.uncounted}.intersection(coverage.untold)):
        if len(silent) == coverage.n_partitions:
            return "no worker has answered. Next: memberstream worker"
        return f"no worker has answered for {named('partition', silent)}. Next: start more workers; see their /readyz"
    if coverage.is_complete and not coverage.is_behind:
        return ""
    what = "have events to apply" if coverage.is_complete else "are at it"
    return f"the workers {what}. Next: wait, or press Ctrl-C: they go on"


def waiting_text(coverage: Coverage) -> str:
    """Return how many events wait for the workers, if any do or if that isn't known; else ""."""
    if not coverage.events and not coverage.untold:
        return ""
    text = f"{counted(coverage.events, 'event waits', 'events wait')} for the workers"
    if coverage.untold:
        text += f"; not told of {named('partition', coverage.untold)}: no worker, or one of an older version"
    return text


def goes_on(label: str) -> str:
    """Return what remains if nobody waits for a version any more."""
    return (
        f"{label} is published as a candidate, and the workers go on. Next: memberstream model wait {label}, then "
        f"memberstream model promote {label}"
    )


def held_advice(coverage: Coverage) -> str:
    """Return what to do about events that wait for somebody to act; "" if none do."""
    if not coverage.held:
        return ""
    are = "is" if len(coverage.held) == 1 else "are"
    return f"{named('partition', coverage.held)} {are} held until somebody acts: memberstream doctor says what to do"
