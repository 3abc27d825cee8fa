"""Batches that are computed together come out as each one alone, and one that is cancelled takes no other with it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.shell import WALL_MS, FakeTopic, Record
from unit.test_pipeline import MODELS, RECORDS

from memberstream.models.member import StateError
from memberstream.stream.keyspace.formats import Announcement
from memberstream.stream.members.batch import Batch
from memberstream.stream.members.computing import TOGETHER, Computing
from memberstream.stream.partition.bookkeeping import SCORED, Progress
from memberstream.stream.partition.state import State
from memberstream.stream.projection.writer import Writer
from memberstream.stream.registry.publication import Current, compile_models
from memberstream.stream.tasks.stopwatch import Stopwatch


class Held:
    """State and progress of partitions that hold nothing yet; counts the turns in which states are asked for."""

    largest = 8 << 20

    def __init__(self) -> None:
        self.progress = {partition: Progress(-1, 0, b"") for partition in range(4)}
        self.asked: list[int] = []

    def written_at(self, partition: int) -> int:
        return -1

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        if keys != [SCORED]:
            self.asked.append(partition)
        return [None] * len(keys)


def computing(held: Held) -> Computing:
    current = Current(compile_models(MODELS, 0), Announcement(-1, (), {}))
    return Computing(
        current,
        FakeTopic(),
        cast(State, held),
        cast(Writer, held),
        "event",
        lambda: WALL_MS,
        "murmur2",
        latest_ms=lambda: WALL_MS,
    )


def compute(partitions: Sequence[Sequence[Record]], held: Held | None = None, first: int = 0) -> list[Batch]:
    """Return the batches of partitions `first` and on whose records came at the same time."""

    async def all_at_once() -> list[Batch]:
        one = computing(held or Held())
        return await asyncio.gather(
            *[one.compute(partition, records, Stopwatch()) for partition, records in enumerate(partitions, first)]
        )

    return asyncio.run(all_at_once())


def essence(batch: Batch) -> Any:
    """Return all that is written of a batch; letters as the pipeline sorts them, their errors equal only themselves."""
    letters = sorted((letter.record.offset, letter.record, letter.error.reason) for letter in batch.dead_letters)
    return replace(batch, partition=0, dead_letters=[], membership_changes=Counter()), letters


@given(st.lists(RECORDS, min_size=2, max_size=4))
def test_together_as_alone(partitions: list[list[Record]]) -> None:
    together = compute(partitions)
    alone = [compute([records], first=partition)[0] for partition, records in enumerate(partitions)]
    assert [essence(batch) for batch in together] == [essence(batch) for batch in alone]
    assert [batch.partition for batch in together] == list(range(len(partitions)))
    changes = [sum((batch.membership_changes for batch in batches), Counter[str]()) for batches in (together, alone)]
    assert changes[0] == changes[1]


def records(n: int) -> list[Record]:
    return [Record(i, b"m%d" % i, b'{"op":"replace","document":{"x":1}}') for i in range(n)]


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [((5, 5, 5), [0, 1, 2]), ((TOGETHER + 1, 5, 5), [0, 1, 2]), ((5, TOGETHER, 5), [0, 2, 1])],
    ids=["small ones", "a large one first", "a large one between"],
)
def test_large_ones_stay_alone(sizes: Sequence[int], asked: list[int]) -> None:
    """Who is ready first never waits for a backlog of another partition."""
    held = Held()
    batches = compute([records(n) for n in sizes], held)
    assert [len(batch.items) for batch in batches] == list(sizes)
    assert [partition for partition, _ in groupby(held.asked)] == asked


async def test_what_was_computed_together_goes_on_in_one_turn() -> None:
    """Their changelogs travel in one request then. One after another, the first would travel alone."""
    one, turns, ended = computing(Held()), 0, []

    async def ends_at(partition: int) -> None:
        await one.compute(partition, records(5), Stopwatch())
        ended.append(turns)

    tasks = [asyncio.create_task(ends_at(partition)) for partition in range(4)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turns += 1
    assert max(ended) - min(ended) <= 1


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_one_that_fails_takes_no_other_with_it(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged state of one partition, computed together with the others': only its own records are to blame."""
    held = Held()
    found = held.get_many

    def get_many(partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        return [b"damaged" if partition == which and key == b"m3" else state
                for key, state in zip(keys, found(partition, keys), strict=True)]  # fmt: skip

    monkeypatch.setattr(held, "get_many", get_many)
    one = computing(held)
    done = await asyncio.gather(
        *[one.compute(partition, records(5), Stopwatch()) for partition in range(3)], return_exceptions=True
    )
    assert [type(outcome) for outcome in done] == [
        StateError if partition == which else Batch for partition in range(3)
    ]


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
