"""Intervals that hold at every look at once: who looks each day and stops when they like is still wrong in 5% at most.

The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory
and asymptotic confidence sequences" (arXiv 2103.06476, Annals of Statistics 2024), theorem 2.2: after t members

    estimate ± √( s² · 2 (t ρ² + 1) / (t² ρ²) · log( √(t ρ² + 1) / α ) )

with s² the variance of one member's contribution, so s²/t that of the estimate. For a difference of rates that of the
estimate is the sum of both groups', and t counts the members of both.

ρ says for which t the interval is narrowest; it has to be chosen before looking and is the same for all campaigns:
TUNED_FOR members, ρ² = (−2 log α + log(1 − 2 log α)) / TUNED_FOR (their appendix B.2). At 10,000 members it is 1.55
times as wide as an interval for one look, at 1,000 and at 1,000,000 below twice.
"Asymptotic": it needs enough of both outcomes first; tests/readout finds by simulation that AT_LEAST is enough.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream.readout.statistics import ALPHA

TUNED_FOR = 10_000
#: Members with the event, and as many without it, in each group, before an interval is given.
AT_LEAST = 10
_RHO_SQ = (-2 * math.log(ALPHA) + math.log(1 - 2 * math.log(ALPHA))) / TUNED_FOR

Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


def rate_bounds(hits: ArrayLike, n: ArrayLike) -> Bounds:
    """Return the lower and upper bounds of a rate after each look.

    Args:
        hits, n: members with the event and all members until each look, any one shape.

    Returns:
        Arrays of that shape; NaN where it is too early.
    """
    h, m = np.asarray(hits, float), np.asarray(n, float)
    low, high = _around(*_moments(h, m), m)
    return np.maximum(low, 0), np.minimum(high, 1)


def difference_bounds(
    hits_a: ArrayLike, n_a: ArrayLike, hits_b: ArrayLike, n_b: ArrayLike, *, together: int = 1
) -> Bounds:
    """Return the bounds of the rate of `a` minus that of `b`, as `rate_bounds` does.

    Args:
        together: so many differences are looked at, and all of them are to hold at once (Bonferroni).
    """
    m_a, m_b = np.asarray(n_a, float), np.asarray(n_b, float)
    rate_a, var_a = _moments(np.asarray(hits_a, float), m_a)
    rate_b, var_b = _moments(np.asarray(hits_b, float), m_b)
    low, high = _around(rate_a - rate_b, var_a + var_b, m_a + m_b, ALPHA / together)
    return np.maximum(low, -1), np.minimum(high, 1)


def _moments(hits: NDArray[np.float64], n: NDArray[np.float64]) -> Bounds:
    """A rate and the variance of its estimate; NaN where there is too little of either outcome."""
    rate = np.divide(hits, n, out=np.full(n.shape, np.nan), where=np.minimum(hits, n - hits) >= AT_LEAST)
    return rate, rate * (1 - rate) / np.maximum(n, 1)


def _around(
    estimate: NDArray[np.float64], variance: NDArray[np.float64], t: NDArray[np.float64], alpha: float = ALPHA
) -> Bounds:
    x = np.maximum(t, 1) * _RHO_SQ
    half = np.sqrt(variance * 2 * (x + 1) / x * (np.log(x + 1) / 2 - math.log(alpha)))
    return estimate - half, estimate + half
