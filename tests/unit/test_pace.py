"""How much is computed at a time: slices as long as they may be, and a loop that breathes within them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.steps import Steps, finish
from memberstream.stream.tasks import pace as module
from memberstream.stream.tasks.pace import BREATHLESS_S, SLICE_S, Pace

MODELS = object()


class Clock:
    """A clock that moves when work is done."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def work(self, *seconds: float) -> Steps[str]:
        for one in seconds:
            self.now_s += one
            yield
        return "done"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    monkeypatch.setattr(module, "thread_time", clock)
    return clock


def slices(clock: Clock, pace: Pace, cost_s: float, n: int, models: object = MODELS) -> list[int]:
    """Return the sizes of the slices in which `n` members are done that cost so much each."""
    sizes = []
    while n:
        size = min(n, pace.members(models))
        asyncio.run(pace.run(clock.work(*[cost_s] * size)))
        pace.took(size)
        sizes.append(size)
        n -= size
    return sizes


def test_slices_of_cheap_members_grow_to_the_most(clock: Clock) -> None:
    """Nobody knows what a member costs at first, so slices double; a small one in between makes none smaller."""
    pace = Pace(100)
    assert slices(clock, pace, 0.00003, 327) == [1, 2, 4, 8, 16, 32, 64, 100, 100]
    assert slices(clock, pace, 0.00003, 3) == [3]
    assert slices(clock, pace, 0.00003, 200) == [100, 100]


def test_slices_of_expensive_members_fit_their_time(clock: Clock) -> None:
    """Members of 2 ms come ten at a time, those of 0.3 s alone; after one of these the slices grow again."""
    pace = Pace(100)
    assert max(slices(clock, pace, 0.002, 200)) == 10
    first, *rest = slices(clock, pace, 0.3, 13)
    assert first <= 10
    assert set(rest) == {1}
    assert slices(clock, pace, 0.00003, 7) == [1, 2, 4]


def test_other_models_begin_with_one_member(clock: Clock) -> None:
    """A hundred members of a model that costs 0.3 s each would hold their partition's lock for half a minute."""
    pace = Pace(100)
    slices(clock, pace, 0.00003, 500)
    assert slices(clock, pace, 0.3, 2, object()) == [1, 1]


@given(st.lists(st.sampled_from([0.000001, 0.0001, 0.003, 0.02, 1.0]), max_size=200), st.integers(1, 500))
def test_a_slice_has_members_and_not_too_many(costs_s: Sequence[float], most: int) -> None:
    """Whatever members cost: a slice is at most twice as expensive as planned, unless its members cost more than
    those of the slice before."""
    clock, pace = Clock(), Pace(most)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "perf_counter", clock)
        patch.setattr(module, "thread_time", clock)
        before_s, done = float("inf"), 0
        while done < len(costs_s):
            size = pace.members(MODELS)
            assert 1 <= size <= most
            some = costs_s[done : done + size]
            if size > 1 and max(some) <= before_s:
                assert sum(some) <= 2 * SLICE_S + 1e-9
            asyncio.run(pace.run(clock.work(*some)))
            pace.took(len(some))
            before_s, done = min(some), done + len(some)


def test_the_loop_breathes_within_work(clock: Clock) -> None:
    """Others have their turn after BREATHLESS_S, not after each step; and their time isn't the work's."""
    pace, turns = Pace(100), 0

    async def breathe() -> None:
        nonlocal turns
        turns += 1
        clock.now_s += 100.0
        await asyncio.sleep(0)

    steps = [BREATHLESS_S / 4] * 20
    assert asyncio.run(pace.run(clock.work(*steps), breathe)) == "done"
    assert turns == pace.breaths == 4
    pace.took(20)
    assert pace.members(MODELS) == 1
    assert asyncio.run(pace.run(clock.work(1.0))) == "done"


def test_steps_at_once() -> None:
    """Who has nothing else to do does them all."""
    assert finish(Clock().work(1, 2, 3)) == "done"
