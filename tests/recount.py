"""A plain recount of interactions: every list whole in memory, one rule after another, nothing kept between events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from models.counts import Cell, Tally, plus

DAY_MS = 86_400_000


FORGET = "forget"


class Shown(NamedTuple):
    """An interaction as it arrived, and where the member stood then: model → (version's label, cluster).

    Of the kind FORGET it is none: the member is to be forgotten.
    """

    member: str
    kind: str
    id: str
    at_ms: int
    campaign: str | None
    value: float | None
    stood: Mapping[str, tuple[str, int]]


class Target(NamedTuple):
    """A campaign: its model and clusters, and who is held out."""

    model: str
    clusters: Sequence[int]
    holds_out: Callable[[str], bool]


def recount(arrived: Iterable[Shown], campaigns: Mapping[str, Target], horizon_ms: int) -> dict[Cell, Tally]:
    """Return the counts of one partition's interactions, good and bad, in the order of their arrival."""
    counts: dict[Cell, Tally] = {}
    clock_ms = 0
    counted: dict[str, list[Shown]] = {}  # member → what counted of it
    exposed: dict[tuple[str, str], tuple[int, str, int, bool]] = {}
    done: set[tuple[str, str, str]] = set()  # member, campaign, kind (or "switched")

    def add(campaign: str, one: Shown, kind: str, tally: Tally) -> None:
        _, version, cluster, is_held_out = exposed[one.member, campaign]
        cell = Cell(campaign, version, cluster, is_held_out, kind, one.at_ms // DAY_MS)
        counts[cell] = plus(counts.get(cell, Tally()), tally)

    for one in arrived:
        if one.kind == FORGET:
            counted.pop(one.member, None)
            exposed = {key: value for key, value in exposed.items() if key[0] != one.member}
            done = {key for key in done if key[0] != one.member}
            continue
        clock_ms = max(clock_ms, one.at_ms)
        if one.at_ms < clock_ms - horizon_ms:
            continue
        before = counted.setdefault(one.member, [])
        if any(old.id == one.id and old.at_ms >= clock_ms - horizon_ms for old in before):
            continue
        if one.campaign is None:
            hits = [c for (m, c), (at_ms, *_) in exposed.items() if m == one.member and at_ms <= one.at_ms]
        elif one.campaign not in campaigns:
            continue
        elif (one.member, one.campaign) in exposed:
            hits = [one.campaign]
        else:
            target = campaigns[one.campaign]
            version, cluster = one.stood.get(target.model, ("", -1))
            if cluster not in target.clusters:
                continue
            exposed[one.member, one.campaign] = one.at_ms, version, cluster, target.holds_out(one.member)
            add(one.campaign, one, "exposed", Tally(members=1))
            hits = [one.campaign]
        if not hits:
            continue
        for campaign in hits:
            met_ms, *fixed = exposed[one.member, campaign]
            exposed[one.member, campaign] = min(met_ms, one.at_ms), *fixed  # type: ignore[assignment]
        before.append(one)
        for campaign in hits:
            number = one.value or 0.0
            kind = "exposed" if one.kind == "impression" else one.kind
            is_first = kind != "exposed" and (one.member, campaign, kind) not in done
            done.add((one.member, campaign, kind))
            add(campaign, one, kind, Tally(int(is_first), 1, number, number**2, int(one.value is not None)))
        for member, campaign in exposed:
            now = one.stood.get(campaigns[campaign].model)
            if member == one.member and now and now[1] != exposed[member, campaign][2]:
                if (member, campaign, "switched") not in done:
                    add(campaign, one, "switched", Tally(members=1))
                done.add((member, campaign, "switched"))
    return counts
