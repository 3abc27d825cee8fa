"""Batches in flight, one for each partition: begun, waited for, and taken out with what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from faust.types import TP

#: With more records than this there is a backlog: age doesn't matter, and the batch is large.
FEW_RECORDS = 1_000


@dataclass(frozen=True, slots=True)
class Finished:
    """A batch that has ended: how many records, up to which offset; why it wasn't applied, None if it was."""

    tp: TP
    n_records: int
    next_offset: int
    error: BaseException | None


class InFlight:
    """What the handler has in hand.

    Args:
        handle: applies one partition's records; it is told where reading goes on. When it ends, the batch ends.
    """

    def __init__(self, handle: Callable[[TP, list[Any], int], Awaitable[None]]) -> None:
        self._handle = handle
        self._batches: dict[TP, tuple[asyncio.Future[None], list[Any], int]] = {}

    def __len__(self) -> int:
        return len(self._batches)

    def __contains__(self, tp: TP) -> bool:
        return tp in self._batches

    @property
    def n_large(self) -> int:
        """How many of them come from a backlog."""
        return sum(len(records) > FEW_RECORDS for _, records, _ in self._batches.values())

    @property
    def largest(self) -> int:
        """The records of the largest of them."""
        return max([len(records) for _, records, _ in self._batches.values()], default=0)

    def begin(self, tp: TP, records: list[Any], next_offset: int) -> None:
        """Hand a batch to the handler. Its partition must have none in flight.

        `next_offset`: where reading goes on behind the batch. Without records nothing else is given.
        """
        work = asyncio.ensure_future(self._handle(tp, records, next_offset))
        self._batches[tp] = work, records, next_offset

    async def wait(self, return_when: str, timeout_s: float | None = None) -> bool:
        """Wait until one has ended, or all (asyncio.wait's `return_when`). Returns False after `timeout_s`."""
        if not self._batches:
            return True
        tasks = [task for task, *_ in self._batches.values()]
        done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=return_when)
        return len(done) == len(tasks) if return_when == asyncio.ALL_COMPLETED else bool(done)

    def take_finished(self) -> list[Finished]:
        """Return the batches that have ended, and remove them here."""
        found = []
        for tp, (task, records, next_offset) in list(self._batches.items()):
            if task.done():
                del self._batches[tp]
                error = asyncio.CancelledError() if task.cancelled() else task.exception()
                found.append(Finished(tp, len(records), next_offset, error))
        return found

    def cancel(self) -> None:
        """Ask all batches to end. They are taken out like any other."""
        for task, *_ in self._batches.values():
            task.cancel()

    async def abandon(self) -> None:
        """End all batches and forget them: they will be replayed."""
        self.cancel()
        await self.wait(asyncio.ALL_COMPLETED)
        self._batches.clear()
