"""An uploaded list of a million members: from a CSV file into Redis.

    python -m bench.lists [--small]

Method.
- Apache Kafka and Valkey of the other benches, a topic of 4 partitions, one worker that has joined and has nothing else
  to do. The file has a header, ids of 15 characters and three clusters, in an order that no partition shares.
- The real command in a process of its own, `memberstream clusters upload NAME FILE --wait`: the clock starts when it is
  launched (so Python's start and the imports count) and ends with it, when all partitions tell that every row is in
  Redis. `published` is when its rows were all acknowledged by Kafka.
- Three uploads one after another into the same installation: the second and third meet members that are there already.
  Afterwards every member is read from Redis and compared with the file.
- CPU is user and system time of each process over the upload; memory of the uploader is its highest resident size.
- Look-ups of single members go on all the while, from a process that pauses 2 ms between two: their p50 and p99, before
  and during the uploads.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.results_file import about, machine, save, table
from bench.rig import Rig, Servers, servers
from bench.run import cpu_s
from bench.scaling import READY
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.lookup import Lookup
from memberstream.stream.projection.calls import ROWS_PER_CALL
from memberstream.stream.settings import to_environment

ROUNDS = 3
IDLE_S = 5.0


def write_file(path: Path, n: int) -> dict[str, int]:
    """Write the list; returns member → cluster."""
    rows = {f"member-{i:08d}": 1 + i % 3 for i in range(n)}
    ids = list(rows)
    random.Random(1).shuffle(ids)
    path.write_text("member_id,cluster\n" + "".join([f"{m},{rows[m]}\n" for m in ids]))
    return rows


def look_up(url: str, n: int, stop: Path) -> None:
    """Look members up until `stop` exists; prints p50 and p99 in µs."""
    times: list[float] = []
    chance = random.Random(2)
    with Lookup(url) as lookup:
        while not stop.exists():
            member = f"member-{chance.randrange(n):08d}"
            began = time.perf_counter()
            lookup.get(member)
            times.append(1e6 * (time.perf_counter() - began))
            time.sleep(0.002)
    ranked = sorted(times)
    print(ranked[len(ranked) // 2], ranked[int(0.99 * len(ranked))])


class Reader:
    """A process that looks members up between `start` and `stop`."""

    def __init__(self, rig: Rig, n: int) -> None:
        self._command = [sys.executable, "-m", "bench.lists", "--reader", rig.settings.redis_url, "--rows", str(n)]
        self._file = rig.directory / "stop"

    async def start(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *self._command, "--stop", str(self._file), stdout=asyncio.subprocess.PIPE
        )

    async def stop(self) -> tuple[float, float]:
        """Return p50 and p99, µs."""
        self._file.touch()
        said, _ = await self._process.communicate()
        p50, p99 = map(float, said.split())
        return p50, p99


async def upload(on: Servers, rig: Rig, file: Path, name: str) -> dict[str, float]:
    """Upload once; returns seconds, CPU seconds and MB."""
    worker = rig.workers[0]
    pids = {"worker": worker.pid, "broker": on.kafka.pid or 0, "store": on.valkey.pid or 0}
    before = {of: cpu_s(pid) for of, pid in pids.items()}
    environment = {**os.environ, **to_environment(rig.settings)}
    command = [sys.executable, "-m", "memberstream", "clusters", "upload", name, str(file), "--wait"]
    wall, began = time.time(), time.perf_counter()
    uploader_cpu_s, uploader_mb = await asyncio.to_thread(run_command, command, environment)
    seconds = time.perf_counter() - began
    [published] = [
        step.at_ms
        for step in (await Publishing(rig.settings, "bench").registry()).history
        if step.name == name and step.action == "publish"
    ]
    return {
        "seconds": seconds,
        "published_s": published / 1000 - wall,
        "uploader_cpu_s": uploader_cpu_s,
        "uploader_mb": uploader_mb,
        **{f"{of}_cpu_s": cpu_s(pid) - before[of] for of, pid in pids.items()},
    }


def run_command(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command to its end; returns its CPU seconds and its highest resident size, MB."""
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid, peak = os.posix_spawn(command[0], command, environment, file_actions=silent), 0.0
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        with suppress(OSError, StopIteration):  # what wait4 says of memory begins with this process' own
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peak = max(peak, int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024)
        time.sleep(0.02)
    if status:
        raise SystemExit(f"the command ended with status {status}")
    return usage.ru_utime + usage.ru_stime, peak


def wrong(rig: Rig, rows: dict[str, int], name: str) -> int:
    """Promote nothing, read everything: how many members Redis doesn't have as the file has them."""
    members, n = list(rows), 0
    for start in range(0, len(members), 10_000):
        some = members[start : start + 10_000]
        found = rig.redis.mget([f"ms:member:{member}" for member in some])
        marker = b"|%b@1=%%d:" % name.encode()
        n += sum(marker % rows[member] not in (row or b"") for member, row in zip(some, found, strict=True))
    return n


async def measure(n: int) -> dict[str, Any]:
    """All of it."""
    results: dict[str, Any] = {"machine": machine(), "rows": n, "uploads": []}
    with servers() as on:
        file = on.directory / "list.csv"
        rows = write_file(file, n)
        async with on.rig([]) as rig:
            worker = rig.worker().start()
            await rig.until(lambda: READY in worker.says())
            reader = Reader(rig, n)
            await reader.start()
            await asyncio.sleep(IDLE_S)
            results["idle_us"] = await reader.stop()
            for i in range(ROUNDS):
                await reader.start()
                found = await upload(on, rig, file, f"list_{i}")
                found["p50_us"], found["p99_us"] = await reader.stop()
                found["wrong"] = wrong(rig, rows, f"list_{i}")
                results["uploads"].append(found)
                print(found, flush=True)
            calls = rig.redis.info("commandstats")["cmdstat_evalsha"]
            results["call_us"] = calls["usec_per_call"]
            results["worker_mb"] = worker.memory_mb()["VmHWM"]
    return results


def text(results: dict[str, Any]) -> list[str]:
    """The section of the README."""
    rows = [
        (
            i,
            f"{row['seconds']:.1f}",
            f"{row['published_s']:.1f}",
            f"{row['uploader_cpu_s']:.1f} / {row['worker_cpu_s']:.1f}",
            f"{row['broker_cpu_s']:.1f} / {row['store_cpu_s']:.1f}",
            f"{row['uploader_mb']:.0f}",
            f"{row['p50_us']:.0f} / {row['p99_us']:.0f}",
            row["wrong"],
        )
        for i, row in enumerate(results["uploads"], 1)
    ]
    idle_p50, idle_p99 = results["idle_us"]
    heads = (
        *("upload", "s, all in Redis", "s, published", "CPU s uploader / worker", "CPU s broker / store"),
        *("uploader's peak MB", "look-ups p50 / p99, µs", "members wrong"),
    )
    return [
        "## Uploaded lists",
        "",
        f"`python -m bench.lists` (its head says the method): {results['rows']:,} rows of CSV, one worker.",
        about(results),
        "",
        *table(heads, rows),
        "",
        f"Look-ups before: {idle_p50:.0f} / {idle_p99:.0f} µs. A call of list.lua, {ROWS_PER_CALL} members, takes",
        f"Valkey {results['call_us']:.0f} µs; the worker's peak is {results['worker_mb']:.0f} MB. Uploader, worker,",
        "broker, store and reader share the cores: most of the p99 is waiting for one of them, not for Valkey.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="a list of a million members into Redis")
    parser.add_argument("--small", action="store_true", help="a twentieth of the rows, to try the bench itself")
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--stop", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.reader:
        look_up(asked.reader, asked.rows, asked.stop)
        return
    results = asyncio.run(measure(50_000 if asked.small else 1_000_000))
    if asked.small:
        print("\n".join(text(results)))
    else:
        save("lists", results, text(results))


if __name__ == "__main__":
    main()
