"""A worker's own directory on the local disk. One worker at a time has it, by a lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from memberstream.stream.partition.state import StateUnusable


class DataDirInUse(RuntimeError):
    """Another worker process uses this data directory. Operator: give each worker its own."""


class DataDir:
    """A worker's own directory, made with its parents and held by a lock until `release` or the process' end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def acquire(self) -> None:
        """Take the directory. Raises DataDirInUse (another process has it), StateUnusable. Its holder may repeat it."""
        if self._lock is not None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / "worker.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go when the process dies, also by -9
        except OSError as error:
            holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise DataDirInUse(
                f"the data directory {self.path} is in use by another worker (process {holder}). "
                "Next: stop that worker, or give this one its own data directory."
            ) from error
        try:
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
        except OSError as error:
            os.close(lock)
            raise self._unusable(error) from error
        self._lock = lock

    def _unusable(self, error: OSError) -> StateUnusable:
        return StateUnusable(
            f"the data directory {self.path} can't be used: {error.strerror}. Next: make room there, allow this user "
            "to write, or take another MEMBERSTREAM_DATA_DIR"
        )

    def release(self) -> None:
        """Let go of the directory. Does nothing if it isn't held."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
