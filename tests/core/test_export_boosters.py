"""Exported trees of LightGBM and XGBoost: the bits of their own raw scores, on thresholds and for what is missing, too;
what isn't read is refused."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from core.exporting import exported, refused
from core.test_export_trees import DATA, SETS, anywhere, cancer, hard_rows, scored, with_gaps
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestClassifier

from memberstream.models.export import boosters

pytestmark = pytest.mark.filterwarnings(
    "ignore:X does not have valid feature names", "ignore:The argument 'eval_set' is deprecated"
)

try:
    import lightgbm
except OSError as error:  # the library itself is a requirement
    if os.environ.get("CI") == "true":
        raise
    pytest.skip(f"LightGBM needs the system's OpenMP (Debian: libgomp1): {error}", allow_module_level=True)

LIGHT: dict[str, Any] = {"n_estimators": 12, "min_child_samples": 5, "n_jobs": 1, "verbose": -1}
RANDOM: dict[str, Any] = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}
EXTREME: dict[str, Any] = {"n_estimators": 12, "n_jobs": 1}
CLASSIFIERS: dict[str, Any] = {
    "LightGBM": lightgbm.LGBMClassifier(**LIGHT),
    "LightGBM's forest": lightgbm.LGBMClassifier(**LIGHT, **RANDOM),
    "LightGBM's DART": lightgbm.LGBMClassifier(**LIGHT, boosting_type="dart"),
    "LightGBM, a leaf": lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=500, verbose=-1),
    "XGBoost": xgboost.XGBClassifier(**EXTREME),
    "XGBoost's forest": xgboost.XGBRFClassifier(**EXTREME),
    "XGBoost, a leaf": xgboost.XGBClassifier(n_estimators=2, min_child_weight=1e6, n_jobs=1),
}


def raw_of(fitted: Any, x: Any) -> Any:
    """Return a booster's own raw scores; of LightGBM's forest their mean."""
    if isinstance(fitted, xgboost.XGBModel):
        return fitted.predict(x, output_margin=True)
    raw = fitted.predict(x, raw_score=True)
    return raw / fitted.n_estimators if fitted.boosting_type == "rf" else raw


@pytest.mark.parametrize("data", SETS)
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_classifiers_have_the_trainers_bits(kind: str, data: str) -> None:
    """Three classes, fitted with missing values, and two without; predicted with them all the same."""
    x, y = DATA[data]()
    x = with_gaps(x) if data == "iris" else x
    fitted = clone(CLASSIFIERS[kind]).fit(x, y)
    file = exported(
        fitted, x, anywhere(x.shape[1]), clusters_of=fitted.predict(x), probabilities=fitted.predict_proba(x),
        allow=[f"x{i}" for i in range(x.shape[1])],
    )  # fmt: skip
    rows = hard_rows(file, x, True)
    scores = scored(file, rows)
    np.testing.assert_array_equal(scores.raw, raw_of(fitted, rows))
    np.testing.assert_array_equal(scores.index, fitted.predict(rows))
    assert ("probability" in file.definition["examples"][0]) == kind.startswith("LightGBM")


@pytest.mark.parametrize(
    "fitted",
    [
        lightgbm.LGBMRegressor(**LIGHT),
        lightgbm.LGBMRegressor(**LIGHT, objective="mae"),
        xgboost.XGBRegressor(**EXTREME),
        xgboost.XGBRFRegressor(**EXTREME),
    ],
    ids=["LightGBM", "LightGBM, absolute", "XGBoost", "XGBoost's forest"],
)
def test_regressors_have_the_trainers_bits(fitted: Any) -> None:
    """What they predict, cut by thresholds, of which one is predicted."""
    x, y = load_diabetes(return_X_y=True)
    x = with_gaps(x)
    fitted.fit(x, y)
    cut = [float(np.median(fitted.predict(x))), 200.0]
    file = exported(fitted, x, anywhere(10), thresholds=cut, clusters=["low", "medium", "high"])
    rows = hard_rows(file, x, True)
    np.testing.assert_array_equal(scored(file, rows).raw, fitted.predict(rows))
    np.testing.assert_array_equal(scored(file, rows).index, np.searchsorted(cut, fitted.predict(rows), side="right"))


@pytest.mark.parametrize("kind", ["LightGBM", "XGBoost"])
def test_thresholds_and_early_stopping(kind: str) -> None:
    """A threshold of the probability, and only the trees that predict uses."""
    x, y = cancer()
    if kind == "XGBoost":
        fitted: Any = xgboost.XGBClassifier(n_estimators=200, early_stopping_rounds=2, n_jobs=1)
        fitted.fit(x, y, eval_set=[(x[::3], 1 - y[::3])], verbose=False)
    else:
        fitted = lightgbm.LGBMClassifier(**LIGHT | {"n_estimators": 200})
        stopping = lightgbm.early_stopping(2, verbose=False)
        fitted.fit(x, y, eval_set=[(x[::3], 1 - y[::3])], callbacks=[stopping])
    p = fitted.predict_proba(x)[:, 1].astype(np.float64)
    cut = float(np.median(p))
    file = exported(fitted, x, thresholds=cut, clusters_of=(p >= cut).astype(int))
    assert len(file.definition["model"]["trees"]) < 10
    rows = hard_rows(file, x, False)
    np.testing.assert_array_equal(scored(file, rows).raw, raw_of(fitted, rows))
    np.testing.assert_array_equal(scored(file, rows).index, fitted.predict_proba(rows)[:, 1].astype(np.float64) >= cut)


X = np.column_stack([np.arange(60.0), np.arange(60) % 7])
Y = (np.arange(60) % 7 > 3).astype(int)


@pytest.mark.parametrize(
    ("fitted", "reason"),
    [
        (lightgbm.LGBMClassifier(**LIGHT, linear_tree=True), "linear_tree has a regression in each leaf"),
        (lightgbm.LGBMClassifier(**LIGHT, zero_as_missing=True), "takes 0 for missing. Use: zero_as_missing=False"),
        (lightgbm.LGBMClassifier(**LIGHT, sigmoid=2), "the objective binary sigmoid:2 isn't read"),
        (lightgbm.LGBMRegressor(**LIGHT, objective="poisson"), "the objective poisson isn't read"),
        (xgboost.XGBClassifier(**EXTREME, booster="dart"), "its booster dart isn't read. Use: booster="),
        (xgboost.XGBClassifier(**EXTREME, missing=0), "missing=0. Use: NaN for what is missing"),
        (xgboost.XGBRegressor(**EXTREME, objective="reg:logistic"), "the objective reg:logistic isn't read"),
    ],
    ids=["linear", "zero", "sigmoid", "poisson", "dart", "missing", "logistic"],
)
def test_what_is_not_read_is_refused(fitted: Any, reason: str) -> None:
    """By the name of the part, with what to use instead."""
    y = Y if hasattr(fitted, "predict_proba") else Y + 0.0
    assert reason in refused(fitted.fit(X, y), X, thresholds={1: 0.5} if hasattr(fitted, "predict_proba") else [1])


def squared(y: Any, raw: Any) -> tuple[Any, Any]:
    return raw - y, np.ones_like(raw)


TARGETS = np.column_stack([Y, Y]) + 0.0


@pytest.mark.parametrize(
    ("fitted", "y", "more", "reason"),
    [
        (lightgbm.LGBMClassifier(**LIGHT, objective="multiclass", num_class=2), Y, {0: 0.5}, "Use: no thresholds, or"),
        (xgboost.XGBClassifier(**EXTREME, objective="multi:softprob", num_class=2), Y, {1: 0.5}, "Use: no thresholds"),
        (lightgbm.LGBMRegressor(**LIGHT, objective=squared), Y, [1], "the objective custom isn't read. Use: binary"),
        (xgboost.XGBRegressor(**EXTREME), TARGETS, [1], "XGBRegressor: 2 outputs. Use: one model for each"),
        (xgboost.XGBRegressor(**EXTREME, multi_strategy="multi_output_tree"), TARGETS, [1], "2 outputs. Use: one"),
        (xgboost.XGBClassifier(**EXTREME, multi_strategy="multi_output_tree"), X[:, 1] % 3, None, "multi_output_tree"),
        (xgboost.XGBClassifier(**EXTREME), Y * 0, None, "XGBClassifier: fitted on one class alone, 0. Use: rows of"),
        (lightgbm.LGBMClassifier(**LIGHT), Y * 0, None, "LGBMClassifier: fitted on one class alone, 0. Use: rows of"),
        (RandomForestClassifier(2), Y * 0, None, "RandomForestClassifier: fitted on one class alone, 0. Use: rows of"),
    ],
    ids=[
        "softmax of LightGBM", "softmax of XGBoost", "function", "targets", "vectors", "vectors of classes",
        "class of XGBoost", "class of LightGBM", "class of a forest",
    ],
)  # fmt: skip
def test_other_shapes_are_refused(fitted: Any, y: Any, more: Any, reason: str) -> None:
    """Several raw scores under thresholds, objectives of one's own, several outputs, and one class alone."""
    assert reason in refused(fitted.fit(X, y), X, thresholds=more)


def test_categories_are_refused() -> None:
    """XGBoost's splits by categories, and LightGBM's of a table whose columns are pandas' categories."""
    y = np.isin(X[:, 1], [1, 4]).astype(int)
    frame = pd.DataFrame({"x0": X[:, 0], "x1": pd.Categorical(X[:, 1].astype(int))})
    light = lightgbm.LGBMClassifier(**LIGHT, min_data_per_group=1, cat_smooth=0).fit(frame, y)
    assert "reads pandas' categories. Use: their codes as numbers, with categorical_feature" in refused(light, X)
    fitted = xgboost.XGBClassifier(**EXTREME, enable_categorical=True, max_cat_to_onehot=1).fit(frame, y)
    assert "splits by categories" in refused(fitted, X)


def test_thresholds_beside_zero() -> None:
    """LightGBM takes numbers within ±1e-35 for 0: all of them are on the side where 0 is."""
    zero = float(np.float32(1e-35))
    for threshold in (0.0, 1e-40, -1e-40, zero, -zero, 1.0, -1.0):
        moved = boosters._beside_zero(threshold)
        for value in (0.0, zero, -zero, 5e-324, math.nextafter(zero, 1), math.nextafter(-zero, -1), 1.0, -1.0, 2.0):
            read = 0.0 if abs(value) <= zero else value
            assert (value <= moved) == (read <= threshold)
