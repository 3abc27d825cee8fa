"""From records to what is written of their members: one batch in slices, or small ones of several partitions at once.

Laws:
- A batch comes out as if it had been computed alone: members depend on nothing but their own state and events.
- One computation at a time: two would only take each other's cache.
- Small batches that wait are computed together, because a step of scoring costs much the same for one member as for
  forty: at 5,000 events/s a batch has ten, and every partition brings one. One that is cancelled takes no other with
  it: the next that waits computes what is left. (One that fails stops the worker.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from stream.batch import Batch, apply_many, begin, decode_many, encode_many, score_many
from stream.publication import Current
from stream.report import Stopwatch
from stream.settings import Clock
from stream.source_topic import Record
from stream.state import State
from stream.writer import Writer

# Members computed side by side. What they need, some 10 KB each, has to fit into a core's cache (1 MB of the second
# level, commonly): with 200 on such a machine an event took a fifth longer.
SLICE = 100
# Records that are computed together at most: what is ready first waits for the rest.
TOGETHER = 200


@dataclass(slots=True, eq=False)
class _Job:
    """A partition's records, and the batch that is computed of them."""

    partition: int
    records: Sequence[Record]
    batch: Batch | None = None


class Computing:
    """Computes batches. The event loop breathes between the stages: calls to Redis go out meanwhile.

    Args:
        wall_ms: the wall clock, ms.
    """

    def __init__(
        self, current: Current, state: State, writer: Writer, clock: Clock, wall_ms: Callable[[], int]
    ) -> None:
        self._current, self._state, self._writer = current, state, writer
        self._clock, self._wall_ms = clock, wall_ms
        self._lock = asyncio.Lock()
        self._waiting: list[_Job] = []

    async def compute(self, partition: int, records: Sequence[Record], watch: Stopwatch) -> Batch:
        """Return the batch of one partition's records; `watch` is told what was computed in this call."""
        job = _Job(partition, records)
        self._waiting.append(job)
        try:
            async with self._lock:
                await asyncio.sleep(0)  # what other partitions have of the same fetch comes in
                if job.batch is None:
                    await self._compute(self._together(job), watch)
        finally:
            self._waiting.remove(job)
        watch.resume()
        assert job.batch is not None  # noqa: S101  (by now it is computed, by this call or another)
        return job.batch

    def _together(self, first: _Job) -> list[_Job]:
        """Return the job, and the small ones that wait beside it, as far as they fit."""
        chosen, room = [first], TOGETHER - len(first.records)
        for job in self._waiting:
            if job is not first and job.batch is None and len(job.records) <= room:
                chosen.append(job)
                room -= len(job.records)
        return chosen

    async def _compute(self, jobs: Sequence[_Job], watch: Stopwatch) -> None:
        publication = self._current.publication  # one for the whole batch: other models come between two
        watch.resume()
        now_ms = self._wall_ms()
        scoring_ms = now_ms if self._clock == "wall" else None
        batches = [self._begin(job) for job in jobs]
        for parts in _slices(batches):
            events = [decode_many(batch, keys, now_ms) for batch, keys in parts]
            await watch.lap_and_breathe("decode")
            states = [
                self._state.get_many(batch.partition, list(found))
                for (batch, _), found in zip(parts, events, strict=True)
            ]
            watch.lap("load")
            members = [
                (batch, apply_many(batch, found, stored))
                for (batch, _), found, stored in zip(parts, events, states, strict=True)
            ]
            await watch.lap_and_breathe("apply")
            score_many(members, publication, scoring_ms)
            await watch.lap_and_breathe("score")
            for batch, touched in members:
                encode_many(batch, touched, publication)
            await watch.lap_and_breathe("encode")
        for job, batch in zip(jobs, batches, strict=True):
            job.batch = batch

    def _begin(self, job: _Job) -> Batch:
        partition = job.partition
        return begin(partition, self._writer.progress[partition], job.records, self._state.written_at(partition))


def _slices(batches: Sequence[Batch]) -> Iterator[list[tuple[Batch, list[bytes | None]]]]:
    """Yield the batches' keys, SLICE at a time."""
    keys = [(batch, key) for batch in batches for key in batch.records]
    for start in range(0, len(keys), SLICE):
        some = keys[start : start + SLICE]
        yield [(batch, [key for _, key in its]) for batch, its in groupby(some, key=itemgetter(0))]
