"""The console on a running installation, in a real browser: each page at two widths, light and dark; by keyboard."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Literal
from urllib.request import urlopen

import orjson
import pytest
from e2e import console_story
from e2e.commands import memberstream
from e2e.counting import IDS, Counting, by, counting, load
from e2e.system import PATIENCE_S, Install, Pair, Sent, event, pause_s
from oidc.server import SECRET
from oidc.server import provider as oidc_provider
from playwright.async_api import Browser, ConsoleMessage, Error, Page, Request, async_playwright
from prefork import PythonProcess
from servers import missing
from unit.consoles import HOST
from unit.consoles import fetch as ask

from memberstream.models.log_steps import SetCampaign
from memberstream.models.terms import Terms
from memberstream.stream.authoring.uploading import Options, Uploading
from memberstream.stream.console.access import Access
from memberstream.stream.console.app import application
from memberstream.stream.console.asking import Asking
from memberstream.stream.console.following import Following
from memberstream.stream.console.live import Live
from memberstream.stream.console.site import Site
from memberstream.stream.files.lists import read_rows
from memberstream.stream.local.server_process import free_port
from memberstream.stream.lookup import Lookup

#: A member whose first event came before the event that makes it.
LATE = b"comes-late"
PAGES = {
    "/": "Overview",
    "/models": "Models",
    "/models/level": "level",
    "/campaigns": "Campaigns",
    "/campaigns/for-all": "For everybody",
    "/campaigns/for-all/report": "For everybody (for-all)",
    "/lists": "Lists",
    "/members": "Members",
    "/members?id=m1": "Members",
    "/members?id=nobody": "Members",
    "/dead-letters": "Dead letters",
    "/dead-letters?reason=unknown_member": "Dead letters",
    "/history": "History",
    "/history?kind=campaign&text=for": "History",
}
LOOKS: list[tuple[int, Literal["light", "dark"]]] = [(390, "light"), (390, "dark"), (1280, "dark"), (1280, "light")]


@pytest.fixture
async def system(embedded_pair: Pair, install: Install) -> AsyncIterator[Counting]:
    """Members in two clusters, two versions of a model, a list, campaigns, and counts of interactions."""
    made = await counting(embedded_pair, install)
    seen = await made.seen("for-all")
    terms = Terms("level", (1, 2), holdout=3_000, title="For everybody")
    await made.author.take(SetCampaign("for-all", seen, terms, **by(1_700_000_000_000) | {"reason": "a first try"}))
    rows = read_rows({member: i % 2 + 1 for i, member in enumerate(IDS[:50])})
    await Uploading(made.members.settings, "ann@shop").upload(rows, Options("buyers", names={1: "no", 2: "yes"}))
    made.start()
    await made.send(load(1_000, 0, 1).records)
    await made.applied()
    await made.members.send([Sent(LATE, event("patch", patch={"x": 5}, version=2))])  # of nobody, so far
    await made.members.applied()
    yield made
    await made.close()


@pytest.fixture
async def address(system: Counting, tmp_path: Path) -> AsyncIterator[str]:
    """Where the console of this installation answers: the real command, in a process of its own."""
    async with serving(system.members.environment(), tmp_path / "console.log") as found:
        yield found


@asynccontextmanager
async def serving(environment: dict[str, str], log: Path, port: int | None = None) -> AsyncIterator[str]:
    """Run a console; yields where it answers."""
    port = port or free_port()
    process = PythonProcess("the console", log)
    command = [sys.executable, "-m", "memberstream", "console", "--port", str(port)]
    process.spawn(command, cwd=log.parent, env=environment)
    found = f"http://127.0.0.1:{port}"
    give_up_at = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        asked = asyncio.get_running_loop().time()
        try:
            await asyncio.to_thread(fetch, f"{found}/style.css")
            break
        except OSError:
            assert asked < give_up_at, await asyncio.to_thread(log.read_text)
            await asyncio.sleep(pause_s(asked))
    yield found
    process.stop(grace_s=20.0)
    assert "Traceback" not in await asyncio.to_thread(log.read_text)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium: the downloads of Playwright's own aren't used."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("Chromium is missing. Install it (Debian: chromium)")
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield made
        await made.close()


def fetch(address: str) -> bytes:
    with urlopen(address, timeout=PATIENCE_S) as reply:
        found: bytes = reply.read()
        return found


async def test_the_console(system: Counting, address: str, browser: Browser, tmp_path: Path) -> None:
    """One installation serves for all, because it takes longest to set up."""
    page = await browser.new_page()
    page.set_default_timeout(1_000 * PATIENCE_S)
    await each_page(address, page, Path(os.environ.get("CONSOLE_PICTURES", tmp_path)))
    await by_keyboard(address, page)
    await files_of_the_history(system, address)
    await sizes(system, address, page)
    await reasons(system, address, page)
    await live(system, address, page)
    await letters(system, address, page)
    await people_act(system, browser, tmp_path)
    await by_a_provider(system, browser, tmp_path)


async def people_act(system: Counting, browser: Browser, folder: Path) -> None:
    """With a log-in: the story by clicks, each action by each role, and what is refused stands in the log."""
    users, log = folder / "users.json", folder / "acting.log"
    console_story.make_users(users)
    asked: list[str] = []

    async def look(page: Page, path: str) -> None:
        await fits(page, path, pictures_folder(), f"acting-{len(asked):02}-")
        asked.append(path)

    environment = system.members.environment() | {"MEMBERSTREAM_CONSOLE_USERS": str(users)}
    async with serving(environment, log) as address:
        pages = await console_story.story(system, address, browser, folder, look)
        n_refused = await console_story.forbidden(address, pages, look)
        for page, path in zip(pages, ("/models-publish", "/campaigns/summer/set", "/history"), strict=True):
            await page.goto(address + path)
            await reached(page, path)
        await console_story.logs_out(address, pages[-1])
        assert (await asyncio.to_thread(log.read_text)).count(" may not ") == n_refused


async def at_the_provider(browser: Browser, address: str) -> Page:
    """Return a stranger's page that wanted the history, at the provider."""
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(1_000 * PATIENCE_S)
    await page.goto(f"{address}/history")
    await page.get_by_role("link", name="Log in with 127.0.0.1").click()
    return page


def pictures_folder() -> Path | None:
    """Return where pictures of pages are kept, if anywhere."""
    found = os.environ.get("CONSOLE_PICTURES")
    return Path(found) if found else None


async def by_a_provider(system: Counting, browser: Browser, folder: Path) -> None:
    """People log in by clicks at npm's oidc-provider: two roles, none, somebody who doesn't say who; and it is away."""
    port, log = free_port(), folder / "provided.log"
    async with oidc_provider(f"http://127.0.0.1:{port}/log-in/provider/back", folder / "oidc.log") as (
        issuer,
        process,
    ):
        environment = system.members.environment() | {
            "MEMBERSTREAM_CONSOLE_OIDC_ISSUER": issuer,
            "MEMBERSTREAM_CONSOLE_OIDC_CLIENT_ID": "console",
            "MEMBERSTREAM_CONSOLE_OIDC_CLIENT_SECRET": SECRET,
            "MEMBERSTREAM_CONSOLE_OIDC_SCOPES": "openid,profile,groups",
            "MEMBERSTREAM_CONSOLE_OIDC_ROLES": "CN=data,OU=marketing=manager,CN=data,OU=science=author",
        }
        async with serving(environment, log, port) as address:
            for who, may in (("mia", "look, set campaigns."), ("dan", "look, publish and promote models,")):
                page = await at_the_provider(browser, address)
                await page.get_by_label("Who").fill(who)
                await page.get_by_role("button", name="Go on").click()
                await page.wait_for_url(f"{address}/history")
                assert f"You may {may}" in await page.locator("footer").inner_text()
                assert who in await page.locator(".who").inner_text()
            await page.get_by_role("button", name="Log out").click()
            await page.wait_for_url("**/log-in")
            assert (await page.request.get(f"{address}/history", max_redirects=0)).status == 303
            page = await at_the_provider(browser, address)
            await page.get_by_label("Who").fill("eve")
            await page.get_by_role("button", name="Go on").click()
            await page.get_by_text("logged in as eve, but none of your groups has a role here").wait_for()
            assert (await page.request.get(page.url)).status == 400  # a log-in is one once
            page = await at_the_provider(browser, address)
            await page.get_by_role("button", name="Not now").click()
            await page.get_by_text("the provider didn't log you in: access_denied").wait_for()
        told = await asyncio.to_thread(log.read_text)
        assert f"audit: mia (manager), mia at {issuer}, logged in, from 127.0.0.1" in told
        assert "audit: somebody wasn't let in: eve: none of the values of groups gives a role, from" in told
        assert "audit: somebody wasn't let in: the provider says access_denied, from" in told
        process.stop(grace_s=5.0)
        async with serving(environment, log, port) as address:
            page = await browser.new_page()
            reply = await page.goto(f"{address}/log-in/provider")
            assert reply is not None
            assert reply.status == 503
            await page.get_by_text("the provider of log-ins doesn't answer").wait_for()
            await fits(page, "log-in-provider-away", pictures_folder(), "oidc-")


async def each_page(address: str, page: Page, pictures: Path) -> None:
    """No page is wider than the window, says anything to the console, breaks its own policy, or asks another host."""
    said, asked = heard(page)
    for number, (path, heading) in enumerate(PAGES.items()):
        await calm(page, address + path)
        assert (await page.locator("h1").all_inner_texts())[0].startswith(heading), path
        await fits(page, path, pictures, f"{number:02}-")
        assert said == [], path
    assert [url for url in asked if not url.startswith(f"{address}/")] == []


async def fits(page: Page, path: str, pictures: Path | None, before: str) -> None:
    """The page as it is isn't wider than the window, and is as light or dark as is wanted; pictures show it."""
    name = path.strip("/").translate(str.maketrans("/?&=, ", "------")) or "overview"
    for width, scheme in LOOKS:
        await page.set_viewport_size({"width": width, "height": 900})
        await page.emulate_media(color_scheme=scheme)
        where = f"{path} at {width} px, {scheme}"
        assert await page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, where
        is_dark = await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
        assert is_dark == (scheme == "dark"), where
        if pictures is not None:
            await page.screenshot(path=pictures / f"{before}{name}-{width}-{scheme}.png", full_page=True)


async def calm(page: Page, address: str) -> None:
    """Open a page that tells of nothing wrong. On a busy machine Kafka may take longer than the console waits."""
    give_up_at = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        asked = asyncio.get_running_loop().time()
        await page.goto(address)
        if not (alarms := await page.locator(".alert, .incidents").all_inner_texts()):
            return
        assert asked < give_up_at, alarms
        await asyncio.sleep(pause_s(asked))


def heard(page: Page) -> tuple[list[str], list[str]]:
    """Return what a page will say to the browser's console, errors included, and the addresses that it will ask."""
    said, asked = list[str](), list[str]()

    def to_console(message: ConsoleMessage) -> None:
        said.append(message.text)

    def error(found: Error) -> None:
        said.append(str(found))

    def request(made: Request) -> None:
        asked.append(made.url)

    page.on("console", to_console)
    page.on("pageerror", error)
    page.on("request", request)
    return said, asked


async def by_keyboard(address: str, page: Page) -> None:
    """Each link and field is reached by Tab, and the focus is seen; a member is looked up by typing alone."""
    for path in PAGES:
        await page.goto(address + path)
        await reached(page, path)
    await page.goto(f"{address}/members")
    await page.locator("#id:focus").wait_for()  # by itself
    await page.keyboard.type("m1")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/members?id=m1")
    assert "for-all" in await page.locator("main").inner_text()


async def reached(page: Page, path: str) -> None:
    """Each link and field of this page is reached by Tab, and the focus is seen."""
    await page.evaluate("document.activeElement.blur()")
    what = "a, button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"
    wanted = await page.locator(f":is({what}):visible").count()
    found = await focused_in_turn(page, wanted + 5)
    assert len(found) == wanted, path
    assert all(found.values()), path


async def focused_in_turn(page: Page, n: int) -> dict[str, bool]:
    """Press Tab so many times; return what had the focus, and whether an outline showed it."""
    found: dict[str, bool] = {}
    for _ in range(n):
        await page.keyboard.press("Tab")
        one = await page.evaluate("""() => {
            const at = document.activeElement;
            if (!at || at === document.body) return null;
            const all = [...document.querySelectorAll("*")];
            return [`${all.indexOf(at)} ${at.tagName}`, getComputedStyle(at).outlineStyle !== "none"];
        }""")
        if one is not None:
            found[one[0]] = one[1]
    return found


async def files_of_the_history(system: Counting, address: str) -> None:
    """JSON and CSV hold each step that the log holds."""
    registry = await system.author.registry()
    n = len(registry.history) + len(registry.campaign_history)
    assert len(orjson.loads(await asyncio.to_thread(fetch, f"{address}/history.json"))) == n
    assert len((await asyncio.to_thread(fetch, f"{address}/history.csv")).splitlines()) == n + 1


async def sizes(system: Counting, address: str, page: Page) -> None:
    """Workers tell how many members are in which cluster, again if Redis loses it; so a campaign's reach is known."""
    system.members.redis.delete(system.members.keys.sizes)
    await page.goto(address)
    await page.locator(".chip b").nth(3).wait_for()
    told = await page.locator(".chip b").all_inner_texts()
    assert sum(int(each.replace(",", "")) for each in told) == 2 * len(IDS)  # two versions of two clusters
    await page.goto(f"{address}/campaigns/for-all")
    text = await page.locator("main").inner_text()
    assert f"about {round(0.7 * len(IDS)):,} members see it; about" in text
    assert f"Of {len(IDS):,} members, as of" in text


async def reasons(system: Counting, address: str, page: Page) -> None:
    """The member's worker is asked why the member is in its cluster, and says what the changelog says; masked."""
    await page.goto(f"{address}/members?id=m2")
    text = await page.locator("main").inner_text()
    assert "As of event" in text
    assert "masked" in text
    settings = system.members.settings
    found = []
    for secret in (settings.query_secret, None, "another secret of its own"):
        system.members.set(query_secret=secret)
        found.append(await memberstream(system.members, "explain", "m2", "level", "--json"))
    system.members.set(query_secret=settings.query_secret)
    assert found[0] == found[1]
    assert found[0][0] == 0
    assert found[2][1] == found[0][1]
    assert "has another MEMBERSTREAM_QUERY_SECRET" in found[2][2]
    contribution = orjson.loads(found[0][1])["explanation"]["parts"][0]["contribution"]
    told = await page.locator("td[data-label=contribution]").all_inner_texts()  # of each version
    assert told[0] == f"much, {'above' if contribution > 0 else 'below'} 0"  # the number would tell what was read
    assert not any("." in weight for weight in told)


async def live(system: Counting, address: str, page: Page) -> None:
    """A step taken elsewhere shows on the open overview by itself."""
    await page.goto(address)
    await page.locator("#connection", has_text="Live").wait_for()
    figures = page.locator(".figures dd")
    assert await figures.nth(0).inner_text() == f"{len(IDS):,}"
    assert await figures.nth(4).inner_text() == "3"
    await system.author.take(SetCampaign("new", None, Terms("level", (1,)), **by(1_700_000_000_000)))
    await figures.nth(4).get_by_text("4", exact=True).wait_for()


async def letters(system: Counting, address: str, page: Page) -> None:
    """A dead letter is counted, and shown without its data. Its cause goes away, and an operator sends it again."""
    await page.goto(f"{address}/dead-letters")
    text = await page.locator("main").inner_text()
    assert "unknown_member" in text
    assert LATE.decode() not in text
    await system.members.send([Sent(LATE, event("replace", document={"x": 0}, version=1))])
    await system.members.applied()
    settings = replace(system.members.settings, console_proxies=("127.0.0.1",))
    following = Following(settings)
    site = Site(settings, following, Asking(settings, following), Lookup(settings.redis_url), Access(settings))
    app = application(site, Live(site))
    operator = {"x-forwarded-user": "ola", "x-forwarded-groups": "memberstream-operator"}
    shown = (await ask(app, "/dead-letters", headers=operator)).text
    [token, *_] = re.findall(r'name="token" value="([^"]+)"', shown)
    sent = operator | {"content-type": "application/x-www-form-urlencoded", "origin": f"http://{HOST}"}
    for step, said in (("look", "1 dead letter of 1 to"), ("send", "1 dead letter to")):
        form = f"token={token}&of=events&reason=unknown_member&until=9999999999999".encode()
        reply = await ask(app, f"/dead-letters/{step}", method="POST", headers=sent, body=form)
        assert said in reply.text
    await site.end()
    give_up_at = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        asked = asyncio.get_running_loop().time()
        _, said, _ = await memberstream(system.members, "explain", LATE.decode(), "level", "--json")
        if orjson.loads(said)["explanation"]["predictors"] == {"x": 5}:
            return
        assert asked < give_up_at, said
        await asyncio.sleep(pause_s(asked))


async def test_the_script_says_when_nobody_answers(browser: Browser) -> None:
    """After 5 s without an event, however the browser thinks of the connection; then it begins anew. That it was
    refused, as one too many, stays said. Clock and connection are played; the page is the script's own."""
    page = await (await browser.new_context()).new_page()
    await page.clock.install()
    await page.set_content('<p id="connection"></p><p id="part">old</p><div data-live="/live" hidden></div>')
    await page.evaluate("""() => {
        window.EventSource = class extends EventTarget {
            static CLOSED = 2;
            readyState = 1;
            constructor() { super(); (window.made ??= []).push(this); }
            close() { this.readyState = 2; }
        };
    }""")
    script = files("memberstream.stream.console").joinpath("static/console.js").read_text(encoding="utf-8")
    await page.add_script_tag(content=script)

    async def event(text: str) -> None:
        await page.evaluate("text => made.at(-1).onmessage({data: text})", text)

    async def shown() -> tuple[str, str, int]:
        said = await page.locator("#connection").inner_text()
        return said.partition(";")[0], await page.locator("#part").inner_text(), await page.evaluate("made.length")

    live, lost = "Live: renewed each second.", "The console doesn't answer"
    await event('{"part": "new"}')
    for _ in range(10):
        await page.clock.run_for(1_000)
        await event("{}")  # nothing has changed
    assert await shown() == (live, "new", 1)
    await page.clock.run_for(5_500)
    assert await shown() == (lost, "new", 2)
    assert await page.evaluate("made[0].readyState") == 2
    await event("{}")
    assert await shown() == (live, "new", 2)
    await page.evaluate("() => { made.at(-1).readyState = 2; made.at(-1).onerror(); }")  # a status that isn't 200
    assert await shown() == (lost, "new", 2)
    await page.clock.run_for(5_500)
    assert await shown() == (lost, "new", 3)
    await page.evaluate("""made.at(-1).dispatchEvent(new MessageEvent("refused", {data: '"one too many"'}))""")
    await page.clock.run_for(5_500)
    assert await shown() == ("one too many", "new", 4)
    await event("{}")
    assert await shown() == (live, "new", 4)
