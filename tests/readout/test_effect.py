"""Shown against held out, stratum by stratum: the formulas by a second way, and what chance makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from readout.worlds import BEGIN_MS, FIRST_DAY, counted, setup, with_values
from scipy import stats

from memberstream.models.counts import UNIT, Cell, Tally, size_of, size_top
from memberstream.stream.readout.courses import table
from memberstream.stream.readout.effect import Arm, compare
from memberstream.stream.readout.family import FIRST, judge
from memberstream.stream.readout.sequential import critical
from memberstream.stream.readout.statistics import ALPHA


def one(n: float, hits: float, m: float, held_hits: float) -> tuple[Arm, Arm]:
    """Both groups of a single stratum at a single look."""
    return tuple(Arm.of_hits(np.array([[float(k)]]), np.array([[float(h)]])) for k, h in ((n, hits), (m, held_hits)))  # type: ignore[return-value]


def test_one_large_stratum_is_the_difference_of_two_rates() -> None:
    """Its standard error is the usual one, to one part in a thousand."""
    found = compare(*one(40_000, 2_000, 10_000, 400))
    assert float(found.difference[0]) == pytest.approx(0.01)
    error = np.sqrt(0.05 * 0.95 / 40_000 + 0.04 * 0.96 / 10_000)
    assert float(np.sqrt(found.var_shown + found.var_held_out)[0]) == pytest.approx(error, rel=1e-3)
    interval = found.interval(0.04)
    assert interval is not None
    assert interval.high - interval.low == pytest.approx(2 * float(critical(50_000, 0.04)) * error, rel=1e-3)


def test_strata_are_never_mixed() -> None:
    """Simpson's paradox: in each cluster nothing, pooled a lot. A stratum without anybody held out weighs nothing."""
    n, m = np.array([[9_000.0, 1_000.0, 500.0]]), np.array([[1_000.0, 9_000.0, 0.0]])
    rates = np.array([[0.5, 0.1, 0.9]])
    found = compare(Arm.of_hits(n, n * rates), Arm.of_hits(m, m * rates))
    assert float(found.difference[0]) == pytest.approx(0, abs=1e-12)
    assert float(found.members[0]) == 20_000
    assert float(found.p[0]) == 1


def test_means_are_those_of_the_values_themselves() -> None:
    """Weighted means and their variance from sums, against the members' own numbers, in two strata."""
    rng = np.random.default_rng(1)
    sizes = ((400, 100), (300, 200))
    drawn = [[rng.gamma(2.0, 5.0, k) * (rng.random(k) < 0.3) for k in pair] for pair in sizes]
    arms = []
    for side in (0, 1):
        values = [drawn[stratum][side] for stratum in (0, 1)]
        parts = (
            [len(v) for v in values],
            [(v > 0).sum() for v in values],
            [v.mean() for v in values],
            [((v - v.mean()) ** 2).sum() for v in values],
        )
        arms.append(Arm(*(np.array([part], float) for part in parts)))
    found = compare(*arms)
    weight = np.array([n * m / (n + m) for n, m in sizes])
    weight /= weight.sum()
    differences = [a.mean() - b.mean() for a, b in drawn]
    assert float(found.difference[0]) == pytest.approx(float(weight @ differences))
    variance = sum(
        w**2 * (a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)) for w, (a, b) in zip(weight, drawn, strict=True)
    )
    assert float((found.var_shown + found.var_held_out)[0]) == pytest.approx(variance, rel=0.03)


def test_large_offsets_do_not_cancel() -> None:
    """Values of 1,000,000,000 to 1,000,000,004, everybody buys: the width is that of 0 to 4, and not nought."""
    found = []
    for offset in (0, 10**9):
        counts = counted("spring", {(1, False): (300, 0), (1, True): (200, 0)})
        draw = np.random.default_rng(3)
        for is_held_out, n in ((False, 300), (True, 200)):
            cell = Cell("spring", BEGIN_MS, "activity@1", 1, is_held_out, "purchase", FIRST_DAY)
            with_values(counts, cell, (offset + draw.integers(0, 5, n)).tolist())
        its = table(counts, [setup(clusters={1: "low"})])
        mask = np.ones((1, 1))
        found.append([its.value_arm("purchase", held, mask, None) for held in (False, True)])
    for plain, shifted in zip(*found, strict=True):
        assert float(shifted.about[0, 0]) == pytest.approx(float(plain.about[0, 0]), rel=1e-12)
        assert float(shifted.mean[0, 0] - 10**9) == pytest.approx(float(plain.mean[0, 0]), abs=1e-6)
        assert float(plain.about[0, 0]) > 0


def test_a_cut_is_that_of_the_members_themselves() -> None:
    """Sums above the size that the quantile falls into count as its top: as if each member had been cut."""
    rng = np.random.default_rng(4)
    counts = counted("spring", {(1, False): (4_000, 0), (1, True): (1_000, 0)})
    values = {}
    for is_held_out, n in ((False, 400), (True, 100)):
        values[is_held_out] = rng.lognormal(2, 2, n).round(6).tolist()
        cell = Cell("spring", BEGIN_MS, "activity@1", 1, is_held_out, "purchase", FIRST_DAY)
        with_values(counts, cell, values[is_held_out])
    its, mask = table(counts, [setup(clusters={1: "low"})]), np.ones((1, 1))
    cap = its.cap("purchase", 0.99, mask)
    assert cap is not None
    everybody = sorted([*values[False], *values[True]], reverse=True)
    n_larger = sum(size_of(round(value * UNIT)) > cap for value in everybody)
    assert n_larger <= 50 < sum(size_of(round(value * UNIT)) >= cap for value in everybody)
    for is_held_out, n in ((False, 4_000), (True, 1_000)):
        cut = np.minimum(values[is_held_out], size_top(cap) / UNIT)
        arm = its.value_arm("purchase", is_held_out, mask, cap)
        assert float(arm.mean[0, 0]) == pytest.approx(cut.sum() / n)
        assert float(arm.about[0, 0]) == pytest.approx((cut**2).sum() - cut.sum() ** 2 / n)
    assert its.cap("purchase", 0.5, mask) == 0  # half of the members have none: nothing is left
    assert its.cap("purchase", 1 - 1e-9, mask) is None  # nobody is larger
    assert its.value_arm("purchase", False, mask, 0).mean[0, 0] == 0


def test_too_early() -> None:
    """Ten members with the event and ten without in each group, or nothing is claimed; in strata, by their weight."""
    for n, hits, is_told in ((1_000, 9, False), (1_000, 10, True), (1_000, 990, True), (1_000, 991, False)):
        found = compare(*one(9_000, 4_500, n, hits))
        assert bool(found.is_enough[0]) is is_told, (n, hits)
        assert (found.interval(ALPHA) is None) is not is_told
        assert (found.p[0] == 1) is not is_told
    shown, held_out = np.array([[90_000.0, 100.0]]), np.array([[1_000.0, 9_000.0]])
    found = compare(Arm.of_hits(shown, np.array([[900.0, 10.0]])), Arm.of_hits(held_out, np.array([[3.0, 20.0]])))
    assert not found.is_enough[0]  # 23 held out had it, but the 20 are where a member held out weighs little
    assert compare(*one(0, 0, 0, 0)).p[0] == 1


def test_the_ratio_excludes_none_when_the_difference_does() -> None:
    """Both intervals come from one pivot; without enough of those held out there is none."""
    rng = np.random.default_rng(5)
    told = 0
    for _ in range(300):
        n, m = int(10 ** rng.uniform(2, 5)), int(10 ** rng.uniform(2, 5))
        rate = float(rng.uniform(0.005, 0.5))
        found = compare(*one(n, rng.binomial(n, min(0.9, rate * rng.uniform(0.5, 2))), m, rng.binomial(m, rate)))
        interval, ratio = found.interval(ALPHA), found.ratio_interval(ALPHA)
        if ratio is not None:
            assert interval is not None
            assert ratio.excludes_zero() is interval.excludes_zero()
            assert ratio.low <= float(found.shown[0] / found.held_out[0]) - 1 <= ratio.high
            told += 1
        elif interval is not None:
            assert float(found.held_out[0]) <= float(critical(n + m) * np.sqrt(found.var_held_out[0]))
    assert told > 100


def test_a_family_is_judged_together() -> None:
    """Four fifths of the level for the overall effect, one fifth for the rest, all of it once that is claimed; an
    interval at the level of a judgement excludes 0 just when the effect is claimed."""
    head, rest = judge(0.04, [0.009, 0.03, 0.9])
    assert head.is_claimed
    assert [judgement.is_claimed for judgement in rest] == [True, False, False]
    assert head.level == pytest.approx(FIRST * ALPHA)
    assert {judgement.level for judgement in rest} == {ALPHA / 2}
    head, rest = judge(0.041, [0.0034, 0.03, 0.9])
    assert not head.is_claimed
    assert [judgement.is_claimed for judgement in rest] == [False, False, False]
    assert judge(0.5, [0.003, 0.9, 0.9])[1][0].is_claimed
    assert judge(0.5, []) == (judge(0.5, [])[0], [])
    rng = np.random.default_rng(6)
    for _ in range(500):
        ps = rng.beta(0.2, 1, 5)
        head, rest = judge(float(ps[0]), ps[1:].tolist())
        assert head.is_claimed == (ps[0] <= head.level)
        for p, judgement in zip(ps[1:], rest, strict=True):
            assert judgement.is_claimed == (p <= judgement.level)


def test_a_family_keeps_its_level() -> None:
    """Whichever of six effects are real, one that isn't is claimed in 5% of 20,000 families at most."""
    rng = np.random.default_rng(7)
    n = 20_000
    for real in ((), (0,), (1, 2), (0, 1, 2)):
        wrong = 0
        ps = rng.random((n, 6))
        ps[:, list(real)] *= 0.01
        for row in ps:
            head, rest = judge(float(row[0]), row[1:].tolist())
            claimed = [head, *rest]
            wrong += any(claimed[i].is_claimed for i in range(6) if i not in real)
        assert wrong <= stats.binom.ppf(1 - 1e-4, n, ALPHA), real


def test_tally_of_nothing() -> None:
    """A table without values, or of a kind that nobody had, is nought."""
    its = table(counted("spring", {(1, False): (30, 3), (1, True): (10, 1)}), [setup(clusters={1: "low"})])
    assert not its.has_values("purchase")
    assert its.hits("install", False).sum() == 0
    assert Tally() == Tally(0, 0, 0, 0)
