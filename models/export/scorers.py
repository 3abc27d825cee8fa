"""Final estimators, each as the `model` of a model file over the columns in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.mixture import GaussianMixture

from models.export.columns import Column


@dataclass(frozen=True)
class Fitted:
    """What is left of an estimator.

    Attributes:
        model: the model file's `model`, without `inputs`.
        kept: which of the columns it has parameters for: all but the constant.
        classes: the fitted object's labels in the order of the clusters; None for bands of a probability.
        n_clusters: how many clusters it tells apart.
    """

    model: dict[str, Any]
    kept: list[int]
    classes: list[Any] | None
    n_clusters: int


def linear(columns: Sequence[Column], coef: Any, intercept: Any) -> tuple[list[int], Any, Any]:
    """Return (columns kept, coef, intercept) with constants and the scaling of categories' columns taken in.

    Args:
        coef: (n_classes, n_columns); intercept: (n_classes,).
    """
    coef = np.array(coef, dtype=np.float64)
    intercept = np.array(intercept, dtype=np.float64)
    for i, column in enumerate(columns):
        if (column.mean, column.sd) != (0.0, 1.0):
            intercept = intercept - coef[:, i] * column.mean / column.sd
            coef[:, i] /= column.sd
        if column.definition is None:
            intercept = intercept + coef[:, i]
    kept = [i for i, column in enumerate(columns) if column.definition is not None]
    return kept, coef[:, kept], intercept


def logistic(kept: list[int], coef: Any, intercept: float, thresholds: Sequence[float], classes: list[Any]) -> Fitted:
    """Return a binary logistic of the second class' probability, cut at the thresholds."""
    bands = list(map(float, thresholds))
    model = {"type": "logistic", "coef": coef.tolist(), "intercept": float(intercept), "thresholds": bands}
    return Fitted(model, kept, classes if bands == [0.5] else None, len(bands) + 1)


def multinomial(kept: list[int], coef: Any, intercept: Any, classes: list[Any]) -> Fitted:
    """Return a softmax over classes."""
    model = {"type": "multinomial", "coef": coef.tolist(), "intercept": intercept.tolist()}
    return Fitted(model, kept, classes, len(classes))


def of_estimator(
    estimator: Any, columns: Sequence[Column], thresholds: Sequence[float] | None, problems: list[str]
) -> Fitted | None:
    """Return what is left of a fitted estimator; None, and a problem noted, if it can't be represented."""
    name = type(estimator).__name__
    if isinstance(estimator, (LogisticRegression, LogisticRegressionCV)):
        kept, coef, intercept = linear(columns, estimator.coef_, estimator.intercept_)
        classes = estimator.classes_.tolist()
        if len(coef) == 1:
            return logistic(kept, coef[0], intercept[0], [0.5] if thresholds is None else thresholds, classes)
        if thresholds is not None:
            problems.append(
                f"{name}: thresholds cut one probability, this model has {len(classes)}. Use: no thresholds"
            )
        return multinomial(kept, coef, intercept, classes)
    if thresholds is not None:
        problems.append(f"{name}: thresholds are for a binary logistic model. Use: no thresholds")
    if isinstance(estimator, (KMeans, MiniBatchKMeans)):
        return _kmeans(np.asarray(estimator.cluster_centers_, dtype=np.float64), columns, name, problems)
    if isinstance(estimator, GaussianMixture):
        problems.append(f"{name}: isn't representable in this version. Use: KMeans")
        return None
    kind = "classifier" if is_classifier(estimator) else "estimator"
    problems.append(f"{name}: this {kind} can't be represented. Use: LogisticRegression, KMeans or MiniBatchKMeans")
    return None


def _kmeans(centroids: Any, columns: Sequence[Column], name: str, problems: list[str]) -> Fitted | None:
    # A constant column is 1 in every centroid, too: it separates nothing.
    kept = [i for i, column in enumerate(columns) if column.definition is not None]
    if any((columns[i].mean, columns[i].sd) != (0.0, 1.0) for i in kept):
        problems.append(
            f"{name}: encoded columns are scaled. Use: the scaler on the numbers alone, in a ColumnTransformer"
        )
        return None
    model = {"type": "kmeans", "centroids": centroids[:, kept].tolist()}
    return Fitted(model, kept, list(range(len(centroids))), len(centroids))
