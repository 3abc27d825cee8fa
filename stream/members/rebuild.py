"""Redis from state: all members of a partition, and its rows of the lists, when Redis has lost them.

Laws:
- Redis is only a projection of the state, so writing every member again is always right and may be repeated.
- Readers aren't told that a partition is complete before they are told all steps of the models' log. What was emptied
  may have held a later one than this worker had read when it began. A loss after the beginning is noticed by `finish`.
- A member that the current models don't cover yet is rescored on the way.
- A deleted member, of which only a version is left, is removed if Redis holds it. It gets no new tombstone, which would
  take it off the lists of today.
- While Redis takes one slice of members, the next one is decoded.
- What state and lists don't hold is removed at the same time (members/sweep.py), before the lists are written: what the
  lists say counts for more than a tombstone that an old dump has brought back.
- A row of another partition in a member's place isn't overwritten. That partition's owner removes it if its state
  doesn't hold the member. So after the removal such members are written once more, and again when all partitions are
  done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from time import perf_counter

from memberstream.models.wording import counted
from memberstream.stream.lists.enlisting import Enlisting
from memberstream.stream.members.encoding import to_deletion, to_update
from memberstream.stream.members.level import Level
from memberstream.stream.members.rescoring import Rescoring
from memberstream.stream.members.sweep import Sweep
from memberstream.stream.partition.state import State
from memberstream.stream.projection.members import Write
from memberstream.stream.projection.writer import Writer
from memberstream.stream.registry.publication import Current
from memberstream.stream.tasks.pace import Pace

log = logging.getLogger(__name__)
# Seconds between two lines of progress in the log.
PROGRESS_EVERY_S = 2.0
# Members that are sent to Redis together, at most.
SLICE = 500


class Rebuild:
    """Makes Redis whole, partition by partition. The caller keeps batches of the partition from running meanwhile.

    Args:
        n_partitions: asks how many partitions the topic has. Redis is whole when all of them are.
        until_current: returns once this worker goes by all that the models' log holds now.

    Attributes:
        remaining: partition being written → members still to write, as RocksDB estimates it; then rows of lists.
        written: members and rows written since the start.
        pace: how many members a slice has.
    """

    def __init__(
        self,
        current: Current,
        state: State,
        writer: Writer,
        rescoring: Rescoring,
        enlisting: Enlisting,
        sweep: Sweep,
        level: Level,
        n_partitions: Callable[[], int],
        until_current: Callable[[], Awaitable[None]],
    ) -> None:
        self._until_current = until_current
        self._current, self._state, self._writer = current, state, writer
        self._rescoring, self._enlisting, self._n_partitions = rescoring, enlisting, n_partitions
        self._sweep, self._level = sweep, level
        self._refused: set[int] = set()  # partitions with members in whose place stood another partition's row
        # partition that began without members and isn't level with its topic yet → its token
        self._begun: dict[int, bytes] = {}
        self.remaining: dict[int, int] = {}
        self.written = 0
        self.pace = Pace(SLICE)

    async def probe(self) -> None:
        """Tell at once what Redis would forbid when a rebuild is needed."""
        await self._sweep.probe()

    async def if_needed(self, partition: int) -> None:
        """Write the partition's members to Redis if it lacks them. Tell that they are complete when they are.

        That isn't told of a partition that has never been level with its topic, and this is called again each second.
        If the partition begins without members, those that batches write from then on needn't be written again.
        """
        while partition in await self._writer.beacon():
            is_level = await self._level.reached(partition)
            is_begun = partition in self._begun
            if not is_level and (is_begun or self._state.members(partition, b"", 1)):
                return
            token = self._begun.pop(partition, None) or await self._writer.begin(partition)
            if not is_begun:
                await self._write_members(partition)
                await self._write_lists(partition)
            if not is_level:
                self._begun[partition] = token
                return
            await self._until_current()
            await self._writer.announce(self._current.announcement)
            if await self._writer.finish(partition, token, self._n_partitions()) != "restart":
                return
        await self._level.note(partition)  # readers know that it is complete, or that only other partitions aren't
        if partition in self.owed():
            self._refused.discard(partition)
            await self._write_all(partition)

    def owed(self) -> list[int]:
        """Return the partitions that must be written once more, now that all are done."""
        return sorted(self._refused) if self._writer.is_whole else []

    def has_become_level(self, partition: int) -> bool:
        """Return whether a partition that has never been level with its topic is now."""
        return self._level.is_awaited(partition)

    def leave(self, partition: int) -> None:
        """Forget a partition that is no longer owned."""
        self._begun.pop(partition, None)
        self._refused.discard(partition)
        self._level.leave(partition)

    async def _write_members(self, partition: int) -> None:
        """Write all members, and remove at the same time what no member has any more (docs/decisions/0027)."""
        sweeping, foreign = asyncio.create_task(self._sweep.run(partition)), self._writer.foreign
        self._refused.discard(partition)
        try:
            before = foreign[partition]
            await self._write_all(partition)
            self.remaining[partition] = 0
            await sweeping
            if foreign[partition] > before:
                before = foreign[partition]
                await self._write_all(partition)
                if (
                    foreign[partition] > before
                ):  # they are in both partitions, or another worker hasn't looked at them yet
                    self._refused.add(partition)
        finally:
            self.remaining.pop(partition, None)
            sweeping.cancel()

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
                await asyncio.sleep(0)  # it is sent before the next slice is decoded, because the loop breathes here
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
                "partition %d: %s written, as Redis lacked them (%.1f s)",
                partition, counted(n, "member"), perf_counter() - start,
            )  # fmt: skip

    async def _write_lists(self, partition: int) -> None:
        """Write the rows of lists, after the members: a row whose member has a tombstone is refused."""
        start, done_before, n_rows = perf_counter(), 0, 0

        async def progress(done: int, total: int) -> None:
            nonlocal done_before, n_rows
            new = done - done_before if done >= done_before else done  # a pass begins
            self.written += new
            n_rows += new
            self.remaining[partition], done_before = total - done, done

        publication, marked_at = self._current.publication, self._rescoring.marked(partition).offset
        published = publication.lists.published
        # For a list that was written before, the topic says who is on it; for a newer one tombstones still count.
        known = [version for offset, version in published if offset <= marked_at <= publication.offset]
        newer = [version for _, version in published if version not in known]
        try:
            lost = await self._enlisting.enlist(partition, known, progress, over_tombstones=True)
            lost |= await self._enlisting.enlist(partition, newer, progress)
        finally:
            self.remaining.pop(partition, None)
        for label, why in lost.items():
            log.error("partition %d: Redis is made whole without its lists: %s: %s", partition, label, why)
        if n_rows:
            log.info(
                "partition %d: %s of lists written, as Redis lacked them (%.1f s)",
                partition, counted(n_rows, "row"), perf_counter() - start,
            )  # fmt: skip

    async def _slices(self, partition: int) -> AsyncIterator[list[Write]]:
        members, publication = self._state.scan(partition), self._current.publication
        while part := list(islice(members, self.pace.members(publication))):
            decoded = await self._rescoring.decode(self.pace, part)
            rescored = await self._rescoring.rescore(self.pace, publication, decoded)
            await self._rescoring.remember(self.pace, partition, publication, rescored)
            self.pace.took(len(part))
            yield [
                to_update(key, member, publication)
                if member.document is not None
                else to_deletion(key, member, member.position)._replace(only_if_held=True)
                for key, member in decoded
            ]
