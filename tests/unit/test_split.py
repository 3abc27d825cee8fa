"""What the parts of a split are called, and which terms they get."""

from __future__ import annotations

from typing import Any

import pytest
from authored import BY, defined
from typer.testing import CliRunner

from memberstream.models.campaigns import Campaign
from memberstream.models.log_steps import Promote, Publish, SetCampaign
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms
from memberstream.stream.authoring.campaigning import Campaigning, split_ids
from memberstream.stream.cli.campaign import split as split_command
from memberstream.stream.cli.main import app
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.terminal.output import error_text


def registry(*names: str) -> Registry:
    """A registry with one live model whose clusters have these names, numbered from 1."""
    found = Registry()
    clusters = dict(reversed(list(enumerate(names, 1))))
    found.add(0, Publish("activity", 1, defined("activity", 1, clusters), **BY))
    found.add(1, Promote("activity", 1, None, **BY))
    return found


def test_parts_are_named_after_clusters() -> None:
    """In an id's letters, by cluster; by number where the names are alike in these letters, or have none of them."""
    assert split_ids(registry("low", "Very High!"), "spring", "activity") == {"spring-low": 1, "spring-very-high": 2}
    for names in (("A b", "a_b", "a-b"), ("low", "高い")):
        expected = {f"spring-{i}": i for i in range(1, len(names) + 1)}
        assert split_ids(registry(*names), "spring", "activity") == expected


class Steps(Campaigning):
    """Stands for the models' log in Kafka: two clusters; one campaign may be there already."""

    def __init__(self) -> None:
        self.log = registry("low", "high")
        self.set_: dict[str, Terms] = {}

    async def registry(self) -> Registry:
        return self.log

    async def set(self, campaign_id: str, terms: Terms, **_: Any) -> Campaign:
        seen = self.log.campaigns.get(campaign_id)
        step = SetCampaign(campaign_id, None if seen is None else seen.offset, terms, **BY)
        assert self.log.add(len(self.log.history) + len(self.log.campaign_history), step) == ""
        self.set_[campaign_id] = terms
        return self.log.campaigns[campaign_id]


def test_goals_are_those_of_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is said goes into each campaign. Again nothing is set, except what was set before splits were told."""
    steps = Steps()
    monkeypatch.setattr(split_command, "campaigning_by_user", lambda: steps)
    goals = ["--window", "purchase=14d", "--primary", "purchase", "--guardrail", "install=0.5%"]
    goals += ["--winsorise", "99.5%", "--title", "Spring sale"]

    def split(*more: str) -> str:
        result = CliRunner().invoke(app, ["campaign", "split", "s", "--model", "activity", "--holdout", "10%", *more])
        return result.stdout + result.stderr

    assert "set 2 of 2" in split(*goals)
    expected = {
        "windows": {"purchase": 14 * 86_400_000},
        "primary": "purchase",
        "guardrails": {"install": 50},
        "winsorise": 9_950,
        "title": "Spring sale",
        "split": "s",
        "holdout": 1_000,
    }
    assert steps.set_ == {f"s-{name}": Terms("activity", (i,), **expected) for i, name in ((1, "low"), (2, "high"))}  # type: ignore[arg-type]
    assert "set 0 of 2" in split(*goals)
    assert "s-low is there with other terms" in split()

    steps = Steps()
    old = SetCampaign("s-low", None, Terms("activity", (1,), holdout=1_000), **BY)
    assert steps.log.add(2, old) == ""
    assert "set 2 of 2" in split()
    assert [terms.split for terms in steps.set_.values()] == ["s", "s"]
    assert "set 0 of 2" in split()


async def test_an_error_says_how_many_are_set() -> None:
    """The first is set, the second isn't; the command sets the rest."""

    class Once(Steps):
        async def set(self, campaign_id: str, terms: Terms, **more: Any) -> Campaign:
            if self.set_:
                raise PublishError("it was paused. Next: wait")
            return await super().set(campaign_id, terms, **more)

    with pytest.raises(PublishError) as raised:
        await Once().split("s", "activity", {"model": "activity"})
    assert error_text(raised.value).splitlines() == [
        "it was paused. Next: wait", "set so far: 1 of 2 campaigns; s-high isn't. Next: again: it sets the rest",
    ]  # fmt: skip
