"""The readout's statistics of one look, each a thin call of SciPy or statsmodels: counts in, numbers out.

Laws:
- No formula of our own stands here. tests/readout compares each with a second way to compute it, on 1,000 random
  tables.
- They describe, and compare clusters. What a campaign caused is never told by them: effect.py and sequential.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import Table
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

#: The level that everybody expects. If a report let it be chosen, people would choose it afterwards.
CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
#: If any cell of a table has an expected count below this (Cochran's rule), an exact test replaces chi-square.
SMALL = 5
#: Tables drawn by the exact test of more than two groups: a p of 0.05 is known to within 0.004 (two standard errors).
_RESAMPLES = 9_999


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
class Test:
    """A test's p, and its name."""

    __test__ = False  # not one of pytest's

    name: str
    p: float


def rate_interval(share: Share) -> Interval:
    """Return Wilson's interval of a rate; it includes the rate. (At 0 and at 1 statsmodels is off by a rounding.)"""
    low, high = proportion_confint(share.hits, share.n, alpha=ALPHA, method="wilson")
    return Interval(min(float(low), share.rate), max(float(high), share.rate))


def difference_interval(a: Share, b: Share) -> Interval:
    """Return Newcombe's hybrid score interval of the rate of `a` minus that of `b`; it holds for counts of 0, too."""
    low, high = confint_proportions_2indep(a.hits, a.n, b.hits, b.n, compare="diff", method="newcomb", alpha=ALPHA)
    return Interval(float(low), float(high))


def differ(shares: Sequence[Share]) -> Test:
    """Do rates differ? Chi-square; if counts are small, an exact test with fixed margins.

    For two groups that is Fisher's. For more it is chi-square's statistic over tables drawn at random with a fixed
    seed: its level is exact, and its p is the same at every call. (SciPy's fisher_exact draws at random for these,
        too.)
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
    """Cochran–Armitage: do rates rise or fall over the groups in their order, with equal steps between them?"""
    table = _table(shares)
    if not table.sum(axis=1).all():
        return Test("none has, or all have", 1.0)
    found = Table(table, shift_zeros=False).test_ordinal_association(
        row_scores=np.array([1.0, 0.0]), col_scores=np.arange(float(len(shares)))
    )
    return Test("Cochran–Armitage", float(found.pvalue))


def _table(shares: Sequence[Share]) -> np.ndarray:
    return np.array([[share.hits for share in shares], [share.n - share.hits for share in shares]])
