"""Counts of which one knows what they mean, and what the report makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from authored import BY, defined
from readout.worlds import BEGIN_MS, FIRST_DAY, KINDS, World, counted, reported, setup, with_values

from memberstream.models.counts import EXPOSED, LATE, NO_CLUSTER, SWITCHED, UNATTRIBUTED, Cell, Tally
from memberstream.models.log_steps import Authorship, DeleteCampaign, Promote, Publish, SetCampaign, Step
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.readout.compared import Cut
from memberstream.stream.readout.courses import ReadoutError
from memberstream.stream.readout.finding import Guard, Status, told_of
from memberstream.stream.readout.setup import family_of, setup_of
from memberstream.stream.readout.statistics import Share
from memberstream.stream.readout.summary import sentences

SPRING = setup(holdout=0.1)
#: Enough to claim an effect in a single cluster: 10% against 5%.
WORKS = {(1, False): (9_000, 900), (1, True): (1_000, 50)}
LOW = setup(clusters={1: "low"}, holdout=0.1)


def test_rows_are_the_clusters_at_exposure() -> None:
    """Rates of those shown only; both versions of the model and all days together; switchers beside them."""
    counts = counted("spring", {(1, False): (900, 9), (1, True): (100, 3), (2, False): (500, 50), (2, True): (60, 4)})
    later = Cell("spring", BEGIN_MS, "activity@2", 1, False, EXPOSED, FIRST_DAY + 3)
    counts |= {later: Tally(100, 300), later._replace(kind="purchase", size=3): Tally(1, 2)}
    counts |= {later._replace(kind=SWITCHED): Tally(12, 0), later._replace(campaign="other"): Tally(5, 5)}
    found = reported(counts, SPRING)
    assert [(row.name, row.shown, row.n_held_out, row.switched) for row in found.rows] == [
        ("1 low", Share(10, 1_000), 100, 12),
        ("2 medium", Share(50, 500), 60, 0),
    ]
    low, medium = found.rows
    assert (low.rate, medium.rate, found.total, low.events) == (0.01, 0.1, Share(60, 1_500), 11)
    [part] = found.parts
    assert [(its.cluster, its.effect.n_shown, its.effect.n_held_out) for its in part.clusters] == [
        (1, 1_000, 100),
        (2, 500, 60),
    ]
    assert low.effect is not None
    assert low.effect.difference == pytest.approx(0.01 - 0.03)
    assert [look.day for look in part.looks] == [FIRST_DAY, FIRST_DAY + 3]
    assert (found.versions, found.first_day, found.last_day) == (("activity@1", "activity@2"), FIRST_DAY, FIRST_DAY + 3)
    assert found.trend is None  # of two clusters it says what the test of difference says


def test_a_row_whose_members_are_all_held_out() -> None:
    """It is there, without a rate and without an effect; the others are told as ever."""
    found = reported(counted("spring", WORKS | {(2, True): (90, 9)}), SPRING, although_broken=True)
    low, medium = found.rows
    assert (medium.shown, medium.n_held_out, medium.rate, medium.interval, medium.effect) == (
        Share(0, 0),
        90,
        None,
        None,
        None,
    )
    assert low.effect is not None
    assert found.pairs == ()
    alone = reported(counted("spring", {(1, True): (90, 9)}), setup(clusters={1: "low"}, holdout=0.99))
    assert alone.total == Share(0, 0)
    assert alone.parts[0].finding.status is Status.UNTOLD


def test_the_kind_that_is_asked_for() -> None:
    """The primary one unless said; a declared one that nobody had is a rate of nought; a misspelt one is an error."""
    counts = counted("spring", WORKS) | counted("spring", {(1, False): (9_000, 2_000)}, "click")
    assert reported(counts, LOW).kind == "purchase"
    assert reported(counts, LOW).kinds == {"click": 2_000, "purchase": 900}
    click = reported(counts, LOW, kind="click")
    assert click.rows[0].shown == Share(2_000, 9_000)
    assert click.rows[0].effect is None
    assert click.parts[0].finding == reported(counts, LOW).parts[0].finding
    assert reported(counts, LOW, kind="install").rows[0].rate == 0
    undeclared = setup(clusters={1: "low"}, holdout=0.1, primary="")
    finding = reported(counts, undeclared).parts[0].finding
    assert (finding.kind, finding.status) == ("purchase", Status.WORKED)
    # One event of another kind flips nothing.
    installed = counts | {
        cell._replace(kind="install"): Tally(1, 1) for cell in counts if cell.kind == "purchase" and cell.is_held_out
    }
    assert reported(installed, undeclared).parts[0].finding.kind == "purchase"
    clicks = {cell: tally for cell, tally in counts.items() if cell.kind != "purchase"}
    assert reported(clicks, undeclared).kind == "click"
    assert reported(clicks, undeclared).parts[0].finding.kind == "purchase"
    for kind in ("bought", "impression", EXPOSED, SWITCHED):
        with pytest.raises(ReadoutError, match="Next: one of click, install, purchase"):
            reported(counts, LOW, kind=kind)
    autumn = setup("autumn", {1: "low"}, primary="install")
    with pytest.raises(ReadoutError, match="different kinds: install, purchase"):
        reported(counts | counted("autumn", WORKS), LOW, autumn)


def test_nothing_to_report() -> None:
    """Nobody exposed; counts that contradict one another: each says what to do."""
    with pytest.raises(ReadoutError, match=r"spring: no impression is counted yet\. Next: "):
        reported({}, SPRING)
    with pytest.raises(ReadoutError, match=r"counted yet \(by its terms it begins: spring on 2024-10-09\)\. Next: "):
        reported({}, setup(from_ms=BEGIN_MS + 5 * DAY_MS))
    with pytest.raises(ReadoutError, match="no impression is counted until that day yet"):
        reported(counted("spring", WORKS), SPRING, until=FIRST_DAY - 1)
    with pytest.raises(ReadoutError, match=r"spring, cluster 1: 7 members with purchase, of 5 exposed\. Next: "):
        reported(counted("spring", {(1, False): (5, 7)}), SPRING)
    lost = Cell("spring", BEGIN_MS, "activity@1", 1, False, "purchase", FIRST_DAY + 9)
    with pytest.raises(ReadoutError, match="1 member with purchase, of 0 exposed"):
        reported(counted("spring", WORKS) | {lost: Tally(1, 1)}, SPRING)


def test_one_finding_for_all() -> None:
    """It worked: claimed by the overall effect, at every look, with numbers held out, days and the share."""
    [part] = reported(counted("spring", WORKS), LOW).parts
    finding = part.finding
    assert (finding.status, finding.kind, finding.why) == (Status.WORKED, "purchase", "")
    assert (finding.first_day, finding.last_day, finding.holdouts) == (FIRST_DAY, FIRST_DAY, (0.1,))
    effect = finding.effect
    assert effect is not None
    assert effect.interval is not None
    assert (effect.n_shown, effect.n_held_out, effect.is_claimed, effect.is_broken) == (9_000, 1_000, True, False)
    assert effect.difference == pytest.approx(0.05)
    assert 0 < effect.interval.low < 0.05 < effect.interval.high
    assert effect.relative == pytest.approx(1.0)
    assert part.clusters[0].effect == effect  # of a single cluster it is the same hypothesis
    swapped = {(1, False): (9_000, 450), (1, True): (1_000, 100)}
    assert reported(counted("spring", swapped), LOW).parts[0].finding.status is Status.LOWERED
    told = told_of("spring", finding, 5, "ann")
    assert (told.status, told.difference, told.low) == ("worked", effect.difference, effect.interval.low)


def test_a_broken_holdout_tells_no_effect() -> None:
    """Nowhere in the report, however large it is; only who says so gets it, marked in each place."""
    counts = counted("spring", {(1, False): (8_000, 800), (1, True): (2_000, 20), (2, False): (8_000, 800), (2, True): (2_000, 20)})  # fmt: skip  # noqa: E501
    plain = reported(counts, setup(clusters={1: "low", 2: "high"}, holdout=0.1, guardrails={"install": 50}))
    [part] = plain.parts
    assert (part.finding.status, part.finding.effect, part.clusters, part.others, part.looks) == (
        Status.BROKEN,
        None,
        (),
        (),
        (),
    )
    assert all(row.effect is None for row in plain.rows)
    told = told_of("spring", part.finding, 5, "ann")
    assert (told.status, told.difference) == ("can't be trusted", None)
    [part] = reported(counts, setup(clusters={1: "low", 2: "high"}, holdout=0.1), although_broken=True).parts
    assert part.finding.status is Status.BROKEN
    effects = [part.finding.effect, *(its.effect for its in part.clusters), *(other.effect for other in part.others)]
    assert len(effects) == 4
    assert all(effect is not None and effect.is_broken for effect in effects)


def test_what_a_loss_would_look_like() -> None:
    """60% against 63%: if one in twenty of a group were missing, all without a purchase, it would look the same.
    As long as that couldn't be seen no effect is claimed; with enough members it is."""
    for times, status in ((1, Status.NONE_YET), (40, Status.WORKED)):
        rows = {(1, False): (9_000 * times, 5_670 * times), (1, True): (9_000 * times, 5_400 * times)}
        [part] = reported(counted("spring", rows), setup(clusters={1: "low"}, holdout=0.5)).parts
        effect = part.finding.effect
        assert effect is not None
        assert effect.interval is not None
        assert effect.interval.low > 0
        assert effect.loss == pytest.approx(1 - 0.60 / 0.63)
        assert (part.finding.status, effect.is_claimed, effect.may_be_loss) == (status, times > 1, times == 1)
    assert part.finding.why == ""


@pytest.mark.parametrize(("what", "is_claimed", "may_be_repeats"), [
    ("events sent twice", False, True), ("larger baskets", True, False), ("more members who buy", True, False),
])  # fmt: skip
@pytest.mark.parametrize("is_held_out", [False, True])
def test_what_events_sent_twice_would_look_like(
    what: str, is_claimed: bool, may_be_repeats: bool, is_held_out: bool
) -> None:
    """With new ids, in one group only. They change no rate; an effect on values that they would explain isn't claimed,
    and the sentence says what is seen. Found: it was claimed in each simulated world of that kind."""
    rng = np.random.default_rng(5)
    counts: dict[Cell, Tally] = {}
    for group, n in ((False, 40_000), (True, 10_000)):
        is_other = group is is_held_out
        hits = n // (10 if is_other and what == "more members who buy" else 20)
        sums = rng.gamma(4.0, 3.0, hits) * (2 if is_other and what != "more members who buy" else 1)
        counts |= counted("spring", {(1, group): (n, 0)})
        cell = Cell("spring", BEGIN_MS, "activity@1", 1, group, "purchase", FIRST_DAY)
        with_values(counts, cell, sums.tolist())
        if is_other and what == "events sent twice":
            counts |= {its: t._replace(events=2 * t.members) for its, t in counts.items() if its[:6] == cell[:6]}
    found = reported(counts, setup(clusters={1: "low"}, holdout=0.2))
    [part] = found.parts
    assert part.finding.status.is_effect is (what == "more members who buy")
    [value] = [other for other in part.others if other.is_value]
    assert value.effect is not None
    assert value.effect.interval is not None
    assert value.effect.interval.excludes_zero()
    assert (value.effect.is_claimed, value.effect.may_be_repeats) == (is_claimed, may_be_repeats)
    assert value.times == ((1, 1) if is_claimed else (1, 2) if is_held_out else (2, 1))
    text = " ".join(sentences(found))
    assert ("It also" in text) is is_claimed
    assert (f"is {'lower' if is_held_out else 'higher'} by" in text) is may_be_repeats


def test_what_cannot_be_told() -> None:
    """Nobody to compare with, a kind that those held out can't have, several primary kinds: the reason is there."""
    shown = {(1, False): (900, 90)}
    cases = {
        "nobody was to be held out": (setup(holdout=0.0), counted("spring", shown)),
        "everybody was held out": (setup(holdout=1.0), counted("spring", {(1, True): (900, 90)})),
        "no member held out is counted yet": (setup(holdout=0.001), counted("spring", shown)),
        "no kind is declared": (replace(SPRING, primary=None), counted("spring", WORKS)),
    }
    for why, (its, counts) in cases.items():
        [part] = reported(counts, its, kind="click").parts
        assert (part.finding.status, part.finding.effect) == (Status.UNTOLD, None)
        assert part.finding.why.startswith(why), part.finding.why
    one, other = (
        setup(f"spring-{i}", {i: ""}, 0.1, split="spring", primary=kind)
        for i, kind in ((1, "purchase"), (2, "install"))
    )
    counts = counted("spring-1", WORKS) | counted("spring-2", {(2, False): (9_000, 900), (2, True): (1_000, 50)})
    [part] = reported(counts, one, other, kind="click").parts
    assert part.finding.why == "its campaigns are judged by different kinds (install, purchase)"
    for differing, why in (
        ({"guardrails": {"install": 50}}, "its campaigns have different guardrails"),
        ({"winsorise": 9_950}, "sums of its campaigns are cut at different quantiles"),
    ):
        other = setup("spring-2", {2: ""}, 0.1, split="spring", **differing)
        [part] = reported(counts, one, other).parts
        assert (part.finding.status, part.finding.why, part.others) == (Status.UNTOLD, why, ())
    [early] = reported(counted("spring", {(1, False): (900, 90), (1, True): (100, 9)}), LOW).parts
    assert early.finding.status is Status.NONE_YET
    assert early.finding.why.startswith("it is too early")
    assert early.finding.detectable is None


def test_rolling_out_keeps_what_was_found() -> None:
    """After ten days the holdout is lifted. Members whose week wasn't over by then aren't compared, those before are;
    whatever happens later changes nothing of that."""
    counts: dict[Cell, Tally] = {}
    for day in range(10):
        counts |= counted("spring", {(1, False): (1_800, 180), (1, True): (200, 10)}, day=day)
    before = setup(clusters={1: "low"}, holdout=0.1)
    after = setup(clusters={1: "low"}, holdout=0.1, changes=[(10, 0.0)])
    rolled_out = counts | counted("spring", {(1, False): (9_000, 9_000)}, day=11, period=BEGIN_MS + 10 * DAY_MS)
    [part] = reported(rolled_out, after).parts
    assert part.finding.status is Status.WORKED
    assert (part.finding.first_day, part.finding.last_day) == (FIRST_DAY, FIRST_DAY + 2)
    assert part.cuts == (Cut("spring", FIRST_DAY + 3, FIRST_DAY + 10, 0.0),)
    [then] = reported(counts, before, until=FIRST_DAY + 2).parts
    assert part.finding == then.finding
    [short] = reported(counts, setup(clusters={1: "low"}, holdout=0.1, changes=[(5, 0.0)])).parts
    assert short.finding.why == "the holdout was changed before the windows of those exposed until then were over"
    [own] = reported(
        counts, setup(clusters={1: "low"}, holdout=0.1, changes=[(5, 0.0)], windows={"purchase": DAY_MS})
    ).parts
    assert own.finding.last_day == FIRST_DAY + 3


def test_periods_of_other_shares_are_strata() -> None:
    """10% held out, then half: pooled, the calendar would look like an effect. Stratum by stratum there is none."""
    changed = setup(clusters={1: "low"}, holdout=0.1, changes=[(20, 0.5)])
    counts = counted("spring", {(1, False): (90_000, 9_000), (1, True): (10_000, 1_000)})
    counts |= counted(
        "spring", {(1, False): (50_000, 500), (1, True): (50_000, 500)}, day=21, period=BEGIN_MS + 20 * DAY_MS
    )
    [part] = reported(counts, changed).parts
    assert part.finding.holdouts == (0.1, 0.5)
    assert part.finding.effect is not None
    assert part.finding.effect.difference == pytest.approx(0)
    assert part.check is not None
    assert not part.check.is_broken


def test_several_campaigns_side_by_side() -> None:
    """A split is one family, whichever way it is asked for; other campaigns are families of their own."""
    setups = [setup(f"spring-{n}", {c: n}, 0.1, split="spring") for c, n in ((3, "high"), (1, "low"), (2, "mid"))]
    counts: dict[Cell, Tally] = {}
    for its, hits in zip(setups, (90, 10, 30), strict=True):
        [cluster] = its.clusters
        counts |= counted(its.id, {(cluster, False): (900, hits), (cluster, True): (100, 5)})
    found = reported(counts, *setups)
    assert [row.name for row in found.rows] == ["spring-low: 1 low", "spring-mid: 2 mid", "spring-high: 3 high"]
    assert found.trend is not None
    assert found.trend.p < 1e-6
    [part] = found.parts
    assert (part.name, part.campaigns) == ("spring", ("spring-high", "spring-low", "spring-mid"))
    assert len(part.clusters) == 3
    counts |= counted("autumn", {(1, False): (50, 1), (3, False): (40, 4)})
    twice = reported(counts, *setups, setup("autumn", {1: "low", 3: "high"}, 0.0))
    assert [row.cluster for row in twice.rows] == [3, 1, 2, 1, 3]
    assert twice.trend is None
    assert [its.name for its in twice.parts] == ["spring", "autumn"]
    assert twice.parts[0] == part


def test_strays_are_told_of() -> None:
    """Members exposed in a cluster that it isn't for, or in a period of another model, are in no row."""
    counts = counted("spring", WORKS | {(7, False): (40, 40), (7, True): (2, 0)})
    counts |= counted("spring", {(1, False): (3, 0)}, period=BEGIN_MS - 5)
    found = reported(counts, LOW)
    assert ([row.cluster for row in found.rows], found.strays) == ([1], {"spring": 45})


def test_values_and_guardrails() -> None:
    """What a member's values add up to, zeros included, cut where declared; a guardrail by its margin."""
    rng = np.random.default_rng(1)
    counts = counted("spring", {(1, False): (10_000, 0), (1, True): (10_000, 0)})
    for is_held_out, n, mean in ((False, 1_500, 30.0), (True, 1_000, 30.0)):
        cell = Cell("spring", BEGIN_MS, "activity@1", 1, is_held_out, "purchase", FIRST_DAY)
        with_values(counts, cell, rng.gamma(4, mean / 4, n).tolist())
        counts[cell._replace(kind="install")] = Tally(1_000 + 20 * (not is_held_out), 1_020)
    for margin, guard in ((300, Guard.HELD), (0, Guard.OPEN)):
        its = setup(clusters={1: "low"}, holdout=0.5, guardrails={"install": margin}, winsorise=9_950)
        found = reported(counts, its)
        install, value = found.parts[0].others
        assert (install.kind, install.is_value, install.margin, install.guard) == (
            "install",
            False,
            margin / 10_000,
            guard,
        )
        assert (value.kind, value.is_value, value.guard) == ("purchase", True, None)
        assert value.cap is not None
        assert value.effect is not None
        assert value.effect.is_claimed
        assert value.effect.difference == pytest.approx(1.5, abs=0.3)
        assert found.rows[0].mean == pytest.approx(4.5, abs=0.2)
        assert found.rows[0].mean_interval is not None
    for is_held_out in (False, True):
        cell = Cell("spring", BEGIN_MS, "activity@1", 1, is_held_out, "install", FIRST_DAY)
        counts[cell] = Tally(500 if is_held_out else 2_500, 1)
    its = setup(clusters={1: "low"}, holdout=0.5, guardrails={"install": 50})
    assert reported(counts, its).parts[0].others[0].guard is Guard.BROKEN
    nothing_left = setup(clusters={1: "low"}, holdout=0.5, winsorise=5_000)
    assert [other.is_value for other in reported(counts, nothing_left).parts[0].others] == [False]


def test_health_says_what_it_does_to_the_conclusion() -> None:
    """By campaign and cluster, as a share of the impressions there; none where nothing is wrong."""
    counts = counted("spring", WORKS)
    late = Cell("spring", BEGIN_MS, "activity@1", 1, False, LATE, FIRST_DAY)
    counts[late] = Tally(events=90)
    counts[late._replace(kind=UNATTRIBUTED, cluster=NO_CLUSTER, version="-")] = Tally(events=7)
    counts[late._replace(kind="!not_targeted", is_held_out=True)] = Tally(events=3)
    counts[late._replace(kind="!brand_new")] = Tally(events=1)
    counts[late._replace(kind="!too_late", day=FIRST_DAY + 9)] = Tally(events=1)
    found = {fault.kind: fault for fault in reported(counts, LOW, until=FIRST_DAY).faults}
    assert set(found) == {"late", "unattributed", "not_targeted", "brand_new"}
    assert (found["late"].shown, found["late"].held_out, found["late"].share) == (90, 0, 90 / 10_000)
    assert "nothing is lost" in found["late"].so
    assert (found["unattributed"].cluster, found["unattributed"].share) == (None, None)
    assert found["not_targeted"].held_out == 3
    assert reported(counted("spring", WORKS), LOW).faults == ()


def set_spring(
    day: int, holdout: int, clusters: tuple[int, ...] = (1,), model: str = "activity", **terms: object
) -> SetCampaign:
    return SetCampaign("spring", None, Terms(model, clusters, holdout=holdout, **terms), **at(day))  # type: ignore[arg-type]


def at(day: int) -> Authorship:
    return Authorship(at_ms=day * DAY_MS + 5_000, actor="me", reason="", forced=False)


def replayed(*steps: Step) -> Registry:
    registry = Registry()
    for offset, step in enumerate(steps):
        seen = registry.campaigns.get("spring")
        if isinstance(step, SetCampaign | DeleteCampaign):
            step = step.__class__(
                **{name: getattr(step, name) for name in step.__struct_fields__}
                | {"seen": None if seen is None else seen.offset}
            )
        assert registry.add(offset, step) == ""
    return registry


def test_setups_from_the_log() -> None:
    """Periods under the model that it has now, names of clusters, the primary kind; of a deleted one the last."""
    published = (
        Publish("activity", 1, defined("activity", 1, {1: "low", 2: "high"}), **BY),
        Promote("activity", 1, None, **BY),
    )
    registry = replayed(*published, set_spring(100, 1_000), set_spring(110, 0, (1, 2), title="Spring sale"))
    found = setup_of(registry, "spring", KINDS)
    assert found is not None
    assert (found.clusters, found.primary, found.name, found.family) == (
        {1: "low", 2: "high"},
        "purchase",
        "Spring sale (spring)",
        "spring",
    )
    assert [period.terms.holdout for period in found.periods] == [1_000, 0]
    assert setup_of(registry, "autumn", KINDS) is None
    gone = replayed(*published, set_spring(100, 1_000), DeleteCampaign("spring", None, **at(105)))
    assert setup_of(gone, "spring", ("click",)) is not None
    other = replayed(*published, set_spring(100, 1_000, (9,), "other"), set_spring(110, 1_000))
    found = setup_of(other, "spring", KINDS)
    assert found is not None
    assert [period.terms.model for period in found.periods] == ["activity"]


def test_a_holdout_that_was_changed_under_another_model() -> None:
    """Who was held out was shown the campaign in between, so members whose windows weren't over aren't compared."""
    steps = (set_spring(100, 1_000), set_spring(110, 0, (9,), "other"), set_spring(120, 1_000))
    found = setup_of(replayed(*steps), "spring", KINDS)
    assert found is not None
    first, last = found.periods
    assert (first.terms.model, last.terms.model, set(found.clusters)) == ("activity", "activity", {1})
    assert (found.last_day(first, "purchase"), found.last_day(last, "purchase")) == (102, None)


def test_a_split_comes_together() -> None:
    """Whoever names one campaign of a split gets them all; another one stays alone; unknown ones stay, to be told."""
    registry = Registry()
    for offset, (name, split) in enumerate((("s-low", "s"), ("s-high", "s"), ("t", ""))):
        step = SetCampaign(name, None, Terms("activity", (1,), split=split), **at(100))
        assert registry.add(offset, step) == ""
    assert family_of(registry, ["s-low"]) == ["s-high", "s-low"]
    assert family_of(registry, ["t", "s-high", "s-low", "nobody"]) == ["t", "s-high", "s-low", "nobody"]


def test_a_known_world() -> None:
    """Three clusters, two weeks: the effect in the third is found, and the finding rests on all days."""
    world = World()
    found = reported(world.counts(np.random.default_rng(1)), world.setup())
    [part] = found.parts
    assert part.finding.status is Status.WORKED
    assert len(part.looks) == world.days
    last = part.looks[-1]
    assert part.finding.effect is not None
    assert (last.difference, last.interval) == (part.finding.effect.difference, part.finding.effect.interval)
    assert [its.effect.is_claimed for its in part.clusters] == [False, False, True]
    assert found.differ is not None
    assert found.differ.p < 1e-6
