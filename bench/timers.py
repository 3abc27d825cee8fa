"""Members who all fall due at the same moment: what waiting costs, and what catching up costs the stream.

    python -m bench.timers [--members 1000000] [--small]

Method. bench/job.py's members on Apache Kafka and Valkey, one worker process, four partitions; beside the job's two
models one that counts days, in an offset from UTC that puts its midnight a little after everybody is loaded.
- Waiting: resident memory and local state of that worker, and of one with the job's models alone; both were started
  anew over the loaded state, for the memory that loading leaves behind is none of waiting.
- Due in quiet: at midnight all members fall due and nothing arrives. From midnight until Redis holds everybody's next
  midnight, as the worker's metric says; CPU is what the kernel booked on the worker, over the members.
- Due under load: 100,000 members, events at a steady rate (bench/steady.py). Freshness from the worker's own metric
  (its buckets interpolated) in the seconds before midnight, and from midnight until the last member is rescored.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import time
from pathlib import Path
from typing import Any

from bench import job
from bench.latency import histogram_quantile, producer
from bench.results_file import about, machine, save, table
from bench.rig import Rig, Servers, Worker, servers
from bench.scaling import READY, documents, pool
from bench.steady import PROBES, probe_id

UNDER_LOAD = 100_000
RATE = 5_000
WARM_UP_S, BEFORE_S = 12.0, 20.0
LOADED_PER_S = 6_000  # members; slower than any machine was yet, so that midnight comes after the loading
FRESHNESS = "memberstream_freshness_seconds_bucket"
DUE, RESCORED = "memberstream_due_members", "memberstream_due_rescored_members_total"


def counts_days(midnight_s: float) -> dict[str, Any]:
    """A model file that counts days since `joined`; its days begin at that time (a whole minute)."""
    offset = -int(midnight_s // 60) % 1_440
    clock = {"resolution": "days", "utc_offset_minutes": offset if offset <= 720 else offset - 1_440}
    return {
        "format": 1,
        "name": "tenure",
        "version": 1,
        "predictors": [{"name": "days", "path": "joined", "aggregate": "days_since", "missing": 0, **clock}],
        "model": {"type": "logistic", "coef": [0.001], "intercept": -1.0, "thresholds": [0.5]},
        "clusters": [{"id": 1, "name": "new"}, {"id": 2, "name": "old"}],
    }


def midnight_after(seconds: float) -> float:
    """The first whole minute after that many seconds from now, time.time()."""
    return 60.0 * (1 + (time.time() + seconds) // 60)


def disk_mb(directory: Path) -> float:
    """Bytes of all files below a directory, MB."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) / 1e6


async def loaded(rig: Rig, n_members: int) -> Worker:
    """A worker, started anew, over a state that holds everybody."""
    worker = rig.worker().start()
    await rig.until(lambda: READY in worker.says())
    replaces = pool("replace")
    await rig.send([*documents(n_members, replaces), *[(probe_id(i), replaces[i]) for i in range(PROBES)]])
    await rig.applied()
    worker.stop()
    n_ready = worker.says().count(READY)
    worker.start()
    await rig.until(lambda: worker.says().count(READY) > n_ready)
    await asyncio.sleep(3.0)  # what a start does beside the stream is over
    return worker


async def waiting(on: Servers, n_members: int, midnight_s: float | None) -> dict[str, float]:
    """Memory and disk of a worker whose members wait for midnight, or with None for nothing."""
    models = list(job.model_files().values()) + ([] if midnight_s is None else [counts_days(midnight_s)])
    async with on.rig(models) as rig:
        worker = await loaded(rig, n_members)
        found = {
            "timers": sum(worker.metrics("memberstream_timers").values()),
            "rss_mb": worker.memory_mb()["VmRSS"],
            "state_mb": disk_mb(worker.settings.data_dir),
        }
        if midnight_s is not None:
            if time.time() > midnight_s - 1:
                raise SystemExit("loading took longer than thought. Next: lower LOADED_PER_S in bench/timers.py")
            found |= await quiet(rig, worker, n_members, midnight_s)
        return found


def rescored(worker: Worker) -> float:
    return worker.metrics(RESCORED).get((), 0.0)


async def quiet(rig: Rig, worker: Worker, n_members: int, midnight_s: float) -> dict[str, float]:
    """Wait for midnight with nothing arriving, and until everybody is rescored."""
    await asyncio.sleep(midnight_s - 0.2 - time.time())
    cpu_s, began = worker.cpu_s(), time.time()
    await rig.until(lambda: rescored(worker) >= n_members, poll_s=0.25)
    took_s = time.time() - max(began, midnight_s)
    return {
        "took_s": took_s,
        "members_per_s": n_members / took_s,
        "cpu_us_per_member": 1e6 * (worker.cpu_s() - cpu_s) / n_members,
        "peak_mb": worker.memory_mb()["VmHWM"],
    }


async def under_load(on: Servers, n_members: int) -> dict[str, float]:
    """Freshness before midnight, and from midnight until everybody is rescored."""
    midnight_s = midnight_after(n_members / LOADED_PER_S + WARM_UP_S + BEFORE_S + 20)
    async with on.rig([*job.model_files().values(), counts_days(midnight_s)]) as rig:
        worker = await loaded(rig, n_members)
        await asyncio.sleep(midnight_s - WARM_UP_S - BEFORE_S - time.time())
        command = producer(on, rig, n_members, RATE, WARM_UP_S + BEFORE_S + 120.0)
        sending = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        try:
            await asyncio.sleep(midnight_s - BEFORE_S - time.time())
            first = worker.metrics(FRESHNESS)
            await asyncio.sleep(midnight_s - time.time())
            second, cpu_s = worker.metrics(FRESHNESS), worker.cpu_s()
            await rig.until(lambda: worker.metrics(DUE)[()] > 0, poll_s=0.02)
            await rig.until(lambda: not worker.metrics(DUE)[()], poll_s=0.25)
            took_s, third, n = time.time() - midnight_s, worker.metrics(FRESHNESS), rescored(worker)
            cores = (worker.cpu_s() - cpu_s) / took_s
        finally:
            if sending.returncode is None:  # it sends for two minutes
                sending.kill()
            await sending.wait()
    return {
        "members": n_members,
        "rate": RATE,
        "rescored_by_timers": n,
        "took_s": took_s,
        "worker_cores": cores,
        "before_p50_ms": 1000 * histogram_quantile(first, second, 0.5),
        "before_p99_ms": 1000 * histogram_quantile(first, second, 0.99),
        "during_p50_ms": 1000 * histogram_quantile(second, third, 0.5),
        "during_p99_ms": 1000 * histogram_quantile(second, third, 0.99),
    }


async def measure(n_members: int, n_under_load: int) -> dict[str, Any]:
    """All of it; prints each figure as it comes."""
    results: dict[str, Any] = {"machine": machine(), "members": n_members}
    with servers() as on:
        results["without"] = await waiting(on, n_members, None)
        print(results["without"], flush=True)
        results["with"] = await waiting(on, n_members, midnight_after(n_members / LOADED_PER_S + 20))
        print(results["with"], flush=True)
        results["under_load"] = await under_load(on, n_under_load)
        print(results["under_load"], flush=True)
    return results


def text(results: dict[str, Any]) -> list[str]:
    """The section of the README."""
    n, some, none, load = results["members"], results["with"], results["without"], results["under_load"]
    memory = 1e6 * (some["rss_mb"] - none["rss_mb"]) * 1.048576 / n
    disk = 1e6 * (some["state_mb"] - none["state_mb"]) / n
    return [
        "## Timers: everybody due at once",
        "",
        "`python -m bench.timers` (its head says the method).",
        about(results),
        "",
        *table(
            ("", "memory, MB", "local state, MB"),
            [
                (f"{n:,} members, nobody waits", f"{none['rss_mb']:.0f}", f"{none['state_mb']:.0f}"),
                (f"{n:,} members, all wait", f"{some['rss_mb']:.0f}", f"{some['state_mb']:.0f}"),
                ("each who waits, bytes", f"{memory:.0f}", f"{disk:.0f}"),
            ],
        ),
        "",
        f"All due at once, nothing arriving: {some['took_s']:.0f} s, {some['members_per_s']:,.0f} members/s, "
        f"{some['cpu_us_per_member']:.0f} µs of the worker's CPU a member, at most {some['peak_mb']:.0f} MB.",
        "",
        f"{load['members']:,} due at once beside {load['rate']:,} events/s: caught up in {load['took_s']:.0f} s on "
        f"{load['worker_cores']:.2f} cores.",
        f"Freshness p50 / p99 before: {load['before_p50_ms']:.1f} / "
        f"{load['before_p99_ms']:.1f} ms; meanwhile: {load['during_p50_ms']:.1f} / {load['during_p99_ms']:.1f} ms "
        f"({load['during_p99_ms'] / load['before_p99_ms']:.1f} × the p99).",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="members who all fall due at the same moment")
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--small", action="store_true", help="few members, to try the bench itself")
    asked = parser.parse_args()
    results = asyncio.run(measure(20_000, 5_000) if asked.small else measure(asked.members, UNDER_LOAD))
    if asked.small:
        print("\n".join(text(results)))
    else:
        save("timers", results, text(results))


if __name__ == "__main__":
    main()
