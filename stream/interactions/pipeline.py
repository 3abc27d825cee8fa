"""The path of an interaction, on one screen: record → member's record, where it stood → counts → Redis.

`Interactions.handle` gets the records that arrived on one partition. It returns only when their effects are durable.
Each side effect has a number. Beside it stands why a crash just after it is safe.

    1  dead letters acknowledged  nothing else has happened: the replay writes them again, with the same origin headers
    2  changelog acknowledged     local state is behind it, and recovery reads the rest. If only a part was written,
                                  its values say that they aren't valid yet, and what was before (models/count_state.py)
    3  local state written        offsets and Redis are behind. The replay changes nothing, and the next owner of the
                                  partition first writes all its counts to Redis
    4  counts in Redis            offsets are behind, as before
    5  forgotten members removed  offsets are behind: the replay finds an empty record and removes it
    6  offsets committed          (by the adapter, later) nothing is left to do

An owner's *term* guarantees that two workers never count side by side. The owner writes it to the changelog before it
counts anything. It is the write position of all that the owner writes. What a stale worker writes later has a lower
one. So recovery refuses it (stream/partition/write_position.py), and so does Redis.

Errors: bad input becomes a dead letter. So does a record that an operator has set aside (stream/partition/skips.py).
The worker waits while Redis is down or not whole. Anything else is our bug: it escapes `handle` and stops the worker
before 6.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from msgspec.structs import replace

from memberstream.models.count_state import CELL_PREFIXES, Count, counts_at, decode_count
from memberstream.models.counts import EXPOSED, NOTHING, AnyCell, AnyTally, Cell, Changes
from memberstream.models.registry import Registry
from memberstream.models.rules import Rules
from memberstream.models.timeline import lives, timelines
from memberstream.stream.interactions.batch import (
    Batch,
    begin,
    counting,
    decode_many,
    set_aside,
    to_corrections,
    to_items,
    to_removals,
)
from memberstream.stream.interactions.standing import Standing
from memberstream.stream.keyspace.formats import Beacon
from memberstream.stream.lookup.holdout import is_held_out
from memberstream.stream.partition.bookkeeping import APPLIED, Progress, decode_progress
from memberstream.stream.partition.dead_letters import DeadLetters
from memberstream.stream.partition.holds import Holds
from memberstream.stream.partition.locks import Locks
from memberstream.stream.partition.report import Report
from memberstream.stream.partition.source_topic import Record, SourceTopic, admit, check_end
from memberstream.stream.partition.state import HalfDone, Items, State
from memberstream.stream.projection.calls import RedisFault
from memberstream.stream.projection.patience import Patience
from memberstream.stream.projection.projection import CountProjection
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.pace import Pace
from memberstream.stream.tasks.stopwatch import Stopwatch

log = logging.getLogger(__name__)

DECODED = 1_000  # records read between two turns of the event loop: some milliseconds
# Members looked up in one round trip: Redis serves all that a connection has sent before it turns to other readers.
SLICE = 100
BEACON_INTERVAL_S = 1.0  # like the members' beacons (stream/projection/writer.py)
STAGES = (
    *("decode", "campaigns", "memberships", "load", "count"),
    *("dead_letters", "changelog_and_state", "redis", "forget"),
)


@dataclass(slots=True)
class Owned:
    """A partition of this worker.

    Attributes:
        told: up to where Redis has all counts, which readers may be told; None: not all are there yet.
        exposed: (campaign, whether it was held out) → members exposed, over all periods, versions, clusters and days.
    """

    progress: Progress
    term: int
    counts: Changes = field(default_factory=dict)
    told: Progress | None = None
    exposed: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        before, self.counts = self.counts, {}
        self.take(before)

    def take(self, changed: Changes) -> None:
        """Note counts that are durable."""
        for cell, tally in changed.items():
            if type(cell) is Cell and cell.kind == EXPOSED:
                before = self.counts.get(cell, NOTHING)
                self.exposed[cell.campaign, cell.is_held_out] += tally.members - before.members
        self.counts |= changed


class Interactions:
    """Handles the batches of the owned partitions (a stream.faust_batch.Owner and Handle).

    Args:
        registry: the campaigns of the models' log, kept up to date by somebody else.
        until_known: returns once `registry` holds all that the models' log holds now, and a step that readers know.
        wall_ms: the wall clock, ms.
        latest_ms: the later of this clock and Redis', by which interactions from the future are recognised.
        look: asks Redis about itself.
        report: is called with each finished batch.

    Attributes:
        refused_writes: how often Redis held counts of a later owner, since the start.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        registry: Registry,
        until_known: Callable[[int], Awaitable[None]],
        topic: SourceTopic,
        holds: Holds,
        state: State,
        standing: Standing,
        projection: CountProjection,
        patience: Patience,
        dead_letters: DeadLetters,
        wall_ms: Callable[[], int],
        latest_ms: Callable[[], int],
        look: Callable[[], Awaitable[None]],
        report: Callable[[Report], None],
    ) -> None:
        self._settings, self._registry, self._until_known = settings, registry, until_known
        self._topic, self._holds, self._state, self._standing = topic, holds, state, standing
        self._projection, self._patience, self._dead_letters = projection, patience, dead_letters
        self._wall_ms, self._latest_ms, self._look, self._report = wall_ms, latest_ms, look, report
        self._locks = Locks()  # of the partitions, so that a batch and a repair of Redis take turns
        self.pace = Pace(SLICE)
        self.owned: dict[int, Owned] = {}
        self.refused_writes = 0
        self._rules, self._rules_of = Rules({}, {}, is_held_out, settings.interaction_horizon_ms), (-1, 0, 0)

    async def handle(self, partition: int, records: Sequence[Record], next_offset: int | None = None) -> None:
        """Count and write out one partition's records, in order.

        `next_offset`: where reading goes on behind them (partition/source_topic.py). Without records nothing else is
            given.
        """
        async with self._locks.of(partition):
            owned, watch = self.owned[partition], Stopwatch()
            check_end(owned.progress, self._topic.end_offset(partition), partition)
            batch = await self._count(partition, owned, records, next_offset, watch)
            await self._write_out(partition, owned, batch, watch)
            if records:
                reasons = [letter.error.reason for letter in batch.dead_letters]
                done = batch.outcomes, reasons, batch.produced_ms, self._wall_ms(), watch.stages
                of = partition, records, watch.whole()
                self._report(Report(*done, {}, batch.n_resent, *of))

    async def _count(
        self, partition: int, owned: Owned, records: Sequence[Record], next_offset: int | None, watch: Stopwatch
    ) -> Batch:
        latest_ms = self._latest_ms()
        batch = begin(owned.progress, records, next_offset)
        records = set_aside(batch, records, self._topic.skipped(partition))
        for start in range(0, len(records), DECODED):
            decode_many(
                batch,
                records[start : start + DECODED],
                latest_ms,
                self._settings.interaction_kinds,
                json_keys=self._settings.are_json_keys_allowed,
            )
            await watch.lap_and_breathe("decode")
        await self._catch_up_with_readers()
        watch.lap("campaigns")
        keys = iter(list(batch.members))
        while some := list(islice(keys, self.pace.members(self))):
            stood = await self._standing.of_many([key.decode() for key in some])
            watch.lap("memberships")
            states = self._state.get_many(partition, some)
            watch.lap("load")
            steps = counting(batch, some, states, stood, self._current_rules(), owned.term)
            await self.pace.run(steps, partial(watch.breathe, "count"))
            self.pace.took(len(some))
            await watch.lap_and_breathe("count")
        return batch

    def _current_rules(self) -> Rules:
        """Return the rules by what the models' log says now. They are worked out once for each of its steps."""
        registry = self._registry
        known = registry.offset, len(registry.history), len(registry.campaign_history)
        if known != self._rules_of:
            self._rules = replace(self._rules, campaigns=timelines(registry), lives=lives(registry))
            self._rules_of = known
        return self._rules

    async def _write_out(self, partition: int, owned: Owned, batch: Batch, watch: Stopwatch) -> None:
        if batch.dead_letters:  # 1
            await self._dead_letters.send(partition, batch.dead_letters)
            watch.lap("dead_letters")
        items, changed = to_items(batch, owned.counts, owned.term)
        await self._write(partition, items, owned.term)  # 2, 3
        owned.take(changed)
        owned.progress = batch.progress
        watch.lap("changelog_and_state")
        try:
            await self._tell(partition, owned, changed)  # 4
        except RedisFault as error:  # the records count as done: handled again, nothing would be counted
            raise HalfDone(f"partition {partition}: counts that are durable aren't in Redis: {error}") from None
        owned.told = owned.progress  # only now: readers take a beacon's word that all before it is counted
        watch.lap("redis")
        if batch.forgotten:  # 5
            keys = sorted(batch.forgotten)
            if removals := to_removals(keys, self._state.get_many(partition, keys), owned.progress.position):
                await self._write(partition, removals, owned.term)
            watch.lap("forget")

    async def _write(self, partition: int, items: Items, term: int) -> None:
        changelog_offset = await self._state.publish(partition, items, term)  # 2
        self._state.write(partition, items, changelog_offset, term)  # 3

    def exposed(self) -> dict[tuple[str, bool], int]:
        """Return (campaign, whether it was held out) → members exposed, of the owned partitions. From any thread."""
        total = Counter[tuple[str, bool]]()
        for owned in tuple(self.owned.values()):
            total.update(dict(owned.exposed))
        return dict(total)

    async def _catch_up_with_readers(self) -> None:
        """Wait until this worker knows each campaign that a reader can have known. Usually it does already.

        A reader knew no more than the log holds now, whatever Redis has lost since.
        """
        await self._until_known(await self._patience.until_available(self._projection.readers.known))

    async def _tell(self, partition: int, owned: Owned, counts: Mapping[AnyCell, AnyTally]) -> None:
        """Write counts to Redis. If a later owner has written them already, they stay as they are."""
        if counts and not await self._patience.until_available(
            lambda: self._projection.counts.write(partition, owned.term, counts)
        ):
            self.refused_writes += 1
            log.warning("partition %d: Redis holds counts of a later owner, they stay", partition)

    async def assigned(self, committed: Mapping[int, int]) -> Mapping[int, int]:
        """Begin a term: read the counts of newly owned partitions, correct what a crash left, make Redis hold them.

        Returns partition → the first offset that isn't in its state. Reading must begin there or before.

        Raises:
            TopicChanged: the topic isn't the one that the state was made from.
        """
        partitions = frozenset(committed)
        await self._look()  # before the first interaction is judged by the clock
        for partition in sorted(partitions):
            [stored] = self._state.get_many(partition, [APPLIED])
            progress = admit(decode_progress(stored), self._settings.topic_epoch, self._topic.topic_id, partition)
            # The wall clock, so that terms grow even if the state is made anew, under another group.
            term = max(self._state.written_at(partition) + 1, self._wall_ms())
            counts, wrong = counts_at(self._read_counts(partition), progress.position)
            items = to_corrections(wrong, progress, term)
            await self._write(partition, items, term)
            if progress.epoch and not progress.next_offset:
                await self._patience.until_available(partial(self._projection.counts.reset, partition))
            self.owned[partition] = Owned(progress, term, counts)
        await self._make_whole(partitions)
        await self._tell_counted()
        return {partition: self.owned[partition].progress.next_offset for partition in partitions}

    def _read_counts(self, partition: int) -> dict[AnyCell, Count]:
        counts: dict[AnyCell, Count] = {}
        for key, value in self._state.scan(partition):
            if not key.startswith(CELL_PREFIXES):
                break  # the counts come before the members
            cell, count = decode_count(key, value)
            counts[cell] = count
        return counts

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget partitions that are no longer owned."""
        for partition in partitions:
            self.owned.pop(partition, None)

    async def watch_redis(self) -> None:
        """Once a second, tell readers how far the counts are, and write again what Redis has lost. Never returns."""
        while True:
            await asyncio.sleep(BEACON_INTERVAL_S)
            await self._make_whole(await self._patience.until_available(self._look_for_losses))
            await self._make_whole(await self._tell_counted())

    async def _look_for_losses(self) -> Sequence[int]:
        return await self._projection.counts.lost(list(self.owned)) if self.owned else []

    async def _tell_counted(self) -> Sequence[int]:
        now_ms = self._wall_ms()
        beacons = {
            partition: Beacon(owned.told.next_offset, owned.told.clock_ms, self._holds.told_ms(partition, now_ms))
            for partition, owned in self.owned.items()
            if owned.told is not None
        }
        await self._patience.until_available(self._projection.calls.ping)  # health must know, also without partitions
        if not beacons:
            return []
        return await self._patience.until_available(lambda: self._projection.counts.tell(beacons))

    async def _make_whole(self, partitions: Sequence[int] | frozenset[int]) -> None:
        """Write all counts of these partitions to Redis."""
        for partition in sorted(partitions):
            async with self._locks.of(partition):
                if (owned := self.owned.get(partition)) is not None:
                    await self._tell(partition, owned, owned.counts)
                    owned.told = owned.progress
        if partitions:
            counts, topic = self._projection.counts, self._topic
            await self._patience.until_available(lambda: counts.tell_partitions(topic.partition_count))
