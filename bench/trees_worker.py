"""What a hundred trees cost a worker, beside the two models of the job.

    python -m bench.trees_worker [--rounds 3] [--scale 1]

Method. bench/job.py's members and events on Apache Kafka and Valkey, one worker process. It has the job's two models;
or these and 100 trees, fitted by scikit-learn on the job's own documents and all its columns. In each round everybody
runs once, each round beginning with another one.
- The job: all its events, sent faster than they are handled. CPU is what the kernel booked on the worker from the first
  record sent until Redis shows the last. Events a second by the clock, over the same.
- Live: events at a steady rate (bench/steady.py), CPU of the worker over the events. What it takes with nothing to do
  is part of it, of all alike.
- Before that: a worker's own steps, and skipping (bench/trees_steps.py).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from typing import Any

from bench import job
from bench.latency import producer
from bench.results_file import about, machine, save, table
from bench.rig import Event, Servers, servers
from bench.scaling import READY, cost_us, pool, settled
from bench.steady import PROBES, probe_id
from bench.trees_steps import BATCH, ESTIMATORS, N_TREES, SIZES, Models, all_steps, skippings, trees

RATE, LIVE_S = 1_000, 15.0
_LEAST_SCALE = 0.1


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
        process = await asyncio.create_subprocess_exec(
            *producer(on, rig, n_members, RATE, live_s), stdout=asyncio.subprocess.DEVNULL
        )
        await process.wait()
        await rig.until(lambda: not sum(worker.metrics("memberstream_lag_records").values()))
        live_us = 1e6 * (worker.cpu_s() - before) / (RATE * live_s)
        return {"events_per_s": len(events) / seconds, "job_us": job_us, "live_us": live_us}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the job; below 0.1, to try it, nothing is written")
    asked = parser.parse_args()
    scale, is_tried = asked.scale, asked.scale < _LEAST_SCALE
    live_s = 3.0 if is_tried else LIVE_S
    about_it = machine()
    grown = {name: trees(name) for name in ESTIMATORS}
    both = job.model_files()
    contenders = {"the job's two models": both} | {
        f"and {N_TREES} trees of {name}": both | {"trees": model} for name, model in grown.items()
    }
    skipping = skippings(grown, 500 if is_tried else 3_000)
    steps = all_steps(contenders, 500 if is_tried else 2_000)
    events = list(job.events(int(job.MEMBERS * scale), int(job.PATCHES * scale)))
    runs: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    with servers() as on:
        for number in range(asked.rounds):
            turn = number % len(contenders)
            for name in [*contenders][turn:] + [*contenders][:turn]:
                run = asyncio.run(measured(on, contenders[name], events, int(job.MEMBERS * scale), live_s))
                runs[name].append(run)
                print(name, {figure: round(value, 1) for figure, value in run.items()}, flush=True)
    results = {"machine": about_it, "events": len(events), "rounds": runs, "steps": steps, "skipping": skipping}
    text = list(shown(results))
    if is_tried:
        print("\n".join(text))
    else:
        save("trees_worker", results, text)


def shown(results: dict[str, Any]) -> list[str]:
    """What bench/README.md says of the results."""
    first = next(iter(results["steps"].values()))
    steps = [
        (name, *(f"{us:.1f} ({us / first[size]:.2f})" for size, us in of.items()))
        for name, of in results["steps"].items()
    ]
    whole = [
        (name, *(f"{min(run[f] for run in of):,.0f} to {max(run[f] for run in of):,.0f}" for f in of[0]))
        for name, of in results["rounds"].items()
    ]
    n_rounds = len(next(iter(results["rounds"].values())))
    saved = [
        (name, f"{m['share']:.1%}", f"{m['skipping']:.1f}", f"{m['asked']:.1f}", f"{m['skipping'] / m['asked']:.2f}")
        for name, m in results["skipping"].items()
    ]
    return [
        "Through a worker: `python -m bench.trees_worker`.",
        about(results),
        "",
        "A worker's own steps for a patch of the job, without Kafka, RocksDB and Redis, in batches of so many records.",
        "In brackets: how many times that of the two models.",
        "",
        *table(["models", *(f"µs of processor, {size:,}" for size in SIZES)], steps),
        "",
        f"Whole workers, {results['events']:,} events, lowest to highest of {n_rounds} rounds. Where these overlap,",
        "nothing can be said.",
        "",
        *table(["models", "events a second", "µs CPU an event", f"µs CPU a live event, {RATE:,}/s"], whole),
        "",
        f"What skipping saves, in batches of {BATCH} members, predictors included, best of three:",
        "",
        *table(["after", "members skipped", "µs a member", "µs if none were skipped", "ratio"], saved),
    ]


if __name__ == "__main__":
    main()
