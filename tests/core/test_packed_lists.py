"""Laws of long lists that stay packed: whoever asks is told what the list would tell, bit for bit; and so are states.

Here every list is long and a block of numbers has two, so that edges are common.
"""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
import pytest
from core import worlds
from core.evaluation import NOW, plan_of, rows_of
from core.test_incremental import Batches, apply_all, numbered, two_models
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.apply import apply_one
from memberstream.models.event import MAX_VALUE_BYTES, BadEvent, ChangeEvent, Op
from memberstream.models.member import Member, decode, document_size, encode
from memberstream.models.model import Model
from memberstream.models.packed_list import PackedList, json_bytes, packed_lists, read
from memberstream.models.plan import Plan
from memberstream.models.rescore import look_ahead, rescore_many
from memberstream.models.timestamps import DAY_MS


@pytest.fixture(autouse=True, scope="module")
def short_ones_are_long() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memberstream.models.packed_list.LONG_BYTES", 1)
        patch.setattr("memberstream.models.member.LONG_BYTES", 1)
        patch.setattr("memberstream.models.columns.BLOCK", 2)
        yield


def reopened(member: Member, state: bytes) -> Member:
    """Return a member as the worker that wrote it goes on with it: its columns are there already."""
    again = decode(state, is_packed=True)
    again.document = member.document
    return again


def packed(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with its lists packed."""
    found = decode(encode(Member(document=document), 0), is_packed=True).document
    assert found is not None
    return found


def of_list(items: list[Any]) -> PackedList:
    return PackedList.of(msgspec.msgpack.encode(items))


@given(two_models, worlds.histories, st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_packed_document_is_the_document(models: tuple[Model, Model], history: Batches, kept: list[bool]) -> None:
    """At every prefix: the same outcomes, rows, clusters, validity and bytes, whether columns are gone on with or made
    anew; and these are those of a fresh evaluation."""
    plan, now_ms = Plan(models), worlds.BASE_MS
    state = encode(Member(), 0)
    before = decode(state, is_packed=True)
    for (advance, events), is_kept in zip(numbered(history), kept, strict=False):
        now_ms += advance
        plain = decode(state)
        member = reopened(before, state) if is_kept else decode(state, is_packed=True)
        assert apply_all(member, events) == apply_all(plain, events)
        assert read(member.document) == plain.document
        assert member.touched == plain.touched
        if plain.document is not None:
            rescore_many(plan, [plain], [now_ms])
            rescore_many(plan, [member], [now_ms])
            assert member.rows == plain.rows == rows_of(plan, plain.document, now_ms)
            look_ahead(plan, [plain], [3])
            look_ahead(plan, [member], [3])
        state = encode(plain, 0)
        assert encode(member, 0) == state
        before = member


def _folds() -> Iterator[dict[str, Any]]:
    for kind in ("sum", "mean", "min", "max", "last", "distinct", "count"):
        for more in ({}, {"time": "t"}, {"time": "t", "window_days": 8}, {"time": "t", "window_days": 3}):
            of_values = {} if kind == "count" else {"value": "v"}
            missing = {} if kind in ("count", "distinct") else {"missing": -7}
            yield {"name": f"{kind}_{len(more)}_{more.get('window_days')}", "path": "l", "aggregate": kind} | (
                of_values | missing | more
            )
    yield {"name": "text", "path": "l", "aggregate": "last", "value": "v", "transforms": [{"one_hot": ["x", "y"]}]} | {
        "missing": None, "time": "t",
    }  # fmt: skip
    yield {"name": "written", "path": "l", "aggregate": "sum", "value": "v", "type": "number_text", "missing": 0}
    yield {"name": "age", "path": "l", "aggregate": "days_since", "time": "t", "missing": 0}
    yield {"name": "decayed", "path": "l", "aggregate": "decayed_count", "time": "t", "half_life_days": 3}
    yield {"name": "some", "path": "l", "aggregate": "count", "where": {"v": {"gt": 1}}, "time": "t"}


FOLDS = plan_of(*_folds())


def check_folds(values: list[Any], days_ago: list[int], n_first: int) -> None:
    """Of values at times, the first packed and the others appended, each fold is that of the list."""
    elements = [{"t": NOW - days * DAY_MS, "v": value} for value, days in zip(values, days_ago, strict=True)]
    document = packed({"l": elements[:n_first]})
    for i, element in enumerate(elements[n_first:]):
        if i % 3 != 1:  # now and then two come at once
            FOLDS.evaluate_many([document], [NOW])
            document["l"].packed()
        document = {"l": document["l"].plus(element)}
    x, until = FOLDS.evaluate_many([document], [NOW])
    of_list_x, of_list_until = FOLDS.evaluate_many([{"l": elements}], [NOW])
    assert x.tobytes() == of_list_x.tobytes()
    assert until.tobytes() == of_list_until.tobytes()


_folded = st.one_of(worlds.scalars, st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(st.tuples(_folded, st.integers(-2, 12)), max_size=40), st.integers(0, 40))
def test_folds_of_any_window(elements: list[tuple[Any, int]], n_first: int) -> None:
    """In any order of time, whatever the values are."""
    check_folds([value for value, _ in elements], [days for _, days in elements], n_first)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1, 2.5, -3, "x", 0.1, None, 0.2, 7, 0.3, True, 1, "12.5", 0.7],
        [None, "y", None, "x"],
        [0.0, -0.0, 5],
        [5, -0.0, 0.0, -0.0],
        [1e308, 1e308, -1e308, 1e308],
        [1e308, -1e308, 1e308, -1e308],
        [0.1] * 9,
        [1e16, 1.0, -1e16, 1e-16, 3.0, 5e-324],
    ],
)
def test_folds(values: list[Any]) -> None:
    """All first, none first, and half of them; times ascend, descend, or go to and fro."""
    n = len(values)
    for days in ([*range(n, 0, -1)], [*range(-1, n - 1)], [i * 7 % 5 - 1 for i in range(n)]):
        for n_first in (0, n // 2, n):
            check_folds(values, days, n_first)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 65_535, 65_536])
def test_the_bytes_are_the_lists_own(n: int) -> None:
    """With headers of each width, also where the next element makes it wider."""
    items = list(range(n))
    found = of_list(items)
    assert (len(found), found.items(), found.packed()) == (n, items, msgspec.msgpack.encode(items))
    assert found.plus("x").plus(None).packed() == msgspec.msgpack.encode([*items, "x", None])


def test_two_lists_may_come_of_one() -> None:
    """Columns go on with the one that is asked; the others make their own, and none sees another's elements."""
    plan = plan_of({"name": "s", "path": "l", "aggregate": "sum", "missing": 0})

    def total(packed_list: PackedList) -> float:
        return float(plan.evaluate_many([{"l": packed_list}], [NOW])[0][0, 0])

    first = of_list([1, 2])
    left, right = first.plus(10), first.plus(20)
    assert [total(one) for one in (first, left, right, first, left.plus(5), left)] == [3, 13, 23, 3, 18, 13]
    written = first.plus(1)
    written.packed()
    assert total(written.plus(1)) == 5


def test_appends_of_one_batch_cost_the_same_each() -> None:
    """None keeps the lists between the first and the last: with thousands that took gigabytes."""
    grown = of_list([1])
    tracemalloc.start()
    try:
        for i in range(3_000):
            grown = grown.plus(i)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert grown.packed() == msgspec.msgpack.encode([1, *range(3_000)])


def test_many_at_once_are_read_with_the_rest() -> None:
    """To go on with columns one by one would take longer. A few that follow are gone on with again."""
    plan = plan_of({"name": "s", "path": "l", "aggregate": "sum", "missing": 0})
    grown = of_list(list(range(100)))
    plan.evaluate_many([{"l": grown}], [NOW])
    n_items, is_read = 100, []
    for n_more in (25, 60, 3, 70):
        for i in range(n_more):
            grown = grown.plus(n_items + i)
        n_items += n_more
        assert plan.evaluate_many([{"l": grown}], [NOW])[0].tolist() == [[sum(range(n_items))]]
        is_read.append(grown._items is not None)
        grown.packed()
    assert is_read == [False, True, False, True]


def test_memory_counts_what_columns_hold() -> None:
    """Texts that are only compared are long now and then."""
    document = packed({"l": [{"k": "a" * 5_000}]})
    plan = plan_of({"name": "d", "path": "l", "aggregate": "distinct", "value": "k"})
    plan.evaluate_many([document], [NOW])
    assert document["l"].size_bytes > 10_000
    document["l"].packed()
    document = {"l": document["l"].plus({"k": "b" * 5_000})}
    plan.evaluate_many([document], [NOW])
    assert (document["l"].packed_bytes > 10_000, document["l"].size_bytes > 20_000) == (True, True)


def test_only_new_elements_are_read() -> None:
    """Once columns are there, neither an append nor a later time reads the list again."""
    definitions: list[dict[str, Any]] = [
        {"name": "n", "path": "l", "aggregate": "count", "time": "t", "window_days": 5},
        {"name": "s", "path": "l", "aggregate": "sum", "value": "v", "time": "t", "window_days": 5, "missing": 0},
        {"name": "min", "path": "l", "aggregate": "min", "value": "v", "missing": 0},
        {"name": "d", "path": "l", "aggregate": "distinct", "value": "v", "where": {"v": {"gt": 3}}},
        {"name": "h", "path": "l", "aggregate": "decayed_count", "time": "t", "half_life_days": 7},
        {"name": "r", "path": "l", "aggregate": "days_since", "time": "t", "missing": 0},
    ]
    plan = plan_of(*definitions)
    elements: list[dict[str, Any]] = [{"t": NOW - i * DAY_MS, "v": i} for i in range(9)]
    document = packed({"l": elements})
    plan.evaluate_many([document], [NOW])
    document["l"].packed()
    elements.append({"t": NOW - 2 * DAY_MS, "v": 0.5})
    grown = {"l": document["l"].plus(elements[-1])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PackedList, "items", lambda packed_list: pytest.fail("read again"))
        found = [plan.evaluate_many([grown], [NOW + i * DAY_MS])[0].tobytes() for i in range(4)]
    assert found == [plan.evaluate_many([{"l": elements}], [NOW + i * DAY_MS])[0].tobytes() for i in range(4)]
    assert grown["l"].size_bytes > 9 * (8 + 8)


def test_a_new_predictor_reads_the_list_once_more() -> None:
    """Columns that come later than the others, over elements that were forgotten."""
    document = packed({"l": [{"v": 2, "k": "a"}, {"v": 3, "k": "b"}]})
    for aggregate, value, expected in (("sum", "v", 5.0), ("max", "v", 3.0), ("distinct", "k", 2.0)):
        definition = {"name": "p", "path": "l", "aggregate": aggregate, "value": value}
        plan = plan_of(definition | ({} if aggregate == "distinct" else {"missing": 0}))
        assert plan.evaluate_many([document], [NOW])[0].tolist() == [[expected]]
        document["l"].packed()


def test_a_refused_event_leaves_the_member_as_it_was() -> None:
    """An append that makes the document too large, and one to what is no list any more."""
    member = decode(encode(Member(document={"l": [1, 2], "o": {"l": [3]}}), 0), is_packed=True)
    before = encode(member, 0)
    for path, value in ((("l",), "x" * 1_000), (("l", "x"), 1), (("o",), 1)):
        with pytest.raises(BadEvent):
            apply_one(member, 1, ChangeEvent(Op.APPEND, NOW, None, value, path), 1_000, fitting_bytes=100)
    assert encode(member, 0) == before
    apply_one(member, 1, ChangeEvent(Op.APPEND, NOW, None, 4, ("o", "l")), 10)
    assert read(member.document) == {"l": [1, 2], "o": {"l": [3, 4]}}
    assert member.document is not None
    assert document_size(member.document) == len(msgspec.msgpack.encode(read(member.document)))


def test_measuring_writes_only_what_was_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member at the bound refuses one append after the other, and each is measured."""
    member, n_read = decode(encode(Member(document={"e": [], "l": [1, 2]}), 0), is_packed=True), 0
    whole = PackedList.read

    def counted(packed_list: PackedList) -> list[Any]:
        nonlocal n_read
        n_read += 1
        return whole(packed_list)

    monkeypatch.setattr(PackedList, "read", counted)
    for i in range(9):
        path = ("e",) if i % 2 else ("l",)
        with pytest.raises(BadEvent):
            apply_one(member, 1, ChangeEvent(Op.APPEND, NOW, None, "x" * MAX_VALUE_BYTES, path), 1, fitting_bytes=0)
    assert n_read == 2
    for i in range(9):
        path = ("e",) if i % 2 else ("l",)
        apply_one(member, 1 + i, ChangeEvent(Op.APPEND, NOW, None, {"é": [i, -0.0]}, path), 1, fitting_bytes=100)
        assert member.document is not None
        assert json_bytes(member.document) == len(orjson.dumps(read(member.document)))
    with pytest.raises(TypeError, match="serializable"):
        json_bytes({"x": object()})


def test_what_isnt_a_list_is_read_as_ever() -> None:
    """Objects are looked through some levels deep; long texts, and lists inside of lists, are just values."""
    deep: Any = [1]
    for _ in range(6):
        deep = {"o": deep}
    document = {"t": "x" * 70_000, "l": [[1], {"l": [2]}], "n": None, "o": {"a": {}, "l": []}, "deep": deep}
    found = packed(document)
    assert read(found) == document
    assert [one.items() for one in packed_lists(found)] == [document["l"], []]
    assert orjson.loads(orjson.dumps(found, default=read)) == document
    assert decode(encode(Member(), 0), is_packed=True).document is None
    with pytest.raises(TypeError, match="found object"):
        encode(Member(document={"x": object()}), 0)


def test_a_member_of_an_earlier_schema_is_read_whole() -> None:
    """Its document is migrated with its next write, as ever."""
    state = bytes((2,)) + encode(Member(document={"l": [1, 2]}), 0)[1:]
    assert decode(state, is_packed=True).document == {"l": [1, 2]}
    assert math.isclose(len(state), len(encode(decode(state), 0)), abs_tol=1)


def test_only_long_lists_stay_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short one beside a long one, and a document without a long one, are read."""
    monkeypatch.setattr("memberstream.models.packed_list.LONG_BYTES", 50)
    document = {"o": {"short": [1], "long": list(range(100))}, "x": {"a": "y" * 40, "b": "z" * 40}}
    found = packed(document)
    assert read(found) == document
    assert (type(found["o"]["short"]), type(found["o"]["long"])) == (list, PackedList)
