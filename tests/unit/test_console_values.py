"""What the console's pages are made of, as values: why a member sees a campaign, history, who asks when."""

from __future__ import annotations

import asyncio
import csv
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from io import StringIO
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from authored import defined
from unit.consoles import NOON_MS, SETTINGS, Followed, a_shop, a_site, answer, by, fetch, published
from unit.test_doctor import WELL

from memberstream.models.log_steps import Promote, Publish, SetCampaign
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms
from memberstream.stream.console import (
    asking,
    dead_letters,
    history,
    live,
    reasons,
    reporting,
    server,
    standing,
    versions,
)
from memberstream.stream.console.access import Admission
from memberstream.stream.console.app import application
from memberstream.stream.console.asking import Now
from memberstream.stream.console.following import Following
from memberstream.stream.console.fresh import Fresh
from memberstream.stream.console.live import Live
from memberstream.stream.console.pages import ago, number, when
from memberstream.stream.console.roles import ANYBODY
from memberstream.stream.console.server import Server
from memberstream.stream.console.site import foreign
from memberstream.stream.doctor.facts import Facts, _models
from memberstream.stream.keyspace.formats import Beacon
from memberstream.stream.lookup import Answer
from memberstream.stream.registry.follower import Follower

NOBODY = Admission(ANYBODY, "", "", lambda: True)


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
    assert [(one.label, one.status, one.cluster, one.since_ms) for one in found] == [
        ("level@1", "live", "2 high", 50), ("level@2", "candidate", "1 low", 30),
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
    registry = published(Publish("level", 1, defined("level", 1), **by("=cmd()", 'a "why",\nof two lines;=C()\t@x')))
    [row] = csv.DictReader(StringIO(history.to_csv(history.done(registry))))
    assert row == {
        "at": "2026-11-30T12:00:00Z", "kind": "model", "name": "level@1", "action": "publish", "actor": "'=cmd()",
        "reason": 'a "why",\nof two lines;\'=C()\t\'@x', "forced": "false", "terms": "",
    }  # fmt: skip
    shop = history.to_json(history.done(a_shop(), text="open to all"))
    assert [(one["name"], one["action"], one["terms"]["clusters"]) for one in shop] == [("open", "set", (2,))]
    [published_] = history.to_json(history.done(registry))
    assert (published_["name"], published_["version"], published_["actor"]) == ("level", 1, "=cmd()")


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """That of questions."""
    made = Clock()
    monkeypatch.setattr("memberstream.stream.console.fresh.monotonic", made)
    return made


async def test_a_question_is_asked_once_for_all(clock: Clock) -> None:
    """Whoever asks meanwhile waits for the same answer, as long as the patience allows; then the last one has to do."""
    asked, may_go = [], asyncio.Event()

    async def find() -> int:
        asked.append(1)
        await may_go.wait()
        return len(asked)

    fresh = Fresh(find, every_s=1, keep_s=60)
    assert await fresh.get(0.01) is None
    clock.now_s += 0.5
    assert await fresh.get(0.01) is None
    assert fresh.waiting_s == 0.5
    may_go.set()
    assert await asyncio.gather(*[fresh.get(60) for _ in range(50)]) == [1] * 50
    clock.now_s += 2
    assert await fresh.get(60) == 2
    assert (fresh.waiting_s, fresh.age_s) == (0, 0)
    assert await fresh.get(60) == 2
    fresh.expire()
    may_go.clear()
    assert await fresh.get(0.01) == 2
    clock.now_s += 1
    fresh.expire()  # what is being asked is of now
    assert fresh.waiting_s == 1
    await fresh.close()
    assert len(asked) == 3


async def test_an_old_answer_is_not_handed_out(clock: Clock) -> None:
    """Nobody has looked for a while: until there is a new one, nothing is known."""
    may_go = asyncio.Event()

    async def find() -> int:
        await may_go.wait()
        return 1

    fresh = Fresh(find, every_s=1, keep_s=5)
    may_go.set()
    assert await fresh.get(5) == 1
    may_go.clear()
    clock.now_s += 6
    assert (await fresh.get(0), fresh.last) == (None, 1)
    may_go.set()
    assert await fresh.get(5) == 1


class Sources:
    """What Kafka and Redis answer, and whether they do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kafka, self.redis, self.asked = asyncio.Event(), asyncio.Event(), list[Registry | None]()
        self.facts = replace(WELL, owner="g@k")
        self.told: dict[str, Any] = {"beacons": {}, "behind": {}, "is_whole": True, "owner": "g@k"}
        monkeypatch.setattr(asking, "gather", self._gather)
        monkeypatch.setattr(asking, "told", self._told)
        self.kafka.set()
        self.redis.set()

    async def _gather(self, _: object, registry: Registry | None) -> Facts:
        self.asked.append(registry)
        await self.kafka.wait()
        return self.facts

    async def _told(self, _: object) -> dict[str, Any]:
        await self.redis.wait()
        if not self.told:
            raise OSError("no connection")
        return self.told

    def asking(self, registry: Registry | None = None) -> asking.Asking:
        """Return who asks them."""
        following = Followed(registry or Registry(), None, was_read=registry is not None)
        return asking.Asking(SETTINGS, cast(Following, following))


async def test_brokers_that_hang_are_an_incident(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said to be well while Kafka is waited for; that Redis is away is said by its own check."""
    sources = Sources(monkeypatch)
    sources.kafka.clear()
    made = sources.asking()
    assert (await made.now(0.0)).incidents == []
    monkeypatch.setattr(asking, "LATE_S", 0.0)
    now = await made.now(0.0)
    assert (now.facts, [check.name for check in now.incidents]) == (None, ["kafka"])
    assert "Kafka at 127.0.0.1:9092 hasn't answered for 0 s" in now.incidents[0].problem
    monkeypatch.setattr(asking, "LATE_S", 60.0)
    sources.kafka.set()
    assert [check.ok for check in (await made.now(5)).checks if check.name == "kafka"] == [True]
    await made.close()


@pytest.mark.parametrize("was_away", [False, True])
@pytest.mark.parametrize("path", ["/", "/models", "/campaigns", "/members?id=m", "/history", "/dead-letters"])
async def test_a_page_answers_within_two_seconds_though_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, path: str, was_away: bool
) -> None:
    """Kafka and Redis are both silent, or Redis was away just now: no wait comes after another. Pages say so."""

    async def wait(_: object, timeout: float) -> None:
        until_s = clock.now_s + timeout
        await asyncio.sleep(0)
        clock.now_s = max(clock.now_s, until_s)  # of several at once the longest

    async def untold() -> None:
        clock.now_s += asking.PATIENCE_S
        raise TimeoutError

    sources = Sources(monkeypatch)
    sources.kafka.clear()
    sources.told = {}
    made = sources.asking()
    if was_away:
        await made._quick.get(5)
        clock.now_s += 1.5
    sources.redis.clear()
    site = a_site(was_read=False)
    monkeypatch.setattr(site, "asking", made)
    monkeypatch.setattr(site.following.is_told, "wait", untold)
    monkeypatch.setattr(dead_letters, "read", lambda *_: asyncio.Event().wait())
    app = application(site, Live(site))
    monkeypatch.setattr(
        "memberstream.stream.console.fresh.asyncio", SimpleNamespace(wait=wait, create_task=asyncio.create_task)
    )
    began_s = clock.now_s
    reply = await fetch(app, path)
    assert clock.now_s - began_s <= 2.0
    assert reply.status == 200
    if path != "/":
        assert "what Kafka holds isn't known yet" in unescape(reply.text)
    monkeypatch.undo()
    await made.close()


async def test_old_answers_are_not_shown_as_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found when somebody looked last may be over. It stands only beside the incident that says how old it
    is."""
    monkeypatch.setattr(asking, "SLOW_S", 0.0)
    monkeypatch.setattr(asking, "OLD_S", 0.5)
    sources = Sources(monkeypatch)
    made = sources.asking()
    assert (await made.now(5)).facts is not None
    sources.kafka.clear()
    await asyncio.sleep(0.55)
    assert (await made.now(0.0)).facts is None
    monkeypatch.setattr(asking, "LATE_S", 0.0)
    now = await made.now(0.0)
    assert now.facts is not None
    assert "kafka" in [check.name for check in now.incidents]
    monkeypatch.setattr(made._quick, "_keep_s", -1.0)  # Redis hangs, too: no incident would stand beside it
    assert (await made.now(0.0)).facts is None
    await made.close()


async def test_an_answer_of_redis_is_judged_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a later one all workers would have been silent since then."""
    monkeypatch.setattr(asking, "QUICK_S", 0.0)
    sources = Sources(monkeypatch)
    made = sources.asking()
    first = (await made.now(5)).facts
    sources.redis.clear()
    await asyncio.sleep(0.02)
    second = (await made.now(0.0)).facts
    assert first is not None
    assert second is not None
    assert first.now_ms == second.now_ms > WELL.now_ms
    await made.close()


async def test_redis_that_is_back_makes_kafka_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow question is asked anew, and that one is waited for like any other."""
    sources = Sources(monkeypatch)
    sources.facts = replace(WELL, redis_problem="no connection. Next: wait")
    made = sources.asking()
    sources.told, told = {}, sources.told
    assert [check.name for check in (await made.now(5)).incidents] == ["redis"]
    monkeypatch.setattr(made._quick, "_every_s", 0.0)
    sources.told = told
    sources.kafka.clear()
    for _ in range(4):  # it is asked anew, and meanwhile looked at
        assert [check.name for check in (await made.now(0.01)).incidents] == ["redis"]
    assert len(sources.asked) == 2
    await made.close()


async def test_whose_keys_are_in_redis_is_known_without_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    """If its cluster was known once; else nobody can say, and nothing is said."""
    monkeypatch.setattr(asking, "SLOW_S", 0.0)
    away = Facts(WELL.now_ms, kafka_problem="no broker. Next: start one")
    for owner, before, is_ok in (
        ("g@k", WELL, True), ("other@k", WELL, False), ("g@k", None, None), ("other@k", None, None),
    ):  # fmt: skip
        sources = Sources(monkeypatch)
        sources.told |= {"owner": owner}
        sources.facts = before or away
        made = sources.asking()
        await made.now(5)
        sources.facts = replace(away, owner=owner)
        monkeypatch.setattr(made._slow, "_keep_s", 0.0)
        await made.now(5)
        monkeypatch.setattr(made._slow, "_keep_s", 60.0)
        now = await made.now(5)
        assert now.facts is not None
        assert now.facts.kafka_problem is not None
        assert {check.name: check.ok for check in now.checks}.get("installation") is is_ok
        assert (foreign(now) is None) is (is_ok is True)
        monkeypatch.setattr(made._slow, "_keep_s", -1.0)  # nothing recent is known but what Redis says
        now = await made.now(5)
        assert now.facts is None
        assert {check.name: check.ok for check in now.checks}.get("installation") is is_ok
        await made.close()


async def test_the_models_log_is_not_read_for_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is followed already; and steps that Redis knows are judged by those that are known by now."""
    sources, registry = Sources(monkeypatch), a_shop()
    sources.facts = replace(WELL, registry=Registry())
    sources.told |= {"known": registry.offset}
    made = sources.asking(registry)
    now = await made.now(5)
    assert sources.asked == [registry]
    assert [check.ok for check in now.checks if check.name == "models_log"] == [True]
    await made.close()

    monkeypatch.setattr("memberstream.stream.doctor.facts.ModelsLog", None)
    models = {"topics": {SETTINGS.models_topic: None}}
    assert await _models(SETTINGS, models | {"registry": registry}) == {}
    assert await _models(SETTINGS, {"registry": registry}) == {"registry": None}


async def test_a_log_that_nobody_follows_any_more_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read stays, and isn't shown as of now."""
    made = Following(SETTINGS)

    async def fault() -> bool:
        made.was_read = True
        raise RuntimeError("a fault")

    monkeypatch.setattr(made, "_begin", fault)
    with pytest.raises(RuntimeError):
        await made.run()
    assert made.problem is not None
    assert "isn't followed any more" in made.problem.what
    assert made.current is None


async def test_the_history_is_gone_through_once_for_all_versions() -> None:
    """There may be thousands of both, and nobody else is answered meanwhile."""
    looks = []

    class Looked(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            looks.append(1)
            return super().__iter__()

    registry = a_shop()
    registry.history = Looked(registry.history)
    assert [(one.entry.label, one.published is not None) for one in versions.versions(registry)] == [
        ("buyers@2", True), ("buyers@1", True), ("level@2", True), ("level@1", True),
    ]  # fmt: skip
    assert len(looks) == 1


async def test_a_question_that_fails_is_asked_again() -> None:
    """And who asked is told."""

    async def find() -> int:
        raise RuntimeError("once")

    fresh = Fresh(find, every_s=0, keep_s=60)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="once"):
            await fresh.get(5)


async def test_the_rate_of_records_is_known_from_the_second_look_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nobody has looked for a while: what was before that doesn't count any more."""
    applied, clock = 0, 1_000.0

    async def told(_: object) -> dict[str, Any]:
        return {"beacons": {0: Beacon(applied, 0, 0)}}

    made = asking.Asking(SETTINGS, cast(Following, Followed(Registry(), None, was_read=False)))
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
    """A state is sent when it changed, and between them an event without one, which tells that somebody answers. One
    too many is refused by an event, because a script doesn't see a status."""
    states = [{"a": "1"}, {"a": "1"}, {"a": "2"}]

    async def parts(_: object) -> dict[str, str]:
        assert waited, "the page was made just now"
        return states.pop(0)

    async def wait(s: float) -> bool:
        waited.append(1)
        return await ends_within(s)

    monkeypatch.setattr(live, "overview_parts", parts)
    monkeypatch.setattr(live, "EVERY_S", 0.01)
    made, waited = Live(None), list[int]()  # type: ignore[arg-type]
    ends_within = made._ends_within
    monkeypatch.setattr(made, "_ends_within", wait)
    events = made._events(NOBODY)
    assert [await anext(events) for _ in range(3)] == [b'data: {"a":"1"}\n\n', b"data: {}\n\n", b'data: {"a":"2"}\n\n']
    monkeypatch.setattr(live, "STREAMS", 1)
    assert [one async for one in made._events(NOBODY)] == [
        b'event: refused\ndata: "1 overviews are open, so this one isn\'t renewed. Next: close some of them"\n\n'
    ]
    assert made._n_streams == 1
    await made.close()
    assert [one async for one in events] == []  # so that it is over
    assert made._n_streams == 0


async def test_it_stops_at_once_though_an_overview_is_open(caplog: pytest.LogCaptureFixture) -> None:
    """And logs nothing: an open stream would be cut off, with a traceback."""
    site = a_site(now=Now(None, [], None))
    streams = Live(site)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            application(site, streams), log_config=None, log_level="warning", timeout_graceful_shutdown=1
        )
        made = Server(config, streams)
        serving = asyncio.create_task(made.serve(sockets=[listening]))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert await reader.readuntil(b"data: ")
        made.should_exit = True
        await serving
        assert (await reader.read()).endswith(b"0\r\n\r\n")  # whole
        writer.close()
    assert caplog.text == ""


def test_the_second_ctrl_c_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step under way may take long; whoever sends SIGTERM twice is a supervisor, and doesn't hurry."""
    ended = list[str]()
    monkeypatch.setattr(server.signal, "signal", lambda sig, how: ended.append(f"{sig.name} {how.name}"))
    monkeypatch.setattr(server.signal, "raise_signal", lambda sig: ended.append(sig.name))
    made = Server(uvicorn.Config(lambda: None), None)  # type: ignore[arg-type]
    for sig in (signal.SIGTERM, signal.SIGTERM):
        made.handle_exit(sig, None)
    assert ended == []
    made.handle_exit(signal.SIGINT, None)
    assert ended == ["SIGINT SIG_DFL", "SIGINT"]


def test_a_masked_contribution_tells_no_number() -> None:
    """Neither in words nor by its bar: with the model file a number would tell what the predictor read."""
    contributions = (-4.0, 2.1, 1.9, 0.5, -0.3, 0.0)
    some = [reasons.pulling("x", reasons.MASKED, contribution, 4.0) for contribution in contributions]
    assert [(one.contribution, one.share) for one in some] == [
        ("much, below 0", -100), ("much, above 0", 100), ("some, above 0", 40), ("some, above 0", 40),
        ("little, below 0", -10), ("nothing", 0),
    ]  # fmt: skip
    assert reasons.pulling("x", "84 days ago", -1.0, 4.0) == ("x", "84 days ago", "-1.0000", -25)


def test_a_version_that_was_live_is_no_fresh_candidate() -> None:
    """A member's page tells them apart."""
    registry = a_shop()
    assert versions.told(registry)["level@1"] == "live"
    registry.add(99, Promote("level", 2, replaces=1, **by("x")))
    assert {name: versions.told(registry)[name] for name in ("level@1", "level@2")} == {
        "level@1": "was live", "level@2": "live",
    }  # fmt: skip
