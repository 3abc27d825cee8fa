"""How many members it takes: against statsmodels for one look, and against what the report then finds."""

from __future__ import annotations

import numpy as np
import pytest
from readout.worlds import BEGIN_MS, FIRST_DAY, counted
from scipy import stats
from statsmodels.stats.power import normal_power_het

from memberstream.models.counts import Cell, Tally
from memberstream.stream.readout.effect import Arm, compare
from memberstream.stream.readout.family import FIRST
from memberstream.stream.readout.plan import detectable, members_against_loss, members_needed, plan, seen
from memberstream.stream.readout.statistics import ALPHA


def one_look(_: float) -> float:
    return float(stats.norm.ppf(1 - ALPHA / 2))


def test_as_statsmodels_has_it_for_one_look() -> None:
    """With that many members the power is 80%, as statsmodels reckons it, and with one in fifty fewer it isn't."""
    rng = np.random.default_rng(1)
    for _ in range(300):
        rate, holdout = float(rng.uniform(0.01, 0.5)), float(rng.uniform(0.01, 0.9))
        effect = float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.5) * rate)
        n = members_needed(rate, effect, holdout, one_look)
        assert n is not None
        shown = rate + effect
        deviation = np.sqrt(shown * (1 - shown) / (1 - holdout) + rate * (1 - rate) / holdout)
        powers = [normal_power_het(effect, size, ALPHA, std_null=deviation) for size in (n, 0.98 * n)]
        assert powers[0] >= 0.8 - 1e-6
        assert powers[1] < 0.8


def test_both_ways_agree() -> None:
    """The smallest effect that is seen among as many members as it takes is that effect."""
    rng = np.random.default_rng(2)
    for _ in range(100):
        rate, holdout = float(rng.uniform(0.005, 0.5)), float(rng.uniform(0.01, 0.9))
        effect = float(rng.uniform(0.05, 0.5) * min(rate, 1 - rate))
        n = members_needed(rate, effect, holdout)
        assert n is not None
        assert detectable(rate, holdout, n) == pytest.approx(effect, rel=1e-3)


def test_the_report_sees_what_was_planned() -> None:
    """Of 4,000 campaigns of that size four in five claim the effect, at a single look."""
    rng = np.random.default_rng(3)
    for rate, effect, holdout in ((0.03, 0.01, 0.1), (0.2, 0.02, 0.5)):
        n = members_needed(rate, effect, holdout)
        assert n is not None
        m = round(n * holdout)
        sizes = [np.full((4_000, 1), float(k)) for k in (n - m, m)]
        hits = [
            rng.binomial(k[0, 0], p, (4_000, 1)).astype(float)
            for k, p in zip(sizes, (rate + effect, rate), strict=True)
        ]
        found = compare(*(Arm.of_hits(k, h) for k, h in zip(sizes, hits, strict=True)))
        assert np.mean(found.p <= FIRST * ALPHA) == pytest.approx(0.8, abs=0.03)


def test_high_rates_take_more_members() -> None:
    """At 60% a small loss would look like the effect, so a plan asks for more; at 3% it doesn't."""
    alone = members_needed(0.6, 0.08, 0.1)
    assert alone is not None
    more = members_against_loss(0.6, 0.08, 0.1, alone)
    assert more is not None
    assert more > 2 * alone
    assert members_against_loss(0.03, 0.01, 0.1, 50_000) == 50_000
    assert members_against_loss(0.6, 0.08, 0.1, 10**11) is None
    assert plan(0.6, 0.08, 0.1, 10**9, None).members == more
    assert plan(0.0, 0.08, 0.1, 10**9, None).members is None


def test_what_cannot_be_planned() -> None:
    """Nobody or everybody held out, rates outside of 0 to 1, more members than there are people."""
    for rate, effect, holdout in ((0.0, 0.1, 0.1), (0.95, 0.1, 0.1), (0.1, 0.1, 0.0), (0.1, 0.1, 1.0), (0.1, 0.0, 0.1), (0.5, 1e-7, 0.1)):  # fmt: skip  # noqa: E501
        assert members_needed(rate, effect, holdout) is None
    assert detectable(0.1, 0.0, 1_000) is None
    assert detectable(0.1, 0.1, 1) is None
    assert detectable(0.9, 0.1, 20) is None
    assert members_needed(0.001, 0.9, 0.5) is not None
    found = plan(0.03, 0.01, 0.1, 1_000_000, 1_000)
    assert found.members is not None
    assert found.days == -(-found.members // 1_000)
    assert plan(0.03, 0.01, 0.1, 1_000, 1_000).days is None  # more than are reached
    assert plan(0.03, 0.01, 0.1, 1_000_000, None).days is None


def test_what_is_counted_so_far() -> None:
    """The rate of those held out, else of those shown, in these clusters; members exposed in a day."""
    counts = counted("autumn", {(1, False): (900, 90), (1, True): (100, 5), (2, True): (1_000, 900)})
    later = Cell("autumn", BEGIN_MS, "activity@1", 1, False, "exposed", FIRST_DAY + 4)
    found = seen(counts | {later: Tally(500, 500)}, (1,), "purchase")
    assert found is not None
    assert (found.rate, found.of, found.are_held_out, found.per_day) == (0.05, 100, True, 300)
    shown = seen(counted("autumn", {(1, False): (900, 90), (1, True): (100, 0)}), (1,), "purchase")
    assert shown is not None
    assert (shown.rate, shown.are_held_out) == (0.1, False)
    assert seen(counts, (7,), "purchase") is None
