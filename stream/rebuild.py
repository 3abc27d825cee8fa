"""Redis from state: all members of a partition, and its rows of the lists, when Redis has lost them.

Laws: Redis is only a projection of the state, so writing every member again is always right and may be repeated. A
member that the current models don't cover yet is rescored on the way. A deleted one, of which only a version is left,
goes if Redis holds it; it gets no tombstone anew, which would take it off the lists of today. While Redis takes one
slice of members the next is decoded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from itertools import islice
from time import perf_counter

from models.member import decode
from stream.batch import to_deletion, to_update
from stream.enlisting import Enlisting
from stream.projection import Deletion, Update
from stream.publication import Current
from stream.rescoring import Rescoring
from stream.state import State
from stream.writer import Writer

log = logging.getLogger(__name__)
# Seconds between two lines of progress in the log.
PROGRESS_EVERY_S = 2.0
# Members handled between two breaths of the event loop: some 10 ms, well below any heartbeat.
SLICE = 500


class Rebuild:
    """Makes Redis whole, partition by partition; the caller sees to it that no batch of the partition runs meanwhile.

    Args:
        n_partitions: asks how many partitions the topic has; Redis is whole when all of them are.

    Attributes:
        remaining: partition being written → members still to write, as RocksDB estimates it; then rows of lists.
        written: members and rows written since the start.
    """

    def __init__(
        self,
        current: Current,
        state: State,
        writer: Writer,
        rescoring: Rescoring,
        enlisting: Enlisting,
        n_partitions: Callable[[], int],
    ) -> None:
        self._current, self._state, self._writer = current, state, writer
        self._rescoring, self._enlisting, self._n_partitions = rescoring, enlisting, n_partitions
        self.remaining: dict[int, int] = {}
        self.written = 0

    async def if_needed(self, partition: int) -> None:
        """Write the partition's members to Redis if it lacks them."""
        while partition in await self._writer.beacon():
            token = await self._writer.begin(partition)
            await self._write_all(partition)
            await self._write_lists(partition)
            if await self._writer.finish(partition, token, self._n_partitions()) != "restart":
                return

    async def _write_all(self, partition: int) -> None:
        start, n = perf_counter(), 0
        said_at, total = start, self._state.approximate_count(partition)
        self.remaining[partition] = total
        writing: asyncio.Task[None] | None = None
        try:
            async for updates in self._slices(partition):
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._writer.write(partition, updates))
                await asyncio.sleep(0)  # it is sent before the next slice is decoded, and the loop breathes
                n += len(updates)
                self.written += len(updates)
                self.remaining[partition] = max(0, total - n)
                now = perf_counter()
                if now - said_at > PROGRESS_EVERY_S:
                    said_at = now
                    log.info(
                        "partition %d: writing members, as Redis lacked them: %d of about %d (%d%%), %.0f members/s",
                        partition, n, total, min(99, 100 * n // max(1, total)), n / (now - start),
                    )  # fmt: skip
            if writing is not None:
                await writing
        finally:
            del self.remaining[partition]
            if writing is not None:
                writing.cancel()
        if n:
            log.info(
                "partition %d: %d members written, as Redis lacked them (%.1f s)", partition, n, perf_counter() - start
            )

    async def _write_lists(self, partition: int) -> None:
        """After the members: a row whose member has a tombstone is refused."""
        start, done_before = perf_counter(), 0

        async def progress(done: int, total: int) -> None:
            nonlocal done_before
            self.written += done - done_before
            self.remaining[partition], done_before = total - done, done

        published = self._current.publication.lists.published
        try:
            lost = await self._enlisting.enlist(partition, [version for _, version in published], progress)
        finally:
            self.remaining.pop(partition, None)
        for label, why in lost.items():
            log.error("partition %d: Redis is made whole without its lists: %s: %s", partition, label, why)
        if done_before:
            log.info(
                "partition %d: %d rows of lists written, as Redis lacked them (%.1f s)",
                partition, done_before, perf_counter() - start,
            )  # fmt: skip

    async def _slices(self, partition: int) -> AsyncIterator[list[Update | Deletion]]:
        members, publication = self._state.scan(partition), self._current.publication
        while part := list(islice(members, SLICE)):
            decoded = [(key, decode(data)) for key, data in part]
            await self._rescoring.remember(partition, self._rescoring.rescore(publication, decoded))
            yield [
                to_update(key, member, publication)
                if member.document is not None
                else to_deletion(key, member, member.position)._replace(only_if_held=True)
                for key, member in decoded
            ]
