"""The whole path, on one screen: event → document → predictors → scores → clusters → Redis. Read this file first.

`Pipeline.handle` gets the records that arrived on one partition and returns only when all they mean is durable; then
their offsets may be committed. Each side effect has a number; why a crash just after it is safe stands beside it.

    1  dead letters acknowledged    nothing else happened: the replay writes them again, with the same origin headers
    1b who is deleted leaves lists  nothing else happened: the replay withdraws the same rows again, to no effect
    1c and interactions forget it   nothing else happened, but in Redis, as after 2b: the replay tells them again
    2a changelog acknowledged       local state is behind it: recovery reads the rest; members know the replay by offset
    2b memberships in Redis         state is behind: the replay computes the same again, the guard lets the same through
    3  local state written          offsets are behind: the replay changes no state and writes the same to Redis again
    4  offsets committed            (by the adapter, later) nothing is left to do

2a and 2b run side by side; 3 waits for both, because state that ran ahead of the changelog would be lost with the disk,
and state that ran ahead of Redis would hide from a replay what Redis never got.
Errors: bad input is a dead letter; Redis being down is waited for, inside `writer`; anything else is our bug, escapes
`handle` and stops the worker before 4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from stream.backfill import Backfill
from stream.batch import Batch, to_items
from stream.bookkeeping import APPLIED, decode_progress
from stream.computing import Computing
from stream.dead_letters import OutgoingRecord, to_records
from stream.enlisting import Enlisting
from stream.forgetting import Forgetting
from stream.keyspace import Announcement
from stream.locks import Locks
from stream.publication import Current, Publication
from stream.rebuild import Rebuild
from stream.report import BatchReport, Stopwatch
from stream.settings import Settings
from stream.source_topic import Record, SourceTopic, admit, check_end
from stream.state import NotOwner, State
from stream.timers import MemberTimers
from stream.writer import Writer

log = logging.getLogger(__name__)
T = TypeVar("T")
U = TypeVar("U")


class Pipeline:
    """Handles the batches of the owned partitions (a stream.faust_batch.BatchHandler).

    Args:
        locks: of the partitions: a batch, a rebuild and a slice of a backfill or of due members take turns.
        produce: sends records to a topic and returns once the broker has acknowledged them.
        wall_ms: the wall clock, ms; the only clock there is.
        report: is told of each finished batch.
    """

    def __init__(
        self,
        settings: Settings,
        current: Current,
        topic: SourceTopic,
        state: State,
        writer: Writer,
        rebuild: Rebuild,
        backfill: Backfill,
        enlisting: Enlisting,
        forgetting: Forgetting,
        timers: MemberTimers,
        locks: Locks,
        produce: Callable[[str, Sequence[OutgoingRecord]], Awaitable[None]],
        wall_ms: Callable[[], int],
        report: Callable[[BatchReport], None],
    ) -> None:
        self._settings, self._current = settings, current
        self._topic, self._state, self._writer = topic, state, writer
        self._rebuild, self._backfill, self._timers = rebuild, backfill, timers
        self._enlisting, self._forgetting = enlisting, forgetting
        self._locks = locks
        self._produce, self._wall_ms, self._report = produce, wall_ms, report
        self._computing = Computing(current, state, writer, settings.clock, wall_ms)
        self._repairs: dict[int, asyncio.Task[None]] = {}  # partition → its rebuild under way
        self._backfills: dict[int, asyncio.Task[None]] = {}
        self._waits: dict[int, asyncio.Task[None]] = {}  # for members to fall due

    async def handle(self, partition: int, records: Sequence[Record]) -> None:
        """Apply, score and write out one partition's records, in order."""
        async with self._locks.of(partition):
            check_end(self._writer.progress[partition], self._topic.end_offset(partition), partition)
            watch = Stopwatch()
            batch = await self._computing.compute(partition, records, watch)
            await self._write_out(partition, batch, watch)
            self._writer.progress[partition] = batch.progress
            self._report(BatchReport(partition, batch, self._wall_ms(), watch.stages))

    async def _write_out(self, partition: int, batch: Batch, watch: Stopwatch) -> None:
        if batch.dead_letters:  # 1
            batch.dead_letters.sort(key=lambda letter: letter.record.offset)
            letters = to_records(batch.dead_letters, self._settings.topic, partition, self._wall_ms())
            await self._produce(self._settings.dead_letter_topic, letters)
            watch.lap("dead_letters")
        if batch.left:
            await self._enlisting.forget(sorted(batch.left))  # 1b
            await self._forgetting.forget(partition, batch.left, batch.updates)  # 1c
            watch.lap("deletes")
        items, written_at = to_items(batch), batch.written_at
        changelog_offset, _ = await together(
            self._state.publish(partition, items, written_at),  # 2a
            self._writer.write(partition, batch.updates),  # 2b
        )
        watch.lap("changelog_and_redis")
        self._state.write(partition, items, changelog_offset, written_at, batch.timers)  # 3
        watch.lap("store")

    async def adopt(self, publication: Publication, announcement: Announcement) -> None:
        """From the next batch on go by these models; members from whom nothing arrives are scored in the background."""
        self._current.publication, self._current.announcement = publication, announcement
        await self._writer.announce(announcement)
        self._fill_in(self._writer.progress)

    async def assigned(self, partitions: frozenset[int]) -> Mapping[int, int]:
        """Make Redis whole for newly owned partitions, after a loss of Redis' data.

        Returns where reading must begin, at the latest: partition → the first offset that isn't in its state.

        Raises:
            TopicChanged: the topic isn't the one that the state was made from.
        """
        self._writer.prepare(self._current.announcement)
        for partition in sorted(partitions):
            [stored] = self._state.get_many(partition, [APPLIED])
            progress = admit(decode_progress(stored), self._settings.topic_epoch, self._topic.topic_id, partition)
            if progress.epoch and not progress.next_offset:
                await self._writer.reset(partition)
            self._writer.progress[partition] = progress
        for partition in sorted(partitions):
            async with self._locks.of(partition):
                await self._rebuild.if_needed(partition)
        await self._writer.announce(self._current.announcement)
        self._fill_in(partitions)
        for partition in partitions:
            self._waits[partition] = asyncio.create_task(self._timers.run(partition))
        return {partition: self._writer.progress[partition].next_offset for partition in partitions}

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget partitions that are no longer owned. A rebuild of them ends here: it may be waiting for Redis."""
        for partition in partitions:
            for tasks in (self._repairs, self._backfills, self._waits):
                if task := tasks.get(partition):
                    task.cancel()  # it may be waiting for Redis, and a rebalance or a stop can't wait for that
        await self._writer.farewell(partitions)
        for partition in partitions:
            async with self._locks.of(partition):
                self._writer.progress.pop(partition, None)
                self._backfill.leave(partition)

    async def watch_redis(self) -> None:
        """Once a second: tell readers how far each partition is, and rebuild what Redis has lost. Never returns."""
        try:
            while True:
                await asyncio.sleep(self._writer.BEACON_INTERVAL_S)
                _reap(self._repairs)
                _reap(self._backfills)
                _reap(self._waits)
                for partition in await self._writer.beacon():
                    if partition not in self._repairs:
                        self._repairs[partition] = asyncio.create_task(self._repair(partition))
                await self._writer.tell_scored(self._backfill.told())
        finally:
            for task in (*self._repairs.values(), *self._backfills.values(), *self._waits.values()):
                task.cancel()

    def _fill_in(self, partitions: Iterable[int]) -> None:
        """Begin the backfill of those of the partitions that need it."""
        for partition in partitions:
            running = self._backfills.get(partition)
            if (running is None or running.done()) and self._backfill.is_needed(partition):
                self._backfills[partition] = asyncio.create_task(self._backfill.run(partition))

    async def _repair(self, partition: int) -> None:
        async with self._locks.of(partition):
            if partition in self._writer.progress:
                await self._rebuild.if_needed(partition)


async def together(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Run two coroutines side by side; if one fails, end the other and raise the failure itself.

    (A TaskGroup would wrap it in a group, but the adapter tells failures apart by their type.)
    """
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _reap(tasks: dict[int, asyncio.Task[None]]) -> None:
    """Forget tasks that have ended; raises what ended one, unless the partition is another worker's."""
    for partition, task in list(tasks.items()):
        if task.done():
            del tasks[partition]
            try:
                task.result()
            except asyncio.CancelledError:
                continue
            except NotOwner as error:
                log.warning("work beside the stream ended: %s. Next: nothing, its owner goes on with it", error)
