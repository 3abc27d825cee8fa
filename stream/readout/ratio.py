"""Was the share held out that was meant? A check per cluster and day that may be looked at daily, with one verdict.

Laws:
- Chance holds each exposed member out with the share that was meant, whatever came before. So the likelihood of the
  shares found, mixed over what else the share could be (a beta distribution around the meant one), over the likelihood
  by the meant one is a bet against the campaign that wins nothing on average: an e-value. At any time, and at the best
  of all times, it exceeds 1/α with a probability of α at most (Ville).
- Half of the stake is on all members together, half on the clusters, each alike; and of each, half on the whole course
  and half on single days. The verdict is what the stakes win together. It is such a bet again, whatever the bets have
  in common.
- What was broken once stays broken: members that are lost don't come back.
- The bet on all members sees a loss that is the same everywhere. Those on clusters and days see what others hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, logsumexp

from memberstream.stream.readout.sequential import Array

#: Of 100 sound campaigns one is ever accused, however long and often they are looked at.
LEVEL = 0.01
#: How many members the mixture's opinion weighs. A bet is sharpest for some 15 times as many: a campaign's; a day's.
_COURSE, _DAY = 800.0, 60.0


@dataclass(frozen=True, slots=True)
class Stratum:
    """Exposed members of a cluster of a campaign under unchanged terms, by day.

    Attributes:
        meant: the share that is to be held out, between 0 and 1.
        shown, held_out: members first exposed on each day; arrays of shape (days,).
    """

    name: str
    meant: float
    shown: NDArray[Any]
    held_out: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Share:
    """What was found in a part of the members. `day`: since 1970, None: all. `is_broken`: whether this part alone would
    do for the verdict."""

    name: str
    day: int | None
    meant: float
    held_out: int
    n: int
    is_broken: bool


@dataclass(frozen=True, slots=True)
class RatioCheck:
    """The verdict.

    Attributes:
        p: at every look, of the verdict. At most LEVEL: broken.
        broken_by: the day by whose end it was; None: it isn't.
        shares: all members, if there are several clusters; each cluster; and the days that alone would be broken.
        unseen: the largest loss in one of the groups that all members' share still allows.
    """

    p: float
    broken_by: int | None
    shares: tuple[Share, ...]
    unseen: float

    @property
    def is_broken(self) -> bool:
        return self.broken_by is not None


def check(strata: Sequence[Stratum], days: Sequence[int]) -> RatioCheck | None:
    """Check the strata together; None if nobody was exposed where some are held out and some aren't.

    `days`: since 1970.

    Where nobody is to be held out, nobody is: the same draw says so that is counted (models/counting.py).
    """
    kept = [s for s in strata if 0 < s.meant < 1 and s.shown.sum() + s.held_out.sum()]
    if not kept:
        return None
    held = np.array([s.held_out for s in kept], float)
    n = held + np.array([s.shown for s in kept], float)
    meant = np.array([s.meant for s in kept])
    k, n_days = n.shape
    parts = np.arange(k)[:, None] == np.arange(k)  # the strata of each part
    if k > 1:
        parts = np.vstack([np.ones((1, k), bool), parts])
    course = np.array([_bet(held[of].cumsum(axis=1), n[of].cumsum(axis=1), meant[of], _COURSE) for of in parts])
    single = np.array([_bet(held[of], n[of], meant[of], _DAY) for of in parts])
    # A day's bet is laid beforehand, so days to come share in it: 1/(d(d+1)) for the d-th, which adds up to 1.
    stakes = 1 / (np.arange(1, n_days + 1) * np.arange(2, n_days + 2))
    single += np.log(stakes)
    to_come = np.log(np.maximum(1 - stakes.cumsum(), np.finfo(float).tiny))
    on_days = np.logaddexp(np.logaddexp.accumulate(single, axis=1), to_come)
    stake = np.log(np.full(len(parts), 1.0) if k == 1 else np.array([0.5, *[0.5 / k] * k])) - np.log(2)
    verdict = np.maximum.accumulate(logsumexp(np.concatenate([course, on_days]) + np.tile(stake, 2)[:, None], axis=0))
    bound = -np.log(LEVEL)
    broken = np.flatnonzero(verdict >= bound)
    shares = []
    for row, of in enumerate(parts):
        name = "all" if k > 1 and row == 0 else kept[int(np.flatnonzero(of)[0])].name
        size = n[of].sum(axis=1)
        share = float((meant[of] * size).sum() / size.sum())
        is_broken = bool(course[row].max() + stake[row] >= bound)
        shares.append(Share(name, None, share, int(held[of].sum()), int(size.sum()), is_broken))
        shares += [
            Share(name, days[day], share, int(held[of, day].sum()), int(n[of, day].sum()), True)
            for day in np.flatnonzero(single[row] + stake[row] >= bound).tolist()
        ]
    return RatioCheck(
        float(np.exp(-max(0.0, verdict[-1]))),
        days[broken[0]] if broken.size else None,
        tuple(shares),
        unseen_loss(held.sum(axis=1), n.sum(axis=1), meant),
    )


def _bet(held_out: Array, n: Array, meant: Array, weight: float) -> Array:
    """Return the bet on strata together, day by day. Those with the same share are added up, and bets on different
    shares multiplied: their members are others."""
    found = np.zeros(n.shape[1])
    for share in np.unique(meant):
        same = meant == share
        found += log_bet(held_out[same].sum(axis=0), n[same].sum(axis=0), float(share), weight)
    return found


def log_bet(held_out: NDArray[Any], n: NDArray[Any], meant: Array | float, weight: float = _COURSE) -> Array:
    """Return the logarithm of the e-value of `held_out` of `n`, if a share `meant` was to be held out."""
    a, b = weight * np.asarray(meant), weight * (1 - np.asarray(meant))
    mixed = betaln(a + held_out, b + n - held_out) - betaln(a, b)
    found: Array = mixed - held_out * np.log(meant) - (n - held_out) * np.log1p(-np.asarray(meant))
    return found


def unseen_loss(held: Array, n: Array, meant: Array) -> float:
    """Return which share of one group could be missing in every stratum alike, and the shares wouldn't show it.

    Args:
        held, n, meant: of each stratum: members held out, all members, the share that was to be held out, above 0 and
            below 1.
    """
    losses, worst = np.linspace(0, 0.99, 397), 0.0
    for sign in (1, -1):
        bets = np.zeros(len(losses))
        for share in np.unique(meant):
            same = meant == share
            odds = np.log(share / (1 - share)) + sign * np.log1p(-losses)
            bets += log_bet(held[same].sum(), n[same].sum(), 1 / (1 + np.exp(-odds)))
        allowed = losses[bets < -np.log(LEVEL)]
        worst = max(worst, float(allowed.max()) if allowed.size else 0.0)
    return worst
