"""Each statistic by a second way, on 1,000 random tables: closed forms from the literature, SciPy on raw values."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import power_proportions_2indep

from stream.readout import statistics
from stream.readout.statistics import Interval, Share, Values

CLOSE = 1e-9
Z = float(stats.norm.ppf(0.975))
TABLES = 1_000


def tables(seed: int, groups: int | None = None) -> list[list[Share]]:
    """Groups of all sizes, from a few members to a hundred thousand; rates from none to all."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(TABLES):
        k = groups or int(rng.integers(2, 6))
        n = (10 ** rng.uniform(0.5, 5, k)).astype(int)
        rate = rng.beta(0.3, 1.0)
        hits = rng.binomial(n, np.clip(rate * rng.uniform(0.5, 1.5, k), 0, 1))
        found.append([Share(int(h), int(m)) for h, m in zip(hits, n, strict=True)])
    return found


def close(found: Interval, expected: tuple[float, float]) -> None:
    assert (found.low, found.high) == pytest.approx(expected, rel=CLOSE, abs=CLOSE)


def wilson(share: Share) -> tuple[float, float]:
    """Wilson (1927), solved for the rate."""
    p, n = share.rate, share.n
    middle, half = p + Z**2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return (middle - half) / (1 + Z**2 / n), (middle + half) / (1 + Z**2 / n)


def test_rates_and_differences() -> None:
    """Wilson's interval; Newcombe's (1998, method 10) made of two of them; Walter's of a ratio."""
    for a, b in tables(1, groups=2):
        close(statistics.rate_interval(a), wilson(a))
        (la, ua), (lb, ub), d = wilson(a), wilson(b), a.rate - b.rate
        expected = (d - math.hypot(a.rate - la, ub - b.rate), d + math.hypot(ua - a.rate, b.rate - lb))
        close(statistics.difference_interval(a, b), expected)
        ratio = statistics.ratio_interval(a, b)
        if ratio is None:
            assert not (a.hits and b.hits)
        elif (a.hits, b.hits) != (a.n, b.n):  # all of all: statsmodels says exactly 1
            log = math.log((a.hits + 0.5) / (a.n + 0.5) / ((b.hits + 0.5) / (b.n + 0.5)))
            error = Z * math.sqrt(sum(1 / (s.hits + 0.5) - 1 / (s.n + 0.5) for s in (a, b)))
            close(ratio, (math.exp(log - error), math.exp(log + error)))


def test_chi_square_and_fisher() -> None:
    """Pearson's sum where every expected count is at least five; else, of two groups, hypergeometric probabilities."""
    seen = set()
    for shares in tables(2):
        hits, n = np.array([s.hits for s in shares]), np.array([s.n for s in shares])
        found = statistics.differ(shares)
        seen.add(found.name)
        if found.name == "chi-square":
            p = hits.sum() / n.sum()
            x2 = ((hits - n * p) ** 2 / (n * p * (1 - p))).sum()
            assert found.p == pytest.approx(stats.chi2.sf(x2, len(shares) - 1), rel=CLOSE, abs=CLOSE)
        elif found.name == "Fisher's exact":
            law = stats.hypergeom(n.sum(), hits.sum(), n[0])
            masses = law.pmf(np.arange(*law.support()) if law.support()[0] < law.support()[1] else [law.support()[0]])
            masses = law.pmf(np.arange(law.support()[0], law.support()[1] + 1))
            assert found.p == pytest.approx(masses[masses <= law.pmf(hits[0]) * (1 + 1e-7)].sum(), rel=1e-7, abs=CLOSE)
        elif found.name == "none has, or all have":
            assert hits.sum() in (0, n.sum())
    assert seen == {"chi-square", "Fisher's exact", "exact chi-square", "none has, or all have"}


def test_the_exact_test_of_more_groups() -> None:
    """Against all tables with the same margins, each with its probability: within five standard errors, and the same
    at every call; also with a million members, where SciPy's fisher_exact breaks."""
    for hits, n in (((1, 4, 0), (30, 25, 41)), ((3, 0, 2, 6), (90, 60, 70, 81)), ((9, 2, 1), (900, 1_000_000, 700))):
        shares = [Share(h, m) for h, m in zip(hits, n, strict=True)]
        total, sizes = sum(hits), np.array(n)
        all_of_them = np.array([x for x in product(range(total + 1), repeat=len(n)) if sum(x) == total])
        masses = stats.multivariate_hypergeom.pmf(all_of_them, sizes, total)
        expected = sizes * total / sizes.sum()
        x2 = ((all_of_them - expected) ** 2 * (1 / expected + 1 / (sizes - expected))).sum(axis=1)
        mine = ((np.array(hits) - expected) ** 2 * (1 / expected + 1 / (sizes - expected))).sum()
        exact = masses[x2 >= mine * (1 - 1e-9)].sum()
        found = statistics.differ(shares)
        assert found.name == "exact chi-square"
        assert abs(found.p - exact) < 5 * math.sqrt(exact * (1 - exact) / 9_999) + 1 / 10_000
        assert statistics.differ(shares) == found


def test_trend() -> None:
    """Cochran–Armitage with the permutation variance, as statsmodels has it."""
    for shares in tables(3):
        hits, n = np.array([s.hits for s in shares]), np.array([s.n for s in shares])
        total, p, scores = n.sum(), hits.sum() / n.sum(), np.arange(len(n))
        if not 0 < p < 1:
            assert statistics.trend(shares).p == 1
            continue
        centred = scores - (n * scores).sum() / total
        z = (hits * centred).sum() / math.sqrt(p * (1 - p) * (n * centred**2).sum() * total / (total - 1))
        assert statistics.trend(shares).p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-7, abs=CLOSE)


def test_holm() -> None:
    """Step down: the smallest times their number, the next times one less, never falling, never above one."""
    rng = np.random.default_rng(4)
    for _ in range(TABLES):
        ps = rng.beta(0.3, 1, rng.integers(1, 11))
        order = np.argsort(ps)
        expected = np.empty(len(ps))
        expected[order] = np.minimum(1, np.maximum.accumulate(ps[order] * np.arange(len(ps), 0, -1)))
        assert statistics.holm(list(ps)) == pytest.approx(list(expected), rel=CLOSE)
    assert statistics.holm([]) == []


def test_means() -> None:
    """Student's and Welch's intervals from sums and squares, against SciPy on the values themselves."""
    rng = np.random.default_rng(5)
    for _ in range(TABLES):
        a, b = (rng.gamma(2.0, 10 ** rng.uniform(-1, 3), rng.integers(2, 200)) for _ in range(2))
        mine, yours = (Values(len(x), float(x.sum()), float(x @ x)) for x in (a, b))
        found = statistics.mean_interval(mine)
        assert found is not None
        expected = stats.ttest_1samp(a, 0).confidence_interval()
        assert (found.low, found.high) == pytest.approx(tuple(expected), rel=CLOSE, abs=CLOSE)
        found = statistics.mean_difference_interval(mine, yours)
        assert found is not None
        expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
        scale = max(a.mean(), b.mean())
        assert (found.low, found.high) == pytest.approx(tuple(expected), rel=CLOSE, abs=CLOSE * scale)
    one, same = Values(1, 3.0, 9.0), Values(2, 6.0, 18.0)
    assert statistics.mean_interval(one) is None
    assert statistics.mean_difference_interval(one, mine) is None
    assert statistics.mean_difference_interval(same, same) is None


def test_the_ratio_check() -> None:
    """The exact binomial test: the probability of all counts that aren't likelier than this one."""
    rng = np.random.default_rng(6)
    for _ in range(TABLES):
        n, share = int(10 ** rng.uniform(0, 4)), float(rng.uniform(0.001, 0.6))
        held_out = int(rng.binomial(n, share))
        masses = stats.binom.pmf(np.arange(n + 1), n, share)
        expected = masses[masses <= masses[held_out] * (1 + 1e-7)].sum()
        assert statistics.ratio_p(held_out, n, share) == pytest.approx(expected, rel=1e-7, abs=CLOSE)


def test_members_needed() -> None:
    """With that many members the power is 80%, with one in fifty fewer it isn't."""
    rng = np.random.default_rng(7)
    for _ in range(TABLES):
        rate, ratio = float(rng.uniform(0.01, 0.5)), float(rng.uniform(0.05, 2))
        difference = float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.5) * rate)
        n = statistics.members_needed(rate, difference, ratio)
        assert n is not None
        powers = [power_proportions_2indep(difference, rate, m, ratio=ratio).power for m in (n, 0.98 * n)]
        assert powers[0] >= 0.8 - 1e-6
        assert powers[1] < 0.8
    assert statistics.members_needed(0.0, 0.1) is None
    assert statistics.members_needed(0.95, 0.1) is None
