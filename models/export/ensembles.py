"""Forests and boosted trees of scikit-learn: their nodes, base, and the scale of their raw score.

Laws:
Law: nodes are read from the fitted object's arrays. What the file computes of them must have the bits of the object's
own raw scores, for each document (models.export.proof).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import BaseDecisionTree

from memberstream.models.forest import LEAF
from memberstream.models.predictor import LIMIT
from memberstream.models.scorer import ThresholdRule


@dataclass(frozen=True)
class Ensemble:
    """Fitted trees, before it is said what is cut where.

    Attributes:
        trees: as in a model file. base: one number for each raw score.
        scale: as in a model file. classes: of a classifier.
        raw: what the fitted object itself says: matrix → (n,) or (n, n_outputs).
        probability: raw score → probability, as the trainer computes it; of scale "logit" with one raw score.
        rule: how predict cuts that raw score at 0.
        is_cut_by_probability: whether predict compares probabilities with one half instead.
        takes_missing: whether it has a place for NaN.
        is_single: whether probabilities are in single precision.
        more: other fields of the model.
        transforms: of the inputs that are asked for codes, what makes them of numbers.
    """

    trees: list[dict[str, Any]]
    base: list[float]
    scale: str
    classes: list[Any]
    raw: Callable[[Any], Any]
    probability: Callable[[float], float] = field(default=lambda raw: float(expit(raw)))
    rule: ThresholdRule = ">"
    is_cut_by_probability: bool = False
    takes_missing: bool = True
    is_single: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    transforms: dict[int, dict[str, Any]] = field(default_factory=dict)


#: (fitted, column of the matrix → input, problems) → trees; None: they can't be exact, and a problem is noted.
Reader = Callable[[Any, Sequence[int], list[str]], Ensemble | None]


def nodes(
    left: Any,
    right: Any,
    column: Any,
    threshold: Any,
    value: Any,
    cover: Any,
    missing_left: Any,
    inputs: Sequence[int],
    codes: Mapping[int, list[int]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return a tree as it stands in a model file: its nodes in preorder.

    Args:
        left, right: (n_nodes,) children, below 0 for those of leaves. The root is node 0.
        column: (n_nodes,) of the matrix; inputs: column → input.
        value: (n_nodes,) or (n_nodes, n_outputs).
        codes: of the nodes that ask for a set, the codes that go left.
    """
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if left[node] >= 0:
            waiting += [int(right[node]), int(left[node])]
    asking = [node for node in order if left[node] >= 0]
    leaves = [node for node in order if left[node] < 0]
    thresholds = np.minimum(np.asarray(threshold, dtype=np.float64)[asking], LIMIT).tolist()
    return {
        "columns": [inputs[int(column[node])] if left[node] >= 0 else LEAF for node in order],
        "thresholds": [codes.get(node, one) for node, one in zip(asking, thresholds, strict=True)],
        "values": np.asarray(value, dtype=np.float64)[leaves].tolist(),
        "missing_left": np.asarray(missing_left, dtype=np.int64)[asking].tolist(),
        "covers": np.asarray(cover, dtype=np.float64)[leaves].tolist(),
    }


# --- scikit-learn


def _of_tree(fitted: Any, inputs: Sequence[int], value: Any) -> dict[str, Any]:
    t = fitted.tree_
    goes_left = getattr(t, "missing_go_to_left", np.zeros(t.node_count))
    return nodes(
        t.children_left, t.children_right, t.feature, t.threshold, value, t.weighted_n_node_samples, goes_left, inputs
    )


def _forest(estimator: Any, inputs: Sequence[int], problems: list[str]) -> Ensemble | None:
    """Return a forest, or a decision tree by itself."""
    if estimator.n_outputs_ != 1:
        problems.append(f"{type(estimator).__name__}: {estimator.n_outputs_} outputs. Use: one model for each")
        return None
    is_classifier = hasattr(estimator, "classes_")
    classes = estimator.classes_.tolist() if is_classifier else []
    trees = [
        _of_tree(one, inputs, one.tree_.value[:, 0, :] if is_classifier else one.tree_.value[:, 0, 0])
        for one in getattr(estimator, "estimators_", [estimator])
    ]
    more = {"divisor": len(trees), "input_precision": "single"}
    raw = estimator.predict_proba if is_classifier else estimator.predict
    scale = "probability" if is_classifier else "value"
    return Ensemble(trees, [0.0] * max(1, len(classes)), scale, classes, raw, more=more)


def _boosted(estimator: Any, inputs: Sequence[int], problems: list[str]) -> Ensemble | None:
    name, is_classifier = type(estimator).__name__, hasattr(estimator, "classes_")
    if estimator.loss == "exponential":
        problems.append(f'{name}: loss="exponential" has another probability. Use: loss="log_loss"')
        return None
    if estimator.init is not None and estimator.init != "zero":
        problems.append(f'{name}: begins with another model. Use: init=None or init="zero"')
        return None
    columns = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    base = estimator._raw_predict_init(columns)[0].tolist()
    stages = estimator.estimators_
    trees = [
        _of_tree(one, inputs, estimator.learning_rate * one.tree_.value[:, 0, 0])
        | ({"output": k} if stages.shape[1] > 1 else {})
        for stage in stages
        for k, one in enumerate(stage)
    ]
    return Ensemble(
        trees,
        base,
        "logit" if is_classifier else "value",
        estimator.classes_.tolist() if is_classifier else [],
        estimator.decision_function if is_classifier else estimator.predict,
        rule=">=",
        takes_missing=False,
        more={"input_precision": "single"},
    )


def _histograms(estimator: Any, inputs: Sequence[int], problems: list[str]) -> Ensemble | None:
    name, is_classifier = type(estimator).__name__, hasattr(estimator, "classes_")
    is_categorical = np.zeros(len(inputs), dtype=bool)
    transforms: dict[int, dict[str, Any]] = {}
    if estimator.is_categorical_ is not None:
        is_categorical = np.asarray(estimator.is_categorical_)
        known = estimator._preprocessor.named_transformers_["encoder"].categories_
        for column, values in zip(np.flatnonzero(is_categorical).tolist(), known, strict=True):
            transforms[inputs[column]] = {"codes": [value for value in values.tolist() if not math.isnan(value)]}
        # It has put the columns of categories in front.
        inputs = [inputs[i] for i in np.argsort(~is_categorical, kind="stable").tolist()]
    if not is_classifier and estimator.loss not in ("squared_error", "absolute_error", "quantile"):
        problems.append(f'{name}: loss="{estimator.loss}" predicts an exponential. Use: loss="squared_error"')
        return None
    trees = []
    for iteration in estimator._predictors:
        for k, predictor in enumerate(iteration):
            n = predictor.nodes
            left, right = (np.where(n["is_leaf"], -1, n[side].astype(np.int64)) for side in ("left", "right"))
            column, cut, missing = n["feature_idx"], n["num_threshold"], n["missing_go_to_left"]
            codes = {
                node: _codes_of(predictor.raw_left_cat_bitsets[n["bitset_idx"][node]])
                for node in np.flatnonzero(n["is_categorical"]).tolist()
            }
            tree = nodes(left, right, column, cut, n["value"], n["count"], missing, inputs, codes)
            trees.append(tree | ({"output": k} if len(iteration) > 1 else {}))
    return Ensemble(
        trees,
        (0.0 + np.ravel(estimator._baseline_prediction)).tolist(),
        "logit" if is_classifier else "value",
        estimator.classes_.tolist() if is_classifier else [],
        estimator.decision_function if is_classifier else estimator.predict,
        transforms=transforms,
    )


def _codes_of(words: Any) -> list[int]:
    """Return the codes in a set of bits, 32 in a word."""
    bits = np.unpackbits(np.asarray(words, dtype="<u4").view(np.uint8), bitorder="little")
    return np.flatnonzero(bits).tolist()


_READERS: tuple[tuple[tuple[type, ...], Reader], ...] = (
    ((RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor), _forest),
    ((BaseDecisionTree,), _forest),
    ((GradientBoostingClassifier, GradientBoostingRegressor), _boosted),
    ((HistGradientBoostingClassifier, HistGradientBoostingRegressor), _histograms),
)


def reader_of(estimator: Any) -> Reader | None:
    """Return the function that reads such trees; None if the estimator is something else."""
    return next((reader for kinds, reader in _READERS if isinstance(estimator, kinds)), None)
