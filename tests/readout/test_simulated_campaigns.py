"""200 campaigns whose truth is known, through the whole report: intervals cover, tests keep their level.

Seeds are fixed. A bound is where a sound report would fail once in ten thousand seeds.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from readout.worlds import World, counted
from scipy import stats

from stream.readout.report import BROKEN, Report, report
from stream.readout.sequential import difference_bounds
from stream.readout.setup import Setup
from stream.readout.statistics import ALPHA, Interval, ratio_p

CAMPAIGNS = 200
TRUE, NULL = World(), World(shown=(0.05,) * 3, held_out=(0.05,) * 3, values=(10.0,) * 3)


def reports(world: World, seed: int) -> list[Report]:
    rng = np.random.default_rng(seed)
    return [report(world.counts(rng), [world.setup()], see=0.01) for _ in range(CAMPAIGNS)]


@pytest.fixture(scope="module")
def true_reports() -> list[Report]:
    return reports(TRUE, 1)


@pytest.fixture(scope="module")
def null_reports() -> list[Report]:
    return reports(NULL, 2)


def covers(interval: Interval | None, truth: float) -> bool:
    assert interval is not None
    return interval.low <= truth <= interval.high


def around(hits: list[bool], share: float) -> None:
    """So many hits as chance would give with this share, neither more nor fewer."""
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], len(hits), share)
    assert low <= sum(hits) <= high, (sum(hits), low, high)


def at_most(hits: list[bool], share: float) -> None:
    assert sum(hits) <= stats.binom.ppf(1 - 1e-4, len(hits), share), sum(hits)


def test_intervals_cover_at_their_rate(true_reports: list[Report]) -> None:
    """Of rates, effects, differences of clusters, means and differences of means: 95%, no less and no more."""
    rates, effects, pairs, means, mean_pairs = [], [], [], [], []
    for found in true_reports:
        for place, row in enumerate(found.rows):
            assert row.effect is not None
            rates.append(covers(row.interval, TRUE.shown[place]))
            effects.append(covers(row.effect.interval, TRUE.shown[place] - TRUE.held_out[place]))
            means.append(covers(row.mean_interval, TRUE.values[place]))
        for pair, (a, b) in zip(found.pairs, ((0, 1), (0, 2), (1, 2)), strict=True):
            pairs.append(covers(pair.interval, TRUE.shown[a] - TRUE.shown[b]))
            mean_pairs.append(covers(pair.mean_interval, TRUE.values[a] - TRUE.values[b]))
    for covered in (rates, effects, pairs, means, mean_pairs):
        around(covered, 1 - ALPHA)


def test_looking_at_every_day_of_the_report(true_reports: list[Report]) -> None:
    """A row misses its truth on any of its days in 5% at most; the intervals are there, and end as the row's own."""
    rates, effects = [], []
    for found in true_reports:
        for place, row in enumerate(found.rows):
            assert row.effect is not None
            effect = TRUE.shown[place] - TRUE.held_out[place]
            assert (row.days[-1].always, row.days[-1].difference_always) == (row.always, row.effect.always)
            assert row.always is not None
            rates.append(any(day.always and not covers(day.always, TRUE.shown[place]) for day in row.days))
            effects.append(any(day.difference_always and not covers(day.difference_always, effect) for day in row.days))
    at_most(rates, ALPHA)
    at_most(effects, ALPHA)


def test_tests_keep_their_level(null_reports: list[Report]) -> None:
    """No difference and no effect: 5% of campaigns are told that clusters differ, and that there is a trend; with
    Holm at most 5% have any pair or any effect that differs."""
    around([found.differ is not None and found.differ.p < ALPHA for found in null_reports], ALPHA)
    around([found.trend is not None and found.trend.p < ALPHA for found in null_reports], ALPHA)
    at_most([any(pair.p < ALPHA for pair in found.pairs) for found in null_reports], ALPHA)
    at_most([any(row.effect and row.effect.p < ALPHA for row in found.rows) for found in null_reports], ALPHA)
    at_most([any(check.is_broken for check in found.checks) for found in null_reports], BROKEN)


def test_small_counts_keep_the_level_too() -> None:
    """Sixty members a cluster at 5%: expected counts of three, the exact test. It may be shy, never bold."""
    world, rng = replace(NULL, members=60, days=1), np.random.default_rng(3)
    found = [report(world.counts(rng), [world.setup()]) for _ in range(CAMPAIGNS)]
    names = [one.differ.name for one in found if one.differ is not None]
    assert names.count("exact chi-square") > CAMPAIGNS / 2
    at_most([one.differ is not None and one.differ.p < ALPHA for one in found], ALPHA)


def test_what_is_there_is_seen(true_reports: list[Report]) -> None:
    """The planted differences and the trend are found in every campaign, the effect of the third one in nine of ten;
    the one without an effect isn't credited with one, and switchers are counted as they were drawn."""
    for found in true_reports:
        assert found.differ is not None
        assert found.trend is not None
        assert max(found.differ.p, found.trend.p) < ALPHA
    pairs = [pair.p < ALPHA for found in true_reports for pair in found.pairs]
    assert sum(pairs) > 0.98 * len(pairs)  # of a difference of two points a test of this size misses one in 500
    effects = [[row.effect for row in found.rows] for found in true_reports]
    seen = [
        sum(bool(e and e.always and e.always.excludes_zero()) for e in column) for column in zip(*effects, strict=True)
    ]
    assert seen[2] > 0.9 * CAMPAIGNS
    assert seen[1] <= stats.binom.ppf(1 - 1e-4, CAMPAIGNS, ALPHA)
    shares = np.array([[row.switched / row.shown.n for row in found.rows] for found in true_reports])
    n = sum(row.shown.n for found in true_reports for row in found.rows)
    assert abs(shares.mean() - TRUE.switched) < 4 * np.sqrt(TRUE.switched * (1 - TRUE.switched) / n)


@pytest.mark.parametrize(
    ("holdout", "members", "found"),
    [
        (0.1, 20_000, 0.1 + 0.9 * 0.02),  # 2% of those to be shown it are held out: a wrong bound of the draw
        (0.5, 600_000, 0.5 * 0.98 / (0.5 * 0.98 + 0.5)),  # 2% of those held out are never counted
    ],
)
def test_the_ratio_check_catches_a_bug_of_two_percent(holdout: float, members: int, found: float) -> None:
    """Each of 200 broken campaigns is caught, and of 3,000 sound ones about one in a thousand is accused."""
    rng = np.random.default_rng(4)
    setup = Setup("spring", "activity", {1: "low"}, holdout)
    for held_out in rng.binomial(members, found, CAMPAIGNS).tolist():
        counts = counted("spring", {(1, False): (members - held_out, 10), (1, True): (held_out, 10)})
        [check] = report(counts, [setup]).checks
        assert check.is_broken
    sound = [ratio_p(int(held_out), members, holdout) < BROKEN for held_out in rng.binomial(members, holdout, 3_000)]
    at_most(sound, BROKEN)


def test_many_clusters_looked_at_daily() -> None:
    """Eight clusters over 40 days, no difference and no effect anywhere: in 5% of campaigns at most there is a day on
    which an effect, or a difference of clusters, would be claimed for any of them."""
    clusters, days = 8, 40
    rng = np.random.default_rng(6)
    n = [rng.poisson(mean, (2_000, clusters, days)) for mean in (300, 60)]
    hits = [rng.binomial(m, 0.04).cumsum(axis=2) for m in n]
    n = [m.cumsum(axis=2) for m in n]
    low, high = difference_bounds(hits[0], n[0], hits[1], n[1], together=clusters)
    at_most(list(((low > 0) | (high < 0)).any(axis=(1, 2))), ALPHA)
    low, high = difference_bounds(hits[0], n[0], hits[1], n[1])
    assert ((low > 0) | (high < 0)).any(axis=(1, 2)).mean() > 2 * ALPHA  # why they hold together
    pairs = list(combinations(range(clusters), 2))
    a, b = ([pair[i] for pair in pairs] for i in (0, 1))
    low, high = difference_bounds(hits[0][:, a], n[0][:, a], hits[0][:, b], n[0][:, b], together=len(pairs))
    at_most(list(((low > 0) | (high < 0)).any(axis=(1, 2))), ALPHA)


def test_the_report_looks_at_all_clusters_together() -> None:
    """The intervals of effects and pairs are those for as many as there are; of a single cluster, for one."""
    world = World()
    counts = world.counts(np.random.default_rng(7))
    found = report(counts, [world.setup()])
    for row in found.rows:
        assert row.effect is not None
        together = difference_bounds(
            row.shown.hits, row.shown.n, row.effect.held_out.hits, row.effect.held_out.n, together=3
        )
        assert row.effect.always == Interval(float(together[0]), float(together[1]))
    a, b = (row.shown for row in found.rows[:2])
    together = difference_bounds(a.hits, a.n, b.hits, b.n, together=3)
    assert found.pairs[0].always == Interval(float(together[0]), float(together[1]))
