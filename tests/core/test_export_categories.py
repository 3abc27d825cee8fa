"""Exported splits by categories: the trainer's bits for codes that training had, for others, and for none; texts by an
OrdinalEncoder; what isn't read is refused."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from core.exporting import documents_of, exported, refused
from core.files import GOOD
from core.test_export_trees import anywhere, scored
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from memberstream.models.enclosure import columns
from memberstream.models.explain import explain_one
from memberstream.models.forest import Forest
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan
from memberstream.models.predictor import Predictor
from memberstream.models.scorer import Trees
from memberstream.models.source import Value
from memberstream.models.transform import Codes
from memberstream.models.tree_paths import contributions
from memberstream.models.what_if import levers

pytestmark = pytest.mark.filterwarnings(
    "ignore:X does not have valid feature names", "ignore:categorical_feature keyword has been found"
)

try:
    import lightgbm
except OSError as error:  # the library itself is a requirement
    if os.environ.get("CI") == "true":
        raise
    pytest.skip(f"LightGBM needs the system's OpenMP (Debian: libgomp1): {error}", allow_module_level=True)

N = 240
RNG = np.random.default_rng(0)
X = np.column_stack(
    [RNG.random(N), RNG.choice([3, 7, 11, 20, 31, 40, 64, 90], N), RNG.random(N) * 3, RNG.choice([0, 1, 2, 5], N)]
)
Y = (np.isin(X[:, 1], [7, 31, 90]) ^ (X[:, 3] == 2) ^ (RNG.random(N) < 0.1)).astype(int)
GAPS = np.where(RNG.random(X.shape) < 0.05, math.nan, X)
CLASSES = Y + 2 * (X[:, 0] > 0.5)
ODD = (
    math.nan, -1.0, -0.5, -0.999, -1.5, 0.5, 7.5, 8.0, -0.0, 0.0, 5e-324, 1e30, 2.0**31, 2.0**32 + 7, 99.0, 255.0,
    256.0, -7.0, 90.0, 90.9, 91.0,
)  # fmt: skip
ROWS = X[RNG.integers(0, N, 1_200)].copy()
for odd in ODD:
    ROWS[RNG.integers(0, len(ROWS), 60), RNG.integers(0, 4, 60)] = odd
LIGHT: dict[str, Any] = {"n_estimators": 6, "min_child_samples": 5, "min_data_per_group": 1, "cat_smooth": 0}
LIGHT |= {"n_jobs": 1, "verbose": -1}
HISTOGRAMS: dict[str, Any] = {"max_iter": 6, "categorical_features": [1, 3], "min_samples_leaf": 5, "random_state": 0}


@pytest.mark.parametrize("y", [Y, CLASSES], ids=["two classes", "four classes"])
@pytest.mark.parametrize("x", [X, GAPS], ids=["whole", "gaps"])
@pytest.mark.parametrize("kind", ["histograms", "LightGBM"])
def test_categories_have_the_trainers_bits(kind: str, x: Any, y: Any) -> None:
    """Of codes that are unknown, negative, not whole, or too large, too; one row is as many, and parts add up."""
    if kind == "histograms":
        fitted: Any = HistGradientBoostingClassifier(**HISTOGRAMS).fit(x, y)
        raw = fitted.decision_function(ROWS)
    else:
        fitted = lightgbm.LGBMClassifier(**LIGHT).fit(x, y, categorical_feature=[1, 3])
        raw = fitted.predict(ROWS, raw_score=True)
    file = exported(fitted, x, anywhere(4), clusters_of=fitted.predict(x), allow=[f"x{i}" for i in range(4)])
    assert any(isinstance(one, list) for tree in file.definition["model"]["trees"] for one in tree["thresholds"])
    scores = scored(file, ROWS)
    np.testing.assert_array_equal(scores.raw, raw)
    np.testing.assert_array_equal(scores.index, fitted.predict(ROWS))
    forest, some = forest_and_columns(file, ROWS[:40])
    alone = np.concatenate([forest.raw_many(row[None]) for row in some])
    np.testing.assert_array_equal(alone, forest.raw_many(some))
    for row, told in zip(some[:5], alone, strict=False):
        found, baseline = contributions(forest, row)
        np.testing.assert_allclose(found.sum(axis=0) + baseline, told, rtol=0, atol=1e-12)


def forest_and_columns(file: Any, rows: Any) -> tuple[Forest, Any]:
    assert isinstance(file.model.scorer, Trees)
    plan = Plan([file.model])
    found = plan.evaluate_many(documents_of(rows), [0] * len(rows))[0]
    return file.model.scorer.forest, found.take(plan.inputs(file.model), axis=1)


def test_regressors_have_the_trainers_bits() -> None:
    """What they predict, of the same rows."""
    fitted = HistGradientBoostingRegressor(**HISTOGRAMS).fit(GAPS, Y + X[:, 0])
    allow = [f"x{i}" for i in range(4)]
    file = exported(fitted, GAPS, anywhere(4), thresholds=[0.5], clusters=["low", "high"], allow=allow)
    np.testing.assert_array_equal(scored(file, ROWS).raw, fitted.predict(ROWS))


TIERS = np.array(["gold", "silver", "iron", "lead"], dtype=object)
FRAME = pd.DataFrame({"tier": TIERS[RNG.integers(0, 4, N)], "visits": RNG.integers(0, 9, N).astype(float)})
WANTED = (FRAME["tier"].isin(["gold", "lead"]) ^ (FRAME["visits"] > 4)).to_numpy().astype(int)
TEXTS: list[dict[str, Any]] = [
    {"name": "tier", "path": "tier", "type": "text"},
    {"name": "visits", "path": "visits", "missing": 0},
]
ENCODER = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
DOCUMENTS = FRAME.to_dict("records")


def encoded(estimator: Any, encoder: Any = ENCODER) -> Any:
    return make_pipeline(ColumnTransformer([("e", encoder, ["tier"]), ("n", "passthrough", ["visits"])]), estimator)


@pytest.mark.parametrize("kind", ["histograms", "LightGBM"])
def test_texts_become_codes(kind: str) -> None:
    """By an OrdinalEncoder; a tier that nobody knows, and none, go where the trees send what is missing. What another
    tier would change is told by its name."""
    if kind == "histograms":
        fitted = encoded(HistGradientBoostingClassifier(max_iter=6, categorical_features=[0], min_samples_leaf=5))
        fitted.fit(FRAME, WANTED)
    else:
        fitted = encoded(lightgbm.LGBMClassifier(**LIGHT)).fit(FRAME, WANTED, lgbmclassifier__categorical_feature=[0])
    file = exported(fitted, FRAME, TEXTS, documents=DOCUMENTS, x=FRAME, clusters_of=fitted.predict(FRAME))
    tier = file.definition["predictors"][0]
    assert tier["transforms"][0] == {"codes": sorted(TIERS)}
    others = pd.DataFrame({"tier": ["wood", None, "gold"] * 9, "visits": np.arange(27.0) % 9})
    documents = [{k: v for k, v in row.items() if v is not None} for row in others.to_dict("records")]
    plan = Plan([file.model])
    rows = plan.evaluate_many(documents, [0] * 27)[0].take(plan.inputs(file.model), axis=1)
    assert file.model.scorer.score_many(rows).index.tolist() == fitted.predict(others).tolist()
    changes = levers(file.model, {"tier": "gold", "visits": 1}, 0)[0].changes
    assert {change.value for change in changes} <= {"silver", "iron", "another", None}
    assert changes
    assert explain_one(file.model, {"tier": "gold", "visits": 1}, 0)


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (OrdinalEncoder(), "must be NaN. Use: OrdinalEncoder(handle_unknown="),
        (OrdinalEncoder(**ENCODER.get_params() | {"unknown_value": -1}), "must be NaN. Use: OrdinalEncoder("),
        (OrdinalEncoder(**ENCODER.get_params() | {"max_categories": 2}), "has infrequent categories. Use: no min_freq"),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), "takes a one-hot column for codes"),
    ],
    ids=["error", "a number", "infrequent", "one-hot"],
)
def test_encoders_that_are_refused(encoder: Any, reason: str) -> None:
    """By name, with what to use instead."""
    fitted = encoded(HistGradientBoostingClassifier(max_iter=1, categorical_features=[0]), encoder).fit(FRAME, WANTED)
    assert reason in refused(fitted, FRAME, TEXTS, documents=DOCUMENTS, x=FRAME)


def test_columns_that_are_no_categories_are_refused() -> None:
    """Numbers announced as texts, texts as numbers, one-hot columns, a column without any, and another encoder."""
    fitted = encoded(HistGradientBoostingClassifier(max_iter=1, categorical_features=[0])).fit(FRAME, WANTED)
    as_number: list[dict[str, Any]] = [{"name": "tier", "path": "tier", "missing": 0}, TEXTS[1]]
    assert 'tier was fitted on texts. Use: "type": "text"' in refused(fitted, FRAME, as_number, documents=DOCUMENTS)
    numbers = make_pipeline(ENCODER, HistGradientBoostingClassifier(max_iter=1, categorical_features=[0]))
    numbers.fit(X[:, 1:2], Y)
    text: list[dict[str, Any]] = [{"name": "x0", "path": "x0", "type": "text"}]
    number: list[dict[str, Any]] = [{"name": "x0", "path": "x0"}]
    assert "x0 was fitted on numbers. Use: no type" in refused(numbers, X[:, 1:2], text)
    np.testing.assert_array_equal(
        scored(exported(numbers, X[:, 1:2], number), X[:, 1:2]).raw, numbers.decision_function(X[:, 1:2])
    )
    hot: list[dict[str, Any]] = [{"name": "x0", "path": "x0", "missing": 0, "transforms": [{"one_hot": [3]}]}]
    assert "has no categories. Use: an OrdinalEncoder" in refused(numbers, X[:, 1:2], hot)
    numbers[-1].fit(numbers[0].transform(X[:, 1:2]) % 5, Y)
    assert "its encoder knows other categories. Use: both fitted together" in refused(numbers, X[:, 1:2], number)


def test_bounds_of_codes() -> None:
    """Of numbers between two: the codes between them, and -1 for all others. Of one number its own code."""
    predictor = Predictor("x", Value(("x",)), 0.0, (Codes((3.0, 7.0)),))
    assert columns(predictor, (3.0, 3.0), (-1.0,)) == ((0.0, 0.0),)
    assert columns(predictor, (2.0, 4.0), (-1.0,)) == ((-1.0, 0.0),)
    assert columns(predictor, (4.0, 5.0), (-1.0,)) == ((-1.0, -1.0),)


def test_bounds_of_boxes_of_codes() -> None:
    """All codes of a box, any other value, and a missing one if the box holds its number."""
    definition = GOOD["trees of codes"]
    scorer = parse(definition).scorer
    assert isinstance(scorer, Trees)
    forest = scorer.forest
    every = [forest.raw_many(np.array([[a, 0.0, 0.0]]))[0, 0] for a in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    low, high = forest.bounds(np.array([-1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    assert (low[0], high[0]) == (min(every), max(every)) == (1.0, 4.0)
    low, high = forest.bounds(np.array([0.25, 0.0, 0.0]), np.array([0.75, 0.0, 0.0]))
    assert low[0] == high[0] == every[3]


@pytest.mark.parametrize("estimator", [LogisticRegression(), GradientBoostingClassifier(n_estimators=2)])
def test_codes_need_an_estimator_that_takes_gaps(estimator: Any) -> None:
    """An unknown tier is NaN to others: they would fail where the file says -1."""
    said = refused(encoded(estimator).fit(FRAME, WANTED), FRAME, TEXTS, documents=DOCUMENTS)
    assert f"an unknown category is NaN, which {type(estimator).__name__} doesn't take. Use: a OneHotEncoder" in said


def test_steps_behind_an_encoder_are_refused() -> None:
    """They would make other numbers of codes, and of -1."""
    histograms = HistGradientBoostingClassifier(max_iter=1)
    fitted = make_pipeline(encoded(StandardScaler()), histograms).fit(FRAME, WANTED)
    assert "tier has codes already. Use: no step for it behind" in refused(fitted, FRAME, TEXTS, documents=DOCUMENTS)


def test_codes_as_numbers() -> None:
    """Trees without categories take an encoder's codes as numbers, and -1 for missing; those of an author's own
    transform as they are."""
    fitted = encoded(HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=5)).fit(FRAME, WANTED)
    file = exported(fitted, FRAME, TEXTS, documents=DOCUMENTS, x=FRAME, clusters_of=fitted.predict(FRAME))
    assert file.definition["model"]["missing"][0] == -1.0
    own: list[dict[str, Any]] = [
        {"name": "x0", "path": "tier", "transforms": [{"codes": sorted(TIERS)}]},
        TEXTS[1] | {"name": "x1"},
    ]
    documents = [*DOCUMENTS, {"visits": 3.0}, {"tier": "wood", "visits": 6.0}] * 2
    x = np.array([[sorted(TIERS).index(d["tier"]) if d.get("tier") in TIERS else -1, d["visits"]] for d in documents])
    y = (x[:, 0] > 1).astype(int) ^ (x[:, 1] > 4)
    trees = HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=2).fit(x, y)
    file = exported(trees, x, own, documents=documents, x=x, clusters_of=trees.predict(x))
    assert "missing" not in file.definition["model"]
    coding: list[dict[str, Any]] = [{"name": "x0", "path": "x0", "missing": 0, "transforms": [{"codes": [3, 7]}]}]
    coded = np.array([{3: 0.0, 7: 1.0}.get(value, -1.0) for value in X[:, 1]])[:, None]
    trees = HistGradientBoostingClassifier(max_iter=6).fit(coded, Y)
    assert exported(trees, coded, coding, documents=[{"x0": value} for value in X[:, 1]], x=coded)
