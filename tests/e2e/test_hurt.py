"""What an operator sees when the disk or the changelog is lost: an error with the next action, nothing acknowledged."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from e2e.test_health import health
from e2e.test_models_log import delete
from servers import missing

N = 5_000


def ended(system: System) -> int:
    """Wait for the worker's end; return its exit status."""
    process = system._worker._process
    assert process is not None
    return process.wait(60)


class SmallDisk:
    """A file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, options: str) -> None:
        run = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.path], capture_output=True, text=True, check=False
        )
        if run.returncode:
            missing(f"mount isn't allowed here: {run.stderr.strip()}")

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.path], check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    made = SmallDisk(path)
    made.mount("size=100m")
    yield made
    made.unmount()


@pytest.mark.kafka
@pytest.mark.redis_server
async def test_a_full_disk_ends_the_worker_with_what_to_do(real_pair: Pair, install: Install, disk: SmallDisk) -> None:
    """Without a traceback; with more room the next start applies everything, as if nothing had been. A directory that
    can't be written is told as well."""
    system = await install(real_pair, [level()])
    system.set(data_dir=disk.path / "worker")
    system.start()
    noise = random.Random(7)
    pads = [base64.b64encode(noise.randbytes(12_000)).decode() for _ in range(N)]
    await system.send([Sent(b"m%d" % i, event("replace", document={"x": 1, "pad": pads[i]})) for i in range(N)])
    assert await asyncio.to_thread(ended, system) == 1
    said = system.says()
    assert "can't be used" in said
    assert "No space left on device" in said
    assert "Next: see whether that disk is full" in said
    assert "raise StateUnusable" not in said, "a traceback of what says by itself what to do"

    disk.mount("remount,size=600m")
    system.start()
    await system.applied()
    states = await system.states()
    assert all(states[f"m{i}"].document == {"x": 1, "pad": pads[i]} for i in range(N))
    assert all(system.held(f"m{i}")["level@1"].startswith("2:") for i in range(0, N, 50))
    system.stop()

    disk.mount("remount,ro")
    system.start()
    assert await asyncio.to_thread(ended, system) == 1
    last = system.says().strip().splitlines()[-1]
    assert "Read-only file system. Next: " in last


@pytest.mark.kafka
@pytest.mark.redis_server
async def test_a_stop_after_the_changelog_was_lost(real_pair: Pair, install: Install) -> None:
    """With a batch that waits for its acknowledgement: the stop has an end, exit status 0, and says what it left."""
    system = await install(real_pair, [level()])
    system.start()
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    await system.applied()
    await system.until(lambda: health(system)[0] == 200, "ready")
    await delete(system, system.settings.changelog_topic)
    await system.send([Sent(b"m", event("replace", document={"x": 2}))])
    await system.until(lambda: health(system)[0] == 503, "the loss seen")
    assert system.pid is not None
    os.kill(system.pid, 15)
    assert await asyncio.to_thread(ended, system) == 0
