"""What comes between the end of a recovery and the first batch: the changelog is put right, and the owner is told.

The law of this file:
1. One assignment at a time. It runs alone, with the flow stopped. A rebalance or a stop cancels it.
2. If a stale record is found in a changelog, what is right is published behind it (stale_keys.py).
3. An assignment that ends in any other way than by its end stops the worker. Nobody else would open the flow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from memberstream.stream.faust_batch.source import Source
from memberstream.stream.faust_batch.state import PartitionState
from memberstream.stream.kafka.clients import advice
from memberstream.stream.partition.write_position import rewritten

log = logging.getLogger(__name__)


class Reader(Protocol):
    """What an assignment asks of the consumer: BatchConsumer, or that of a test."""

    async def committed_offsets(self, partitions: frozenset[int]) -> Mapping[int, int]: ...
    async def read_from(self, applied: Mapping[int, int], committed: Mapping[int, int]) -> None: ...


class Assigning:
    """The assignment of the partitions that were recovered."""

    def __init__(self, source: Source, state: PartitionState) -> None:
        self._source, self._state = source, state
        self._task: asyncio.Task[None] | None = None

    async def run(self, reader: Reader, offsets: Mapping[int, int]) -> asyncio.Task[None]:
        """Assign partitions whose changelog is applied up to these offsets. Returns the task as it ended."""
        task = self._task = asyncio.create_task(self._assign(reader, offsets))
        try:
            await asyncio.wait({task})
        finally:  # even if a new rebalance cancels this very coroutine
            task.cancel()
            await asyncio.wait({task})
        return task

    async def cancel(self) -> None:
        """Called when partitions are revoked, before `owner.revoked`."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _assign(self, reader: Reader, offsets: Mapping[int, int]) -> None:
        if not offsets:
            return
        for partition, offset in offsets.items():
            self._state.start(partition, offset)
        await self._repair(offsets)
        if self._source.skip_log is not None:
            await self._source.skip_log.catch_up()
        committed = await reader.committed_offsets(frozenset(offsets))
        await reader.read_from(await self._source.owned.take(committed), committed)

    async def _repair(self, partitions: Iterable[int]) -> None:
        state = self._state
        for partition in partitions:
            if keys := sorted(state.stale(partition)):
                written_at = state.written_at(partition)
                values = zip(keys, state.get_many(partition, keys), strict=True)
                items = [(key, None if value is None else rewritten(value, written_at)) for key, value in values]
                offset = await state.publish(partition, items, written_at)
                state.write(partition, items, offset, written_at)
                log.warning(
                    "partition %d: %d stale records of a former owner in the changelog, put right", partition, len(keys)
                )


def check(task: asyncio.Task[None]) -> None:
    """Raise what ended an assignment that neither a rebalance nor a stop has ended (law 3)."""
    if task.cancelled():
        raise RuntimeError("a library's CancelledError ended an assignment. Next: nothing, the restart begins anew")
    if (error := task.exception()) is not None:
        log.error("stopping: %s: %s%s", type(error).__name__, error, advice(error))
        raise error
