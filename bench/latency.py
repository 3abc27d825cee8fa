"""How fresh Redis is, and what look-ups feel of a busy worker.

    python -m bench.latency [--seconds 20] [--small]

Method. bench/job.py's members and models on Apache Kafka and Valkey, one worker process; a producer in a process of its
own at a steady rate (bench/steady.py).
- Freshness runs from the event's Kafka timestamp, which is when it was due, so it holds the linger, the broker, the
  worker and Redis. Seen twice: from outside, by a reader that looks 20 probe members up over and over (so late by up to
  one round of it, about a millisecond), and by the worker's own metric over all events (its buckets interpolated).
- Through a backlog, while nobody sends, the worker is faster than on live events: a member's events come in one batch.
  Saturation is therefore the highest steady rate that it keeps up with for some seconds, the producer on the same
  cores; 60 % of it is then sent.
- All steady runs begin with seconds that don't count: a broker that has just started compiles its code.
- Beside a backfill: when the seconds begin that count, another version of a model is published, so that all members
  have to be scored anew while events arrive.
- Look-ups: one after the other on one connection, ours and redis-py's HGETALL alternating, first while the worker
  has nothing to do, then while it works through a backlog; processes left to the scheduler, then pinned:
  Valkey and the reader on the first core, worker and broker on the second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from tempfile import TemporaryFile
from typing import Any

import redis

from bench import job
from bench.lookups import as_hashes
from bench.results_file import about, machine, save, table
from bench.rig import Rig, Servers, Worker, pin, servers
from bench.scaling import READY, changes, documents, pool
from bench.steady import KAFKA_LINGER_MS, PROBES, probe_id
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.lookup import Lookup

WARM_UP_S = 12.0
SUSTAINED_S = 8.0
STEADY = 5_000


def quantile(values: list[float], q: float) -> float:
    """The value that a share q of the values doesn't exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(q * len(ranked)))]


def histogram_quantile(before: dict[Any, float], after: dict[Any, float], q: float) -> float:
    """Quantile of what a Prometheus histogram counted in between, interpolated as PromQL does."""
    counts = sorted((float(le), after[(le,)] - before.get((le,), 0.0)) for (le,) in after)
    rank, low, below = q * counts[-1][1], 0.0, 0.0
    for bound, count in counts:
        if count >= rank:
            return low if bound == float("inf") else low + (bound - low) * (rank - below) / max(1.0, count - below)
        low, below = bound, count
    return low


async def load(rig: Rig, n_members: int) -> Worker:
    """A worker that holds all members and the probes."""
    worker = rig.worker().start()
    await rig.until(lambda: READY in worker.says())
    replaces = pool("replace")
    await rig.send([*documents(n_members, replaces), *[(probe_id(i), replaces[i]) for i in range(PROBES)]])
    await rig.applied()
    return worker


async def backlog(rig: Rig, worker: Worker, n_members: int, n: int) -> None:
    """Send n patches while the worker is stopped (for less than its session timeout), and let it go."""
    events = list(changes(range(n_members), n, pool("patch"), 3))
    worker.pause()
    await rig.send(events)
    worker.resume()


async def through_backlog(rig: Rig, worker: Worker, n_members: int, n: int) -> float:
    """Events/s through a backlog."""
    await backlog(rig, worker, n_members, n)
    began = time.perf_counter()
    return n / (await rig.applied() - began)


def producer(
    on: Servers, rig: Rig, n_members: int, rate: int, seconds: float, linger_ms: float = KAFKA_LINGER_MS
) -> list[str]:
    """The command of a steady producer."""
    numbers = [rig.partitions, n_members, rate, seconds, linger_ms]
    return [sys.executable, "-m", "bench.steady", on.kafka.bootstrap, rig.settings.topic, *map(str, numbers)]


async def sustained(on: Servers, rig: Rig, worker: Worker, n_members: int, highest: float) -> int:
    """The highest of five steady rates up to `highest` that it keeps up with: at the end less than 0.2 s are left."""

    def left() -> float:
        return sum(worker.metrics("memberstream_lag_records").values())

    keeps_up, too_much = 0.0, highest
    for _ in range(5):
        rate = (keeps_up + too_much) / 2
        command = producer(on, rig, n_members, int(rate), SUSTAINED_S)
        await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
        if left() < 0.2 * rate:
            keeps_up = rate
        else:
            too_much = rate
        await rig.until(lambda: not left())
    return int(keeps_up)


def _watch(url: str, producer: list[str]) -> tuple[dict[str, Any], list[tuple[str, int, float]], list[float]]:
    """Run the producer and look at the probes meanwhile.

    Returns what it said; (member, offset, time.time() when first seen) of all changes; the seconds of each look.
    """
    ids = [probe_id(i).decode() for i in range(PROBES)]
    seen: dict[str, int] = {}
    changed: list[tuple[str, int, float]] = []
    looks: list[float] = []
    with Lookup(url) as client, TemporaryFile("w+") as output, subprocess.Popen(producer, stdout=output) as process:
        ends_at = float("inf")
        while (now := time.time()) < ends_at:
            if process.poll() is not None and ends_at == float("inf"):
                ends_at = now + 1.0  # the last events are still under way
            began = time.perf_counter()
            answers = client.get_many(ids)
            now = time.time()
            for answer in answers:
                offset = answer.offset
                if offset is not None and seen.get(answer.member_id) != offset:
                    seen[answer.member_id] = offset
                    changed.append((answer.member_id, offset, now))
            looks.append(time.perf_counter() - began)
            time.sleep(0.001)
        output.seek(0)
        return json.loads(output.read().splitlines()[-1]), changed, looks


async def freshness(
    on: Servers,
    rig: Rig,
    worker: Worker,
    n_members: int,
    rate: int,
    seconds: float,
    published: Model | None = None,
    linger_ms: float = KAFKA_LINGER_MS,
) -> dict[str, Any]:
    """One steady run. `published`: a version that is published when the seconds begin that count."""
    names = (
        *("freshness_seconds_bucket", "batch_records_sum", "batch_records_count", "stage_seconds_sum"),
        "backfill_scored_members_total",
    )
    command = producer(on, rig, n_members, rate, seconds + WARM_UP_S, linger_ms)
    watching = asyncio.create_task(asyncio.to_thread(_watch, rig.settings.redis_url, command))
    await asyncio.sleep(WARM_UP_S + 1.0)  # the producer's own start takes a second
    before = {name: worker.metrics(f"memberstream_{name}") for name in names}
    if published is not None:
        await Publishing(rig.settings, "bench").publish(published, force=True)
    cpu_before, watched_at = worker.cpu_s(), time.perf_counter()
    sent, changed, looks = await watching
    cpu_s, watched_s = worker.cpu_s() - cpu_before, time.perf_counter() - watched_at
    after = {name: worker.metrics(f"memberstream_{name}") for name in names}
    by_member: dict[str, list[tuple[int, float]]] = {}
    for member_id, offset, seen_at in changed:
        by_member.setdefault(member_id, []).append((offset, seen_at))
    ages_ms, missed = [], 0
    for member_id, offset, due_s in sent["probes"]:
        if due_s < sent["start_s"] + WARM_UP_S:
            continue
        at = next((at for found, at in by_member.get(member_id, []) if found >= offset), None)
        if at is None:  # more than a second late
            missed += 1
        else:
            ages_ms.append(1000 * (at - due_s))
    n_batches = after["batch_records_count"][()] - before["batch_records_count"][()]
    stages = {
        stage: 1000 * (total - before["stage_seconds_sum"].get((stage,), 0.0)) / max(1, n_batches)
        for (stage,), total in after["stage_seconds_sum"].items()
    }
    histogram = "freshness_seconds_bucket"
    return {
        "rate": rate,
        "linger_ms": linger_ms,
        "backfilled": sum(after[names[-1]].values()) - sum(before[names[-1]].values()),
        "outside_p50_ms": quantile(ages_ms, 0.5),
        "outside_p99_ms": quantile(ages_ms, 0.99),
        "probes": len(ages_ms),
        "probes_not_seen": missed,
        "metric_p50_ms": 1000 * histogram_quantile(before[histogram], after[histogram], 0.5),
        "metric_p99_ms": 1000 * histogram_quantile(before[histogram], after[histogram], 0.99),
        "look_p50_ms": 1000 * quantile(looks, 0.5),
        "producer_late_p99_ms": sent["late_p99_ms"],
        "records_per_batch": (after["batch_records_sum"][()] - before["batch_records_sum"][()]) / max(1, n_batches),
        "worker_cores": cpu_s / watched_s,
        "stages_ms_per_batch": {stage: round(ms, 3) for stage, ms in stages.items()},
    }


def _look_ups(url: str, ids: list[str], goes_on: Any) -> dict[str, float]:
    """µs of ours and of redis-py's, alternating, while `goes_on()`."""
    ours: list[float] = []
    theirs: list[float] = []
    clock = time.perf_counter_ns
    as_hashes(url, ids)
    keys = [f"hash:{member_id}" for member_id in ids]
    with Lookup(url) as client, redis.Redis.from_url(url) as plain:
        i = 0
        while i % 50 or goes_on():
            i += 1
            member_id, key = ids[i % len(ids)], keys[i % len(ids)]
            a = clock()
            client.get(member_id)
            b = clock()
            plain.hgetall(key)
            c = clock()
            ours.append((b - a) / 1000)
            theirs.append((c - b) / 1000)
    return {
        "n": len(ours),
        "p50_us": quantile(ours, 0.5),
        "p99_us": quantile(ours, 0.99),
        "redis_py_p50_us": quantile(theirs, 0.5),
        "redis_py_p99_us": quantile(theirs, 0.99),
    }


async def look_ups(rig: Rig, worker: Worker, n_members: int, n: int, seconds: float) -> dict[str, Any]:
    """Idle, then under a worker that works through n patches."""
    ids = [job.member_id(i).decode() for i in range(0, n_members, max(1, n_members // 1000))]
    end = time.monotonic() + seconds
    idle = await asyncio.to_thread(_look_ups, rig.settings.redis_url, ids, lambda: time.monotonic() < end)
    await backlog(rig, worker, n_members, n)
    rig.redis.config_resetstat()
    began = time.perf_counter()
    busy = await asyncio.to_thread(_look_ups, rig.settings.redis_url, ids, lambda: not rig.is_applied())
    calls = rig.redis.info("commandstats")["cmdstat_evalsha"]
    return {
        "idle": idle,
        "busy": busy,
        "events_per_s": n / (time.perf_counter() - began),
        "script_us_per_call": calls["usec_per_call"],
        "scripts_per_s": calls["calls"] / (time.perf_counter() - began),
    }


async def measure(*, is_small: bool, seconds: float) -> dict[str, Any]:
    """All of it; prints each figure as it comes."""
    n_members, n = (5_000, 20_000) if is_small else (job.MEMBERS, 150_000)
    results: dict[str, Any] = {"machine": machine(), "members": n_members, "seconds": seconds}
    with servers() as on:
        async with on.rig(job.model_files().values()) as rig:
            worker = await load(rig, n_members)
            rates = [await through_backlog(rig, worker, n_members, n) for _ in range(3)]
            results["backlog_events_per_s"] = statistics.median(rates)
            print("backlog", rates, flush=True)
            results["sustained_events_per_s"] = await sustained(on, rig, worker, n_members, statistics.median(rates))
            print("sustained", results["sustained_events_per_s"], flush=True)
            share = int(0.6 * results["sustained_events_per_s"])
            results["freshness"] = []
            second = parse({**job.model_files()[job.ACTIVITY], "version": 2})
            for rate, published, linger_ms in (
                (STEADY, None, KAFKA_LINGER_MS),
                (STEADY, None, 0.0),
                (share, None, KAFKA_LINGER_MS),
                (STEADY, second, KAFKA_LINGER_MS),
            ):
                found = await freshness(on, rig, worker, n_members, rate, seconds, published, linger_ms)
                results["freshness"].append(found)
                print(found, flush=True)
            results["look_ups"] = {"free": await look_ups(rig, worker, n_members, n, seconds / 4)}
            print(results["look_ups"]["free"], flush=True)
            if len(everywhere := os.sched_getaffinity(0)) > 1:
                one, other, *_ = ({core} for core in sorted(everywhere))
                pin(on.valkey.pid, one)
                pin(os.getpid(), one)
                pin(on.kafka.pid, other)
                pin(worker.pid, other)
                results["look_ups"]["pinned"] = await look_ups(rig, worker, n_members, n, seconds / 4)
                print(results["look_ups"]["pinned"], flush=True)
    return results


def text(results: dict[str, Any]) -> list[str]:
    """The section of the README."""
    places = {"free": "left to the scheduler", "pinned": "Valkey and reader on one core, worker and broker on another"}
    return [
        "## Freshness, and look-ups beside a busy worker",
        "",
        "`python -m bench.latency` (its head says the method).",
        about(results),
        "",
        f"Backlog: {results['backlog_events_per_s']:,.0f} events/s. Saturation, the highest steady rate it keeps "
        f"up with, is {results['sustained_events_per_s']:,.0f}.",
        "",
        "Freshness, p50 / p99 in ms:",
        "",
        *table(
            (
                *("events/s", "linger", "seen from outside", "by the worker's metric", "producer late, p99"),
                *("records in a batch", "cores of the worker"),
            ),
            [
                (
                    f"{row['rate']:,}" + (", beside a backfill" if row["backfilled"] else ""),
                    f"{row['linger_ms']:g} ms",
                    f"{row['outside_p50_ms']:.1f} / {row['outside_p99_ms']:.1f}",
                    f"{row['metric_p50_ms']:.1f} / {row['metric_p99_ms']:.1f}",
                    f"{row['producer_late_p99_ms']:.1f}",
                    f"{row['records_per_batch']:.0f}",
                    f"{row['worker_cores']:.2f}",
                )
                for row in results["freshness"]
            ],
        ),
        "",
        "Look-ups, p50 / p99 in µs (in brackets redis-py's HGETALL, in the same run):",
        "",
        *table(
            ("processes", "worker idle", "worker busy", "busy against idle, p99", "worker's events/s"),
            [
                (
                    places[place],
                    f"{row['idle']['p50_us']:.0f} / {row['idle']['p99_us']:.0f} "
                    f"({row['idle']['redis_py_p50_us']:.0f} / {row['idle']['redis_py_p99_us']:.0f})",
                    f"{row['busy']['p50_us']:.0f} / {row['busy']['p99_us']:.0f} "
                    f"({row['busy']['redis_py_p50_us']:.0f} / {row['busy']['redis_py_p99_us']:.0f})",
                    f"{row['busy']['p99_us'] / row['idle']['p99_us']:.1f} × "
                    f"({row['busy']['redis_py_p99_us'] / row['idle']['redis_py_p99_us']:.1f} ×)",
                    f"{row['events_per_s']:,.0f}",
                )
                for place, row in results["look_ups"].items()
            ],
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="freshness, and look-ups beside a busy worker")
    parser.add_argument("--small", action="store_true", help="fewer members and seconds, to try the bench itself")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a steady run")
    asked = parser.parse_args()
    results = asyncio.run(measure(is_small=asked.small, seconds=4.0 if asked.small else asked.seconds))
    if asked.small:
        print("\n".join(text(results)))
    else:
        save("latency", results, text(results))


if __name__ == "__main__":
    main()
