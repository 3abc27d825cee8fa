"""What the worker's process does beside its app."""

from __future__ import annotations

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any, cast

from memberstream.stream.faust_batch.app import BatchApp
from memberstream.stream.faust_batch.running import COLLECT_AGAIN_S, COLLECT_EVERY_S, _collect


class Loop:
    """Notes when something is called next."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def call_later(self, wait_s: float, *_: Any) -> None:
        self.waits.append(wait_s)


class Ring:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_cycles_are_freed_between_batches() -> None:
    """Not while a batch is in hand: it has a million objects to look at."""
    gc.disable()  # or chance may free it first
    try:
        ring, loop = weakref.ref(Ring()), Loop()
        for is_busy in (True, False):
            app = cast(BatchApp, SimpleNamespace(source=SimpleNamespace(is_busy=is_busy)))
            _collect(app, cast(asyncio.AbstractEventLoop, loop))
            assert (ring() is not None) == is_busy
    finally:
        gc.enable()
    assert loop.waits == [COLLECT_AGAIN_S, COLLECT_EVERY_S]
