"""What the console's pages are made of, as values: why a member sees a campaign, history, who asks when."""

from __future__ import annotations

import asyncio
import csv
import subprocess
import sys
import threading
from io import StringIO
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from authored import defined
from unit.consoles import NOON_MS, SETTINGS, a_shop, answer, by, published
from unit.test_doctor import WELL

from memberstream.models.log_steps import Publish, SetCampaign
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms
from memberstream.stream.console import asking, history, reporting, standing
from memberstream.stream.console.following import Following
from memberstream.stream.console.fresh import Fresh
from memberstream.stream.console.pages import ago, number, when
from memberstream.stream.doctor.facts import Facts
from memberstream.stream.keyspace.formats import Beacon
from memberstream.stream.lookup import Answer
from memberstream.stream.registry.follower import Follower


def whys(found: Answer, registry: Registry | None = None) -> dict[str, tuple[str, str]]:
    return {one.campaign: (one.said, one.why) for one in standing.seen(registry or a_shop(), found, NOON_MS)}


def test_why_a_member_sees_a_campaign_or_not() -> None:
    """Who sees it is what the look-up says; the reason of another is the first rule that keeps it away."""
    assert whys(answer(b"0:0:9:5:|level@1=2:5")) == {
        "open": ("sees it", "it is in 2 high of level@1"),
        "held": ("held out", "chance has put it among those who are compared"),
        "paused": ("doesn't see it", "the campaign is paused"),
        "early": ("doesn't see it", "the campaign is not begun"),
        "over": ("doesn't see it", "the campaign is over"),
    }
    low = whys(answer(b"0:0:9:5:|level@1=1:5"))
    assert low["open"] == ("doesn't see it", "it is in 1 low of level@1; the campaign is for 2 high")
    assert whys(answer(None))["open"] == ("doesn't see it", "nothing is known of this member")
    fresh = whys(answer(b"0:0:9:5:|other@1=1:5"))
    assert fresh["open"] == ("doesn't see it", "it has no cluster under level")


def test_campaigns_that_only_one_side_knows() -> None:
    """Readers may not have been told of a step yet; and Redis tells of campaigns while the log can't be read."""
    registry = a_shop()
    registry.add(99, SetCampaign("new", None, Terms("level", (2,)), **by("x")))
    registry.add(100, SetCampaign("lost", None, Terms("gone", (2,)), **by("x")))
    found = whys(answer(b"0:0:9:5:|level@1=2:5"), registry)
    assert found["new"] == ("doesn't see it", "readers haven't been told of this campaign's terms yet")
    assert found["lost"] == ("doesn't see it", "gone has no live version; models that have one: level")
    alone = whys(answer(b"0:0:9:5:|level@1=2:5"), Registry())
    assert alone["open"] == ("sees it", "readers are told so in Redis")
    assert set(alone) == {"open", "held"}


def test_a_members_clusters() -> None:
    """Live versions and candidates, with what was before; a version that is neither isn't shown."""
    row = b"0:0:9:5:|level@1=2:50|level@1~=1:20|level@2=1:30|level@7=1:30"
    found = standing.standings(a_shop(), answer(row))
    assert [(one.label, one.is_live, one.cluster, one.since_ms) for one in found] == [
        ("level@1", True, "2 high", 50), ("level@2", False, "1 low", 30),
    ]  # fmt: skip
    assert found[0].before == [("1 low", 20)]


def test_the_history_is_filtered() -> None:
    """By what it is about, and by any word of a step, in any letter case; the latest first."""
    registry = a_shop()
    assert len(history.done(registry)) == 12
    assert history.done(registry)[0].step.actor == "ann"  # at one millisecond later
    assert [one.step.label for one in history.done(registry, "list")] == ["buyers@2", "buyers@1", "buyers@1"]
    assert {one.kind for one in history.done(registry, "campaign")} == {"campaign"}
    assert [one.step.label for one in history.done(registry, text="OPEN TO")] == ["open"]
    assert [one.action for one in history.done(registry, "campaign", "zoe")] == ["pause"]
    assert history.done(registry, "model", "zoe") == []


def test_the_history_as_files() -> None:
    """JSON has what commands print; in CSV no cell is a formula."""
    registry = published(Publish("level", 1, defined("level", 1), **by("=cmd()", 'a "why",\nof two lines')))
    [row] = csv.DictReader(StringIO(history.to_csv(history.done(registry))))
    assert row == {
        "at": "2026-11-30T12:00:00Z", "kind": "model", "name": "level@1", "action": "publish", "actor": "'=cmd()",
        "reason": 'a "why",\nof two lines', "forced": "false", "terms": "",
    }  # fmt: skip
    shop = history.to_json(history.done(a_shop(), text="open to all"))
    assert [(one["name"], one["action"], one["terms"]["clusters"]) for one in shop] == [("open", "set", (2,))]
    [published_] = history.to_json(history.done(registry))
    assert (published_["name"], published_["version"], published_["actor"]) == ("level", 1, "=cmd()")


async def test_a_question_is_asked_once_for_all() -> None:
    """Whoever asks meanwhile waits for the same answer, as long as the patience allows; then the last one has to do."""
    asked, may_go = [], asyncio.Event()

    async def find() -> int:
        asked.append(1)
        await may_go.wait()
        return len(asked)

    fresh = Fresh(find, every_s=0.05)
    assert await fresh.get(0.01) is None
    assert await fresh.get(0.01) is None
    may_go.set()
    assert await asyncio.gather(*[fresh.get(5) for _ in range(50)]) == [1] * 50
    await asyncio.sleep(0.06)
    assert await fresh.get(5) == 2
    assert (fresh.waiting_s, fresh.age_s < 5) == (0, True)
    fresh.expire()
    may_go.clear()
    assert await fresh.get(0.02) == 2
    assert fresh.waiting_s > 0.01
    await fresh.close()
    assert len(asked) == 3


async def test_brokers_that_hang_are_an_incident(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said to be well while Kafka is waited for; that Redis is away is said by its own check."""
    hangs = asyncio.Event()
    redis: dict[str, Any] = {"beacons": {}, "behind": {}, "is_whole": True}

    async def gather(_: object) -> Facts:
        await hangs.wait()
        return WELL

    async def told(_: object) -> dict[str, Any]:
        return redis

    monkeypatch.setattr(asking, "gather", gather)
    monkeypatch.setattr(asking, "told", told)
    monkeypatch.setattr(asking, "LATE_S", 0.02)
    made = asking.Asking(SETTINGS)
    assert (await made.now(0.0)).incidents == []
    await asyncio.sleep(0.03)
    now = await made.now(0.0)
    assert (now.facts, [check.name for check in now.incidents]) == (None, ["kafka"])
    assert "Kafka at 127.0.0.1:9092 hasn't answered for 0 s" in now.incidents[0].problem
    hangs.set()
    assert [check.ok for check in (await made.now(5)).checks if check.name == "kafka"] == [True]
    await made.close()


async def test_a_question_that_fails_is_asked_again() -> None:
    """And who asked is told."""

    async def find() -> int:
        raise RuntimeError("once")

    fresh = Fresh(find, every_s=0)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="once"):
            await fresh.get(5)


async def test_the_rate_of_records_is_known_from_the_second_look_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nobody has looked for a while: what was before that doesn't count any more."""
    applied, clock = 0, 1_000.0

    async def told(_: object) -> dict[str, Any]:
        return {"beacons": {0: Beacon(applied, 0, 0)}}

    made = asking.Asking(SETTINGS)
    monkeypatch.setattr(asking, "told", told)
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: clock, time_ns=lambda: 0))
    rates = []
    for gap_s in (0, 1, 1, 3_600, 1, 25, *[1] * 12):
        applied, clock = applied + 50, clock + gap_s
        await made._told()
        rates.append(made._per_s())
    assert rates[:6] == [None, 50, 50, None, 50, 2]
    assert rates[6:] == [50] * 12
    await made.close()


async def test_one_question_without_an_answer_is_no_incident() -> None:
    """Pages say nothing of it until it has lasted, then in the words of the log. What mustn't lack a step knows."""
    made = Following(SETTINGS)
    follower = made._follower = Follower(made._log, made.registry)
    assert (made.doubt, made.problem) == (None, None)
    follower.unreadable = (monotonic(), "no answer in time")
    assert made.problem is None
    assert made.doubt == ("the models' log can't be read: no answer in time", "nothing, it is tried again")
    follower.unreadable = (monotonic() - follower.LASTS_S, "no answer in time")
    assert made.problem == made.doubt
    assert made.problem is not None
    assert f"{made.problem.what}. Next: {made.problem.next}" == follower.why_unreadable
    follower.lost = (monotonic(), "gone")
    follower.unreadable = None
    assert made.problem is not None
    assert made.problem.what == "gone"


async def test_the_libraries_of_reports_are_loaded_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds: pages would stand still meanwhile, and Kafka's answers count as late."""
    threads = []

    def load(name: str) -> None:
        threads.append((name.rpartition(".")[2], threading.current_thread() is threading.main_thread()))
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    monkeypatch.setattr(reporting, "import_module", load)
    found = await reporting.report(SETTINGS, a_shop(), "open")
    assert threads == [("asked", False)]
    assert found.problem is not None
    assert "scipy" in found.problem.what


def test_pages_need_no_library_of_reports() -> None:
    """Without the extra `readout` all pages but the reports are there."""
    lacking = "import sys; sys.modules |= dict.fromkeys(('scipy', 'statsmodels', 'matplotlib', 'pandas')); "
    code = lacking + "import memberstream.stream.console.server"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numbers_and_times_have_their_units() -> None:
    """And what isn't known is a dash."""
    assert [ago(ms) for ms in (0, 119_999, 120_000, 7_200_000, 2 * 86_400_000, None)] == [
        "0 s ago", "119 s ago", "2 min ago", "2 h ago", "2 d ago", "–",
    ]  # fmt: skip
    assert (number(12345.6), number(None)) == ("12,346", "–")
    assert ">2026-11-30 12:00 UTC<" in when(NOON_MS)
    assert when(None) == "–"
    assert "9999" in when(253_402_300_799_999)


async def test_the_overviews_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is sent when it changed; between events a comment keeps the line; one too many is refused."""
    from memberstream.stream.console import live
    from memberstream.stream.console.live import Live

    states = [{"a": "1"}, {"a": "1"}, {"a": "2"}]

    async def parts(_: object) -> dict[str, str]:
        assert waited, "the page was made just now"
        return states.pop(0)

    async def wait(_: float) -> None:
        waited.append(1)

    monkeypatch.setattr(live, "overview_parts", parts)
    waited: list[int] = []
    monkeypatch.setattr(live, "asyncio", SimpleNamespace(sleep=wait))
    monkeypatch.setattr(live, "EVERY_S", 0.0)
    made = Live(None)  # type: ignore[arg-type]
    events = made._events()
    assert [await anext(events) for _ in range(3)] == [
        b'data: {"a":"1"}\n\n',
        b": nothing new\n\n",
        b'data: {"a":"2"}\n\n',
    ]
    monkeypatch.setattr(live, "STREAMS", 1)
    assert (await made.stream(None, None)).status_code == 503  # type: ignore[arg-type]
    await events.aclose()
    assert (await made.stream(None, None)).status_code == 200  # type: ignore[arg-type]
