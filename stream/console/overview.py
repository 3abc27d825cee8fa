"""The overview's figures, from doctor's facts and the registry. Values in, values out."""

from __future__ import annotations

from typing import NamedTuple

from memberstream.models.registry import Registry, Status, Version
from memberstream.models.wording import named
from memberstream.stream.doctor.facts import Facts
from memberstream.stream.keyspace.formats import BEACON_STALE_MS
from memberstream.stream.partition.holds import held_by_now


class Partition(NamedTuple):
    """A partition as its worker tells of it. None: it doesn't tell, or not yet.

    Attributes:
        age_ms: since its worker told last that it lives.
        state: in a word; is_well: whether nobody has to act.
    """

    number: int
    age_ms: int | None
    next_offset: int | None
    waiting: int | None
    members: int | None
    state: str
    is_well: bool


class Figures(NamedTuple):
    """Sums over the partitions that tell. `untold`: which ones they lack, in words; "" if none.

    `oldest_ms`: the age of the oldest beacon; None: there is none.
    """

    members: int | None
    waiting: int | None
    oldest_ms: int | None
    untold: str
    partitions: list[Partition]


def figures(facts: Facts, topic: str) -> Figures:
    """Return the figures."""
    described = facts.topics.get(topic)
    numbers = set(range(described.n_partitions)) if described else set[int]()
    numbers |= facts.beacons.keys() | facts.behind.keys()
    held = set(held_by_now(facts.beacons, facts.behind, facts.now_ms))
    partitions = [_partition(facts, number, number in held) for number in sorted(numbers)]
    members = [one.members for one in partitions if one.members is not None]
    waiting = [one.waiting for one in partitions if one.waiting is not None]
    untold = [one.number for one in partitions if one.members is None or one.waiting is None]
    return Figures(
        sum(members) if members else None,
        sum(waiting) if waiting else None,
        max((one.age_ms for one in partitions if one.age_ms is not None), default=None),
        named("partition", untold) if untold else "",
        partitions,
    )


def _partition(facts: Facts, number: int, is_held: bool) -> Partition:
    beacon, behind = facts.beacons.get(number), facts.behind.get(number)
    age_ms = None if beacon is None else max(0, facts.now_ms - beacon.written_ms)
    if behind is not None and facts.now_ms - behind.written_ms > BEACON_STALE_MS:
        behind = None  # of a worker that is gone
    is_fresh = age_ms is not None and age_ms <= BEACON_STALE_MS
    state = "held" if is_held else "no worker yet" if age_ms is None else "current" if is_fresh else "no worker tells"
    return Partition(
        number,
        age_ms,
        None if beacon is None else beacon.next_offset,
        None if behind is None else behind.waiting,
        None if behind is None else behind.members,
        state,
        is_fresh and not is_held,
    )


def scored_versions(registry: Registry) -> list[Version]:
    """Return live versions and candidates: models by name, the live version first."""
    return sorted(registry.scored(), key=lambda entry: (entry.name, entry.status is not Status.LIVE, -entry.version))
