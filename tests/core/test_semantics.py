"""What each aggregate, condition and transform gives: against plain Python, NumPy, and by example on the edges."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pytest
from core import worlds
from core.evaluation import NOW, plan_of, until_of, value_of
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.predictor import LIMIT
from memberstream.models.timestamps import DAY_MS, FOREVER, format_ms

HOUR_MS = DAY_MS // 24


@given(worlds.lists, st.sampled_from([None, 0.5, 7.25, 30]), st.booleans())
def test_aggregates_equal_plain_python(items: list[Any], window: float | None, has_where: bool) -> None:
    """count, sum, mean, min, max, distinct, last and days_since equal a recomputation written the obvious way."""
    items = orjson.loads(orjson.dumps(items))
    fields: dict[str, Any] = {"path": "l", "time": "t"} | ({"window_days": window} if window else {})
    fields |= {"where": {"k": "x"}} if has_where else {}

    def moment(element: Any) -> int | None:
        at = element.get("t") if isinstance(element, dict) else None
        if isinstance(at, str):
            if at.isdigit():
                return None  # a number that came as a text is no time, unless the file says so
            at = datetime.fromisoformat(at).timestamp() * 1000
        return None if at is None or isinstance(at, bool) else math.floor(at)

    there = [(at, e) for e in items if (at := moment(e)) is not None and at <= NOW]
    there = [(at, e) for at, e in there if window is None or at > NOW - window * DAY_MS]
    there = [(at, e) for at, e in there if not has_where or e.get("k") == "x"]
    raw = [e.get("v") for _, e in there]
    v = [float(n) for n in raw if isinstance(n, (int, float))]

    def expected(number: float | None) -> float:
        return -7.0 if number is None or abs(number) > LIMIT else number

    def computed(aggregate: str, **more: Any) -> Any:
        return value_of(fields | {"aggregate": aggregate} | more, {"l": items})

    assert computed("count") == len(there)
    try:
        total: float | None = math.fsum(v)
    except OverflowError:
        total = None
    assert computed("sum", value="v") == expected(total)
    assert computed("mean", value="v") == expected(total / len(v) if v and total is not None else None)
    assert computed("min", value="v") == expected(min(v, default=None))
    assert computed("max", value="v") == expected(max(v, default=None))
    kinds = {(type(n) is bool, n) for n in raw if isinstance(n, (str, int, float))}
    assert computed("distinct", value="v") == len(kinds)
    latest = max((at for at, _ in there), default=None)
    last = [e for at, e in there if at == latest][-1:]
    shown = last[0].get("v") if last else None
    assert computed("last", value="v") == expected(float(shown) if isinstance(shown, (int, float)) else None)
    days = None if latest is None else float(NOW // DAY_MS - latest // DAY_MS)
    assert computed("days_since") == expected(days)


def test_window_holds_what_is_younger_than_its_length() -> None:
    """A window of w days holds now - w < time ≤ now; `until` names the exact millisecond of the next change."""
    count = {"path": "l", "time": "t", "aggregate": "count", "window_days": 7}
    week = 7 * DAY_MS
    at = NOW - week
    for shift, expected in [(-1, 0.0), (0, 0.0), (1, 1.0), (week, 1.0), (week + 1, 0.0)]:
        assert value_of(count, {"l": [{"t": at + shift}]}) == expected
    assert until_of(count, {"l": [{"t": at + 5}, {"t": at + 3}, {"t": NOW + 9}]}) == NOW + 3
    assert until_of(count, {"l": [{"t": NOW + 9}, {"t": NOW}]}) == NOW + 9
    assert until_of(count, {"l": [{"t": NOW}]}) == NOW + week
    assert until_of(count, {"l": [{"t": at}]}) == FOREVER
    assert until_of(count, {"l": "no list"}) == FOREVER
    assert until_of({**count, "window_days": 0.00000002}, {"l": [{"t": NOW}]}) == NOW + 2


def test_days_since_counts_midnights_hours_or_seconds() -> None:
    """With resolution days midnights are counted, in a given UTC offset; finer resolutions floor both ends."""
    days = {"path": "t", "aggregate": "days_since"}
    evening = {"t": format_ms(NOW - HOUR_MS)}  # 23:00 of the day before
    assert value_of(days, evening) == 1.0
    assert value_of(days, evening, NOW - 1) == 0.0
    assert until_of(days, evening) == NOW + DAY_MS
    west = days | {"utc_offset_minutes": -120}  # there it is 22:00, and 21:00 an hour before
    assert value_of(west, evening) == 0.0
    assert until_of(west, evening) == NOW + 2 * HOUR_MS
    assert value_of(days | {"resolution": "hours"}, evening) == 1 / 24
    assert until_of(days | {"resolution": "hours"}, evening) == NOW + HOUR_MS
    assert value_of(days | {"resolution": "seconds"}, evening, NOW + 1_500) == 3_601 / 86_400
    assert value_of(days, {"t": NOW + 1}) == -7
    assert until_of(days, {"t": NOW + 1}) == NOW + 1
    assert until_of(days, {"t": "never"}) == FOREVER


@given(st.lists(st.integers(-90 * DAY_MS, DAY_MS), max_size=6), st.sampled_from([0.25, 7, 90]))
def test_a_decayed_count_halves_with_each_half_life(ages_ms: list[int], half_life: float) -> None:
    """It equals a plain sum of powers over midnights passed, holds until the next one, and lies within its stated bound
    of the count that decays at every moment."""
    decayed = {"path": "l", "time": "t", "aggregate": "decayed_count", "half_life_days": half_life}
    times = [NOW + age for age in ages_ms]
    items = {"l": [{"t": at} for at in times]}
    there = [at for at in times if at <= NOW]
    days = [NOW // DAY_MS - at // DAY_MS for at in there]
    assert value_of(decayed, items) == math.fsum(2.0 ** -(d / half_life) for d in days)
    exact = math.fsum(2.0 ** -((NOW - at) / DAY_MS / half_life) for at in there)
    bound = 2 ** (1 / half_life)
    assert exact / bound <= value_of(decayed, items) * (1 + 1e-12) <= exact * bound * (1 + 1e-9)
    changes = [at for at in times if at > NOW] + ([(NOW // DAY_MS + 1) * DAY_MS] if there else [])
    assert until_of(decayed, items) == min(changes, default=FOREVER)


def test_last_takes_the_latest_and_of_equals_the_last_in_the_list() -> None:
    """`last` orders by time, then by place in the list; without times by place alone; its value may be missing."""
    items = [{"t": NOW - 1, "v": 1}, {"t": NOW - 1, "v": 2}, {"t": NOW - 5, "v": 3}, {"t": NOW + 5, "v": 4}]
    last = {"path": "l", "aggregate": "last", "value": "v"}
    assert value_of(last | {"time": "t"}, {"l": items}) == 2
    assert value_of(last, {"l": items}) == 4
    assert value_of(last, {"l": [{"v": 1}, {}]}) == -7
    categories = {"aggregate": "last", "path": "l", "missing": "y", "transforms": [{"one_hot": ["x", "y"]}]}
    assert value_of(categories, {"l": ["y", "x"]}) == [1, 0]
    assert value_of(categories, {"l": []}) == [0, 1]


CONDITIONS: list[tuple[Any, list[Any]]] = [
    ("1", ["1"]), (1, [1, 1.0]), (True, [True]), (False, [False]), (0, [0]),
    ({"in": [1, "x", False]}, [1, 1.0, "x", False]), ({"gt": 0}, [1, 1.0, 10**400]), ({"gte": 0}, [1, 1.0, 0, 10**400]),
    ({"lt": 1}, [0]), ({"lte": 1}, [1, 1.0, 0]), ({"gt": 0, "lt": 5}, [1, 1.0]),
    ({"exists": True}, ["1", 1, 1.0, True, False, 0, "x", 10**400, [], {}]), ({"exists": False}, [None]),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS, ids=str)
def test_conditions_compare_by_type_and_value(condition: Any, expected: list[Any]) -> None:
    """A condition never mixes texts, numbers and booleans; orderings hold for numbers only."""
    candidates = ["1", 1, 1.0, True, False, 0, "x", 10**400, None, [], {}]
    counting = {"path": "l", "aggregate": "count", "where": {"k": condition}}
    matching = [c for c in candidates if value_of(counting, {"l": [{"k": c}]}) == 1]
    assert [(type(c), c) for c in matching] == [
        (type(c), c) for c in candidates if any(type(c) is type(e) and c == e for e in expected)
    ]


@given(st.lists(worlds.scalars, max_size=6))
def test_bins_equal_numpy_digitize(values: list[Any]) -> None:
    """Bins number values as numpy.digitize does."""
    edges = [-1.0, 0.0, 2.5, 99.0]
    for value in (v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)):
        assert value_of({"path": "a", "transforms": [{"bins": edges}]}, {"a": value}) == np.digitize(value, edges)


def test_transforms_and_their_missing_rule() -> None:
    """Each transform by example; what it can't take becomes the missing value, itself transformed."""
    a = {"path": "a", "missing": 3}
    assert value_of(a | {"transforms": ["log1p"]}, {"a": 1}) == math.log1p(1)
    assert value_of(a | {"transforms": ["log1p"]}, {"a": -1}) == math.log1p(3)
    assert value_of(a | {"transforms": ["log"]}, {"a": 1e-300}) == math.log(1e-300)
    assert value_of(a | {"transforms": ["log"]}, {"a": 0}) == math.log(3)
    assert value_of(a | {"transforms": ["sqrt"]}, {"a": 2}) == math.sqrt(2)
    assert value_of(a | {"transforms": ["sqrt"]}, {"a": -1e-9}) == math.sqrt(3)
    assert value_of(a | {"transforms": [{"clip": {"min": 0, "max": 2}}]}, {"a": -1}) == 0
    assert value_of(a | {"transforms": [{"clip": {"max": 2}}]}, {"a": 5}) == 2
    assert value_of(a | {"transforms": [{"clip": {"min": 0}}]}, {"a": 5}) == 5
    assert value_of(a | {"transforms": [{"scale": {"mean": 1, "sd": 4}}]}, {"a": 2}) == 0.25
    assert value_of(a | {"transforms": [{"one_hot": [0, 1]}]}, {"a": True}) == [0, 1]
    assert value_of(a | {"transforms": [{"one_hot": [0, 1]}]}, {"a": 7}) == [0, 0]
    assert value_of(a, {"a": 1e101}) == 3
    assert value_of({"path": "a", "missing": None, "transforms": [{"one_hot": ["x", "y"]}]}, {"a": 1}) == [0, 0]


def test_ratio_and_product_use_transformed_operands() -> None:
    """Operands enter after their own transforms; a zero below or an overflow is missing."""
    operands = [
        {"name": "a", "path": "a", "missing": 0, "transforms": ["log1p"]},
        {"name": "b", "path": "b", "missing": 1},
    ]
    plan = plan_of(*operands, {"name": "r", "ratio": ["a", "b"], "missing": -7}, {"name": "q", "product": ["a", "b"]})
    for a, b, ratio, product in [(1, 2, math.log1p(1) / 2, math.log1p(1) * 2), (1, 0, -7, 0)]:
        x, _ = plan.evaluate_many([{"a": a, "b": b}], [NOW])
        assert x[0, 2:].tolist() == [ratio, product]
    huge = plan_of(
        {"name": "a", "path": "a", "missing": 0},
        {"name": "b", "path": "b", "missing": 0},
        {"name": "r", "ratio": ["a", "b"], "missing": -7},
        {"name": "q", "product": ["a", "a"], "missing": -8},
    )
    x, _ = huge.evaluate_many([{"a": 1e99, "b": 5e-324}], [NOW])
    assert x[0, 2:].tolist() == [-7, -8]
