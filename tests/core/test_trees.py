"""Trees: the walk against one in plain Python, bounds, cells, contributions against Shapley's own sum, and files that
are no forest."""

from __future__ import annotations

import itertools
import math
import time
import tracemalloc
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from core import worlds
from core.files import GOOD
from hypothesis import assume, given
from hypothesis import strategies as st

from memberstream.models import tree_paths
from memberstream.models.document import depth
from memberstream.models.explain import explain_one
from memberstream.models.forest import Forest
from memberstream.models.member import Member
from memberstream.models.model import Model
from memberstream.models.model_file import load, parse
from memberstream.models.plan import Plan
from memberstream.models.problems import ModelFileError, Problem
from memberstream.models.rescore import look_ahead, rescore_many
from memberstream.models.scorer import Scores, Trees
from memberstream.models.timestamps import DAY_MS
from memberstream.models.what_if import levers

Floats = npt.NDArray[np.float64]
NOW = worlds.BASE_MS


def file_of_trees(n_inputs: int, n_clusters: int, model: dict[str, Any]) -> dict[str, Any]:
    """Return a file of trees over the plain numbers x0, x1 …"""
    return {
        "format": 1, "name": "m", "version": 1,
        "predictors": [{"name": f"x{i}", "path": f"x{i}", "missing": 0} for i in range(n_inputs)],
        "model": {"type": "trees", "inputs": [f"x{i}" for i in range(n_inputs)], **model},
        "clusters": [{"id": i, "name": f"c{i}"} for i in range(n_clusters)],
    }  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Return a file of random trees."""
    n_inputs, n_clusters = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return file_of_trees(n_inputs, n_clusters, draw(worlds.trees(n_inputs, n_clusters)))


def scorer_of(definition: dict[str, Any]) -> Trees:
    scorer = parse(definition).scorer
    assert isinstance(scorer, Trees)
    return scorer


def places_of(definition: dict[str, Any]) -> list[float]:
    """Return numbers at which something may change: thresholds, their neighbours, what is missing, and odd ones."""
    model = definition["model"]
    asked = [one for tree in model["trees"] for one in tree["thresholds"]]
    thresholds = [float(t) for one in asked for t in (one if isinstance(one, list) else [one])]
    near = [n for t in thresholds for n in (t, math.nextafter(t, math.inf), math.nextafter(t, -math.inf))]
    return [
        *near,
        *(float(m) for m in model.get("missing", []) if m is not None),
        0.0,
        -0.0,
        5e-324,
        1e100,
        -1e100,
        1e39,
    ]


def goes_left(value: float, asked: Any, model: dict[str, Any]) -> bool:
    """Return whether a value is at most a threshold, or one of some codes."""
    if isinstance(asked, list):
        return value in asked
    with np.errstate(over="ignore"):
        return bool((float(np.float32(value)) if model.get("input_precision") == "single" else value) <= asked)


def walked(definition: dict[str, Any], row: Sequence[float]) -> list[float]:
    """Return a row's raw scores in plain Python: recursion, and sums as they stand in the file."""
    model = definition["model"]
    n = 1 if "thresholds" in model else len(definition["clusters"])
    single = np.float32 if model.get("sum_precision") == "single" else np.float64
    raw: list[Any] = [single(b) for b in model.get("base", [0] * n)]
    for tree in model["trees"]:
        asked, leaves = iter(range(len(tree["columns"]))), iter(range(len(tree["columns"])))
        found: list[Any] = []

        def visit(columns: Any, is_here: bool) -> None:
            column = next(columns)
            if column == -1:
                leaf = next(leaves)  # noqa: B023 (called within the turn)
                if is_here:
                    found.append(tree["values"][leaf])  # noqa: B023
                return
            node = next(asked)  # noqa: B023
            value = float(row[column])
            if model.get("missing", [None] * len(row))[column] == value:
                is_left = bool(tree.get("missing_left", [0] * 99)[node])  # noqa: B023
            else:
                is_left = goes_left(value, tree["thresholds"][node], model)  # noqa: B023
            visit(columns, is_here and is_left)
            visit(columns, is_here and not is_left)

        visit(iter(tree["columns"]), True)
        value = found[0]
        for k, each in enumerate(value if isinstance(value, list) else [value]):
            raw[k if isinstance(value, list) else tree.get("output", 0)] += single(each)
    return [float(r / single(model["divisor"])) if model.get("divisor", 1) != 1 else float(r) for r in raw]


# --- the walk


@given(files(), st.data())
def test_the_walk_is_that_of_plain_python(definition: dict[str, Any], data: st.DataObject) -> None:
    """Raw scores of rows on thresholds and beside them, bit for bit; one alone and many together; and their cluster."""
    scorer, n = scorer_of(definition), len(definition["predictors"])
    numbers = st.sampled_from(places_of(definition))
    rows = data.draw(st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=1, max_size=8))
    scores = scorer.score_many(np.array(rows))
    expected = [walked(definition, row) for row in rows]
    assert scores.raw is not None
    assert scores.raw.reshape(len(rows), -1).tolist() == expected
    alone = [scorer.score_many(np.array([row])) for row in rows]
    assert [one.raw.tobytes() for one in alone] == [raw.tobytes() for raw in scores.raw]  # type: ignore[union-attr]
    model = definition["model"]
    for raw, index in zip(expected, scores.index.tolist(), strict=True):
        if "thresholds" in model:
            rule = model["threshold_rule"]
            assert index == sum(raw[0] >= t if rule == ">=" else raw[0] > t for t in model["thresholds"])
        else:
            order = model.get("ties", range(len(raw)))
            assert index == max(order, key=lambda i: (raw[i], -list(order).index(i)))


def test_many_rows_are_walked_in_parts() -> None:
    """Rows beyond what is taken at once, and no rows at all."""
    scorer = scorer_of(file_of_trees(1, 2, {"scale": "logit", "thresholds": [0], "trees": [STUMP] * 100}))
    x = np.linspace(-1, 1, 2_001)[:, None]
    raw = scorer.score_many(x).raw
    assert raw is not None
    assert raw.tolist() == [100.0 if v > 0 else -100.0 for v in x[:, 0].tolist()]
    assert scorer.score_many(x[:0]).index.tolist() == []


STUMP: dict[str, Any] = {"columns": [0, -1, -1], "thresholds": [0], "values": [-1, 1]}


def test_leaves_of_many_numbers_take_little_memory() -> None:
    """1,000 raw scores of 600 trees for 40 rows are 190 MB at once; some rows at a time are a few of them."""
    tree = {"columns": [-1], "thresholds": [], "values": [[1.0] * 1_000]}
    scorer = scorer_of(file_of_trees(1, 1_000, {"scale": "value", "trees": [tree] * 600}))
    tracemalloc.start()
    raw = scorer.score_many(np.zeros((40, 1))).raw
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert raw is not None
    assert (raw == 600).all()
    assert most < 40e6


def test_what_is_missing_has_the_bits_of_this_machine() -> None:
    """A logarithm with another last bit where the file was written; a number of its own stays as it is."""
    here = math.log1p(1e90)
    for written in (here, math.nextafter(here, 0), math.nextafter(here, 999)):
        stump = STUMP | {"thresholds": [5], "missing_left": [1]}
        model = {"scale": "value", "thresholds": [0], "missing": [written, 9], "trees": [stump]}
        definition = file_of_trees(2, 2, model | {"trees": [stump, stump | {"columns": [1, -1, -1]}]})
        definition["predictors"][0] |= {"missing": 1e90, "transforms": ["log1p"]}
        model_of = parse(definition)
        told = explain_one(model_of, {"x1": 9}, NOW)
        assert (told.raw, explain_one(model_of, {"x0": 1e9, "x1": 8}, NOW).raw) == (-2, 2)


def test_sums_are_in_the_trainers_order_and_precision() -> None:
    """0.1 ten times isn't 1; in single precision it is something else again, and base comes first."""
    trees = [{"columns": [-1], "thresholds": [], "values": [0.1]}] * 10
    for precision, single in (("double", np.float64), ("single", np.float32)):
        model = {"scale": "value", "thresholds": [0], "trees": trees, "base": [1e7], "sum_precision": precision}
        raw = scorer_of(file_of_trees(1, 2, model)).score_many(np.zeros((1, 1))).raw
        expected = single(1e7)
        for _ in range(10):
            expected += single(0.1)
        assert raw is not None
        assert raw.tolist() == [float(expected)]


def test_a_raw_score_without_trees_is_its_base() -> None:
    """Of two, of which only the second has a tree."""
    model = {"scale": "value", "base": [0.1, 0.2], "trees": [STUMP | {"output": 1}]}
    raw = scorer_of(file_of_trees(1, 2, model)).score_many(np.array([[1.0], [-1.0]])).raw
    assert raw is not None
    assert raw.tolist() == [[0.1, 1.2], [0.1, -0.8]]


def test_probabilities_by_scale() -> None:
    """logit: expit of one, softmax of several; probability: as it is; value: none."""

    def scored(n_clusters: int, **model: Any) -> Scores:
        return scorer_of(file_of_trees(1, n_clusters, model)).score_many(np.array([[1.0]]))

    bands = {"trees": [STUMP], "thresholds": [0]}
    assert scored(2, scale="logit", **bands).probability == pytest.approx([1 / (1 + math.exp(-1))], rel=1e-15)
    rows = [STUMP | {"values": [[1, 0], [0.25, 0.75]]}]
    assert scored(2, scale="probability", trees=rows).probability.tolist() == [[0.25, 0.75]]  # type: ignore[union-attr]
    p = scored(2, scale="logit", trees=rows).probability
    assert p is not None
    assert p[0, 1] == pytest.approx(1 / (1 + math.exp(-0.5)), rel=1e-15)
    assert scored(2, scale="value", **bands).probability is None


# --- bounds and cells


@given(files(), st.data())
def test_bounds_enclose_and_cells_agree(definition: dict[str, Any], data: st.DataObject) -> None:
    """Bounds of a box hold for rows in it, and of one row they are its raw scores. Rows that are alike score alike."""
    forest, n = scorer_of(definition).forest, len(definition["predictors"])
    rows = st.lists(st.sampled_from(places_of(definition)), min_size=n, max_size=n)
    some = np.array(data.draw(st.lists(rows, min_size=2, max_size=6)))
    raw = forest.raw_many(some)
    low, high = forest.bounds(some.min(axis=0), some.max(axis=0))
    assert (low <= raw).all()
    assert (raw <= high).all()
    low, high = forest.bounds(some[0], some[0])
    assert (low == raw[0]).all()
    assert (high == raw[0]).all()
    other = np.roll(some, 1, axis=0)
    alike = forest.are_alike(some, other)
    assert (raw == np.roll(raw, 1, axis=0))[alike].all()
    assert forest.are_alike(some, some.copy()).all()


def test_trees_are_not_asked_between_their_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count of days that crosses a threshold each tenth day: the forest is asked at these moments only, after events
    and when looking ahead, and the outcome is that of asking always."""
    days = {"name": "d", "path": "t", "aggregate": "days_since", "missing": 0}
    steps = [STUMP | {"thresholds": [10 * i - 1]} for i in range(1, 7)]
    definition = file_of_trees(1, 2, {"scale": "value", "thresholds": [0], "trees": steps})
    plan = Plan([parse(definition | {"predictors": [days | {"name": "x0"}]})])
    asked = [0]
    raw_many = Forest.raw_many

    def counting(self: Forest, x: Floats) -> Floats:
        asked[0] += len(x)
        return raw_many(self, x)

    monkeypatch.setattr(Forest, "raw_many", counting)
    member = Member(document={"t": NOW})
    rescore_many(plan, [member], [NOW])
    assert asked == [1]
    for day in range(1, 60):
        rescore_many(plan, [member], [NOW + day * DAY_MS])
        fresh = Member(document={"t": NOW})
        with monkeypatch.context() as quiet:
            quiet.setattr(Forest, "raw_many", raw_many)
            rescore_many(plan, [fresh], [NOW + day * DAY_MS])
        assert {k: c for k, (c, _) in member.memberships.items()} == {k: c for k, (c, _) in fresh.memberships.items()}
    assert asked == [1 + 5]
    again = Member(document={"t": NOW})
    rescore_many(plan, [again], [NOW])
    asked[0] = 0
    look_ahead(plan, [again], [25])
    assert again.valid_until_ms == NOW + 26 * DAY_MS
    assert asked == [2]  # on the tenth day and the twentieth


def test_the_thresholds_of_each_input() -> None:
    """Ascending, at both places of an input that may be missing; none of one that no node asks."""
    definition = file_of_trees(3, 2, {"scale": "value", "thresholds": [0], "missing": [None, 9, None], "trees": []})
    for column, threshold in ((1, 5), (2, 3), (1, -2), (2, 3)):
        definition["model"]["trees"].append(STUMP | {"columns": [column, -1, -1], "thresholds": [threshold]})
    definition["model"]["trees"].append(STUMP | {"columns": [1, -1, -1], "thresholds": [7], "missing_left": [1]})
    forest = scorer_of(definition).forest
    assert [cuts.tolist() for cuts in forest.cuts] == [[], [-2, 5], [3, 3], [7]]


# --- contributions


def test_what_two_bands_and_several_classes_are_explained_by() -> None:
    """By hand: a stump that 10 of 40 training rows passed. Alone, against a rival, and with one cluster only."""
    stump = STUMP | {"values": [2, 6], "covers": [30, 10]}
    bands = parse(file_of_trees(1, 2, {"scale": "logit", "thresholds": [4], "base": [1], "trees": [stump]}))
    told = explain_one(bands, {"x0": 1}, NOW)
    assert (told.raw, told.baseline, told.contributions) == (7, 1 + (30 * 2 + 10 * 6) / 40, {"x0": 3})
    assert (told.cluster.id, told.next_cluster and told.next_cluster.id, told.distance_to_next) == (1, 0, 3)
    rows = stump | {"values": [[2, 0, 1], [0, 4, 0]]}
    several = parse(file_of_trees(1, 3, {"scale": "value", "trees": [rows]}))
    told = explain_one(several, {"x0": 1}, NOW)
    assert (told.raw, told.probability, told.cluster.id) == ([0, 4, 0], None, 1)
    assert (told.next_cluster and told.next_cluster.id, told.distance_to_next) == (0, 4)
    assert told.baseline == pytest.approx(10 * 4 / 40 - 30 * 2 / 40)
    assert told.contributions["x0"] == pytest.approx(4 - (10 * 4 / 40 - 30 * 2 / 40))
    against = explain_one(several, {"x0": 1}, NOW, against=2)
    assert against.baseline == pytest.approx(10 * 4 / 40 - 30 / 40)
    one = parse(file_of_trees(1, 1, {"scale": "logit", "thresholds": [], "trees": [stump]}))
    assert explain_one(one, {"x0": 1}, NOW).contributions == {"x0": 3}
    alone = parse(file_of_trees(1, 1, {"scale": "logit", "trees": [stump]}))
    assert explain_one(alone, {"x0": 1}, NOW).contributions == {"x0": 0}


def test_a_tree_of_one_leaf_contributes_nothing() -> None:
    """And its mean is its value."""
    leaf = {"columns": [-1], "thresholds": [], "values": [3]}
    forest = scorer_of(file_of_trees(2, 2, {"scale": "value", "thresholds": [0], "trees": [leaf] * 2})).forest
    found, baseline = tree_paths.contributions(forest, np.zeros(2))
    assert (found.tolist(), baseline.tolist()) == ([[0.0], [0.0]], [6.0])


@pytest.mark.parametrize("rule", [">", ">="])
def test_the_nearest_change_of_trees(rule: str) -> None:
    """Just behind the threshold of a node, in both directions, also where a raw score equals a threshold."""
    steps = [STUMP | {"values": [0, 1]}, STUMP | {"thresholds": [2], "values": [0, 1]}]
    cut = [1, 2] if rule == ">=" else [0, 1]
    model = {"scale": "value", "thresholds": cut, "threshold_rule": rule, "trees": steps}
    middle = parse(file_of_trees(1, 3, model))
    [lever] = levers(middle, {"x0": 1.0}, NOW)
    numbers = {change.cluster.id: change.value for change in lever.changes if isinstance(change.value, float)}
    assert numbers == {0: 0.0, 2: math.nextafter(2.0, 3)}
    assert lever.is_settled
    for ties, start in (([0, 1], 1.0), ([1, 0], -1.0)):
        rows = [STUMP | {"values": [[0, 0], [0, 1]]}] if ties == [0, 1] else [STUMP | {"values": [[1, 0], [0, 0]]}]
        classes = parse(file_of_trees(1, 2, {"scale": "value", "ties": ties, "trees": rows}))
        [lever] = levers(classes, {"x0": start}, NOW)
        values = [change.value for change in lever.changes if change.value is not None]
        assert values == [0.0 if start > 0 else 5e-324]


def test_bounds_of_what_may_be_missing() -> None:
    """Between a number and the one that means missing both ways are open; bounds of one number are its score."""
    tree = STUMP | {"missing_left": [1]}
    model = {"scale": "value", "thresholds": [0], "missing": [9], "trees": [tree, STUMP | {"values": [0, 10]}]}
    forest = scorer_of(file_of_trees(1, 2, model)).forest
    assert [b.tolist() for b in forest.bounds(np.array([1.0]), np.array([9.0]))] == [[9.0], [11.0]]
    assert [b.tolist() for b in forest.bounds(np.array([9.0]), np.array([9.0]))] == [[9.0], [9.0]]
    assert [b.tolist() for b in forest.bounds(np.array([-1.0]), np.array([2.0]))] == [[-1.0], [11.0]]


def test_rows_between_the_same_thresholds_are_alike() -> None:
    """On either side of a threshold they aren't, nor is what is missing like what is large."""
    model = {"scale": "value", "thresholds": [0], "missing": [9], "trees": [STUMP | {"missing_left": [1]}]}
    forest = scorer_of(file_of_trees(1, 2, model | {"input_precision": "single"})).forest
    before, after = (np.array(v)[:, None] for v in ([1.0, 1.0, 1.0, 8.0], [1.0, 2.0, -1.0, 9.0]))
    assert forest.are_alike(before, after).tolist() == [True, True, False, False]
    of_two = {"scale": "value", "thresholds": [0], "trees": [STUMP, STUMP | {"columns": [1, -1, -1]}]}
    forest = scorer_of(file_of_trees(2, 2, of_two)).forest
    assert forest.are_alike(np.array([[1.0, 1.0]]), np.array([[-1.0, -1.0]])).tolist() == [False]  # the first says so
    assert forest.are_alike(np.array([[1.0, 1.0]]), np.array([[1.0, 2.0]])).tolist() == [True]


def shapley(definition: dict[str, Any], x: Sequence[float], output: int) -> list[float]:
    """Return Shapley values by their definition, over all orders of the inputs."""
    model, n = definition["model"], len(x)

    def expected(known: frozenset[int]) -> float:
        total = model.get("base", [0] * 9)[output]
        for tree in model["trees"]:
            columns, at = tree["columns"], iter(range(len(tree["columns"])))
            covers = tree.get("covers") or [1] * len(tree["values"])

            def visit(columns: Sequence[int], at: Any, leaf: list[int], node: list[int]) -> tuple[float, float, float]:
                """Return (value, value without knowing anything, cover) of the subtree that comes next."""
                column = columns[next(at)]
                if column == -1:
                    i = leaf[0]
                    leaf[0] += 1
                    v = tree["values"][i]  # noqa: B023
                    k = tree.get("output", 0)  # noqa: B023
                    v = v[output] if isinstance(v, list) else v if k == output else 0
                    return v, v, covers[i]  # noqa: B023
                i = node[0]
                node[0] += 1
                left, right = visit(columns, at, leaf, node), visit(columns, at, leaf, node)
                cover = left[2] + right[2]
                share = left[2] / cover if cover else 0.5
                if column not in known:
                    return share * left[0] + (1 - share) * right[0], 0, cover
                is_missing = model.get("missing", [None] * n)[column] == x[column]
                is_left = goes_left(x[column], tree["thresholds"][i], model)  # noqa: B023
                if is_missing:
                    is_left = bool(tree.get("missing_left", [0] * 99)[i])  # noqa: B023
                return float((left if is_left else right)[0]), 0, cover

            total += visit(columns, at, [0], [0])[0]
        return float(total / model.get("divisor", 1))

    found = [0.0] * n
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        known: frozenset[int] = frozenset()
        for i in order:
            found[i] += (expected(known | {i}) - expected(known)) / len(orders)
            known |= {i}
    return found


@given(files(), st.data())
def test_contributions_are_shapley_values(definition: dict[str, Any], data: st.DataObject) -> None:
    """Against the sum over all orders of the inputs; with the baseline they add up to the raw score."""
    model = definition["model"]
    assume(model.get("input_precision") != "single" and model.get("sum_precision") != "single")
    forest, n = scorer_of(definition).forest, len(definition["predictors"])
    x = [float(v) for v in data.draw(st.lists(st.sampled_from(places_of(definition)), min_size=n, max_size=n))]
    found, baseline = tree_paths.contributions(forest, np.array(x))
    raw = forest.raw_many(np.array([x]))[0]
    scale = 1 + np.abs(forest.value).max() * len(forest.roots)
    np.testing.assert_allclose(found.sum(axis=0) + baseline, raw, rtol=0, atol=1e-13 * scale)
    for k in range(forest.n_outputs):
        np.testing.assert_allclose(found[:, k], shapley(definition, x, k), rtol=0, atol=1e-12 * scale)


def test_contributions_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of many leaves are taken some at a time, with the same outcome."""
    rng = np.random.default_rng(0)
    trees = [
        {"columns": [0, 1, -1, -1, 2, -1, -1], "thresholds": rng.normal(size=3).tolist()}
        | {"values": rng.normal(size=4).tolist()}
        for _ in range(30)
    ]
    forest = scorer_of(file_of_trees(3, 2, {"scale": "logit", "thresholds": [0], "trees": trees})).forest
    whole = tree_paths.contributions(forest, np.zeros(3))
    monkeypatch.setattr(tree_paths, "_AT_ONCE", 7)
    parts = tree_paths.contributions(forest, np.zeros(3))
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


# --- files that are no forest

_CORRUPT: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 1, 7, 0.5, 1e101, math.nan, math.inf, 2**70, "x", [], {}, [1], [[1]], [-1], [0, -1, -1]]
)


@given(files(), st.data())
def test_a_corrupted_file_is_refused_or_scores(definition: dict[str, Any], data: st.DataObject) -> None:
    """Whatever is put into a tree, or left out, cut or doubled: problems with paths, or a model that scores rows."""
    file = deepcopy(definition)
    model = file["model"]
    tree = data.draw(st.sampled_from(model["trees"]))
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = data.draw(st.sampled_from([model, tree, tree]))
        key = data.draw(st.sampled_from(sorted(set(place) - {"type", "inputs"})))
        value = place[key]
        kind = data.draw(st.sampled_from(["replace", "element", "cut", "double", "drop"]))
        if kind == "element" and isinstance(value, list) and value:
            value[data.draw(st.integers(0, len(value) - 1))] = data.draw(_CORRUPT)
        elif kind == "cut" and isinstance(value, list):
            place[key] = value[:-1]
        elif kind == "double" and isinstance(value, list):
            place[key] = value + value
        elif kind == "drop":
            del place[key]
        else:
            place[key] = data.draw(_CORRUPT)
        if not set(place) - {"type", "inputs"} or not isinstance(model.get("trees"), list):
            break
    problems: list[Problem] = []
    try:
        scorer = parse(file).scorer
    except ModelFileError as error:
        problems = error.problems
    assert all(problem.path.startswith("model") for problem in problems)
    if not problems:
        scores = scorer.score_many(np.zeros((2, len(file["predictors"]))))
        assert set(scores.index.tolist()) <= set(range(len(file["clusters"])))


def chain(depth: int) -> list[int]:
    return [0] * depth + [-1] * (depth + 1)


def full(depth: int) -> list[int]:
    return [0, *full(depth - 1), *full(depth - 1)] if depth else [-1]


_BOMBS: dict[str, dict[str, Any]] = {
    "deep": {"columns": chain(300_000), "thresholds": [0] * 300_000, "values": [0] * 300_001},
    "open": {"columns": [0] * 499_999, "thresholds": [], "values": [1]},
    "long": {"columns": [-1] * 499_999, "thresholds": [], "values": [1]},
    "wide": {"columns": [-1], "thresholds": [0.0] * 1_000_000, "values": [[0] * 500_000]},
    "columns": {"columns": [5] * 400_000, "thresholds": [], "values": [1]},
    "codes": {"columns": full(12), "thresholds": [[i] for i in range(4_095)], "values": [0] * 4_096},
    "all codes": {"columns": [0, -1, -1], "thresholds": [[0] * 3_000_000], "values": [0, 0]},
    "no numbers": {"columns": [0, -1, -1], "thresholds": ["x"] * 400_000, "values": [[]] * 400_000},
}


@pytest.mark.no_cover  # processor time is what is measured here
@pytest.mark.parametrize("kind", _BOMBS)
def test_a_bomb_is_refused_in_under_a_second(kind: str) -> None:
    """Deep, without an end, with too much behind its end, wide, out of range: as `model check` reads it. Where that is
    slow, because the machine is or because lines are counted, in a few times what it takes to look at each value."""
    data = orjson.dumps(file_of_trees(1, 2, {"scale": "logit", "thresholds": [0.5], "trees": [_BOMBS[kind]]}))
    began = time.process_time()
    with pytest.raises(ModelFileError):
        load(data)
    took_s, began = time.process_time() - began, time.process_time()
    if took_s > 1:
        depth(orjson.loads(data))
        assert took_s < 15 * (time.process_time() - began)


def test_many_small_trees_are_bounded() -> None:
    """10,001 trees, or trees whose nodes times raw scores are too many."""
    leaf = {"columns": [-1], "thresholds": [], "values": [1]}
    rows = {"columns": [0, -1, -1], "thresholds": [0], "values": [[0.0] * 900] * 2}
    for n_clusters, model in (
        (2, {"scale": "logit", "thresholds": [0.5], "trees": [leaf] * 10_001}),
        (900, {"scale": "logit", "trees": [rows] * 800}),
    ):
        with pytest.raises(ModelFileError) as raised:
            parse(file_of_trees(1, n_clusters, model))
        assert len(raised.value.problems) == 1
        assert "at most" in str(raised.value)


@pytest.mark.parametrize(
    "model", [{"scale": "logit", "trees": [STUMP]}, {"type": "logistic", "coef": [1], "intercept": 0}]
)
def test_one_cluster_has_no_threshold(model: dict[str, Any]) -> None:
    """One would cut the only cluster in two, of which the second has no name."""
    with pytest.raises(ModelFileError, match=r"model.thresholds: expected one .* between each two clusters, 0 in all"):
        parse(file_of_trees(1, 1, model | {"thresholds": [0.5]}))
    scorer = parse(file_of_trees(1, 1, model | {"thresholds": []})).scorer
    assert scorer.score_many(np.ones((1, 1))).index.tolist() == [0]


def test_a_tree_has_the_shape_that_its_nodes_say() -> None:
    """Of the corpus: what asks, where it sends, and how deep each node lies."""
    model: Model = parse(GOOD["trees in bands"])
    assert isinstance(model.scorer, Trees)
    forest = model.scorer.forest
    assert forest.column.tolist() == [0, -1, 1, -1, -1]
    assert forest.child.tolist() == [1, 2, 1, 1, 3, 4, 3, 3, 4, 4]
    assert forest.depth.tolist() == [0, 1, 1, 2, 2]
    assert forest.parent.tolist() == [0, 0, 0, 2, 2]
    assert forest.size == 5
