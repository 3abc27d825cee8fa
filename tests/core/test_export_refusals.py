"""What can't be exported is refused: everything that is wrong at once, by name, with what to use instead."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from core import exporting
from core.exporting import numbers
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    StandardScaler,
)
from sklearn.svm import SVC

X = np.abs(np.random.default_rng(1).normal(size=(40, 3)))
Y = np.arange(40) % 2
AT = exporting.AT
ONE_HOT = [("encode", OneHotEncoder(handle_unknown="ignore"), [0]), ("rest", "passthrough", [1, 2])]
SMALL = np.column_stack([np.arange(40) % 3, X[:, 1:]])


def refused(fitted: Any, x: Any = X, predictors: list[dict[str, Any]] | None = None, **more: Any) -> str:
    """Return why an export is refused."""
    return exporting.refused(fitted, x, predictors, **more)


def test_what_cannot_be_exact_is_refused() -> None:
    """Each refusal names the part and what to use instead."""
    logistic = LogisticRegression()
    weighted = ColumnTransformer([("a", "passthrough", [0])], transformer_weights={"a": 2.0})
    cases: list[tuple[Any, Any, str]] = [
        (
            AdaBoostClassifier(),
            X,
            "AdaBoostClassifier can't be represented: its trees vote with weights. Use: HistGrad",
        ),
        (
            SVC(),
            X,
            "Use: LogisticRegression, HistGradientBoostingClassifier, KMeans or GaussianMixture; or its predictions as",
        ),
        (
            OneVsRestClassifier(logistic),
            X,
            "OneVsRestClassifier can't be represented: its probabilities are no softmax",
        ),
        (
            CalibratedClassifierCV(logistic, cv=2),
            X,
            "CalibratedClassifierCV can't be represented: it maps a model's output",
        ),
        (FixedThresholdClassifier(logistic, threshold=0.0), X, "FixedThresholdClassifier: its threshold 0.0 puts"),
        (GridSearchCV(logistic, {"C": [1]}, cv=2, refit=False), X, "GridSearchCV: refit=False, so nothing is fitted"),
        (
            BayesianGaussianMixture(n_components=2),
            X,
            "can't be represented: a model file has no such scorer. Use: Gauss",
        ),
        (StandardScaler(), X, "StandardScaler can't be represented: a model file has no such"),
        (make_pipeline(Normalizer(), logistic), X, "normalizer: Normalizer can't be represented: it divides a row by"),
        (make_pipeline(KBinsDiscretizer(2, quantile_method="linear"), logistic), X, 'Use: `"transforms": [{"bins"'),
        (
            make_pipeline(RBFSampler(), logistic),
            X,
            "RBFSampler can't be represented: a model file has no such transform",
        ),
        (
            make_pipeline(FunctionTransformer(np.cbrt), logistic),
            X,
            "functiontransformer: cbrt can't be represented: what",
        ),
        (
            make_pipeline(FunctionTransformer(np.sqrt, kw_args={"casting": "no"}), logistic),
            X,
            "sqrt can't be represented",
        ),
        (
            make_pipeline(PCA(2, whiten=True), KMeans(2)),
            X,
            "KMeans: distances behind a rotation that is scaled. Use: whi",
        ),
        (make_pipeline(PCA(2), StandardScaler(), KMeans(2)), X, "KMeans: distances behind a rotation that is scaled"),
        (make_pipeline(PCA(2), GaussianMixture(2)), X, "behind a PCA its covariances are those of components"),
        (make_pipeline(PCA(2), MinMaxScaler(clip=True), logistic), X, "clip of columns that aren't plain numbers"),
        (make_pipeline(PCA(2), PolynomialFeatures(2), logistic), X, "products of encoded columns"),
        (make_pipeline(PCA(2), SimpleImputer(), logistic), X, "imputes a component, which isn't as the document"),
        (make_pipeline(PolynomialFeatures(3), logistic), X, "polynomialfeatures: degree 3. Use: degree 2"),
        (make_pipeline(StandardScaler(), SimpleImputer(), logistic), X, "Use: a SimpleImputer before all other steps"),
        (make_pipeline(SimpleImputer(add_indicator=True), logistic), X, "simpleimputer: add_indicator"),
        (
            make_pipeline(ColumnTransformer(ONE_HOT), PolynomialFeatures(2), logistic),
            SMALL,
            "products of encoded columns",
        ),
        (make_pipeline(ColumnTransformer(ONE_HOT), FunctionTransformer(np.log1p), logistic), SMALL, "log1p of encoded"),
        (
            make_pipeline(ColumnTransformer(ONE_HOT), MinMaxScaler(clip=True), logistic),
            SMALL,
            "clip of columns that aren't plain numbers",
        ),
        (
            make_pipeline(ColumnTransformer(ONE_HOT), OneHotEncoder(handle_unknown="ignore"), logistic),
            SMALL,
            "encoded already",
        ),
        (make_pipeline(OneHotEncoder(max_categories=2), logistic), SMALL, "x0 has infrequent categories"),
        (make_pipeline(ColumnTransformer(ONE_HOT), StandardScaler(), KMeans(2)), SMALL, "encoded columns are scaled"),
        (make_pipeline(PolynomialFeatures(2), GaussianMixture(2)), X, "a constant column. Use: PolynomialFeatures(inc"),
        (KMeans(2), X.astype(np.float32), "KMeans: fitted on float32. Use: float64"),
        (GaussianMixture(2), X.astype(np.float32), "GaussianMixture: fitted on float32. Use: float64"),
        (make_pipeline(OneHotEncoder(), logistic), SMALL, 'onehotencoder: handle_unknown="error" leaves open what'),
        (make_pipeline(SimpleImputer(missing_values=-1), logistic), X, "missing_values=-1. Use: documents where"),
        (make_pipeline(weighted, logistic), X, "columntransformer: transformer_weights. Use: no weights"),
    ]
    for fitted, x, expected in cases:
        predictors = [{"name": f"x{i}", "path": f"x{i}"} for i in range(3)]
        assert expected in refused(fitted.fit(x, Y), x, predictors), expected


def test_probabilities_of_one_class_against_the_rest_are_refused() -> None:
    """scikit-learn 1.7 still could: more than two classes one against the rest, two classes by a softmax."""
    three, two = LogisticRegression().fit(X, np.arange(40) % 3), LogisticRegression().fit(X, Y)
    three.multi_class, two.multi_class = "ovr", "multinomial"
    assert "LogisticRegression: its probabilities are no softmax of 3 classes" in refused(three)
    assert "LogisticRegression: its probabilities are no softmax of 2 classes" in refused(two)
    three.multi_class, three.solver = "deprecated", "liblinear"
    assert "Use: the solver lbfgs, no multi_class" in refused(three)


def test_all_problems_at_once() -> None:
    """Steps, documents, the time, name, version, description and clusters: one list. Echoes are left out."""
    fitted = make_pipeline(
        PowerTransformer(), RBFSampler(n_components=2), StandardScaler(), PolynomialFeatures(2), LogisticRegression()
    )
    found = refused(
        fitted.fit(X, Y), documents=[], at=True, name="Bad Name", version=0, description=3, clusters=["a", "b"]
    ).split("\n")
    assert [problem.split(":")[0] for problem in found] == [
        "powertransformer",
        "rbfsampler",
        "documents",
        "name",
        "version",
        "description",
    ]
    found = refused(
        LogisticRegression().fit(X, Y), documents=[{}, 5], at=["never", AT], clusters=[{"id": 1}, "b"]
    ).split("\n")
    assert [problem.split(":")[0] for problem in found] == [
        "documents[1]",
        "at[0]",
        "clusters[0].name",
        "clusters[1].id",
    ]


def test_what_the_author_has_to_say_is_asked_for() -> None:
    """Predictors, texts, missing values, documents, times, clusters: what is wrong is said, and what to do."""
    fitted = LogisticRegression().fit(X, Y)
    three = LogisticRegression().fit(X, np.arange(40) % 3)
    assert "fitted on 3 columns, gets 2. Use: one predictor" in refused(fitted, predictors=numbers(2))
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    assert "Pipeline: fitted on 3 columns, gets 2. Use: one" in refused(scaled, predictors=numbers(2))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    named = LogisticRegression().fit(frame, Y)
    assert "predictors: none is named a, b, c. Use: the names" in refused(named, frame, predictors=numbers(2))
    assert "predictors: none is named y. Use: the names" in refused(fitted, inputs=["x0", "x1", "y"])
    assert "isn't fitted yet. Use: fit" in refused(make_pipeline(StandardScaler(), LogisticRegression()))
    assert "x1, predictors[1]: has no `missing`, and LogisticRegression takes no missing values. Use: " in refused(
        fitted, predictors=[*numbers(1), {"name": "x1", "path": "x1"}, *numbers(3)[2:]]
    )
    assert "predictors[0]: expected" in refused(fitted, predictors=["x0"])  # type: ignore[list-item]
    assert "predictors: expected what JSON can hold" in refused(fitted, predictors=[{"name": {1}}])
    assert "documents: expected what JSON can hold" in refused(fitted, documents=[{"x0": {1}}])
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    assert "at most 64 levels of nesting" in refused(fitted, documents=[{"x0": deep}], allow=["x0", "x1", "x2"])
    assert "predictors[1]: " in refused(fitted, predictors=[*numbers(1), {"name": "odd"}, {"name": "y", "path": "y."}])
    assert "predictors[2].path" in refused(
        fitted, predictors=[*numbers(1), {"name": "odd"}, {"name": "y", "path": "y."}]
    )
    assert "clusters: expected 2, found 3" in refused(fitted, clusters=["a", "b", "c"])
    assert "expected 3 names, one for each band" in refused(fitted, thresholds=[0.2, 0.4])
    assert "thresholds cut one probability, this model has 3" in refused(three, thresholds=[0.2])
    assert "thresholds are for a binary" in refused(KMeans(2).fit(X), thresholds=[0.2])
    texts = [{"name": "x0", "path": "x0", "type": "text"}, *numbers(3)[1:]]
    assert 'predictors[0].type: expected "text", "number_text", or no type' in refused(
        fitted, predictors=[{"name": "x0", "path": "x0", "missing": 0, "type": "number"}, *numbers(3)[1:]]
    )
    assert "predictors[0].transforms: expected no transforms of a text" in refused(
        fitted, predictors=[{"name": "x0", "path": "x0", "type": "text", "transforms": ["log1p"]}, *numbers(3)[1:]]
    )
    assert "x0: a text reaches the estimator. Use: a OneHotEncoder" in refused(fitted, predictors=texts)
    assert "x0 is a text. Use: a OneHotEncoder before it" in refused(scaled, predictors=texts)
    encoded = make_pipeline(ColumnTransformer(ONE_HOT), LogisticRegression()).fit(SMALL, Y)
    assert "encode: x0 was fitted on numbers. Use: no type" in refused(encoded, SMALL, predictors=texts)
    words = pd.DataFrame({"x0": ["a", "b"] * 20, "x1": X[:, 1], "x2": X[:, 2]})
    encoded = make_pipeline(ColumnTransformer(ONE_HOT), LogisticRegression()).fit(words, Y)
    assert 'x0 was fitted on texts. Use: "type": "text"' in refused(encoded, words)
    gaps = words.assign(x0=["a", None] * 20)
    encoded = make_pipeline(ColumnTransformer(ONE_HOT), LogisticRegression()).fit(gaps, Y)
    assert "x0 was missing in training, as a category. Use: a SimpleImputer" in refused(encoded, gaps, predictors=texts)
    empty = np.column_stack([np.full(40, np.nan), X[:, 1:]])
    imputed = make_pipeline(SimpleImputer(), LogisticRegression())
    with pytest.warns(UserWarning, match="Skipping features without any observed values"):
        imputed.fit(empty, Y)
    assert "x0 had no value to learn from" in refused(
        imputed, predictors=[{"name": "x0", "path": "x0"}, *numbers(3)[1:]]
    )
    assert "at: expected a time" in refused(fitted, documents=[{}, {}], at="yesterday")
    assert "at: expected one time, or one for each of 2 documents" in refused(fitted, documents=[{}, {}], at=[AT])
    assert "at: expected a time with its zone" in refused(fitted, documents=[{}, {}], at=datetime(2026, 1, 1, 12))
    assert "documents: expected a list of dicts, found None" in refused(fitted, documents=None)
    assert "Use: frame.to_dict('records')" in refused(fitted, documents=pd.DataFrame({"x0": [1]}))
    assert "predictors: expected a list of dicts, found dict" in refused(fitted, predictors=numbers(1)[0])  # type: ignore[arg-type]
    words = pd.DataFrame({"x0": ["good day", "day off"] * 20, "x1": X[:, 1], "x2": X[:, 2]})
    counted = ColumnTransformer([("words", CountVectorizer(), "x0")], remainder="passthrough")
    fitted = make_pipeline(counted, LogisticRegression()).fit(words, Y)
    assert "CountVectorizer" in refused(fitted, words, predictors=texts)  # a column by itself is one column


def test_an_export_that_differs_is_refused() -> None:
    """What the fitted object says of the examples is compared: parameters that were tampered with don't leave."""

    class Liar(LogisticRegression):  # type: ignore[misc]
        def predict_proba(self, x: Any) -> Any:
            return super().predict_proba(x)[:, ::-1]

    found = refused(Liar().fit(X, X[:, 0] > 0.5)).split("\n")
    assert found[0].startswith(
        "40 of 40 documents: the file computes other numbers than the fitted object. Likely cause: they are 1"
    )
    assert found[1].startswith("documents[0].probability: 0.38")
    assert len(found) == 6

    class Other(KMeans):  # type: ignore[misc]
        def predict(self, x: Any) -> Any:
            return 1 - super().predict(x)

    found = refused(Other(2, n_init=1, random_state=0).fit(X)).split("\n")
    assert "Use: scikit-learn's own classes; and other documents" in found[0]
    assert found[1] in [f"documents[0].cluster: {i} in the file, {1 - i} by the object" for i in (0, 1)]

    class Broken(LogisticRegression):  # type: ignore[misc]
        def predict_proba(self, x: Any) -> Any:
            raise ValueError("no\nway")

    assert refused(Broken().fit(X, Y)) == "documents: the fitted object refuses them: no"
