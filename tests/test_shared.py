"""A server that several processes of a run use is started once and outlives its last user (tests/shared.py)."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

from shared import shared


class Toy:
    """A server that notes what befalls it."""

    def __init__(self, notes: list[str]) -> None:
        self.notes, self.bootstrap = notes, "somewhere:1"

    def start(self) -> None:
        self.notes.append("started")

    def stop(self) -> None:
        self.notes.append("stopped")


def test_the_starter_waits_for_the_others(tmp_path: Path) -> None:
    """Two users, of whom the starter is done first: it stops the server only when the other is done, and whoever comes
    after that starts another one."""
    notes: list[str] = []
    done, other = threading.Event(), ExitStack()

    def first() -> None:
        with shared(tmp_path / "s", lambda: Toy(notes)) as address:
            assert address == "somewhere:1"
            assert other.enter_context(shared(tmp_path / "s", lambda: Toy(notes))) == address
        done.set()

    starter = threading.Thread(target=first)
    starter.start()
    assert not done.wait(0.3)
    assert notes == ["started"]
    other.close()
    assert done.wait(10)
    starter.join()
    assert notes == ["started", "stopped"]
    with shared(tmp_path / "s", lambda: Toy(notes)):
        assert notes == ["started", "stopped", "started"]
