"""Exported trees: raw scores have the trainer's bits and clusters are equal, also on thresholds and for what is
missing; what can't be exact is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from core.exporting import documents_of, exported, refused
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from memberstream.models.export import ModelFile
from memberstream.models.model_file import load
from memberstream.models.plan import Plan
from memberstream.models.scorer import Scores, Trees

CLASSIFIERS: dict[str, Any] = {
    "forest": RandomForestClassifier(15, n_jobs=2, random_state=0),
    "extra trees": ExtraTreesClassifier(15, random_state=0),
    "boosted": GradientBoostingClassifier(n_estimators=12, random_state=0),
    "from zero": GradientBoostingClassifier(n_estimators=3, init="zero", random_state=0),
    "histograms": HistGradientBoostingClassifier(max_iter=12, min_samples_leaf=5, random_state=0),
    "a tree": DecisionTreeClassifier(random_state=0),
    "a leaf": HistGradientBoostingClassifier(max_iter=1, min_samples_leaf=500),
}
REGRESSORS: dict[str, Any] = {
    "forest": RandomForestRegressor(15, random_state=0),
    "extra trees": ExtraTreesRegressor(15, random_state=0),
    "boosted": GradientBoostingRegressor(n_estimators=12, random_state=0),
    "histograms": HistGradientBoostingRegressor(max_iter=12, random_state=0),
    "a tree": DecisionTreeRegressor(random_state=0),
}
SIDES: list[tuple[str, Literal["left", "right"]]] = [(">=", "right"), (">", "left")]  # numpy.searchsorted's


def cancer() -> tuple[Any, Any]:
    """Return ten of its thirty columns: an export looks at each number, and the others are of the same kind."""
    x, y = load_breast_cancer(return_X_y=True)
    return x[:, :10], y


DATA: dict[str, Callable[[], tuple[Any, Any]]] = {
    "iris": lambda: load_iris(return_X_y=True),
    "breast cancer": cancer,
    "whole breast cancer": lambda: load_breast_cancer(return_X_y=True),
}
SETS = ["iris", "breast cancer", pytest.param("whole breast cancer", marks=pytest.mark.long)]


def anywhere(n: int) -> list[dict[str, Any]]:
    """Return predictors whose missing values are left to the trees."""
    return [{"name": f"x{i}", "path": f"x{i}"} for i in range(n)]


def scored(file: ModelFile, x: Any) -> Scores:
    """Return what the file says of documents of these rows."""
    plan = Plan([file.model])
    columns, _ = plan.evaluate_many(documents_of(x), [0] * len(x))
    return file.model.scorer.score_many(columns.take(plan.inputs(file.model), axis=1))


def with_gaps(x: Any, share: float = 0.05) -> Any:
    """Return a copy of x in which some values are missing."""
    return np.where(np.random.default_rng(0).random(x.shape) < share, math.nan, x)


def hard_rows(file: ModelFile, x: Any, has_gaps: bool) -> Any:
    """Return rows of x with values exactly on thresholds and beside them, with zeros of both signs, denormal numbers
    and, if they can have any, gaps."""
    assert isinstance(file.model.scorer, Trees)
    forest, rng = file.model.scorer.forest, np.random.default_rng(1)
    columns = [int(name[1:]) for name in file.model.inputs]
    asking = np.flatnonzero(~forest.is_leaf & (np.abs(forest.split) < 1e30))
    rows = x[rng.integers(0, len(x), 400)].copy()
    for nearby in (math.inf, -math.inf, None) if len(asking) else ():
        node, row = rng.choice(asking, 400), rng.integers(0, len(rows), 400)
        split = forest.split[node]
        column = [columns[c] for c in forest.column[node]]
        rows[row, column] = split if nearby is None else np.nextafter(split, nearby)
    for value in (0.0, -0.0, 5e-324, -5e-324, 1e30, *([math.nan] if has_gaps else [])):
        rows[rng.integers(0, len(rows), 20), rng.integers(0, x.shape[1], 20)] = value
    return rows


def said(fitted: Any, x: Any) -> Any:
    """Return a fitted object's raw scores."""
    for method in ("decision_function", "predict_proba", "predict"):
        if hasattr(fitted, method):
            return getattr(fitted.set_params(n_jobs=1) if hasattr(fitted, "n_jobs") else fitted, method)(x)
    raise AssertionError


@pytest.mark.parametrize("data", SETS)
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_classifiers_have_the_trainers_bits(kind: str, data: str) -> None:
    """Raw scores bit for bit, clusters equal, probabilities within 1e-12; and the examples say all of it."""
    x, y = DATA[data]()
    has_gaps = kind not in ("boosted", "from zero")
    x = with_gaps(x) if has_gaps else x
    fitted = CLASSIFIERS[kind].fit(x, y)
    file = exported(
        fitted, x, anywhere(x.shape[1]) if has_gaps else None, probabilities=fitted.predict_proba(x),
        clusters_of=fitted.predict(x), allow=[f"x{i}" for i in range(x.shape[1])],
    )  # fmt: skip
    assert file.proven_by == ("x", "probabilities", "clusters_of")
    assert all({"raw", "probability"} <= example.keys() for example in file.definition["examples"])
    rows = hard_rows(file, x, has_gaps)
    scores = scored(file, rows)
    np.testing.assert_array_equal(scores.raw, said(fitted, rows))
    np.testing.assert_array_equal(scores.index, fitted.predict(rows))
    assert scores.probability is not None
    p = fitted.predict_proba(rows)
    np.testing.assert_allclose(scores.probability, p[:, 1] if scores.probability.ndim == 1 else p, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", REGRESSORS)
def test_regressors_are_cut_where_their_author_cuts(kind: str) -> None:
    """What a regressor predicts, bit for bit; thresholds are of that number, also where it equals one."""
    x, y = load_diabetes(return_X_y=True)
    x = x if kind == "boosted" else with_gaps(x)
    fitted = REGRESSORS[kind].fit(x, y)
    at = float(np.median(fitted.predict(x)))
    for some, (rule, side) in zip((x, x[::3]), SIDES, strict=True):
        index = np.searchsorted([at, 200], fitted.predict(some), side=side)
        file = exported(
            fitted, some, None if kind == "boosted" else anywhere(10), thresholds=[at, 200], threshold_rule=rule,
            clusters=["low", "medium", "high"], clusters_of=index,
        )  # fmt: skip
        assert "probability" not in file.definition["examples"][0]
        below, above = ("≤", "<") if rule == ">" else ("<", "≤")
        assert f"  prediction {below} {at:.4g} " in str(file)
        assert f"  {at:.4g} {above} prediction {below} 200 " in str(file)
        rows = hard_rows(file, x, kind != "boosted")
        scores, expected = scored(file, rows), said(fitted, rows)
        np.testing.assert_array_equal(scores.raw, expected)
        np.testing.assert_array_equal(scores.index, np.searchsorted([at, 200], expected, side=side))
        assert scores.probability is None


@cache
def of_cancer(kind: str) -> tuple[Any, Any]:
    """Return trees and a third of the rows that they were fitted on."""
    x, y = cancer()
    return clone(CLASSIFIERS[kind]).fit(x, y), x[::3]


@pytest.mark.parametrize("kind", ["forest", "boosted", "histograms"])
@pytest.mark.parametrize("of", [0, 1])
@pytest.mark.parametrize("n", [1, 2])
def test_thresholds_of_a_probability(kind: str, of: int, n: int) -> None:
    """Of either class, one or two of them, one of which is a document's own probability: clusters are those that the
    trainer's probabilities give, for rows on thresholds, too."""
    fitted, x = of_cancer(kind)
    p = fitted.predict_proba(x)[:, of]
    thresholds = [float(np.median(p[(p > 0.2) & (p < 0.6)])), 0.9][:n]
    for rule, side in SIDES:
        index = np.searchsorted(thresholds, p, side=side)
        names = ["low", "medium", "high"] if n == 2 else ["low", "high"]
        clusters: Any = names if n == 2 else {1 - of: "low", of: "high"}
        file = exported(
            fitted, x, thresholds={of: thresholds}, threshold_rule=rule, clusters=clusters,
            clusters_of=[names[i] for i in index], probabilities={of: p},
        )  # fmt: skip
        rows = hard_rows(file, x, False)
        expected = np.searchsorted(thresholds, fitted.predict_proba(rows)[:, of], side=side)
        found = [file.model.clusters[i].name for i in scored(file, rows).index]
        assert found == [names[i] for i in expected]
        if n == 2:
            below, cut = "≤" if rule == ">" else "<", file.definition["model"]["thresholds"][0]
            raw = "" if kind == "forest" else f" (raw < {cut:.4g})"
            assert f"  p {below} {thresholds[0]:.4g}{raw} " in str(file)


@pytest.mark.parametrize("kind", ["forest", "boosted", "histograms"])
@pytest.mark.parametrize("data", SETS)
def test_clusters_in_another_order(kind: str, data: str) -> None:
    """Names and ids in the author's order; equal raw scores still go where the trainer has them."""
    x, y = DATA[data]()
    names = np.array(["b", "a", "c"])[y]
    x = np.round(x)  # many ties
    fitted = CLASSIFIERS[kind].set_params(**({"n_estimators": 4} if kind == "forest" else {})).fit(x, names)
    classes = sorted(set(names))
    file = exported(
        fitted,
        x,
        clusters=[*classes[1:], classes[0]],
        clusters_of=fitted.predict(x),
        allow=[f"x{i}" for i in range(30)][: x.shape[1]],
    )
    assert [cluster.name for cluster in file.model.clusters] == [*classes[1:], classes[0]]
    rows = hard_rows(file, x, False)
    scores = scored(file, rows)
    assert [file.model.clusters[i].name for i in scores.index] == fitted.predict(rows).tolist()
    raw, order = said(fitted, rows), [*range(1, len(classes)), 0]
    np.testing.assert_array_equal(scores.raw, raw[:, order] if raw.ndim == 2 else -raw)
    if kind == "forest":
        CLASSIFIERS[kind].set_params(n_estimators=15)


def test_thresholds_of_a_forest_in_another_order() -> None:
    """A forest's own threshold, with the class above it first: two bands of the negative, without a probability."""
    x, y = cancer()
    fitted = FixedThresholdClassifier(RandomForestClassifier(4, random_state=0), threshold=0.75, pos_label="good")
    fitted.fit(x, np.where(y == 1, "good", "bad"))
    file = exported(fitted, x, clusters=["good", "bad"], clusters_of=fitted.predict(x))
    rows = hard_rows(file, x, False)
    scores = scored(file, rows)
    assert [file.model.clusters[i].name for i in scores.index] == fitted.predict(rows).tolist()
    np.testing.assert_array_equal(scores.raw, -fitted.predict_proba(rows)[:, 1])
    assert scores.probability is None


def test_a_threshold_of_the_decision_function() -> None:
    """Of either class it is one of the raw score itself, not of a probability that rounds it."""
    x, y = cancer()
    inner = HistGradientBoostingClassifier(max_iter=3).fit(x, y)
    at = float(np.quantile(np.unique(inner.decision_function(x)), 0.7, method="nearest"))
    for place, cut in ((1, math.nextafter(at, -math.inf)), (1, at), (0, -at), (0, math.nextafter(-at, math.inf))):
        fitted = FixedThresholdClassifier(inner, threshold=cut, pos_label=place, response_method="decision_function")
        fitted.fit(x, y)
        file = exported(fitted, x[::3], clusters_of=fitted.predict(x[::3]))
        assert file.definition["model"]["thresholds"] in ([cut], [-cut])
        rows = hard_rows(file, x, False)
        np.testing.assert_array_equal(scored(file, rows).index, fitted.predict(rows))
    for far, p in ((36.8, "1"), (-746, "0")):
        text = refused(fitted.set_params(threshold=far), x[:20])
        assert f"its threshold {far} of the decision function is a probability that is written as {p}, so" in text


@pytest.mark.parametrize(
    ("fitted", "cause"),
    [
        (HistGradientBoostingClassifier(max_iter=20), "other thresholds: yours are cut between 0."),
        (HistGradientBoostingRegressor(max_iter=20), "other thresholds of the raw score: yours are cut between "),
        (RandomForestClassifier(9, max_depth=3, random_state=0), "other thresholds: yours are cut between 0."),
    ],
    ids=["logit", "value", "forest"],
)
def test_clusters_that_other_thresholds_cut(fitted: Any, cause: str) -> None:
    """Raw scores are compared with the thresholds of raw scores; of probabilities the text says probabilities."""
    x, y = cancer()
    fitted.fit(x, y)
    p = fitted.predict_proba(x)[:, 1] if hasattr(fitted, "predict_proba") else fitted.predict(x)
    more: dict[str, Any] = {"thresholds": [0.5], "clusters": ["low", "high"]}
    if hasattr(fitted, "predict_proba"):
        more = {"thresholds": {1: [0.5]}, "clusters": {0: "low", 1: "high"}}
    text = refused(fitted, x, clusters_of=np.where(p >= 0.7, "high", "low"), **more)
    [found] = [line for line in text.split("\n") if line.startswith("clusters_of: ")]
    assert cause in found
    cut, of_file = found.split(" are cut between ")[1].split(", the file's at ")
    first, last = map(float, cut.split(" and "))
    assert first <= 0.7 <= last
    assert of_file.startswith("0.5")
    wrong = refused(fitted, x, clusters_of=np.where(x[:, 3] > 700, "high", "low"), **more)
    assert "clusters_of: " in wrong
    assert "other thresholds" not in wrong


def test_steps_before_trees() -> None:
    """Categories, logarithms and scales in front, inside a search; a column that comes twice is one input; what is
    missing stays so behind a logarithm."""
    rng, n = np.random.default_rng(0), 300
    gaps = rng.random(n) < 0.2
    x = pd.DataFrame({
        "x0": np.where(gaps, math.nan, rng.lognormal(size=n)),
        "x1": np.array(["de", "fr", "it", "at"])[rng.integers(0, 4, n)],
        "x2": rng.normal(size=n),
    })  # fmt: skip
    y = (rng.random(n) < np.where(gaps, 0.8, 0.3)).astype(int)
    encode = ColumnTransformer(
        [
            ("log", make_pipeline(FunctionTransformer(np.log1p), StandardScaler()), ["x0"]),
            ("plain", "passthrough", ["x0", "x2"]),
            ("again", "passthrough", ["x2"]),
            ("category", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["x1"]),
        ]
    )
    trees = HistGradientBoostingClassifier(max_iter=5)
    grid = {"histgradientboostingclassifier__max_depth": [2, 3]}
    search = GridSearchCV(make_pipeline(encode, trees), grid, cv=2).fit(x, y)
    predictors: list[dict[str, Any]] = [
        {"name": "x0", "path": "x0"},
        {"name": "x1", "path": "x1", "type": "text"},
        {"name": "x2", "path": "x2", "missing": 0},
    ]
    file = exported(search, x, predictors, clusters_of=search.predict(x), probabilities=search.predict_proba(x)[:, 1])
    assert len(file.model.inputs) == 3 + 4
    missing = file.definition["model"]["missing"]
    assert [number is not None for number in missing] == [True, True, *[False] * 5]
    rows = x.iloc[rng.integers(0, n, 200)].copy()
    rows.iloc[::3, 0] = math.nan
    np.testing.assert_array_equal(scored(file, rows).index, search.predict(rows))


X = np.column_stack([np.arange(60.0), np.arange(60) % 7])
Y = (np.arange(60) % 7 > 3).astype(int)


@pytest.mark.parametrize(
    ("fitted", "more", "reason"),
    [
        (GradientBoostingClassifier(loss="exponential"), {}, 'loss="exponential" has another probability. Use: loss='),
        (GradientBoostingClassifier(init=DummyClassifier()), {}, "begins with another model. Use: init=None"),
        (HistGradientBoostingRegressor(loss="poisson"), {"thresholds": [1]}, "predicts an exponential. Use: loss"),
        (HistGradientBoostingRegressor(), {}, "thresholds: expected numbers that ascend, of what it predicts"),
        (HistGradientBoostingRegressor(), {"thresholds": [2, 1]}, "expected numbers that ascend"),
        (HistGradientBoostingRegressor(), {"thresholds": ["x"]}, "expected numbers that ascend"),
        (HistGradientBoostingRegressor(), {"thresholds": [1], "threshold_rule": "<"}, 'expected ">" or ">="'),
        (HistGradientBoostingClassifier(), {"thresholds": [2]}, "thresholds: expected probabilities above 0"),
        (make_pipeline(PCA(2), RandomForestClassifier(2)), {}, "a component reaches it. Use: trees over columns"),
        (make_pipeline(PolynomialFeatures(2), RandomForestClassifier(2)), {}, "a constant reaches it. Use: trees"),
    ],
)  # fmt: skip
def test_what_cannot_be_exact_is_refused(fitted: Any, more: dict[str, Any], reason: str) -> None:
    """With the part's name, and what to use instead."""
    assert reason in refused(fitted.fit(X, Y), X, **more)


def test_a_forest_has_probabilities_of_both_classes() -> None:
    """The second class's column alone is enough, as for other models of two classes; another one is told."""
    fitted = RandomForestClassifier(3, max_depth=1, random_state=0).fit(X, Y)
    p = fitted.predict_proba(X)
    assert exported(fitted, X, probabilities=p[:, 1]).proven_by == ("x", "probabilities")
    assert "probabilities: " in refused(fitted, X, probabilities=p[:, 1] / 2)


def test_a_saved_file_is_small(tmp_path: Path) -> None:
    """Trees stand on one line; what is saved loads, with the same definition."""
    file = exported(RandomForestClassifier(3, random_state=0).fit(X, Y), X, clusters_of=Y)
    data = file.save(tmp_path / "trees.json").read_bytes()
    assert data.count(b"\n") == 1
    assert load(data).definition == file.definition


def test_more_refusals() -> None:
    """Several outputs, thresholds of many classes, a missing value that a step has made a number like others, a scaled
    category, and probabilities of a regressor."""
    assert "2 outputs. Use: one model for each" in refused(RandomForestRegressor(2).fit(X, X), X, thresholds=[1])
    three = HistGradientBoostingClassifier(max_iter=2).fit(X, np.arange(60) % 3)
    assert "thresholds cut one probability, this model has 3" in refused(three, X, thresholds={0: 0.5})
    clipped = make_pipeline(MinMaxScaler(clip=True), HistGradientBoostingClassifier(max_iter=2)).fit(X, Y)
    assert "x0: a missing value behind its transforms is a number like others" in refused(clipped, X, anywhere(2))
    tiny = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=2)).fit(X * 1e-20, Y)
    assert "x0: a missing value behind its transforms" in refused(tiny, X * 1e-20, anywhere(2))
    steps = make_pipeline(
        ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [0])]),
        StandardScaler(), RandomForestClassifier(2, random_state=0),
    )  # fmt: skip
    assert "a scaled category reaches it" in refused(steps.fit(X, Y), X)
    regressor = RandomForestRegressor(2).fit(X, Y)
    text = refused(regressor, X, thresholds=[0.5], clusters=["a", "b"], probabilities=np.zeros(60))
    assert "probabilities: a regressor has none" in text


@pytest.mark.parametrize(
    ("fitted", "more", "what"),
    [
        (HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=1), {}, "probability"),
        (DecisionTreeClassifier(), {}, None),
        (HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=1), {"thresholds": [0.5]}, "prediction"),
    ],
)
def test_last_bits_of_a_sum_that_cross_a_threshold(fitted: Any, more: dict[str, Any], what: str | None) -> None:
    """Sums in another order differ by a bit. Where the object says something else of them, they are refused with the
    columns and documents; where it doesn't (forests read single precision), the file is verified as before."""
    amounts = [[0.4, 0.7, 0.8], [1.9], [1.5], [2.0]] * 15
    documents: list[dict[str, Any]] = [{"x0": i % 7, "paid": [{"v": v} for v in a]} for i, a in enumerate(amounts)]
    x = np.column_stack([np.arange(60) % 7, [sum(a[1:], a[0]) for a in amounts]]).astype(float)
    exact = np.column_stack([x[:, 0], [math.fsum(a) for a in amounts]])
    assert (x != exact).sum() == 15
    assert np.abs(x - exact).max() < 1e-15
    fitted.fit(x, (x[:, 1] > 1.9).astype(int))
    predictors = [*anywhere(1), {"name": "spend", "path": "paid", "aggregate": "sum", "value": "v"}]
    given = {"documents": documents, "clusters": ["low", "high"], **more}
    assert exported(fitted, exact, predictors, x=exact, **given).proven_by == ("x",)
    if what is None:
        p = fitted.predict_proba(x)
        assert exported(fitted, x, predictors, x=x, probabilities=p, **given).proven_by == ("x", "probabilities")
        return
    own = {"probabilities": fitted.predict_proba(x)} if what == "probability" else {}
    for numbers in ({}, own):
        first, *rest = refused(fitted, x, predictors, x=x, **numbers, **given).split("\n")
        assert "but for the last bits: spend in 15 documents. Where" in first
        assert f"15 of 60 documents get another {what} from your x. Use: math.fsum for sums, as the file" in first
        assert "memberstream.training_matrix" in first
        assert len(rest) == 5
        assert rest[0].startswith(f"documents[0].{what}: 0.")


def test_what_single_precision_leaves_off() -> None:
    """A matrix of float32 is told as such, of three classes, too; of one document in the singular."""
    x = np.arange(60.0)[:, None] % 3 / 10 + 0.1
    fitted = HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=1)
    x[0] = np.float32(0.1)
    fitted.fit(x, np.where(np.arange(60) == 0, 2, np.arange(60) % 3 > 1))
    own = np.array([[0.1]], dtype=np.float32)
    text = refused(fitted, x, anywhere(1), documents=[{"x0": 0.1}], x=own)
    assert "x: agrees with the file's numbers but for what single precision leaves off: x0 in 1 document. " in text
    assert "1 of 1 document gets another probability from your x. Use: a matrix of float64" in text


def test_what_is_wrong_is_told_together() -> None:
    """Boosted trees without `missing`, and a wrong unit in x: both, and which trees take missing values."""
    fitted = GradientBoostingClassifier(n_estimators=2).fit(X, Y)
    text = refused(fitted, X, anywhere(2), x=X * [1, 100])
    reason = "has no `missing`, and GradientBoostingClassifier takes no missing values (RandomForest and HistGradient"
    assert f"x0, predictors[0]: {reason}" in text
    assert f"x1, predictors[1]: {reason}" in text
    assert "x: x1: yours are 100 times the file's" in text


def test_a_file_that_differs_in_the_last_bit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits are compared, not numbers: a base that is off by one bit is found."""
    fitted = HistGradientBoostingClassifier(max_iter=3).fit(X, Y)
    fitted._baseline_prediction = fitted._baseline_prediction.copy()
    real = HistGradientBoostingClassifier.decision_function
    monkeypatch.setattr(
        HistGradientBoostingClassifier, "decision_function", lambda self, x: np.nextafter(real(self, x), math.inf)
    )
    text = refused(fitted, X)
    assert "60 of 60 documents: the file computes other numbers" in text
    assert "documents[0].raw: " in text
