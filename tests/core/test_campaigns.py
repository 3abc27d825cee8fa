"""Campaigns in the registry: whatever steps a log holds, a campaign is what the last step that counted made it."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.campaigns import WHOLE, Campaign, CampaignAction, Terms, problem
from models.registry import Registry, Step, decode, encode
from models.targeting import clusters_of, misfit, stranded

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
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(get_args(CampaignAction)),
        st.sampled_from(["summer", "summer", "winter", "Bad id"]),
        st.just(0),
        st.integers(0, 50),
        st.just("somebody"),
        terms=st.sampled_from([OK, OK, Terms("a", (3,), holdout=1)]) | st.none() | TERMS,
    ),
    max_size=30,
)


def step(action: CampaignAction, replaces: int | None, terms: Terms | None = None, name: str = "summer") -> Step:
    return Step(action, name, 0, 1, "somebody", replaces=replaces, terms=terms)


@given(STEPS, st.data())
def test_the_laws_hold_after_every_step(steps: list[Step], data: st.DataObject) -> None:
    """A step that doesn't count changes nothing and says what to do next; a campaign has the terms set last, is paused
    if paused last, and knows the step that made it so; two folds agree over the wire; models are left alone."""
    registry, second = Registry(), Registry()
    for offset, drawn in enumerate(steps):
        before = dict(registry.campaigns)
        found = before.get(drawn.name)
        right = None if found is None else found.offset
        taken = Step(
            drawn.action, drawn.name, 0, drawn.at_ms, drawn.actor, terms=drawn.terms,
            replaces=data.draw(st.sampled_from([right, right, right, 0, None])),
        )  # fmt: skip
        why_not = registry.add(offset, taken)
        assert second.add(offset, decode(encode(taken))) == why_not
        assert registry == second
        assert (registry.history, registry.versions, registry.changed_at) == ([], {}, -1)
        if why_not:
            assert "Next: " in why_not
            assert registry.campaigns == before
            continue
        assert registry.campaign_history[-1] == taken
        assert taken.replaces == right
        others = {name: campaign for name, campaign in before.items() if name != taken.name}
        after = registry.campaigns.get(taken.name)
        assert registry.campaigns == (others if after is None else others | {taken.name: after})
        if taken.action == "campaign_delete":
            assert after is None
            continue
        assert after is not None
        assert (after.id, after.offset) == (taken.name, offset)
        assert problem(after.id, after.terms) == ""
        if taken.action == "campaign_set":
            assert after.terms == taken.terms
            assert after.is_paused == (found is not None and found.is_paused)
        else:
            assert found is not None
            assert (after.terms, after.is_paused) == (found.terms, taken.action == "campaign_pause")


def test_the_first_of_two_deciders_wins() -> None:
    """Two people change a campaign that both have seen: the second is told, also if it was deleted and made again."""
    registry = Registry()
    assert registry.add(0, step("campaign_set", None, OK)) == ""
    assert registry.add(1, step("campaign_set", 0, Terms("a", (3,)))) == ""
    told = "summer: somebody else has just changed it. Next: look (campaign show) and try again"
    assert registry.add(2, step("campaign_pause", 0)) == told
    assert registry.add(3, step("campaign_delete", 1)) == ""
    assert registry.add(4, step("campaign_set", None, OK)) == ""
    assert registry.add(5, step("campaign_delete", 1)) == told
    assert registry.campaigns == {"summer": Campaign("summer", OK, 4)}


def test_what_is_done_already_is_told() -> None:
    """Pausing twice, resuming what isn't paused: somebody was wrong about what holds."""
    registry = Registry()
    for offset, (taken, said) in enumerate([
        (step("campaign_pause", None), "there is no campaign summer. Next: memberstream campaign list"),
        (step("campaign_set", None, OK), ""),
        (step("campaign_resume", 1), "summer is not paused. Next: nothing"),
        (step("campaign_pause", 1), ""),
        (step("campaign_pause", 3), "summer is paused already. Next: nothing"),
        (step("campaign_resume", 3), ""),
    ]):  # fmt: skip
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
    ],
)
def test_what_is_no_campaign(campaign_id: str, terms: Terms, said: str) -> None:
    """Its id, its clusters, its dates or its holdout."""
    found = problem(campaign_id, terms)
    assert said in found if said else found == ""


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


def test_a_step_without_terms() -> None:
    """A set that sets nothing, as another version might write it."""
    assert "no terms. Next: update" in Registry().add(0, step("campaign_set", None))


def test_campaigns_that_do_not_fit_the_models() -> None:
    """No live version, clusters that it lacks, clusters that a version to be promoted would lack."""
    registry = Registry()
    for version, clusters in ((1, "low medium high"), (2, "low medium")):
        names = [{"id": i, "name": name} for i, name in enumerate(clusters.split(), 1)]
        registry.add(version, Step("publish", "a", version, 1, "x", definition={"clusters": names}))
    assert "a has no live version; models that have one: none yet. Next: " in misfit(registry, "summer", OK)
    registry.add(3, Step("promote", "a", 1, 1, "x"))
    assert clusters_of(registry, "a", 1) == {1: "low", 2: "medium", 3: "high"}
    assert clusters_of(registry, "a", None) == clusters_of(registry, "a", 9) == {}
    assert misfit(registry, "summer", OK) == ""
    assert "b has no live version; models that have one: a. " in misfit(registry, "summer", Terms("b", (1,)))
    assert misfit(registry, "summer", Terms("a", (1, 4, 5))).startswith(
        "summer: a@1 has no cluster 4, 5; it has 1 low, 2 medium, 3 high. Next: "
    )
    registry.add(4, step("campaign_set", None, Terms("a", (3,)), "top"))
    registry.add(5, step("campaign_set", None, Terms("a", (1, 2)), "rest"))
    registry.add(6, step("campaign_set", None, Terms("b", (3,)), "other"))
    registry.add(7, step("campaign_set", None, Terms("a", (2, 9)), "odd"))  # lacks 9 already
    assert stranded(registry, "a", 2) == ["top"]
    assert stranded(registry, "a", 1) == []
