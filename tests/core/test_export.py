"""Fitted models as model files: what the file computes is what the fitted object computes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from models.explain import score_many
from models.export import ExportError, ModelFile, from_estimator, from_r_glm
from models.model_file import load

AT = "2026-01-01"
BUNDLED = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
}


def numbers(n: int, **more: Any) -> list[dict[str, Any]]:
    """Return predictors x0 … of the numbers at these paths."""
    return [{"name": f"x{i}", "path": f"x{i}", "missing": 0, **more} for i in range(n)]


def documents_of(x: Any) -> list[dict[str, Any]]:
    """Return a document for each row; what is missing there is absent here."""
    rows = x.to_numpy(dtype=object).tolist() if isinstance(x, pd.DataFrame) else np.asarray(x, dtype=object).tolist()
    return [
        {f"x{i}": value for i, value in enumerate(row) if value is not None and value == value}  # NaN isn't itself
        for row in rows
    ]


def exported(fitted: Any, x: Any, predictors: list[dict[str, Any]] | None = None, **more: Any) -> ModelFile:
    """Return the model file of an object fitted on `x`, all rows of it examples."""
    predictors = numbers(x.shape[1]) if predictors is None else predictors
    k = more.pop("k", None)
    names = None if k is None else [f"c{i}" for i in range(k)]
    return from_estimator(
        fitted, name="m", version=1, predictors=predictors, documents=documents_of(x), at=AT, clusters=names, **more
    )


def agrees(file: ModelFile, fitted: Any, x: Any) -> None:
    """The file's probabilities are within 1e-12 of the fitted object's, and its clusters are equal, for all rows."""
    rows = score_many(file.model, documents_of(x), 0)
    clusters = [row["cluster"] for row in rows]
    assert clusters == [int(value) for value in fitted.predict(x)]
    if hasattr(fitted, "predict_proba") and "probability" in rows[0]:
        expected = fitted.predict_proba(x)
        found = np.array([row["probability"] for row in rows])
        np.testing.assert_allclose(found, expected if found.ndim == 2 else expected[:, 1], rtol=1e-12, atol=1e-12)


def pipelines(final: Any) -> dict[str, Any]:
    """Return a final estimator alone and behind each kind of preprocessing of numbers."""
    return {
        "alone": final,
        "standard": make_pipeline(StandardScaler(), final),
        "min_max": make_pipeline(MinMaxScaler((-1, 2)), final),
        "clipped": make_pipeline(MinMaxScaler(clip=True), final),
        "uncentred": make_pipeline(StandardScaler(with_mean=False), "passthrough", final),
        "log": make_pipeline(FunctionTransformer(np.log1p), StandardScaler(with_std=False), final),
        "identity": make_pipeline(FunctionTransformer(), final),
        "columns": make_pipeline(
            ColumnTransformer(
                [("log", make_pipeline(FunctionTransformer(np.log1p), StandardScaler()), [2, 0]), ("off", "drop", [1])],
                remainder="passthrough",
            ),
            final,
        ),
    }


FINALS = {
    "logistic": lambda: LogisticRegression(max_iter=30),
    "no intercept": lambda: LogisticRegression(fit_intercept=False, max_iter=30),
    "kmeans": lambda: KMeans(4, n_init=1, random_state=0),
    "minibatch": lambda: MiniBatchKMeans(3, n_init=1, random_state=0),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("final", FINALS)
@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_data_sets(name: str, final: str) -> None:
    """Each estimator behind each preprocessing, on each classification data set that scikit-learn brings."""
    x, y = BUNDLED[name](return_X_y=True)
    for kind, pipeline in pipelines(FINALS[final]()).items():
        fitted = pipeline.fit(x, y)
        n_clusters = len(np.unique(fitted.predict(x))) if "k" not in final else None
        k = {"kmeans": 4, "minibatch": 3}.get(final)
        file = exported(fitted, x[:20], predictors=numbers(x.shape[1]), k=k)
        agrees(file, fitted, x[::4])
        assert len(file.model.clusters) == (k or n_clusters), kind


CATEGORIES = st.sampled_from(["de", "fr", "it", None])
ROWS = st.lists(
    st.tuples(st.one_of(st.none(), st.floats(-5, 50)), st.floats(0, 9), CATEGORIES, st.integers(0, 3)),
    min_size=12,
    max_size=40,
)
MIXED = [
    {"name": "x0", "path": "x0"},
    {"name": "x1", "path": "x1", "missing": 0},
    {"name": "x2", "path": "x2", "type": "text"},
    {"name": "x3", "path": "x3", "missing": 0},
]


def mixed(scale_all: bool, drop: Any, degree_interactions: bool, strategy: str) -> Pipeline:
    """Return a pipeline of every supported part over a number with gaps, a number, a text and a small integer."""
    numeric = make_pipeline(
        SimpleImputer(strategy=strategy, **({"fill_value": 7.5} if strategy == "constant" else {})),
        PolynomialFeatures(2, interaction_only=degree_interactions),
        StandardScaler(),
    )
    text = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore", drop=drop)
    )
    columns = ColumnTransformer(
        [
            ("numeric", numeric, ["x0", "x1"]),
            ("text", text, ["x2"]),
            ("small", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["x3"]),
        ],
        sparse_threshold=0,
    )
    return make_pipeline(columns, *([StandardScaler()] if scale_all else []), LogisticRegression())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Found unknown categories")
@given(
    rows=ROWS, seen=ROWS, scale_all=st.booleans(), drop=st.sampled_from([None, "first", "if_binary"]),
    interactions=st.booleans(), strategy=st.sampled_from(["mean", "median", "most_frequent", "constant"]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_pipelines_of_every_part(
    rows: list[Any], seen: list[Any], scale_all: bool, drop: Any, interactions: bool, strategy: str
) -> None:
    """Numbers with gaps imputed, powers and products, texts encoded, unknown categories, everything scaled again: on
    rows that the fit has never seen the file says what the pipeline says."""
    frames = [
        pd.DataFrame(found, columns=["x0", "x1", "x2", "x3"]).astype({"x0": float, "x2": object})
        for found in (rows, seen)
    ]
    for frame in frames:
        frame.loc[frame["x2"].isna(), "x2"] = np.nan
    train, other = frames
    if train["x0"].isna().all():
        train.loc[0, "x0"] = 1.0
    y = np.arange(len(train)) % 2
    fitted = mixed(scale_all, drop, interactions, strategy).fit(train, y)
    file = exported(fitted, train, MIXED)
    agrees(file, fitted, train)
    agrees(file, fitted, other)


def test_what_the_author_reads_is_what_was_fitted(tmp_path: Path) -> None:
    """Fitted steps stay readable as transforms; the saved file is what a worker loads; ids and names are as given."""
    x = np.array([[1.0, 5.0], [2.0, 3.0], [3.0, 9.0], [4.0, 1.0]])
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, [0, 0, 1, 1])
    file = from_estimator(
        fitted,
        name="repeat_buyer",
        version=3,
        description="Buys again.",
        predictors=[
            {"name": "opens", "path": "apps.opens", "missing": 0},
            {"name": "spend", "path": "purchases", "aggregate": "sum", "value": "amount", "missing": 0},
        ],
        documents=[{"apps": {"opens": 4}, "purchases": [{"amount": 2.5}]}, {}],
        at=[AT, 0],
        thresholds=[0.3, 0.6],
        clusters=[{"id": 1, "name": "low"}, {"id": 2, "name": "medium"}, {"id": 5, "name": "high"}],
    )
    saved = file.save(tmp_path / "repeat_buyer.json")
    model = load(saved.read_bytes())
    assert model.label == "repeat_buyer@3"
    assert model.definition == file.definition
    assert [p.name for p in tmp_path.iterdir()] == ["repeat_buyer.json"]
    assert file.definition["predictors"][0] == {
        "name": "opens",
        "path": "apps.opens",
        "missing": 0,
        "transforms": [{"scale": {"mean": 2.5, "sd": math.sqrt(1.25)}}],
    }
    expected = fitted.predict_proba([[4.0, 2.5], [0.0, 0.0]])[:, 1]
    assert [e["probability"] for e in file.definition["examples"]] == pytest.approx(expected.tolist(), rel=1e-12)
    assert [e["at"] for e in file.definition["examples"]] == ["2026-01-01T00:00:00Z", "1970-01-01T00:00:00Z"]
    assert [e["cluster"] for e in file.definition["examples"]] == [
        (1, 2, 5)[int(p > 0.3) + int(p > 0.6)] for p in expected
    ]


def test_one_column_in_two_ways() -> None:
    """A column that goes through two branches becomes two predictors; one that goes through the same twice, one."""
    x = np.abs(np.random.default_rng(0).normal(size=(30, 2)))
    branches = ColumnTransformer(
        [
            ("log", FunctionTransformer(np.log1p), [0]),
            ("plain", "passthrough", slice(0, 2)),
            ("mask", "passthrough", [True, False]),
        ]
    )
    fitted = make_pipeline(branches, LogisticRegression()).fit(x, np.arange(30) % 2)
    with pytest.raises(ExportError, match="column names that differ from one another"):
        exported(fitted, x)
    branches = ColumnTransformer([("log", FunctionTransformer(np.log1p), [0]), ("plain", "passthrough", [-2, 1])])
    fitted = make_pipeline(branches, LogisticRegression()).fit(x, np.arange(30) % 2)
    file = exported(fitted, x)
    assert file.model.inputs == ("x0", "x0_2", "x1")
    agrees(file, fitted, x)


def test_texts_in_an_array() -> None:
    """Fitted on an array of objects rather than a DataFrame; of a column's only category, dropped, nothing is left."""
    x = np.array([["de", 1.0, "a"], ["fr", 2.0, "a"], ["de", 3.0, "a"], ["it", 4.0, "a"]], dtype=object)
    columns = ColumnTransformer([("encode", OneHotEncoder(drop="first"), [0, 2]), ("scale", StandardScaler(), [1])])
    fitted = make_pipeline(columns, LogisticRegression()).fit(x, [0, 0, 1, 1])
    predictors = [
        {"name": "country", "path": "x0", "type": "text"},
        *numbers(2)[1:],
        {"name": "tier", "path": "x2", "type": "text", "missing": "a"},
    ]
    file = exported(fitted, x, predictors)
    assert file.model.inputs == ("country=fr", "country=it", "x1")
    agrees(file, fitted, x)


def test_classes_name_the_clusters() -> None:
    """Integers from 0 are the ids, too; other labels are names of ids from 0; a DataFrame's columns may be sliced."""
    frame = pd.DataFrame({"x0": [0.0, 1, 2, 3, 4, 5], "x1": [1.0, 0, 1, 0, 1, 0]})
    for labels, ids, names in (
        ([3, 3, 7, 7, 9, 9], [3, 7, 9], ["3", "7", "9"]),
        (["a", "a", "b", "b", "c", "c"], [0, 1, 2], ["a", "b", "c"]),
        ([-1, -1, 0, 0, 1, 1], [0, 1, 2], ["-1", "0", "1"]),
        ([False, False, True, True, True, True], [0, 1], ["False", "True"]),
    ):
        chosen = ColumnTransformer([("all", StandardScaler(), slice("x0", "x1")), ("one", "passthrough", [])])
        fitted = make_pipeline(chosen, LogisticRegression()).fit(frame, labels)
        file = exported(fitted, frame)
        assert [(c.id, c.name) for c in file.model.clusters] == list(zip(ids, names, strict=True))
        rows = score_many(file.model, documents_of(frame), 0)
        assert [names[ids.index(row["cluster"])] for row in rows] == [str(value) for value in fitted.predict(frame)]


X = np.abs(np.random.default_rng(1).normal(size=(40, 3)))
Y = np.arange(40) % 2
ONE_HOT = [("encode", OneHotEncoder(), [0]), ("rest", "passthrough", [1, 2])]
SMALL = np.column_stack([np.arange(40) % 3, X[:, 1:]])


def refused(fitted: Any, x: Any = X, predictors: list[dict[str, Any]] | None = None, **more: Any) -> str:
    """Return why an export is refused."""
    with pytest.raises(ExportError) as error:
        exported(fitted, x, predictors, **more)
    assert error.value.problems == str(error.value).split("\n")
    return str(error.value)


def test_what_cannot_be_exact_is_refused() -> None:
    """Each refusal names the part and what to use instead."""
    logistic = LogisticRegression()
    cases: list[tuple[Any, Any, str]] = [
        (DecisionTreeClassifier(), X, "DecisionTreeClassifier: this classifier can't be represented. Use: Logistic"),
        (make_pipeline(RobustScaler(), logistic), X, "robustscaler: RobustScaler can't be represented. Use: Pipeline"),
        (make_pipeline(FunctionTransformer(np.sqrt), logistic), X, "functiontransformer: sqrt can't be represented"),
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
            "clip of encoded columns",
        ),
        (
            make_pipeline(ColumnTransformer(ONE_HOT), OneHotEncoder(handle_unknown="ignore"), logistic),
            SMALL,
            "encoded already",
        ),
        (make_pipeline(OneHotEncoder(max_categories=2), logistic), SMALL, "x0 has infrequent categories"),
        (make_pipeline(ColumnTransformer(ONE_HOT), StandardScaler(), KMeans(2)), SMALL, "encoded columns are scaled"),
        (GaussianMixture(2), X, "GaussianMixture: isn't representable in this version. Use: KMeans"),
    ]
    for fitted, x, expected in cases:
        assert expected in refused(fitted.fit(x, Y), x, k=2), expected
    assert "this estimator can't" in refused(StandardScaler().fit(X))


def test_what_the_author_has_to_say_is_asked_for() -> None:
    """Predictors, texts, missing values, documents, times, clusters: what is wrong is said, and what to do."""
    fitted = LogisticRegression().fit(X, Y)
    three = LogisticRegression().fit(X, np.arange(40) % 3)
    assert "fitted on 3 columns, gets 2. Use: one predictor" in refused(fitted, predictors=numbers(2))
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    assert "standardscaler: fitted on 3 columns, gets 2" in refused(scaled, predictors=numbers(2))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    named = LogisticRegression().fit(frame, Y)
    assert "one for each of the columns a, b, c, found 2" in refused(named, frame, predictors=numbers(2))
    assert "predictors[1]: " in refused(fitted, predictors=[*numbers(1), {"name": "odd"}, {"name": "y", "path": "y."}])
    assert "predictors[2].path" in refused(
        fitted, predictors=[*numbers(1), {"name": "odd"}, {"name": "y", "path": "y."}]
    )
    assert "clusters: expected 2, found 3" in refused(fitted, k=3)
    assert "expected 3 names, one for each band" in refused(fitted, thresholds=[0.2, 0.4])
    assert "thresholds cut one probability, this model has 3" in refused(three, thresholds=[0.2])
    assert "thresholds are for a binary" in refused(KMeans(2).fit(X), thresholds=[0.2], k=2)
    texts = [{"name": "x0", "path": "x0", "type": "text"}, *numbers(3)[1:]]
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
    with pytest.raises(ExportError, match="documents: expected some"):
        from_estimator(fitted, name="m", version=1, predictors=numbers(3), documents=[], at=AT)
    for at in ("yesterday", [AT]):
        with pytest.raises(ExportError, match="at: expected a time"):
            from_estimator(fitted, name="m", version=1, predictors=numbers(3), documents=[{}, {}], at=at)


def test_an_export_that_differs_is_refused() -> None:
    """What the fitted object says of the examples is compared: parameters that were tampered with don't leave."""

    class Liar(LogisticRegression):
        def predict_proba(self, x: Any) -> Any:
            return super().predict_proba(x)[:, ::-1]

    assert "examples[0].probability: expected" in refused(Liar().fit(X, Y * 0 + (X[:, 0] > 0.5)))


FRAME = pd.DataFrame(
    {
        "recency": np.abs(np.random.default_rng(2).normal(size=80)),
        "spend": np.abs(np.random.default_rng(3).normal(size=80)),
        "country": ["de", "fr", "it", "de"] * 20,
        "bought": (np.random.default_rng(4).random(80) > 0.5).astype(int),
        "kind": np.random.default_rng(5).integers(1, 4, 80),
    }
)
NAMED = [
    {"name": "recency", "path": "recency", "missing": 0},
    {"name": "spend", "path": "spend", "missing": 0},
    {"name": "country", "path": "country", "type": "text"},
]
FRAMES = FRAME[["recency", "spend", "country"]].to_dict("records")


def of_results(results: Any, **more: Any) -> ModelFile:
    return from_estimator(results, name="m", version=1, predictors=NAMED, documents=FRAMES, at=AT, **more)


def test_statsmodels() -> None:
    """Logit and GLM by formula and by matrix, MNLogit whose base class has no coefficients: probabilities are equal."""
    formula = "bought ~ np.log1p(recency) + spend + I(spend**2) + recency:spend + C(country)"
    exog = sm.add_constant(FRAME[["spend", "recency"]])
    for results, exog_used in (
        (smf.logit(formula, FRAME).fit(disp=0), FRAME),
        (sm.Logit(FRAME["bought"], exog).fit(disp=0), exog),
        (sm.GLM(FRAME["bought"], exog, family=sm.families.Binomial()).fit(), exog),
    ):
        file = of_results(results, clusters=["low", "high"])
        found = [row["probability"] for row in score_many(file.model, FRAMES, 0)]
        np.testing.assert_allclose(found, results.predict(exog_used), rtol=1e-12, atol=1e-12)
    many = sm.MNLogit(FRAME["kind"], exog).fit(disp=0)
    file = of_results(many)
    assert [c.id for c in file.model.clusters] == [1, 2, 3]
    np.testing.assert_allclose(
        [row["probability"] for row in score_many(file.model, FRAMES, 0)], many.predict(exog), rtol=1e-12, atol=1e-12
    )
    words = sm.MNLogit(FRAME["kind"].map({1: "a", 2: "b", 3: "c"}), exog).fit(disp=0)
    assert [c.name for c in of_results(words).model.clusters] == ["a", "b", "c"]


def test_statsmodels_refusals() -> None:
    """Other families, links, models, offsets and terms are refused by name."""
    exog = sm.add_constant(FRAME[["spend", "recency"]])
    for results, expected in (
        (sm.GLM(FRAME["bought"], exog, family=sm.families.Poisson()).fit(), "GLM: family Poisson"),
        (sm.GLM(FRAME["bought"], exog, family=sm.families.Binomial(sm.families.links.Probit())).fit(), "link Probit"),
        (sm.GLM(FRAME["bought"], exog, family=sm.families.Binomial(), offset=FRAME["spend"]).fit(), "an offset"),
        (sm.Probit(FRAME["bought"], exog).fit(disp=0), "Probit can't be represented. Use: Logit"),
        (smf.logit("bought ~ np.sqrt(spend)", FRAME).fit(disp=0), "np.sqrt(spend): isn't a term"),
        (smf.logit("bought ~ spend:C(country)", FRAME).fit(disp=0), "spend:C(country)[de]: isn't a term"),
    ):
        with pytest.raises(ExportError) as error:
            of_results(results, clusters=["low", "high"])
        assert expected in str(error.value)


R = {
    "coefficients": {
        "(Intercept)": -0.5,
        "log1p(recency)": 0.7,
        "I(spend^2)": -0.2,
        "countryfr": 0.4,
        "countryit": -1.5,
        "recency:spend": 0.1,
    },
    "xlevels": {"country": ["de", "fr", "it"]},
}


def r_probability(d: dict[str, Any]) -> float:
    """Return what R's model above says, computed by hand."""
    country = {"fr": 0.4, "it": -1.5}.get(d["country"], 0.0)
    eta = -0.5 + 0.7 * math.log1p(d["recency"]) - 0.2 * d["spend"] ** 2 + country + 0.1 * d["recency"] * d["spend"]
    return 1 / (1 + math.exp(-eta))


def test_r() -> None:
    """R's coefficients as JSON, factors by their levels; examples are R's own predictions, and must reproduce."""
    more: dict[str, Any] = {
        "name": "m", "version": 1, "predictors": NAMED, "documents": FRAMES, "at": AT, "clusters": ["a", "b", "c"],
        "thresholds": [0.2, 0.5], "probabilities": [r_probability(d) for d in FRAMES],
    }  # fmt: skip
    file = from_r_glm(R, **more)
    found = [row["probability"] for row in score_many(file.model, FRAMES, 0)]
    np.testing.assert_allclose(found, more["probabilities"], rtol=1e-12, atol=1e-12)
    one_level = {"coefficients": {"spend": 1.0}, "xlevels": {"country": "de"}}
    assert from_r_glm(
        orjson_text(one_level), **more | {"probabilities": [1 / (1 + math.exp(-d["spend"])) for d in FRAMES]}
    )
    for source, changes, expected in (
        ({}, {}, "coefficients: expected an object"),
        ({"coefficients": {"x": None}}, {}, "coefficients: expected an object"),
        (R, {"documents": []}, "documents: expected some"),
        (R, {"probabilities": [0.5] * len(FRAMES)}, "examples[0].probability"),
        (R, {"clusters": ["a"]}, "clusters: expected 3, found 1"),
        (R, {"predictors": NAMED[:2]}, "countryfr: isn't a term that can be represented"),
        ({"coefficients": {"country": 1.0}}, {}, "country: isn't a term"),
        ({"coefficients": {"spendlow": 1.0}, "xlevels": {"spend": ["high", "low"]}}, {}, "spendlow: isn't a term"),
    ):
        with pytest.raises(ExportError) as error:
            from_r_glm(source, **more | changes)
        assert expected in str(error.value)


def orjson_text(value: Any) -> bytes:
    import orjson

    return orjson.dumps(value)
