"""What members and events take, by document size, columns and models: the coefficients of `memberstream plan`.

    python -m bench.sizing

Method. Synthetic members (stream/sizing/shape.py) on Apache Kafka and Valkey, one worker process, one job after
another. Each gets every member's document, then patches of random members, both as backlogs.
- Bytes: of the changelog's log files over its records; of Redis' used memory over members; of the worker's state on
  disk over members, after it has stopped and the databases are compacted. Before that they may hold older states, up to
  a bound that disk.py sets.
- Processor time: what the kernel booked on the worker from the first record sent until Redis shows the last. Beside
  it a yardstick (stream/sizing/yardstick.py) runs all the time. Processor time grows on a busy machine, since others
  empty the caches. So each figure is multiplied by what the yardstick takes at its best, over what it took then.
- Disk is a share of the changelog's bytes, the mean of four jobs: how far RocksDB compresses depends on documents.
- Four jobs give the four coefficients of each other size. Each differs from the first in one thing. The fifth differs
  in all, and isn't fitted: it says how far the sums are off.
- What a worker's memory grows by with its members is in bench/results/scaling.json: from 50,000 to 1,000,000.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import rocksdict
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.results_file import HERE, about, machine, save, table
from bench.rig import Rig, Servers, Worker, servers
from bench.scaling import READY, cost_us, settled
from memberstream.stream.faust_batch.disk import BLOCK_CACHE_BYTES, options
from memberstream.stream.sizing.plan import Job, Linear
from memberstream.stream.sizing.shape import Event, Shape, firsts, steady
from memberstream.stream.sizing.yardstick import yardstick_us

COEFFICIENTS = HERE.parent / "stream" / "sizing" / "coefficients.json"
SIZES = ("record_bytes", "redis_bytes", "document_us", "patch_us")
KINDS = ("document_bytes", "columns", "models")
SHOWN = {
    "record_bytes": "changelog",
    "redis_bytes": "Redis",
    "disk_bytes": "disk",
    "document_us": "first document",
    "patch_us": "patch",
}
UNITS = {name: "bytes" if name.endswith("bytes") else "µs" for name in SIZES}
FITTED = 4  # jobs, the first ones
PATCHES = 2  # for each member


@dataclass(frozen=True)
class Measured:
    """One job: what it is, and what it took."""

    members: int
    document_bytes: int
    columns: int
    models: int


BASE = Measured(10_000, 1_000, 12, 2)
JOBS = (
    BASE,
    Measured(10_000, 5_000, 12, 2),
    Measured(10_000, 1_000, 120, 2),
    Measured(10_000, 1_000, 60, 10),
    Measured(10_000, 2_500, 80, 5),
)


def models(n_models: int, n_columns: int) -> list[dict[str, Any]]:
    """Models over synthetic documents, all columns different: each tenth is a sum over the list, the others numbers."""
    each = n_columns // n_models
    made = []
    for m in range(n_models):
        predictors = [_predictor(m * each + i) for i in range(each)]
        made.append(
            {
                "format": 1,
                "name": f"load_{m}",
                "version": 1,
                "predictors": predictors,
                "model": {"type": "logistic", "coef": [0.1] * each, "intercept": -0.5, "thresholds": [0.5, 0.8]},
                "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "medium"}, {"id": 3, "name": "high"}],
            }
        )
    return made


def _predictor(n: int) -> dict[str, Any]:
    scale = {"scale": {"mean": n, "sd": 40}}
    if n % 10 == 9:
        return {
            **{"name": f"p{n}", "path": "items", "aggregate": "sum", "value": "amount", "missing": 0},
            "transforms": ["log1p", scale],
        }
    return {"name": f"p{n}", "path": f"n{n % 10}", "missing": 0, "transforms": ["log1p", scale]}


class Yardstick:
    """The yardstick in a process of its own, for as long as the context."""

    def __enter__(self) -> Yardstick:
        code = (
            "from memberstream.stream.sizing.yardstick import yardstick_us\n"
            "while True: print(yardstick_us(0.5), flush=True)"
        )
        self._process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        if self._process.stdout is not None:
            self._process.stdout.readline()  # it has begun
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        told = self._process.communicate()[0]
        found = [float(line) for line in told.split("\n")[:-1]]
        self.us = sum(found) / len(found)


async def cpu_us(on: Rig, worker: Worker, events: Iterator[Event]) -> tuple[float, float]:
    """Return µs of the worker for an event, and of the yardstick meanwhile."""
    await settled(worker)
    with Yardstick() as yardstick:
        us = await cost_us(on, worker, events)
        await asyncio.sleep(1.5)  # a few more lengths of it, where the events took less
    return us, yardstick.us


def bytes_under(folder: Path, pattern: str = "**/*") -> int:
    """Return the bytes of all files that match."""
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


def compact(folder: Path) -> None:
    """Compact the databases of a worker that has stopped."""
    cache = rocksdict.Cache(BLOCK_CACHE_BYTES)
    for current in folder.glob("**/CURRENT"):
        database = rocksdict.Rdict(str(current.parent), options=options(cache))
        database.compact_range(None, None)
        database.close()


async def measure(on: Servers, job: Measured) -> dict[str, Any]:
    """Return what a job took."""
    shape = Shape(job.members, job.document_bytes)
    async with on.rig(models(job.models, job.columns)) as rig:
        empty = rig.redis.info("memory")["used_memory"]
        worker = rig.worker().start()
        await rig.until(lambda: READY in worker.says())
        document_us, document_yardstick_us = await cpu_us(rig, worker, firsts(shape, seed=1))
        patches = islice(steady(shape, seed=2), PATCHES * job.members)
        patch_us, patch_yardstick_us = await cpu_us(rig, worker, patches)
        redis_bytes = (rig.redis.info("memory")["used_memory"] - empty) / job.members
        worker.stop()
        before = bytes_under(worker.settings.data_dir)
        compact(worker.settings.data_dir)
        n_records = await written(rig)
        log = rig.settings.changelog_topic
        return {
            **asdict(job),
            "record_bytes": bytes_under(on.kafka.directory, f"**/{log}-*/*.log") / n_records,
            "redis_bytes": redis_bytes,
            "before_compaction_bytes": before / job.members,
            "disk_bytes": bytes_under(worker.settings.data_dir) / job.members,
            "document_us": document_us,
            "document_yardstick_us": document_yardstick_us,
            "patch_us": patch_us,
            "patch_yardstick_us": patch_yardstick_us,
        }


async def written(rig: Rig) -> int:
    """Return the number of records that the changelog got."""
    partitions = [TopicPartition(rig.settings.changelog_topic, partition) for partition in range(rig.partitions)]
    async with AIOKafkaConsumer(bootstrap_servers=list(rig.settings.kafka_bootstrap)) as consumer:
        return sum((await consumer.end_offsets(partitions)).values())


def undisturbed(rows: list[dict[str, Any]], best_us: float) -> list[dict[str, Any]]:
    """Return the rows with the processor time that the jobs would have taken with the yardstick at its best."""
    return [
        row
        | {
            name: row[name] * best_us / row[name.replace("_us", "_yardstick_us")]
            for name in ("document_us", "patch_us")
        }
        for row in rows
    ]


def fitted(rows: list[dict[str, Any]], size: str) -> Linear:
    """Return the coefficients of a size: each of the second to fourth job differs from the first in one thing more.

    A row in Redis holds neither document nor columns. So the first three are one there, and their mean counts.
    """
    base, larger, wider, more = rows[:FITTED]
    if size == "redis_bytes":
        few = fmean(row[size] for row in rows[:3])
        model = (more[size] - few) / (more["models"] - base["models"])
        return Linear(few - model * base["models"], 0.0, 0.0, model)

    def slope(row: dict[str, Any], by: str) -> float:
        return float((row[size] - base[size]) / (row[by] - base[by]))

    document_byte, column = slope(larger, "document_bytes"), slope(wider, "columns")
    model = float(more[size] - base[size] - column * (more["columns"] - base["columns"])) / (
        more["models"] - base["models"]
    )
    fixed = (
        float(base[size]) - document_byte * base["document_bytes"] - column * base["columns"] - model * base["models"]
    )
    return Linear(fixed, document_byte, column, model)


def coefficients(results: dict[str, Any], scaling: dict[str, Any]) -> dict[str, Any]:
    """Return the coefficients' file: each with what it is, and the results it comes from."""
    rows = undisturbed(results["jobs"], results["yardstick_us"])
    found: dict[str, Any] = {
        size: {"value": asdict(fitted(rows, size)), "unit": UNITS[size], "from": "bench/results/sizing.json"}
        for size in SIZES
    }
    share = fmean(row["disk_bytes"] / row["record_bytes"] for row in rows[:FITTED])
    found["disk_share"] = {"value": share, "unit": "", "from": "bench/results/sizing.json"}
    few, many = scaling["members"][0], scaling["members"][-1]
    kb = 1000 * (many["VmHWM"] - few["VmHWM"]) / (many["members"] - few["members"])
    source = "bench/results/scaling.json: VmHWM"
    found["worker_mb"] = {"value": few["VmHWM"] - kb * few["members"] / 1000, "unit": "MB", "from": source}
    found["member_kb"] = {"value": kb, "unit": "kB", "from": source}
    found["yardstick_us"] = {"value": results["yardstick_us"], "unit": "µs", "from": "bench/results/sizing.json"}
    m = results["machine"]
    found["machine"] = {"value": f"{m['cpu']}, Python {m['python']}", "unit": "", "from": "bench/results/sizing.json"}
    return found


def lines(results: dict[str, Any]) -> Iterator[str]:
    """Yield the section of bench/README.md."""
    rows = undisturbed(results["jobs"], results["yardstick_us"])
    fits = {size: fitted(rows, size) for size in SIZES}
    yield "## What members and events take"
    yield ""
    yield "`python -m bench.sizing` (its head says the method). `memberstream plan` goes by it (docs/sizing.md)."
    yield about(results)
    yield ""
    yield from table(
        (
            *("document bytes", "columns", "models", "changelog, bytes", "Redis, bytes", "disk, bytes"),
            *("first document, µs", "patch, µs"),
        ),
        [[round(row[name]) for name in (*KINDS, *SHOWN)] for row in rows],
    )
    yield ""
    last = rows[-1]
    sums = {name: fits[name].of(Job(0, last["document_bytes"], 0, last["models"], last["columns"])) for name in SIZES}
    sums["disk_bytes"] = sums["record_bytes"] * fmean(row["disk_bytes"] / row["record_bytes"] for row in rows[:FITTED])
    off = ", ".join(f"{what} {sums[name] / last[name] - 1:+.0%}" for name, what in SHOWN.items())
    yield "The last job isn't among those that gave the coefficients. How far their sums are off for it:"
    yield f"{off}."
    slow = [
        row[f"{name}_yardstick_us"] / results["yardstick_us"]
        for row in results["jobs"]
        for name in ("document", "patch")
    ]
    yield f"The yardstick took {min(slow):.1f} to {max(slow):.1f} times its best: processor time is divided by that."


def best_yardstick_us() -> float:
    """Return what the yardstick takes when nobody disturbs it: the least of many short looks."""
    return min(yardstick_us(0.05) for _ in range(60))


async def run() -> dict[str, Any]:
    """Return all results."""
    about_it, best_us, jobs = machine(), best_yardstick_us(), []
    with servers() as on:
        for job in JOBS:
            jobs.append(await measure(on, job))
            print(json.dumps(jobs[-1]), flush=True)
    return {"machine": about_it, "yardstick_us": min(best_us, best_yardstick_us()), "jobs": jobs}


def main() -> None:
    """Measure, and write results, coefficients and README."""
    write(asyncio.run(run()))


def write(results: dict[str, Any]) -> None:
    """Write results, coefficients and README."""
    scaling = json.loads((HERE / "results" / "scaling.json").read_text())
    COEFFICIENTS.write_text(json.dumps(coefficients(results, scaling), indent=1, ensure_ascii=False) + "\n")
    save("sizing", results, lines(results))


if __name__ == "__main__":
    main()
