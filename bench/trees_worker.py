"""What a hundred trees cost a worker, beside the two models of the job.

    python -m bench.trees_worker [--rounds 3] [--scale 1]

Method. bench/job.py's members and events on Apache Kafka and Valkey, one worker process. It has the job's two models;
or these and 100 trees, fitted by scikit-learn on the job's own documents and all its columns. In each round everybody
runs once, each round beginning with another one. Medians.
- The job: all its events, sent faster than they are handled. CPU is what the kernel booked on the worker from the first
  record sent until Redis shows the last. Events a second by the clock, over the same.
- Live: events at a steady rate (bench/steady.py), CPU of the worker over the events. What it takes with nothing to do
  is part of it, of all alike.
- Skipping, in this process alone: members are rescored in batches as a worker does, after a patch of the job, after a
  purchase of the demo's customers, after a day without one. Then the same, but rows never count as alike, so that the
  trees are asked about each.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
import orjson
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it has no types

from bench import job
from bench.latency import producer
from bench.results_file import about, machine, save, table
from bench.rig import Event, Servers, servers
from bench.scaling import READY, cost_us, pool, settled
from bench.steady import PROBES, probe_id
from memberstream.models.apply import apply_one
from memberstream.models.event import decode
from memberstream.models.export import from_estimator
from memberstream.models.forest import Floats, Forest
from memberstream.models.member import Member
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan
from memberstream.models.rescore import rescore_many
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.demo import history

N_TREES, N_FITTED, N_PROVEN = 100, 4_000, 300
BATCH = 100  # members rescored together: what a worker has at some thousand live events a second
RATE, LIVE_S = 1_000, 15.0
_LEAST_SCALE = 0.1
ESTIMATORS: dict[str, Any] = {
    "GradientBoosting": GradientBoostingClassifier(n_estimators=N_TREES, random_state=0),
    "HistGradientBoosting": HistGradientBoostingClassifier(max_iter=N_TREES, random_state=0),
}
DAY = "1998-03-01"
NOW_MS = history.day_ms(DAY)
Models = dict[str, dict[str, Any]]
Members = Callable[[int], list[Member]]
Happens = Callable[[list[Member]], None]


def documents(n: int, seed: int) -> list[dict[str, Any]]:
    """Documents of the job, with each member's first patch."""
    found: dict[bytes, dict[str, Any]] = {}
    for key, value in job.events(n, n, seed):
        found[key] = job.change(found.get(key), orjson.loads(value))
    return list(found.values())


def trees(name: str) -> dict[str, Any]:
    """A model file of trees over all columns of the job, with the thresholds of its `activity`."""
    known = documents(N_FITTED, 2)
    x = np.array([job.predictors(document) for document in known])
    eta = x @ np.array(job.COEF) + job.INTERCEPT
    y = (np.random.default_rng(0).random(len(x)) < 1 / (1 + np.exp(-eta))).astype(int)
    with threadpool_limits(1):  # threads that wait for one another on busy cores take minutes
        fitted = ESTIMATORS[name].fit(x, y)
    return from_estimator(
        fitted,
        name="trees",
        version=1,
        predictors=job.model_files()[job.ACTIVITY]["predictors"],
        inputs=job.COLUMNS,
        documents=known[:N_PROVEN],
        x=x[:N_PROVEN],
        thresholds=list(job.THRESHOLDS),
        clusters=["low", "medium", "high"],
    ).definition


async def measured(on: Servers, models: Models, events: list[Event], n_members: int, live_s: float) -> dict[str, float]:
    """One run of a worker with these models."""
    async with on.rig(models.values(), job.PARTITIONS) as rig:
        worker = rig.worker().start()
        await rig.until(lambda: READY in worker.says())
        began = time.perf_counter()
        job_us = await cost_us(rig, worker, iter(events))
        seconds = time.perf_counter() - began
        replaces = pool("replace")
        await rig.send((probe_id(i), replaces[i]) for i in range(PROBES))
        await rig.applied()
        await settled(worker)
        before = worker.cpu_s()
        process = await asyncio.create_subprocess_exec(*producer(on, rig, n_members, RATE, live_s), stdout=-3)
        await process.wait()
        await rig.until(lambda: not sum(worker.metrics("memberstream_lag_records").values()))
        live_us = 1e6 * (worker.cpu_s() - before) / (RATE * live_s)
        return {"events_per_s": len(events) / seconds, "job_us": job_us, "live_us": live_us}


def patched(n: int) -> list[Member]:
    """Members of the job, and a patch for each, not yet rescored."""
    return [Member(document=document) for document in documents(n, 3)]


def patch(members: list[Member]) -> None:
    """Apply a patch of the job to each."""
    bodies = pool("patch")
    for i, member in enumerate(members):
        change(member, i, bodies[i % len(bodies)])


def change(member: Member, i: int, body: bytes) -> None:
    apply_one(member, i + 1, decode(job.member_id(i), body, NOW_MS, NOW_MS), len(body))


def customers(n: int) -> list[Member]:
    """Customers of the demo as of a day."""
    return [Member(document=document) for document in list(history.documents(NOW_MS).values())[-n:]]


def buy(members: list[Member]) -> None:
    """Let each buy something that day."""
    element = {"at": DAY, "units": 2, "amount": 25.5}
    body = orjson.dumps({"op": "append", "path": "purchases", "value": element})
    for i, member in enumerate(members):
        change(member, i, body)


def wait(members: list[Member]) -> None:
    """Nothing happens; only time passes."""


def skipped(model: dict[str, Any], make: Members, happens: Happens, n: int) -> dict[str, float]:
    """Processor µs a member, rescored a day later after something happened, with and without skipping; and the share
    that is skipped."""
    plan, alike = Plan([parse(model)]), Forest.are_alike
    n_asked = 0

    def counting(self: Forest, before: Floats, after: Floats) -> Any:
        nonlocal n_asked
        found = alike(self, before, after)
        n_asked += int((~found).sum())
        return found

    def always(self: Forest, before: Floats, after: Floats) -> Any:
        return np.zeros(len(before), dtype=bool)

    took: defaultdict[str, list[float]] = defaultdict(list)
    for turn in range(6):
        members = make(n)
        rescore_many(plan, members, [NOW_MS] * n)
        happens(members)
        Forest.are_alike = always if turn % 2 else counting  # type: ignore[method-assign]
        try:
            began = time.process_time()
            for start in range(0, n, BATCH):
                part = members[start : start + BATCH]
                rescore_many(plan, part, [NOW_MS + DAY_MS] * len(part))
            took["asked" if turn % 2 else "skipping"].append(1e6 * (time.process_time() - began) / n)
        finally:
            Forest.are_alike = alike  # type: ignore[method-assign]
    return {name: min(us) for name, us in took.items()} | {"share": 1 - n_asked / (3 * n)}


def skippings(grown: Models, n: int) -> dict[str, dict[str, float]]:
    """What skipping saves on the job, and on the demo's customers."""
    boosted = orjson.loads((files("memberstream.stream.demo") / "models" / "repeat_boosted.json").read_bytes())
    return {
        **{f"a patch of the job, {name}": skipped(model, patched, patch, n) for name, model in grown.items()},
        "a purchase, the demo's repeat_boosted": skipped(boosted, customers, buy, n),
        "a day without one, the same": skipped(boosted, customers, wait, n),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the job; below 0.1, to try it, nothing is written")
    asked = parser.parse_args()
    scale, is_tried = asked.scale, asked.scale < _LEAST_SCALE
    live_s = 3.0 if is_tried else LIVE_S
    about_it = machine()
    grown = {name: trees(name) for name in ESTIMATORS}
    skipping = skippings(grown, 500 if is_tried else 3_000)
    both = job.model_files()
    contenders = {"the job's two models": both} | {
        f"and {N_TREES} trees of {name}": both | {"trees": model} for name, model in grown.items()
    }
    events = list(job.events(int(job.MEMBERS * scale), int(job.PATCHES * scale)))
    runs: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    with servers() as on:
        for number in range(asked.rounds):
            turn = number % len(contenders)
            for name in [*contenders][turn:] + [*contenders][:turn]:
                run = asyncio.run(measured(on, contenders[name], events, int(job.MEMBERS * scale), live_s))
                runs[name].append(run)
                print(name, {figure: round(value, 1) for figure, value in run.items()}, flush=True)
    summary = {name: {f: statistics.median(run[f] for run in of) for f in of[0]} for name, of in runs.items()}
    results = {"machine": about_it, "events": len(events), "rounds": runs, "medians": summary, "skipping": skipping}
    text = list(shown(results))
    if is_tried:
        print("\n".join(text))
    else:
        save("trees_worker", results, text)


def shown(results: dict[str, Any]) -> list[str]:
    """What bench/README.md says of the results."""
    first = next(iter(results["medians"].values()))
    rows = [
        (name, f"{m['events_per_s']:,.0f}", *(f"{m[f]:.1f} ({m[f] / first[f]:.2f})" for f in ("job_us", "live_us")))
        for name, m in results["medians"].items()
    ]
    saved = [
        (name, f"{m['share']:.1%}", f"{m['skipping']:.1f}", f"{m['asked']:.1f}", f"{m['skipping'] / m['asked']:.2f}")
        for name, m in results["skipping"].items()
    ]
    return [
        f"Through a worker: `python -m bench.trees_worker`, {results['events']:,} events. {about(results)}",
        "In brackets: how many times that of the two models.",
        "",
        *table(
            ["models", "events a second through the job", "µs CPU an event", f"µs CPU a live event, {RATE:,}/s"], rows
        ),
        "",
        f"What skipping saves, in batches of {BATCH} members, predictors included:",
        "",
        *table(["after", "members skipped", "µs a member", "µs if none were skipped", "ratio"], saved),
    ]


if __name__ == "__main__":
    main()
