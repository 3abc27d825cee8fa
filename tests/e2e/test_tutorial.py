"""docs/tutorial.md, run as its reader would: two servers and a worker in other terminals, every output compared."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from documents import run

from memberstream.stream.local.server_process import ServerProcess, free_port
from memberstream.stream.settings import variable

ROOT = Path(__file__).resolve().parents[2]


class Terminals:
    """Terminals in which a command runs until the document ends, in the directory of the tutorial."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._opened: list[ServerProcess] = []
        others = {name: value for name, value in os.environ.items() if not name.startswith("MEMBERSTREAM_")}
        self._environment = others | {"PYTHONPATH": str(ROOT), variable("metrics_port"): str(free_port())}

    def open(self, command: str) -> Mapping[str, str]:
        """Run a command, `local` on free ports; returns the variables that its reader would paste."""
        words = command.split()
        settings = {variable("metrics_port"): str(free_port())} if "=" in words[0] else {}
        words = words[1:] if settings else words
        assert words[0] == "memberstream"
        is_local = words[1] == "local"
        ports = ["--kafka-port", "0", "--redis-port", "0"] if is_local else []
        log = self._directory / f"{'-'.join(words[1:])}.log"
        process = ServerProcess(command, log)
        self._opened.append(process)
        process.spawn(
            [sys.executable, "-m", "memberstream", *words[1:], *ports],
            cwd=self._directory,
            env=self._environment | settings,
        )
        process.wait_until(
            lambda: ("run until Ctrl-C" if is_local else "ready: partition") in log.read_text(), timeout_s=60
        )
        exports = [line.split()[1:] for line in log.read_text().splitlines() if line.startswith("export ")]
        found = dict(pair.split("=", 1) for line in exports for pair in line)
        self._environment |= found
        return found

    def close(self) -> None:
        """End them, the last one opened first."""
        for process in reversed(self._opened):
            process.stop(grace_s=20)


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    opened = Terminals(tmp_path)
    yield opened
    opened.close()


@pytest.mark.long
def test_tutorial(tmp_path: Path, terminals: Terminals) -> None:
    """The list from the notebook equals the published model on all members, and a purchase moves one by itself."""
    assert run(ROOT / "docs/tutorial.md", tmp_path, {"PYTHONPATH": str(ROOT)}, terminals.open) > 15
