"""Laws of predictors: until when they hold, what they read, and that no value whatever breaks them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from core import worlds
from core.evaluation import NOW, plan_of
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.document import merge_patch
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.path import Path
from memberstream.models.plan import EVERYTHING, Plan
from memberstream.models.predictor import LIMIT, Predictor
from memberstream.models.timestamps import DAY_MS, FOREVER
from memberstream.models.transform import Log1p, Scale


@given(
    worlds.models(), worlds.documents, st.integers(-40 * DAY_MS, 40 * DAY_MS), st.lists(st.floats(0, 1), max_size=20)
)
def test_values_hold_until_until(model: Model, document: dict[str, Any], shift_ms: int, fractions: list[float]) -> None:
    """From now to the last millisecond before `until`, on the edges and on a grid between, nothing changes."""
    plan, now_ms = Plan([model]), NOW + shift_ms
    x, until = plan.evaluate_many([document], [now_ms])
    for step in plan.steps:
        end = int(until[0, step.clock]) if step.clock >= 0 else FOREVER
        assert end > now_ms
        last = min(end, now_ms + 400 * DAY_MS) - 1
        moments = {now_ms + 1, last, last - 1, *(now_ms + int(f * (last - now_ms)) for f in fractions)}
        for at_ms in (m for m in moments if now_ms <= m <= last):
            later, _ = plan.evaluate_many([document], [at_ms])
            columns = slice(step.start, step.stop)
            assert later[0, columns].tobytes() == x[0, columns].tobytes()


@given(worlds.models(), worlds.documents, st.integers(-(2**60), 2**60))
def test_any_document_at_any_time_gives_numbers_within_the_limit(
    model: Model, document: dict[str, Any], now_ms: int
) -> None:
    """No document raises, and no column is NaN, infinite or beyond ±1e100; neither is a score."""
    plan = Plan([model])
    x, until = plan.evaluate_many([document], [now_ms])
    assert np.abs(x).max() <= LIMIT
    assert (until > now_ms).all()
    scores = model.scorer.score_many(x.take(plan.inputs(model), axis=1))
    for result in (scores.eta, scores.probability, scores.distances):
        assert result is None or np.isfinite(result).all()


HOSTILE: list[Any] = [
    None, True, False, math.nan, math.inf, -math.inf, 10**400, -(10**400), 1e308, -1e308, 5e-324, "", "x" * 100_000,
    "2026-13-01", "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59", "\ud800", [], {}, [[]], [None],
    [math.nan, math.inf, 10**400, True, "1", None, {}, []],
    [{"t": math.nan, "v": math.nan}, {"t": 10**400, "v": 1}, {"t": "x", "v": 1}, {"t": NOW, "v": 10**400}],
    [{"t": NOW, "v": 1e308}] * 3, [{"t": {}, "v": []}, {"t": True, "v": True}], {"x": {"x": {"x": {}}}}, b"bytes", (1,),
]  # fmt: skip
DEEP: Any = 1
for _ in range(500):
    DEEP = [DEEP] if isinstance(DEEP, dict) else {"x": DEEP, "v": 1}
_OF_VALUES: list[tuple[str, dict[str, Any]]] = [
    ("_value", {"value": "v"}),
    ("_where", {"where": {"v": {"gt": 0}, "t": {"exists": True}}}),
]
_OF_ELEMENTS: list[tuple[str, dict[str, Any]]] = [
    ("_window", {"time": "t", "window_days": 30, "where": {"v": {"in": [1, True, "1"]}}})
]
EVERY_KIND: list[dict[str, Any]] = [
    {"name": "value", "path": "v", "missing": 0},
    {"name": "category", "path": "v", "transforms": [{"one_hot": ["x", "y"]}]},
    {"name": "elapsed", "path": "v", "aggregate": "days_since", "missing": 0},
    {"name": "decayed", "path": "v", "aggregate": "decayed_count", "time": "t", "half_life_days": 1e-300},
    {"name": "logs", "path": "v", "missing": 0, "transforms": ["log1p", {"scale": {"mean": 0, "sd": 5e-324}}]},
    {"name": "bins", "path": "v", "missing": 0, "transforms": [{"bins": [0, 1]}, {"one_hot": [0, 1, 2]}]},
    {"name": "square", "product": ["value", "value"]},
    {"name": "inverse", "ratio": ["value", "square"], "missing": 0},
    *(
        {"name": f"{name}{suffix}", "path": "v", "aggregate": name, "missing": 0, **more}
        for name in ("count", "sum", "mean", "min", "max", "last", "distinct", "days_since")
        for suffix, more in (_OF_ELEMENTS if name in ("count", "days_since") else _OF_VALUES)
    ),
]


@pytest.mark.parametrize("value", [*HOSTILE, DEEP], ids=lambda v: repr(v)[:30])
def test_hostile_values_become_missing(value: Any) -> None:
    """Null, NaN, infinities, huge integers, depth and wrong types neither raise nor leave a wild number."""
    x, _ = plan_of(*EVERY_KIND).evaluate_many([{"v": value}, {"v": [value]}, value], [NOW] * 3)
    assert np.abs(x).max() <= LIMIT


@given(worlds.models(1), worlds.models(2))
def test_equal_predictors_are_evaluated_once(model: Model, other: Model) -> None:
    """A plan of a model and its copy has the steps of the model alone; a plan's id tells plans apart."""
    copy = parse(model.definition | {"version": 9})
    once, twice = Plan([model]), Plan([model, copy])
    assert (len(once.steps), once.id) == (len(twice.steps), twice.id)
    assert twice.inputs(copy).tolist() == twice.inputs(model).tolist()
    both = Plan([model, other])
    assert (both.id == once.id) == (len(both.steps) == len(once.steps))


def test_nested_products_stay_small() -> None:
    """A tower of products costs a plan no more than its height (their definitions once doubled at each level)."""
    tower = [{"name": "p0", "path": "a", "missing": 1}]
    tower += [{"name": f"p{i}", "product": [f"p{i - 1}", f"p{i - 1}"]} for i in range(1, 200)]
    plan = plan_of(*tower)
    x, _ = plan.evaluate_many([{"a": -1}], [NOW])
    assert x[0].tolist() == [-1.0] + [1.0] * 199


def test_touched_paths_choose_the_steps_that_read_them() -> None:
    """Only predictors at, above or below a touched path are evaluated, however many paths are touched."""
    plan = plan_of(
        {"name": "a", "path": "a", "missing": 0},
        {"name": "ox", "path": "o.x", "missing": 0},
        {"name": "oxy", "path": "o.x.y", "missing": 0},
        {"name": "op", "path": "o.p", "missing": 0},
        {"name": "both", "product": ["a", "op"]},
    )

    def chosen(*paths: Path) -> list[int]:
        x, until = plan.empty(1)
        x[:] = 9  # what is not evaluated keeps its value
        plan.update(x, until, [{}], [NOW], [set(paths)])
        return [i for i, value in enumerate(x[0].tolist()) if value != 9]

    assert chosen() == []
    assert chosen(("a",)) == [0, 4]
    assert chosen(("o",)) == [1, 2, 3, 4]
    assert chosen(("o", "x")) == [1, 2]
    assert chosen(("o", "x", "y", "z"), ("q",)) == [1, 2]
    assert chosen(()) == chosen(*EVERYTHING) == [0, 1, 2, 3, 4]
    assert chosen(*((f"k{i}",) for i in range(100)), ("o", "p")) == [3, 4]


def test_memory_of_touched_paths_is_bounded() -> None:
    """A producer that touches ever new paths doesn't fill the worker's memory."""
    plan = plan_of({"name": "a", "path": "a", "missing": 0})
    x, until = plan.empty(1)
    for i in range(10_050):
        plan.update(x, until, [{}], [NOW], [{(f"k{i}",)}])
    assert len(plan._choices) <= 10_000


@given(worlds.documents, worlds.documents)
def test_replaced_document_equals_patched_one(document: dict[str, Any], patch: dict[str, Any]) -> None:
    """Steps chosen by a patch's touched paths bring a row to the row of the patched document."""
    plan = plan_of(
        *(d | {"path": "o.x"} if "path" in d else d for d in EVERY_KIND), {"name": "z", "path": "l", "missing": 0}
    )
    x, until = plan.evaluate_many([document], [NOW])
    touched: set[Path] = set()
    merged = merge_patch(document, patch, touched)
    plan.update(x, until, [merged], [NOW], [touched])
    full, full_until = plan.evaluate_many([merged], [NOW])
    assert (x.tobytes(), until.tobytes()) == (full.tobytes(), full_until.tobytes())


def test_missing_value_that_does_not_pass_is_refused() -> None:
    """A predictor can't be made with a missing value that its own transforms can't take."""
    for bad in (Predictor("p", EVERY, -2.0, (Log1p(),)), Predictor("p", EVERY, 1.0, (Scale(0, 1e-200),))):
        with pytest.raises(ValueError, match="a value that passes the transforms"):
            bad.compile_transforms()


EVERY = parse(worlds.one_predictor_file([EVERY_KIND[0]])).predictors[0].source
