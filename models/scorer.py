"""Scorers: from the columns of `x` to probabilities or distances, and to the index of a cluster.

Laws:
- A row's result depends on that row alone, bit for bit: every reduction runs along one row, in an order fixed by the
  number of columns. (BLAS' gemv and gemm differ in the last bit, so no `@`.)
- Ties go to the cluster that stands first in the file; ids ascend there, so it is the lowest id.
- Nothing overflows. Columns and parameters lie within ±1e100 (models.predictor.LIMIT, models.problems). The Cholesky
  factors of a mixture lie within ±1e40 (models.scorer_file), because they are squared after a product.
- Formulas and parameter shapes are scikit-learn's: LogisticRegression (binary, multinomial), KMeans, GaussianMixture.
  Trees have laws of their own (models.forest).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from memberstream.models.forest import Forest

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
ThresholdRule = Literal[">", ">="]
_SIDES: dict[str, Literal["left", "right"]] = {">": "left", ">=": "right"}  # numpy.searchsorted's
_HALF_LOG_2PI = math.log(2 * math.pi) / 2


@dataclass(frozen=True, slots=True)
class Scores:
    """A scorer's results for n rows. What doesn't apply to its type is None.

    Attributes:
        index: (n,) index of the cluster in the file's list.
        eta: logistic (n,), multinomial (n, n_clusters): linear predictor, logit scale; Gaussian mixture
            (n, n_clusters): log(weight × density).
        probability: logistic (n,): of the positive class; multinomial, Gaussian mixture (n, n_clusters).
        distances: k-means (n, n_clusters): Euclidean distance to each centroid.
        raw: trees (n,), or (n, n_clusters): the raw score. Their probability has the same shape, or is None.
    """

    index: Indices
    eta: Floats | None = None
    probability: Floats | None = None
    distances: Floats | None = None
    raw: Floats | None = None


def linear(x: Floats, coef: Floats, intercept: float) -> Floats:
    """Return eta = coef · x + intercept per row; x (n, n_columns), coef (n_columns,) → (n,)."""
    products = np.multiply(x, coef, order="C")
    eta: Floats = products.sum(axis=1) + intercept
    return eta


def expit(eta: Floats) -> Floats:
    """Return 1 / (1 + exp(-eta)) without overflow, the same shape."""
    e = np.exp(-np.abs(eta))
    return np.where(eta >= 0, 1.0 / (1.0 + e), e / (1.0 + e))


def softmax(eta: Floats) -> Floats:
    """Return exp(eta) as shares of each row's sum, (n, n_clusters) → the same shape."""
    e = np.exp(eta - eta.max(axis=1, keepdims=True))
    shares: Floats = e / e.sum(axis=1, keepdims=True)
    return shares


@dataclass(frozen=True, slots=True)
class Logistic:
    """Probability of the positive class, cut into bands: the cluster is the number of thresholds that it has passed.

    A probability p passes a threshold t if p > t or, by the other rule, if p >= t.
    """

    type: ClassVar[str] = "logistic"
    coef: Floats  # (n_columns,)
    intercept: float
    thresholds: Floats  # (n_clusters - 1,), ascending, inside (0, 1)
    threshold_rule: ThresholdRule = ">"

    def score_many(self, x: Floats) -> Scores:
        """Return the scores of x (n, n_columns)."""
        eta = linear(x, self.coef, self.intercept)
        probability = expit(eta)
        return Scores(self.thresholds.searchsorted(probability, side=_SIDES[self.threshold_rule]), eta, probability)


@dataclass(frozen=True, slots=True)
class Multinomial:
    """Softmax of one linear predictor per class; the most probable class is the cluster."""

    type: ClassVar[str] = "multinomial"
    coef: Floats  # (n_clusters, n_columns)
    intercept: Floats  # (n_clusters,)

    def score_many(self, x: Floats) -> Scores:
        """Return the scores of x (n, n_columns)."""
        rows = zip(self.coef, self.intercept.tolist(), strict=True)
        eta = np.stack([linear(x, coef, intercept) for coef, intercept in rows], axis=1)
        return Scores(eta.argmax(axis=1), eta, softmax(eta))


@dataclass(frozen=True, slots=True)
class KMeans:
    """The cluster is the nearest centroid."""

    type: ClassVar[str] = "kmeans"
    centroids: Floats  # (n_clusters, n_columns)

    def score_many(self, x: Floats) -> Scores:
        """Return the scores of x (n, n_columns)."""
        squares = [np.square(np.subtract(x, centroid, order="C")).sum(axis=1) for centroid in self.centroids]
        squared = np.stack(squares, axis=1)
        return Scores(squared.argmin(axis=1), distances=np.sqrt(squared))


@dataclass(frozen=True, slots=True)
class GaussianMixture:
    """The most probable of several normal distributions; probabilities are its responsibilities.

    A component's precision matrix is U Uᵀ with U upper triangular (scikit-learn's `precisions_cholesky_`). Then
    y = (x - mean) U has independent standard normal elements: y_j is x_j, standardised given the columns before it.
    """

    type: ClassVar[str] = "gaussian_mixture"
    weights: Floats  # (n_clusters,), above 0
    means: Floats  # (n_clusters, n_columns)
    factors: Floats  # the U, (n_clusters, n_columns, n_columns); of diagonal ones the diagonals: a dimension less

    def score_many(self, x: Floats) -> Scores:
        """Return the scores of x (n, n_columns)."""
        densities = [self.log_densities(x, i).sum(axis=1) for i in range(len(self.weights))]
        eta = np.stack(densities, axis=1) + np.log(self.weights)
        return Scores(eta.argmax(axis=1), eta, softmax(eta))

    def log_densities(self, x: Floats, component: int) -> Floats:
        """Return log p(x_j | x_1 … x_j-1) under a component, (n, n_columns). The sum of a row is its log density."""
        centred = np.subtract(x, self.means[component], order="C")
        factor = self.factors[component]
        if factor.ndim == 1:
            y, diagonal = centred * factor, factor
        else:
            y, diagonal = np.stack([linear(centred, column, 0.0) for column in factor.T], axis=1), factor.diagonal()
        densities: Floats = np.subtract(np.log(diagonal) - _HALF_LOG_2PI, 0.5 * np.square(y), order="C")
        return densities


Scale = Literal["logit", "probability", "value"]


@dataclass(frozen=True, slots=True)
class Trees:
    """Boosted trees or a forest: bands of one raw score, or a raw score for each cluster, of which the largest wins.

    Attributes:
        scale: what a raw score is: "logit" (probability = expit, or softmax of several), "probability", or "value".
        thresholds: (n_clusters - 1,) of the only raw score, ascending; None: there is a raw score for each cluster.
        ties: (n_clusters,) without thresholds: the clusters in the order in which equal raw scores win.
    """

    type: ClassVar[str] = "trees"
    forest: Forest
    scale: Scale
    thresholds: Floats | None
    threshold_rule: ThresholdRule
    ties: Indices

    def score_many(self, x: Floats) -> Scores:
        """Return the scores of x (n, n_columns)."""
        raw = self.forest.raw_many(x)
        if self.thresholds is None:
            index = self.ties[raw[:, self.ties].argmax(axis=1)]
        else:
            raw = raw[:, 0]
            index = self.thresholds.searchsorted(raw, side=_SIDES[self.threshold_rule])
        probability = None if self.scale == "value" else raw
        if self.scale == "logit":
            probability = expit(raw) if raw.ndim == 1 else softmax(raw)
        return Scores(index, probability=probability, raw=raw)


Scorer = Logistic | Multinomial | KMeans | GaussianMixture | Trees
