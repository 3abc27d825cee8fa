"""Work beside the stream: what share it takes, and that one piece at a time is under way."""

from __future__ import annotations

import asyncio
from itertools import count
from time import perf_counter

import pytest

from memberstream.stream.tasks.turns import LEAST_SHARE, LONGEST_S, OF_IDLE, SHARE, Turns


async def work(turns: Turns, n: int, worked_s: float = 0.001) -> float:
    """Work on n slices; returns how long it took, seconds."""
    began = perf_counter()
    for _ in range(n):
        async with turns.slice(asyncio.Lock()):
            await asyncio.sleep(worked_s)
    return perf_counter() - began


@pytest.mark.parametrize(
    ("load", "share"), [(0.1, SHARE), (0.7, OF_IDLE * 0.3), (0.99, LEAST_SHARE), (1.8, LEAST_SHARE)]
)
async def test_it_takes_a_part_of_what_the_stream_leaves(load: float, share: float) -> None:
    """While events arrive; the load is what the worker takes while this work pauses."""
    turns = Turns(count().__next__, lambda: load * perf_counter())
    await work(turns, 20)
    assert turns.share == pytest.approx(share, abs=0.04)  # a busy machine comes between two clocks
    assert await work(turns, 5, 0.005) >= 5 * 0.005 / (share + 0.04)


async def test_it_takes_all_the_time_while_nothing_arrives() -> None:
    """There is nobody to give way to, however busy the worker is with this work."""
    turns = Turns(lambda: 7, perf_counter)
    await work(turns, 20)
    assert turns.share == SHARE  # a pause would have seen the load


async def test_slices_come_one_after_the_other() -> None:
    """Of whatever partitions: while one is worked on, or the stream has its turn, no other begins."""
    turns, began, ended = Turns(count().__next__, lambda: 0.0), list[float](), list[float]()

    async def one() -> None:
        async with turns.slice(asyncio.Lock()):
            began.append(perf_counter())
            await asyncio.sleep(0.01)
            ended.append(perf_counter())

    await asyncio.gather(*[one() for _ in range(4)])
    assert all(later - before >= 0.02 for later, before in zip(began[1:], ended[:-1], strict=True))


async def test_what_a_slice_waited_for_a_server_is_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka was away for half a minute: at the least share a pause as many times as long would take ten minutes."""
    turns, paused, now = Turns(count().__next__, lambda: 0.0), list[float](), [0.0]

    async def sleep(seconds: float) -> None:
        paused.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("memberstream.stream.tasks.turns.perf_counter", lambda: now[0])
    monkeypatch.setattr("memberstream.stream.tasks.turns.asyncio.sleep", sleep)
    async with turns.slice(asyncio.Lock()):
        now[0] += 30.0
    assert max(paused) == pytest.approx(LONGEST_S * (1 / SHARE - 1))
