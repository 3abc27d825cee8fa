"""A worker process seen from outside: its metrics, its processor time, its memory (Linux)."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.request import urlopen

from chaos.workers import Crew, Worker
from prometheus_client.parser import text_string_to_metric_families

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def metric(worker: Worker, name: str) -> dict[str, float]:
    """Return a metric by the value of its one label, "" if it has none. Raises OSError before the worker listens."""
    with urlopen(f"http://127.0.0.1:{worker.settings.metrics_port}/metrics", timeout=20) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    return {
        "".join(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def cpu_s(worker: Worker) -> float:
    """Return the CPU seconds, user and system, that it has used."""
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def rss_mb(worker: Worker) -> float:
    """Return its resident memory, MB."""
    [line] = [x for x in Path(f"/proc/{worker.pid}/status").read_text().splitlines() if x.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def owned(worker: Worker) -> set[int]:
    """Return the partitions that a worker has and is ready to serve."""
    return {int(p) for p in metric(worker, "memberstream_state_members")} if worker.is_ready() else set()


async def share(crew: Crew, workers: list[Worker]) -> None:
    """Return when these workers own all partitions together, each some."""
    n = crew.system.n_partitions

    def is_shared() -> bool:
        parts = [owned(worker) for worker in workers]
        return all(parts) and sum(map(len, parts)) == n and set().union(*parts) == set(range(n))

    await crew.until(is_shared, f"{len(workers)} workers to share the partitions")
