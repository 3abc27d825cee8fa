"""A family of campaigns → what is found of it: the effects, judged together, or the reason why none is told.

Laws:
- Only the comparison of shown with held out inside a stratum says what a campaign caused (compared.py). Strata are
  added up.
- An effect that an unseen loss of members would look like isn't told as one. Nor is one on values that events which one
  group sends twice, with new ids, would look like.
- While the holdout is broken, no effect is computed: it is nowhere. Only who asks for it by name gets it, marked.
- Which effects a family has follows from its terms and the declared kinds, never from what the numbers say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from memberstream.models.counts import UNIT, size_top
from memberstream.models.terms import SHOWN_ONLY, WHOLE
from memberstream.stream.readout import ratio
from memberstream.stream.readout.compared import Cut, checked, cuts_of, mask_of, meant_of
from memberstream.stream.readout.courses import Table
from memberstream.stream.readout.effect import Comparison, Effect, compare, effect
from memberstream.stream.readout.family import FIRST, Judgement, judge
from memberstream.stream.readout.finding import Finding, Other, Status, guard_of
from memberstream.stream.readout.plan import POWER
from memberstream.stream.readout.ratio import RatioCheck
from memberstream.stream.readout.sequential import Array, critical
from memberstream.stream.readout.setup import Setup
from memberstream.stream.readout.statistics import ALPHA, Interval


@dataclass(frozen=True, slots=True)
class Look:
    """The overall effect on the primary kind, of members exposed until the end of a day."""

    day: int
    n_shown: int
    n_held_out: int
    difference: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class ClusterEffect:
    """The effect on the primary kind in a cluster of a campaign."""

    campaign: str
    cluster: int
    effect: Effect


@dataclass(frozen=True, slots=True)
class Part:
    """A family's findings.

    Attributes:
        clusters: without those of which no effect is told.
        others: effects on other kinds and on values.
        looks: the effect over time, by day of exposure.
        check: None if nobody was to be held out, or nobody is exposed.
        cuts: members who aren't compared.
    """

    name: str
    campaigns: tuple[str, ...]
    finding: Finding
    clusters: tuple[ClusterEffect, ...]
    others: tuple[Other, ...]
    looks: tuple[Look, ...]
    check: RatioCheck | None
    cuts: tuple[Cut, ...]


def part(setups: Sequence[Setup], found: Table, kinds: Sequence[str], *, although_broken: bool = False) -> Part:
    """Judge a family. `kinds`: those that are declared, in their order."""
    by_id = {setup.id: setup for setup in setups}
    mine = np.array([stratum.campaign in by_id for stratum in found.strata], float)
    check = checked(found, by_id)
    is_broken = check is not None and check.is_broken
    primary = setups[0].primary
    empty = Part(setups[0].family, tuple(by_id), Finding(Status.UNTOLD, primary, ""), (), (), (), check, ())
    if why := _disagreement(setups):
        return _with(empty, Finding(Status.UNTOLD, None, why))
    if primary is None:
        return _with(empty, Finding(Status.UNTOLD, None, "no kind is declared that members held out can have, too"))
    if is_broken and not although_broken:
        why = "the holdout isn't what was meant, so members are lost or counted wrongly"
        return _with(empty, Finding(Status.BROKEN, primary, why))
    masks = {kind: mask_of(found, by_id, kind) * mine for kind in {primary, *kinds, *_guardrails(setups)}}
    cuts = cuts_of(found, by_id, primary)
    held_out = float((found.exposed[True] * masks[primary]).sum())
    shown = float((found.exposed[False] * masks[primary]).sum())
    if not held_out or not shown:
        return _with(empty, Finding(Status.UNTOLD, primary, _nobody(setups, found, mine, cuts)), cuts)
    return _told(empty, setups, found, kinds, masks, cuts, is_broken=is_broken)


def _told(
    empty: Part,
    setups: Sequence[Setup],
    found: Table,
    kinds: Sequence[str],
    masks: dict[str, Array],
    cuts: tuple[Cut, ...],
    *,
    is_broken: bool,
) -> Part:
    primary = setups[0].primary or ""
    guardrails = _guardrails(setups)
    overall = _rates(found, primary, masks[primary])
    clusters = [(setup.id, cluster) for setup in setups for cluster in setup.clusters]
    by_cluster = [
        (key, which, _rates(found, primary, masks[primary], which))
        for key in clusters
        if len(clusters) > 1 and (which := found.which((s.campaign, s.cluster) == key for s in found.strata)).size
    ]
    names = [kind for kind in dict.fromkeys((*kinds, *guardrails)) if kind not in SHOWN_ONLY and kind != primary]
    others = [
        (Other(kind, False, None, margin=guardrails.get(kind)), _rates(found, kind, masks[kind])) for kind in names
    ]
    others += [
        (Other(kind, True, None, cap=size_top(cap) / UNIT if cap else None), values)
        for kind in (primary, *names)
        if found.has_values(kind)
        for cap in [_cap(setups, found, kind, masks[kind])]
        if (values := _values(found, kind, masks[kind], cap)) is not None
    ]
    ps = [float(c.p[-1]) for c in (*(c for _, _, c in by_cluster), *(c for _, c in others))]
    head, rest = judge(float(overall.p[-1]), ps)
    judged = iter(rest)
    by_id = {setup.id: setup for setup in setups}
    meant = np.array([meant_of(by_id, stratum) for stratum in found.strata])

    def told_of(
        comparison: Comparison,
        judgement: Judgement,
        kind: str,
        which: NDArray[np.intp] | None = None,
        times: tuple[float, float] | None = None,
    ) -> Effect | None:
        """Return an effect; None if one of the groups is empty."""
        places = np.arange(len(found.strata)) if which is None else which
        shown, held_out = ((found.exposed[held] * masks[kind]).sum(axis=0)[places] for held in (False, True))
        if not shown.sum() or not held_out.sum():
            return None
        some, unseen = shown + held_out > 0, 0.0
        if judgement.is_claimed:
            unseen = ratio.unseen_loss(held_out[some], (shown + held_out)[some], meant[places][some])
        members = int(shown.sum()), int(held_out.sum())
        return effect(comparison, judgement, members, unseen, times, is_broken=is_broken)

    rows = [
        ClusterEffect(*key, its)
        for key, which, comparison in by_cluster
        for judgement in [next(judged)]
        if (its := told_of(comparison, judgement, primary, which)) is not None
    ]
    whole = told_of(overall, head, primary)
    assert whole is not None  # noqa: S101  (`part` has looked)
    if len(clusters) == 1:
        rows = [ClusterEffect(*clusters[0], whole)]
    told = []
    for other, comparison in others:
        times = _times(found, other.kind, masks[other.kind]) if other.is_value else None
        its = told_of(comparison, next(judged), other.kind, times=times)
        guard = None if its is None or other.margin is None else guard_of(its, other.margin)
        told.append(Other(other.kind, other.is_value, its, other.cap, other.margin, guard, times))
    return Part(
        empty.name,
        empty.campaigns,
        _finding(setups, found, masks[primary], overall, whole),
        tuple(rows),
        tuple(told),
        _looks(found, masks[primary], overall),
        empty.check,
        cuts,
    )


def _finding(setups: Sequence[Setup], found: Table, mask: Array, overall: Comparison, whole: Effect) -> Finding:
    days = [day for day, n in zip(found.days, (sum(found.exposed.values()) * mask).sum(axis=1), strict=True) if n]
    holdouts = dict.fromkeys(s.meant(p) for s in setups for p in s.periods if 0 < p.terms.holdout < WHOLE)
    if whole.is_broken:
        status, why = Status.BROKEN, "the holdout isn't what was meant, so members are lost or counted wrongly"
    elif whole.is_claimed:
        status, why = (Status.WORKED if whole.difference > 0 else Status.LOWERED), ""
    elif whole.may_be_loss:
        status = Status.NONE_YET
        why = f"if {whole.loss:.1%} of one group were missing, it would look the same, and that couldn't be seen"
    elif whole.interval is None:
        status, why = Status.NONE_YET, "it is too early: a group has fewer than ten members with it, or without it"
    else:
        status, why = Status.NONE_YET, "what is seen may be chance"
    detectable = None
    if overall.is_enough[-1]:
        spread = float(np.sqrt(overall.var_shown[-1] + overall.var_held_out[-1]))
        detectable = (float(critical(overall.members[-1], FIRST * ALPHA)) + float(stats.norm.ppf(POWER))) * spread
    return Finding(status, setups[0].primary, why, whole, days[0], days[-1], tuple(holdouts), detectable)


def _disagreement(setups: Sequence[Setup]) -> str:
    """Return why campaigns of one split can't be judged together, "" if they can."""
    first = setups[0]
    if any(setup.primary != first.primary for setup in setups):
        return f"its campaigns are judged by different kinds ({', '.join(sorted(str(s.primary) for s in setups))})"
    if any(setup.terms.guardrails != first.terms.guardrails for setup in setups):
        return "its campaigns have different guardrails"
    if any(setup.terms.winsorise != first.terms.winsorise for setup in setups):
        return "sums of its campaigns are cut at different quantiles"
    return ""


def _with(empty: Part, finding: Finding, cuts: tuple[Cut, ...] = ()) -> Part:
    return Part(empty.name, empty.campaigns, finding, (), (), (), empty.check, cuts)


def _nobody(setups: Sequence[Setup], found: Table, mine: Array, cuts: tuple[Cut, ...]) -> str:
    if cuts and (found.exposed[True] * mine).sum():
        return "the holdout was changed before the windows of those exposed until then were over"
    if not any(0 < period.terms.holdout < WHOLE for setup in setups for period in setup.periods):
        return "nobody was to be held out" if not any(s.terms.holdout for s in setups) else "everybody was held out"
    return "no member held out is counted yet: do services send impressions of those held out, too?"


def _rates(found: Table, kind: str, mask: Array, which: NDArray[np.intp] | None = None) -> Comparison:
    arms = [found.arm(kind, held, mask) for held in (False, True)]
    return compare(*(arms if which is None else [arm.strata(which) for arm in arms]))


def _values(found: Table, kind: str, mask: Array, cap: int | None) -> Comparison | None:
    """Return the comparison of values; None if the cut leaves nothing."""
    return None if cap == 0 else compare(*(found.value_arm(kind, held, mask, cap) for held in (False, True)))


def _times(found: Table, kind: str, mask: Array) -> tuple[float, float] | None:
    """Return how many events a member with the kind has, of those shown and of those held out."""
    its = [found.kinds[kind][is_held_out] for is_held_out in (False, True)]
    hits = [float((counts.hits * mask).sum()) for counts in its]
    if not all(hits):
        return None
    shown, held_out = (float((counts.events * mask).sum()) / n for counts, n in zip(its, hits, strict=True))
    return shown, held_out


def _cap(setups: Sequence[Setup], found: Table, kind: str, mask: Array) -> int | None:
    quantile = setups[0].terms.winsorise
    return found.cap(kind, quantile / WHOLE, mask) if quantile else None


def _guardrails(setups: Sequence[Setup]) -> dict[str, float]:
    return {kind: margin / WHOLE for kind, margin in setups[0].terms.guardrails.items()}


def _looks(found: Table, mask: Array, overall: Comparison) -> tuple[Look, ...]:
    n, m = ((found.exposed[held] * mask).sum(axis=1).cumsum() for held in (False, True))
    return tuple(
        Look(day, int(n[i]), int(m[i]), float(overall.difference[i]), overall.interval(FIRST * ALPHA, i))
        for i, day in enumerate(found.days)
        if n[i] and m[i] and (i == 0 or n[i] + m[i] > n[i - 1] + m[i - 1])
    )
