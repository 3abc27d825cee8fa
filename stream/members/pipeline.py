"""The whole path, on one screen: event → document → predictors → scores → clusters → Redis. Read this file first.

`Pipeline.handle` gets the records that arrived on one partition. It returns only when their effects are durable; then
their offsets may be committed. Each side effect has a number. Beside it stands why a crash just after it is safe.

    1  dead letters acknowledged    nothing else happened: the replay writes them again, with the same origin headers
    1b deleted members leave lists  nothing else happened: the replay withdraws the same rows again, to no effect
    1c interactions forget them     only Redis has changed, as after 2b: the replay tells the interactions workers again
    2a changelog acknowledged       local state is behind it: recovery reads the rest; members know the replay by offset
    2b memberships in Redis         state is behind: the replay computes the same again, the guard lets the same through
    3  local state written          offsets are behind: the replay changes no state and writes the same to Redis again
    4  offsets committed            (by the adapter, later) nothing is left to do

2a and 2b run side by side. 3 waits for both. State that ran ahead of the changelog would be lost with the disk. State
that ran ahead of Redis would hide from a replay what Redis never got.

Errors: bad input becomes a dead letter. So does a record that an operator has set aside (stream/partition/skips.py).
`writer` waits while Redis is down. Anything else is our bug: it escapes `handle` and stops the worker before 4. What
the changelog got of the batch by then is taken back: a failed batch may be handed over again in parts, or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from memberstream.stream.interactions.forgetting import Forgetting
from memberstream.stream.lists.enlisting import Enlisting
from memberstream.stream.members.batch import Batch
from memberstream.stream.members.computing import Computing
from memberstream.stream.members.encoding import to_items
from memberstream.stream.partition.dead_letters import DeadLetters
from memberstream.stream.partition.locks import Locks
from memberstream.stream.partition.report import Report
from memberstream.stream.partition.source_topic import Record
from memberstream.stream.partition.state import State
from memberstream.stream.projection.writer import Writer
from memberstream.stream.tasks.side_by_side import together
from memberstream.stream.tasks.stopwatch import Stopwatch

log = logging.getLogger(__name__)


class Pipeline:
    """Handles the batches of the owned partitions (a stream.faust_batch.Handle).

    Args:
        locks: of the partitions: a batch, a rebuild and a slice of a backfill or of due members take turns.
        wall_ms: the wall clock, ms.
        report: is called with each finished batch of records.
        on_written: is called with each partition of which something was written or passed, when its lock is free.
    """

    def __init__(
        self,
        *,
        locks: Locks,
        computing: Computing,
        dead_letters: DeadLetters,
        enlisting: Enlisting,
        forgetting: Forgetting,
        state: State,
        writer: Writer,
        wall_ms: Callable[[], int],
        report: Callable[[Report], None],
        on_written: Callable[[int], None],
    ) -> None:
        self._locks, self._computing, self._dead_letters = locks, computing, dead_letters
        self._enlisting, self._forgetting = enlisting, forgetting
        self._state, self._writer = state, writer
        self._wall_ms, self._report, self._on_written = wall_ms, report, on_written

    async def handle(self, partition: int, records: Sequence[Record], next_offset: int | None = None) -> None:
        """Apply, score and write out one partition's records, in order.

        `next_offset`: where reading goes on behind them (partition/source_topic.py). Without records nothing else is
            given.
        """
        async with self._locks.of(partition):
            watch = Stopwatch()
            batch = await self._computing.compute(partition, records, watch, next_offset)
            try:
                await self._write_out(partition, batch, watch)
            except Exception:
                await self._state.take_back(partition)
                raise
            up_to = records[-1].offset + 1 if next_offset is None else next_offset
            self._writer.advance(partition, batch.progress, up_to)
            for offset, command in batch.commands:
                log.info("partition %d, offset %d: %s, by %r", partition, offset, command.op, command.by)
            if records:
                self._report(
                    Report(
                        batch.outcomes,
                        [letter.error.reason for letter in batch.dead_letters],
                        batch.produced_ms,
                        self._wall_ms(),
                        watch.stages,
                        batch.membership_changes,
                        batch.n_resent,
                        partition,
                        records,
                        watch.whole(),
                    )
                )
        self._on_written(partition)

    async def _write_out(self, partition: int, batch: Batch, watch: Stopwatch) -> None:
        if batch.dead_letters:  # 1
            await self._dead_letters.send(partition, batch.dead_letters)
            watch.lap("dead_letters")
        if batch.left:
            await self._enlisting.forget(sorted(batch.left))  # 1b
            await self._forgetting.forget(partition, batch.left, batch.updates)  # 1c
            watch.lap("deletes")
        items, written_at = to_items(batch), batch.written_at
        changelog_offset, _ = await together(
            watch.during("changelog", partial(self._state.publish, partition, items, written_at)),  # 2a
            watch.during("redis", partial(self._writer.write, partition, batch.updates)),  # 2b
        )
        watch.lap("changelog_and_redis")
        self._state.write(partition, items, changelog_offset, written_at, batch.timers, batch.moves)  # 3
        watch.lap("store")
