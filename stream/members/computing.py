"""From records to what is written for their members: a batch in slices, or small batches of several partitions at once.

Laws:
- A batch comes out as if it had been computed alone: members depend on nothing but their own state and events.
- A slice takes a fixed time, whatever a member costs, and has SLICE members at most (tasks/pace.py).
- A batch goes by the publication that is current when its computation begins, and its caller holds the partition's
  lock until it is written. So whoever holds the lock later finds no batch of an older publication under way.
- One computation at a time: two would only take the cache from each other.
- Small batches that wait are computed together, because a step of scoring costs much the same for one member as for
  forty. At 5,000 events/s a batch has ten members, and every partition brings one. If one is cancelled, the others
  aren't: the next that waits computes the rest. If one fails, it fails alone.
- What was computed together goes on in one turn of the event loop. So its changelogs travel in one request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from memberstream.models.placement import Partitioner, Placement
from memberstream.models.steps import Steps, T
from memberstream.stream.members.applying import Touched, applying, scoring
from memberstream.stream.members.batch import Batch, begin
from memberstream.stream.members.decoding import Rules, decoding, turn_away
from memberstream.stream.members.encoding import encoding
from memberstream.stream.members.recent import Recent
from memberstream.stream.partition.bookkeeping import SCORED
from memberstream.stream.partition.source_topic import Record, SourceTopic, check_end
from memberstream.stream.partition.state import State
from memberstream.stream.projection.writer import Writer
from memberstream.stream.registry.publication import Current, Publication
from memberstream.stream.settings import Clock
from memberstream.stream.tasks.pace import Pace
from memberstream.stream.tasks.stopwatch import Stopwatch

# Members computed side by side at most. Each needs some 10 KB, and all have to fit into a core's cache (commonly 1 MB
# of the second level). With 200 members on such a machine an event took a fifth longer.
SLICE = 100
# Records that are computed together at most: the first that is ready waits for the rest.
TOGETHER = 200


@dataclass(slots=True, eq=False)
class _Job:
    """A partition's records, and the batch that is computed from them."""

    partition: int
    records: Sequence[Record]
    next_offset: int | None
    goes_on: asyncio.Future[None]  # it is computed, or it is its turn to compute
    batch: Batch | None = None

    def go_on(self) -> None:
        if not self.goes_on.done():  # else it is cancelled
            self.goes_on.set_result(None)


class Computing:
    """Computes batches. The event loop breathes between stages and within long ones, so calls to Redis go out
    meanwhile.

    Args:
        wall_ms: the wall clock, ms.
        latest_ms: the later of this clock and Redis', by which events from the future are recognised.
        partitioner: how members are spread over the topic's partitions.
        rules: what the settings say of records.
        offer: takes some of the documents that were changed (stream/members/spot_checks.py).
        recent: the worker's members with long lists.

    Attributes:
        pace: how much is computed at a time.
    """

    def __init__(
        self,
        current: Current,
        topic: SourceTopic,
        state: State,
        writer: Writer,
        clock: Clock,
        wall_ms: Callable[[], int],
        partitioner: Partitioner,
        *,
        latest_ms: Callable[[], int],
        offer: Callable[[Iterable[Any]], None] = lambda documents: None,
        rules: Rules = Rules(),  # noqa: B008  (frozen)
        recent: Recent | None = None,
    ) -> None:
        self._rules, self._offer, self._recent = rules, offer, recent or Recent()
        self._current, self._topic, self._state, self._writer = current, topic, state, writer
        self._partitioner = partitioner
        self._clock, self._wall_ms, self._latest_ms = clock, wall_ms, latest_ms
        self.pace = Pace(SLICE)
        self._waiting: list[_Job] = []
        self._turn: _Job | None = None  # whose turn it is to compute

    async def compute(
        self, partition: int, records: Sequence[Record], watch: Stopwatch, next_offset: int | None = None
    ) -> Batch:
        """Return the batch of one partition's records. `watch` is told what was computed in this call.

        `next_offset`: where reading goes on behind them (stream/partition/source_topic.py).

        Raises:
            TopicChanged: the topic ends below what was applied.
        """
        check_end(self._writer.progress[partition], self._topic.end_offset(partition), partition)
        job = _Job(partition, records, next_offset, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._turn = self._turn or job
        try:
            if self._turn is not job:
                await job.goes_on
            if job.batch is None:
                await asyncio.sleep(0)  # the other partitions' records of the same fetch come in
                await self._compute_one(job, watch)
        finally:
            self._waiting.remove(job)
            if self._turn is job:
                self._turn = next((other for other in self._waiting if other.batch is None), None)
                if self._turn is not None:
                    self._turn.go_on()
        watch.resume()
        assert job.batch is not None  # noqa: S101  (by now it is computed, by this call or another)
        return job.batch

    async def _compute_one(self, job: _Job, watch: Stopwatch) -> None:
        """Compute a job, and others beside it. If that fails, compute the job alone: the failure may be another's."""
        jobs = self._together(job)
        try:
            await self._compute(jobs, watch)
        except Exception:
            if len(jobs) == 1:
                raise
            await self._compute([job], watch)

    def _together(self, first: _Job) -> list[_Job]:
        """Return the job, and the small jobs that wait beside it, as far as they fit."""
        chosen, room = [first], TOGETHER - len(first.records)
        for job in self._waiting:
            if job is not first and job.batch is None and len(job.records) <= room:
                chosen.append(job)
                room -= len(job.records)
        return chosen

    async def _compute(self, jobs: Sequence[_Job], watch: Stopwatch) -> None:
        publication = (
            self._current.publication
        )  # one publication for the whole batch: other models come between two batches
        watch.resume()
        latest_ms = self._latest_ms()
        scoring_ms = self._wall_ms() if self._clock == "wall" else None
        self._recent.under(publication.fingerprint)
        batches = [self._begin(job, publication) for job in jobs]
        run, pace = partial(self._run, watch), self.pace
        for parts in _slices(batches, lambda: pace.members(publication)):
            events = [await run("decode", decoding(batch, keys, latest_ms, self._rules)) for batch, keys in parts]
            await watch.lap_and_breathe("decode")
            states = [
                self._state.get_many(batch.partition, list(found))
                for (batch, _), found in zip(parts, events, strict=True)
            ]
            held = [
                turn_away(batch, found, stored, self._rules)
                for (batch, _), found, stored in zip(parts, events, states, strict=True)
            ]
            watch.lap("load")
            members = [
                (batch, await run("apply", applying(batch, found, stored, self._recent)))
                for (batch, _), found, stored in zip(parts, events, held, strict=True)
            ]
            await watch.lap_and_breathe("apply")
            await run("score", scoring(members, publication, scoring_ms))
            self._offer(changed_documents(members))
            await watch.lap_and_breathe("score")
            for batch, touched in members:
                await run("encode", encoding(batch, touched, publication, self._recent))
            await watch.lap_and_breathe("encode")
            pace.took(sum(len(keys) for _, keys in parts))
        for job, batch in zip(jobs, batches, strict=True):
            job.batch = batch
            job.go_on()

    async def _run(self, watch: Stopwatch, stage: str, steps: Steps[T]) -> T:
        return await self.pace.run(steps, partial(watch.breathe, stage))

    def _begin(self, job: _Job, publication: Publication) -> Batch:
        partition, state = job.partition, self._state
        [mark] = state.get_many(partition, [SCORED])
        progress, written_at = self._writer.progress[partition], state.written_at(partition)
        placement = Placement(self._partitioner, self._topic.partition_count)
        skipped = self._topic.skipped(partition)
        return begin(
            partition,
            progress,
            job.records,
            written_at,
            mark,
            publication,
            skipped,
            placement,
            state.largest,
            job.next_offset,
        )


def changed_documents(members: Iterable[tuple[Batch, Mapping[bytes, Touched]]]) -> Iterator[Any]:
    """Yield the documents of changed members, as far as somebody asks."""
    for _, its in members:
        for touched in its.values():
            if touched.changed and touched.member.document is not None:
                yield touched.member.document


def _slices(batches: Sequence[Batch], size: Callable[[], int]) -> Iterator[list[tuple[Batch, list[bytes | None]]]]:
    """Yield the batches' keys, `size()` at a time."""
    keys = iter([(batch, key) for batch in batches for key in batch.records])
    while some := list(islice(keys, size())):
        yield [(batch, [key for _, key in its]) for batch, its in groupby(some, key=itemgetter(0))]
