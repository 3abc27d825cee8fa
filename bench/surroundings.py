"""On what a whole bench ran: machine, kernel, versions of servers and libraries. Nothing that names the machine."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from bench.contenders import Contender, pins
from bench.results_file import machine
from memberstream.stream.local.embedded import valkey_binary
from tests.kafka.broker import HERE as KAFKA

_OURS = ("memberstream", "faust-streaming", "aiokafka", "numpy", "orjson", "msgspec", "hiredis", "rocksdict")


def _says(*command: str) -> str:
    """The first line that a program writes."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(iter((done.stdout + done.stderr).splitlines()), "")


def surroundings(contenders: Iterable[Contender]) -> dict[str, Any]:
    """For the results file."""
    kafka = re.search(r"<kafka.version>(.+?)<", (KAFKA / "pom.xml").read_text())
    return {
        "machine": {**machine(), "kernel": platform.release()},
        "versions": {
            "Apache Kafka": kafka[1] if kafka else "",
            "Java": _says("java", "-version"),
            "Valkey": _says(valkey_binary(), "--version"),
            "ours": [f"{name}=={version(name)}" for name in _OURS],
            **{one.name: pins(one) for one in contenders if not one.is_ours},
        },
    }
