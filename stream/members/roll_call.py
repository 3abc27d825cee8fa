"""Is each member scored with each version? Members are counted at any moment, and looked at in the background.

Laws:
- While a partition says that it is scored, no member lacks a version. The counts that go with the states
  (partition/census.py) show at once if one does. They are looked at each second: such members are reported (`unscored`)
  and looked for.
- A roll call looks at each member, in the order of keys, a slice at a time under the partition's lock. A member that
  isn't scored is scored then. All are counted anew, and counts that differ are reported and corrected. Both would be
  mistakes of ours.
- It doesn't disturb: the roll calls of all partitions together take SHARE of a core. A roll call takes as much as a
  backfill while somebody is unscored, and while the counts aren't known because an older version has written the state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import NamedTuple

from memberstream.models.member import Head, decode, head_of
from memberstream.models.model import Model
from memberstream.models.steps import Steps
from memberstream.models.wording import counted
from memberstream.stream.keyspace.formats import membership_field
from memberstream.stream.members.rescoring import Rescoring
from memberstream.stream.partition.census import Census
from memberstream.stream.partition.locks import Locks
from memberstream.stream.partition.state import State
from memberstream.stream.registry.publication import Current
from memberstream.stream.tasks.pace import Pace
from memberstream.stream.tasks.turns import SLICE, Turns

log = logging.getLogger(__name__)
# Of one core. A million members of 1 KB take some 5 s of a core, so a roll call of them takes ten minutes.
SHARE = 0.01
# Between two roll calls of a partition, which are short if it has few members; and the same while somebody is unscored.
_REST_S, _HURRIED_REST_S = 60.0, 5.0
_LOOK_S = 1.0
# At most so many series of a metric: members by model version and cluster.
TOLD = 1_000


class Standing(NamedTuple):
    """What is known about an owned partition. `members`: with a document. `unscored`: lacking a version although the
    partition says that it is scored. None: an older version has written the state, and members are being counted."""

    members: int | None
    unscored: int | None


class RollCall:
    """Looks at the members of the owned partitions.

    Args:
        is_complete: asks whether a partition says that all its members are scored with the current models.
        locks: of the partitions, which batches take, too.

    Attributes:
        standing: of each owned partition, as of the last look. Each look makes a new mapping, so any thread may read
            it.
        healed: members found unscored, and scored, since the start.
        corrected: counts found wrong, and corrected, since the start.
    """

    def __init__(
        self,
        current: Current,
        state: State,
        rescoring: Rescoring,
        is_complete: Callable[[int], bool],
        locks: Locks,
        turns: Turns,
    ) -> None:
        self._current, self._state, self._rescoring = current, state, rescoring
        self._is_complete, self._locks, self._turns = is_complete, locks, turns
        self._called: dict[int, Census] = {}
        self.standing: Mapping[int, Standing] = {}
        self.healed = self.corrected = 0
        self.pace = Pace(SLICE)

    def look(self) -> None:
        """Judge the owned partitions by their counts."""
        self.standing = {partition: self._judge(partition, census) for partition, census in self._called.items()}

    def clusters(self) -> dict[tuple[str, int], int]:
        """Return (model label, cluster) → members of the owned partitions, unless more than TOLD. From any thread."""
        counts = [census.counts for census in tuple(self._called.values())]
        return {
            (model.label, cluster): sum(c.of((model.key, cluster)) for c in counts)
            for model, clusters in self.cells()
            for cluster in clusters
        }

    def campaigns(self, now_ms: int) -> dict[str, int]:
        """Return campaign → members in its clusters by the live version, those held out too, of the owned partitions.

        Of campaigns that are shown at a time, unless they are more than TOLD. Lists have no counts. From any thread.
        """
        counts = [census.counts for census in tuple(self._called.values())]
        announcement = self._current.announcement
        shown = [one for one in announcement.campaigns if one.is_shown_at(now_ms)]
        keys = {(model.name, model.version): model.key for model in self._current.publication.models}
        found = {}
        for campaign in shown if len(shown) <= TOLD else ():
            key = keys.get((campaign.model, announcement.live.get(campaign.model, 0)))
            if key is not None:
                found[campaign.id] = sum(c.of((key, cluster)) for c in counts for cluster in campaign.clusters)
        return found

    def cells(self) -> list[tuple[Model, list[int]]]:
        """Return the clusters of each computed version; of none, if they are more than TOLD. From any thread."""
        found = [(model, model.cluster_ids.tolist()) for model in self._current.publication.models]
        return found if sum(len(clusters) for _, clusters in found) <= TOLD else []

    def counted(self) -> list[int]:
        """Return the owned partitions whose members are counted."""
        return sorted(partition for partition, census in self._called.items() if census.is_whole)

    def sizes(self, partition: int, cells: Iterable[tuple[Model, list[int]]]) -> dict[bytes, dict[int, int]]:
        """Return field in Redis → cluster → members of a counted partition. From the event loop."""
        counts = self._called[partition].counts
        return {
            membership_field(model.name, model.version): {c: counts.of((model.key, c)) for c in clusters}
            for model, clusters in cells
        }

    async def run(self, partition: int) -> None:
        """Call the roll of an owned partition again and again. Never returns."""
        census = self._called[partition] = self._state.census(partition)
        try:
            while True:
                await self._call(partition, census)
                await asyncio.sleep(_HURRIED_REST_S)
                await self._rest(partition, census, _REST_S - _HURRIED_REST_S)
        finally:
            if self._called.get(partition) is census:
                del self._called[partition]

    async def _call(self, partition: int, census: Census) -> None:
        """Go through all members once."""
        was_whole, n_healed = census.is_whole, 0
        if not was_whole:
            log.info("partition %d: counting its members, which an older version did not", partition)
        census.begin_recount()
        after: bytes | None = b""
        while after is not None:
            async with self._turns.slice(self._locks.of(partition)):
                began, limit = perf_counter(), self.pace.members(self._current.publication)
                members = self._state.members(partition, after, limit)
                heads = await self.pace.run(_heads(members))
                n_healed += await self._slice(partition, census, heads)
                self.pace.took(len(members))
                after = members[-1][0] if len(members) == limit else None
                n_wrong = self._state.end_recount(partition) if after is None else 0
                worked_s = perf_counter() - began
            await self._rest(partition, census, worked_s * (len(self._called) / SHARE - 1))
        if not was_whole:
            log.info("partition %d: %s counted", partition, counted(census.counts.documents, "member"))
        if n_wrong:
            self.corrected += n_wrong
            log.error(
                "partition %d: counts of members that were wrong are put right: %d. Next: report it; nothing else was "
                "wrong", partition, n_wrong,
            )  # fmt: skip
        if n_healed:
            log.error(
                "partition %d: members that were not scored with all models, as they were said to be, are now: %d. "
                "Next: report it, with the log of before", partition, n_healed,
            )  # fmt: skip

    async def _slice(self, partition: int, census: Census, heads: list[tuple[bytes, Head]]) -> int:
        """Count a slice's members and score those that aren't scored. Returns how many these were."""
        census.recount((key, head.held) for key, head in heads)
        if not self._is_complete(partition):
            return 0  # the backfill comes to them
        publication = self._current.publication
        outdated = [key for key, head in heads if head.held is not None and not publication.covers(head)]
        if not outdated:
            return 0
        states = self._state.get_many(partition, outdated)
        members = [(key, decode(data)) for key, data in zip(outdated, states, strict=True) if data is not None]
        await self._rescoring.bring_up(self.pace, partition, publication, members)
        self.healed += len(members)
        return len(members)

    async def _rest(self, partition: int, census: Census, rest_s: float) -> None:
        """Rest between two roll calls, less if there is hurry."""
        while rest_s > 0 and self._judge(partition, census).unscored == 0:
            await asyncio.sleep(min(rest_s, _LOOK_S))
            rest_s -= _LOOK_S

    def _judge(self, partition: int, census: Census) -> Standing:
        if not census.is_whole:
            return Standing(None, None)
        is_complete = self._is_complete(partition)
        lacking = census.counts.lacking(self._current.publication.keys) if is_complete else 0
        return Standing(census.counts.documents, lacking)


def _heads(members: Iterable[tuple[bytes, bytes]]) -> Steps[list[tuple[bytes, Head]]]:
    found = []
    for key, data in members:
        found.append((key, head_of(data)))
        yield
    return found
