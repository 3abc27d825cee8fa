"""How many members are in which cluster, as workers tell, and how many a campaign reaches. Values in, values out.

Laws:
- A sum is over the partitions that tell of a version now. Which are missing, and as of when it is, is said beside it.
- Who is held out is a matter of chance and of each member's id. So how many see a campaign is an estimate by the
  holdout's share, and is called one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from memberstream.models.campaigns import Campaign
from memberstream.models.model import label
from memberstream.models.registry import Registry
from memberstream.models.wording import counted, named
from memberstream.stream.doctor.facts import Facts
from memberstream.stream.keyspace.formats import BEACON_STALE_MS

_ALL = 10_000  # a holdout is so many of these


class Size(NamedTuple):
    """Members of a version.

    Attributes:
        clusters: cluster id → members. `members`: in all of them.
        as_of_ms: of the oldest of the counts.
        untold: partitions that aren't in it, in words; "" if none.
    """

    clusters: Mapping[int, int]
    members: int
    as_of_ms: int
    untold: str


class Reach(NamedTuple):
    """Members in a campaign's clusters by the live version.

    Attributes:
        see: who see it, or would if it were shown now. `held_out`: who are held out.
        is_estimate: whether these two are estimates, because some are held out.
        of: members of the version in all.
    """

    see: int
    held_out: int
    is_estimate: bool
    of: Size

    @property
    def members(self) -> str:
        """How many see it, in words."""
        return f"{'about ' if self.is_estimate else ''}{counted(self.see, 'member')}"


def sizes(facts: Facts, topic: str, registry: Registry) -> dict[str, Size]:
    """Return label → size of the computed versions that workers tell of."""
    labels = [entry.label for entry in registry.scored() if not entry.definition.is_list]
    return {each: size for each in labels if (size := _size(facts, topic, each)) is not None}


def _size(facts: Facts, topic: str, version: str) -> Size | None:
    described, field = facts.topics.get(topic), version.encode()
    told = {
        partition: its
        for partition, its in facts.sizes.items()
        if field in its.clusters and facts.now_ms - its.written_ms <= BEACON_STALE_MS
    }
    partitions = range(described.n_partitions) if described else sorted(facts.beacons)
    found = [told[partition] for partition in partitions if partition in told]
    if not found:
        return None
    clusters = Counter[int]()
    for its in found:
        clusters.update(its.clusters[field])
    untold = [partition for partition in partitions if partition not in told]
    return Size(
        dict(clusters),
        clusters.total(),
        min(its.written_ms for its in found),
        named("partition", untold) if untold else "",
    )


def reach(registry: Registry, campaign: Campaign, known: Mapping[str, Size]) -> Reach | None:
    """Return how many members a campaign reaches; None: that isn't known, or its model is a list."""
    terms = campaign.terms
    version = registry.live.get(terms.model)
    size = None if version is None else known.get(label(terms.model, version))
    if size is None:
        return None
    n = sum(size.clusters.get(cluster, 0) for cluster in terms.clusters)
    held_out = round(n * terms.holdout / _ALL)
    return Reach(n - held_out, held_out, 0 < terms.holdout < _ALL, size)
