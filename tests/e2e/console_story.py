"""The story of a model from its file to a paused campaign, by clicks alone, by the roles whose work each part is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from e2e.counting import IDS, Counting
from e2e.definitions import level
from e2e.system import PATIENCE_S
from playwright.async_api import Browser, Page

from memberstream.stream.console.roles import Role
from memberstream.stream.console.users import Users

PASSWORD = "four words and more"
#: Pages that ask for an action, with the role whose work it is; the others are refused.
ACTING = {
    "/campaigns-new": Role.MANAGER,
    "/campaigns/summer/set": Role.MANAGER,
    "/campaigns/summer/pause": Role.MANAGER,
    "/campaigns/summer/delete": Role.MANAGER,
    "/models-publish": Role.AUTHOR,
    "/lists-upload": Role.AUTHOR,
    "/models/level/promote?version=2": Role.AUTHOR,
    "/models/level/retire?version=2": Role.AUTHOR,
}
Look = Callable[[Page, str], Awaitable[None]]


def make_users(file: Path) -> None:
    """Make somebody of each role, called by it."""
    for role in Role:
        Users(file).add(role.value, PASSWORD, frozenset({role}))


async def log_in(browser: Browser, address: str, role: Role, path: str = "/") -> Page:
    """Open a page as a stranger, log in by typing, and be there."""
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(1_000 * PATIENCE_S)
    await page.goto(address + path)
    await page.locator("#name:focus").wait_for()  # by itself
    await page.keyboard.type(role.value)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(address + path)
    return page


async def story(system: Counting, address: str, browser: Browser, folder: Path, look: Look) -> list[Page]:
    """Publish, follow, promote, set, pause. Returns the pages of the author, the manager and a viewer."""
    stranger = await (await browser.new_context()).new_page()
    await stranger.goto(f"{address}/members?id=m1")
    await look(stranger, "/log-in")
    author = await log_in(browser, address, Role.AUTHOR, "/models")
    await look(author, "/models")
    await author.get_by_role("link", name="Publish a model").click()
    await _file(author, folder / "bad.json", level(3) | {"version": 0, "colour": "red"})
    assert await author.locator(".problems li").count() == 2
    assert "colour: " in await author.locator(".problems").inner_text()
    await look(author, "/models-publish")
    await _file(author, folder / "level.json", level(3))
    await author.locator(".well", has_text="level@3 is published as a candidate").wait_for()
    newest = author.locator("article", has_text="level@3")
    await newest.get_by_text("for all members").wait_for()  # renewed by itself
    await newest.get_by_role("link", name="Promote").click()
    await author.get_by_label("Reason").fill("agreed with marketing")
    await author.get_by_role("button", name="Promote").click()
    await author.locator(".well", has_text="level@3 is live.").wait_for()
    await look(author, "/models/level")
    await uploads_a_list(author, folder, look)

    manager = await log_in(browser, address, Role.MANAGER, "/campaigns")
    await manager.get_by_role("link", name="New campaign").click()
    await manager.get_by_label("Id,").fill("summer")
    await manager.get_by_role("button", name="Go on").click()
    await manager.get_by_label("2 high").check()
    await manager.get_by_label("Held out").fill("ten")
    await manager.get_by_role("button", name="Set summer").click()
    await manager.get_by_text("ten: expected a share such as 10%").wait_for()
    await look(manager, "/campaigns/summer/set, with a problem")
    await manager.get_by_label("Held out").fill("10%")
    await manager.get_by_role("button", name="Set summer").click()
    await manager.locator(".well", has_text="summer is set.").wait_for()
    await look(manager, "/campaigns/summer")
    await manager.get_by_role("link", name="Pause").click()
    await manager.get_by_label("Reason").fill("out of stock")
    await manager.get_by_role("button", name="Pause summer").click()
    await manager.locator(".well", has_text="summer is paused.").wait_for()
    await manager.locator("h1", has_text="paused").wait_for()
    n = len((await system.author.registry()).campaign_history)
    await manager.reload()  # a page of its own: nothing is sent again
    await manager.go_back()
    await manager.get_by_role("button", name="Pause summer").click()
    await manager.get_by_text("summer is paused already").wait_for()

    registry = await system.author.registry()
    assert registry.live["level"] == 3
    assert (registry.campaigns["summer"].is_paused, registry.campaigns["summer"].terms.holdout) == (True, 1_000)
    assert len(registry.campaign_history) == n
    said = [(step.action, step.actor, step.reason, step.forced) for step in registry.history if step.name == "level"][
        -2:
    ]
    assert said == [
        ("publish", "author via console", "", False),
        ("promote", "author via console", "agreed with marketing", False),
    ]
    assert (registry.campaign_history[-1].actor, registry.campaign_history[-1].reason) == (
        *("manager via console", "out of stock"),
    )
    await splits(manager, address, look)
    return [author, manager, await log_in(browser, address, Role.VIEWER, "/history")]


async def splits(page: Page, address: str, look: Look) -> None:
    """A campaign for each cluster, by one form."""
    await page.goto(f"{address}/campaigns-new")
    await page.get_by_label("Id,").fill("spring")
    await page.get_by_role("button", name="One for each cluster").click()
    await page.get_by_role("heading", name="Split spring").wait_for()
    await look(page, "/campaigns-split")
    await page.get_by_label("Held out").fill("10%")
    await page.get_by_role("button", name="Set 2 campaigns").click()
    await page.locator(".well", has_text="2 of 2 campaigns set: spring-low, spring-high.").wait_for()


async def uploads_a_list(page: Page, folder: Path, look: Look) -> None:
    """Choose a file, read what is wrong in it, leave that out, close the page while it goes on, and look again."""
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Lists").click()
    await page.get_by_role("link", name="Upload a list").click()
    await page.get_by_role("heading", name="Upload a list").wait_for()
    await look(page, "/lists-upload")
    rows = [f"{member},{i % 2 + 1}" for i, member in enumerate([*IDS[:60], "nobody"])]
    file = folder / "march.csv"
    await asyncio.to_thread(file.write_text, "\n".join(["member,cluster", *rows, "m9999,high", ",1"]))
    await page.get_by_label("File, .csv").set_input_files(file)
    await page.get_by_label("Name: a new one").fill("buyers")
    await page.get_by_label("Names of the clusters").fill("1=no,2=yes")
    await page.get_by_label("Reason").fill("from March")
    await page.get_by_role("button", name="Check the file").click()
    await page.get_by_role("heading", name="2 rows can't be taken").wait_for()  # renewed by itself
    text = await page.locator("main").inner_text()
    assert "60 of the 61 members in the file have a document (98.4%)" in text
    assert "buyers@2, a candidate" in text
    cells = await page.locator("tr", has_text="m9999").locator("td").all_inner_texts()
    assert cells[:2] == ["63", "m9999"]
    await look(page, "/lists-upload of a file with bad rows")
    await page.get_by_label("Leave out 2 rows").check()
    await page.get_by_role("button", name="Upload 61 members").click()
    await page.wait_for_url("**/lists-upload/*")
    await page.goto(page.url.partition("/lists-upload")[0] + "/lists")
    await page.get_by_role("link", name="buyers, march.csv").click()
    await page.locator(".well", has_text="buyers@2 is uploaded as a candidate: 61 members.").wait_for()
    await look(page, "/lists-upload that is done")


async def _file(page: Page, file: Path, content: dict[str, Any]) -> None:
    await asyncio.to_thread(file.write_bytes, orjson.dumps(content))
    await page.get_by_label("Model file").set_input_files(file)
    await page.get_by_role("button", name="Check and publish").click()


async def forbidden(address: str, pages: list[Page], look: Look) -> int:
    """Ask for each action as each person. Returns how often that was refused; others are looked at."""
    n_refused = 0
    for page, role in zip(pages, (Role.AUTHOR, Role.MANAGER, Role.VIEWER), strict=True):
        for path, whose in ACTING.items():
            if role is whose:
                await page.goto(address + path)
                await page.locator("main form").first.wait_for()
                await look(page, path)
                continue
            asked = await page.request.get(address + path)
            assert asked.status == 403, (role, path)
            assert "ask whoever runs the console for the role" in await asked.text()
            sent = await page.request.post(
                address + path.partition("?")[0], headers={"origin": address}, form={"x": "y"}
            )
            assert sent.status == (405 if path == "/campaigns-new" else 403), (role, path)
            n_refused += 1 if path == "/campaigns-new" else 2
    return n_refused


async def logs_out(address: str, page: Page) -> None:
    """By the button; then each page leads to the log-in."""
    await page.goto(f"{address}/history")
    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url("**/log-in")
    await page.goto(f"{address}/history")
    await page.wait_for_url("**/log-in?next=%2Fhistory")
