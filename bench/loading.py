"""A first load: whole documents from a Parquet file into the topic, and applied by one worker.

    python -m bench.loading [--small]

Method.
- Apache Kafka and Valkey of the other benches, a topic of 4 partitions, one worker that has joined and has nothing else
  to do, with the two models of the throughput job. The file has members like that job's, each with its whole document
  (600 bytes): once as one column of JSON text, once as a column for each field.
- The real command in a process of its own, `memberstream events load FILE --as-of TIME`: the clock starts when it is
  launched (so Python's start and the imports count) and ends with it, when all rows are acknowledged. `level` is when
  workers tell readers that the last row of each partition is applied. The worker applies rows while the command sends.
- Then the same command again: it finds that all is there, checks all rows and sends none.
- CPU is user and system time of each process; memory of the command is its highest resident size.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bench import job
from bench.lists import run_command
from bench.results_file import about, machine, save, table
from bench.rig import Rig, Servers, Worker, servers
from bench.run import cpu_s
from bench.scaling import READY
from memberstream.stream.authoring.handling import handled
from memberstream.stream.kafka.topic_reader import connected
from memberstream.stream.settings import to_environment


def write_file(path: Path, n: int, *, is_text: bool) -> None:
    """Write n members."""
    keys, documents = [], []
    for key, value in islice(job.events(n, 0), n):
        keys.append(key.decode())
        documents.append(orjson.loads(value)["document"])
    columns: dict[str, Any] = {"member_id": keys}
    if is_text:
        columns["document"] = [orjson.dumps(document).decode() for document in documents]
    else:
        columns |= {name: [document[name] for document in documents] for name in documents[0]}
    pq.write_table(pa.table(columns), path)


async def ready(rig: Rig, worker: Worker) -> None:
    """Return when a worker has joined."""
    await rig.until(lambda: READY in worker.says())


async def load(on: Servers, rig: Rig, worker: Worker, file: Path, as_of: str) -> dict[str, float]:
    """Load once; returns seconds, CPU seconds and MB."""
    before = {"worker": cpu_s(worker.pid), "broker": cpu_s(on.kafka.pid or 0)}
    environment = {**os.environ, **to_environment(rig.settings)}
    command = [sys.executable, "-m", "memberstream", "events", "load", str(file), "--as-of", as_of]
    began = time.perf_counter()
    command_cpu_s, command_mb = await asyncio.to_thread(run_command, command, environment)
    sent_s = time.perf_counter() - began
    async with connected(rig.settings.kafka, rig.settings.topic, "") as (consumer, partitions):
        ends = {part.partition: end - 1 for part, end in (await consumer.end_offsets(partitions)).items()}
    await handled(rig.settings, ends, "the rows stand")
    return {
        "sent_s": sent_s,
        "level_s": time.perf_counter() - began,
        "command_cpu_s": command_cpu_s,
        "command_mb": command_mb,
        "worker_cpu_s": cpu_s(worker.pid) - before["worker"],
        "broker_cpu_s": cpu_s(on.kafka.pid or 0) - before["broker"],
    }


async def measure(n: int) -> dict[str, Any]:
    """All of it."""
    results: dict[str, Any] = {"machine": machine(), "rows": n, "loads": {}}
    with servers() as on:
        for name, is_text in (("JSON text", True), ("columns", False)):
            file = on.directory / f"{is_text}.parquet"
            write_file(file, n, is_text=is_text)
            async with on.rig(job.model_files().values()) as rig:
                worker = rig.worker().start()
                await ready(rig, worker)
                for what in (name, f"{name}, again"):
                    results["loads"][what] = await load(on, rig, worker, file, "2026-03-01T00:00:00Z")
                    print(what, results["loads"][what], flush=True)
    return results


def text(results: dict[str, Any]) -> list[str]:
    """The section of the README."""
    n = results["rows"]
    rows = [
        (
            what,
            f"{n / row['sent_s']:,.0f}",
            f"{n / row['level_s']:,.0f}",
            f"{1e5 * row['command_cpu_s'] / n:.2f} / {1e5 * row['worker_cpu_s'] / n:.2f}",
            f"{1e5 * row['broker_cpu_s'] / n:.2f}",
            f"{row['command_mb']:.0f}",
        )
        for what, row in results["loads"].items()
    ]
    heads = (
        *("documents as", "rows/s, acknowledged", "rows/s, applied", "CPU s per 100k: command / worker", "of broker"),
        "command's peak MB",
    )
    return [
        "## A first load",
        "",
        f"`python -m bench.loading` (its head says the method): {n:,} rows of Parquet, one worker.",
        about(results),
        "",
        *table(heads, rows),
        "",
        "Command, worker, broker and store share the cores, and the worker applies rows while the command sends.",
        "So the rates are of all together; the machine had other work, too. CPU is what to read. `again` checks all",
        "rows and sends none.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="a first load of members' documents")
    parser.add_argument("--small", action="store_true", help="a tenth of the rows, to try the bench itself")
    asked = parser.parse_args()
    results = asyncio.run(measure(20_000 if asked.small else 200_000))
    if asked.small:
        print("\n".join(text(results)))
    else:
        save("loading", results, text(results))


if __name__ == "__main__":
    main()
