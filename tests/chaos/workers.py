"""Several workers of one installation, each with its own disk, started and stopped at will; and the test's servers.

Laws:
1. Workers are the real command in processes of their own (`entry` puts another program in its place), ended by pid.
2. A worker that ought to run and doesn't is started again, as a supervisor would, only if it ended for a reason that
   is documented to be cured by a restart: a stale worker's record in the changelog. Any other end fails the test.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import redis
from e2e.system import PATIENCE_S, System, pause_s, unready
from prefork import PythonProcess
from releases import NOW, Release

from memberstream.stream.local.server_process import free_port
from memberstream.stream.settings import to_environment

CURED_BY_A_RESTART = ("ForeignWrite",)


class Worker:
    """One worker process with a data directory and a port of its own."""

    def __init__(self, system: System, name: str, entry: Sequence[str], variables: Mapping[str, str]) -> None:
        self.name, self._entry, self._variables = name, entry, variables
        self.directory = system.directory / name
        self.directory.mkdir()
        self.settings = replace(system.settings, data_dir=self.directory / "data", metrics_port=free_port())
        self.log = self.directory / "worker.log"
        self.is_wanted = False
        self.release: Release = NOW  # which version of memberstream it runs from its next start on
        self._process = PythonProcess(name, self.log)

    def start(self) -> None:
        """Launch it; returns before it is ready."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("MEMBERSTREAM_")}
        environment = others | to_environment(self.settings) | dict(self._variables)
        self._process.spawn(self._entry, cwd=self.directory, env=self.release.environment(environment))
        self.is_wanted = True

    def kill(self) -> None:
        """kill -9."""
        self.is_wanted = False
        self._process.kill()

    def stop(self) -> float:
        """SIGTERM; returns the seconds that it took to end."""
        self.is_wanted = False
        started = time.monotonic()
        self._process.stop(grace_s=30.0)
        return time.monotonic() - started

    def pause(self) -> None:
        """SIGSTOP: no thread of it runs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.pid is not None
        os.kill(self.pid, number)

    def is_paused(self) -> bool:
        """Return whether it is stopped by a signal."""
        if self.pid is None:
            return False
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        return self._process.pid

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir

    def lose_disk(self) -> None:
        """Remove its local state; it isn't running."""
        assert self.pid is None
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def says(self) -> str:
        """Return its log over all its starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def is_ready(self) -> bool:
        """Return what /readyz says; raises OSError before it listens."""
        return self.ready_for() is not None

    def ready_for(self) -> set[int] | None:
        """Return the partitions that it has, None while /readyz says no; raises OSError before it listens."""
        try:
            with urlopen(f"http://127.0.0.1:{self.settings.metrics_port}/readyz", timeout=2) as response:
                [assigned] = [check for check in json.load(response)["checks"] if check["name"] == "assigned"]
        except HTTPError:
            return None
        return set(map(int, re.findall(r"\d+", assigned["detail"])))

    def n_due(self) -> float:
        """Return how many members it says are due; raises OSError before it listens."""
        with urlopen(f"http://127.0.0.1:{self.settings.metrics_port}/metrics", timeout=5) as response:
            found = re.search(r"^memberstream_due_members (\S+)$", response.read().decode(), re.MULTILINE)
        assert found is not None
        return float(found[1])

    def ended_because(self) -> str:
        """Return the type of the error that ended it last, "" if the log names none."""
        reasons = re.findall(r"(?:stopping:|ended by) ([A-Z]\w+)", self.says())
        return reasons[-1] if reasons else ""

    def last_words(self) -> str:
        """Return how it ended: its exit status and the last lines of its log that tell of an error."""
        lines = [line for line in self.says().splitlines() if re.search(r"ERROR|error|Error|Traceback", line)]
        return f"status {self._process.status}: {' | '.join(lines[-3:])[-600:]}"


class Crew:
    """The workers of an installation."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.workers: list[Worker] = []
        self.restarts: list[str] = []  # why workers had to be started again

    def hire(self, *, entry: Sequence[str] | None = None, variables: Mapping[str, str] | None = None) -> Worker:
        """Make a worker, not started yet."""
        name = f"worker-{len(self.workers)}"
        worker = Worker(self.system, name, entry or self.system.command(), variables or {})
        self.workers.append(worker)
        return worker

    @property
    def running(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.pid is not None]

    async def until(self, holds: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Return when `holds()`; it may raise OSError or a Redis error for "not yet". Restarts workers by law 2."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            asked = time.monotonic()
            try:
                if holds():
                    return
            except (OSError, redis.RedisError):
                pass
            self._supervise()
            if time.monotonic() > give_up_at:
                self.fail(f"waited for {what}: not within {timeout_s:g} s")
            await asyncio.sleep(pause_s(asked))

    def _supervise(self) -> None:
        for worker in self.workers:
            if worker.is_wanted and worker.pid is None:
                reason = worker.ended_because()
                if reason not in CURED_BY_A_RESTART:
                    self.fail(f"{worker.name} has ended: {reason or 'no reason in its log'}; {worker.last_words()}")
                self.restarts.append(reason)
                worker.start()

    def fail(self, why: str) -> None:
        """Fail the test with the ends of the workers' logs."""
        tails = "\n".join(f"-- {worker.name}\n{worker.says()[-3_000:]}" for worker in self.workers)
        unwell = "".join(f"; {worker.name}{unready(worker.settings.metrics_port)}" for worker in self.running)
        pytest.fail(f"{why}; {self.system.how_far()}{unwell}\n{tails}")

    async def ready(self) -> None:
        """Return when every worker that ought to run says that it is ready, and each partition is one's.

        A worker is ready without partitions, too. It may have none because the group still counts a dead one.
        """
        await self.until(self._is_ready, "all workers ready, with all partitions")

    def _is_ready(self) -> bool:
        found = [worker.ready_for() for worker in self.workers if worker.is_wanted]
        owned = [partition for its in found for partition in its or ()]
        return None not in found and sorted(owned) == list(range(self.system.n_partitions))

    async def applied(self) -> None:
        """Return when all that was sent is applied, Redis is whole, nobody is due and the workers are at rest."""
        await self.ready()
        await self.until(self.system.is_applied, "all records applied")
        await self.until(self.system.is_nobody_due, "nobody due in Redis")
        await self.until(lambda: not any(w.n_due() for w in self.workers if w.is_wanted), "the due to be written out")

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()  # SIGKILL also ends a stopped process
