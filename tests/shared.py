"""One server for all processes of a test run: whoever needs it first starts it, and stops it once nobody uses it.

1. `lock` guards who starts and who stops; each user holds `users` for as long as it uses the server.
2. A server dies with the process that started it, so the starter waits for the others at its end.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol


class Server(Protocol):
    """ApacheKafka, or a stand-in."""

    @property
    def bootstrap(self) -> str: ...
    def start(self) -> object: ...
    def stop(self) -> None: ...


@contextmanager
def shared(folder: Path, make: Callable[[], Server]) -> Iterator[str]:
    """Yield the address of the server that `folder` stands for; `make` is called where there is none yet."""
    folder.mkdir(exist_ok=True)
    address, own = folder / "address", None
    with (folder / "lock").open("w") as lock, (folder / "users").open("w") as users:
        with _held(lock):
            if not address.exists():
                own = make()
                own.start()
                address.write_text(own.bootstrap)
            fcntl.flock(users, fcntl.LOCK_SH)
            at = address.read_text()
        try:
            yield at
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            while own is not None:
                with _held(lock):
                    if _is_unused(users):
                        address.unlink()
                        own.stop()
                        break
                time.sleep(0.05)


@contextmanager
def _held(lock: IO[str]) -> Iterator[None]:
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def _is_unused(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
