"""What a worker costs as members, predictors and workers grow; recovery, restart, memory.

    python -m bench.scaling [--million] [--small]      (--million: also 1,000,000 members, minutes more)

Method. bench/job.py's members and events on Apache Kafka and Valkey, one worker process unless said otherwise.
- Cost per event: CPU that the kernel booked on the worker process from the first record sent until Redis shows the
  last, over the number of records; they are sent faster than they are handled. Every member has its document first, and
  RocksDB has put them in order. Patches are to random ones of all members, the same number at every size: with more
  members fewer meet in a batch, where a member costs once. So also patches to as many random members as the first row
  has, which tells what the number of members costs by itself. Medians of three: RocksDB's work comes in lumps.
- Predictors: the job's two models with 12, and further ones that read paths which the patches don't touch: in one
  further model, and then in twenty of 12, which says what a further model costs: its cluster is in the member's state
  and row, whether it changes or not. Medians of three.
- Documents against patches: whole documents sent again to members that have one, against patches.
- Recovery: a worker on an empty disk; from its log's "assigned" to the first event's membership, group join left out.
- Two workers: the backlog's time with one worker on four partitions, against two workers on two each.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from bench import job
from bench.results_file import about, machine, save, table
from bench.rig import Event, Rig, Servers, Worker, servers

POOL = 5_000  # distinct documents and patches: members share them, so that a million costs no minute to make
RESTARTED = 200_000  # members of the recovery, and the most after which a restart is timed
ENOUGH_CORES = 6  # two workers, the broker, Valkey and what sends


def pool(kind: str) -> list[bytes]:
    """Bodies of events without their envelope's version."""
    first = 0 if kind == "replace" else POOL
    events = list(job.events(POOL, POOL))[first : first + POOL]
    return [orjson.dumps({"op": body["op"], kind_key(kind): body[kind_key(kind)]}) for body in map(_body, events)]


def kind_key(kind: str) -> str:
    """The field of the envelope that holds the change."""
    return "document" if kind == "replace" else "patch"


def _body(event: Event) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(event[1])
    return body


def documents(n_members: int, pool: list[bytes]) -> Iterator[Event]:
    """Every member's document, once."""
    for i in range(n_members):
        yield job.member_id(i), pool[i % len(pool)]


def changes(among: Sequence[int], n: int, pool: list[bytes], seed: int) -> Iterator[Event]:
    """Changes of random ones of some members."""
    rng = random.Random(seed)
    for i in range(n):
        yield job.member_id(rng.choice(among)), pool[i % len(pool)]


async def settled(worker: Worker) -> None:
    """Return when the worker has nothing to do, for which it takes up to 7% of a core: RocksDB compacts what came."""
    before = -1.0
    while worker.cpu_s() - before > 0.12:
        before = worker.cpu_s()
        await asyncio.sleep(1.0)


def more_models(n: int, n_predictors: int) -> list[dict[str, Any]]:
    """The job's models, and n further ones, each of so many predictors over other paths."""
    models = list(job.model_files().values())
    for m in range(n):
        predictors = [
            {"name": f"p{i}", "path": f"other{m}.field{i}", "missing": 0, "transforms": ["log1p"]}
            for i in range(n_predictors)
        ]
        models.append(
            {
                "format": 1,
                "name": f"other_{m}",
                "version": 1,
                "predictors": predictors,
                "model": {"type": "logistic", "coef": [0.1] * n_predictors, "intercept": 0.0, "thresholds": [0.5]},
                "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "high"}],
            }
        )
    return models


async def cost_us(rig: Rig, worker: Worker, events: Iterator[Event]) -> float:
    """CPU µs of the worker per event."""
    before = worker.cpu_s()
    n = await rig.send(events)
    await rig.applied()
    return 1e6 * (worker.cpu_s() - before) / n


def _stamps(log: str, text: str) -> list[float]:
    """time.time() of the lines of a worker's log that hold `text`."""
    found = [re.match(r"(\S+ \S+),(\d{3}) ", line) for line in log.splitlines() if text in line]
    return [time.mktime(time.strptime(s[1], "%Y-%m-%d %H:%M:%S")) + int(s[2]) / 1000 for s in found if s is not None]


#: What the worker's log says when it is given partitions, and when batches may come.
ASSIGNED, READY = "rebalance: ", "ready: "


async def restart(rig: Rig, worker: Worker, *, empty_disk: bool) -> dict[str, float]:
    """Stop and start a worker while one event per partition waits; seconds.

    `recovered`: from the assignment until batches may come. `first_event`: until the first waiting one is in Redis,
    from the assignment; `from_start`: from the launch of the process, join and imports included.
    """
    worker.stop()
    if empty_disk:
        shutil.rmtree(worker.settings.data_dir)
    said = len(worker.says())
    waiting = {}
    patches = pool("patch")
    for i in range(10_000):
        member_id = job.member_id(i)
        if rig.partition(member_id) not in waiting:
            waiting[rig.partition(member_id)] = (member_id, patches[0])
    await rig.send(waiting.values())
    launched = time.time()
    worker.start()
    await rig.until(lambda: ASSIGNED in worker.says()[said:])
    await rig.until(rig.is_any_applied, poll_s=0.002)
    first_at = time.time()
    await rig.applied()
    assigned = min(_stamps(worker.says()[said:], ASSIGNED))
    ready = max(_stamps(worker.says()[said:], READY))
    return {
        "recovered_s": ready - assigned,
        "first_event_s": first_at - assigned,
        "from_start_s": first_at - launched,
        **worker.memory_mb(),
    }


async def members(on: Servers, n_members: int, n_some: int, n_changes: int) -> dict[str, Any]:
    """Everything about one size. `n_some`: how many members have changes where it isn't all."""
    replaces, patches = pool("replace"), pool("patch")
    everyone, some = range(n_members), random.Random(0).sample(range(n_members), n_some)
    async with on.rig(job.model_files().values()) as rig:
        worker = rig.worker().start()
        await rig.until(lambda: READY in worker.says())
        row: dict[str, Any] = {"members": n_members}
        row["first_document_us"] = await cost_us(rig, worker, documents(n_members, replaces))
        for name, among, bodies in (
            ("patch_some_us", some, patches),
            ("patch_us", everyone, patches),
            ("again_document_us", everyone, replaces),
        ):
            costs = []
            for seed in range(3):
                await settled(worker)
                costs.append(await cost_us(rig, worker, changes(among, n_changes, bodies, seed)))
            row[name] = statistics.median(costs)
        row |= worker.memory_mb()
        if n_members <= RESTARTED:
            row["restart"] = await restart(rig, worker, empty_disk=False)
    return row


async def recovery(on: Servers, n_members: int) -> dict[str, Any]:
    """State of so many members from a changelog of one record each."""
    async with on.rig(job.model_files().values()) as rig:
        worker = rig.worker().start()
        await rig.until(lambda: READY in worker.says())
        await rig.send(documents(n_members, pool("replace")))
        await rig.applied()
        return {"members": n_members, **await restart(rig, worker, empty_disk=True)}


async def predictors(on: Servers, n_models: int, each: int, n_members: int, n_changes: int) -> dict[str, Any]:
    """Patch cost with so many further models of so many predictors each, of which no patch touches one."""
    models = more_models(n_models, each)
    async with on.rig(models) as rig:
        worker = rig.worker().start()
        await rig.until(lambda: READY in worker.says())
        await rig.send(documents(n_members, pool("replace")))
        await rig.applied()
        costs = []
        for seed in range(3):
            await settled(worker)
            costs.append(await cost_us(rig, worker, changes(range(n_members), n_changes, pool("patch"), seed)))
    return {"predictors": 12 + n_models * each, "models": len(models), "patch_us": statistics.median(costs)}


async def workers(on: Servers, n: int, n_members: int, n_changes: int) -> float:
    """Events/s of a backlog on four partitions by n workers, from the first one's assignment until Redis is right."""
    async with on.rig(job.model_files().values()) as rig:
        started = [rig.worker().start() for _ in range(n)]
        await rig.until(lambda: all(READY in worker.says() for worker in started))
        await rig.send(documents(n_members, pool("replace")))
        await rig.applied()
        await rig.until(lambda: sum(len(w.metrics("memberstream_state_members")) for w in started) >= rig.partitions)
        for worker in started:
            worker.pause()
        total = await rig.send(changes(range(n_members), n_changes, pool("patch"), 1))
        began = time.perf_counter()
        for worker in started:
            worker.resume()
        return total / (await rig.applied() - began)


async def measure(*, is_small: bool, million: bool) -> dict[str, Any]:
    """All of it; prints each figure as it comes."""
    scale = 20 if is_small else 1
    n_changes = 100_000 // scale
    sizes = [50_000 // scale, 200_000 // scale] + ([1_000_000 // scale] if million else [])
    results: dict[str, Any] = {"machine": machine(), "changes": n_changes, "members": [], "predictors": []}
    with servers() as on:
        for size in sizes:
            results["members"].append(await members(on, size, sizes[0], n_changes))
            print(results["members"][-1], flush=True)
        results["recovery"] = await recovery(on, RESTARTED // scale)
        print(results["recovery"], flush=True)
        for n_models, each in ((0, 0), (1, 48), (1, 228), (20, 12)):
            results["predictors"].append(await predictors(on, n_models, each, 20_000 // scale, n_changes // 2))
            print(results["predictors"][-1], flush=True)
        results["workers"] = {
            str(n): [await workers(on, n, 20_000 // scale, n_changes) for _ in range(3)] for n in (1, 2)
        }
        print(results["workers"], flush=True)
    return results


def text(results: dict[str, Any]) -> list[str]:
    """The section of the README."""
    rows = results["members"]
    base = rows[0]["patch_some_us"]
    touched = results["predictors"][0]["patch_us"]
    rate = {n: statistics.median(values) for n, values in results["workers"].items()}
    recovered = results["recovery"]
    cores = results["machine"]["cores"]
    lines = [
        "## Scaling, recovery, memory",
        "",
        "`python -m bench.scaling --million` (its head says the method).",
        about(results),
        "",
        *table(
            (
                *("members", f"CPU µs per patch of {rows[0]['members']:,} of them", "against the first row"),
                *("of all of them", "per whole document, sent again"),
                *("document against patch", "resident MB, highest", "restart: first event, s (from launch)"),
            ),
            [
                (
                    f"{row['members']:,}",
                    f"{row['patch_some_us']:.1f}",
                    f"{row['patch_some_us'] / base:.2f} ×",
                    f"{row['patch_us']:.1f}",
                    f"{row['again_document_us']:.1f}",
                    f"{row['again_document_us'] / row['patch_us']:.2f} ×",
                    f"{row['VmRSS']:.0f}, {row['VmHWM']:.0f}",
                    f"{row['restart']['first_event_s']:.2f} ({row['restart']['from_start_s']:.2f})"
                    if "restart" in row
                    else "",
                )
                for row in rows
            ],
        ),
        "",
        f"Recovery of {recovered['members']:,} members from the changelog on an empty disk: "
        f"{recovered['recovered_s']:.2f} s from the assignment until batches may come.",
        f"Highest memory {recovered['VmHWM']:.0f} MB.",
        "",
        *table(
            ("predictors", "models", "CPU µs per patch", "against 12"),
            [
                (row["predictors"], row["models"], f"{row['patch_us']:.1f}", f"{row['patch_us'] / touched:.2f} ×")
                for row in results["predictors"]
            ],
        ),
        "",
        "A worker evaluates only what a change touches, and keeps only values of what was touched lately.",
        "A further model costs what its cluster takes in state, changelog and Redis.",
        "",
        f"Two workers on two partitions each against one on four: {rate['2'] / rate['1']:.2f} × "
        f"({rate['2']:,.0f} against {rate['1']:,.0f} events/s, medians of 3).",
    ]
    if cores < ENOUGH_CORES:
        lines.append(f"With {cores} cores for broker, Valkey and workers together this says nothing about scaling.")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="cost by size, recovery, memory")
    parser.add_argument("--small", action="store_true", help="a twentieth of everything, to try the bench itself")
    parser.add_argument("--million", action="store_true", help="1,000,000 members, too")
    asked = parser.parse_args()
    results = asyncio.run(measure(is_small=asked.small, million=asked.million))
    if asked.small:
        print("\n".join(text(results)))
    else:
        save("scaling", results, text(results))


if __name__ == "__main__":
    main()
