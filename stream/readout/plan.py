"""Before a campaign: how many members it takes to see an effect, for how many days, and what can be seen at all.

The report judges at every look, so a plan reckons with the same interval. An effect δ is claimed with probability
POWER at a look at which

    δ = (c(N) + z) · s(N),    s² = p(1 − p) / (N (1 − h)) + q(1 − q) / (N h)

for N members of whom a share h is held out, rates q of those and p = q + δ of those shown, c the half-width of the
interval in standard errors (sequential.py) and z the normal quantile of POWER. With c = 1.96 this is the usual formula
for one planned look; tests/readout compares that with statsmodels. High rates take more members: so many
that a loss which would look like the effect is seen (effect.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from memberstream.models.counts import EXPOSED, Cell, Tally
from memberstream.stream.readout.family import FIRST
from memberstream.stream.readout.ratio import unseen_loss
from memberstream.stream.readout.sequential import critical
from memberstream.stream.readout.statistics import ALPHA

POWER = 0.8  # the convention: of five real differences one stays unseen
_MOST = 1e10  # more members are never asked for: there aren't that many

#: Members → the half-width of the interval by which an effect is judged, in standard errors.
Width = Callable[[float], float]


def every_look(members: float) -> float:
    """Return the half-width by which the report judges the overall effect."""
    return float(critical(members, FIRST * ALPHA))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a share held out makes of a campaign.

    Attributes:
        members: shown and held out, to see the effect; None: no number of members is enough.
        days: that takes; None: nobody knows how many members are exposed in a day, or there are too few members.
        detectable: the smallest rise that is seen once all members are exposed; None: none is.
    """

    holdout: float
    members: int | None
    days: int | None
    detectable: float | None


def plan(rate: float, effect: float, holdout: float, reach: int, per_day: float | None) -> Plan:
    """Plan a campaign.

    Args:
        rate: of those held out. effect: the difference to be seen, not 0; both are shares.
        reach: how many members can be exposed. per_day: how many are, in a day; None: not known.
    """
    members = members_needed(rate, effect, holdout)
    if members is not None:
        members = members_against_loss(rate, effect, holdout, members)
    days = None if members is None or not per_day or members > reach else math.ceil(members / per_day)
    return Plan(holdout, members, days, detectable(rate, holdout, reach))


def members_needed(rate: float, effect: float, holdout: float, width: Width = every_look) -> int | None:
    """Return how many members, shown and held out together, it takes to see an effect four times in five.

    None: a rate would be outside of (0, 1), nobody or everybody is held out, or there aren't that many people.
    """
    shown = rate + effect
    if not (effect and 0 < rate < 1 and 0 < shown < 1 and 0 < holdout < 1):
        return None
    spread = shown * (1 - shown) / (1 - holdout) + rate * (1 - rate) / holdout

    def excess(log_n: float) -> float:
        n = math.exp(log_n)
        return abs(effect) - (width(n) + float(stats.norm.ppf(POWER))) * math.sqrt(spread / n)

    if excess(math.log(_MOST)) < 0:
        return None
    return 1 if excess(0.0) >= 0 else math.ceil(math.exp(optimize.brentq(excess, 0.0, math.log(_MOST))))


def members_against_loss(rate: float, effect: float, holdout: float, at_least: int) -> int | None:
    """Return how many members it takes, at least so many, until a loss that looks like the effect is seen.

    None: there aren't that many people.
    """
    less, more = sorted((rate, rate + effect))
    loss, members = 1 - less / more, float(at_least)
    while members <= _MOST:
        held_out = members * holdout
        by_chance = float(stats.norm.ppf(POWER)) * math.sqrt(held_out * (1 - holdout))  # the share isn't met exactly
        if unseen_loss(np.array([held_out - by_chance]), np.array([members]), np.array([holdout])) < loss:
            return math.ceil(members)
        members *= 1.05
    return None


def detectable(rate: float, holdout: float, members: int, width: Width = every_look) -> float | None:
    """Return the smallest rise that is seen four times in five among so many members; None: none is."""
    if not (0 < rate < 1 and 0 < holdout < 1) or members < 2:
        return None

    def excess(effect: float) -> float:
        shown = rate + effect
        spread = shown * (1 - shown) / (1 - holdout) + rate * (1 - rate) / holdout
        return effect - (width(members) + float(stats.norm.ppf(POWER))) * math.sqrt(spread / members)

    most = 1 - rate
    return None if excess(most) < 0 else float(optimize.brentq(excess, 0.0, most))


@dataclass(frozen=True, slots=True)
class Seen:
    """What counts say of members like those of a campaign: the rate of a kind, and how many are exposed in a day.

    Attributes:
        of: members whose rate it is. are_held_out: whether they were held out, else shown.
    """

    rate: float
    of: int
    are_held_out: bool
    per_day: float


def seen(counts: Mapping[Cell, Tally], clusters: tuple[int, ...], kind: str) -> Seen | None:
    """Return what was counted in clusters, over all campaigns in these counts; None if nobody was exposed.

    Those held out tell best what happens without a campaign. Are there none, those shown must do.
    """
    n, hits, days = {False: 0, True: 0}, {False: 0, True: 0}, set()
    for cell, tally in counts.items():
        if cell.cluster in clusters and cell.kind == EXPOSED:
            n[cell.is_held_out] += tally.members
            days.add(cell.day)
        elif cell.cluster in clusters and cell.kind == kind:
            hits[cell.is_held_out] += tally.members
    are_held_out = hits[True] > 0
    if not n[are_held_out]:
        return None
    per_day = (n[False] + n[True]) / (max(days) - min(days) + 1)
    return Seen(hits[are_held_out] / n[are_held_out], n[are_held_out], are_held_out, per_day)
