"""The console's pages over fakes: what they say, also when something is away, and what they let nobody do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from authored import defined
from typer.testing import CliRunner
from unit.consoles import HOST, NOON_MS, SETTINGS, a_shop, answer, by, fetch, pages, published
from unit.test_doctor import WELL

from memberstream.models.definition import read_definition
from memberstream.models.log_steps import Promote, Publish, Rollback, SetCampaign
from memberstream.models.member import Member
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms
from memberstream.stream.cli import running
from memberstream.stream.cli.main import app as command_line
from memberstream.stream.console import guard, views
from memberstream.stream.console.asking import Now
from memberstream.stream.console.following import Problem
from memberstream.stream.console.site import now_ms
from memberstream.stream.demo import run
from memberstream.stream.doctor.checks import examine
from memberstream.stream.doctor.facts import Facts
from memberstream.stream.keyspace.formats import Beacon, Behind, Scored, Sizes
from memberstream.stream.lookup import LookupUnavailable
from memberstream.stream.projection.calls import RedisUnavailable
from memberstream.stream.queries.asking import Held, NoAnswer
from memberstream.stream.settings import Settings

PAGES = ("/", "/models", "/models/level", "/campaigns", "/campaigns/open", "/lists", "/models/buyers", "/members",
         "/members?id=m", "/history")  # fmt: skip
AWAY = Problem("no Kafka broker at k:1 (connection refused)", "start one")
ROW = b"0:0:9:5:|level@1=2:5"


def at(facts: Any) -> Now:
    return Now(facts, examine(SETTINGS, facts), 12.0)


class Tags(HTMLParser):
    """Elements with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def text_of(page: str) -> str:
    main = page[page.index("<main") : page.index("</main>")]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", main)))


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_whole_and_brings_nothing_of_its_own(path: str) -> None:
    """One heading of the first rank, landmarks, the page marked in the navigation; no script or style in it, no
    address of another host."""
    reply = await fetch(pages(a_shop(), now=at(WELL), found=answer(ROW)), path)
    assert reply.status == 200
    assert reply.headers.items() >= {k.lower(): v for k, v in guard.HEADERS.items()}.items()
    tags = Tags(reply.text).found
    names = [name for name, _ in tags]
    for once in ("html", "title", "h1", "main", "header", "footer"):
        assert names.count(once) == 1, once
    assert [attributes["lang"] for name, attributes in tags if name == "html"] == ["en"]
    assert sum(attributes.get("aria-current") == "page" for _, attributes in tags) == 1
    assert "style" not in names
    for name, attributes in tags:
        assert not {one for one in attributes if one.startswith("on") or one == "style"}
        assert (name != "script") or attributes["src"] == "/console.js"
        for where in ("href", "src", "action"):
            assert re.match("[/#]", attributes.get(where) or "/"), (name, attributes)
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))


async def test_texts_of_others_are_only_texts() -> None:
    """Markup is escaped, and a character that turns a line around is shown, wherever somebody's text stands."""
    evil = "<img src=x onerror=alert(1)>\u202e{{ 7 * 7 }}"
    registry = published(
        Publish("level", 1, defined("level", 1, {1: evil}, description=evil), **by(evil, evil)),
        SetCampaign("open", None, Terms("level", (1,), title=evil[:28]), **by(evil, evil)),
    )
    app = pages(registry, now=at(WELL), problem=Problem(evil, evil), found=answer(None))
    for path in (*PAGES[:5], "/history", "/members?id=%3Cimg%20src=x%3E", "/history?text=%3Cimg"):
        page = (await fetch(app, path)).text
        assert "<img" not in page, path
        assert "\u202e" not in page, path
        assert "&lt;img" in page, path


async def test_before_anything_was_done_each_page_says_what_to_do() -> None:
    """With the command."""
    app = pages(now=at(WELL))
    for path, command in (
        ("/", "memberstream model publish FILE --promote"),
        ("/models", "memberstream model publish FILE --promote"),
        ("/lists", "memberstream clusters upload NAME FILE"),
        ("/campaigns", "memberstream campaign set ID"),
        ("/members?id=m", "memberstream campaign set ID"),
        ("/history", "memberstream model publish FILE"),
    ):
        assert command in text_of((await fetch(app, path)).text), path


async def test_who_may_do_it_here_is_led_to_the_page() -> None:
    """And not to a command. The overview is made once for all, so it leads to pages that anybody may see."""
    app = pages(now=at(WELL), settings=replace(SETTINGS, console_proxies=("127.0.0.1",)))
    operator = {"x-forwarded-user": "ola", "x-forwarded-groups": "memberstream-operator"}
    for path, to in (
        ("/", "/models"),
        ("/models", "/models-publish"),
        ("/lists", "/lists-upload"),
        ("/campaigns", "/campaigns-new"),
        ("/members?id=m", "/campaigns-new"),
        ("/history", "/models-publish"),
    ):
        main = (await fetch(app, path, headers=operator)).text.partition("<main")[2]
        assert re.search(rf'<div class="empty">.*?Next: [^<]*<a href="{to}">', main, re.DOTALL), path
        assert "<code>" not in main, path


async def test_without_kafka_nothing_is_said_to_be_missing() -> None:
    """The error with its next action stands on each page. What isn't known is no "none yet", and no file is given."""
    away = Facts(WELL.now_ms, cluster="k", owner="g@k", kafka_problem=". Next: ".join(AWAY))  # was known
    app = pages(now=at(away), problem=AWAY, was_read=False, found=answer(ROW))
    for path in ("/", "/models", "/lists", "/campaigns", "/members?id=m", "/history"):
        text = text_of((await fetch(app, path)).text)
        assert "no Kafka broker at k:1 (connection refused)" in text, path
        assert "Next: start one" in text, path
        assert not re.search("yet|nobody has done", text, re.IGNORECASE), path
    assert (await fetch(app, "/history.csv")).status == 503
    for path in ("/campaigns/open", "/campaigns/open/report", "/models/level"):
        reply = await fetch(app, path)
        assert reply.status == 503
        assert "whether that exists isn't known now" in text_of(reply.text)
    assert "level@1 live 2" in text_of((await fetch(app, "/members?id=m")).text)  # Redis tells it all the same
    known = pages(a_shop(), problem=AWAY)
    assert "level@2" in text_of((await fetch(known, "/models")).text)  # as it was read last


async def test_sizes_that_are_not_known_yet_are_not_left_out_without_a_word() -> None:
    """Kafka's log is read, and what workers tell isn't asked through. Else pages don't say so."""
    said = "How many members are in each cluster isn't known yet. Next: reload"
    for path in ("/models", "/campaigns"):
        assert said in text_of((await fetch(pages(a_shop()), path)).text)
        assert said not in text_of((await fetch(pages(a_shop(), now=at(WELL)), path)).text)


async def test_without_redis_pages_say_so() -> None:
    """The overview tells no figures of members, a look-up says what to do, and models are shown all the same."""
    gone = replace(WELL, redis_problem="Redis at r: no connection. Next: check that it runs")
    app = pages(a_shop(), now=at(gone), found=LookupUnavailable("Redis at r: no connection. Next: check that it runs"))
    overview = text_of((await fetch(app, "/")).text)
    assert "redis : Redis at r: no connection Next: check that it runs" in overview
    assert "members –" in overview
    assert "Nothing is known of partitions now" in overview
    assert "Redis at r: no connection Next: check that it runs" in text_of((await fetch(app, "/members?id=m")).text)
    assert "1 incident" in (await fetch(app, "/models")).text


async def test_another_installations_redis_is_not_shown_as_ours() -> None:
    """Neither its members nor its counts."""
    app = pages(a_shop(), now=at(replace(WELL, owner="other@k")), found=answer(ROW))
    for path in ("/members?id=m", "/models/level", "/campaigns/open/report"):
        text = text_of((await fetch(app, path)).text)
        assert "the keys ms:* are those of the installation other@k, this is g@k" in text, path
        assert "MEMBERSTREAM_REDIS_PREFIX" in text, path
    assert "members –" in text_of((await fetch(app, "/")).text)


async def test_what_may_be_another_installations_is_not_shown() -> None:
    """While Kafka never told its cluster, nobody can say whose keys these are."""
    never = Facts(WELL.now_ms, owner="g@k", kafka_problem=AWAY.what, beacons=WELL.beacons, behind=WELL.behind)
    for now in (Now(None, [], None), at(never)):
        app = pages(a_shop(), now=now, found=answer(ROW))
        for path in ("/members?id=m", "/campaigns/open/report"):
            text = text_of((await fetch(app, path)).text)
            assert "whether the keys in Redis are this installation's isn't known" in text, path
            assert "level@1 live" not in text, path
        assert "members –" in text_of((await fetch(app, "/")).text)
    assert "Nothing is known of partitions now: whether the keys" in text_of((await fetch(app, "/")).text)


async def test_the_overview_tells_figures_and_incidents() -> None:
    """Each with its unit; a partition without a worker is named."""
    now = replace(
        WELL,
        beacons={0: Beacon(10, WELL.now_ms, WELL.now_ms), 1: Beacon(10, 1, WELL.now_ms - 60_000)},
        behind={0: Behind(7, 4_000, 0, WELL.now_ms), 1: Behind(1, 1, 0, WELL.now_ms - 60_000)},
    )
    text = text_of((await fetch(pages(a_shop(), now=at(now)), "/")).text)
    for said in (
        "workers : no worker has told of partition 1 for 30 s Next: start workers",
        "members 4,000", "records applied 12 /s", "records waiting 7", "oldest sign of a worker 60 s ago",
        "campaigns 5", "are without partition 1, which says nothing", "level@1 live", "level@2 candidate",
        "0 current 0 s ago 4,000 7 10", "1 no worker tells 60 s ago – – 10",
    ):  # fmt: skip
        assert said in text, said
    well = text_of((await fetch(pages(a_shop(), now=at(WELL)), "/")).text)
    assert "None: 14 checks of Kafka, Redis, models and workers found nothing wrong" in well


async def test_versions_lists_and_campaigns_are_told() -> None:
    """Who did what when and why; what nobody named isn't there."""
    app = pages(a_shop(), now=at(WELL))
    models = text_of((await fetch(app, "/models")).text)
    assert "level@1 live logistic 1 low 2 high 2026-11-30 12:00 UTC by ann the first" in models.replace("“", "")
    assert "buyers" not in models
    lists = text_of((await fetch(app, "/lists")).text)
    assert "buyers@1 candidate 40 1 no" in lists
    assert "buyers@2 uploading" in lists
    campaigns = text_of((await fetch(app, "/campaigns")).text)
    for state in ("Open to all open enabled", "paused paused", "early not begun", "over over", "held enabled"):
        assert state in campaigns
    assert "100%" in campaigns
    one = text_of((await fetch(app, "/campaigns/paused")).text)
    assert "pause zoe" in one
    assert "nobody: what it causes can't be told" in one


async def test_a_version_that_was_live_says_until_when() -> None:
    """Its badge isn't that of a version that nobody has tried, on each page with badges."""
    registry = a_shop()
    assert registry.add(99, Promote("level", 2, 1, **by("eve", "better", at_ms=NOON_MS + 60_000))) == ""
    app = pages(registry, now=at(WELL))
    for path in ("/", "/models", "/models/level"):
        text = text_of((await fetch(app, path)).text)
        assert "level@1 was live until 2026-11-30 12:01 UTC" in text, path
        assert "level@2 live" in text, path
        assert "level@1 candidate" not in text, path
    text = text_of((await fetch(app, "/models/level")).text)
    assert "was live until 2026-11-30 12:01 UTC by eve better : level@2 took its place" in text
    assert registry.add(100, Rollback("level", 1, 2, **by("eve", at_ms=NOON_MS + 120_000))) == ""
    text = text_of((await fetch(app, "/models")).text)
    assert "level@1 live" in text
    assert "level@2 was live until 2026-11-30 12:02 UTC" in text


async def test_a_lists_rows_arent_told_as_all_members() -> None:
    """A list holds those that were uploaded; of a model the members that there are count."""
    registry = a_shop()
    app = pages(registry, now=at(replace(WELL, scored={p: Scored(99, 0) for p in range(9)})))
    text = text_of((await fetch(app, "/models/buyers")).text)
    assert "rows 40 members, as uploaded" in text
    assert "in Redis all of its members, but those deleted since" in text
    assert "for all members" not in text


@pytest.mark.parametrize("path", ["/models/nothing", "/campaigns/nothing", "/campaigns/nothing/report", "/x"])
async def test_what_isnt_there_says_where_to_look(path: str) -> None:
    """Status 404, and a page like the others."""
    reply = await fetch(pages(a_shop(), now=at(WELL)), path)
    assert reply.status == 404
    assert "Next: see" in text_of(reply.text)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_pages_take_nothing(method: str) -> None:
    """Neither from elsewhere nor from a page of the console."""
    for path in PAGES:
        reply = await fetch(
            pages(a_shop()), path.partition("?")[0], method=method, headers={"origin": f"http://{HOST}"}
        )
        assert reply.status == 405
        assert "this page takes nothing" in text_of(reply.text)


async def test_a_fault_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a traceback, and with the headers of every answer."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the code")

    monkeypatch.setattr(views.versions, "versions", broken)
    reply = await fetch(pages(a_shop()), "/models")
    assert reply.status == 500
    assert "this is a fault of memberstream Next: report it" in text_of(reply.text)
    assert "secret" not in reply.text
    assert reply.headers.items() >= {k.lower(): v for k, v in guard.HEADERS.items()}.items()


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1:9470", True), ("localhost:8080", True), ("LOCALHOST", True), ("[::1]:9470", True), ("127.9.9.9", True),
     ("evil.example:9470", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example", False),
     ("10.0.0.1:9470", False), ("", False), ("[::1", True), ("[fe80::1]", False)],
)  # fmt: skip
async def test_only_names_of_this_machine_are_answered(host: str, is_own: bool) -> None:
    """So a page of another site whose name points here gets nothing; a tunnel's port may be another one."""
    reply = await fetch(pages(a_shop()), "/models", host=host)
    assert reply.status == (200 if is_own else 421)
    assert ("level" in reply.text) is is_own
    assert is_own or "Next: open http://127.0.0.1:9470\n" in reply.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
def test_it_listens_on_loopback_only(host: str) -> None:
    """Refused before anything is opened, with what to do."""
    result = CliRunner().invoke(command_line, ["console", "--host", host, "--port", "9470"])
    assert result.exit_code == 1
    assert f"error: {host}: the console has no log-in" in result.stderr
    assert "ssh -L 9470:127.0.0.1:9470" in result.stderr


def test_loopback_in_each_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """By address, or as localhost. By another name each page would be refused, wherever it points."""
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        guard.check_address(Settings(), host, 0)
    monkeypatch.setattr(guard, "_addresses", lambda *_: {"127.0.1.1"})
    with pytest.raises(guard.Unreachable, match="my-laptop: the console answers to addresses and to localhost only"):
        guard.check_address(Settings(), "my-laptop", 0)


def test_without_its_libraries_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are an extra."""
    import builtins

    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("memberstream.stream.console"):
            raise ModuleNotFoundError("no", name="starlette.types")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    result = CliRunner().invoke(command_line, ["console"])
    assert result.exit_code == 1
    assert "error: the console needs starlette. Next: pip install 'memberstream[console]'" in result.stderr


def test_the_demo_stays_open_if_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the console on its own servers, while they still run; else it ends."""
    served: list[tuple[Settings, int]] = []
    has_trees: list[bool] = []

    def run_demo(*, json: bool, boosted: bool, then: Callable[[Settings], None] | None) -> None:
        has_trees.append(boosted)
        if then is not None:
            then(SETTINGS)

    monkeypatch.setattr(run, "run_demo", run_demo)

    @contextmanager
    def shown_campaign(settings: Settings) -> Iterator[None]:
        served.append((settings, -1))
        yield

    monkeypatch.setattr("memberstream.stream.demo.campaign.shown_campaign", shown_campaign)
    monkeypatch.setattr(running, "serve_console", lambda settings, port, to: served.append((settings, port)))
    assert CliRunner().invoke(command_line, ["demo"]).exit_code == 0
    assert served == []
    assert CliRunner().invoke(command_line, ["demo", "--console"]).exit_code == 0
    assert served == [(SETTINGS, -1), (SETTINGS, 0)]
    assert CliRunner().invoke(command_line, ["demo", "--boosted"]).exit_code == 0
    assert has_trees == [False, False, True]


async def test_how_far_a_version_is_scored() -> None:
    """As `model wait` tells it: complete, on its way, or refused by a worker."""
    now = now_ms()  # coverage goes by the wall clock
    done, works, stands = {0: Scored(9, 0), 1: Scored(9, 0)}, Behind(3, 50, 0, now), Beacon(1, 1, 1)
    lives = {0: Beacon(9, now, now), 1: Beacon(9, now, now)}
    both = {0: works, 1: works}
    for scored, behind, beacons, said in (
        (done, both, lives, "scored for all members (100) 6 events wait for the workers"),
        (
            done,
            {0: works},
            lives,
            "scored for all members that workers have told of 3 events wait for the workers; not "
            "told of partition 1: no worker, or one of an older version",
        ),
        (done, {}, {}, "not told of partitions 0, 1: no worker, or one of an older version"),
        (done, both, lives | {1: stands}, "Partition 1 is held until somebody acts: memberstream doctor says"),
        ({0: Scored(9, 0), 1: Scored(1, 70)}, both, lives, "scored 1 of 2 partitions, about 70 members left"),
        ({0: Scored(9, 0), 1: Scored(1, 70)}, {0: works}, lives, "No worker has answered for partition 1. Next: start"),
        (done | {0: Scored(9, 0, (2,))}, both, lives, "level@2 can't be used by the workers of 1 of 2 partitions"),
    ):
        facts = replace(WELL, scored=scored, behind=behind, beacons=beacons, now_ms=now)
        text = text_of((await fetch(pages(a_shop(), now=at(facts)), "/models/level")).text)
        assert said in text.replace(" ,", ","), said


async def test_how_many_members_are_in_which_cluster() -> None:
    """Beside each version's clusters; a campaign says whom it reaches, as of when, and what isn't known."""
    told = Sizes(WELL.now_ms, {b"level@1": {1: 3_000, 2: 1_000}})
    whole = pages(a_shop(), now=at(replace(WELL, sizes={0: told, 1: told})))
    for path in ("/", "/models"):
        assert "clusters, with members" in (text := text_of((await fetch(whole, path)).text)), path
        assert "1 low 6,000 2 high 2,000" in text, path
    text = text_of((await fetch(whole, "/models/level")).text)
    assert "1 low 6,000 75.0%" in text
    assert "8,000 members, as of" in text
    text = text_of((await fetch(whole, "/campaigns")).text)
    assert re.search("Open to all open enabled level 2 high always for ever 2,000 members nobody", text)
    assert "2,000 members see it Of 8,000 members, as of" in text_of((await fetch(whole, "/campaigns/open")).text)
    assert "nobody now, otherwise 6,000 members" in text_of((await fetch(whole, "/campaigns/paused")).text)
    held = text_of((await fetch(whole, "/campaigns/held")).text)
    assert "0 members see it; 8,000 members are held out Of 8,000 members, as of" in held
    manager = {"x-forwarded-user": "ann", "x-forwarded-groups": "memberstream-manager"}
    acting = pages(a_shop(), now=at(replace(WELL, sizes={0: told, 1: told})), settings=NOT_ASKED)
    for path in ("/campaigns/open/set", "/campaigns-split?id=new&model=level"):
        text = text_of((await fetch(acting, path, headers=manager)).text)
        assert re.search("1 low: 6,000 members .*2 high: 2,000 members .*Members as of", text), path
    none = await fetch(pages(Registry(), settings=NOT_ASKED), "/campaigns", headers=manager)
    assert "There is no campaign yet. Next: New campaign" in text_of(none.text)
    partly = pages(a_shop(), now=at(replace(WELL, sizes={0: told})))
    for path, said in (
        ("/", "Members of level@1 are as of"),
        ("/models/level", "4,000 members, as of"),
        ("/campaigns/open", "1,000 members see it Of 4,000 members, as of"),
    ):
        text = text_of((await fetch(partly, path)).text)
        assert said in text, path
        assert "without partition 1, of which no worker tells now" in text, path
    other = pages(a_shop(), now=at(replace(WELL, sizes={0: told}, owner="x@k")))
    for app in (pages(a_shop(), now=at(WELL)), other):
        text = text_of((await fetch(app, "/campaigns/open")).text)
        assert "reach not told by workers: memberstream campaign reach open" in text
        assert "with members" not in text_of((await fetch(app, "/")).text)


async def test_a_long_history_comes_in_pages() -> None:
    """Each step on one of them; a page that isn't there is the nearest one."""
    steps = [Publish("level", n, defined("level", n), **by("ann", at_ms=NOON_MS + n)) for n in range(1, 251)]
    app = pages(published(*steps))
    shown = [text_of((await fetch(app, f"/history?page={n}")).text) for n in (1, 2, 3, 99, "x")]
    assert [len(re.findall(r"level@\d+", text)) for text in shown] == [100, 100, 50, 50, 100]
    assert "250 steps , page 3 of 3" in shown[2].replace("steps,", "steps ,")
    assert "1 step." in text_of((await fetch(app, "/history?text=LEVEL@250")).text)
    assert "No step fits" in text_of((await fetch(app, "/history?text=nobody")).text)


NOT_ASKED = Settings(topic="docs", group="g", console_proxies=("127.0.0.1",))
ASKED = replace(NOT_ASKED, query_secret="a secret of sixteen")
TEXT, SUM = "Ann's secret & <b>", 312.5


def held_member(document: dict[str, Any] | None) -> Held:
    return Held(1, Member(position=41, as_of_ms=NOON_MS, document=document))


def scored() -> Registry:
    """A model that reads a number and a text, live, and a candidate that a newer memberstream published."""
    body = {
        "format": 1, "name": "level", "version": 1,
        "predictors": [{"name": "total", "path": "total", "missing": 0},
                       {"name": "plan", "path": "plan", "transforms": [{"one_hot": ["gold", TEXT]}], "missing": None}],
        "model": {"type": "logistic", "coef": [0.01, 1.0, -2.0], "intercept": -1.5, "thresholds": [0.5]},
        "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "high"}],
    }  # fmt: skip
    newer = defined("level", 2, {1: "low", 2: "high"})
    return published(
        Publish("level", 1, read_definition(body), **by("ann")), Promote("level", 1, None, **by("ann")),
        Publish("level", 2, newer, **by("ann")),
    )  # fmt: skip


async def member_page(monkeypatch: pytest.MonkeyPatch, found: Any, role: str = "", settings: Settings = ASKED) -> str:
    """The page of a member of whom a worker holds something, or says why not; for somebody with a role."""

    async def held_of(*_: object) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("memberstream.stream.console.site.held_of", held_of)
    app = pages(scored(), now=at(WELL), found=answer(b"0:1:41:5:|level@1=2:5"), settings=settings)
    headers = {"x-forwarded-user": "ann", "x-forwarded-groups": f"memberstream-{role or 'viewer'}"}
    return (await fetch(app, "/members?id=m", headers=headers)).text


async def test_why_a_member_is_in_its_cluster(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may see documents sees the values that models read, with the document, as of an event; and that is
    written down, without saying whose document it was."""
    caplog.set_level("INFO")
    document = {"total": SUM, "plan": TEXT, "name": "Ann"}
    page = await member_page(monkeypatch, held_member(document), "operator")
    text = text_of(page)
    assert "As of event 41 of partition 1, scored at 2026-11-30 12:00 UTC" in text
    assert "1 low of level@1 live Eta -0.3750 → probability 0.4073; would become 2 high if eta rose by 0.3750." in text
    assert "What is above 0 raises eta." in text
    assert f"total 312.5 +3.1250 plan {TEXT} -2.0000" in text
    assert f'"plan": "{TEXT}"' in text
    assert "Ann's" not in page.replace("Ann&#39;s", "")  # only as text
    assert "level@2" not in text[text.index("Why") :]
    assert [r.getMessage() for r in caplog.records if "audit" in r.getMessage()] == [
        "audit: ann (operator) by proxy: saw a member's document, unmasked, from 127.0.0.1"
    ]
    long = {"total": 1, "all": list(range(1_000))}
    assert "The first 400 of 1,005 lines." in text_of(await member_page(monkeypatch, held_member(long), "author"))


@pytest.mark.parametrize("role", ["viewer", "manager"])
async def test_values_are_masked(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others see how much each predictor weighs, in steps, and nothing that stands in the document."""
    document = {"total": SUM, "plan": 7.75, "name": "Ann Onym", "note": "total"}
    page = await member_page(monkeypatch, held_member(document), role)
    text = text_of(page)
    assert "total masked much, above 0 plan masked nothing" in text
    assert "1 place that it reads holds what doesn't fit" in text
    assert "Masked: 6 lines." in text
    for value in ("312.5", "3.125", "7.75", "Onym"):
        assert value not in page, value


async def test_why_nothing_is_known_of_a_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret, no answer, no document; each says what to do, and the rest of the page stands."""
    gone = NoAnswer("no worker of partition 1 answers. Next: start one")
    for found, settings, said in (
        (gone, NOT_ASKED, "Workers aren't asked for documents here. Next: set MEMBERSTREAM_QUERY_SECRET, here and for"),
        (gone, ASKED, "No worker of partition 1 answers. Next: start one."),
        (RedisUnavailable("Redis is away"), ASKED, "Redis is away. Next: check Redis, and reload."),
        (None, ASKED, "No worker holds a document of this member."),
        (held_member(None), ASKED, "No worker holds a document of this member."),
    ):
        text = text_of(await member_page(monkeypatch, found, "operator", settings))
        assert said in text, said
        assert "2 high" in text, said
