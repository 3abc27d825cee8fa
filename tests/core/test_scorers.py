"""Laws of scorers: one row alone gives the bits it gives among many; ties go to the lowest id; oracles."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from core import worlds
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.cluster import KMeans as SkKMeans
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from memberstream.models.explain import score_many
from memberstream.models.forest import Forest, Sums, Tree, shape
from memberstream.models.member import Member
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan
from memberstream.models.rescore import rescore_many
from memberstream.models.scorer import GaussianMixture, KMeans, Logistic, Multinomial, Scorer, Trees, expit
from memberstream.models.scorer_file import MAX_FACTOR

DATA = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer, "digits": load_digits}


def scorers(rng: np.random.Generator, width: int, n_clusters: int) -> list[Scorer]:
    """Return scorers of each type with random parameters."""
    rows = rng.normal(size=(n_clusters, width))
    thresholds = np.sort(rng.uniform(0.05, 0.95, n_clusters - 1))
    return [
        Logistic(rows[0], 0.3, thresholds),
        Multinomial(rows, rng.normal(size=n_clusters)),
        KMeans(rows),
        GaussianMixture(rng.dirichlet(np.ones(n_clusters)), rows, rng.uniform(0.1, 3, (n_clusters, width))),
        GaussianMixture(rng.dirichlet(np.ones(n_clusters)), rows, factors(rng, n_clusters, width)),
        Trees(forest(rng, width, n_clusters), "logit", None, ">", np.arange(n_clusters)),
        Trees(forest(rng, width, 1), "probability", thresholds, ">=", np.arange(n_clusters)),
    ]


def forest(rng: np.random.Generator, width: int, n_outputs: int) -> Forest:
    """Return a hundred random trees, with values that no sum keeps exactly."""
    trees = []
    for i in range(100):
        columns = _grown(rng, width, 6)
        n_leaves = columns.count(-1)
        thresholds, values = rng.normal(size=len(columns) - n_leaves).tolist(), rng.normal(size=n_leaves).tolist()
        right, depths = shape(columns)
        trees.append(Tree(columns, right, depths, thresholds, values, output=i % n_outputs))
    is_single = bool(rng.integers(2))
    return Forest(trees, [None] * width, Sums([0.1] * n_outputs, 7, is_single), is_single=is_single)


def _grown(rng: np.random.Generator, width: int, depth: int) -> list[int]:
    if depth == 0 or rng.random() < 0.2:
        return [-1]
    return [int(rng.integers(width)), *_grown(rng, width, depth - 1), *_grown(rng, width, depth - 1)]


def factors(rng: np.random.Generator, n_clusters: int, width: int) -> npt.NDArray[np.float64]:
    """Return random upper triangular matrices with positive diagonals."""
    return np.triu(rng.normal(size=(n_clusters, width, width)), 1) + np.eye(width) * rng.uniform(0.1, 3, width)


def bits(result: npt.NDArray[Any] | None) -> list[bytes] | None:
    """Return each row's bytes."""
    return None if result is None else [row.tobytes() for row in result]


@given(st.integers(1, 300), st.integers(1, 70), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_single_equals_batch_bit_for_bit(n: int, width: int, n_clusters: int, seed: int) -> None:
    """eta, probability, distances and cluster of a row don't depend on the rows beside it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width)) * 10.0 ** rng.integers(-3, 4, size=(n, width))
    for scorer in scorers(rng, width, n_clusters):
        many = scorer.score_many(x)
        picked = sorted({0, n - 1, *rng.integers(0, n, 5).tolist()})
        for i in picked:
            one = scorer.score_many(x[i : i + 1])
            for whole, single in [
                (many.eta, one.eta),
                (many.probability, one.probability),
                (many.distances, one.distances),
                (many.raw, one.raw),
                (many.index, one.index),
            ]:
                assert (whole is None) == (single is None)
                assert bits(whole) is None or bits(whole)[i] == bits(single)[0]  # type: ignore[index]
        fortran = scorer.score_many(np.asfortranarray(x))
        assert bits(fortran.eta) == bits(many.eta)
        assert bits(fortran.raw) == bits(many.raw)
        assert bits(fortran.distances) == bits(many.distances)


@given(worlds.models(), st.lists(worlds.documents, min_size=1, max_size=20))
def test_members_rescored_alone_equal_members_rescored_together(model: Model, documents: list[dict[str, Any]]) -> None:
    """Rows and memberships of a batch are those of batches of one."""
    plan = Plan([model])
    together = [Member(document=d) for d in documents]
    rescore_many(plan, together, [worlds.BASE_MS + i for i in range(len(documents))])
    for i, document in enumerate(documents):
        alone = Member(document=document)
        rescore_many(plan, [alone], [worlds.BASE_MS + i])
        assert alone == together[i]


def test_ties_go_to_the_lowest_id() -> None:
    """A probability on a threshold stays below it, unless the rule is >=; equal classes and equal distances give the
    first cluster."""
    x = np.array([[0.0]])
    assert Logistic(np.array([1.0]), 0.0, np.array([0.5])).score_many(x).index[0] == 0
    assert Logistic(np.array([1.0]), 0.0, np.array([0.2, 0.5, 0.7]), ">=").score_many(x).index[0] == 2
    assert Multinomial(np.zeros((3, 1)), np.zeros(3)).score_many(x).index[0] == 0
    assert KMeans(np.array([[1.0], [-1.0]])).score_many(x).index[0] == 0
    halves = np.array([0.5, 0.5])
    assert GaussianMixture(halves, np.array([[1.0], [-1.0]]), np.ones((2, 1))).score_many(x).index[0] == 0


def test_nothing_overflows_at_the_limits() -> None:
    """Columns and parameters of ±1e100 give finite etas, probabilities and distances, without a warning."""
    x = np.full((2, 500), 1e100) * np.array([[1.0], [-1.0]])
    rows = np.full((2, 500), 1e100) * np.array([[1.0], [-1.0]])
    logistic = Logistic(rows[0], 1e100, np.array([0.5])).score_many(x)
    assert logistic.probability is not None
    assert logistic.probability.tolist() == [1.0, 0.0]
    assert logistic.index.tolist() == [1, 0]
    assert Multinomial(rows, np.zeros(2)).score_many(x).index.tolist() == [0, 1]
    assert KMeans(rows).score_many(x).index.tolist() == [0, 1]
    for u in (np.full((2, 500), MAX_FACTOR), np.triu(np.full((2, 500, 500), MAX_FACTOR))):
        mixture = GaussianMixture(np.array([5e-324, 1.0]), rows, u).score_many(x)
        assert mixture.index.tolist() == [0, 1]
        assert mixture.probability is not None
        assert mixture.probability.tolist() == [[1, 0], [0, 1]]


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=30))
def test_expit_and_softmax_equal_scipy(etas: list[float]) -> None:
    """expit and softmax agree with scipy.special to the last few bits."""
    eta = np.array(etas)
    np.testing.assert_allclose(expit(eta), special.expit(eta), rtol=1e-14, atol=1e-300)
    model = Multinomial(np.zeros((len(etas), 1)), eta)
    probability = model.score_many(np.zeros((1, 1))).probability
    assert probability is not None
    np.testing.assert_allclose(probability[0], special.softmax(eta), rtol=1e-13, atol=1e-300)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_log_densities_equal_scipy(width: int, n_clusters: int, seed: int) -> None:
    """eta is the log of weight × density as scipy.stats has it, and its parts are conditional densities: those of the
    first columns are the marginal density of these columns."""
    rng = np.random.default_rng(seed)
    u = factors(rng, n_clusters, width)
    mixture = GaussianMixture(rng.dirichlet(np.ones(n_clusters)), rng.normal(size=(n_clusters, width)), u)
    x = rng.normal(size=(3, width))
    eta = mixture.score_many(x).eta
    assert eta is not None
    for i in range(n_clusters):
        # By its precision: of a covariance that is nearly singular, SciPy takes directions for none.
        whole = stats.multivariate_normal(mixture.means[i], stats.Covariance.from_precision(u[i] @ u[i].T))
        first = stats.norm(mixture.means[i, 0], np.sqrt(np.linalg.inv(u[i] @ u[i].T)[0, 0]))
        parts = mixture.log_densities(x, i)
        for n, marginal in ((1, first.logpdf(x[:, 0])), (width, whole.logpdf(x))):
            np.testing.assert_allclose(parts[:, :n].sum(axis=1), np.atleast_1d(marginal), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(eta[:, i], parts.sum(axis=1) + np.log(mixture.weights[i]), rtol=1e-12, atol=1e-12)


def file_of(name: str, predictors: list[dict[str, Any]], model: dict[str, Any], ids: list[int]) -> Model:
    """Return the model of a file written by hand from fitted attributes."""
    clusters = [{"id": i, "name": f"cluster {i}"} for i in ids]
    return parse(
        {"format": 1, "name": name, "version": 1, "predictors": predictors, "model": model, "clusters": clusters}
    )


def standardised(scaler: StandardScaler) -> list[dict[str, Any]]:
    """Return predictors that do what the fitted scaler does."""
    pairs = zip(scaler.mean_.tolist(), scaler.scale_.tolist(), strict=True)
    return [
        {"name": f"c{i}", "path": f"c{i}", "missing": mean, "transforms": [{"scale": {"mean": mean, "sd": sd}}]}
        for i, (mean, sd) in enumerate(pairs)
    ]


def documents_of(x: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return the rows as member documents."""
    return [{f"c{i}": value for i, value in enumerate(row)} for row in x.tolist()]


@pytest.mark.parametrize("name", DATA)
def test_logistic_regression_equals_sklearn(name: str) -> None:
    """Binary and multinomial LogisticRegression behind a StandardScaler: predict_proba within 1e-12, equal classes."""
    data = DATA[name]()
    x, y = data.data, data.target
    binary = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3)).fit(x, y == 0)
    scaler, fitted = binary[0], binary[1]
    model = {"type": "logistic", "coef": fitted.coef_[0].tolist(), "intercept": float(fitted.intercept_[0])}
    ours = score_many(file_of("b", standardised(scaler), model | {"thresholds": [0.5]}, [0, 1]), documents_of(x), 0)
    theirs = binary.predict_proba(x)[:, 1]
    np.testing.assert_allclose([row["probability"] for row in ours], theirs, rtol=0, atol=1e-12)
    assert [row["cluster"] for row in ours] == binary.predict(x).astype(int).tolist()

    classes = sorted(set(y.tolist()))
    if len(classes) == 2:
        return
    several = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3)).fit(x, y)
    fitted = several[1]
    model = {"type": "multinomial", "coef": fitted.coef_.tolist(), "intercept": fitted.intercept_.tolist()}
    ours = score_many(file_of("m", standardised(several[0]), model, classes), documents_of(x), 0)
    np.testing.assert_allclose([r["probability"] for r in ours], several.predict_proba(x), rtol=0, atol=1e-12)
    assert [row["cluster"] for row in ours] == several.predict(x).tolist()


@pytest.mark.parametrize("name", DATA)
def test_kmeans_equals_sklearn(name: str) -> None:
    """KMeans behind a StandardScaler: every row in the cluster that predict gives, transform's distances."""
    x = DATA[name]().data
    pipeline = make_pipeline(StandardScaler(), SkKMeans(n_clusters=4, n_init=1, random_state=0)).fit(x)
    model = {"type": "kmeans", "centroids": pipeline[1].cluster_centers_.tolist()}
    ours = score_many(file_of("k", standardised(pipeline[0]), model, [0, 1, 2, 3]), documents_of(x), 0)
    assert [row["cluster"] for row in ours] == pipeline.predict(x).tolist()
    np.testing.assert_allclose([row["distances"] for row in ours], pipeline.transform(x), rtol=1e-9, atol=1e-9)


def test_one_hot_equals_sklearn() -> None:
    """A OneHotEncoder that ignores unknown categories, in front of a LogisticRegression: within 1e-12."""
    rng = np.random.default_rng(3)
    x = rng.choice(["de", "fr", "it"], size=(200, 1))
    y = (x[:, 0] == "de") ^ (rng.random(200) < 0.2)
    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(x, y)
    categories = pipeline[0].categories_[0].tolist()
    predictors = [{"name": "country", "path": "country", "transforms": [{"one_hot": categories}]}]
    model = {"type": "logistic", "coef": pipeline[1].coef_[0].tolist(), "intercept": float(pipeline[1].intercept_[0])}
    ours = file_of("o", predictors, model | {"thresholds": [0.5]}, [0, 1])
    rows = score_many(ours, [{"country": c} for c in ["de", "fr", "it", "xx"]], 0)
    theirs = pipeline.predict_proba(np.array([["de"], ["fr"], ["it"], ["xx"]]))[:, 1]
    np.testing.assert_allclose([row["probability"] for row in rows], theirs, rtol=0, atol=1e-12)
    assert ours.inputs == ("country=de", "country=fr", "country=it")
