"""Batches in flight, one per partition: begun, waited for, and taken out with what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from faust.types import TP

#: With more records than these there is a backlog, age doesn't matter, and a batch is large.
FEW_RECORDS = 1_000


@dataclass(frozen=True, slots=True)
class Finished:
    """A batch that has ended: its first and last offset, and why it wasn't applied; None when it was."""

    tp: TP
    first: int
    last: int
    error: BaseException | None


class InFlight:
    """What the handler has in hand.

    Args:
        handle: applies one partition's records; its end is the batch's.
    """

    def __init__(self, handle: Callable[[TP, list[Any]], Awaitable[None]]) -> None:
        self._handle = handle
        self._batches: dict[TP, tuple[asyncio.Future[None], list[Any]]] = {}

    def __len__(self) -> int:
        return len(self._batches)

    def __contains__(self, tp: TP) -> bool:
        return tp in self._batches

    @property
    def n_large(self) -> int:
        """How many of them come from a backlog."""
        return sum(len(records) > FEW_RECORDS for _, records in self._batches.values())

    @property
    def largest(self) -> int:
        """The records of the largest of them."""
        return max([len(records) for _, records in self._batches.values()], default=0)

    def begin(self, tp: TP, records: list[Any]) -> None:
        """Hand a batch to the handler; its partition must have none in flight."""
        self._batches[tp] = asyncio.ensure_future(self._handle(tp, records)), records

    async def wait(self, return_when: str, timeout_s: float | None = None) -> bool:
        """Wait until one has ended, or all (asyncio.wait's `return_when`); False when `timeout_s` came first."""
        if not self._batches:
            return True
        tasks = [task for task, _ in self._batches.values()]
        done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=return_when)
        return len(done) == len(tasks) if return_when == asyncio.ALL_COMPLETED else bool(done)

    def take_finished(self) -> list[Finished]:
        """Return the batches that have ended, and forget them."""
        found = []
        for tp, (task, records) in list(self._batches.items()):
            if task.done():
                del self._batches[tp]
                error = asyncio.CancelledError() if task.cancelled() else task.exception()
                found.append(Finished(tp, records[0].offset, records[-1].offset, error))
        return found

    def cancel(self) -> None:
        """Ask all to end; they are taken out like any other."""
        for task, _ in self._batches.values():
            task.cancel()

    async def abandon(self) -> None:
        """End all and forget them: they will be replayed."""
        self.cancel()
        await self.wait(asyncio.ALL_COMPLETED)
        self._batches.clear()
