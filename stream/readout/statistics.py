"""The readout's statistics, each a thin call of SciPy or statsmodels: counts in, numbers out.

Laws:
- No formula of our own stands here; tests/readout compares with a second way to compute each on 1,000 random tables.
- Intervals are for one look at the level CONFIDENCE, each by itself; for many looks: sequential.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import Table
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    samplesize_proportions_2indep_onetail,
)
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

#: What everybody expects; a report that lets it be chosen invites choosing it afterwards.
CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
#: Below this expected count in any cell of a table (Cochran's rule) chi-square is replaced by an exact test.
SMALL = 5
#: Of the exact test of more than two groups: a p of 0.05 is then known to within 0.004 (two standard errors).
_RESAMPLES = 9_999
_POWER = 0.8  # the convention: one difference in five that is there stays unseen
_FINEST = 1e-6  # a smaller difference of rates takes more members than there are people


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float

    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `n` members."""

    hits: int
    n: int

    @property
    def rate(self) -> float:
        return self.hits / self.n


@dataclass(frozen=True, slots=True)
class Values:
    """The values of `n` events: their sum and the sum of their squares."""

    n: int
    sum: float
    sum_sq: float

    @property
    def mean(self) -> float:
        return self.sum / self.n


@dataclass(frozen=True, slots=True)
class Test:
    """A test's p, and its name."""

    __test__ = False  # not one of pytest's

    name: str
    p: float


def rate_interval(share: Share) -> Interval:
    """Wilson's interval of a rate, the rate in it: at nought and at all statsmodels is off by a rounding."""
    low, high = proportion_confint(share.hits, share.n, alpha=ALPHA, method="wilson")
    return Interval(min(float(low), share.rate), max(float(high), share.rate))


def difference_interval(a: Share, b: Share) -> Interval:
    """Newcombe's hybrid score interval of the rate of `a` minus that of `b`; it holds for counts of nought, too."""
    return _interval(
        confint_proportions_2indep(a.hits, a.n, b.hits, b.n, compare="diff", method="newcomb", alpha=ALPHA)
    )


def ratio_interval(a: Share, b: Share) -> Interval | None:
    """Interval of the rate of `a` over that of `b` (log, adjusted after Walter); None where a count is nought."""
    if not (a.hits and b.hits):
        return None
    return _interval(
        confint_proportions_2indep(a.hits, a.n, b.hits, b.n, compare="ratio", method="log-adjusted", alpha=ALPHA)
    )


def differ(shares: Sequence[Share]) -> Test:
    """Do rates differ? Chi-square; where counts are small an exact test with the margins held.

    Of two groups that is Fisher's. Of more, chi-square's own statistic over tables drawn at random, with a fixed seed:
    its level is exact, its p the same at every call. (SciPy's fisher_exact draws at random for these, too.)
    """
    table = _table(shares)
    if not table.sum(axis=1).all():
        return Test("none has, or all have", 1.0)
    expected = stats.contingency.expected_freq(table)
    if expected.min() >= SMALL:
        return Test("chi-square", float(stats.chi2_contingency(table, correction=False).pvalue))
    if len(shares) == 2:
        return Test("Fisher's exact", float(stats.fisher_exact(table).pvalue))
    method = stats.MonteCarloMethod(n_resamples=_RESAMPLES, rng=np.random.default_rng(0))
    return Test("exact chi-square", float(stats.chi2_contingency(table, correction=False, method=method).pvalue))


def trend(shares: Sequence[Share]) -> Test:
    """Cochran–Armitage: do rates rise or fall over groups in their order, a step apart each?"""
    table = _table(shares)
    if not table.sum(axis=1).all():
        return Test("none has, or all have", 1.0)
    found = Table(table, shift_zeros=False).test_ordinal_association(
        row_scores=np.array([1.0, 0.0]), col_scores=np.arange(float(len(shares)))
    )
    return Test("Cochran–Armitage", float(found.pvalue))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's correction: each p as if it were the only one asked for."""
    return [float(p) for p in multipletests(ps, method="holm")[1]] if ps else []


def mean_interval(values: Values) -> Interval | None:
    """Student's interval of a mean; None for fewer than two values."""
    return _interval(_described(values).tconfint_mean(alpha=ALPHA)) if values.n > 1 else None


def mean_difference_interval(a: Values, b: Values) -> Interval | None:
    """Welch's interval of the mean of `a` minus that of `b`; None where one has fewer than two, or none varies."""
    if a.n < 2 or b.n < 2:
        return None
    left, right = _described(a), _described(b)
    if not (left.var or right.var):
        return None
    return _interval(CompareMeans(left, right).tconfint_diff(alpha=ALPHA, usevar="unequal"))


def ratio_p(held_out: int, n: int, share: float) -> float:
    """Exact binomial test: how likely are `held_out` of `n`, or stranger, where `share` of them were meant?"""
    return float(stats.binomtest(held_out, n, share).pvalue)


def members_needed(rate: float, difference: float, ratio: float = 1.0) -> int | None:
    """How many members a group needs to see a difference with 80% power, the other having `ratio` times as many.

    Args:
        rate: of the other group; difference: of this group to it, not nought.

    Returns:
        None where either rate would be outside (0, 1), or the difference is below a millionth.
    """
    if abs(difference) < _FINEST or not (0 < rate < 1 and 0 < rate + difference < 1):
        return None
    needed: float = samplesize_proportions_2indep_onetail(difference, rate, _POWER, ratio=ratio, alpha=ALPHA)
    return math.ceil(needed)


def _described(values: Values) -> DescrStatsW:
    """Two points, half of the values each, that have the mean and the variance of all: what statsmodels asks for."""
    spread = math.sqrt(max(0.0, values.sum_sq / values.n - values.mean**2))
    return DescrStatsW([values.mean - spread, values.mean + spread], weights=[values.n / 2, values.n / 2])


def _table(shares: Sequence[Share]) -> np.ndarray:
    return np.array([[share.hits for share in shares], [share.n - share.hits for share in shares]])


def _interval(bounds: tuple[float, float]) -> Interval:
    return Interval(float(bounds[0]), float(bounds[1]))
