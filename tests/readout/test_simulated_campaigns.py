"""The method by itself, on many more campaigns: its level in each of 36 strata, what it covers, what it sees.

Seeds are fixed. A bound is where a sound report would fail once in ten thousand seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from readout.worlds import World, reported
from scipy import stats

from memberstream.stream.readout.effect import Arm, Comparison, compare
from memberstream.stream.readout.family import FIRST
from memberstream.stream.readout.report import Report
from memberstream.stream.readout.sequential import critical, difference_bounds
from memberstream.stream.readout.statistics import ALPHA

pytestmark = pytest.mark.long
CAMPAIGNS, LOOKS = 2_000, 30
STRATA = list(product((1, 2, 8), (0.01, 0.1, 0.5), (0.001, 0.01, 0.1, 0.6)))


def at_most(hits: Any, share: float) -> None:
    assert hits.sum() <= stats.binom.ppf(1 - 1e-4, len(hits), share), hits.mean()


def looked_at(
    rng: np.random.Generator, clusters: int, holdout: float, rate: float, members: int, effect: float
) -> Comparison:
    """2,000 campaigns, each looked at on 30 days; the looks of all of them one behind the other."""
    around = rate * (np.linspace(0.6, 1.4, clusters) if clusters > 1 else np.ones(1))
    arms = []
    for share, rates in ((1 - holdout, around + effect), (holdout, around)):
        n = rng.poisson(members * share / clusters / LOOKS, (CAMPAIGNS, LOOKS, clusters))
        hits = rng.binomial(n, np.minimum(rates, 0.95)).cumsum(axis=1)
        arms.append(Arm.of_hits(*(x.reshape(-1, clusters).astype(float) for x in (n.cumsum(axis=1), hits))))
    return compare(*arms)


@pytest.mark.parametrize("members", [300, 3_000, 30_000, 300_000])
def test_the_level_in_each_stratum(members: int) -> None:
    """No effect: on any of 30 days one is claimed in 4% of campaigns at most, in each of 36 strata by itself, however
    few are held out in a cluster. In fact it is half of that."""
    rng, worst = np.random.default_rng(members), 0.0
    for clusters, holdout, rate in STRATA:
        found = looked_at(rng, clusters, holdout, rate, members, 0.0)
        claimed = np.any((found.p <= FIRST * ALPHA).reshape(CAMPAIGNS, LOOKS), axis=1)
        worst = max(worst, float(claimed.mean()))
        at_most(claimed, FIRST * ALPHA)
    print(f"{members} members: at worst {worst:.2%}")
    assert worst < 0.03


def test_eight_clusters_are_seen_together() -> None:
    """One point in each of eight clusters: the overall effect is found far more often than any cluster's."""
    rng = np.random.default_rng(1)
    around, holdout, members = 0.05, 0.1, 60_000
    found = looked_at(rng, 8, holdout, around, members, 0.01)
    overall = (found.p <= FIRST * ALPHA).reshape(CAMPAIGNS, LOOKS)[:, -1].mean()
    single = looked_at(rng, 1, holdout, around, members // 8, 0.01)
    each = (single.p <= ALPHA / 8).reshape(CAMPAIGNS, LOOKS)[:, -1].mean()
    print(f"overall {overall:.1%}, any of eight clusters {1 - (1 - each) ** 8:.1%}")
    assert overall > 3 * (1 - (1 - each) ** 8)


VALUES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "three events a member": lambda rng, size: rng.gamma(12.0, 2.5, size),
    "ten events a member": lambda rng, size: 10.0 * rng.poisson(10, size),
    "lognormal, σ 1": lambda rng, size: rng.lognormal(0, 1, size),
    "lognormal, σ 2": lambda rng, size: rng.lognormal(0, 2, size),
    "Pareto, exponent 1.5": lambda rng, size: 1 + rng.pareto(1.5, size),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("cut", [False, True])
def test_values_are_covered(name: str, cut: bool) -> None:
    """The interval of the difference of means per member covers the truth in 93% at least, also with heavy tails and
    one in ten held out; so does that of a cut mean."""
    rng, covered = np.random.default_rng(2), []
    bound = np.quantile(VALUES[name](rng, (1, 100_000)), 0.9) if cut else np.inf  # 99.5% of all members, 5% have any
    for _ in range(20):
        arms = []
        for n in (4_500, 500):
            values = np.where(rng.random((100, n)) < 0.05, np.minimum(VALUES[name](rng, (100, n)), bound), 0.0)
            mean = values.mean(axis=1, keepdims=True)
            about = ((values - mean) ** 2).sum(axis=1, keepdims=True)
            hits = (values > 0).sum(axis=1, keepdims=True).astype(float)
            arms.append(Arm(np.full((100, 1), float(n)), hits, mean, about))
        found = compare(*arms)
        half = critical(found.members) * np.sqrt(found.var_shown + found.var_held_out)
        covered.append((np.abs(found.difference) <= half)[found.is_enough])
    share = np.concatenate(covered).mean()
    print(f"{name}, {'cut' if cut else 'whole'}: {share:.2%}")
    assert share >= 0.93


def test_relative_effects_are_covered() -> None:
    """From ten members with the event on, in both groups: the interval covers the true ratio in 95% at least."""
    rng = np.random.default_rng(3)
    for n, m, shown, held_out in ((9_000, 1_000, 0.03, 0.02), (5_000, 5_000, 0.004, 0.004), (900, 100, 0.3, 0.3), (90_000, 1_000, 0.02, 0.02)):  # fmt: skip  # noqa: E501
        hits = [rng.binomial(k, p, (CAMPAIGNS, 1)).astype(float) for k, p in ((n, shown), (m, held_out))]
        found = compare(*(Arm.of_hits(np.full((CAMPAIGNS, 1), float(k)), h) for k, h in zip((n, m), hits, strict=True)))
        intervals = [found.ratio_interval(ALPHA, i) for i in range(CAMPAIGNS)]
        truth = shown / held_out - 1
        missed = np.array([its is not None and not its.low <= truth <= its.high for its in intervals])
        assert np.mean([its is not None for its in intervals]) > 0.9
        at_most(missed, ALPHA)


@pytest.fixture(scope="module")
def null_reports() -> list[Report]:
    world, rng = World(shown=(0.05,) * 3, held_out=(0.05,) * 3), np.random.default_rng(4)
    return [reported(world.counts(rng, values=False), world.setup()) for _ in range(200)]


def test_what_is_observed_keeps_its_level_too(null_reports: list[Report]) -> None:
    """Clusters that don't differ: said to in 5% of campaigns; any pair with Holm in 5% at most; rates are covered."""
    differ = np.array([found.differ is not None and found.differ.p < ALPHA for found in null_reports])
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], len(differ), ALPHA)
    assert low <= differ.sum() <= high
    at_most(np.array([any(pair.p < ALPHA for pair in found.pairs) for found in null_reports]), ALPHA)
    missed = [row.interval and not row.interval.low <= 0.05 <= row.interval.high for found in null_reports for row in found.rows]  # fmt: skip  # noqa: E501
    at_most(np.array(missed, bool), ALPHA)
    claims = [found.parts[0].finding.status.is_effect or any(its.effect.is_claimed for its in found.parts[0].clusters) for found in null_reports]  # fmt: skip  # noqa: E501
    at_most(np.array(claims), ALPHA)


def test_many_clusters_looked_at_daily() -> None:
    """Eight clusters over 40 days, no difference anywhere: in 5% of campaigns at most there is a day on which any two
    would be said to differ."""
    clusters, days = 8, 40
    rng = np.random.default_rng(6)
    n = rng.poisson(300, (CAMPAIGNS, clusters, days))
    hits, n = rng.binomial(n, 0.04).cumsum(axis=2), n.cumsum(axis=2)
    pairs = list(combinations(range(clusters), 2))
    a, b = ([pair[i] for pair in pairs] for i in (0, 1))
    low, high = difference_bounds(hits[:, a], n[:, a], hits[:, b], n[:, b], together=len(pairs))
    at_most(np.any((low > 0) | (high < 0), axis=(1, 2)), ALPHA)
