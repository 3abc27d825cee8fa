"""The scorer of a model file: parsing and checking (format: docs/model-file.md, "The scorer")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from memberstream.models.predictor import Predictor
from memberstream.models.problems import Node, some_of
from memberstream.models.scorer import GaussianMixture, KMeans, Logistic, Multinomial, Scorer, ThresholdRule
from memberstream.models.trees_file import parse_trees

MAX_PRODUCTS = 20_000_000  # multiplications a member: some 20 ms; ten classes over 4,096 columns take 40,960
MAX_FACTOR = 1e40  # (2e100 × 1e40 × 4,096 columns)² × 4,096 columns is far from overflowing
_WEIGHTS_TOLERANCE = 1e-6  # of their sum: rounding in single precision passes, a forgotten component doesn't


def parse_scorer(
    node: Node, predictors: Sequence[Predictor], n_clusters: int | None, are_complete: bool
) -> tuple[tuple[str, ...], Scorer | None]:
    """Return the scorer's inputs and, unless something is wrong with it, the scorer.

    Args:
        are_complete: none of the predictors is missing because of a problem already noted.
        n_clusters: None: not known for sure.
    """
    columns = [column for predictor in predictors for column in predictor.columns]
    inputs = tuple(columns)

    def trees(node: Node, n_inputs: int | None, n_clusters: int | None) -> Scorer | None:
        return parse_trees(node, n_inputs, n_clusters, _empty(predictors, inputs) if are_complete else ())

    kind_node = node.get("type")
    kind = kind_node.value if kind_node else None
    readers = {
        "logistic": _logistic,
        "multinomial": _multinomial,
        "kmeans": _kmeans,
        "gaussian_mixture": _gaussian_mixture,
        "trees": trees,
    }
    if not isinstance(kind, str) or kind not in readers:
        (kind_node or node).problem(f"a type, one of {', '.join(readers)}", None if kind_node else "none")
        return (), None
    inputs_node = node.get("inputs")
    if inputs_node is not None:
        named = [(element, element.text()) for element in inputs_node.array("a list of column names")]
        known = set(columns)
        for element, name in named:
            if are_complete and name is not None and name not in known:
                element.problem(f"a column of the predictors: {some_of(columns)}")
        inputs = tuple(name or "" for _, name in named)
        if len(set(inputs)) < len(inputs):
            inputs_node.problem("column names that differ from one another")
    is_known = are_complete if inputs_node is None else isinstance(inputs_node.value, list)
    scorer = readers[kind](node, len(inputs) if is_known else None, n_clusters)
    return inputs, scorer if is_known else None


def _empty(predictors: Sequence[Predictor], inputs: Sequence[str]) -> list[float]:
    """Return what each input is without a usable value, as this machine computes it. Of inputs that there aren't: 0."""
    found: dict[str, float] = {}
    for predictor in predictors:
        [empty] = predictor.compile_transforms()([None])
        found |= zip(predictor.columns, empty if predictor.is_one_hot else [empty], strict=True)
    return [found.get(name, 0.0) for name in inputs]


def _logistic(node: Node, n_inputs: int | None, n_clusters: int | None) -> Scorer | None:
    node.object({"type", "coef", "intercept", "thresholds"}, {"inputs", "threshold_rule"})
    coef_node, intercept_node = node.get("coef"), node.get("intercept")
    coef = coef_node.numbers(n_inputs, "one number for each input") if coef_node else None
    intercept = intercept_node.number() if intercept_node else None
    thresholds = _thresholds(node.get("thresholds"), n_clusters)
    rule_node = node.get("threshold_rule")
    rule: Any = rule_node.value if rule_node else ">"  # the only one in files older than the field
    if rule_node and rule not in get_args(ThresholdRule):
        rule_node.problem('">" or ">="')
    if coef is None or intercept is None or thresholds is None:
        return None
    return Logistic(np.array(coef), intercept, np.array(thresholds), rule)


def _thresholds(node: Node | None, n_clusters: int | None) -> list[float] | None:
    if node is None or (node.value == [] and n_clusters == 1):
        return []
    n = None if n_clusters is None else n_clusters - 1
    thresholds = node.numbers(n, "one probability between each two clusters")
    before = 0.0
    for index, threshold in enumerate(thresholds or ()):
        if not before < threshold < 1:
            node.child(index).problem(f"a probability above {before} and below 1")
        before = threshold
    return thresholds


def _multinomial(node: Node, n_inputs: int | None, n_clusters: int | None) -> Scorer | None:
    node.object({"type", "coef", "intercept"}, {"inputs"})
    coef = _matrix(node.get("coef"), n_inputs, n_clusters)
    intercept_node = node.get("intercept")
    intercept = intercept_node.numbers(n_clusters, "one number for each cluster") if intercept_node else None
    return None if coef is None or intercept is None else Multinomial(np.array(coef), np.array(intercept))


def _kmeans(node: Node, n_inputs: int | None, n_clusters: int | None) -> Scorer | None:
    node.object({"type", "centroids"}, {"inputs"})
    centroids = _matrix(node.get("centroids"), n_inputs, n_clusters)
    return None if centroids is None else KMeans(np.array(centroids))


def _gaussian_mixture(node: Node, n_inputs: int | None, n_clusters: int | None) -> Scorer | None:
    node.object({"type", "weights", "means", "covariance_type", "precisions_cholesky"}, {"inputs"})
    weights = _weights(node.get("weights"), n_clusters)
    means = _matrix(node.get("means"), n_inputs, n_clusters)
    kind_node, factors_node = node.get("covariance_type"), node.get("precisions_cholesky")
    kind = kind_node.value if kind_node else None
    if kind_node and kind not in ("full", "tied", "diag", "spherical"):
        kind_node.problem("one of full, tied, diag, spherical")
        return None
    factors = _factors(factors_node, kind, n_inputs, n_clusters) if kind_node and factors_node else None
    if weights is None or means is None or factors is None:
        return None
    n_products = len(means) * len(means[0]) ** 2
    if kind in ("full", "tied") and n_products > MAX_PRODUCTS:
        node.problem(f"at most {MAX_PRODUCTS} as clusters × inputs²", str(n_products))
        return None
    shape = np.shape(means) if kind in ("diag", "spherical") else (*np.shape(means), len(means[0]))
    return GaussianMixture(np.array(weights), np.array(means), np.broadcast_to(factors, shape))


def _weights(node: Node | None, n_clusters: int | None) -> list[float] | None:
    if node is None:
        return None
    weights = _positive(node, n_clusters, "one number for each cluster")
    if weights is not None and abs(math.fsum(weights) - 1) > _WEIGHTS_TOLERANCE:
        node.problem("weights that sum to 1", f"a sum of {math.fsum(weights)}")
    return weights


def _factors(node: Node, kind: Any, n_inputs: int | None, n_clusters: int | None) -> Any:
    """Return the factors as they stand; (n_clusters, 1) for spherical. None if a problem was noted."""
    before = len(node.problems)
    found: Any
    if kind == "full":
        found = [_triangle(one, n_inputs) for one in node.array("one matrix for each cluster", n_clusters)]
    elif kind == "tied":
        found = _triangle(node, n_inputs)
    elif kind == "diag":
        rows = node.array("one row for each cluster", n_clusters)
        found = [_positive(row, n_inputs, "one number for each input") for row in rows]
    else:
        spherical = _positive(node, n_clusters, "one number for each cluster")
        found = [[value] for value in spherical or ()]
    return np.array(found) if len(node.problems) == before and n_inputs is not None else None


def _triangle(node: Node, n_inputs: int | None) -> list[Any]:
    """Return the rows of an upper triangular matrix with a positive diagonal; notes where it isn't one."""
    rows = []
    for i, row in enumerate(node.array("one row for each input", n_inputs)):
        values = row.numbers(n_inputs, "one number for each input")
        for j, value in enumerate(values or ()):
            if j < i and value != 0:
                row.child(j).problem("0 below the diagonal")
            elif (j == i and value <= 0) or abs(value) > MAX_FACTOR:
                row.child(j).problem("a number up to 1e40, above 0 on the diagonal")
        rows.append(values)
    return rows


def _positive(node: Node, length: int | None, expected: str) -> list[float] | None:
    """Return numbers above 0 and up to 1e40, or None after noting every element that isn't one."""
    before = len(node.problems)
    values = node.numbers(length, expected)
    for index, value in enumerate(values or ()):
        if not 0 < value <= MAX_FACTOR:
            node.child(index).problem("a number above 0, up to 1e40")
    return values if len(node.problems) == before else None


def _matrix(node: Node | None, n_inputs: int | None, n_clusters: int | None) -> list[list[float]] | None:
    """Return rows of equal length; None after noting a problem, or if nobody knows which length is right."""
    if node is None:
        return None
    before = len(node.problems)
    rows = [
        row.numbers(n_inputs, "one number for each input") for row in node.array("one row for each cluster", n_clusters)
    ]
    is_right = len(node.problems) == before and n_inputs is not None
    return [row for row in rows if row is not None] if is_right else None
