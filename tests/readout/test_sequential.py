"""The interval that holds at every look: it covers the truth on all days at once; one for one look doesn't."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from memberstream.stream.readout.sequential import AT_LEAST, TUNED_FOR, always_p, critical, difference_bounds
from memberstream.stream.readout.statistics import ALPHA

#: rate shown, rate held out, members a day shown and held out, days.
WORLDS = {
    "common, held out one in ten": (0.01, 0.01, 900, 100, 90),
    "an effect": (0.02, 0.01, 400, 100, 120),
    "halves": (0.05, 0.05, 500, 500, 60),
    "rare": (0.002, 0.002, 5_000, 600, 120),
    "frequent, few members": (0.3, 0.2, 90, 10, 90),
    "for years": (0.05, 0.05, 30, 30, 1_000),
}
CAMPAIGNS = 2_000
#: Of 2,000 campaigns at a level of 5% more than this would miss once in ten thousand times.
ALLOWED = int(stats.binom.ppf(1 - 1e-4, CAMPAIGNS, ALPHA))


def misses(low: np.ndarray, high: np.ndarray, truth: float) -> int:
    """Campaigns whose interval missed the truth on any day; before it is given it misses nothing."""
    return int(((low > truth) | (high < truth)).any(axis=1).sum())


@pytest.mark.parametrize("world", WORLDS)
def test_looking_every_day(world: str) -> None:
    """Differences, a look a day, 2,000 campaigns: all days are covered in 95% of them at least."""
    shown, held_out, n_shown, n_held_out, days = WORLDS[world]
    rng = np.random.default_rng(list(WORLDS).index(world))
    n = [rng.poisson(mean, (CAMPAIGNS, days)) for mean in (n_shown, n_held_out)]
    hits = [rng.binomial(m, rate).cumsum(axis=1) for m, rate in zip(n, (shown, held_out), strict=True)]
    n = [m.cumsum(axis=1) for m in n]
    bounds = difference_bounds(hits[0], n[0], hits[1], n[1])
    assert not np.isnan(bounds[0][:, -1]).any()
    assert misses(*bounds, shown - held_out) <= ALLOWED
    rates = [h / np.maximum(m, 1) for h, m in zip(hits, n, strict=True)]
    error = np.sqrt(sum(p * (1 - p) / np.maximum(m, 1) for p, m in zip(rates, n, strict=True)))
    once = [rates[0] - rates[1] + sign * stats.norm.ppf(1 - ALPHA / 2) * error for sign in (-1, 1)]
    settled = np.minimum(hits[0], hits[1]) >= AT_LEAST
    low, high = (np.where(settled, bound, np.nan) for bound in once)
    assert misses(low, high, shown - held_out) > 2 * ALLOWED  # why one needs another


def test_clicks_that_come_late() -> None:
    """Whoever clicks only days after being shown is missing from both groups alike: without an effect none is seen."""
    rng = np.random.default_rng(11)
    days, looks = 40, 60
    hits, n = [], []
    for mean in (450, 150):
        exposed = rng.poisson(mean, (CAMPAIGNS, days))
        clicks = np.zeros((CAMPAIGNS, looks), int)
        for day in range(days):
            left = rng.binomial(exposed[:, day], 0.04)
            for delay in range(looks - day):
                now = rng.binomial(left, 0.15)  # each day one in seven of those who will
                clicks[:, day + delay] += now
                left = left - now
        hits.append(clicks.cumsum(axis=1))
        n.append(np.pad(exposed, ((0, 0), (0, looks - days))).cumsum(axis=1))
    assert misses(*difference_bounds(hits[0], n[0], hits[1], n[1]), 0.0) <= ALLOWED


def test_the_formula() -> None:
    """As the paper writes it; narrowest, against an interval for one look, where it is tuned to be."""
    hits, n = 400, 8_000
    rho_sq = (-2 * math.log(0.05) + math.log(-2 * math.log(0.05) + 1)) / TUNED_FOR
    s = math.sqrt(hits / n * (1 - hits / n))
    half = s * math.sqrt(2 * (n * rho_sq + 1) / (n * n * rho_sq) * math.log(math.sqrt(n * rho_sq + 1) / 0.05))
    assert float(critical(n)) * s / math.sqrt(n) == pytest.approx(half, rel=1e-12)
    sizes = np.geomspace(500, 500_000, 601)
    ratios = critical(sizes) / stats.norm.ppf(0.975)
    assert 0.5 < sizes[ratios.argmin()] / TUNED_FOR < 2
    assert 1.5 < ratios.min() < 1.6


def test_the_p_value_says_what_the_interval_says() -> None:
    """At the level p the interval just excludes 0; nothing seen is p = 1."""
    rng = np.random.default_rng(5)
    z, t = rng.uniform(-8, 8, 1_000), 10 ** rng.uniform(1, 7, 1_000)
    p = always_p(z, t)
    assert ((p > 0) & (p <= 1)).all()
    less = p < 1
    assert critical(t[less], p[less]) == pytest.approx(np.abs(z[less]), rel=1e-9)
    assert (np.abs(z[~less]) <= critical(t[~less], 0.999)).all()
    assert list(always_p([0.0, np.nan], [100, 100])) == [1.0, 1.0]


def test_too_early() -> None:
    """Nothing is said before there are some with the event and some without, in each group."""
    low, _ = difference_bounds([500, 500, 500], [9_000] * 3, [AT_LEAST - 1, AT_LEAST, 990], [1_000, 1_000, 999])
    assert list(np.isnan(low)) == [True, False, True]
    assert np.isnan(difference_bounds(0, 0, 0, 0)[0])
