"""What a worker says of itself over HTTP."""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import urlopen

from chaos.workers import Worker
from prometheus_client.parser import text_string_to_metric_families


def _ask(worker: Worker, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{worker.settings.metrics_port}{path}", timeout=2) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def is_alive(worker: Worker) -> bool:
    """Return what /healthz says."""
    return _ask(worker, "/healthz")[0] == HTTPStatus.OK


def readyz(worker: Worker) -> str:
    """Return the text of /readyz; raises OSError before it listens."""
    return _ask(worker, "/readyz")[1]


def owned(worker: Worker) -> set[int]:
    """Return the partitions that it says it owns; raises OSError before it listens."""
    found = re.search(r"partitions (\d[\d, ]*)", readyz(worker))
    return {int(number) for number in found[1].split(",")} if found else set()


def metric(worker: Worker, name: str) -> float:
    """Return the sum of a metric over its labels."""
    families = text_string_to_metric_families(_ask(worker, "/metrics")[1])
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)
