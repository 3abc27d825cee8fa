"""The whole path, on one screen: event → document → predictors → scores → clusters → Redis. Read this file first.

`Pipeline.handle` gets the records that arrived on one partition and returns only when all they mean is durable; then
their offsets may be committed. Each side effect has a number; why a crash just after it is safe stands beside it.

    1  dead letters acknowledged    nothing else happened: the replay writes them again, with the same origin headers
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
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from stream.batch import Batch, apply_many, begin, decode_many, encode_many, score_many, to_items
from stream.bookkeeping import APPLIED, decode_progress
from stream.dead_letters import OutgoingRecord, Record, to_records
from stream.publication import Publication
from stream.rebuild import Rebuild
from stream.report import BatchReport, Stopwatch
from stream.settings import Settings
from stream.source_topic import SourceTopic, admit, check_end
from stream.state import State
from stream.writer import Writer

# Members computed side by side. What they need, some 10 KB each, has to fit into a core's cache (1 MB of the second
# level, commonly): with 200 on such a machine an event took a fifth longer.
SLICE = 100

T = TypeVar("T")
U = TypeVar("U")


class Pipeline:
    """Handles the batches of the owned partitions (a stream.faust_batch.BatchHandler).

    Args:
        produce: sends records to a topic and returns once the broker has acknowledged them.
        wall_ms: the wall clock, ms; the only clock there is.
        report: is told of each finished batch.
    """

    def __init__(
        self,
        settings: Settings,
        publication: Publication,
        topic: SourceTopic,
        state: State,
        writer: Writer,
        rebuild: Rebuild,
        produce: Callable[[str, Sequence[OutgoingRecord]], Awaitable[None]],
        wall_ms: Callable[[], int],
        report: Callable[[BatchReport], None],
    ) -> None:
        self._settings, self._publication = settings, publication
        self._topic, self._state, self._writer, self._rebuild = topic, state, writer, rebuild
        self._produce, self._wall_ms, self._report = produce, wall_ms, report
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)  # a batch and a rebuild take turns
        self._computing = asyncio.Lock()
        self._repairs: dict[int, asyncio.Task[None]] = {}  # partition → its rebuild under way

    async def handle(self, partition: int, records: Sequence[Record]) -> None:
        """Apply, score and write out one partition's records, in order."""
        async with self._locks[partition]:
            check_end(self._writer.progress[partition], self._topic.end_offset(partition), partition)
            watch = Stopwatch()
            batch = await self._compute(partition, records, watch)
            await self._write_out(partition, batch, watch)
            self._writer.progress[partition] = batch.progress
            self._report(BatchReport(partition, batch, self._wall_ms(), watch.stages))

    async def _compute(self, partition: int, records: Sequence[Record], watch: Stopwatch) -> Batch:
        """A slice of the members at a time, from their records to what is written of them.

        The event loop breathes between the stages: another partition's calls to Redis go out meanwhile. Partitions take
        turns: two at once would only take each other's cache.
        """
        async with self._computing:
            watch.resume()
            now_ms = self._wall_ms()
            batch = begin(self._writer.progress[partition], records, self._state.written_at(partition))
            scoring_ms = now_ms if self._settings.clock == "wall" else None
            keys = list(batch.records)
            for start in range(0, len(keys), SLICE):
                events = decode_many(batch, keys[start : start + SLICE], now_ms)
                await watch.lap_and_breathe("decode")
                states = self._state.get_many(partition, list(events))
                watch.lap("load")
                some = apply_many(batch, events, states)
                await watch.lap_and_breathe("apply")
                score_many(batch, some, self._publication.plan, scoring_ms)
                await watch.lap_and_breathe("score")
                encode_many(batch, some, self._publication)
                await watch.lap_and_breathe("encode")
            return batch

    async def _write_out(self, partition: int, batch: Batch, watch: Stopwatch) -> None:
        if batch.dead_letters:  # 1
            batch.dead_letters.sort(key=lambda letter: letter.record.offset)
            letters = to_records(batch.dead_letters, self._settings.topic, partition, self._wall_ms())
            await self._produce(self._settings.dead_letter_topic, letters)
            watch.lap("dead_letters")
        items, written_at = to_items(batch), batch.written_at
        changelog_offset, _ = await together(
            self._state.publish(partition, items, written_at),  # 2a
            self._writer.write(partition, batch.updates),  # 2b
        )
        watch.lap("changelog_and_redis")
        self._state.write(partition, items, changelog_offset, written_at)  # 3
        watch.lap("store")

    async def assigned(self, partitions: frozenset[int]) -> Mapping[int, int]:
        """Make Redis whole for newly owned partitions: after a loss of Redis' data, and after a change of models.

        Readers are told of the models last: a version must not be live before its memberships are there.
        Returns where reading must begin, at the latest: partition → the first offset that isn't in its state.

        Raises:
            TopicChanged: the topic isn't the one that the state was made from.
        """
        self._writer.prepare(self._publication.for_readers())
        for partition in sorted(partitions):
            [stored] = self._state.get_many(partition, [APPLIED])
            progress = admit(decode_progress(stored), self._settings.topic_epoch, self._topic.topic_id, partition)
            if progress.epoch and not progress.next_offset:
                await self._writer.reset(partition)
            self._writer.progress[partition] = progress
        for partition in sorted(partitions):
            async with self._locks[partition]:
                await self._rebuild.if_needed(partition)
        await self._writer.announce(self._publication.for_readers())
        return {partition: self._writer.progress[partition].next_offset for partition in partitions}

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget partitions that are no longer owned. A rebuild of them ends here: it may be waiting for Redis."""
        for partition in partitions:
            if repair := self._repairs.get(partition):
                repair.cancel()  # it may be waiting for Redis, and a rebalance or a stop can't wait for that
        await self._writer.farewell(partitions)
        for partition in partitions:
            async with self._locks[partition]:
                self._writer.progress.pop(partition, None)

    async def watch_redis(self) -> None:
        """Once a second: tell readers how far each partition is, and rebuild what Redis has lost. Never returns."""
        try:
            while True:
                await asyncio.sleep(self._writer.BEACON_INTERVAL_S)
                for partition, repair in list(self._repairs.items()):
                    if repair.done():
                        del self._repairs[partition]
                        if not repair.cancelled():
                            repair.result()
                for partition in await self._writer.beacon():
                    if partition not in self._repairs:
                        self._repairs[partition] = asyncio.create_task(self._repair(partition))
        finally:
            for repair in self._repairs.values():
                repair.cancel()

    async def _repair(self, partition: int) -> None:
        async with self._locks[partition]:
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
