"""What is held back of a fetch: its laws. What a rebalance does to it stands in test_races.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from memberstream.stream.faust_batch.heads import HEADS_SHARE, Heads
from memberstream.stream.faust_batch.in_flight import FEW_RECORDS

A, B, C = (TP("docs", partition) for partition in range(3))
LARGE = 8 * FEW_RECORDS


def records(first: int, n: int) -> list[Any]:
    return [SimpleNamespace(offset=first + i) for i in range(n)]


def offsets(work: list[tuple[TP, list[Any]]]) -> dict[TP, list[int]]:
    return {tp: [record.offset for record in its] for tp, its in work}


def ends_at(*ends: int) -> Any:
    return dict(zip((A, B, C), ends, strict=False)).get


def test_the_head_of_a_backlog_waits_for_what_comes_next() -> None:
    held = Heads()
    begun = held.sift([(A, records(0, LARGE)), (B, records(0, 10))], 0, ends_at(LARGE, 5_000))
    assert [tp for tp, _ in begun] == [A]
    assert held
    assert offsets(held.sift([(B, records(10, 4_990))], LARGE, ends_at(LARGE, 5_000))) == {B: list(range(5_000))}
    assert not held


def test_what_is_not_behind_does_not_wait() -> None:
    """Live events beside another partition's backlog, and the end of a backlog."""
    held = Heads()
    begun = held.sift([(A, records(0, 10)), (B, records(0, 10))], LARGE, ends_at(10, 19))
    assert offsets(begun) == {A: list(range(10)), B: list(range(10))}


def test_an_end_that_is_not_known_holds_nothing() -> None:
    assert Heads().sift([(A, records(0, 10))], LARGE, lambda tp: None)


def test_nothing_is_held_without_a_large_batch() -> None:
    held = Heads()
    assert not held.sift([(A, records(0, 10))], LARGE, ends_at(1_000))
    assert offsets(held.sift([], FEW_RECORDS, ends_at(1_000))) == {A: list(range(10))}


def test_all_that_is_held_is_a_part_of_the_largest() -> None:
    held, part = Heads(), LARGE // HEADS_SHARE
    begun = held.sift([(A, records(0, part - 5)), (B, records(0, 3)), (C, records(0, 3))], LARGE, ends_at(*[10**6] * 3))
    assert [tp for tp, _ in begun] == [A]


def test_what_is_cleared_is_forgotten() -> None:
    held = Heads()
    held.sift([(A, records(0, 10))], LARGE, ends_at(1_000))
    held.clear()
    assert not held
    assert held.sift([], 0, ends_at(1_000)) == []


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 3_000), st.integers(0, 9_000)), max_size=20))
def test_each_partition_comes_out_whole_and_in_order(steps: list[tuple[TP, int, int]]) -> None:
    """Whatever comes, and whatever is in flight: (partition, how many records, the largest batch in flight)."""
    held, came, went = Heads(), {A: 0, B: 0, C: 0}, {A: 0, B: 0, C: 0}
    for tp, n, largest in [*steps, (A, 1, 0)]:
        work = [(tp, records(came[tp], n))]
        came[tp] += n
        out = held.sift(work, largest, ends_at(*[10**6] * 3))
        for begun, its in out:
            assert [record.offset for record in its] == list(range(went[begun], went[begun] + len(its)))
            went[begun] += len(its)
        n_held = sum(came.values()) - sum(went.values())
        assert n_held <= max([largest, *[len(its) for _, its in out]]) // HEADS_SHARE
    while held:
        for begun, its in held.sift([], 0, ends_at(*[10**6] * 3)):
            went[begun] += len(its)
    assert went == came
