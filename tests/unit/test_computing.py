"""Batches that are computed together come out as each one alone, and one that is cancelled takes no other with it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.shell import WALL_MS, Record
from unit.test_pipeline import MODELS, RECORDS

from stream.batch import Batch
from stream.bookkeeping import Progress
from stream.computing import TOGETHER, Computing
from stream.keyspace import Announcement
from stream.publication import Current, compile_models
from stream.report import Stopwatch
from stream.state import State
from stream.writer import Writer


class Held:
    """State and progress of partitions that hold nothing yet; counts the turns in which states are asked for."""

    def __init__(self) -> None:
        self.progress = {partition: Progress(-1, 0, b"") for partition in range(4)}
        self.asked: list[int] = []

    def written_at(self, partition: int) -> int:
        return -1

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        self.asked.append(partition)
        return [None] * len(keys)


def computing(held: Held) -> Computing:
    current = Current(compile_models(MODELS, 0), Announcement(-1, (), {}))
    return Computing(current, cast(State, held), cast(Writer, held), "event", lambda: WALL_MS)


def compute(partitions: Sequence[Sequence[Record]], held: Held | None = None) -> list[Batch]:
    """Return the batches of partitions 0, 1, … whose records came at the same time."""

    async def all_at_once() -> list[Batch]:
        one = computing(held or Held())
        return await asyncio.gather(
            *[one.compute(partition, records, Stopwatch()) for partition, records in enumerate(partitions)]
        )

    return asyncio.run(all_at_once())


def essence(batch: Batch) -> Any:
    """Return all that is written of a batch; its letters without their errors, which are equal to themselves only."""
    letters = [(letter.record, letter.error.reason) for letter in batch.dead_letters]
    return replace(batch, partition=0, dead_letters=[], membership_changes=Counter()), letters


@given(st.lists(RECORDS, min_size=2, max_size=4))
@settings(max_examples=60, deadline=None)
def test_together_as_alone(partitions: list[list[Record]]) -> None:
    together = compute(partitions)
    alone = [compute([records])[0] for records in partitions]
    assert [essence(batch) for batch in together] == [essence(batch) for batch in alone]
    assert [batch.partition for batch in together] == list(range(len(partitions)))
    changes = [sum((batch.membership_changes for batch in batches), Counter[str]()) for batches in (together, alone)]
    assert changes[0] == changes[1]


def records(n: int) -> list[Record]:
    return [Record(i, b"m%d" % i, b'{"op":"replace","document":{"x":1}}') for i in range(n)]


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [((5, 5, 5), [0, 1, 2]), ((TOGETHER + 1, 5, 5), [0, 0, 0, 1, 2]), ((5, TOGETHER, 5), [0, 2, 1, 1])],
    ids=["small ones", "a large one first", "a large one between"],
)
def test_large_ones_stay_alone(sizes: Sequence[int], asked: list[int]) -> None:
    """Who is ready first never waits for a backlog of another partition."""
    held = Held()
    batches = compute([records(n) for n in sizes], held)
    assert [len(batch.items) for batch in batches] == list(sizes)
    assert held.asked == asked


@pytest.mark.parametrize("which", [0, 1])
async def test_one_that_is_cancelled_takes_no_other_with_it(which: int) -> None:
    """Partition 0 computes for both; it, or the one that waits for it, is taken away meanwhile."""
    one = computing(Held())
    tasks = [asyncio.create_task(one.compute(partition, records(5), Stopwatch())) for partition in (0, 1)]
    await asyncio.sleep(0)  # 0 has begun, and lets 1 come in
    tasks[which].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[which], asyncio.CancelledError)
    left = done[1 - which]
    assert isinstance(left, Batch)
    assert len(left.items) == 5
    assert len((await one.compute(2, records(3), Stopwatch())).items) == 3  # nobody is left waiting
