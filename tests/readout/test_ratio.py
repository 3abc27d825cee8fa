"""Was the share held out that was meant? Per cluster and day, at every look, with one verdict."""

from __future__ import annotations

import numpy as np
import pytest
from readout.worlds import FIRST_DAY, NAMES, counted, reported, setup
from scipy import stats

from memberstream.stream.readout.ratio import LEVEL, RatioCheck, Stratum, check, log_bet

DAYS = list(range(FIRST_DAY, FIRST_DAY + 30))


def drawn(
    rng: np.random.Generator, clusters: int, members: int, meant: float, lost_held_out: np.ndarray | float = 0.0
) -> RatioCheck:
    """A campaign of thirty days. `lost_held_out`: the share of those held out that is never counted, by day."""
    strata = []
    for cluster in range(clusters):
        n = rng.poisson(members / clusters / 30, 30)
        held_out = rng.binomial(n, meant)
        shown = n - held_out
        strata.append(Stratum(f"{cluster}", meant, shown, held_out - rng.binomial(held_out, lost_held_out)))
    found = check(strata, DAYS)
    assert found is not None
    return found


def test_a_bet_wins_nothing_on_average() -> None:
    """Over all outcomes of 60 members, each with its probability, the e-value's mean is 1."""
    for meant in (0.01, 0.2, 0.5):
        outcomes = np.arange(61)
        masses = stats.binom.pmf(outcomes, 60, meant)
        for weight in (60.0, 800.0):
            bets = np.exp(log_bet(outcomes, np.full(61, 60.0), meant, weight))
            assert float(masses @ bets) == pytest.approx(1, rel=1e-9)
            assert bets[0] > 0


def test_clusters_that_deviate_both_ways_are_not_one() -> None:
    """21.6% and 17.3% where 20% were meant: pooled they are fine. It is broken, by both."""
    counts = counted("spring", {(1, False): (7_840, 300), (1, True): (2_160, 80), (2, False): (8_270, 300), (2, True): (1_730, 80)})  # fmt: skip  # noqa: E501
    [part] = reported(counts, setup(clusters={1: "low", 2: "high"})).parts
    assert part.check is not None
    shares = {share.name: share for share in part.check.shares if share.day is None}
    assert not shares["all"].is_broken
    assert shares["2 high"].is_broken
    assert part.check.is_broken
    assert part.check.broken_by == FIRST_DAY
    assert part.check.p < 1e-6


def test_a_single_day_is_seen() -> None:
    """On the twentieth day none of those held out is counted, and the other days hide it: that day is named."""
    lost = np.zeros(30)
    lost[19] = 1.0
    found = drawn(np.random.default_rng(1), 1, 30_000, 0.2, lost)
    assert found.is_broken
    assert found.broken_by == DAYS[19]
    assert [share.day for share in found.shares if share.is_broken] == [DAYS[19]]


def test_what_was_broken_stays_broken() -> None:
    """A loss in the first days, and then sound ones for so long that the total looks fine again."""
    day = [np.zeros(300), np.zeros(300)]
    day[0][:], day[1][:] = 800, 200
    day[1][:3] = 100
    found = check([Stratum("one", 0.2, *day)], list(range(300)))
    assert found is not None
    assert found.is_broken
    assert found.broken_by is not None
    assert found.broken_by <= 3


def test_shares_of_several_periods_are_not_mixed() -> None:
    """10% held out, then 30%: each against its own; all of them together are fine."""
    sound = [Stratum("a", 0.1, np.array([9_000, 0]), np.array([1_000, 0])), Stratum("a", 0.3, np.array([0, 7_000]), np.array([0, 3_000]))]  # fmt: skip  # noqa: E501
    found = check(sound, [1, 2])
    assert found is not None
    assert not found.is_broken
    assert found.shares[0].meant == pytest.approx(0.2)
    assert check([Stratum("a", 0.0, np.array([9]), np.array([0]))], [1]) is None
    assert check([Stratum("a", 0.5, np.array([0]), np.array([0]))], [1]) is None


def test_what_it_cannot_see_is_said() -> None:
    """A loss up to the stated one wouldn't be seen, one a half larger would; the more members, the smaller it is."""
    unseen = []
    for n in (3_000, 30_000, 300_000):
        held_out = n // 5
        found = check([Stratum("one", 0.2, np.array([n - held_out]), np.array([held_out]))], [1])
        assert found is not None
        unseen.append(found.unseen)
        lost = round(held_out * (1 - 1.5 * found.unseen))
        worse = check([Stratum("one", 0.2, np.array([n - held_out]), np.array([lost]))], [1])
        assert worse is not None
        assert worse.is_broken
    assert unseen == sorted(unseen, reverse=True)
    assert unseen[0] > 0.1
    assert unseen[2] < 0.03


@pytest.mark.long
def test_sound_campaigns_are_hardly_ever_accused() -> None:
    """Of 1,200 sound campaigns, each looked at on 30 days, 1% at most; shares, sizes and clusters of all kinds."""
    rng = np.random.default_rng(2)
    accused = [
        drawn(rng, clusters, members, meant).is_broken
        for clusters in (1, 8)
        for meant in (0.01, 0.1, 0.5)
        for members in (3_000, 100_000)
        for _ in range(100)
    ]
    assert sum(accused) <= stats.binom.ppf(1 - 1e-4, len(accused), LEVEL)


@pytest.mark.long
@pytest.mark.parametrize(
    ("clusters", "members", "meant", "lost", "seen"),
    [
        (1, 100_000, 0.1, 0.02, (0.0, 0.2)),  # what the manual says that it can't see
        (1, 100_000, 0.1, 0.05, (0.7, 1.0)),
        (1, 1_000_000, 0.1, 0.02, (0.9, 1.0)),
        (1, 100_000, 0.5, 0.05, (0.98, 1.0)),
        (8, 30_000, 0.2, 0.2, (0.98, 1.0)),
    ],
)
def test_losses_are_seen_as_the_manual_says(
    clusters: int, members: int, meant: float, lost: float, seen: tuple[float, float]
) -> None:
    """How often a loss among those held out is found: docs/readout.md has these numbers."""
    rng = np.random.default_rng(3)
    found = np.mean([drawn(rng, clusters, members, meant, lost).is_broken for _ in range(100)])
    assert seen[0] <= found <= seen[1]


@pytest.mark.long
def test_one_cluster_loses_here_and_another_there() -> None:
    """Eight clusters, one losing 10% of those held out, another 10% of those shown: found in every campaign."""
    rng = np.random.default_rng(4)
    for _ in range(50):
        strata = []
        for cluster in range(len(NAMES) + 5):
            n = rng.poisson(50_000 / 30, 30)
            held_out = rng.binomial(n, 0.1)
            shown = n - held_out
            strata.append(
                Stratum(
                    str(cluster),
                    0.1,
                    shown - rng.binomial(shown, 0.1 * (cluster == 1)),
                    held_out - rng.binomial(held_out, 0.1 * (cluster == 0)),
                )
            )
        found = check(strata, DAYS)
        assert found is not None
        assert found.is_broken
