"""The path of an interaction, on one screen: record → member's record and clusters → counts → Redis.

`Interactions.handle` gets the records that arrived on one partition and returns only when all they mean is durable.
Each side effect has a number; why a crash just after it is safe stands beside it.

    1  dead letters acknowledged  nothing else happened: the replay writes them again, with the same origin headers
    2  changelog acknowledged     local state is behind it: recovery reads the rest. Half of it: what was written of the
                                  batch says that it isn't valid yet, and what was before (models/engagement.py)
    3  local state written        offsets and Redis are behind: the replay changes nothing; who is assigned a partition
                                  writes all its counts to Redis first
    4  counts in Redis            offsets are behind, as before
    5  who is forgotten removed   offsets are behind: the replay finds an empty record and removes that
    6  offsets committed          (by the adapter, later) nothing is left to do

An owner's *term* makes it sure that two workers never count side by side: it is told in the changelog before anything
is counted, as the write position of all that the owner writes. What a stale worker writes later has a lower one, so
recovery refuses it (stream/state_store.py), and so does Redis.
Errors: bad input is a dead letter; Redis being down or not whole is waited for; anything else is our bug, escapes
`handle` and stops the worker before 6.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from models.counts import Cell, Tally
from models.engagement import CELL_PREFIX, Count, Rules, counts_at, decode_count
from models.registry import Registry
from stream.bookkeeping import APPLIED, Progress, decode_progress
from stream.count_projection import CountProjection
from stream.dead_letters import OutgoingRecord, to_records
from stream.interaction_batch import Batch, begin, count_many, decode_many, to_corrections, to_items, to_removals
from stream.keyspace import COUNTED, Beacon
from stream.locks import Locks
from stream.lookup.holdout import is_held_out
from stream.patience import Patience
from stream.report import Stopwatch
from stream.settings import Settings
from stream.source_topic import Record, SourceTopic, admit, check_end
from stream.standing import Standing
from stream.state import Items, State

log = logging.getLogger(__name__)

DECODED = 1_000  # records read between two breaths of the event loop: some milliseconds
# Members looked up in one round trip: Redis serves all that a connection has sent before it turns to other readers.
SLICE = 100
BEACON_INTERVAL_S = 1.0  # as of the members' beacons (stream/writer.py)
STAGES = (
    *("decode", "campaigns", "memberships", "load", "count"),
    *("dead_letters", "changelog_and_state", "redis", "forget"),
)


@dataclass(slots=True)
class Owned:
    """A partition of this worker: how far it is, the owner's term, its counts."""

    progress: Progress
    term: int
    counts: dict[Cell, Tally] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counted:
    """A batch that is durable and readable, for metrics: see stream.report.BatchReport."""

    batch: Batch
    finished_ms: int
    stages: dict[str, float]


class Interactions:
    """Handles the batches of the owned partitions (a stream.faust_batch.BatchHandler).

    Args:
        registry: of the models' log, kept up to date by somebody else: the campaigns.
        n_partitions: of the topic.
        produce: sends records to a topic and returns once the broker has acknowledged them.
        wall_ms: the wall clock, ms.
        report: is told of each finished batch.

    Attributes:
        refused_writes: times that Redis held counts of a later owner, since the start.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        topic: SourceTopic,
        state: State,
        standing: Standing,
        projection: CountProjection,
        patience: Patience,
        n_partitions: Callable[[], int],
        produce: Callable[[str, Sequence[OutgoingRecord]], Awaitable[None]],
        wall_ms: Callable[[], int],
        report: Callable[[Counted], None],
    ) -> None:
        self._settings, self._registry = settings, registry
        self._topic, self._state, self._standing = topic, state, standing
        self._projection, self._patience, self._n_partitions = projection, patience, n_partitions
        self._produce, self._wall_ms, self._report = produce, wall_ms, report
        self._locks = Locks()  # of the partitions: a batch and a repair of Redis take turns
        self.owned: dict[int, Owned] = {}
        self.refused_writes = 0

    async def handle(self, partition: int, records: Sequence[Record]) -> None:
        """Count and write out one partition's records, in order."""
        async with self._locks.of(partition):
            owned, watch = self.owned[partition], Stopwatch()
            check_end(owned.progress, self._topic.end_offset(partition), partition)
            batch = await self._count(partition, owned, records, watch)
            await self._write_out(partition, owned, batch, watch)
            self._report(Counted(batch, self._wall_ms(), watch.stages))

    async def _count(self, partition: int, owned: Owned, records: Sequence[Record], watch: Stopwatch) -> Batch:
        now_ms = self._wall_ms()
        batch = begin(owned.progress, records)
        for start in range(0, len(records), DECODED):
            decode_many(batch, records[start : start + DECODED], now_ms, self._settings.interaction_kinds)
            await watch.lap_and_breathe("decode")
        await self._catch_up_with_readers()
        watch.lap("campaigns")
        keys = list(batch.members)
        for start in range(0, len(keys), SLICE):
            some = keys[start : start + SLICE]
            campaigns = self._registry.campaigns
            models = {campaign.terms.model for campaign in campaigns.values()}
            memberships = await self._standing.of_many([key.decode() for key in some], models)
            watch.lap("memberships")
            states = self._state.get_many(partition, some)
            watch.lap("load")
            rules = Rules(campaigns, is_held_out, self._settings.interaction_horizon_ms)
            count_many(batch, some, states, memberships, rules, owned.term)
            await watch.lap_and_breathe("count")
        return batch

    async def _write_out(self, partition: int, owned: Owned, batch: Batch, watch: Stopwatch) -> None:
        if batch.dead_letters:  # 1
            batch.dead_letters.sort(key=lambda letter: letter.record.offset)
            letters = to_records(batch.dead_letters, self._settings.interactions_topic, partition, self._wall_ms())
            await self._produce(self._settings.interaction_dead_letter_topic, letters)
            watch.lap("dead_letters")
        items, changed = to_items(batch, owned.counts, owned.term)
        await self._write(partition, items, owned.term)  # 2, 3
        owned.counts |= changed
        owned.progress = batch.progress
        watch.lap("changelog_and_state")
        await self._tell(partition, owned, changed)  # 4
        watch.lap("redis")
        if batch.forgotten:  # 5
            keys = sorted(batch.forgotten)
            if removals := to_removals(keys, self._state.get_many(partition, keys)):
                await self._write(partition, removals, owned.term)
            watch.lap("forget")

    async def _write(self, partition: int, items: Items, term: int) -> None:
        changelog_offset = await self._state.publish(partition, items, term)  # 2
        self._state.write(partition, items, changelog_offset, term)  # 3

    async def _catch_up_with_readers(self) -> None:
        """Wait until this worker knows of each campaign that a reader can have known of; mostly it does."""
        known = await self._patience.until_available(self._projection.known)
        waited_s = 0.0
        while self._registry.offset < known:
            if waited_s >= 5:
                log.warning(
                    "waiting for step %d of the models' log, which readers know of; read up to %d. Next: check the "
                    "broker; if the log was made anew, see docs/operations.md", known, self._registry.offset,
                )  # fmt: skip
                waited_s = 0.0
            await asyncio.sleep(0.02)
            waited_s += 0.02
            known = await self._patience.until_available(self._projection.known)

    async def _tell(self, partition: int, owned: Owned, counts: Mapping[Cell, Tally]) -> None:
        """Write counts to Redis. Of a later owner, who is about to take over, they stay as they are."""
        if counts and not await self._patience.until_available(
            lambda: self._projection.write_counts(partition, owned.term, counts)
        ):
            self.refused_writes += 1
            log.warning("partition %d: Redis holds counts of a later owner, they stay", partition)

    async def assigned(self, partitions: frozenset[int]) -> Mapping[int, int]:
        """Begin a term: read the counts of newly owned partitions, put right what a crash left, make Redis hold them.

        Returns where reading must begin, at the latest: partition → the first offset that isn't in its state.

        Raises:
            TopicChanged: the topic isn't the one that the state was made from.
        """
        for partition in sorted(partitions):
            [stored] = self._state.get_many(partition, [APPLIED])
            progress = admit(decode_progress(stored), self._settings.topic_epoch, self._topic.topic_id, partition)
            # The wall clock, so that terms go up also where the state is made anew, under another group.
            term = max(self._state.written_at(partition) + 1, self._wall_ms())
            counts, wrong = counts_at(self._read_counts(partition), progress.position)
            items = to_corrections(wrong, progress, term)
            await self._write(partition, items, term)
            if progress.epoch and not progress.next_offset:
                await self._patience.until_available(partial(self._projection.reset_beacon, partition, COUNTED))
            self.owned[partition] = Owned(progress, term, counts)
        await self._make_whole(partitions)
        await self._tell_counted()
        return {partition: self.owned[partition].progress.next_offset for partition in partitions}

    def _read_counts(self, partition: int) -> dict[Cell, Count]:
        counts: dict[Cell, Count] = {}
        for key, value in self._state.scan(partition):
            if not key.startswith(CELL_PREFIX):
                break  # the counts stand before the members
            cell, count = decode_count(key, value)
            counts[cell] = count
        return counts

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget partitions that are no longer owned."""
        for partition in partitions:
            self.owned.pop(partition, None)

    async def watch_redis(self) -> None:
        """Once a second: tell readers how far the counts are, and write again what Redis has lost. Never returns."""
        while True:
            await asyncio.sleep(BEACON_INTERVAL_S)
            await self._make_whole(await self._patience.until_available(self._look_for_losses))
            await self._make_whole(await self._tell_counted())

    async def _look_for_losses(self) -> Sequence[int]:
        return await self._projection.lost(list(self.owned)) if self.owned else []

    async def _tell_counted(self) -> Sequence[int]:
        now_ms = self._wall_ms()
        beacons = {
            partition: Beacon(owned.progress.next_offset, owned.progress.clock_ms, now_ms)
            for partition, owned in self.owned.items()
        }
        if not beacons:  # nothing to tell, but health wants to know whether Redis is there
            await self._patience.until_available(self._projection.ping)
            return []
        return await self._patience.until_available(lambda: self._projection.tell_counted(beacons))

    async def _make_whole(self, partitions: Sequence[int] | frozenset[int]) -> None:
        """Write all counts of partitions to Redis."""
        for partition in sorted(partitions):
            async with self._locks.of(partition):
                if (owned := self.owned.get(partition)) is not None:
                    await self._tell(partition, owned, owned.counts)
        if partitions:
            await self._patience.until_available(lambda: self._projection.tell_partitions(self._n_partitions()))
