"""`memberstream demo` as a newcomer runs it: what it shows of the members is true as of the day that it names."""

from __future__ import annotations

import os
import sys
from asyncio import create_subprocess_exec, subprocess, timeout
from collections import Counter
from pathlib import Path

import orjson
import pytest

from memberstream.stream.demo.history import N_MEMBERS, N_PURCHASES, changes, histories
from memberstream.stream.demo.oracle import MODELS, recompute_all


@pytest.mark.long
async def test_the_demo_shows_everybody_as_of_the_last_day(tmp_path: Path) -> None:
    """Also those who bought nothing for a year: time alone has moved them, and the demo waits for that."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MEMBERSTREAM_")}
    command = [sys.executable, "-m", "memberstream", "demo", "--json"]
    process = await create_subprocess_exec(*command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    try:
        async with timeout(240):
            shown, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0
    *screen, last = shown.decode().splitlines()
    result = orjson.loads(last)
    assert (result["events"], result["members"]) == (N_PURCHASES, N_MEMBERS)
    assert (result["wrong"], result["dead_letters"]) == (0, 0)
    *_, newest = changes()
    everybody = histories()
    expected = recompute_all(everybody, dict.fromkeys(everybody, newest.at_ms)).values()
    for model in MODELS:
        sizes = Counter(str(clusters[model]) for clusters in expected)
        assert result["clusters"][model] == sizes, model
    assert sum("as of 1998-06-30T00:00:00Z: cluster" in line for line in screen) == 3
