"""Members brought up to date outside of their events: to the current models, and to the current time.

Laws:
- The caller sees to it that no batch of the partition runs meanwhile.
- Who falls due is looked at some moments ahead, and falls due again only when a cluster changes or that is not known.
  A look costs a small part of what writing the member does. An event isn't kept waiting for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from zlib import crc32

from models.member import Member, encode
from models.rescore import look_ahead, rescore_many
from models.timestamps import FOREVER
from stream.batch import to_update
from stream.bookkeeping import SCORED, Mark, decode_mark, encode_mark
from stream.publication import Publication
from stream.settings import Clock
from stream.state import Items, State, Timer, Timers
from stream.writer import Writer

NEVER = -FOREVER
# At how many moments ahead a due member is looked at. They differ, so that who falls due together doesn't do so again.
LEAST_AHEAD, MOST_AHEAD = 4, 12


class Rescored(NamedTuple):
    """A member that was rescored, and when it would have fallen due before, ms."""

    key: bytes
    member: Member
    was_due_ms: int


class Rescoring:
    """Rescores members of the owned partitions, into Redis, changelog and local state."""

    def __init__(self, state: State, writer: Writer, clock: Clock, wall_ms: Callable[[], int]) -> None:
        self._state, self._writer, self._clock, self._wall_ms = state, writer, clock, wall_ms

    def now_ms(self, partition: int) -> int:
        """Return what time it is for the members of a partition: by the wall clock or by its latest event."""
        return self._wall_ms() if self._clock == "wall" else self._writer.progress[partition].clock_ms

    def rescore(
        self, publication: Publication, members: Sequence[tuple[bytes, Member]], due_ms: int = NEVER
    ) -> list[Rescored]:
        """Rescore, in place, those of the members that the publication doesn't cover or that are due; returns them.

        Args:
            due_ms: who is due by then; nobody by default. It is also the time, with the event clock, that those are
                rescored at; the others are then as of their last scoring. With the wall clock all are as of now.
        """
        outdated = [
            Rescored(key, member, member.valid_until_ms)
            for key, member in members
            if member.document is not None and (member.valid_until_ms <= due_ms or not publication.covers(member))
        ]
        if self._clock == "wall":
            times = [self._wall_ms()] * len(outdated)
        else:
            times = [due_ms if was_due_ms <= due_ms else 0 for _, _, was_due_ms in outdated]
        rescore_many(publication.plan, [member for _, member, _ in outdated], times)
        due = [one for one in outdated if one.was_due_ms <= due_ms]
        n_moments = [LEAST_AHEAD + crc32(key) % (MOST_AHEAD - LEAST_AHEAD + 1) for key, _, _ in due]
        look_ahead(publication.plan, [member for _, member, _ in due], n_moments)
        return outdated

    async def bring_up(
        self,
        partition: int,
        publication: Publication,
        members: Sequence[tuple[bytes, Member]],
        due_ms: int = NEVER,
        obsolete: Sequence[Timer] = (),
    ) -> list[Rescored]:
        """Rescore those of the members that need it and write them out; returns them.

        Redis first: a crash before the changelog leaves the members outdated in state, and they are done again.

        Args:
            obsolete: timers to be removed that aren't the members' own.
        """
        rescored = self.rescore(publication, members, due_ms)
        await self._writer.write(partition, [to_update(key, member, publication) for key, member, _ in rescored])
        await self.remember(partition, rescored, obsolete)
        return rescored

    async def remember(self, partition: int, rescored: Sequence[Rescored], obsolete: Sequence[Timer] = ()) -> None:
        """Write members to the changelog, then with their timers to local state."""
        if rescored or obsolete:
            written_at = self._written_at(partition)
            items = [(key, encode(member, written_at)) for key, member, _ in rescored]
            timers = [(key, due_ms, FOREVER) for due_ms, key in obsolete]
            timers += [(key, was_due_ms, member.valid_until_ms) for key, member, was_due_ms in rescored]
            await self._write(partition, items, written_at, timers)

    async def mark(self, partition: int, publication: Publication) -> None:
        """Note in the partition's state that a publication is done: members are scored, ended lists are withdrawn."""
        written_at = self._written_at(partition)
        mark = encode_mark(written_at, publication.fingerprint, publication.offset)
        await self._write(partition, [(SCORED, mark)], written_at)

    def marked(self, partition: int) -> Mark:
        """Return what was noted last."""
        return decode_mark(self._state.get_many(partition, [SCORED])[0])

    async def _write(self, partition: int, items: Items, written_at: int, timers: Timers = ()) -> None:
        changelog_offset = await self._state.publish(partition, items, written_at)
        self._state.write(partition, items, changelog_offset, written_at, timers)

    def _written_at(self, partition: int) -> int:
        return max(self._writer.progress[partition].position, self._state.written_at(partition))
