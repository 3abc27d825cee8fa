"""Fitted scikit-learn objects as model files: what the file computes is what the fitted object computes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from core.exporting import AT, agrees, documents_of, exported, numbers, refused
from hypothesis import given
from hypothesis import strategies as st
from sklearn import datasets
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, PolynomialFeatures, StandardScaler

from memberstream.models.explain import explain_one, score_many
from memberstream.models.export import from_estimator
from memberstream.models.export.file import MAX_EXAMPLES
from memberstream.models.model_file import load

BUNDLED = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
}
#: Thousands of rows or dozens of columns are for `make proof`.
EACH = [pytest.param(name, marks=[pytest.mark.long] * (name in ("digits", "breast_cancer"))) for name in BUNDLED]


def constant(x: Any) -> list[str]:
    """Return the predictors that are the same in all rows, as the corners of scikit-learn's digits are."""
    return [f"x{i}" for i in np.flatnonzero(np.ptp(x, axis=0) == 0)]


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
    "mixture": lambda: GaussianMixture(3, random_state=0, reg_covar=1e-3),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.no_cover  # thousands of rows through code that the examples have covered
@pytest.mark.parametrize("final", FINALS)
@pytest.mark.parametrize("name", EACH)
def test_bundled_data_sets(name: str, final: str) -> None:
    """Each estimator behind each preprocessing, on each classification data set that scikit-learn brings."""
    x, y = BUNDLED[name](return_X_y=True)
    for kind, pipeline in pipelines(FINALS[final]()).items():
        fitted = pipeline.fit(x, y)
        file = exported(fitted, x, allow=constant(x))
        assert file.n_verified == len(x), kind
        agrees(file, fitted, x)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("name", EACH)
def test_mixtures_of_each_kind(name: str, covariance_type: Any) -> None:
    """Responsibilities within 1e-12 for all four shapes of covariances, also with the components in another order."""
    x, _ = BUNDLED[name](return_X_y=True)
    ids = {0: 7, 1: 2, 2: 5}
    clusters = [{"id": cluster_id, "name": f"component {i}"} for i, cluster_id in ids.items()]
    for n, more in ((3, {"clusters": clusters}), (1, {}), (5, {})):
        fitted = GaussianMixture(n, covariance_type=covariance_type, random_state=0, reg_covar=1e-4).fit(x)
        file = exported(fitted, x, allow=constant(x), **more)
        assert file.definition["model"]["covariance_type"] == covariance_type
        agrees(file, fitted, x, ids if more else None)
        told = explain_one(file.model, documents_of(x[:1])[0], 0)
        assert told.probability is not None
        np.testing.assert_allclose(sorted(told.probability), sorted(fitted.predict_proba(x[:1])[0]), atol=1e-12)  # type: ignore[arg-type]


CATEGORIES = st.sampled_from(["de", "fr", "it", None])


def sized(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers of a size that data have. What is fitted on 1e-55 makes 1e112 of the square of another's 9, and a column
    beyond ±1e100 is missing to a model file: test_what_lies_beyond_all_bounds_is_missing."""
    return st.floats(low, high).map(lambda value: value if abs(value) > 1e-30 else 0.0)


ROWS = st.lists(
    st.tuples(st.one_of(st.none(), sized(-5, 50)), sized(0, 9), CATEGORIES, st.integers(0, 3)),
    min_size=12,
    max_size=40,
)
MIXED: list[dict[str, Any]] = [
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
        SimpleImputer(strategy="constant", fill_value="none"),
        OneHotEncoder(handle_unknown="ignore", drop=drop),
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
    file = exported(fitted, train, MIXED, allow=[*train])  # drawn at random, a column may be constant
    agrees(file, fitted, train)
    agrees(file, fitted, other)


def test_what_lies_beyond_all_bounds_is_missing() -> None:
    """Fitted on 0 and 1e-105, a scaler makes 1e105 of 1, and the model is sure. The file's column ends at 1e100; beyond
    it counts what stands for a missing value. Within the bound both agree."""
    x = np.array([[0.0], [1e-105]] * 6)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, [0, 1] * 6)
    file = exported(fitted, x)
    agrees(file, fitted, np.array([[1e-8], [1e-105]]))
    [row] = score_many(file.model, documents_of([[1.0]]), 0)
    assert fitted.predict_proba([[1.0]])[0, 1] == 1.0
    assert row["probability"] < 1.0


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
    """A column through two branches becomes two predictors; the same twice is one: its coefficients add up. Where
    distances count it must not come twice."""
    x = np.abs(np.random.default_rng(0).normal(size=(30, 2)))
    branches = ColumnTransformer(
        [
            ("log", FunctionTransformer(np.log1p), [0]),
            ("plain", "passthrough", slice(0, 2)),
            ("mask", "passthrough", [True, False]),
        ]
    )
    fitted = make_pipeline(branches, LogisticRegression()).fit(x, np.arange(30) % 2)
    file = exported(fitted, x)
    assert file.model.inputs == ("x0", "x0_2", "x1")
    agrees(file, fitted, x)
    assert "KMeans: x0 comes twice. Use: each column once" in refused(make_pipeline(branches, KMeans(2)).fit(x), x)


def test_names_that_are_taken() -> None:
    """A predictor that needs a new name gets one that no other has, however long the author's are."""
    x = np.abs(np.random.default_rng(0).normal(size=(30, 2)))
    long = "p" * 90
    predictors = [{"name": long, "path": "x0", "missing": 0}, {"name": f"{long[:-1]}q", "path": "x1", "missing": 0}]
    fitted = make_pipeline(PolynomialFeatures(2), LogisticRegression()).fit(x, np.arange(30) % 2)
    file = exported(fitted, x, predictors)
    assert len(set(file.model.inputs)) == 5
    agrees(file, fitted, x)


def test_texts_in_an_array() -> None:
    """Fitted on an array of objects rather than a DataFrame; of a column's only category, dropped, nothing is left."""
    x = np.array([["de", 1.0, "a"], ["fr", 2.0, "a"], ["de", 3.0, "a"], ["it", 4.0, "a"]], dtype=object)
    encoder = OneHotEncoder(drop="first", handle_unknown="ignore")
    columns = ColumnTransformer([("encode", encoder, [0, 2]), ("scale", StandardScaler(), [1])])
    fitted = make_pipeline(columns, LogisticRegression()).fit(x, [0, 0, 1, 1])
    predictors = [
        {"name": "country", "path": "x0", "type": "text"},
        *numbers(2)[1:],
        {"name": "tier", "path": "x2", "type": "text", "missing": "a"},
    ]
    file = exported(fitted, x, predictors)
    assert file.model.inputs == ("country=fr", "country=it", "x1")
    agrees(file, fitted, x)


def test_columns_of_every_pandas_dtype() -> None:
    """Booleans, categories, nullable integers and strings, chosen by name or by dtype."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x0": rng.random(60) > 0.5,
            "x1": pd.Categorical(rng.choice(["a", "b"], 60)),
            "x2": pd.array(rng.integers(0, 4, 60), dtype="Int64"),
            "x3": pd.array(rng.choice(["x", "y"], 60), dtype="string"),
            "x4": rng.normal(size=60),
        }
    )
    predictors: list[dict[str, Any]] = numbers(5)
    predictors[1] = {"name": "x1", "path": "x1", "type": "text"}
    predictors[3] = {"name": "x3", "path": "x3", "type": "text"}
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    chosen = make_column_selector(dtype_include=["category", "string"])
    for columns in (
        make_column_transformer((encoder, ["x1", "x3", "x0"]), (StandardScaler(), ["x4"]), remainder="passthrough"),
        make_column_transformer((encoder, chosen), (MinMaxScaler(), make_column_selector(dtype_include=float))),
        make_column_transformer((encoder, ["x3"]), remainder="drop").set_output(transform="pandas"),
    ):
        fitted = make_pipeline(columns, LogisticRegression()).fit(frame, np.arange(60) % 3)
        agrees(exported(fitted, frame, predictors), fitted, frame)
    plain = LogisticRegression().fit(frame[["x2", "x0"]], np.arange(60) % 2)
    file = from_estimator(plain, name="m", version=1, predictors=predictors, documents=documents_of(frame))
    assert file.model.inputs == ("x2", "x0")  # by the columns' names, in the order of the fit
    assert [row["probability"] for row in score_many(file.model, documents_of(frame), 0)] == pytest.approx(
        plain.predict_proba(frame[["x2", "x0"]])[:, 1].tolist(), rel=1e-12
    )


def test_predictors_that_only_others_use() -> None:
    """`inputs` says which columns of the predictors were fitted on: operands of a ratio need not be, one-hots are."""
    rng = np.random.default_rng(0)
    documents: list[dict[str, Any]] = [
        {"a": v, "b": w, "c": c} for v, w, c in zip(range(40), range(40, 0, -1), ["de", "fr"] * 20, strict=True)
    ]
    predictors: list[dict[str, Any]] = [
        {"name": "a", "path": "a", "missing": 0},
        {"name": "b", "path": "b", "missing": 1},
        {"name": "c", "path": "c", "transforms": [{"one_hot": ["de", "fr"]}]},
        {"name": "share", "ratio": ["a", "b"], "missing": 0, "transforms": ["log1p"]},
        {"name": "both", "product": ["share", "a"]},
        {"name": "orders", "path": "orders", "aggregate": "count"},
        {"name": "unused", "path": "u", "missing": 0},
    ]
    inputs = ["both", "c=fr", "share", "orders"]
    x = np.array(
        [[math.log1p(d["a"] / d["b"]) * d["a"], d["c"] == "fr", math.log1p(d["a"] / d["b"]), 0] for d in documents]
    )
    fitted = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(x, rng.random(40) > 0.5)
    more: dict[str, Any] = {"name": "m", "version": 1, "predictors": predictors, "documents": documents}
    assert "imputes c=fr, which isn't as the document has it" in refused(fitted, x, **more, inputs=inputs)
    predictors[4]["missing"] = 0
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, rng.random(40) > 0.5)
    file = from_estimator(fitted, **more, inputs=inputs, allow=["orders"])  # which no document has
    assert [p["name"] for p in file.definition["predictors"]] == ["a", "b", "share", "both", "c", "share_2", "orders"]
    found = [row["probability"] for row in score_many(file.model, documents, 0)]
    np.testing.assert_allclose(found, fitted.predict_proba(x)[:, 1], rtol=1e-12)


def test_columns_that_move_need_a_time() -> None:
    """`at` may be left out where nothing depends on it; a ratio depends on it if its operands do."""
    fitted = LogisticRegression().fit([[1.0, 2.0], [3.0, 4.0]], [0, 1])
    predictors = [
        {"name": "recency", "path": "seen", "aggregate": "days_since", "missing": 99},
        {"name": "share", "ratio": ["recency", "recency"], "missing": 0},
    ]
    more: dict[str, Any] = {"name": "m", "version": 1, "predictors": predictors, "documents": [{"seen": "2025-12-31"}]}
    assert "at: recency, share depend on time. Use: at=…" in refused(fitted, np.zeros((1, 2)), **more)
    file = from_estimator(fitted, **more, at=AT)
    assert score_many(file.model, more["documents"], file.model.examples[0].at_ms)[0]["predictors"] == {
        "recency": 1.0,
        "share": 1.0,
    }


def test_mixtures_over_scaled_categories() -> None:
    """The scaling of an encoded column goes into the mixture: densities change by one factor, probabilities don't."""
    x = np.column_stack([np.arange(60) % 3, np.random.default_rng(0).normal(size=60)])
    columns = ColumnTransformer([("encode", OneHotEncoder(handle_unknown="ignore"), [0])], remainder="passthrough")
    for kind in ("full", "tied", "diag", "spherical"):
        mixture = GaussianMixture(2, covariance_type=kind, reg_covar=1e-2, random_state=0)
        fitted = make_pipeline(columns, StandardScaler(), mixture).fit(x)
        file = exported(fitted, x)
        assert file.definition["model"]["covariance_type"] == ("diag" if kind == "spherical" else kind)
        agrees(file, fitted, x)


def test_pipelines_within_pipelines() -> None:
    """A Pipeline may end in a Pipeline; cross-validated logistic regressions are logistic regressions."""
    x, y = datasets.load_iris(return_X_y=True)
    last = LogisticRegressionCV(
        Cs=2, cv=2, l1_ratios=(0,), use_legacy_attributes=False, scoring="neg_log_loss", max_iter=500
    )
    fitted = Pipeline([("first", StandardScaler()), ("second", make_pipeline(MinMaxScaler(), last))]).fit(x, y)
    agrees(exported(fitted, x), fitted, x)


def test_many_documents_are_verified_and_some_travel() -> None:
    """All documents are compared; a hundred are embedded, the first ones of each cluster in turn."""
    x, _ = datasets.load_digits(return_X_y=True)
    fitted = GaussianMixture(2, random_state=0, reg_covar=0.1).fit(x)
    file = exported(fitted, x, clusters=["a", "b"], description="Two kinds of digits.", allow=constant(x))
    assert len(file.model.examples) == MAX_EXAMPLES
    assert [e.cluster for e in file.model.examples].count(0) == MAX_EXAMPLES // 2
    assert repr(file) == (
        "<ModelFile m@1: gaussian_mixture over 64 columns, 2 clusters, 100 examples, verified on 1,797 documents "
        "against your x>"
    )
    assert file.model.description == "Two kinds of digits."


def test_classes_name_the_clusters() -> None:
    """Whole numbers from 0 are the ids, too; other labels name ids from 0; DataFrames may be sliced by names."""
    frame = pd.DataFrame({"x0": [0.0, 1, 2, 3, 4, 5], "x1": [1.0, 0, 1, 0, 1, 0]})
    for labels, ids, names in (
        ([3, 3, 7, 7, 9, 9], [3, 7, 9], ["3", "7", "9"]),
        (["a", "a", "b", "b", "c", "c"], [0, 1, 2], ["a", "b", "c"]),
        ([-1, -1, 0, 0, 1, 1], [0, 1, 2], ["-1", "0", "1"]),
        ([0.0, 0.0, 2.0, 2.0, 3.0, 3.0], [0, 2, 3], ["0", "2", "3"]),
        ([False, False, True, True, True, True], [0, 1], ["False", "True"]),
    ):
        chosen = ColumnTransformer([("all", StandardScaler(), slice("x0", "x1")), ("one", "passthrough", [])])
        fitted = make_pipeline(chosen, LogisticRegression()).fit(frame, labels)
        file = exported(fitted, frame)
        assert [(c.id, c.name) for c in file.model.clusters] == list(zip(ids, names, strict=True))
        rows = score_many(file.model, documents_of(frame), 0)
        assert [names[ids.index(row["cluster"])] for row in rows] == [
            str(value).removesuffix(".0") for value in fitted.predict(frame)
        ]


def test_the_author_numbers_the_components() -> None:
    """Ids given for each component of k-means sort the file's clusters; a binary model's bands keep their order."""
    x = np.array([[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]])
    fitted = KMeans(3, n_init=1, random_state=0).fit(x)
    clusters = [{"id": 9 - round(centre), "name": f"at {centre:.2f}"} for centre in fitted.cluster_centers_[:, 0]]
    file = exported(fitted, x, clusters=clusters)
    assert [c.name for c in file.model.clusters] == ["at 9.05", "at 5.05", "at 0.05"]
    assert [row["cluster"] for row in score_many(file.model, documents_of(x), 0)] == [9, 9, 4, 4, 0, 0]
    logistic = LogisticRegression().fit(x, [0, 0, 0, 1, 1, 1])
    file = exported(logistic, x, clusters=[{"id": 2, "name": "a"}, {"id": 1, "name": "b"}])
    assert [(c.id, c.name) for c in file.model.clusters] == [(1, "b"), (2, "a")]
    assert [row["cluster"] for row in score_many(file.model, documents_of(x), 0)] == (2 - logistic.predict(x)).tolist()
    assert "clusters[1].id: expected ids that ascend" in refused(
        logistic, x, thresholds=[0.2, 0.7], clusters=[{"id": i, "name": f"c{i}"} for i in (2, 1, 3)]
    )
