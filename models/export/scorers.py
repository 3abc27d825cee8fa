"""Final estimators, each as the `model` of a model file over the columns in front of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.mixture import GaussianMixture

from memberstream.models.examples import TOLERANCE
from memberstream.models.export.bands import Asked, Bands, read_bands, turned
from memberstream.models.export.columns import Column
from memberstream.models.export.instead import DEFAULT_ESTIMATOR, ESTIMATORS
from memberstream.models.scorer import ThresholdRule

_PER_CLUSTER = ("coef", "intercept", "centroids", "weights", "means", "precisions_cholesky")


@dataclass(frozen=True)
class Fitted:
    """A fitted estimator, as a model file's scorer.

    Attributes:
        model: the model file's `model`, without `inputs`.
        columns: its inputs, in the order of the parameters.
        labels: what the fitted object calls its clusters, in the order of the parameters: classes or the numbers of
            components. None: the clusters are bands of a probability.
        classes: of a classifier; of a binary one the probability is that of the second.
        n_clusters: how many clusters it has.
        are_components: whether the labels are numbers that the fit has given to components.
        is_turned: whether these classes stand in another order than the fitted object's own.
        by_predict: whether the fitted object's own predict gives the clusters.
        is_single: whether it was fitted in single precision.
        cuts: of trees whose clusters are bands, thresholds and rule as the author means them: of the probability, or of
            what a regressor predicts.
        raw: of trees, what the fitted object says: the matrix in front of it → raw scores.
        tolerance: how far its probabilities may be from the file's.
        refuses_missing: the estimator's class if it is scikit-learn's and takes no missing values.
    """

    model: dict[str, Any]
    columns: list[Column]
    labels: list[Any] | None
    classes: list[Any]
    n_clusters: int
    are_components: bool = False
    is_turned: bool = False
    by_predict: bool = True
    is_single: bool = False
    cuts: tuple[list[float], str] | None = None
    raw: Callable[[Any], Any] | None = None
    tolerance: float = TOLERANCE
    refuses_missing: str = ""

    @property
    def is_banded(self) -> bool:
        """Whether its clusters are bands: of a probability, or of the only raw score of trees."""
        return "thresholds" in self.model

    @property
    def has_probabilities(self) -> bool:
        """Whether the fitted object has any."""
        return self.model["type"] != "kmeans" and self.model.get("scale") != "value"

    @property
    def rule(self) -> str:
        """Whether a probability passes a threshold that it equals."""
        return str(self.model.get("threshold_rule", ">"))

    def in_order(self, order: Sequence[int]) -> dict[str, Any]:
        """Return `model` with its clusters in another order: the one that stood at order[0] comes first."""
        if self.model["type"] == "logistic":
            return self.model if list(order) == sorted(order) else _turned(self.model)
        if self.model["type"] == "trees":
            return trees_in_order(self.model, order)
        per_cluster = set(_PER_CLUSTER)
        if self.model.get("covariance_type") == "tied":
            per_cluster.remove("precisions_cholesky")
        return {k: [value[i] for i in order] if k in per_cluster else value for k, value in self.model.items()}


def _turned(model: dict[str, Any]) -> dict[str, Any]:
    """Return a binary logistic of the other class's probability, with the same clusters in the other order."""
    thresholds, rule = turned(model["thresholds"], model.get("threshold_rule", ">"))
    coef = [-c for c in model["coef"]]
    return _logistic_model(coef, -model["intercept"], thresholds, rule)


def _logistic_model(
    coef: list[float], intercept: float, thresholds: list[float], rule: ThresholdRule
) -> dict[str, Any]:
    model = {"type": "logistic", "coef": coef, "intercept": float(intercept), "thresholds": thresholds}
    # Workers older than the field refuse it, so it isn't written where it says what they do anyway.
    return model if rule == ">" else model | {"threshold_rule": rule}


def trees_in_order(model: dict[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """Return trees with their clusters in another order. Two bands of one raw score are those of its negative, the
    other way round: a sum of negatives is the negative of the sum, bit for bit."""
    if list(order) == sorted(order):
        return model
    if "thresholds" in model:
        thresholds = [-t for t in reversed(model["thresholds"])]
        scale = "value" if model["scale"] == "probability" else model["scale"]
        rule = ">" if model["threshold_rule"] == ">=" else ">="
        return negated(model) | {"scale": scale, "threshold_rule": rule, "thresholds": thresholds}
    rank = [list(order).index(place) for place in range(len(order))]
    trees = [
        tree | ({"output": rank[tree["output"]]} if "output" in tree else {"values": _permuted(tree["values"], order)})
        for tree in model["trees"]
    ]
    return model | {"base": [model["base"][i] for i in order], "ties": rank, "trees": trees}


def negated(model: dict[str, Any]) -> dict[str, Any]:
    """Return trees of one raw score with its negative."""
    trees = [tree | {"values": [-v for v in tree["values"]]} for tree in model["trees"]]
    return model | {"base": [-b for b in model["base"]], "trees": trees}


def _permuted(rows: Sequence[Sequence[float]], order: Sequence[int]) -> list[list[float]]:
    return [[row[i] for i in order] for row in rows]


def of_estimator(estimator: Any, columns: Sequence[Column], asked: Asked | Bands, problems: list[str]) -> Fitted | None:
    """Return a fitted estimator as a scorer. If it can't be represented: None, and the problem is noted."""
    name = type(estimator).__name__
    if isinstance(estimator, (LogisticRegression, LogisticRegressionCV)):
        return _logistic_regression(estimator, columns, asked, problems)
    if asked.thresholds is not None:
        problems.append(f"{name}: thresholds are for a binary logistic model. Use: no thresholds")
    if isinstance(estimator, (KMeans, MiniBatchKMeans)):
        return _kmeans(estimator, columns, problems)
    if isinstance(estimator, GaussianMixture):
        return _gaussian_mixture(estimator, columns, problems)
    why, instead = ESTIMATORS.get(name, DEFAULT_ESTIMATOR)
    problems.append(f"{name} can't be represented: {why}. Use: {instead}")
    return None


def linear(columns: Sequence[Column], coef: Any, intercept: Any) -> tuple[list[Column], Any, Any]:
    """Return (columns, coef, intercept). Constants, scaled categories, components and repeated columns are taken into
    them.

    Args:
        coef: (n_classes, n_columns); intercept: (n_classes,).
    """
    intercept = np.array(intercept, dtype=np.float64)
    kept: dict[tuple[bytes, Any], Column] = {}
    weights: dict[tuple[bytes, Any], Any] = {}

    def spread(column: Column, weight: Any) -> None:
        nonlocal intercept
        weight = weight / column.sd
        intercept = intercept - weight * column.mean
        for part, share in column.terms:
            spread(part, weight * share)
        if column.is_constant:
            intercept = intercept + weight
        elif column.definition is not None:
            key = column.definition.key, column.category
            weights[key] = weights[key] + weight if key in weights else weight
            kept[key] = column

    for column, weight in zip(columns, np.array(coef, dtype=np.float64).T, strict=True):
        spread(column, weight)
    matrix = np.array(list(weights.values())).reshape(len(kept), len(intercept)).T
    return list(kept.values()), matrix, intercept


def logistic(
    columns: list[Column],
    coef: Any,
    intercept: float,
    classes: list[Any],
    asked: Asked | Bands,
    problems: list[str],
) -> Fitted | None:
    """Return a binary logistic of the second class's probability, cut where the author or a classifier cuts it."""
    bands = asked if isinstance(asked, Bands) else read_bands(asked, classes, problems)
    if bands is None:
        return None
    model, second = _logistic_model(coef.tolist(), intercept, bands.thresholds, bands.rule), classes[1]
    n_clusters = len(bands.thresholds) + 1
    if bands.of == classes[0] and n_clusters == 2:  # the same two clusters, by the second class's probability
        thresholds, rule = turned(bands.thresholds, bands.rule)
        model = _logistic_model(coef.tolist(), intercept, thresholds, rule)
    elif bands.of == classes[0]:
        model = _logistic_model((-coef).tolist(), -intercept, bands.thresholds, bands.rule)
        classes = classes[::-1]
    labels, is_turned = (classes if n_clusters == 2 else None), bands.of == classes[1] != second
    return Fitted(model, columns, labels, classes, n_clusters, is_turned=is_turned, by_predict=bands.by_predict)


def multinomial(columns: list[Column], coef: Any, intercept: Any, classes: list[Any]) -> Fitted:
    """Return a softmax over classes."""
    model = {"type": "multinomial", "coef": coef.tolist(), "intercept": intercept.tolist()}
    return Fitted(model, columns, classes, classes, len(classes))


def _logistic_regression(
    estimator: Any, columns: Sequence[Column], asked: Asked | Bands, problems: list[str]
) -> Fitted | None:
    name = type(estimator).__name__
    kept, coef, intercept = linear(columns, estimator.coef_, estimator.intercept_)
    classes = estimator.classes_.tolist()
    is_binary = len(coef) == 1
    multi_class = getattr(estimator, "multi_class", None)  # scikit-learn 1.7 still has it
    if multi_class == "multinomial" if is_binary else multi_class == "ovr" or estimator.solver == "liblinear":
        problems.append(
            f"{name}: its probabilities are no softmax of {len(classes)} classes. Use: the solver lbfgs, no multi_class"
        )
        return None
    if is_binary:
        found = logistic(kept, coef[0], intercept[0], classes, asked, problems)
        return None if found is None else replace(found, is_single=estimator.coef_.dtype != np.float64)
    if asked.thresholds is not None:
        problems.append(f"{name}: thresholds cut one probability, this model has {len(classes)}. Use: no thresholds")
    return multinomial(kept, coef, intercept, classes)


def _kmeans(estimator: Any, columns: Sequence[Column], problems: list[str]) -> Fitted | None:
    name, centroids = type(estimator).__name__, estimator.cluster_centers_
    # A constant column is 1 in every centroid, too: it separates nothing.
    kept = [i for i, column in enumerate(columns) if not column.is_constant]
    before = len(problems)
    inner, centroids = [columns[i] for i in kept], centroids[:, kept]
    _check_space(inner, centroids, name, problems)
    if any(column.terms for column in inner):
        inner, centroids = _before_rotation(inner, centroids, name, problems)
    elif any(column.is_scaled for column in inner):
        problems.append(
            f"{name}: encoded columns are scaled. Use: the scaler on the numbers alone, in a ColumnTransformer"
        )
    if len(problems) > before:
        return None
    model = {"type": "kmeans", "centroids": centroids.tolist()}
    numbers = list(range(len(centroids)))
    return Fitted(model, inner, numbers, [], len(numbers), are_components=True)


def _before_rotation(
    columns: Sequence[Column], centroids: Any, name: str, problems: list[str]
) -> tuple[list[Column], Any]:
    """Return (columns, centroids) in front of a PCA.

    With z = W v + b and orthonormal rows of W, |v - Wᵀ(c - b)|² = |z - c|² + what is left of v outside of the
    components. That is the same for each centroid c, so the nearest one stays the nearest.
    """
    inner, weights, start = linear(columns, np.eye(len(columns)), np.zeros(len(columns)))
    if not np.allclose(weights @ weights.T, np.eye(len(columns)), rtol=0, atol=1e-9):
        problems.append(
            f"{name}: distances behind a rotation that is scaled. Use: whiten=False, no scaler behind it, no scaled "
            "categories before it"
        )
    return inner, (centroids - start) @ weights


def _gaussian_mixture(estimator: Any, columns: Sequence[Column], problems: list[str]) -> Fitted | None:
    """Return a mixture over unscaled columns. That changes all densities by one factor, and no responsibility."""
    name, before = type(estimator).__name__, len(problems)
    _check_space(columns, estimator.means_, name, problems)
    if any(column.terms for column in columns):
        problems.append(f"{name}: behind a PCA its covariances are those of components. Use: no PCA; or KMeans")
    if any(column.is_constant for column in columns):
        problems.append(f"{name}: a constant column. Use: PolynomialFeatures(include_bias=False)")
    if len(problems) > before:
        return None
    kind, factors = estimator.covariance_type, estimator.precisions_cholesky_
    mean, sd = np.array([c.mean for c in columns]), np.array([c.sd for c in columns])
    if any(column.is_scaled for column in columns):
        if kind == "spherical":
            kind, factors = "diag", factors[:, None]
        factors = factors / (sd if kind == "diag" else sd[:, None])
    model = {
        "type": "gaussian_mixture",
        "weights": estimator.weights_.tolist(),
        "means": (mean + sd * estimator.means_).tolist(),
        "covariance_type": kind,
        "precisions_cholesky": factors.tolist(),
    }
    numbers = list(range(len(model["weights"])))
    return Fitted(model, list(columns), numbers, [], len(numbers), are_components=True)


def _check_space(columns: Sequence[Column], centres: Any, name: str, problems: list[str]) -> None:
    """Note why distances in the space of these columns can't be computed from a file."""
    if centres.dtype != np.float64:
        problems.append(f"{name}: fitted on {centres.dtype}. Use: float64, which is what documents hold")
    columns = [column for column in columns if not column.terms]
    keys = [(column.definition and column.definition.key, column.category) for column in columns]
    twice = dict.fromkeys(column.hint for column, key in zip(columns, keys, strict=True) if keys.count(key) > 1)
    if twice:
        problems.append(f"{name}: {', '.join(twice)} comes twice. Use: each column once")
