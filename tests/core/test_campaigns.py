"""Campaigns in the registry: whatever steps a log holds, a campaign is what the last step that counted made it."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest
from authored import BY, defined
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.campaigns import Campaign
from memberstream.models.log_record import StepError, decode, encode
from memberstream.models.log_steps import (
    DeleteCampaign,
    PauseCampaign,
    Promote,
    Publish,
    ResumeCampaign,
    SetCampaign,
    Step,
)
from memberstream.models.registry import Registry
from memberstream.models.targeting import clusters_of, misfit, stranded
from memberstream.models.terms import WHOLE, Terms, primary_of, problem

OK = Terms("a", (1, 2))
DATES = st.none() | st.integers(0, 5)
TERMS = st.builds(
    Terms,
    st.sampled_from(["a", "b"]),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    DATES,
    DATES,
    st.integers(-1, WHOLE + 1),
)
set_ = partial(SetCampaign, "summer", **BY)
pause = partial(PauseCampaign, "summer", **BY)
resume = partial(ResumeCampaign, "summer", **BY)
delete = partial(DeleteCampaign, "summer", **BY)
IDS, NONE = st.sampled_from(["summer", "summer", "winter"]), st.none()
STEPS = st.lists(
    st.one_of(
        st.builds(
            partial(SetCampaign, **BY), IDS, NONE, st.sampled_from([OK, OK, Terms("a", (3,), holdout=1)]) | TERMS
        ),
        *[st.builds(partial(kind, **BY), IDS, NONE) for kind in (PauseCampaign, ResumeCampaign, DeleteCampaign)],
    ),
    max_size=30,
)


@given(STEPS, st.data())
def test_the_laws_hold_after_every_step(steps: list[Any], data: st.DataObject) -> None:
    """A step that doesn't count changes nothing and says what to do next; a campaign has the terms set last, is paused
    if paused last, and knows the step that made it so; two folds agree over the wire; models are left alone."""
    registry, second = Registry(), Registry()
    for offset, drawn in enumerate(steps):
        before = dict(registry.campaigns)
        found = before.get(drawn.campaign)
        right = None if found is None else found.offset
        taken = msgspec.structs.replace(drawn, seen=data.draw(st.sampled_from([right, right, right, 0, None])))
        why_not = registry.add(offset, taken)
        assert second.add(offset, decode(encode(taken))) == why_not
        assert registry == second
        assert (registry.history, registry.versions, registry.changed_at) == ([], {}, -1)
        if why_not:
            assert "Next: " in why_not
            assert registry.campaigns == before
            continue
        assert registry.campaign_history[-1] == taken
        assert taken.seen == right
        others = {name: campaign for name, campaign in before.items() if name != taken.campaign}
        after = registry.campaigns.get(taken.campaign)
        assert registry.campaigns == (others if after is None else others | {taken.campaign: after})
        if isinstance(taken, DeleteCampaign):
            assert after is None
            continue
        assert after is not None
        assert (after.id, after.offset) == (taken.campaign, offset)
        assert problem(after.id, after.terms) == ""
        if isinstance(taken, SetCampaign):
            assert after.terms == taken.terms
            assert after.is_paused == (found is not None and found.is_paused)
        else:
            assert found is not None
            assert (after.terms, after.is_paused) == (found.terms, isinstance(taken, PauseCampaign))


def test_an_id_that_is_none_is_refused_by_who_appends_and_by_who_reads() -> None:
    """The step doesn't count, which its author is told; found in the log, it is set aside."""
    taken = SetCampaign("Bad id", None, OK, **BY)
    assert "Next: " in Registry().add(0, taken)
    with pytest.raises(StepError, match="campaign's id"):
        decode(encode(taken))


def test_the_first_of_two_deciders_wins() -> None:
    """Two people change a campaign that both have seen: the second is told, also if it was deleted and made again."""
    registry = Registry()
    assert registry.add(0, set_(None, OK)) == ""
    assert registry.add(1, set_(0, Terms("a", (3,)))) == ""
    told = "summer: somebody else has just changed it. Next: look (campaign show) and try again"
    assert registry.add(2, pause(0)) == told
    assert registry.add(3, delete(1)) == ""
    assert registry.add(4, set_(None, OK)) == ""
    assert registry.add(5, delete(1)) == told
    assert registry.campaigns == {"summer": Campaign("summer", OK, 4)}


def test_what_is_done_already_is_told() -> None:
    """Pausing twice, resuming what isn't paused: somebody was wrong about what holds."""
    registry = Registry()
    told: list[tuple[Step, str]] = [
        (pause(None), "there is no campaign summer. Next: memberstream campaign list"),
        (set_(None, OK), ""),
        (resume(1), "summer is not paused. Next: nothing"),
        (pause(1), ""),
        (pause(3), "summer is paused already. Next: nothing"),
        (resume(3), ""),
    ]
    for offset, (taken, said) in enumerate(told):
        assert registry.add(offset, taken) == said


@pytest.mark.parametrize(
    ("campaign_id", "terms", "said"),
    [
        ("Summer", OK, "no campaign id"),
        ("x" * 65, OK, "no campaign id"),
        ("summer\n", OK, "no campaign id"),
        ("summer", Terms("a", ()), "expected clusters, each once, found []"),
        ("summer", Terms("a", (2, 1)), "expected clusters, each once, found [2, 1]"),
        ("summer", Terms("a", (1, 1)), "expected clusters, each once, found [1, 1]"),
        ("summer", Terms("a", (1,), 5, 5), "it would end before it begins"),
        ("summer", Terms("a", (1,), holdout=-1), "from 0% to 100%, found -0.01%"),
        ("summer", Terms("a", (1,), holdout=10_001), "from 0% to 100%, found 100.01%"),
        ("summer-sale_2", Terms("a", (1,), 5, 6, 10_000), ""),
        ("summer", Terms("a", (1,), window_ms=59_999), "expected windows from a minute to a year"),
        ("summer", Terms("a", (1,), windows={"click": 366 * 86_400_000}), "expected windows from a minute to a year"),
        ("summer", Terms("a", (1,), primary="click"), "members held out can't have 'click'"),
        ("summer", Terms("a", (1,), guardrails={"impression": 5}), "members held out can't have 'impression'"),
        ("summer", Terms("a", (1,), guardrails={"uninstall": 10_001}), "uninstall can't be a guardrail"),
        ("summer", Terms("a", (1,), primary="x", guardrails={"x": 1}), "x can't be a guardrail"),
        ("summer", Terms("a", (1,), winsorise=10_000), "expected a quantile from 50% to 99.99%"),
        ("summer", Terms("a", (1,), title="x" * 101), "expected a title of at most 100 printable characters"),
        ("summer", Terms("a", (1,), title="a\nb"), "expected a title of at most 100 printable characters"),
        ("summer", Terms("a", (1,), title="Sommer '26 ☀"), ""),
        ("summer", Terms("a", (1,), primary="x", guardrails={"y": 0}, windows={"x": 60_000}, winsorise=9_950), ""),
    ],
)
def test_what_is_no_campaign(campaign_id: str, terms: Terms, said: str) -> None:
    """Its id, its clusters, its dates, its holdout, or what it is to show."""
    found = problem(campaign_id, terms)
    assert said in found if said else found == ""


def test_by_what_a_campaign_is_judged() -> None:
    """As it says; otherwise by purchases, else by the first kind that members held out can do, too, if there is one."""
    kinds = ("impression", "click", "install", "purchase")
    assert [primary_of(OK, kinds[:n]) for n in (4, 3, 2)] == ["purchase", "install", None]
    guarded = Terms("a", (1,), guardrails={"purchase": 50})
    assert [primary_of(guarded, kinds), primary_of(guarded, ("purchase",))] == ["install", None]
    terms = Terms("a", (1,), primary="purchase", windows={"purchase": 60_000})
    assert primary_of(terms, kinds) == "purchase"
    assert (terms.window_of("purchase"), terms.window_of("install")) == (60_000, 7 * 86_400_000)


@pytest.mark.parametrize(
    ("campaign", "now_ms", "state"),
    [
        (Campaign("c", OK, 0), 0, "enabled"),
        (Campaign("c", OK, 0, True), 0, "paused"),
        (Campaign("c", Terms("a", (1,), 10, 20), 0), 9, "not begun"),
        (Campaign("c", Terms("a", (1,), 10, 20), 0), 10, "enabled"),
        (Campaign("c", Terms("a", (1,), 10, 20), 0), 19, "enabled"),
        (Campaign("c", Terms("a", (1,), 10, 20), 0), 20, "over"),
    ],
)
def test_what_it_is_at_a_time(campaign: Campaign, now_ms: int, state: str) -> None:
    """Visible from its first moment until before its last."""
    assert campaign.state_at(now_ms) == state


def test_campaigns_that_do_not_fit_the_models() -> None:
    """No live version, clusters that it lacks, clusters that a version to be promoted would lack."""
    registry = Registry()
    for version, clusters in ((1, "low medium high"), (2, "low medium")):
        names = dict(enumerate(clusters.split(), 1))
        registry.add(version, Publish("a", version, defined("a", version, names), **BY))
    assert "a has no live version; models that have one: none yet. Next: " in misfit(registry, "summer", OK)
    registry.add(3, Promote("a", 1, None, **BY))
    assert clusters_of(registry, "a", 1) == {1: "low", 2: "medium", 3: "high"}
    assert clusters_of(registry, "a", None) == clusters_of(registry, "a", 9) == {}
    assert misfit(registry, "summer", OK) == ""
    assert "b has no live version; models that have one: a. " in misfit(registry, "summer", Terms("b", (1,)))
    assert misfit(registry, "summer", Terms("a", (1, 4, 5))).startswith(
        "summer: a@1 has no cluster 4, 5; it has 1 low, 2 medium, 3 high. Next: "
    )
    registry.add(4, SetCampaign("top", None, Terms("a", (3,)), **BY))
    registry.add(5, SetCampaign("rest", None, Terms("a", (1, 2)), **BY))
    registry.add(6, SetCampaign("other", None, Terms("b", (3,)), **BY))
    registry.add(7, SetCampaign("odd", None, Terms("a", (2, 9)), **BY))  # lacks 9 already
    assert stranded(registry, "a", 2) == ["top"]
    assert stranded(registry, "a", 1) == []
