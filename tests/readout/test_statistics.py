"""Each statistic by a second way, on 1,000 random tables: closed forms from the literature, SciPy on raw values."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from memberstream.stream.readout import statistics
from memberstream.stream.readout.family import holm
from memberstream.stream.readout.statistics import Interval, Share

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
    """Wilson's interval; Newcombe's (1998, method 10) made of two of them."""
    for a, b in tables(1, groups=2):
        close(statistics.rate_interval(a), wilson(a))
        (la, ua), (lb, ub), d = wilson(a), wilson(b), a.rate - b.rate
        expected = (d - math.hypot(a.rate - la, ub - b.rate), d + math.hypot(ua - a.rate, b.rate - lb))
        close(statistics.difference_interval(a, b), expected)


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
    """As statsmodels has it, whatever the order and however many are equal."""
    rng = np.random.default_rng(4)
    for _ in range(TABLES // 10):
        ps = rng.beta(0.3, 1, rng.integers(1, 11)).round(2)
        assert holm(list(ps)) == pytest.approx(list(multipletests(ps, method="holm")[1]), rel=CLOSE)
    assert holm([]) == []
