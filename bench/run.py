"""One run of one contender: started as a process, timed from its first record until Redis is right, then checked.

Laws:
1. The clock starts with the first record consumed: the contender prints `FIRST <time.time_ns()>`.
2. It ends when Redis shows the last 50 members of each partition, provided that all members are right then; else when
   those that were missing are.
3. Watching costs the machine little: one MGET of four every 10 ms until the end is near.
4. CPU is user and system of the contender and its children between these two moments, read from /proc.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contenders import HERE, ROOT, Contender
from bench.outcome import Check
from bench.rig import Servers
from memberstream.stream.local.server_process import ServerProcess

START_LIMIT_S = 120.0
RUN_LIMIT_S = 900.0
RIGHT_LIMIT_S = 60.0  # from the last position in Redis until all members must be right
POLL_S = 0.01
_HERTZ = os.sysconf("SC_CLK_TCK")
_FIRST = re.compile(rb"^FIRST (\d+)\s*\n", re.MULTILINE)


class RunError(RuntimeError):
    """A contender ended, or did not come to an end."""


def _tree(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for parent in found:
        for thread in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):  # threads come and go
                found += [int(child) for child in thread.read_text().split()]
    return found


def cpu_s(*pids: int) -> float:
    """User and system CPU of processes, with what their ended children have used."""
    ticks = 0
    for pid in pids:
        text = _read(pid, "stat", is_needed=pid == pids[0])
        ticks += sum(int(field) for field in text.rpartition(")")[2].split()[11:15])
    return ticks / _HERTZ


def _read(pid: int, name: str, *, is_needed: bool) -> str:
    """A file of /proc; "" of a child that has ended since it was listed."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        if is_needed:
            raise
        return ""


def peak_mb(pid: int) -> float:
    """The highest resident memory of a process, and of each below it."""
    total = 0
    for member in _tree(pid):
        found = re.search(r"^VmHWM:\s+(\d+) kB", _read(member, "status", is_needed=member == pid), re.MULTILINE)
        total += int(found[1]) if found else 0
    return total / 1024


@dataclass
class Course:
    """Where the runs take place: servers with a filled topic, and what must come out."""

    servers: Servers
    topic: str
    check: Check
    n_events: int

    def run(self, contender: Contender, python: str, number: int) -> dict[str, Any]:
        """Measure once. Raises RunError."""
        self.check.client.flushall()
        directory = self.servers.directory / f"run-{number}-{contender.name}"
        (directory / "state").mkdir(parents=True)
        process = ServerProcess(contender.title, directory / "log")
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MEMBERSTREAM_", "PYTHON"))}
        env |= {
            "BOOTSTRAP": self.servers.kafka.bootstrap,
            "TOPIC": self.topic,
            "GROUP": f"bench-{number}-{contender.name}",
            "REDIS_URL": self.servers.valkey.url,
            "N_EVENTS": str(self.n_events),
            "STATE_DIR": str(directory / "state"),
            "PYTHONPATH": str(ROOT),
        }
        try:
            process.spawn([python, str(HERE / "peers" / f"{contender.script}.py")], cwd=directory, env=env)
            return self._measure(contender, process)
        except (FileNotFoundError, ProcessLookupError) as error:  # of /proc
            raise RunError(f"{contender.title} has ended: {error}") from error
        finally:
            process.stop(grace_s=10.0)

    def _measure(self, contender: Contender, process: ServerProcess) -> dict[str, Any]:
        watch = _Watch(process, time.monotonic() + START_LIMIT_S)
        samples = [(0, self._cpu(watch.pid))]
        while (first := _FIRST.search(process.log.read_bytes())) is None:
            watch.wait("has consumed nothing")
            samples.append((time.time_ns(), self._cpu(watch.pid)))
        started_ns = int(first[1])  # Pathway's lies back in time, hence the samples
        before = max(sample for sample in samples if sample[0] <= started_ns)[1]
        watch.give_up_at = time.monotonic() + RUN_LIMIT_S
        for members in (self.check.latest, self.check.tail):
            while self.check.wrong(members, contender.is_ours):
                watch.wait("has not finished")
        wrong: list[bytes] = []
        watch.give_up_at = time.monotonic() + RIGHT_LIMIT_S
        while True:
            ended_ns, after, peak = time.time_ns(), self._cpu(watch.pid), peak_mb(watch.pid)
            wrong = self.check.wrong(self.check.ends, contender.is_ours)
            if not wrong or time.monotonic() > watch.give_up_at:
                break
            while wrong and time.monotonic() < watch.give_up_at:
                watch.wait("has not finished")
                wrong = self.check.wrong(wrong, contender.is_ours)
        seconds = (ended_ns - started_ns) / 1e9
        per_100k = 100_000 / self.n_events
        cpu, broker, store = ((end - start) * per_100k for start, end in zip(before, after, strict=True))
        return {
            "events_per_s": round(self.n_events / seconds),
            "cpu_s_per_100k": round(cpu, 3),
            "peak_mb": round(peak),
            "wrong": len(wrong),
            "seconds": round(seconds, 3),
            "broker_cpu_s_per_100k": round(broker, 3),
            "store_cpu_s_per_100k": round(store, 3),
        }

    def _cpu(self, pid: int) -> tuple[float, float, float]:
        kafka, valkey = self.servers.kafka.pid, self.servers.valkey.pid
        if kafka is None or valkey is None:
            raise SystemExit(f"a server has ended; see {self.servers.directory}")
        return cpu_s(*_tree(pid)), cpu_s(kafka), cpu_s(valkey)


@dataclass
class _Watch:
    """Sleeps between looks while the contender lives and has time."""

    process: ServerProcess
    give_up_at: float

    @property
    def pid(self) -> int:
        if self.process.pid is None:
            raise RunError(f"{self.process.name} has ended:\n{self._tail()}")
        return self.process.pid

    def wait(self, what: str) -> None:
        _ = self.pid
        if time.monotonic() > self.give_up_at:
            raise RunError(f"{self.process.name} {what} in time:\n{self._tail()}")
        time.sleep(POLL_S)

    def _tail(self) -> str:
        return self.process.log.read_text(errors="replace")[-1500:].strip()
