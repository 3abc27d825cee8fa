"""Final estimators, each as the `model` of a model file over the columns in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.mixture import GaussianMixture

from models.export.columns import Column

_PER_CLUSTER = ("coef", "intercept", "centroids", "weights", "means", "precisions_cholesky")
_SUPPORTED = "LogisticRegression, KMeans, MiniBatchKMeans or GaussianMixture"
_INSTEAD = {
    "OneVsRestClassifier": "LogisticRegression, which tells more than two classes apart by itself",
    "OneVsOneClassifier": "LogisticRegression, which tells more than two classes apart by itself",
    "CalibratedClassifierCV": "the LogisticRegression itself, whose probabilities need no calibration as a rule",
    "FixedThresholdClassifier": "its estimator_, and thresholds=[…]",
    "TunedThresholdClassifierCV": "its estimator_, and thresholds=[its best_threshold_]",
    "GridSearchCV": "its best_estimator_",
    "RandomizedSearchCV": "its best_estimator_",
    "SGDClassifier": 'LogisticRegression; solver="saga" is the one for many rows',
    "BayesianGaussianMixture": "GaussianMixture",
    "BisectingKMeans": "KMeans",
}


@dataclass(frozen=True)
class Fitted:
    """What is left of an estimator.

    Attributes:
        model: the model file's `model`, without `inputs`.
        columns: its inputs, in the order of the parameters.
        classes: the fitted object's labels in the order of its parameters; None for bands of a probability.
        n_clusters: how many clusters it tells apart.
    """

    model: dict[str, Any]
    columns: list[Column]
    classes: list[Any] | None
    n_clusters: int

    def in_order(self, order: Sequence[int]) -> dict[str, Any]:
        """Return `model` with its clusters in another order: first the one that stood at order[0]."""
        if self.model["type"] == "logistic":
            return self.model
        per_cluster = set(_PER_CLUSTER)
        if self.model.get("covariance_type") == "tied":
            per_cluster.remove("precisions_cholesky")
        return {k: [value[i] for i in order] if k in per_cluster else value for k, value in self.model.items()}


def of_estimator(
    estimator: Any, columns: Sequence[Column], thresholds: Sequence[float] | None, problems: list[str]
) -> Fitted | None:
    """Return what is left of a fitted estimator; None, and a problem noted, if it can't be represented."""
    name = type(estimator).__name__
    if isinstance(estimator, (LogisticRegression, LogisticRegressionCV)):
        return _logistic_regression(estimator, columns, thresholds, problems)
    if thresholds is not None:
        problems.append(f"{name}: thresholds are for a binary logistic model. Use: no thresholds")
    if isinstance(estimator, (KMeans, MiniBatchKMeans)):
        return _kmeans(estimator, columns, problems)
    if isinstance(estimator, GaussianMixture):
        return _gaussian_mixture(estimator, columns, problems)
    problems.append(f"{name} can't be represented. Use: {_INSTEAD.get(name, _SUPPORTED)}")
    return None


def linear(columns: Sequence[Column], coef: Any, intercept: Any) -> tuple[list[Column], Any, Any]:
    """Return (columns, coef, intercept) with constants, scaled categories and columns that come twice taken in.

    Args:
        coef: (n_classes, n_columns); intercept: (n_classes,).
    """
    intercept = np.array(intercept, dtype=np.float64)
    kept: dict[tuple[bytes, Any], Column] = {}
    weights: dict[tuple[bytes, Any], Any] = {}
    for column, weight in zip(columns, np.array(coef, dtype=np.float64).T, strict=True):
        weight = weight / column.sd
        intercept = intercept - weight * column.mean
        if column.definition is None:
            intercept = intercept + weight
        else:
            key = column.definition.key, column.category
            weights[key] = weights[key] + weight if key in weights else weight
            kept[key] = column
    matrix = np.array(list(weights.values())).reshape(len(kept), len(intercept)).T
    return list(kept.values()), matrix, intercept


def logistic(
    columns: list[Column], coef: Any, intercept: float, thresholds: Sequence[float] | None, classes: list[Any]
) -> Fitted:
    """Return a binary logistic of the second class' probability, cut at the thresholds (None: at one half)."""
    bands = [0.5] if thresholds is None else list(map(float, thresholds))
    model = {"type": "logistic", "coef": coef.tolist(), "intercept": float(intercept), "thresholds": bands}
    return Fitted(model, columns, classes if bands == [0.5] else None, len(bands) + 1)


def multinomial(columns: list[Column], coef: Any, intercept: Any, classes: list[Any]) -> Fitted:
    """Return a softmax over classes."""
    model = {"type": "multinomial", "coef": coef.tolist(), "intercept": intercept.tolist()}
    return Fitted(model, columns, classes, len(classes))


def _logistic_regression(
    estimator: Any, columns: Sequence[Column], thresholds: Sequence[float] | None, problems: list[str]
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
        return logistic(kept, coef[0], intercept[0], thresholds, classes)
    if thresholds is not None:
        problems.append(f"{name}: thresholds cut one probability, this model has {len(classes)}. Use: no thresholds")
    return multinomial(kept, coef, intercept, classes)


def _kmeans(estimator: Any, columns: Sequence[Column], problems: list[str]) -> Fitted | None:
    name, centroids = type(estimator).__name__, estimator.cluster_centers_
    # A constant column is 1 in every centroid, too: it separates nothing.
    kept = [i for i, column in enumerate(columns) if column.definition is not None]
    before = len(problems)
    _check_space([columns[i] for i in kept], centroids, name, problems)
    if any(columns[i].is_scaled for i in kept):
        problems.append(
            f"{name}: encoded columns are scaled. Use: the scaler on the numbers alone, in a ColumnTransformer"
        )
    if len(problems) > before:
        return None
    model = {"type": "kmeans", "centroids": centroids[:, kept].tolist()}
    return Fitted(model, [columns[i] for i in kept], list(range(len(centroids))), len(centroids))


def _gaussian_mixture(estimator: Any, columns: Sequence[Column], problems: list[str]) -> Fitted | None:
    """Return a mixture over the columns unscaled; that changes all densities by one factor, so no responsibility."""
    name, before = type(estimator).__name__, len(problems)
    _check_space(columns, estimator.means_, name, problems)
    if any(column.definition is None for column in columns):
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
    n_clusters = len(model["weights"])
    return Fitted(model, list(columns), list(range(n_clusters)), n_clusters)


def _check_space(columns: Sequence[Column], centres: Any, name: str, problems: list[str]) -> None:
    """Note what forbids the distance in the space of these columns."""
    if centres.dtype != np.float64:
        problems.append(f"{name}: fitted on {centres.dtype}. Use: float64, which is what documents hold")
    keys = [(column.definition and column.definition.key, column.category) for column in columns]
    twice = dict.fromkeys(column.hint for column, key in zip(columns, keys, strict=True) if keys.count(key) > 1)
    if twice:
        problems.append(f"{name}: {', '.join(twice)} comes twice. Use: each column once")
