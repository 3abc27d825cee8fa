"""Intervals and p values that hold at every look together. Who looks each day, and stops at will, errs in 5% at most.

The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory
and asymptotic confidence sequences" (arXiv 2103.06476, Annals of Statistics 2024), theorem 2.2: after t members

    estimate ± √( s² · 2 (t ρ² + 1) / (t² ρ²) · log( √(t ρ² + 1) / α ) )

Here s² is the variance of one member's contribution, so s²/t is that of the estimate. For a difference of rates the
variance of the estimate is the sum of both groups' variances, and t counts the members of both. Solved for α, the
interval that just excludes 0 gives a p value that holds at every look, too.

ρ decides at which t the interval is narrowest. It has to be chosen before looking, and is the same for all campaigns:
TUNED_FOR members, ρ² = (−2 log α + log(1 − 2 log α)) / TUNED_FOR (their appendix B.2). At 10,000 members the interval
is 1.55 times as wide as one for one look; at 1,000 and at 1,000,000 it is less than twice as wide.
"Asymptotic" means that it first needs enough of both outcomes. tests/readout finds by simulation that AT_LEAST is
enough.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memberstream.stream.readout.statistics import ALPHA

TUNED_FOR = 10_000
#: Members with the event, and as many without it, in each group, before anything is claimed.
AT_LEAST = 10
_RHO_SQ = (-2 * math.log(ALPHA) + math.log(1 - 2 * math.log(ALPHA))) / TUNED_FOR

Array = NDArray[np.float64]
Bounds = tuple[Array, Array]


def critical(t: ArrayLike, alpha: ArrayLike = ALPHA) -> Array:
    """Return how many standard errors an interval extends to each side after t members."""
    x = np.maximum(np.asarray(t, float), 1) * _RHO_SQ
    found: Array = np.sqrt(2 * (x + 1) / x * (np.log(x + 1) / 2 - np.log(alpha)))
    return found


def always_p(z: ArrayLike, t: ArrayLike) -> Array:
    """Return the p value after t members of an estimate that is z standard errors from 0; NaN counts as nothing seen.

    It is at most α just when the interval of `critical(t, α)` excludes 0.
    """
    x = np.maximum(np.asarray(t, float), 1) * _RHO_SQ
    found = np.sqrt(x + 1) * np.exp(-np.square(z) * x / (2 * (x + 1)))
    p: Array = np.minimum(1.0, np.nan_to_num(found, nan=1.0))
    return p


def difference_bounds(
    hits_a: ArrayLike, n_a: ArrayLike, hits_b: ArrayLike, n_b: ArrayLike, *, together: int = 1
) -> Bounds:
    """Return the lower and upper bounds of the rate of `a` minus that of `b` after each look; NaN if it is too early.

    Args:
        hits_a, n_a, hits_b, n_b: members with the event, and all members, up to each look, of one shape.
        together: how many differences are looked at; the bounds hold for all of them together (Bonferroni).
    """
    m_a, m_b = np.asarray(n_a, float), np.asarray(n_b, float)
    rate_a, var_a = _moments(np.asarray(hits_a, float), m_a)
    rate_b, var_b = _moments(np.asarray(hits_b, float), m_b)
    half = critical(m_a + m_b, ALPHA / together) * np.sqrt(var_a + var_b)
    return np.maximum(rate_a - rate_b - half, -1), np.minimum(rate_a - rate_b + half, 1)


def _moments(hits: Array, n: Array) -> Bounds:
    """Return a rate and the variance of its estimate; NaN if there is too little of either outcome."""
    rate = np.divide(hits, n, out=np.full(n.shape, np.nan), where=np.minimum(hits, n - hits) >= AT_LEAST)
    return rate, rate * (1 - rate) / np.maximum(n, 1)
