"""What people do in the console: by the steps of the commands, once each, and only who may."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from starlette.types import ASGIApp
from unit.consoles import HOST, Reply, a_shop, a_site, by, fetch
from unit.test_console import Tags, at, text_of
from unit.test_doctor import WELL

from memberstream.models.log_steps import PauseCampaign, SetCampaign, Step
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms
from memberstream.stream.authoring import campaigning, publishing, steps
from memberstream.stream.authoring.trying import Tried
from memberstream.stream.console import acts, campaign_acts
from memberstream.stream.console.app import application
from memberstream.stream.console.live import Live
from memberstream.stream.console.roles import RIGHTS, Right, Role
from memberstream.stream.projection.calls import RedisUnavailable
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings
from memberstream.stream.terminal.output import error_text

SETTINGS = Settings(topic="docs", group="g", console_proxies=("10.0.0.1",))
MODEL = {
    "format": 1, "name": "level", "version": 3, "predictors": [{"name": "x", "path": "x", "missing": 0}],
    "model": {"type": "kmeans", "centroids": [[0], [1]]},
    "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "high"}],
}  # fmt: skip
#: Each page that asks for an action, and the right that it takes.
ASKING = {
    "/campaigns-new": Right.CAMPAIGNS,
    "/campaigns-split?id=new&model=level": Right.CAMPAIGNS,
    "/campaigns/open/set": Right.CAMPAIGNS,
    "/campaigns/new-one/set?model=level": Right.CAMPAIGNS,
    "/campaigns/open/pause": Right.CAMPAIGNS,
    "/campaigns/paused/resume": Right.CAMPAIGNS,
    "/campaigns/open/delete": Right.CAMPAIGNS,
    "/models-publish": Right.MODELS,
    "/lists-upload": Right.MODELS,
    "/models/level/promote?version=2": Right.MODELS,
    "/models/level/rollback?version=1": Right.MODELS,
    "/models/level/retire?version=2": Right.MODELS,
}


class Log:
    """A models' log in memory, by whose rules steps count. `away`: raised in place of an answer; `then_away`: from the
    next step on."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.taken = registry, list[Step]()
        self.away: OSError | None = None
        self.then_away: OSError | None = None

    def steps(self, _: Settings, actor: str) -> Any:
        log = self

        class Steps:
            async def registry(self) -> Registry:
                if log.away is not None:
                    raise log.away
                return log.registry

            def by(self, reason: str = "", forced: bool = False) -> Any:
                return by(actor, reason) | {"forced": forced}

            async def take(self, step: Step) -> Registry:
                if why := log.registry.add(log.registry.offset + 1, step):
                    raise PublishError(why)
                log.taken.append(step)
                log.away = log.then_away
                return log.registry

        return Steps()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """The log of a shop."""
    found = Log(a_shop())
    for module in (campaigning, publishing, acts):
        monkeypatch.setattr(module, "Steps", found.steps)

    async def tried(*_: object) -> Tried:
        return Tried("little")

    monkeypatch.setattr(publishing, "try_on_members", tried)
    return found


@pytest.fixture
def app(log: Log) -> ASGIApp:
    """The console on it."""
    site = a_site(log.registry, now=at(WELL), settings=SETTINGS)
    return application(site, Live(site))


def person(role: str, name: str = "ann") -> dict[str, str]:
    return {"x-forwarded-user": name, "x-forwarded-groups": f"memberstream-{role}"}


async def get(app: ASGIApp, path: str, role: str = "operator") -> Reply:
    return await fetch(app, path, headers=person(role), peer="10.0.0.1")


def fields_of(page: str) -> list[tuple[str, str]]:
    """Return what a browser would send of a page's form that acts, untouched."""
    form = max(re.findall(r'<form [^>]*method="post".*?</form>', page, re.DOTALL), key=len)
    found: list[tuple[str, str]] = []
    for tag, its in Tags(form).found:
        if tag == "input" and (its.get("type") in (None, "hidden") or "checked" in its):
            found.append((its["name"] or "", unescape(its.get("value") or "")))
    return found


async def send(
    app: ASGIApp, path: str, fields: Sequence[tuple[str, str]], role: str = "operator", **more: Any
) -> Reply:
    headers = person(role) | {"origin": f"http://{HOST}", "content-type": "application/x-www-form-urlencoded"}
    return await fetch(
        app, path, method="POST", headers=headers, peer="10.0.0.1", body=urlencode(fields).encode(), **more
    )


async def filled(app: ASGIApp, path: str, **values: str) -> list[tuple[str, str]]:
    """Return the form of a page with other values."""
    fields = [one for one in fields_of((await get(app, path)).text) if one[0] not in values]
    return [*fields, *values.items()]


async def publish(app: ASGIApp, fields: Sequence[tuple[str, str]], content: bytes, name: str = "m.json") -> Reply:
    parts = [f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields]
    parts.append(f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n')
    headers = person("author") | {"origin": f"http://{HOST}", "content-type": "multipart/form-data; boundary=x"}
    body = "".join(parts).encode() + content + b"\r\n--x--\r\n"
    return await fetch(app, "/models-publish", method="POST", headers=headers, peer="10.0.0.1", body=body)


@pytest.mark.parametrize("role", Role)
async def test_each_action_by_each_role(role: Role, app: ASGIApp, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """What a role doesn't have is answered 403 before the form is read, with whom to ask, and it is written down; the
    pages show no way to it."""
    n = log.registry.offset
    for path, right in ASKING.items():
        may = right in RIGHTS[role]
        asked = await get(app, path, role)
        assert asked.status == (200 if may else 403), path
        address = path.partition("?")[0]
        if address == campaign_acts.NEW:
            continue  # it only leads to a form, and takes nothing
        caplog.clear()
        sent = await send(app, address, [], role)
        assert sent.status == 403, path
        if not may:
            assert f"ann ({role}) may not {right}" in text_of(sent.text)
            assert f"audit: ann ({role}) by proxy may not {right}: POST {address}, from 10.0.0.1" in caplog.text
        else:
            assert "this form isn't of your log-in" in text_of(sent.text)
            assert "audit: refused from ann" in caplog.text
    assert log.registry.offset == n
    links = set()
    for page in ("/campaigns", "/campaigns/open", "/campaigns/paused", "/models", "/models/level", "/lists"):
        tags = Tags((await get(app, page, role)).text).found
        links |= {(its.get("href") or "").partition("?")[0] for _, its in tags}
    shown = links & {path.partition("?")[0] for path in ASKING}
    missing = {  # two are asked for by a form, the other isn't possible
        "/campaigns/new-one/set",
        "/campaigns-split",
        "/models/level/rollback",
    }
    assert shown == {path.partition("?")[0] for path, right in ASKING.items() if right in RIGHTS[role]} - missing


async def test_without_a_log_in_nothing_can_be_done(log: Log) -> None:
    """Nobody is known; the page says what to set up."""
    site = a_site(log.registry, now=at(WELL))
    app = application(site, Live(site))
    for path in ASKING:
        reply = await fetch(app, path)
        assert reply.status == 403
        assert "nobody can act here: no log-in is set up" in text_of(reply.text)
    assert "button act" not in (await fetch(app, "/campaigns/open")).text


async def test_a_campaign_is_set_changed_and_told(app: ASGIApp, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """With all terms that the command takes, under the person's name; what has no field stays. Then it is told."""
    caplog.set_level(logging.INFO)
    assert (await get(app, "/campaigns-new?id=summer&model=level")).headers[
        "location"
    ] == "/campaigns/summer/set?model=level"
    path = "/campaigns/summer/set?model=level"
    fields = await filled(
        app, path, cluster="2", **{"from": "2026-12-01", "until": "2027-01-01", "holdout": "12.5%", "title": "Summer"},
        window="3d", **{"window purchase": "14d", "guardrail install": "0.5%", "winsorise": "99.5%"},
        primary="purchase", reason="agreed",
    )  # fmt: skip
    reply = await send(app, path, [*fields, ("cluster", "1")])
    assert reply.status == 303, text_of(reply.text)
    found = log.registry.campaigns["summer"]
    assert found.terms == Terms(
        "level", (1, 2), from_ms=1_796_083_200_000, until_ms=1_798_761_600_000, holdout=1_250, window_ms=3 * 86_400_000,
        windows={"purchase": 14 * 86_400_000}, primary="purchase", guardrails={"install": 50}, winsorise=9_950,
        title="Summer",
    )  # fmt: skip
    step = log.taken[0]
    assert (step.actor, step.reason, step.forced) == ("ann via console", "agreed", False)
    assert "summer is set." in text_of((await get(app, reply.headers["location"])).text)
    assert "summer is set." not in text_of((await fetch(app, reply.headers["location"], peer="10.0.0.1",
                                                        headers=person("viewer", "bob"))).text)  # fmt: skip
    assert "audit: ann (operator) by proxy: set summer" in caplog.text
    split = SetCampaign("part", None, Terms("level", (1,), split="whole", windows={"old": 60_000}), **by("x"))
    assert log.registry.add(log.registry.offset + 1, split) == ""
    assert (
        await send(app, "/campaigns/part/set", await filled(app, "/campaigns/part/set", holdout="5%"))
    ).status == 303
    assert log.registry.campaigns["part"].terms == Terms(
        "level", (1,), holdout=500, split="whole", windows={"old": 60_000}
    )
    unchanged = await filled(app, "/campaigns/summer/set")
    assert (await send(app, "/campaigns/summer/set", [*unchanged, ("primary", "purchase")])).status == 303
    assert log.registry.campaigns["summer"].terms == found.terms


async def test_each_field_that_cant_be_meant_is_named(app: ASGIApp, log: Log) -> None:
    """All at once, beside the field, with what was filled in; and nothing is done."""
    n = log.registry.offset
    path = "/campaigns/summer/set?model=level"
    wrong = {
        "from": "soon", "until": "2026-02-30", "holdout": "1.234%", "window": "7", "window click": "long",
        "guardrail install": "much", "winsorise": "x", "primary": "click", "reason": "é" * 1_001, "cluster": "north",
    }  # fmt: skip
    reply = await send(app, path, await filled(app, path, **wrong))
    assert reply.status == 400
    found = Tags(reply.text).found
    marked = {its["name"] for _, its in found if its.get("aria-invalid")}
    assert marked == wrong.keys() - {"primary", "cluster"}
    ids = {its["id"] for _, its in found if "id" in its}
    assert {its["aria-describedby"] for _, its in found if "aria-describedby" in its} <= ids
    for said in ("soon: expected ISO 8601", "level has no cluster 'north'", "click can't judge", "2,002 bytes"):
        assert said in text_of(reply.text), said
    assert 'value="1.234%"' in reply.text
    none = await send(app, path, await filled(app, path))
    assert "none is chosen. Next: choose at least one" in text_of(none.text)
    late = await send(app, path, await filled(app, path, cluster="1", **{"from": "2027-01-01", "until": "2026-01-01"}))
    assert (late.status, log.registry.offset) == (409, n)
    assert "it would end before it begins" in text_of(late.text)
    lost = "/campaigns/summer/set?model=gone"
    assert "gone has no live version" in text_of((await send(app, lost, await filled(app, lost, cluster="1"))).text)
    forced = await filled(app, lost, cluster="1", force="1")
    assert (await send(app, lost, forced)).status == 303
    assert log.taken[-1].forced
    assert (await get(app, "/campaigns-new?id=Summer&model=level")).status == 400
    assert (await get(app, "/campaigns/Summer/set")).status == 404


async def test_a_campaign_for_each_cluster(app: ASGIApp, log: Log) -> None:
    """With the same terms; again: nothing is set; with other terms it is refused, by the command's rule."""
    new = (await get(app, "/campaigns-new")).text
    assert 'formaction="/campaigns-split"' in new
    for wrong in ("?id=Spring&model=level", "?id=spring&model=none"):
        assert (await get(app, f"/campaigns-split{wrong}")).headers["location"].startswith("/campaigns-new?id=")
    path = "/campaigns-split?id=spring&model=level"
    page = (await get(app, path)).text
    assert "spring-low , seen by 1 low spring-high , seen by 2 high" in text_of(page)
    assert "Set 2 campaigns" in text_of(page)
    wrong_share = await send(app, "/campaigns-split", await filled(app, path, holdout="ten"))
    assert (wrong_share.status, "ten: expected a share" in text_of(wrong_share.text)) == (400, True)
    sent = await filled(app, path, holdout="10%", reason="a try")
    reply = await send(app, "/campaigns-split", sent)
    assert reply.status == 303
    told = text_of((await get(app, reply.headers["location"])).text)
    assert "2 of 2 campaigns set: spring-low, spring-high." in told
    assert [
        (step.campaign, step.terms.clusters, step.terms.split, step.terms.holdout, step.reason, step.actor)
        for step in log.taken
        if isinstance(step, SetCampaign)
    ] == [
        ("spring-low", (1,), "spring", 1_000, "a try", "ann via console"),
        ("spring-high", (2,), "spring", 1_000, "a try", "ann via console"),
    ]
    again = await send(app, "/campaigns-split", await filled(app, path, holdout="10%"))
    assert "0 of 2 campaigns set" in text_of((await get(app, again.headers["location"])).text)
    other = await send(app, "/campaigns-split", await filled(app, path, holdout="20%"))
    assert other.status == 409
    assert "spring-low is there with other terms" in text_of(other.text)
    assert len(log.taken) == 2
    bad = [(name, "X" if name == "id" else value) for name, value in sent]
    assert (await send(app, "/campaigns-split", bad)).status == 400


async def test_a_split_is_judged_before_the_first_is_set(app: ASGIApp, log: Log) -> None:
    """Ids that are too long, and another live version than the page's: nothing is set, and the page goes by now."""
    path = "/campaigns-split?id=" + "c" * 60 + "&model=level"
    reply = await send(app, "/campaigns-split", await filled(app, path, holdout="10%"))
    assert (reply.status, "high' is no campaign id" in text_of(reply.text), log.taken) == (409, True, [])
    sent = await filled(app, "/campaigns-split?id=spring&model=level")
    before = log.registry.live["level"]
    log.registry.live["level"] = 7
    log.registry.versions["level@7"] = log.registry.versions[f"level@{before}"]
    reply = await send(app, "/campaigns-split", sent)
    assert (reply.status, log.taken) == (409, [])
    said = f"level@{before} isn't live any more, level@7 is: nothing was set Next: look at its clusters"
    assert said in text_of(reply.text)
    assert ("live", "7") in fields_of(reply.text)


async def test_pause_resume_delete(app: ASGIApp, log: Log) -> None:
    """Each is asked for first, then done, and told."""
    for verb, said in (("pause", "open is paused."), ("resume", "open is resumed."), ("delete", "open is deleted.")):
        path = f"/campaigns/open/{verb}"
        reply = await send(app, path, await filled(app, path, reason="so"))
        assert reply.status == 303
        assert said in text_of((await get(app, reply.headers["location"])).text)
        assert (log.taken[-1].action, log.taken[-1].reason) == (f"campaign_{verb}", "so")
    assert (await get(app, "/campaigns/open/pause")).status == 404
    assert (
        await send(app, "/campaigns/held/pause", await filled(app, "/campaigns/held/pause", reason="é" * 1_001))
    ).status == 400


async def test_what_somebody_else_did_meanwhile_is_not_overwritten(app: ASGIApp, log: Log) -> None:
    """The form that was made before is refused, shows how it is now, and can be sent then."""
    fields = await filled(app, "/campaigns/open/set", holdout="50%")
    seen = log.registry.campaigns["open"].offset
    assert log.registry.add(log.registry.offset + 1, PauseCampaign("open", seen, **by("zoe"))) == ""
    reply = await send(app, "/campaigns/open/set", fields)
    assert reply.status == 409
    text = text_of(reply.text)
    assert "open: somebody else has just changed it" in text
    assert "As it is now: level 2 high" in text
    assert "; paused." in text
    assert "zoe has changed open since you opened this form. What you send now replaces that." in text
    typo = [(name, "x" if name == "holdout" else value) for name, value in fields]
    assert "zoe has changed open since" in text_of((await send(app, "/campaigns/open/set", typo)).text)
    assert "since you opened" not in text_of((await get(app, "/campaigns/open/set")).text)
    assert log.registry.campaigns["open"].terms.holdout == 0
    assert (await send(app, "/campaigns/open/set", fields_of(reply.text))).status == 303
    assert log.registry.campaigns["open"].terms.holdout == 5_000


async def test_a_form_that_is_sent_twice_is_done_once(app: ASGIApp, log: Log) -> None:
    """At once, after one another, and by Back with other values: that is another form, and judged by what it knew."""
    fields = await filled(app, "/campaigns/open/set", holdout="10%")
    n = log.registry.offset
    replies = await asyncio.gather(*[send(app, "/campaigns/open/set", fields) for _ in range(5)])
    replies.append(await send(app, "/campaigns/open/set", fields))
    assert {(reply.status, reply.headers["location"]) for reply in replies} == {(303, replies[0].headers["location"])}
    assert log.registry.offset == n + 1
    other = [(name, "20%" if name == "holdout" else value) for name, value in fields]
    assert (await send(app, "/campaigns/open/set", other)).status == 409
    for name in ("x", ""):
        without = [(key, name if key == "once" else value) for key, value in fields]
        assert (await send(app, "/campaigns/open/set", without)).status == 400
    assert log.registry.offset == n + 1


async def test_kafka_that_is_away_is_said_and_the_form_stays(app: ASGIApp, log: Log) -> None:
    """Nothing is done; the same form is tried again once it is back."""
    fields = await filled(app, "/campaigns/open/set", holdout="10%")
    log.away = OSError("no Kafka broker at k:1. Next: start one")
    reply = await send(app, "/campaigns/open/set", fields)
    assert reply.status == 503
    assert "no Kafka broker at k:1 Next: start one" in text_of(reply.text)
    assert 'value="10%"' in reply.text
    log.away = None
    assert (await send(app, "/campaigns/open/set", fields)).status == 303
    assert len(log.taken) == 1


async def test_kafka_that_goes_away_just_then_leaves_the_step_taken(app: ASGIApp, log: Log) -> None:
    """It was acknowledged: nobody is asked to send it again."""
    fields = await filled(app, "/campaigns/open/pause")
    log.then_away = OSError("no Kafka broker at k:1. Next: start one")
    reply = await send(app, "/campaigns/open/pause", fields)
    assert (reply.status, len(log.taken)) == (303, 1)
    assert "open is paused." in text_of((await get(app, reply.headers["location"])).text)


async def test_a_fault_says_that_the_step_may_be_taken(
    app: ASGIApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its traceback is in the log, not on the page."""
    fields = await filled(app, "/campaigns/open/pause")
    monkeypatch.setattr(campaign_acts, "Campaigning", lambda *_: 1 / 0)
    reply = await send(app, "/campaigns/open/pause", fields)
    assert reply.status == 500
    assert "this is a fault of memberstream; the step may be taken, or not" in text_of(reply.text)
    assert "ZeroDivisionError" in caplog.text


async def test_what_takes_longer_is_looked_at(app: ASGIApp, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own address, until it is over; by nobody else."""
    monkeypatch.setattr(acts, "MOMENT_S", 0.0)
    reply = await send(app, "/campaigns/open/pause", await filled(app, "/campaigns/open/pause"))
    where = reply.headers["location"]
    assert where.startswith("/acts/")
    assert (await fetch(app, where, headers=person("operator", "bob"), peer="10.0.0.1")).status == 404
    while (shown := await get(app, where)).status == 200:
        assert "Under way: pause open" in text_of(shown.text)
        assert shown.headers["refresh"] == "2"
        await asyncio.sleep(0.01)
    assert (shown.status, shown.headers["location"].partition("?")[0]) == (303, "/campaigns/open")
    fields = await filled(app, "/campaigns/held/pause")
    log.away = OSError("no Kafka broker at k:1. Next: start one")
    where = (await send(app, "/campaigns/held/pause", fields)).headers["location"]
    await asyncio.wait([task for task in asyncio.all_tasks() if task is not asyncio.current_task()], timeout=60)
    shown = await get(app, where)
    assert shown.status == 503
    assert "Not done: pause held" in text_of(shown.text)


async def test_a_file_is_published(app: ASGIApp, log: Log) -> None:
    """As a candidate; the same content again changes nothing; TOML by its ending."""
    fields = await filled(app, "/models-publish", reason="trained on March")
    reply = await publish(app, fields, orjson.dumps(MODEL))
    assert reply.status == 303, text_of(reply.text)
    assert "level@3 is published as a candidate. Cost: little." in text_of(
        (await get(app, reply.headers["location"], "author")).text
    )
    assert (log.taken[0].label, log.taken[0].actor, log.taken[0].reason) == (
        "level@3",
        "ann via console",
        "trained on March",
    )
    again = await publish(app, await filled(app, "/models-publish"), orjson.dumps(MODEL))
    assert "published already, with the same content" in text_of(
        (await get(app, again.headers["location"], "author")).text
    )
    toml = b'format = 1\nname = "level"\nversion = 4\npredictors = []\n'
    reply = await publish(app, await filled(app, "/models-publish"), toml, "m.toml")
    assert (reply.status, "expected JSON" in reply.text) == (400, False)
    assert len(log.taken) == 1


async def test_all_problems_of_a_file_are_shown_in_place(app: ASGIApp, log: Log) -> None:
    """A line for each, with its path; then it can be sent anew."""
    bad = MODEL | {"version": 0, "predictors": [{"name": "x", "path": "x", "missing": 0, "more": "<b>"}], "colour": 1}
    reply = await publish(app, await filled(app, "/models-publish", reason="a try"), orjson.dumps(bad))
    assert reply.status == 400
    items = re.findall(r"<li>(.*?)</li>", reply.text.partition('class="problems"')[2])
    assert len(items) >= 3
    assert {re.split(r"[: ]", item)[0] for item in items} >= {"version", "colour", "predictors[0].more"}
    assert ">a try</textarea>" in reply.text
    for content, said in (
        (b"", "no file was chosen"),
        (b"{", "this file can&#39;t be published"),
        (b"\xff", "this file can&#39;t"),
    ):
        assert said in (await publish(app, fields_of(reply.text), content)).text
    assert log.taken == []


async def test_promote_roll_back_retire(app: ASGIApp, log: Log) -> None:
    """With the commands' guards: forced it goes; of a version that isn't the one before, or is live, it is refused."""
    path = "/models/level/promote?version=2"
    for flips, said in (("much", "much: expected a share"), ("", "expected a share")):
        wrong = await send(app, "/models/level/promote", await filled(app, path, max_flips=flips))
        assert wrong.status == 400
        assert said in text_of(wrong.text)
    stale = await filled(app, path, force="1", reason="agreed")
    assert (await send(app, "/models/level/promote", stale)).status == 303
    assert log.registry.live["level"] == 2
    assert (log.taken[-1].action, log.taken[-1].reason, log.taken[-1].forced) == ("promote", "agreed", True)
    assert "Roll back to" in (await get(app, "/models/level")).text
    back = "/models/level/rollback?version=1"
    fields = await filled(app, back)
    assert "Readers use level@1 again, in place of level@2" in text_of((await get(app, back)).text)
    assert (await send(app, "/models/level/rollback", fields)).status == 303
    assert log.registry.live["level"] == 1
    overtaken = await send(app, "/models/level/rollback", [*fields, ("reason", "again")])
    assert overtaken.status == 409
    assert "isn't the version that was live before, by now" in text_of(overtaken.text)
    live = [(name, "7" if name == "live" else value) for name, value in await filled(app, path, force="1")]
    text = text_of((await send(app, "/models/level/promote", live)).text)
    assert "version 7 was live when this was decided, now version 1 is" in text
    assert "Another version of level has become live since you opened this form." in text
    assert (await send(app, "/models/level/retire", await filled(app, "/models/level/retire?version=1"))).status == 409
    assert (await send(app, "/models/level/retire", await filled(app, "/models/level/retire?version=2"))).status == 303
    assert (await get(app, "/models/level/promote?version=77")).status == 404


async def test_an_unforced_promotion_has_the_guards(app: ASGIApp, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """How far workers are is looked at, and the share of the form is the one that counts."""
    asked: list[Any] = []

    async def promote(self: Any, name: str, version: int, **how: Any) -> None:
        asked.append((name, version, how))
        raise PublishError("level@2 isn't scored for all members yet. Next: memberstream model wait")

    monkeypatch.setattr(publishing.Publishing, "promote", promote)
    path = "/models/level/promote?version=2"
    reply = await send(app, "/models/level/promote", await filled(app, path, max_flips="35%"))
    assert reply.status == 409
    assert "isn't scored for all members yet Next: memberstream model wait" in text_of(reply.text)
    assert asked == [("level", 2, {"reason": "", "replaces": 1, "max_flips": 0.35, "force": False})]


async def test_results_are_forgotten_in_the_end(app: ASGIApp, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they don't fill the memory; what was done stands in the history."""
    monkeypatch.setattr(acts, "_MOST", 1)
    first = await send(app, "/campaigns/open/pause", await filled(app, "/campaigns/open/pause"))
    second = await send(app, "/campaigns/held/pause", await filled(app, "/campaigns/held/pause"))
    assert "open is paused." not in (await get(app, first.headers["location"])).text
    assert "held is paused." in (await get(app, second.headers["location"])).text


async def test_redis_that_is_away_leaves_the_step_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that is said, in commands, too: whoever repeats it would be told that somebody else was faster."""

    class Away:
        calls = readers = property(lambda self: self)

        def __init__(self, *_: object) -> None: ...

        async def __aenter__(self) -> Away:
            return self

        async def __aexit__(self, *_: object) -> None: ...

        async def admit(self) -> None:
            raise RedisUnavailable("Redis at r: no connection. Next: check that it runs")

        announce = known = lambda self, *_: self.admit()

    class Taking:
        async def append(self, _: Step) -> tuple[Registry, str]:
            return a_shop(), ""

    monkeypatch.setattr(steps, "Projection", Away)
    made = steps.Steps(SETTINGS, "ann")
    monkeypatch.setattr(made, "_log", Taking())
    monkeypatch.setattr(made, "_owner", "g@k")
    with pytest.raises(RedisUnavailable) as raised:
        await made.take(PauseCampaign("open", 1, **by("ann")))
    assert error_text(raised.value) == (
        "Redis at r: no connection. Next: check that it runs\nThe step is taken all the same, don't repeat it: workers "
        "tell readers of it once they can."
    )


async def test_actions_that_wait_hold_up_no_other_thread(app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Kafka is away actions take long. Pages and the log-in go on; one action more is refused."""
    may_go, n_begun = threading.Event(), threading.Semaphore(0)

    async def take(*_: object) -> tuple[str, str, int]:
        n_begun.release()
        may_go.wait(60)
        return "paused.", "/campaigns/open", -1

    monkeypatch.setattr(acts, "_taken", take)
    monkeypatch.setattr(acts, "MOMENT_S", 0.01)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(2))
    for i in range(acts.AT_ONCE):
        sent = await send(app, "/campaigns/open/pause", await filled(app, "/campaigns/open/pause", reason=f"{i}"))
        assert sent.headers["location"].startswith("/acts/")
    for _ in range(acts.AT_ONCE):
        assert await asyncio.wait_for(asyncio.to_thread(n_begun.acquire), 30)  # all run, and this finds a thread
    fields = await filled(app, "/campaigns/open/pause", reason="one more")
    refused = await send(app, "/campaigns/open/pause", fields)
    assert refused.status == 503
    assert "actions are under way: this one was not begun" in text_of(refused.text)
    may_go.set()
    for _ in range(1_000):
        if (await send(app, "/campaigns/open/pause", fields)).status == 303:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("actions that are over keep the next one out")


async def test_a_console_that_is_stopped_ends_the_step_under_way(
    app: ASGIApp, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would know whether it was taken, nor would the console's log."""
    may_go, taken = threading.Event(), acts._taken

    async def late(*given: Any) -> tuple[str, str, int]:
        may_go.wait(60)
        return await taken(*given)

    monkeypatch.setattr(acts, "_taken", late)
    monkeypatch.setattr(acts, "MOMENT_S", 0.01)
    asked, told = asyncio.Queue[Any](), asyncio.Queue[Any]()

    async def live() -> None:
        await app({"type": "lifespan", "state": {}}, asked.get, told.put)

    lifespan = asyncio.create_task(live())
    await asked.put({"type": "lifespan.startup"})
    assert (await told.get())["type"] == "lifespan.startup.complete"
    await send(app, "/campaigns/open/pause", await filled(app, "/campaigns/open/pause"))
    await asked.put({"type": "lifespan.shutdown"})
    await asyncio.sleep(0.1)
    assert not lifespan.done()
    may_go.set()
    assert (await told.get())["type"] == "lifespan.shutdown.complete"
    assert [step.campaign for step in log.taken if isinstance(step, PauseCampaign)] == ["open"]
    await lifespan


async def test_a_files_name_is_one_short_line_of_the_log(app: ASGIApp, caplog: pytest.LogCaptureFixture) -> None:
    """It is a text of the browser: it can't look like another line."""
    caplog.set_level(logging.INFO)
    fields = fields_of((await get(app, "/models-publish")).text)
    await publish(app, fields, b"{}", "a\u2028audit: bob (operator) by proxy: retire\x85" + "x" * 300)
    (told,) = [one.getMessage() for one in caplog.records if "the file has problems" in one.getMessage()]
    assert r"publish a\u2028audit: bob (operator) by proxy: retire\x85xxx" in told
    assert len(told) < 250
