"""A plain recount of interactions: every list whole in memory, one rule after another, nothing kept between events.

It shares nothing with what it checks but the two types of its result. What a member did is gathered first, in the order
of arrival, because that decides what is too late or was there already. All the rest goes by the time of each event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from memberstream.models.counts import Cell, Tally

DAY_MS = 86_400_000
HOUR_MS = 3_600_000

FORGET = "forget"


class Shown(NamedTuple):
    """An interaction as it arrived. Of the kind FORGET it is none: the member is to be forgotten.

    `sent_ms` None: at once.
    """

    member: str
    kind: str
    id: str
    at_ms: int
    campaign: str | None
    value: float | None = None
    sent_ms: int | None = None


class Stretch(NamedTuple):
    """A campaign from a time on. `period_ms`: since when it counts alike. Windows in ms; `rest`: of all other kinds."""

    from_ms: int
    period_ms: int
    model: str
    clusters: Sequence[int]
    holds_out: Callable[[str], bool]
    rest: int = 7 * DAY_MS
    windows: Mapping[str, int] = {}
    begins_ms: int = 0
    ends_ms: int = 2**62
    is_paused: bool = False
    is_gone: bool = False


class World(NamedTuple):
    """What was the case when.

    Attributes:
        campaigns: id → its stretches, in the order of their times.
        live: model → (from_ms, label of the version) in the order of the times.
        stood: member, label, time → the member's cluster then.
        nobody: who isn't a member. Of them nothing is remembered, only counted how often something is refused.
    """

    campaigns: Mapping[str, Sequence[Stretch]]
    live: Mapping[str, Sequence[tuple[int, str]]]
    stood: Callable[[str, str, int], int | None]
    horizon_ms: int
    nobody: frozenset[str] = frozenset()

    def stretch(self, campaign: str, at_ms: int) -> Stretch:
        found = self.campaigns[campaign][0]
        for one in self.campaigns[campaign]:
            if one.from_ms <= at_ms:
                found = one
        return found

    def standing(self, member: str, model: str, at_ms: int) -> tuple[str, int] | None:
        """Version and cluster of a member at a time."""
        label = None
        for from_ms, its in self.live.get(model, ()):
            if label is None or from_ms <= at_ms:
                label = its
        cluster = None if label is None else self.stood(member, label, at_ms)
        return None if label is None or cluster is None else (label, cluster)


Counts = dict[Cell, Tally]


def recount(arrived: Iterable[Shown], world: World) -> Counts:
    """Return the counts of one partition's interactions, good and bad, in the order of their arrival."""
    counts: defaultdict[Cell, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    kept: defaultdict[str, list[Shown]] = defaultdict(list)
    clock_ms = 0
    for one in arrived:
        if one.kind == FORGET:
            _finish(one.member, kept.pop(one.member, []), world, counts)
            continue
        clock_ms = max(clock_ms, one.at_ms)
        since_ms = clock_ms - world.horizon_ms
        if one.campaign is not None and one.campaign not in world.campaigns:
            continue
        if one.at_ms < since_ms:
            _unhealthy(one, "!too_late", world, counts)
        elif one.member in world.nobody:
            _finish(one.member, [one], world, counts)
        elif not any(old.id == one.id and old.at_ms >= since_ms for old in kept[one.member]):
            kept[one.member].append(one)
    for member, its in kept.items():
        _finish(member, its, world, counts)
    return {cell: Tally(*numbers) for cell, numbers in counts.items() if any(numbers)}


def _finish(member: str, kept: list[Shown], world: World, counts: defaultdict[Cell, list[int]]) -> None:
    impressions: defaultdict[str, list[Shown]] = defaultdict(list)
    for one in kept:
        if one.kind != "impression" or one.campaign is None:
            continue
        stretch = world.stretch(one.campaign, one.at_ms)
        stands = world.standing(member, stretch.model, one.at_ms)
        if stretch.is_gone or not stretch.begins_ms <= one.at_ms < stretch.ends_ms:
            _unhealthy(one, "!not_running", world, counts)
        elif stands is None:
            _unhealthy(one, "!unknown_cluster", world, counts)
        elif stands[1] not in stretch.clusters:
            _unhealthy(one, "!not_targeted", world, counts)
        else:
            impressions[one.campaign].append(one)
    acts = [one for one in kept if one.kind != "impression"]
    for one in acts:
        if one.campaign is not None and not any(i.at_ms <= one.at_ms for i in impressions[one.campaign]):
            _unhealthy(one, "!unattributed", world, counts)
    for campaign, seen in impressions.items():
        if seen:
            _exposed(member, campaign, seen, acts, kept, world, counts)


def _exposed(
    member: str,
    campaign: str,
    seen: list[Shown],
    acts: list[Shown],
    kept: list[Shown],
    world: World,
    counts: defaultdict[Cell, list[int]],
) -> None:
    first = min(seen, key=lambda one: (one.at_ms, one.id))
    stretch = world.stretch(campaign, first.at_ms)
    stands = world.standing(member, stretch.model, first.at_ms)
    assert stands is not None
    fixed = (campaign, stretch.period_ms, *stands, stretch.holds_out(member))

    def count(kind: str, members: int, events: int, total: int = 0) -> None:
        numbers = counts[Cell(*fixed, kind, first.at_ms // DAY_MS, _size(total))]
        for i, number in enumerate((members, events, total, total**2)):
            numbers[i] += number

    count("exposed", 1, len(seen))
    count("!late", 0, sum(one.sent_ms is not None and one.sent_ms - one.at_ms > HOUR_MS for one in seen))
    count("!paused", 0, sum(world.stretch(campaign, one.at_ms).is_paused for one in seen))
    stood = [world.stood(member, stands[0], one.at_ms) for one in kept if one.at_ms >= first.at_ms]
    if any(cluster not in (None, stands[1]) for cluster in stood):
        count("switched", 1, 0)
    for kind in {one.kind for one in acts}:
        end_ms = first.at_ms + stretch.windows.get(kind, stretch.rest)
        its = [
            one
            for one in acts
            if one.kind == kind and one.campaign in (None, campaign) and first.at_ms <= one.at_ms < end_ms
        ]
        if its:
            values = [Fraction(one.value) for one in its if one.value is not None]
            count(kind, 1, len(its), sum(round(value * 1_000_000) for value in values))


def _unhealthy(one: Shown, kind: str, world: World, counts: defaultdict[Cell, list[int]]) -> None:
    if one.campaign is not None:
        stretch = world.stretch(one.campaign, one.at_ms)
        version, cluster = world.standing(one.member, stretch.model, one.at_ms) or ("-", -1)
        is_held_out = stretch.holds_out(one.member)
        cell = Cell(one.campaign, stretch.period_ms, version, cluster, is_held_out, kind, one.at_ms // DAY_MS)
        counts[cell][1] += 1


def _size(total: int) -> int:
    if total <= 0:
        return 0
    n, floor = 1, 1
    while floor * 2 <= total:
        n, floor = n + 1, floor * 2
    return 4 * n + (total - floor) * 4 // floor
