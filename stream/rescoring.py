"""Members brought to the current models outside of their events; what changes goes the way of an event's result.

Law: the caller sees to it that no batch of the partition runs meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.member import Member, encode
from models.rescore import rescore_many
from stream.bookkeeping import SCORED, decode_scored, encode_scored
from stream.publication import Publication
from stream.settings import Clock
from stream.state import Items, State
from stream.writer import Writer


class Rescoring:
    """Rescores members of the owned partitions, into changelog and local state."""

    def __init__(self, state: State, writer: Writer, clock: Clock, wall_ms: Callable[[], int]) -> None:
        self._state, self._writer, self._clock, self._wall_ms = state, writer, clock, wall_ms

    def rescore(self, publication: Publication, members: Sequence[tuple[bytes, Member]]) -> list[tuple[bytes, Member]]:
        """Rescore, in place, those of the members that the publication doesn't cover yet; returns them.

        The time is the wall clock, or (event clock) the one at which each was scored last.
        """
        outdated = [(k, m) for k, m in members if m.document is not None and not publication.covers(m)]
        now_ms = self._wall_ms() if self._clock == "wall" else 0
        rescore_many(publication.plan, [member for _, member in outdated], [now_ms] * len(outdated))
        return outdated

    async def remember_members(self, partition: int, members: Sequence[tuple[bytes, Member]]) -> None:
        """Write members to the changelog, then to local state."""
        if members:
            written_at = self._written_at(partition)
            await self._remember(partition, [(key, encode(member, written_at)) for key, member in members], written_at)

    async def mark(self, partition: int, fingerprint: int) -> None:
        """Note in the partition's state that all its members are scored with the publication of this fingerprint."""
        written_at = self._written_at(partition)
        await self._remember(partition, [(SCORED, encode_scored(written_at, fingerprint))], written_at)

    def is_marked(self, partition: int, fingerprint: int) -> bool:
        """Return whether that is noted."""
        return decode_scored(self._state.get_many(partition, [SCORED])[0]) == fingerprint

    async def _remember(self, partition: int, items: Items, written_at: int) -> None:
        changelog_offset = await self._state.publish(partition, items, written_at)
        self._state.write(partition, items, changelog_offset, written_at)

    def _written_at(self, partition: int) -> int:
        return max(self._writer.progress[partition].position, self._state.written_at(partition))
