"""What would move a member: each change that is told is scored by the engine itself, and a smaller one does nothing."""

from __future__ import annotations

import math
import random
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from core import worlds
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models import nearest
from memberstream.models.enclosure import columns, combined
from memberstream.models.explain import explain_one
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.origins import Origin, origins
from memberstream.models.plan import Plan
from memberstream.models.predictor import Combination, Predictor
from memberstream.models.raw_words import words
from memberstream.models.scorer import Scores
from memberstream.models.source import ListAggregate, Value
from memberstream.models.timestamps import DAY_MS, format_ms
from memberstream.models.transform import Clip, Log, Log1p, Scale, Sqrt
from memberstream.models.what_if import Change, Lever, levers

NOW = worlds.BASE_MS


def model_of(predictors: list[dict[str, Any]], scorer: dict[str, Any], n_clusters: int = 2) -> Model:
    """Return a model of these parts; clusters are called c0, c1 …"""
    clusters = [{"id": i, "name": f"c{i}"} for i in range(n_clusters)]
    file = {"format": 1, "name": "m", "version": 1, "predictors": predictors, "model": scorer, "clusters": clusters}
    return parse(file)


def logistic(*coef: float, intercept: float = 0, thresholds: tuple[float, ...] = (0.5,)) -> dict[str, Any]:
    return {"type": "logistic", "coef": list(coef), "intercept": intercept, "thresholds": list(thresholds)}


def value(name: str, *transforms: Any, missing: Any = 0) -> dict[str, Any]:
    return {"name": name, "path": name, "missing": missing, "transforms": list(transforms)}


def told(lever: Lever) -> list[tuple[Any, str]]:
    """Return (what it changes to, the cluster that this gives) of each change."""
    return [(change.shown, change.cluster.name) for change in lever.changes]


# --- the law, by documents


def with_value(model: Model, document: dict[str, Any], origin: Origin, raw: Any) -> dict[str, Any] | None:
    """Return a copy of a document in which this one origin has another raw value; None if that isn't written easily."""
    source, copy = origin.source, deepcopy(document)
    is_shared = sum(other.source.path[0] == source.path[0] for other in origins(model.predictors)) > 1
    if not isinstance(source, Value) or len(source.path) != 1 or is_shared:
        return None
    copy[source.path[0]] = raw
    return copy


def decided_by_rounding(model: Model, document: dict[str, Any]) -> bool:
    """Return whether the two best clusters of a document differ in the last digits of their scores only."""
    plan = Plan([model])
    scores: Scores = model.scorer.score_many(plan.evaluate_many([document], [NOW])[0].take(plan.inputs(model), axis=1))
    if scores.distances is not None:
        first, second = sorted(scores.distances[0].tolist())[:2]
        return bool(second - first <= 1e-9 * second)
    if scores.eta is None:
        return False  # bounds of trees have the engine's own bits
    if model.scorer.type == "logistic":
        assert scores.probability is not None
        p = float(scores.probability[0])
        return any(abs(p - t) <= 1e-9 * min(t, 1 - t) for t in model.scorer.thresholds)  # type: ignore[union-attr]
    second, first = np.sort(scores.eta[0])[-2:]
    return bool(first - second <= 1e-9 * np.abs(scores.eta[0]).max())


@given(worlds.models(), worlds.documents, st.integers(0, 2**32))
def test_told_changes_change_and_smaller_ones_do_not(model: Model, document: dict[str, Any], seed: int) -> None:
    """For every type of model: a change gives the told cluster when the changed document is scored, exactly and as
    rounded; and no value between the member's own and that one does, up to the very number before it."""
    dice = random.Random(seed)
    here = explain_one(model, document, NOW).cluster
    for origin, lever in zip(origins(model.predictors), levers(model, document, NOW), strict=True):
        for change in lever.changes:
            for raw in (change.value, change.shown):
                if changed := with_value(model, document, origin, raw):
                    assert explain_one(model, changed, NOW).cluster == change.cluster
                    assert change.cluster != here
            if not isinstance(change.value, float) or not isinstance(lever.value, float) or not change.is_smallest:
                continue
            start, stop = lever.value, math.nextafter(change.value, lever.value)
            assert change.value != start
            for raw in [stop, *(dice.uniform(start, stop) for _ in range(10))]:
                if changed := with_value(model, document, origin, raw):
                    is_same = explain_one(model, changed, NOW).cluster == here
                    assert is_same or (raw != stop and decided_by_rounding(model, changed))
        if lever.is_settled and isinstance(lever.value, float) and lever.value < 100:
            upwards = any(isinstance(c.value, float) and c.value > lever.value for c in lever.changes)
            for raw in [] if upwards else [dice.uniform(lever.value, 100), dice.uniform(lever.value, 1e6)]:
                if changed := with_value(model, document, origin, raw):
                    is_same = explain_one(model, changed, NOW).cluster == here
                    assert is_same or decided_by_rounding(model, changed)


# --- each type of model, by hand

TYPES: dict[str, tuple[dict[str, Any], float]] = {
    # the cluster changes where 2v - 3 = 0
    "logistic": (logistic(2, intercept=-3), 1.5),
    # where v = 3 - v
    "multinomial": ({"type": "multinomial", "coef": [[-1], [1]], "intercept": [3, 0]}, 1.5),
    # in the middle of the centroids
    "kmeans": ({"type": "kmeans", "centroids": [[1], [2]]}, 1.5),
    # of equal variances: in the middle of the means
    **{
        f"mixture {kind}": (
            {"type": "gaussian_mixture", "weights": [0.5, 0.5], "means": [[1], [2]]}
            | {"covariance_type": kind, "precisions_cholesky": factors},
            1.5,
        )
        for kind, factors in {
            "full": [[[2]], [[2]]],
            "tied": [[2]],
            "diag": [[2], [2]],
            "spherical": [2, 2],
        }.items()
    },
}


@pytest.mark.parametrize("kind", TYPES)
def test_the_border_of_each_type(kind: str) -> None:
    """The smallest change ends where the decision rule says that the border is."""
    scorer, border = TYPES[kind]
    model = model_of([value("v")], scorer)
    for start, cluster in ((0.25, "c1"), (4.0, "c0")):
        [lever] = levers(model, {"v": start}, NOW)
        change = lever.changes[0]
        assert change.cluster.name == cluster
        assert change.value == pytest.approx(border, rel=1e-12)
        assert change.is_smallest


def test_a_mixture_that_is_left_and_entered_again() -> None:
    """A narrow component inside of a wide one: the first border counts, in both directions."""
    scorer = {"type": "gaussian_mixture", "weights": [0.5, 0.5], "means": [[0, 0], [0, 0]]}
    for kind, factors in (
        ("diag", [[10, 1], [1, 1]]),
        ("full", [[[10, 0], [0, 1]], [[1, 0.5], [0, 1]]]),
    ):
        model = model_of([value("v"), value("w")], scorer | {"covariance_type": kind, "precisions_cholesky": factors})
        [narrow, _] = levers(model, {"v": 0.1}, NOW)
        assert [change.cluster.name for change in narrow.changes] == ["c1", "c1"]
        up, down = sorted((c.value for c in narrow.changes), key=lambda v: v or 0.0)[::-1]
        assert up == pytest.approx(0.2157, abs=0.01)
        assert down == pytest.approx(-0.2157, abs=0.01)
        [wide, _] = levers(model, {"v": -3}, NOW)
        assert wide.changes[0].value == pytest.approx(down)


def test_bands_have_borders_on_both_sides() -> None:
    """A member in the middle band is told what leads up, and what leads down; the nearer one stands first."""
    model = model_of([value("v")], logistic(1, thresholds=(0.3, 0.6)), 3)
    [lever] = levers(model, {"v": 0.0}, NOW)
    assert told(lever) == [(0.41, "c2"), (-0.85, "c0")]
    assert [c.value for c in lever.changes] == [pytest.approx(math.log(1.5)), pytest.approx(math.log(0.3 / 0.7))]


# --- what predictors do with a raw value


def test_one_origin_moves_all_that_reads_it() -> None:
    """A number, its logarithm, its bands, its square and its share move together: no predictor can change alone."""
    predictors = [
        value("v"),
        value("log", "log1p") | {"path": "v"},
        value("band", {"bins": [5]}, {"one_hot": [0, 1]}) | {"path": "v"},
        {"name": "square", "product": ["v", "v"]},
        {"name": "share", "ratio": ["v", "w"], "missing": 0},
        value("w"),
    ]
    predictors.insert(4, predictors.pop())
    model = model_of(predictors, logistic(0, 0, 0, 0, 1, 0, 0, intercept=-9))
    v, w = levers(model, {"v": 1, "w": 2}, NOW)
    assert (v.predictors, w.predictors) == (("v", "log", "band"), ("w",))
    assert told(v) == [(3.1, "c1")]  # the square alone counts; below 0 there would be no logarithm
    assert told(w) == []
    [part, other, both] = explain_one(model, {"v": 4, "w": 2}, NOW).parts
    assert part.predictors == ("v", "log", "band", "square")
    assert (part.value, part.words, part.contribution) == (4.0, "4", 16.0)
    assert part.columns == ("v", "log", "band=0", "band=1", "square")
    assert (other.predictors, both.predictors, both.of) == (("w",), ("share",), ("v, log, band", "w"))
    assert both.words == "2 (v / w)"


def test_transforms_limit_what_a_change_can_do() -> None:
    """Clips, bins and logarithms are gone through: beyond a clip nothing helps, a bin begins at its edge."""
    model = model_of([value("v", {"clip": {"min": 0, "max": 3}}), value("w")], logistic(1, 1, intercept=-4))
    v, w = levers(model, {"v": 1}, NOW)
    assert told(v) == []
    assert v.is_settled
    assert told(w) == [(3.1, "c1")]
    model = model_of([value("v", {"bins": [2, 7.5]})], logistic(1, intercept=-1.5))
    [lever] = levers(model, {"v": 0}, NOW)
    assert (lever.changes[0].value, lever.changes[0].cluster.name) == (7.5, "c1")
    model = model_of([value("v", "log1p", missing=9)], logistic(1, intercept=-2))
    [lever] = levers(model, {"v": 0}, NOW)
    assert told(lever) == [(6.4, "c1"), (None, "c1")]
    [lever] = levers(model, {"v": -0.5}, NOW)  # of -1 and less there is no logarithm: it counts as 9
    assert (lever.changes[0].value, lever.changes[0].cluster.name) == (-1.0, "c1")


def test_categories() -> None:
    """A category becomes another one of the model's, one that it doesn't know, or missing."""
    country = {"name": "c", "path": "c", "missing": None, "transforms": [{"one_hot": ["de", "fr", "another"]}]}
    model = model_of([country], logistic(1, -1, 2, intercept=-0.5))
    [lever] = levers(model, {"c": "fr"}, NOW)
    assert (lever.value, lever.words, told(lever)) == ("fr", "fr", [("de", "c1"), ("another", "c1")])
    [lever] = levers(model, {"c": "de"}, NOW)
    assert told(lever) == [("fr", "c0"), ("another one", "c0"), (None, "c0")]
    assert lever.changes[-1].words == "none, counts as no category"
    assert levers(model, {"c": "x" * 1_000}, NOW)[0].words == "x" * 60 + "…"
    [lever] = levers(model, {"c": 5}, NOW)
    assert (lever.value, lever.words, told(lever)[0]) == (None, "a number, counts as no category", ("de", "c1"))
    plan = {"name": "p", "path": "p", "missing": 1, "transforms": [{"one_hot": [1, 2]}]}
    [lever] = levers(model_of([plan], logistic(1, -1, intercept=0.5)), {"p": 1}, NOW)
    assert told(lever) == [(2.0, "c0")]  # 1.0000000000000002 is no plan that somebody could have
    [lever] = levers(model_of([plan], logistic(1, 0, intercept=-0.5)), {"p": 1}, NOW)
    assert told(lever) == [(2.0, "c0"), (3.0, "c0")]
    both = [plan, value("q", {"one_hot": ["x"]}, missing=None) | {"path": "p"}]
    [lever] = levers(model_of(both, logistic(0, 0, 1, intercept=-0.5)), {"p": 1}, NOW)
    assert told(lever) == [("x", "c1")]


def test_a_number_behind_transforms_that_is_a_category() -> None:
    """A clipped number that a one-hot looks at is found, although it is one number among all."""
    model = model_of([value("v", {"clip": {"min": 0}}, {"one_hot": [3]})], logistic(1, intercept=-0.5))
    [lever] = levers(model, {"v": 1}, NOW)
    assert told(lever) == [(3.0, "c1")]
    model = model_of([value("v", {"clip": {"min": 0}}, {"one_hot": [1 / 3]})], logistic(1, intercept=-0.5))
    [lever] = levers(model, {"v": 1}, NOW)
    assert told(lever) == [(1 / 3, "c1")]  # rounded, it would be another number


def test_true_and_false() -> None:
    """What is true can become false, and nothing else."""
    [lever] = levers(model_of([value("v")], logistic(1, intercept=-0.5)), {"v": False}, NOW)
    assert (lever.value, lever.words, told(lever)) == (False, "false", [(True, "c1")])
    assert lever.changes[0].words == "true"
    [lever] = levers(model_of([value("v", {"one_hot": [0, 1]})], logistic(1, -1)), {"v": True}, NOW)
    assert told(lever) == [(False, "c1"), (None, "c1")]


def test_missing_values() -> None:
    """A missing value counts as its rule says. From there the search begins, and that value itself is no change."""
    model = model_of([value("v", missing=3)], logistic(1, intercept=-2))
    [lever] = levers(model, {}, NOW)
    assert (lever.value, lever.words, told(lever)) == (None, "none, counts as 3", [(2.0, "c0")])
    [lever] = levers(model, {"v": 1}, NOW)
    assert told(lever) == [(2.1, "c1"), (None, "c1")]
    rules = [value("a", missing=0) | {"path": "v"}, value("b", missing=9) | {"path": "v"}]
    [lever] = levers(model_of(rules, logistic(0, 1, intercept=-5)), {}, NOW)
    assert told(lever)[0] == (0.0, "c0")  # present, it is 0 for both
    assert lever.changes[0].value == 0.0


def test_counts_and_times_stay_possible() -> None:
    """Counts are whole, days are whole steps, a window ends them, and nothing is below 0."""
    shop = {"path": "l", "time": "t"}
    recent = {"name": "recent", "aggregate": "days_since", "missing": 99, "window_days": 30} | shop
    orders = {"name": "orders", "aggregate": "count"} | shop
    joined = {"name": "joined", "path": "joined", "aggregate": "days_since", "missing": 0, "resolution": "hours"}
    decayed = {"name": "decayed", "aggregate": "decayed_count", "half_life_days": 7} | shop
    document = {"l": [{"t": format_ms(NOW - 9 * DAY_MS)}], "joined": NOW - DAY_MS // 2}
    of: dict[str, Lever] = {}
    for name, coef, intercept in (("recent", -1, 9.5), ("orders", 1, -2.5), ("joined", 1, -0.6), ("decayed", 1, -2)):
        weights = [coef if name == predictor else 0 for predictor in ("recent", "orders", "joined", "decayed")]
        model = model_of([recent, orders, joined, decayed], logistic(*weights, intercept=intercept))
        of.update({lever.predictors[0]: lever for lever in levers(model, document, NOW) if lever.predictors == (name,)})
    assert (of["recent"].words, told(of["recent"])) == ("9 days ago", [(10.0, "c0"), (None, "c0")])
    assert [c.words for c in of["recent"].changes] == ["10 days ago", "never, counts as 99 days ago"]
    assert (of["orders"].words, told(of["orders"])) == ("1", [(3.0, "c1")])
    assert (of["joined"].words, of["joined"].changes[0].words) == ("12 hours ago", "15 hours ago")
    assert of["decayed"].changes[0].value == math.nextafter(2, 3)
    far = model_of([recent], logistic(-1, intercept=31.5))
    [lever] = levers(far, document, NOW)
    assert told(lever) == [(None, "c0")]  # 32 days ago would be outside of the window


def test_nothing_moves_where_nothing_can() -> None:
    """With one cluster, or weights of zero, no change does anything, and that is settled."""
    for model in (
        model_of([value("v")], logistic(2, thresholds=()), 1),
        model_of([value("v")], {"type": "multinomial", "coef": [[2]], "intercept": [0]}, 1),
        model_of([value("v")], {"type": "kmeans", "centroids": [[2]]}, 1),
        model_of(
            [value("v")],
            {"type": "gaussian_mixture", "weights": [1], "means": [[0]]}
            | {"covariance_type": "spherical", "precisions_cholesky": [1]},
            1,
        ),
        model_of([value("v")], logistic(0, intercept=1)),
    ):
        assert levers(model, {"v": 1}, NOW) == (Lever(("v",), 1.0, "1", (), True),)


def test_rounding_is_no_change() -> None:
    """Far out the squared distances to two centroids are equal in all digits, and the tie goes to the first. That is
    no change: in numbers with more digits there is none."""
    model = model_of([value("v"), value("w")], {"type": "kmeans", "centroids": [[0, 1], [0, 0]]})
    v, w = levers(model, {"v": 0, "w": 0}, NOW)
    assert (v.changes, v.is_settled) == ((), True)
    assert w.changes[0].value == 0.5
    assert explain_one(model, {"v": 1e9, "w": 0}, NOW).cluster.name == "c0"


def test_rounding_here_hides_no_change_there() -> None:
    """Next to 0 a ratio is so large that rounding decides everything. Farther on there is a change."""
    predictors = [value("v"), {"name": "r", "ratio": ["w", "v"], "missing": 0}]
    predictors.insert(1, value("w"))
    model = model_of(predictors, {"type": "kmeans", "centroids": [[0, 0, 0], [0, 0, 0], [0, 0, 14]]}, 3)
    [v, _] = levers(model, {"v": 0, "w": 1}, NOW)
    assert v.changes
    assert {change.cluster.name for change in v.changes} == {"c2"}
    for change in v.changes:
        assert explain_one(model, {"v": change.value, "w": 1}, NOW).cluster.name == "c2"


def test_a_border_blurred_by_rounding() -> None:
    """Where two borders of the same height meet a sum of large terms, the told number still is the first that counts:
    the number before it leaves the member where it is."""
    model = model_of([value("v"), value("w")], logistic(1e-7, 1, intercept=-1e6))
    document = {"v": 0, "w": 1e6 - 1e-9}
    [v, _] = levers(model, document, NOW)
    [change] = [c for c in v.changes if c.cluster.name == "c1"]
    before = math.nextafter(float(change.value or 0), 0)
    assert explain_one(model, document | {"v": change.value}, NOW).cluster.name == "c1"
    assert explain_one(model, document | {"v": before}, NOW).cluster.name == "c0"


def test_a_search_that_gives_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too few intervals a change is still a scored one, but not called the smallest; none found isn't called
    settled."""
    model = model_of([value("v"), value("w")], logistic(1, 0, intercept=-3))
    monkeypatch.setattr(nearest, "MAX_INTERVALS", 2)
    v, _ = levers(model, {"v": 1}, NOW)
    [change] = v.changes
    assert (change.cluster.name, change.is_smallest) == ("c1", False)
    assert explain_one(model, {"v": change.value}, NOW).cluster.name == "c1"
    ring = {"type": "gaussian_mixture", "weights": [0.5, 0.5], "means": [[0], [50]]}
    ring |= {"covariance_type": "diag", "precisions_cholesky": [[0.1], [1]]}
    [lever] = levers(model_of([value("v")], ring), {"v": 0}, NOW)
    assert (lever.changes, lever.is_settled) == ((), False)
    monkeypatch.undo()
    [lever] = levers(model_of([value("v")], ring), {"v": 0}, NOW)
    assert lever.changes[0].cluster.name == "c1"


def test_the_work_of_all_searches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wide mixture would take longer than people wait for isn't called settled. What is told is as it would be
    without a bound."""
    n = 8
    factors = (np.eye(n) + np.triu(np.full((n, n), 0.1), 1)).tolist()
    wide: dict[str, Any] = {"type": "gaussian_mixture", "weights": [0.5, 0.5], "means": [[0] * n, [3] * n]}
    wide |= {"covariance_type": "full", "precisions_cholesky": [factors, factors]}
    names = [f"v{i}" for i in range(n)]
    model, document = model_of([value(name) for name in names], wide), dict.fromkeys(names, 1.4)
    whole = levers(model, document, NOW)
    assert all(lever.is_settled for lever in whole)
    monkeypatch.setattr(nearest, "MAX_WORK_US", 20_000)
    monkeypatch.setattr(nearest, "_LEAST_INTERVALS", 40)
    found = levers(model, document, NOW)
    [change], [other] = found[0].changes, whole[0].changes
    assert (change.value, change.shown, other.is_smallest) == (other.value, other.shown, True)
    assert [(lever.changes, lever.is_settled) for lever in found[-2:]] == [((), False)] * 2


# --- bounds


@pytest.mark.parametrize(
    ("transforms", "interval", "expected"),
    [
        ((Log1p(),), (-5.0, -2.0), (7.0, 7.0)),  # never usable: the value of a missing one
        ((Log(),), (-5.0, 0.0), (7.0, 7.0)),
        ((Sqrt(),), (-5.0, -5e-324), (7.0, 7.0)),
        ((Sqrt(),), (-5.0, 0.0), (0.0, 7.0)),
        ((Scale(0, 1e-100),), (1e10, 1e11), (7.0, 7.0)),
        ((Scale(0, 1e-100),), (-1e11, -1e10), (7.0, 7.0)),
        ((Clip(2, 3),), (0.0, 2.5), (2.0, 2.5)),
    ],
)
def test_bounds_of_columns(transforms: Any, interval: tuple[float, float], expected: tuple[float, float]) -> None:
    """What can't be transformed anywhere in an interval is the missing value; the rest keeps its order."""
    predictor = Predictor("v", Value(("v",)), 7.0, transforms)
    assert columns(predictor, interval, (7.0,)) == (expected,)


@pytest.mark.parametrize(
    ("operation", "a", "b", "expected"),
    [
        ("ratio", (1.0, 2.0), (0.0, 0.0), (None, True)),
        ("ratio", (1.0, 2.0), (2.0, 4.0), ((0.25, 1.0), False)),
        ("product", (-1.0, 2.0), (2.0, 4.0), ((-4.0, 8.0), False)),
        ("product", (1e200, 1e200), (1e200, 1e300), ((math.inf, float(np.finfo(float).max)), True)),
    ],
)
def test_bounds_of_combinations(operation: str, a: Any, b: Any, expected: Any) -> None:
    """A ratio by nothing but 0 is no number, and neither is what overflows."""
    assert combined(Combination(operation, ("a", "b")), {"a": a, "b": b}) == expected


def test_a_ratio_whose_divisor_passes_zero() -> None:
    """On the way to the border the divisor is 0, where the ratio counts as missing; that is found, being nearer."""
    predictors = [value("v"), value("w"), {"name": "r", "ratio": ["v", "w"], "missing": 50}]
    [_, w] = levers(model_of(predictors, logistic(0, 0, -1, intercept=3)), {"v": -1, "w": 1}, NOW)
    assert told(w)[0] == (0.0, "c0")
    same = [value("v"), {"name": "r", "ratio": ["v", "v"], "missing": 50}]
    [v] = levers(model_of(same, logistic(0, 1, intercept=-3)), {"v": 2}, NOW)
    assert told(v) == [(0.0, "c1"), (None, "c1")]


def test_an_origin_has_one_name_and_rule() -> None:
    """A list's texts and numbers at one place are one origin."""
    last: dict[str, Any] = {"path": "l", "aggregate": "last", "time": "t"}
    predictors: list[dict[str, Any]] = [
        {"name": "word", "transforms": [{"one_hot": ["x"]}]} | last,
        {"name": "number", "missing": 0} | last,
    ]
    [origin] = origins(model_of(predictors, logistic(1, 1)).predictors)
    assert (origin.name, origin.missing) == ("word, number", None)
    assert isinstance(origin.source, ListAggregate)
    assert origin.read({"l": []}, NOW) is None
    [lever] = levers(model_of(predictors, logistic(1, 1, intercept=-0.5)), {"l": []}, NOW)
    assert told(lever) == [(0.51, "c1"), ("x", "c1")]
    assert isinstance(lever.changes[0], Change)


def test_raw_values_in_words() -> None:
    """Units are said where the file knows them; a missing value says what it counts as."""
    shop = {"path": "l", "time": "t"}
    kinds: list[tuple[dict[str, Any], list[tuple[Any, str]]]] = [
        ({"aggregate": "count", "window_days": 30} | shop, [(3.0, "3 in 30 days"), (1200.0, "1,200 in 30 days")]),
        ({"aggregate": "sum", "value": "v", "window_days": 0.25} | shop, [(1.5, "1.5 in 6 hours")]),
        ({"aggregate": "sum", "value": "v", "window_days": 1.01} | shop, [(-0.0, "0 in 1.01 days")]),
        ({"aggregate": "sum", "value": "v", "window_days": 0.3} | shop, [(1e20, "1e+20 in 7.2 hours")]),
        ({"aggregate": "decayed_count", "half_life_days": 7} | shop, [(0.5, "0.5, half-life 7 days")]),
        (
            {"aggregate": "days_since", "missing": -1} | shop,
            [(0.0, "today"), (1.0, "1 day ago"), (84.0, "84 days ago"), (None, "never, counts as -1 days")],
        ),
        (
            {"path": "t", "aggregate": "days_since", "missing": 400, "resolution": "seconds"},
            [
                (0.0, "just now"),
                (1 / 86_400, "1 second ago"),
                (5 / 1_440, "5 minutes ago"),
                (0.25, "6 hours ago"),
                (2.5, "2.5 days ago"),
                (None, "none, counts as 400 days ago"),
            ],
        ),
    ]
    for fields, expected in kinds:
        [origin] = origins(model_of([{"name": "p", "missing": 0} | fields], logistic(1)).predictors)
        assert [words(origin, raw) for raw, _ in expected] == [text for _, text in expected]


def test_quotients_are_rounded() -> None:
    """A mean, a decayed count and a ratio have digits that say nothing. But a change that is told was scored as it
    stands, and the member's value beside it never looks the same."""
    predictors: list[dict[str, Any]] = [
        {"name": "units", "path": "l", "aggregate": "mean", "value": "v", "missing": 0},
        {"name": "w", "path": "w", "missing": 0},
        {"name": "share", "ratio": ["units", "w"], "missing": 5, "transforms": ["log1p"]},
        {"name": "area", "product": ["units", "w"]},
    ]
    bought = [{"v": v} for v in (1, 2, 5, 4, 1)] + [{"v": 8 / 3}]
    for threshold, now in ((1, "2.6111"), (2.6111111111, "2.61111111111111")):
        model = model_of(predictors, logistic(1, 0, 0, 0, intercept=-threshold))
        [units, *_] = explain_one(model, {"l": bought, "w": 3}, NOW).parts
        assert units.words == "2.6111"
        assert levers(model, {"l": bought, "w": 3}, NOW)[0].words == now
    *_, several = explain_one(model, {"l": bought, "w": 7e5}, NOW).parts
    assert several.words == "3.73e-06 (units / w); 1,827,777.7778 (units × w)"
    *_, several = explain_one(model, {"l": bought}, NOW).parts
    assert several.words == "none, counts as 5 (units / w); 0 (units × w)"
