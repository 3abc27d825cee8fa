"""After a change of models, all members are scored anew and lists are written, beside the stream, without disturbing
it.

Laws:
- It goes a slice at a time, each under its partition's lock, so a slice and a batch take turns. Between two slices the
  stream has the worker, unless nothing arrives (tasks/turns.py). Members that batches have rescored are skipped.
- Nobody is missed. A slice is read under the lock, from behind the last key of the slice before, not from an earlier
  snapshot. A batch of older models was written before the first slice could have the lock (computing.py), so its
  members are seen. Members of a later batch have been scored with these models, wherever their keys lie.
- `through` tells how far a partition is: all its members are scored, in state and Redis, with what the models' log
  said up to that offset. It is set only when the last member is written. Versions that can't be used, because the
  worker can't load them or a list's rows are lost, are told by name (`told`) and hold up no other version.
- Fields of retired versions are removed from Redis here, and only here. Such a version never comes back, so that needs
  no guard.
- A pass does only what is new: members' states are read if another version must be computed, or one no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import perf_counter

from memberstream.models.wording import counted
from memberstream.stream.keyspace.formats import Scored
from memberstream.stream.lists.enlisting import Enlisting, Pacing
from memberstream.stream.members.rescoring import Rescoring
from memberstream.stream.partition.locks import Locks
from memberstream.stream.partition.state import State
from memberstream.stream.projection.writer import Writer
from memberstream.stream.registry.publication import Current, Publication
from memberstream.stream.tasks.pace import Pace
from memberstream.stream.tasks.turns import SLICE, Turns

log = logging.getLogger(__name__)
# A retired version may have been live a moment ago, and readers go by their copy of what is live for a second (lookup).
GRACE_S = 3.0
_PROGRESS_EVERY_S = 5.0


class Backfill:
    """Scores members anew, partition by partition.

    Args:
        locks: of the partitions, which batches take, too.

    Attributes:
        remaining: partition under way → about how many members, then rows of lists, are left to look at.
        through: owned partition → offset of the models' log: see the laws.
        scored: members rescored and rows of lists written since the start.
        pace: how many members a slice has.
    """

    def __init__(
        self,
        current: Current,
        state: State,
        writer: Writer,
        rescoring: Rescoring,
        enlisting: Enlisting,
        locks: Locks,
        turns: Turns,
    ) -> None:
        self._current, self._state, self._writer, self._rescoring = current, state, writer, rescoring
        self._enlisting, self._locks, self._turns = enlisting, locks, turns
        self.remaining: dict[int, int] = {}
        self.through: dict[int, int] = {}
        self.pace = Pace(SLICE)
        self._lost: dict[
            int, set[int]
        ] = {}  # partition → offsets of the steps that published lists of which it lacks rows
        self.scored = 0

    def is_needed(self, partition: int) -> bool:
        """Return whether some members may not be scored with the current models. If all are, that is noted."""
        publication = self._current.publication
        through = self.through.get(partition)
        if through is None and self._rescoring.marked(partition).fingerprint == publication.fingerprint:
            through = self.through[partition] = publication.offset
        return through is None or through < publication.offset

    def is_complete(self, partition: int) -> bool:
        """Return whether the partition says that all its members are scored with the current models."""
        return self.through.get(partition, -1) >= self._current.publication.offset

    def told(self) -> dict[int, Scored]:
        """Return what others are told about each owned partition."""
        through, refused = self.through, set(self._current.publication.refused)
        partitions = through.keys() | self.remaining.keys()
        return {
            p: Scored(through.get(p, -1), self.remaining.get(p, 0), tuple(sorted(refused | self._lost.get(p, set()))))
            for p in partitions
        }

    def leave(self, partition: int) -> None:
        """Forget a partition that is no longer owned."""
        self.through.pop(partition, None)
        self._lost.pop(partition, None)

    async def run(self, partition: int) -> None:
        """Bring an owned partition up to the current models and lists. Starts again if these change meanwhile."""
        try:
            while self.is_needed(partition):
                publication = self._current.publication
                if await self._pass(partition, publication):
                    await self._finish(partition, publication)
        finally:
            self.remaining.pop(partition, None)

    async def _pass(self, partition: int, publication: Publication) -> bool:
        """Do what is new in a publication. Returns False if another one came."""
        since, lists = self.through.get(partition, -1), publication.lists
        dropped = [field for retired_at, field in publication.retired if retired_at > since]
        marked_at = self._rescoring.marked(partition).offset
        if marked_at > publication.offset:  # of a models' log that was lost
            marked_at = -1
        withdrawn = [version for ended_at, version in lists.withdrawn if ended_at > max(since, marked_at)]
        if dropped:
            await asyncio.sleep(GRACE_S)
        if publication.members_offset > since and not await self._score(partition, publication, dropped):
            return False
        enlisted = [version for offset, version in lists.published if offset > since]
        lost = await self._enlisting.enlist(partition, enlisted, self._pacing(partition))
        for label, why in lost.items():
            log.error("partition %d: %s can't be promoted, it isn't whole: %s", partition, label, why)
        known = self._lost.get(partition, set())
        self._lost[partition] = {o for o, version in lists.published if o in known or version.label in lost}
        if self._current.publication is not publication:
            return False
        # What is published is complete, and that is told at once. The rest is done in any case: after a crash, or
        # under another owner, the partition isn't marked.
        self.through[partition] = publication.offset
        self.remaining.pop(partition, None)
        if any(version.end for version in withdrawn):
            await asyncio.sleep(GRACE_S)
        await self._enlisting.withdraw(partition, withdrawn, self._pacing(partition))
        return self._current.publication is publication

    async def _score(self, partition: int, publication: Publication, dropped: list[bytes]) -> bool:
        """Go through all members once. Returns False if other models came."""
        start = said_at = perf_counter()
        done, total = 0, self._state.approximate_count(partition)
        self.remaining[partition] = total
        after: bytes | None = b""
        while after is not None:
            async with self._turns.slice(self._locks.of(partition)):
                if self._current.publication is not publication:
                    return False
                limit = self.pace.members(publication)
                members = self._state.members(partition, after, limit)
                await self._slice(partition, publication, members, dropped)
            after = members[-1][0] if len(members) == limit else None
            done += len(members)
            self.remaining[partition] = max(0, total - done)
            now = perf_counter()
            if now - said_at > _PROGRESS_EVERY_S:
                said_at = now
                log.info("partition %d: new models: %d of about %s scored (%.0f members/s)",
                         partition, done, counted(total, "member"), done / (now - start))  # fmt: skip
        return True

    def _pacing(self, partition: int) -> Pacing:
        """Return the function that is called after each chunk of a list's rows."""
        give_way, done_before = self._turns.giving_way(), 0

        async def progress(done: int, total: int) -> None:
            nonlocal done_before
            self.scored += done - done_before
            self.remaining[partition], done_before = total - done, done
            await give_way()

        return progress

    async def _slice(
        self, partition: int, publication: Publication, members: Sequence[tuple[bytes, bytes]], dropped: list[bytes]
    ) -> None:
        decoded = await self._rescoring.decode(self.pace, members)
        self.scored += len(await self._rescoring.bring_up(self.pace, partition, publication, decoded))
        self.pace.took(len(members))
        await self._writer.drop([key for key, _ in members], dropped)

    async def _finish(self, partition: int, publication: Publication) -> None:
        async with self._locks.of(partition):
            if self._current.publication is publication and not self._lost.get(partition):
                await self._rescoring.mark(partition, publication)
                log.info("partition %d: all members are scored with the models as of now", partition)
