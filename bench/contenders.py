"""Who is measured, and how each gets its own virtual environment.

Laws: everybody keeps the contract of bench/peers/README.md; versions are pinned in bench/peers/requirements-*.txt; an
environment lies in .cache/bench/<requirements>/ and is made again when its file changes.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENVIRONMENTS = ROOT / ".cache" / "bench"


class InstallError(RuntimeError):
    """A peer can't be installed. Reported; the others are measured."""


@dataclass(frozen=True)
class Contender:
    """One row of the table. `state`: where documents are kept; `is_durable`: a crash loses nothing of them."""

    name: str
    title: str
    script: str
    requirements: str | None  # None: the environment that runs the bench
    state: str
    is_durable: bool
    is_slow: bool = False  # one round, unless ROUNDS is given

    @property
    def is_ours(self) -> bool:
        return self.requirements is None


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("ours", "memberstream", "memberstream_worker", None, "RocksDB and changelog", True),
        Contender("faust", "Faust, idiomatic", "faust_idiomatic", "faust", "memory and changelog", True, is_slow=True),
        Contender("quix", "Quix Streams", "quix", "quix", "RocksDB and changelog", True),
        Contender("bytewax", "Bytewax, recovery", "bytewax_flow", "bytewax", "SQLite snapshots", True),
        Contender("bytewax-memory", "Bytewax, no recovery", "bytewax_memory", "bytewax", "memory", False),
        Contender("pathway", "Pathway, its fastest mode", "pathway_flow", "pathway", "memory", False),
        Contender("aiokafka-loop", "plain aiokafka loop", "aiokafka_loop", "aiokafka", "a dict", False),
        Contender("confluent-loop", "plain confluent-kafka loop", "confluent_loop", "confluent", "a dict", False),
    )
}


def choose(only: str) -> list[Contender]:
    """The contenders named in a list joined by commas; all when it is empty. Raises SystemExit."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise SystemExit(f"ONLY: unknown {', '.join(unknown)}. Known are: {', '.join(CONTENDERS)}")
    return [contender for name, contender in CONTENDERS.items() if not names or name in names]


def pins(contender: Contender) -> list[str]:
    """The pinned packages of a peer."""
    return (HERE / "peers" / f"requirements-{contender.requirements}.txt").read_text().split()


def python_of(contender: Contender) -> str:
    """The contender's Python; its environment is made if need be. Raises InstallError."""
    if contender.requirements is None:
        return sys.executable
    requirements = HERE / "peers" / f"requirements-{contender.requirements}.txt"
    home = ENVIRONMENTS / contender.requirements
    python, stamp = home / "bin" / "python", home / ".requirements"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    print(f"installing {contender.name} into {home.relative_to(ROOT)}", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--cache-dir", str(ROOT / ".cache/pip")]
    for command in (
        [sys.executable, "-m", "venv", str(home)],
        [*pip, "install", "--only-binary", ":all:", "-r", str(requirements)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise InstallError(f"{contender.name} can't be installed: {(done.stdout + done.stderr)[-600:].strip()}")
    stamp.write_text(wanted)
    return str(python)
