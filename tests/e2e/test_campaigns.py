"""Campaigns from the command line to look-ups, with a running worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from e2e.test_reading_commands import memberstream

from memberstream.models.model_file import parse
from memberstream.models.terms import Terms
from memberstream.stream.authoring.campaigning import Campaigning
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.authoring.steps import find
from memberstream.stream.lookup import AsyncLookup, Lookup
from memberstream.stream.lookup.holdout import is_held_out
from memberstream.stream.registry.refused import PublishError

IDS = [f"m{i}" for i in range(300)]
OF_CLUSTER = {1: "for-low", 2: "for-medium", 3: "for-high"}


def activity(version: int = 1, shift: float = 0.0, clusters: int = 3) -> dict[str, Any]:
    """Return a model of the document's number `x`, 0 to 2: clusters low, medium and high; a shift moves members up."""
    model = level(version, name="activity")
    model["model"] |= {"intercept": shift - 1.0, "thresholds": [0.4, 0.6][: clusters - 1]}
    names = ["low", "medium", "high"][:clusters]
    model["clusters"] = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    return model


@pytest.fixture
async def system(pair: Pair, install: Install) -> System:
    """A running worker with `activity@1` live and everybody scored; member `m<i>` is in cluster 1 + i % 3."""
    system = await install(pair, [activity()])
    system.start()
    await system.send([Sent(m.encode(), event("replace", document={"x": i % 3})) for i, m in enumerate(IDS)])
    await system.applied()
    return system


@pytest.fixture
def lookup(system: System) -> Iterator[Lookup]:
    """A client as a campaign service has one."""
    with Lookup(system.settings.redis_url) as client:
        yield client


async def three_campaigns(system: System) -> None:
    """One for each cluster, by id and by name."""
    for cluster, named in ((1, "1"), (2, "medium"), (3, "high")):
        command = ("campaign", "set", OF_CLUSTER[cluster], "--model", "activity", "--clusters", named)
        status, _, error = await memberstream(system, *command)
        assert status == 0, error


async def until(lookup: Lookup, expected: Sequence[tuple[str, ...]]) -> None:
    """Return when the members see this; a step is seen within the second, a busy machine may take some more."""
    give_up_at = time.monotonic() + 10
    while [seen.campaigns for seen in lookup.visible_many(IDS)] != list(expected):
        assert time.monotonic() < give_up_at, [seen.campaigns for seen in lookup.visible_many(IDS)][:6]
        await asyncio.sleep(0.05)


async def test_three_campaigns_for_three_clusters(system: System, lookup: Lookup) -> None:
    """Every member sees exactly the one of its cluster, by all ways to ask; what is paused or deleted nobody sees; an
    emptied Redis has the campaigns back with the members."""
    own = [(OF_CLUSTER[1 + i % 3],) for i in range(len(IDS))]
    await three_campaigns(system)
    await until(lookup, own)
    assert {seen.status for seen in lookup.visible_many(IDS)} == {"current"}
    assert [lookup.visible(m).campaigns for m in IDS[:6]] == own[:6]
    assert [lookup.is_visible("for-low", m) for m in IDS[:3]] == [True, False, False]
    async with AsyncLookup(system.settings.redis_url) as alookup:
        assert [seen.campaigns for seen in await alookup.visible_many(IDS)] == own
        found = await asyncio.gather(*[alookup.visible(m) for m in IDS])
        assert [seen.campaigns for seen in found] == own
        assert await alookup.is_visible("for-high", "m2")
    await asyncio.to_thread(lookup.get_patiently, "nobody")
    assert lookup.visible("nobody") == ((), (), "unknown member")

    assert (await memberstream(system, "campaign", "pause", "for-low"))[0] == 0
    await until(lookup, [seen if seen != ("for-low",) else () for seen in own])
    assert (await memberstream(system, "campaign", "resume", "for-low"))[0] == 0
    await until(lookup, own)
    system.redis.flushall()
    assert lookup.visible("m1").status != "current"
    await system.until(system.is_applied, "Redis to be whole again")
    await until(lookup, own)
    assert (await memberstream(system, "campaign", "delete", "for-low"))[0] == 0
    await until(lookup, [seen if seen != ("for-low",) else () for seen in own])


async def test_dates_and_holdouts(system: System, lookup: Lookup) -> None:
    """A campaign shows itself between its dates only; who is held out is who the hash says; `reach` counts so."""
    campaigning = Campaigning(system.settings, "author@notebook")
    now_ms = time.time_ns() // 1_000_000
    await campaigning.set("over", Terms("activity", (1, 2, 3), until_ms=now_ms - 1))
    await campaigning.set("to-come", Terms("activity", (1, 2, 3), from_ms=now_ms + 3_600_000))
    await campaigning.set("some", Terms("activity", (2, 3), from_ms=now_ms - 1, holdout=2_500))
    held = [i % 3 > 0 and is_held_out("some", m, 2_500) for i, m in enumerate(IDS)]
    await until(lookup, [("some",) if i % 3 and not held[i] else () for i in range(len(IDS))])
    assert [seen.held_out for seen in lookup.visible_many(IDS)] == [("some",) if h else () for h in held]

    status, out, _ = await memberstream(system, "campaign", "reach", "some", "--json")
    reached = orjson.loads(out)
    assert status == 0
    assert (reached["members"], reached["visible"], reached["held_out"]) == (300, 200 - sum(held), sum(held))
    assert reached["clusters"] == {
        str(cluster): {"visible": 100 - sum(held[cluster - 1 :: 3]), "held_out": sum(held[cluster - 1 :: 3])}
        for cluster in (2, 3)
    }
    assert (
        f"some: {200 - sum(held):,} of 300 members see it"
        in (await memberstream(system, "campaign", "reach", "some"))[1]
    )
    assert "nobody sees it now" in (await memberstream(system, "campaign", "reach", "to-come"))[1]


async def test_a_promotion_moves_members_at_once(system: System, lookup: Lookup) -> None:
    """While versions are promoted to and fro, a look-up over everybody shows each member exactly one of the three
    campaigns, and all members those of the same version; a version that lacks clusters of campaigns is refused."""
    await three_campaigns(system)
    publishing = Publishing(system.settings, "author@notebook")
    await publishing.publish(parse(activity(2, shift=1.0)))
    await publishing.publish(parse(activity(3, clusters=2)))
    async with asyncio.timeout(60):
        async for _ in publishing.wait(find(await publishing.registry(), "activity@3")):
            pass
    views = {
        1: [(OF_CLUSTER[1 + i % 3],) for i in range(len(IDS))],
        2: [(OF_CLUSTER[min(3, 2 + i % 3)],) for i in range(len(IDS))],
    }
    await until(lookup, views[1])
    seen: set[int] = set()
    done = asyncio.Event()

    async def hammer() -> None:
        async with AsyncLookup(system.settings.redis_url) as alookup:
            while not done.is_set():
                view = [visible.campaigns for visible in await alookup.visible_many(IDS)]
                [version] = [version for version, expected in views.items() if expected == view]
                seen.add(version)

    reader = asyncio.create_task(hammer())
    for i in range(21):
        await publishing.promote("activity", 2 - i % 2, force=True)
        if reader.done():
            break
    for _ in range(200):  # a client looks once a second
        if seen == {1, 2} or reader.done():
            break
        await asyncio.sleep(0.05)
    done.set()
    await reader
    assert seen == {1, 2}
    with pytest.raises(
        PublishError, match=r"activity@3 lacks clusters that campaigns name: for-high\. Next: .*--force"
    ):
        await publishing.promote("activity", 3)
    await publishing.promote("activity", 3, force=True)
    shown = orjson.loads((await memberstream(system, "campaign", "show", "for-high", "--json"))[1])
    assert "activity@3 has no cluster 3; it has 1 low, 2 medium" in shown["campaign"]["misfit"]


async def test_the_commands(system: System) -> None:
    """What isn't given stays; mistakes are told with what to do next; the history has everything."""

    async def campaign(*arguments: str) -> tuple[int, str, str]:
        return await memberstream(system, "campaign", *arguments)

    assert (await campaign("list"))[1].startswith("none yet. Next: ")
    for arguments, expected in (
        (("set", "summer", "--clusters", "2"), "summer is new. Next: say --model and --clusters"),
        (
            ("set", "Summer!", "--model", "activity", "--clusters", "2"),
            "no campaign id. Next: begin with a small letter",
        ),
        (
            ("set", "summer", "--model", "nothing", "--clusters", "2"),
            "nothing has no live version; models that have one: ",
        ),
        (("set", "summer", "--model", "activity", "--clusters", "2,7"), "no cluster 7; it has 1 low, 2 medium, 3 high"),
        (
            ("set", "summer", "--model", "activity", "--clusters", "top"),
            "has no cluster 'top'. Next: an id or a name of 1",
        ),
        (
            ("set", "summer", "--model", "activity", "--clusters", "2", "--holdout", "101%"),
            "from 0% to 100%, found 101%",
        ),
        (
            (
                "set",
                "summer",
                "--model",
                "activity",
                "--clusters",
                "2",
                "--from",
                "2030-01-02",
                "--until",
                "2030-01-02",
            ),
            "would end before it begins",
        ),
        (
            ("set", "summer", "--model", "activity", "--clusters", "2", "--from", "soon"),
            "--from soon: expected ISO 8601",
        ),
        (("pause", "summer"), "there is no campaign summer. Next: memberstream campaign list"),
        (("show", "summer"), "there is no campaign summer. Next: "),
        (("reach", "summer"), "there is no campaign summer. Next: "),
    ):
        status, _, error = await campaign(*arguments)
        assert (status, expected in error) == (1, True), error
    assert (await campaign("set", "summer", "--model", "activity", "--clusters", "2", "--holdout", "1.234%"))[0] == 2

    status, out, _ = await campaign(
        "set", "summer", "--model", "activity", "--clusters", "high,2", "--holdout", "2.5%", "--from", "2026-01-01",
        "--until", "2999-01-01", "--reason", "trial",
    )  # fmt: skip
    assert status == 0
    assert out == (
        "set summer: activity 2 medium + 3 high, from 2026-01-01T00:00:00Z, until 2999-01-01T00:00:00Z, "
        "2.5% held out; enabled\n"
    )
    assert (await campaign("pause", "summer"))[0] == 0
    assert "summer is paused already. Next: nothing" in (await campaign("pause", "summer"))[2]
    goals = ("--window", "12h", "--window", "purchase=14d", "--primary", "purchase", "--guardrail", "install=0.5%")
    status, out, _ = await campaign("set", "summer", "--clusters", "3", "--until", "none", *goals)
    assert status == 0
    assert "window 12h, of purchase 14d, judged by purchase, install up by at most 0.5 points; paused" in out
    assert (
        await campaign("set", "summer", "--window", "none", "--guardrail", "install=none", "--title", "Summer, at last")
    )[0] == 0
    [listed] = orjson.loads((await campaign("list", "--json"))[1])
    assert listed == {
        "id": "summer", "model": "activity", "clusters": [3], "from": "2026-01-01T00:00:00Z", "until": None,
        "holdout": 0.025, "state": "paused", "misfit": None, "window_ms": 7 * 86_400_000,
        "windows_ms": {"purchase": 14 * 86_400_000}, "primary": "purchase", "guardrails": {}, "winsorise": None,
        "title": "Summer, at last",
    }  # fmt: skip
    assert "summer    paused  activity  3 high" in (await campaign("list"))[1]
    assert (await campaign("delete", "summer"))[0] == 0
    assert (await campaign("set", "later", "--model", "nothing", "--clusters", "1", "--force"))[0] == 0
    _, out, error = await campaign("list")
    assert "later" in out
    assert "nothing has no live version" in error
    status, out, error = await campaign("reach", "later")
    assert (status, "nothing has no live version" in error) == (1, True)
    shown = orjson.loads((await campaign("show", "summer", "--json"))[1])
    assert shown["campaign"] is None
    assert [(step["action"], step["reason"]) for step in shown["history"]] == [
        ("set", "trial"), ("pause", ""), ("set", ""), ("set", ""), ("delete", ""),
    ]  # fmt: skip
    assert "summer is deleted" in (await campaign("show", "summer"))[1]
    status, out, _ = await campaign("visible", "m1")
    assert (status, out) == (0, "m1: current\n")
    assert (await campaign("visible", "nobody", "--json"))[0] == 1


async def test_a_split_is_a_campaign_for_each_cluster(system: System, lookup: Lookup) -> None:
    """Every member sees its cluster's, or is held out from it; asked again it makes what lacks and changes nothing."""
    command = ("campaign", "split", "spring", "--model", "activity", "--holdout", "20%")
    status, out, error = await memberstream(system, *command)
    assert (status, out) == (0, "set 3 of 3 campaigns: spring-low, spring-medium, spring-high\n"), error
    assert "memberstream campaign report spring-low spring-medium spring-high" in error
    own = [f"spring-{('low', 'medium', 'high')[i % 3]}" for i in range(len(IDS))]
    shown = [() if is_held_out(name, m, 2_000) else (name,) for name, m in zip(own, IDS, strict=True)]
    await until(lookup, shown)
    assert (await memberstream(system, "campaign", "delete", "spring-medium"))[0] == 0
    assert (await memberstream(system, *command))[1].startswith("set 1 of 3 campaigns")
    status, _, error = await memberstream(system, *command[:-1], "10%")
    assert status == 1
    assert "spring-low is there with other terms. Next: campaign delete spring-low, or another ID" in error
    status, _, error = await memberstream(system, "campaign", "split", "spring", "--model", "nothing")
    assert status == 1
    assert "nothing has no live version" in error
