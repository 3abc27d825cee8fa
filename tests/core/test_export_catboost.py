"""Exported trees of CatBoost: the bits of its own raw scores, on borders and for what is missing, too; what isn't read
is refused. Most tests read what CatBoost once wrote and said (catboost.json). The long ones ask the library itself."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core.catboost_wheel import catboost
from core.exporting import documents_of, exported, refused
from core.test_export_trees import DATA, anywhere, hard_rows, scored, with_gaps
from sklearn.base import BaseEstimator
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from memberstream.models.plan import Plan
from memberstream.models.scorer import Trees
from memberstream.models.tree_paths import contributions

RECORDED = Path(__file__).with_name("catboost.json")
SMALL: dict[str, Any] = {"iterations": 3, "depth": 2, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
X = np.column_stack([np.arange(60.0), np.arange(60) % 7, np.arange(60) % 11 / 3])
GAPS = np.where((np.arange(60) % 5 == 0)[:, None] & [False, True, True], math.nan, X)
Y = (np.arange(60) % 7 > 3).astype(int)
CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "two classes": ("CatBoostClassifier", Y, {"boost_from_average": True}),
    "three classes": ("CatBoostClassifier", np.arange(60) % 7 % 3, {"nan_mode": "Max"}),
    "classes, depthwise": ("CatBoostClassifier", np.arange(60) % 7 % 3, {"grow_policy": "Depthwise"}),
    "regression": ("CatBoostRegressor", X[:, 0] + 10 * Y, {}),
    "regression, lossguide": ("CatBoostRegressor", X[:, 0] + 10 * Y, {"grow_policy": "Lossguide", "nan_mode": "Max"}),
    "a leaf": ("CatBoostRegressor", X[:, 0], {"grow_policy": "Depthwise", "min_data_in_leaf": 500}),
}


class Recorded(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What CatBoost wrote of a fitted object, and what it said of some rows. It answers for these rows alone."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.written, self.said = case["written"], {name: np.array(answer) for name, answer in case["said"].items()}
        self.rows = np.array(case["rows"], dtype=np.float64)
        self.classes_ = np.array(case["classes"])
        self.feature_names_ = case["names"]
        self.n_features_in_ = len(self.feature_names_)

    def fit(self) -> None:
        """It has been fitted: scikit-learn asks whether there is such a method."""

    def save_model(self, path: str, format: str) -> None:
        """Write what was written."""
        assert format == "json"
        Path(path).write_text(json.dumps(self.written))

    def predict(self, x: Any, prediction_type: str = "Class") -> Any:
        """Return what was said."""
        return self._answers(prediction_type, x)

    def predict_proba(self, x: Any) -> Any:
        """Return what was said."""
        return self._answers("Probability", x)

    def _answers(self, name: str, x: Any) -> Any:
        places = {row.tobytes(): place for place, row in enumerate(self.rows)}
        return self.said[name][[places[row.tobytes()] for row in np.asarray(x, dtype=np.float64)]]


def recorded(case: str, **written: Any) -> Any:
    """Return a recorded object. `written`: what it writes instead."""
    found = json.loads(RECORDED.read_text())[case]
    kind = type(found["kind"], (Recorded,), {"__module__": "catboost.core"})
    return kind(found | {"written": found["written"] | written})


def written_by(fitted: Any) -> Any:
    """Return what a fitted object writes, as far as it is read."""
    with tempfile.TemporaryDirectory() as directory:
        fitted.save_model(f"{directory}/model.json", format="json")
        written = json.loads(Path(directory, "model.json").read_text())
    objective = written["model_info"]["params"]["loss_function"]
    kept = ("features_info", "oblivious_trees", "trees", "scale_and_bias")
    return {k: written[k] for k in kept if k in written} | {"model_info": {"params": {"loss_function": objective}}}


def recording(case: str) -> dict[str, Any]:
    """Return what CatBoost writes and says of a case, with rows on borders, beside them, and without values."""
    kind, y, more = CASES[case]
    fitted = getattr(catboost(), kind)(**SMALL, **more).fit(GAPS, y)
    written = written_by(fitted)
    rows = [*GAPS[:12].tolist(), *([value] * 3 for value in (0.0, 5e-324, 1e30, -1e30))]
    for one in written["features_info"]["float_features"]:
        for border in one["borders"]:
            for value in (border, math.nextafter(border, math.inf), border + 1e-6):
                row = X[len(rows) % 60].tolist()
                row[one["flat_feature_index"]] = value
                rows.append(row)
    types = ["RawFormulaVal", *(["Class", "Probability"] if kind == "CatBoostClassifier" else [])]
    said = {one: fitted.predict(np.array(rows), prediction_type=one).tolist() for one in types}
    said.setdefault("Class", said["RawFormulaVal"])
    return {
        "kind": kind, "written": written, "classes": list(map(int, fitted.classes_)), "names": fitted.feature_names_,
        "rows": [[None if math.isnan(value) else value for value in row] for row in rows], "said": said,
    }  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_it_wrote_says_what_it_said(case: str) -> None:
    """Raw scores bit for bit, classes equal, probabilities within 1e-12, of oblivious and of other trees."""
    fitted = recorded(case)
    is_classifier = len(fitted.classes_) > 0
    rows = fitted.rows
    more = {} if is_classifier else {"thresholds": fitted.said["RawFormulaVal"][:1], "clusters": ["low", "high"]}
    file = exported(fitted, rows, anywhere(3), allow=["x0", "x1", "x2"], **more)
    scores = scored(file, rows)
    np.testing.assert_array_equal(scores.raw, fitted.said["RawFormulaVal"])
    if is_classifier:
        np.testing.assert_array_equal(scores.index, fitted.said["Class"].ravel())
    assert file.definition["model"]["input_precision"] == "single"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"model_info": {"params": {"loss_function": {"type": "CrossEntropy"}}}}, "the objective CrossEntropy isn't"),
        ({"model_info": {}}, "the objective of several models isn't read. Use: Logloss, MultiClass"),
        ({"scale_and_bias": [2, [0]]}, "its scale is 2. Use: set_scale_and_bias(1, its bias)"),
    ],
    ids=["objective", "sum", "scale"],
)  # fmt: skip
def test_what_is_not_read_is_refused(written: dict[str, Any], reason: str) -> None:
    """By the name of the part, with what to use instead."""
    fitted = recorded("two classes", **written)
    assert f"CatBoostClassifier: {reason}" in refused(fitted, fitted.rows, anywhere(3))


def test_what_isnt_fitted_or_a_sum_is_refused() -> None:
    """It says itself whether it is fitted, alone and in a pipeline; a class that no row has gets no raw score."""
    kind = type("CatBoostRegressor", (Recorded,), {"__module__": "catboost.core", "is_fitted": lambda _: False})
    unfitted = kind(json.loads(RECORDED.read_text())["regression"])
    unfitted.n_features_in_ = None
    for one in (unfitted, make_pipeline(StandardScaler().fit(X), unfitted)):
        said = refused(one, unfitted.rows, anywhere(3), allow=["x0", "x1", "x2"])
        assert "CatBoostRegressor: isn't fitted yet. Use: fit, then export" in said
    summed = type("CatBoost", (BaseEstimator,), {"is_fitted": lambda _: True})()
    assert "CatBoost can't be represented" in refused(summed, unfitted.rows, anywhere(3), allow=["x0", "x1", "x2"])
    fitted = recorded("two classes")
    fitted.classes_ = np.array([0, 1, 2])
    said = refused(fitted, fitted.rows, anywhere(3), allow=["x0", "x1", "x2"])
    assert "has 3 classes, its rows are of 2. Use: rows of all classes, or the classes of the rows alone" in said


def test_categories_and_another_cut_are_refused() -> None:
    """Features that aren't numbers, and a threshold that `predict` has of its own."""
    fitted = recorded("two classes")
    fitted.written["features_info"]["categorical_features"] = [{"flat_feature_index": 1}]
    fitted.written["model_info"]["binclass_probability_threshold"] = "0.3"
    said = refused(fitted, fitted.rows, anywhere(3))
    assert "reads categories, texts or embeddings. Use: none of them, behind a OneHotEncoder" in said
    assert "has a threshold of its own. Use: set_probability_threshold(0.5); give thresholds" in said


def test_names_of_its_frame_are_read() -> None:
    """They say which predictor is which; those of a matrix are numbers and say nothing."""
    fitted = recorded("two classes")
    fitted.feature_names_ = ["x2", "x1", "x0"]
    said = refused(fitted, fitted.rows, anywhere(3), allow=["x0", "x1", "x2"])
    assert "the columns are in another order. The fit names" in said


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_it_still_writes_and_says_so(case: str) -> None:
    """What was recorded is what the library writes and says (3 s for the first, 0.1 s each)."""
    assert json.loads(json.dumps(recording(case))) == json.loads(RECORDED.read_text())[case]


FITTED: dict[str, tuple[str, dict[str, Any]]] = {
    "oblivious": ("CatBoostClassifier", {"boost_from_average": True}),
    "depthwise": ("CatBoostClassifier", {"grow_policy": "Depthwise", "nan_mode": "Max"}),
    "lossguide": ("CatBoostClassifier", {"grow_policy": "Lossguide"}),
    "a thousand": ("CatBoostClassifier", {"iterations": 1_000, "depth": 2}),
    "regression": ("CatBoostRegressor", {}),
    "absolute": ("CatBoostRegressor", {"loss_function": "MAE", "nan_mode": "Max"}),
}


@pytest.mark.long
@pytest.mark.parametrize("case", FITTED)
def test_fitted_objects_have_their_own_bits(case: str) -> None:
    """On borders, with gaps and numbers of all sizes; contributions are CatBoost's own, but for digits (8 s)."""
    kind, more = FITTED[case]
    for data in ["iris", "breast cancer"] if kind == "CatBoostClassifier" else ["diabetes"]:
        x, y = DATA[data]() if data in DATA else load_diabetes(return_X_y=True)
        x = with_gaps(x)
        if len(set(y)) > 2 and "boost_from_average" in more:
            more = {}
        fitted = getattr(catboost(), kind)(**SMALL | {"iterations": 12, "depth": 6} | more).fit(x, y)
        cut = {} if kind == "CatBoostClassifier" else {"thresholds": [150.0], "clusters": ["low", "high"]}
        file = exported(fitted, x, anywhere(x.shape[1]), allow=[f"x{i}" for i in range(x.shape[1])], **cut)
        rows = hard_rows(file, x, True)
        scores, raw = scored(file, rows), fitted.predict(rows, prediction_type="RawFormulaVal")
        np.testing.assert_array_equal(scores.raw, raw)
        if not cut:
            np.testing.assert_array_equal(scores.index, fitted.predict(rows).ravel())
            p = fitted.predict_proba(rows)
            assert scores.probability is not None
            np.testing.assert_allclose(scores.probability, p if len(p[0]) > 2 else p[:, 1], rtol=0, atol=1e-12)
        if "grow_policy" in more:  # its contributions of other trees aren't those of their leaves' weights
            continue
        told = fitted.get_feature_importance(catboost().Pool(rows[:5]), type="ShapValues")
        assert isinstance(file.model.scorer, Trees)
        plan = Plan([file.model])
        columns = plan.evaluate_many(documents_of(rows[:5]), [0] * 5)[0].take(plan.inputs(file.model), axis=1)
        for row, shapley in zip(columns, told.reshape(5, -1, x.shape[1] + 1), strict=True):
            found, _ = contributions(file.model.scorer.forest, row)
            names = [int(name[1:]) for name in file.model.inputs]
            np.testing.assert_allclose(found.T, shapley[:, names], rtol=0, atol=1e-9)


if __name__ == "__main__":
    RECORDED.write_text(json.dumps({case: recording(case) for case in CASES}) + "\n")
