"""Partitions are taken on and given away here, and new models are taken on for all owned partitions.

Laws:
- A partition is owned while `writer.progress` has it: from the check of its state until nothing of it is under way.
- Before a partition's first batch Redis is whole, as far as state says. Its other work is begun, and goes on beside
  batches (background.py).
- To give a partition away takes no answer of Redis, except to a last beacon.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from memberstream.stream.keyspace.formats import Announcement
from memberstream.stream.members.admission import Admission
from memberstream.stream.members.background import Background
from memberstream.stream.partition.locks import Locks
from memberstream.stream.projection.writer import Writer
from memberstream.stream.registry.publication import Current, Publication


class Ownership:
    """Takes partitions on and gives them away (a stream.faust_batch.Owner).

    Args:
        current: what the worker goes by.
        locks: of the partitions.
        look: asks Redis about itself.
    """

    def __init__(
        self,
        *,
        current: Current,
        writer: Writer,
        admission: Admission,
        background: Background,
        locks: Locks,
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self._current, self._writer, self._locks, self._look = current, writer, locks, look
        self._admission, self._background = admission, background

    async def assigned(self, committed: Mapping[int, int]) -> Mapping[int, int]:
        """Make Redis whole for newly owned partitions, after a loss of Redis' data.

        `committed`: partition → the offset below which all is in state and in Redis.
        Returns partition → the first offset that isn't in its state. Reading must begin there or before.

        Raises:
            TopicChanged: the topic isn't the one from which the state was made.
            OtherPartitioner: its members lie elsewhere than the setting says.
        """
        partitions = frozenset(committed)
        await self._admission.until_models_are_known(partitions)
        await self._look()  # before the first event is judged by the clock
        self._writer.prepare(self._current.announcement)
        for partition in sorted(partitions):
            progress = self._admission.progress(partition)
            if progress.epoch and not progress.next_offset:
                await self._writer.reset(partition)
            self._writer.take_on(partition, progress, committed[partition])
        await self._background.make_whole(partitions)
        await self._writer.announce(self._current.announcement)
        self._background.fill_in(partitions)
        self._background.begin(partitions)
        return {partition: self._writer.progress[partition].next_offset for partition in partitions}

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget partitions that are no longer owned. A rebuild of them ends here: it may be waiting for Redis."""
        await self._writer.farewell(partitions)
        self._background.end(partitions)  # behind it, for one may begin while it waits for an answer
        for partition in partitions:
            async with self._locks.of(partition):
                self._writer.leave(partition)
                self._background.leave(partition)

    async def adopt(self, publication: Publication, announcement: Announcement) -> None:
        """Go by these models from the next batch on. Members from whom nothing arrives are scored in the background."""
        self._current.publication, self._current.announcement = publication, announcement
        await self._writer.announce(announcement)
        self._background.fill_in(self._writer.progress)
