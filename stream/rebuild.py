"""Redis from state: all members of a partition, when Redis has lost them or when models have changed.

Laws: Redis is only a projection of the state, so writing every member again is always right and may be repeated; what
a changed model makes of a member goes to changelog, Redis and local state like the result of an event. While Redis
takes one slice of members the next is decoded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import islice
from time import perf_counter

from models.member import Member, decode, encode
from models.rescore import rescore_many
from stream.batch import to_deletion, to_update
from stream.bookkeeping import SCORED, decode_scored, encode_scored
from stream.projection import Deletion, Update
from stream.publication import Publication
from stream.settings import Clock
from stream.state import Items, State
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
        remaining: partition being written → members still to write, as RocksDB estimates their number.
        written: members written since the start.
    """

    def __init__(
        self,
        publication: Publication,
        state: State,
        writer: Writer,
        clock: Clock,
        wall_ms: Callable[[], int],
        n_partitions: Callable[[], int],
    ) -> None:
        self._publication, self._state, self._writer = publication, state, writer
        self._clock, self._wall_ms, self._n_partitions = clock, wall_ms, n_partitions
        self.remaining: dict[int, int] = {}
        self.written = 0

    async def if_needed(self, partition: int) -> None:
        """Rescore the partition's members if models have changed, and write them to Redis if it lacks them."""
        is_rescoring = decode_scored(self._state.get_many(partition, [SCORED])[0]) != self._publication.fingerprint
        is_lost = partition in await self._writer.beacon()
        if is_rescoring and not is_lost:
            await self._write_all(partition, is_rescoring)
        while is_lost:
            token = await self._writer.begin(partition)
            await self._write_all(partition, is_rescoring)
            is_rescoring = False
            is_lost = await self._writer.finish(partition, token, self._n_partitions()) == "restart"

    async def _write_all(self, partition: int, is_rescoring: bool) -> None:
        start, n = perf_counter(), 0
        why = "models changed" if is_rescoring else "Redis lacked them"
        said_at, total = start, self._state.approximate_count(partition)
        self.remaining[partition] = total
        writing: asyncio.Task[None] | None = None
        try:
            async for updates in self._slices(partition, is_rescoring):
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
                        "partition %d: writing members, as %s: %d of about %d (%d%%), %.0f members/s",
                        partition, why, n, total, min(99, 100 * n // max(1, total)), n / (now - start),
                    )  # fmt: skip
            if writing is not None:
                await writing
        finally:
            del self.remaining[partition]
            if writing is not None:
                writing.cancel()
        if is_rescoring:
            written_at = self._written_at(partition)
            scored = encode_scored(written_at, self._publication.fingerprint)
            await self._remember(partition, [(SCORED, scored)], written_at)
        if n:
            log.info("partition %d: %d members written, as %s (%.1f s)", partition, n, why, perf_counter() - start)

    async def _slices(self, partition: int, is_rescoring: bool) -> AsyncIterator[list[Update | Deletion]]:
        members = self._state.scan(partition)
        while part := list(islice(members, SLICE)):
            decoded = [(key, decode(data)) for key, data in part]
            if is_rescoring:
                await self._rescore(partition, decoded)
            yield [
                to_update(key, member, self._publication)
                if member.document is not None
                else to_deletion(key, member, member.position)
                for key, member in decoded
            ]

    async def _rescore(self, partition: int, decoded: Sequence[tuple[bytes, Member]]) -> None:
        """Rescore at the wall clock, or (event clock) at the time at which each member was scored last."""
        living = [(key, member) for key, member in decoded if member.document is not None]
        now_ms = self._wall_ms() if self._clock == "wall" else 0
        rescore_many(self._publication.plan, [member for _, member in living], [now_ms] * len(living))
        written_at = self._written_at(partition)
        await self._remember(partition, [(key, encode(member, written_at)) for key, member in living], written_at)

    async def _remember(self, partition: int, items: Items, written_at: int) -> None:
        if items:
            changelog_offset = await self._state.publish(partition, items, written_at)
            self._state.write(partition, items, changelog_offset, written_at)

    def _written_at(self, partition: int) -> int:
        return max(self._writer.progress[partition].position, self._state.written_at(partition))
