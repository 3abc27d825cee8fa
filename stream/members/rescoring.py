"""Members brought up to date outside of their events: to the current models, and to the current time.

Laws:
- The caller keeps batches of the partition from running meanwhile. It gives its pace: the event loop breathes within a
  slice (tasks/pace.py).
- A member that falls due is looked at some moments ahead. It falls due again only when a cluster changes, or when that
  isn't known. A look costs a small part of writing the member. Events don't wait for such looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from zlib import crc32

from memberstream.models.member import Member, Memberships, Move, decode, encode
from memberstream.models.rescore import looking_ahead, rescoring
from memberstream.models.steps import Steps
from memberstream.models.timestamps import FOREVER
from memberstream.stream.members.encoding import to_update
from memberstream.stream.members.recent import Recent
from memberstream.stream.partition.bookkeeping import (
    LEVEL,
    SCORED,
    Mark,
    decode_mark,
    encode_level,
    encode_mark,
    voiding,
)
from memberstream.stream.partition.state import Items, State, Timer, Timers
from memberstream.stream.projection.writer import Writer
from memberstream.stream.registry.publication import Publication
from memberstream.stream.settings import Clock
from memberstream.stream.tasks.pace import Pace

NEVER = -FOREVER
# At how many moments ahead a due member is looked at. They differ, so that members don't fall due together again.
LEAST_AHEAD, MOST_AHEAD = 4, 12


class Rescored(NamedTuple):
    """A member that was rescored; when it would have fallen due before, ms; its memberships before."""

    key: bytes
    member: Member
    was_due_ms: int
    was: Memberships


class Rescoring:
    """Rescores members of the owned partitions, into Redis, changelog and local state.

    Args:
        recent: the worker's members with long lists.
    """

    def __init__(
        self, state: State, writer: Writer, clock: Clock, wall_ms: Callable[[], int], recent: Recent | None = None
    ) -> None:
        self._state, self._writer, self._clock, self._wall_ms = state, writer, clock, wall_ms
        self._recent = recent or Recent()

    def now_ms(self, partition: int) -> int:
        """Return the time of a partition's members: by the wall clock or by its latest event."""
        return self._wall_ms() if self._clock == "wall" else self._writer.progress[partition].clock_ms

    async def decode(
        self, pace: Pace, states: Iterable[tuple[bytes, bytes | None]], *, is_packed: bool = False
    ) -> list[tuple[bytes, Member]]:
        """Return the members of stored states. Members without one are left out.

        `is_packed`: whether long lists stay packed. That is quicker for members that are looked at several times.
        """
        return await pace.run(_decoding(states, self._recent, is_packed=is_packed))

    async def rescore(
        self, pace: Pace, publication: Publication, members: Sequence[tuple[bytes, Member]], due_ms: int = NEVER
    ) -> list[Rescored]:
        """Rescore, in place, the members that the publication doesn't cover or that are due. Returns them.

        Args:
            due_ms: members are due that fall due by then; nobody by default. With the event clock due members are
                rescored at this time, and others at the time of their last scoring. With the wall clock all are
                rescored as of now.
        """
        outdated = [
            Rescored(key, member, member.valid_until_ms, member.memberships.copy())
            for key, member in members
            if member.document is not None and (member.valid_until_ms <= due_ms or not publication.covers(member))
        ]
        if self._clock == "wall":
            times = [self._wall_ms()] * len(outdated)
        else:
            times = [due_ms if one.was_due_ms <= due_ms else 0 for one in outdated]
        await pace.run(rescoring(publication.plan, [one.member for one in outdated], times))
        due = [one for one in outdated if one.was_due_ms <= due_ms]
        n_moments = [LEAST_AHEAD + crc32(one.key) % (MOST_AHEAD - LEAST_AHEAD + 1) for one in due]
        await pace.run(looking_ahead(publication.plan, [one.member for one in due], n_moments))
        return outdated

    async def bring_up(
        self,
        pace: Pace,
        partition: int,
        publication: Publication,
        members: Sequence[tuple[bytes, Member]],
        due_ms: int = NEVER,
        obsolete: Sequence[Timer] = (),
    ) -> list[Rescored]:
        """Rescore the members that need it and write them out. Returns them.

        Redis is written first: a crash before the changelog leaves the members outdated in state, and they are done
        again.

        Args:
            obsolete: timers to be removed that aren't the members' own.
        """
        rescored = await self.rescore(pace, publication, members, due_ms)
        await self._writer.write(partition, [to_update(one.key, one.member, publication) for one in rescored])
        await self.remember(pace, partition, publication, rescored, obsolete)
        return rescored

    async def remember(
        self,
        pace: Pace,
        partition: int,
        publication: Publication,
        rescored: Sequence[Rescored],
        obsolete: Sequence[Timer] = (),
    ) -> None:
        """Write members that the publication now covers to the changelog, then with their timers to local state."""
        if rescored or obsolete:
            written_at = self._written_at(partition)
            [mark] = self._state.get_many(partition, [SCORED])
            items = voiding(mark, publication.fingerprint, written_at) if rescored else []
            items += await pace.run(_encoding(rescored, written_at, self._state.largest, self._recent))
            timers = [(key, due_ms, FOREVER) for due_ms, key in obsolete]
            timers += [(one.key, one.was_due_ms, one.member.valid_until_ms) for one in rescored]
            moves = [Move(one.key, one.was, one.member.memberships) for one in rescored]
            await self._write(partition, items, written_at, timers, moves)

    async def mark(self, partition: int, publication: Publication) -> None:
        """Note in the partition's state that a publication is done: members are scored, ended lists are withdrawn."""
        written_at = self._written_at(partition)
        mark = encode_mark(written_at, publication.fingerprint, publication.offset)
        await self._write(partition, [(SCORED, mark)], written_at)

    async def mark_level(self, partition: int) -> None:
        """Note in the partition's state that it has been level with its topic."""
        written_at = self._written_at(partition)
        await self._write(partition, [(LEVEL, encode_level(written_at))], written_at)

    def is_marked_level(self, partition: int) -> bool:
        return self._state.get_many(partition, [LEVEL])[0] is not None

    def marked(self, partition: int) -> Mark:
        """Return the mark that was noted last."""
        return decode_mark(self._state.get_many(partition, [SCORED])[0])

    async def _write(
        self, partition: int, items: Items, written_at: int, timers: Timers = (), moves: Sequence[Move] = ()
    ) -> None:
        changelog_offset = await self._state.publish(partition, items, written_at)
        self._state.write(partition, items, changelog_offset, written_at, timers, moves)

    def _written_at(self, partition: int) -> int:
        return max(self._writer.progress[partition].position, self._state.written_at(partition))


def _decoding(
    states: Iterable[tuple[bytes, bytes | None]], recent: Recent, *, is_packed: bool
) -> Steps[list[tuple[bytes, Member]]]:
    members = []
    for key, data in states:
        if data is not None:
            members.append((key, recent.find(key, data) or decode(data, is_packed=is_packed)))
            yield
    return members


def _encoding(
    rescored: Sequence[Rescored], written_at: int, limit: int, recent: Recent
) -> Steps[list[tuple[bytes, bytes]]]:
    items = []
    for one in rescored:
        state = encode(one.member, written_at, limit)
        recent.renew(one.key, state, one.member)
        items.append((one.key, state))
        yield
    return items
