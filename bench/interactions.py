"""How fast interactions are counted, side by side with the path of documents on the same servers.

    python -m bench.interactions [--rounds 3] [--small]

Method. bench/job.py's members and two models on Apache Kafka and Valkey; three campaigns on the activity model, one of
them with a holdout. In each round, in turn: patches of documents for a worker of documents, and as many interactions
(half impressions, a quarter clicks, a quarter purchases without a campaign and with a value; one in twenty is sent
twice) for a worker of interactions. The backlog lies in Kafka before the worker starts. Timed is from the moment when
batches may come until all is in Redis: by members' positions, and by what the worker's metric says is done, asked 20
times a second. CPU is what the kernel booked on the worker. The counts are compared with what was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Any

import orjson

from bench import job
from bench.results_file import about, machine, save, table
from bench.rig import Event, Rig, Servers, Worker, servers
from bench.scaling import READY, changes, documents, pool
from memberstream.models.terms import Terms
from memberstream.stream.authoring.campaigning import Campaigning
from memberstream.stream.kafka.topics import create_topic
from memberstream.stream.projection.count_reader import read

CAMPAIGNS = ("for-all", "second", "third")


def interactions(n_members: int, n: int, seed: int) -> Iterator[Event]:
    """Interactions of random members, over some minutes from now on: all are scored by then."""
    dice = random.Random(seed)
    begin_ms = time.time_ns() // 1_000_000
    kinds = ("impression", "impression", "click", "purchase")
    sent: list[Event] = []
    for i in range(n):
        if sent and dice.random() < 0.05:
            yield dice.choice(sent[-1_000:])
            continue
        kind = kinds[i % 4]
        fields: dict[str, Any] = {"kind": kind, "id": f"{seed}-{i:020}", "at": begin_ms + i * 240_000 // n}
        fields |= (
            {"value": dice.randrange(10_000) / 100} if kind == "purchase" else {"campaign": dice.choice(CAMPAIGNS)}
        )
        sent.append((job.member_id(dice.randrange(n_members)), orjson.dumps(fields)))
        yield sent[-1]


class Counting(Rig):
    """The interactions of an installation: a topic of their own, counted by another kind of worker."""

    def __init__(self, on: Servers, members: Rig) -> None:
        name = f"{members.settings.group}-interactions"
        super().__init__(on, name, members.partitions)
        # `topic` is where a rig sends to; this kind of worker reads the other one.
        self.settings = replace(members.settings, topic=name, interactions_topic=name)
        self.producer = members.producer


async def drain(rig: Rig, worker: Worker, n: int) -> dict[str, float]:
    """Start a worker over a backlog of n records; how fast it is done with it."""

    def is_counted() -> bool:
        return sum(worker.metrics("memberstream_interactions_total").values()) >= n

    n_ready = worker.says().count(READY)
    worker.start()
    await rig.until(lambda: worker.says().count(READY) > n_ready)
    began, cpu_s = time.perf_counter(), worker.cpu_s()
    if isinstance(rig, Counting):
        await rig.until(is_counted, poll_s=0.05)
    else:
        await rig.applied()
    took_s = time.perf_counter() - began
    found = {
        "records_per_s": n / took_s,
        "cpu_us": 1e6 * (worker.cpu_s() - cpu_s) / n,
        "peak_mb": worker.memory_mb()["VmHWM"],
    }
    worker.stop()
    return found


async def measure(n_members: int, n: int, rounds: int) -> dict[str, Any]:
    """All of it; prints each figure as it comes."""
    results: dict[str, Any] = {
        "machine": machine(),
        "members": n_members,
        "records": n,
        "documents": [],
        "interactions": [],
    }
    with servers() as on:
        async with on.rig(job.model_files().values()) as rig:
            worker = rig.worker()
            await rig.send(documents(n_members, pool("replace")))
            await drain(rig, worker, n_members)
            clusters = tuple(c["id"] for c in job.model_files()[job.ACTIVITY]["clusters"])
            for name in CAMPAIGNS:
                terms = Terms(job.ACTIVITY, clusters, holdout=1_000 if name == CAMPAIGNS[0] else 0)
                await Campaigning(rig.settings, "bench").set(name, terms)
            counting = Counting(on, rig)
            await create_topic(counting.settings.kafka, counting.settings.topic, counting.partitions)
            counter = counting.worker("interactions", "worker")
            sent: set[bytes] = set()
            patches = pool("patch")
            try:
                for round_ in range(rounds):
                    await rig.send(changes(range(n_members), n, patches, round_))
                    results["documents"].append(await drain(rig, worker, n))
                    print("documents", results["documents"][-1], flush=True)
                    events = list(interactions(n_members, n, round_))
                    sent |= {value for _, value in events if b'"impression"' in value}
                    await counting.send(events)
                    results["interactions"].append(await drain(counting, counter, n))
                    print("interactions", results["interactions"][-1], flush=True)
            finally:
                counter.process.kill()
                counting.redis.close()
            counts = read(rig.settings.redis_url, rig.settings.keys, CAMPAIGNS)
            counted = sum(tally.events for cell, tally in counts.items() if cell.kind == "exposed")
            if counted != len(sent):
                raise SystemExit(f"{len(sent)} impressions were sent, {counted} are counted. Next: find out why")
    return results


def text(results: dict[str, Any]) -> list[str]:
    """The section of the README."""
    rows, rates = [], {}
    for what in ("documents", "interactions"):
        rates[what] = median(one["records_per_s"] for one in results[what])
        cpu_us = median(one["cpu_us"] for one in results[what])
        rows.append(
            (what, f"{rates[what]:,.0f}", f"{cpu_us:.1f}", f"{max(one['peak_mb'] for one in results[what]):.0f}")
        )
    return [
        "## Interactions beside documents",
        "",
        "`python -m bench.interactions` (its head says the method).",
        about(results),
        "",
        f"{results['records']:,} records a round, {results['members']:,} members, medians of "
        f"{len(results['documents'])} rounds.",
        "",
        *table(("", "records/s", "CPU µs a record", "peak MB"), rows),
        "",
        f"Interactions are counted at {rates['interactions'] / rates['documents']:.2f} × the speed of documents.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="interactions counted, beside documents scored")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="few records, to try the bench itself")
    asked = parser.parse_args()
    n_members, n = (2_000, 10_000) if asked.small else (job.MEMBERS, job.PATCHES)
    results = asyncio.run(measure(n_members, n, asked.rounds))
    if asked.small:
        print("\n".join(text(results)))
    else:
        save("interactions", results, text(results))


if __name__ == "__main__":
    main()
