"""Counts of which one knows what they mean, and what the report makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from readout.worlds import FIRST_DAY, World, counted

from models.campaigns import Terms
from models.counts import EXPOSED, SWITCHED, Cell, Tally
from models.registry import Registry, Step
from stream.readout.history import ReadoutError
from stream.readout.report import report
from stream.readout.setup import Setup, setup_of
from stream.readout.statistics import Share

SPRING = Setup("spring", "activity", {1: "low", 2: "medium", 3: "high"}, 0.1)


def test_rows_are_the_clusters_at_exposure() -> None:
    """Rates of those shown only; both versions of the model and all days together; switchers beside them."""
    counts = counted("spring", {(1, False): (900, 9), (1, True): (100, 3), (2, False): (500, 50), (2, True): (60, 4)})
    later = Cell("spring", "activity@2", 1, False, EXPOSED, FIRST_DAY + 3)
    counts |= {later: Tally(100, 300), later._replace(kind="click"): Tally(1, 2, 7.0, 29.0, 2)}
    counts |= {later._replace(kind=SWITCHED): Tally(12, 12), Cell("other", "x@1", 1, False, EXPOSED, 1): Tally(5, 5)}
    found = report(counts, [SPRING])
    assert [(row.name, row.shown, row.switched) for row in found.rows] == [
        ("1 low", Share(10, 1_000), 12),
        ("2 medium", Share(50, 500), 0),
    ]
    low, medium = found.rows
    assert (low.rate, medium.rate, found.total) == (0.01, 0.1, Share(60, 1_500))
    assert (low.mean, low.values.sum, low.events) == (3.5, 7.0, 11)
    assert low.effect is not None
    assert (low.effect.held_out, low.effect.difference) == (Share(3, 100), pytest.approx(-0.02))
    assert low.effect.relative == pytest.approx(-2 / 3)
    assert [(day.day, day.shown) for day in low.days] == [(FIRST_DAY, Share(9, 900)), (FIRST_DAY + 3, low.shown)]
    assert (found.versions, found.first_day, found.last_day) == (("activity@1", "activity@2"), FIRST_DAY, FIRST_DAY + 3)
    assert found.trend is None  # of two clusters it says what the test of difference says


def test_the_kind_that_is_asked_for() -> None:
    """The most frequent one unless said; one that nobody had is a rate of nought; impressions are what rates are of."""
    counts = counted("spring", {(1, False): (900, 9)}) | counted("spring", {(1, False): (900, 30)}, "install")
    impressions = Cell("spring", "activity@1", 1, False, "impression", FIRST_DAY)
    counts[impressions] = Tally(900, 2_000)
    assert (report(counts, [SPRING]).kind, report(counts, [SPRING]).kinds) == ("install", {"install": 30, "click": 9})
    assert report(counts, [SPRING], "click").rows[0].shown == Share(9, 900)
    assert report(counts, [SPRING], "purchase").rows[0].rate == 0
    for kind in ("impression", EXPOSED, SWITCHED):
        with pytest.raises(ReadoutError, match="Next: one of install, click"):
            report(counts, [SPRING], kind)


def test_nothing_to_report() -> None:
    """Nobody exposed; nobody did anything; counts that contradict one another: each says what to do."""
    with pytest.raises(ReadoutError, match=r"spring: no impression is counted yet\. Next: "):
        report({}, [SPRING])
    shown = {Cell("spring", "activity@1", 1, False, EXPOSED, FIRST_DAY): Tally(5, 5)}
    with pytest.raises(ReadoutError, match=r"only impressions are counted yet\. Next: "):
        report(shown, [SPRING])
    with pytest.raises(ReadoutError, match=r"spring, cluster 1: 7 members of 5 exposed\. Next: "):
        report(counted("spring", {(1, False): (5, 7)}), [SPRING])


def test_several_campaigns_side_by_side() -> None:
    """A split: each campaign's own cluster, in the clusters' order, with the trend over them."""
    setups = [Setup(f"spring-{name}", "activity", {c: name}, 0.1) for c, name in ((3, "high"), (1, "low"), (2, "mid"))]
    counts = {}
    for setup, hits in zip(setups, (90, 10, 30), strict=True):
        [cluster] = setup.clusters
        counts |= counted(setup.id, {(cluster, False): (900, hits), (cluster, True): (100, 5)})
    found = report(counts, setups)
    assert [row.name for row in found.rows] == ["spring-low: 1 low", "spring-mid: 2 mid", "spring-high: 3 high"]
    assert found.trend is not None
    assert found.trend.p < 1e-6
    assert [check.campaign for check in found.checks] == ["spring-high", "spring-low", "spring-mid"]
    counts |= counted("autumn", {(1, False): (50, 1), (3, False): (40, 4)})
    twice = report(counts, [*setups, Setup("autumn", "activity", {1: "low", 3: "high"})])
    assert [row.cluster for row in twice.rows] == [3, 1, 2, 1, 3]
    assert twice.trend is None


def test_strays_are_told_of() -> None:
    """Members who were shown it in a cluster that it isn't for are in no row."""
    counts = counted("spring", {(1, False): (900, 9), (7, False): (40, 40), (7, True): (2, 0)})
    found = report(counts, [SPRING])
    assert ([row.cluster for row in found.rows], found.strays) == ([1], {"spring": 42})


def test_the_holdout_that_was_meant() -> None:
    """Counted from the first whole day of the present holdout on; without one there is nothing to check, unless
    somebody is held out all the same."""
    counts = counted("spring", {(1, False): (500, 9), (1, True): (500, 3)})
    for is_held_out, n in ((False, 900), (True, 100)):
        counts[Cell("spring", "activity@1", 1, is_held_out, EXPOSED, FIRST_DAY + 2)] = Tally(n, n)
    [check] = report(counts, [SPRING]).checks
    assert check.is_broken
    since = Setup("spring", "activity", SPRING.clusters, 0.1, FIRST_DAY + 1)
    [check] = report(counts, [since]).checks
    assert (check.held_out, check.n, check.p, check.is_broken) == (100, 1_000, 1.0, False)
    [check] = report(counts, [Setup("spring", "activity", {1: "low"})]).checks
    assert check.p == 0
    assert report(counted("spring", {(1, False): (500, 9)}), [Setup("spring", "activity", {1: "low"})]).checks == ()


def test_members_still_needed() -> None:
    """For the difference that is stated, else for a tenth of the rate; none once there are enough."""
    counts = counted("spring", {(1, False): (9_000, 450), (1, True): (1_000, 50)})
    found = report(counts, [SPRING])
    assert found.see == pytest.approx(0.005)
    [row] = found.rows
    assert row.effect is not None
    assert row.more is not None
    assert row.effect.more is not None
    assert 20_000 < row.more < 25_000  # 31,234 a group by the usual formula, less those there are
    assert row.effect.more > 100_000  # one in ten held out: it takes many more
    [row] = report(counts, [SPRING], see=0.05).rows
    assert row.effect is not None
    assert (row.more, row.effect.more) == (0, 0)


def test_order_does_not_matter() -> None:
    """The same cells in another order give the same report."""
    world = World(members=500)
    counts = world.counts(np.random.default_rng(1))
    assert report(dict(reversed(list(counts.items()))), [world.setup()]) == report(counts, [world.setup()])


def test_a_setup_from_the_log() -> None:
    """The last terms, also of a deleted campaign; a changed holdout counts from the day after."""
    registry = Registry()
    day_ms = 86_400_000
    clusters = [{"id": 1, "name": "low"}, {"id": 2, "name": "high"}]
    steps = [
        Step("publish", "activity", 1, 0, "me", definition={"clusters": clusters}),
        Step("promote", "activity", 1, 0, "me"),
        Step("campaign_set", "spring", 0, 5 * day_ms, "me", terms=Terms("activity", (1,), holdout=1_000)),
    ]
    for offset, step in enumerate(steps):
        assert registry.add(offset, step) == ""
    assert setup_of(registry, "autumn") is None
    assert setup_of(registry, "spring") == Setup("spring", "activity", {1: "low"}, 0.1, None)
    more = [
        Step(
            "campaign_set", "spring", 0, 7 * day_ms + 1, "me", replaces=2, terms=Terms("activity", (1, 2), holdout=500)
        ),
        Step("campaign_pause", "spring", 0, 9 * day_ms, "me", replaces=3),
        Step("campaign_set", "spring", 0, 9 * day_ms, "me", replaces=4, terms=Terms("activity", (1, 9), holdout=500)),
        Step("campaign_delete", "spring", 0, 9 * day_ms, "me", replaces=5),
    ]
    for offset, step in enumerate(more, start=3):
        assert registry.add(offset, step) == ""
    assert setup_of(registry, "spring") == Setup("spring", "activity", {1: "low", 9: ""}, 0.05, 8)


def test_another_model_under_the_same_id() -> None:
    """A campaign that went over to another model: clusters of the former are others, though called 1 as well."""
    counts = counted("spring", {(1, False): (900, 9)})
    old = {cell._replace(version="loyalty@3"): tally for cell, tally in counts.items()}
    found = report(counts | old, [SPRING])
    assert ([row.shown for row in found.rows], found.strays) == ([Share(9, 900)], {"spring": 900})
    assert found.versions == ("activity@1",)


def test_no_effect_across_a_changed_holdout() -> None:
    """First nobody was held out and 10% clicked, later half were and 2% did, shown or not: no effect is there, yet the
    rates of all shown and all held out differ. So none is told, by day neither."""
    counts = counted("spring", {(1, False): (1_000, 100)})
    for is_held_out in (False, True):
        cell = Cell("spring", "activity@1", 1, is_held_out, EXPOSED, FIRST_DAY + 2)
        counts |= {cell: Tally(1_000, 1_000), cell._replace(kind="click"): Tally(20, 20)}
    setup = Setup("spring", "activity", {1: "low"}, 0.5, FIRST_DAY + 2)
    found = report(counts, [setup])
    assert found.changed == {"spring": FIRST_DAY + 2}
    assert found.rows[0].effect is None
    assert [day.difference for day in found.rows[0].days] == [None, None]
    assert [(check.held_out, check.n) for check in found.checks] == [(1_000, 2_000)]
    before = report(counts, [Setup("spring", "activity", {1: "low"}, 0.5, FIRST_DAY)])
    assert before.changed == {}  # changed before anybody met it: nothing is mixed
    assert before.rows[0].effect is not None


def test_what_no_number_of_members_shows() -> None:
    """Nobody shown did anything, so a tenth of the rate is nothing; and differences too fine for all of mankind."""
    counts = counted("spring", {(1, False): (50, 0), (1, True): (20, 5)})
    for see in (None, 1e-300, 1e-6, -0.5):
        [row] = report(counts, [SPRING], "click", see).rows
        assert row.effect is not None
        assert (row.more, row.effect.more) == (None, None)
    counts = counted("spring", {(1, False): (10**9, 10), (1, True): (1, 0)})
    [row] = report(counts, [SPRING]).rows
    assert (row.more, row.effect.more if row.effect else 0) == (None, None)
