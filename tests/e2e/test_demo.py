"""`memberstream demo` as a newcomer runs it: what it shows of the members is true as of the day that it names."""

from __future__ import annotations

import os
import sys
from asyncio import create_subprocess_exec, sleep, subprocess, timeout, to_thread
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT
from urllib.request import urlopen

import orjson
import pytest
from e2e.test_every_command import documented

from memberstream.stream.demo.campaign import CAMPAIGN
from memberstream.stream.demo.history import N_MEMBERS, N_PURCHASES, changes, histories
from memberstream.stream.demo.oracle import BOOSTED, MODELS, recompute_all

WORKERS = [["interactions", "worker"], ["worker"]]


@pytest.mark.long
async def test_the_demo_shows_everybody_as_of_the_last_day(tmp_path: Path) -> None:
    """Also those who bought nothing for a year: time alone has moved them, and the demo waits for that. Then it stays
    open with the console, its workers at work, a campaign and a list, and ends without an error. All is asked for that
    can be: with the boosted trees there are three models, and the trees' members are explained.
    Standard output has the result alone."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MEMBERSTREAM_")}
    command = [sys.executable, "-m", "memberstream", "demo", "--json", "--console", "--boosted"]
    process = await create_subprocess_exec(
        *command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    shown: list[str] = []
    try:
        async with timeout(240):
            assert process.stdout is not None
            assert process.stderr is not None
            async for line in process.stderr:
                shown.append(line.decode().rstrip("\n"))
                if shown[-1].startswith("http://127.0.0.1:"):
                    break
            await until(lambda: workers_of(process.pid) == WORKERS)  # the second has just been started
            page = await to_thread(urlopen, f"{shown[-1]}/members?id=c00004")
            shown_page = page.read().decode()
            assert "repeat_buyer@1" in shown_page
            assert "As of event" in shown_page
            assert "newsletter@1" in (await to_thread(urlopen, f"{shown[-1]}/lists")).read().decode()
            await until(lambda: "members exposed on" in report_of(shown[-1]))
            process.send_signal(SIGINT)
            await process.stderr.read()
            printed = await process.stdout.read()
            await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0
    result = orjson.loads(printed)
    assert result.keys() == documented()["demo"]
    assert (result["events"], result["members"]) == (N_PURCHASES, N_MEMBERS)
    assert (result["wrong"], result["dead_letters"]) == (0, 0)
    *_, newest = changes()
    everybody = histories()
    models = (*MODELS, BOOSTED)
    expected = recompute_all(everybody, dict.fromkeys(everybody, newest.at_ms), models).values()
    for model in models:
        sizes = Counter(str(clusters[model]) for clusters in expected)
        assert result["clusters"][model] == sizes, model
    assert sum("under repeat_boosted@1, as of 1998-06-30T00:00:00Z: cluster" in line for line in shown) == 3


def report_of(address: str) -> str:
    """Return the report of the demo's campaign, as far as interactions are counted."""
    return urlopen(f"{address}/campaigns/{CAMPAIGN}/report", timeout=60).read().decode()  # type: ignore[no-any-return]


async def until(holds: Callable[[], bool]) -> None:
    """Return when it holds, looked at in a thread."""
    while not await to_thread(holds):  # noqa: ASYNC110  (another process; nobody announces it)
        await sleep(0.2)


def workers_of(pid: int) -> list[list[str]]:
    """Return the commands of the workers that a process has started."""
    return sorted(words[3:-1] for words in children_of(pid) if "worker" in words)


def children_of(pid: int) -> list[list[str]]:
    """Return the command lines of a process' children, whichever of its threads started them (Linux)."""
    listed = [one.read_text() for one in Path(f"/proc/{pid}/task").glob("*/children")]
    return [Path(f"/proc/{child}/cmdline").read_text().split("\0") for child in " ".join(listed).split()]
