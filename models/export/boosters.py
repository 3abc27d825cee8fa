"""LightGBM's and XGBoost's boosted trees, by what their boosters write of themselves. Neither library is imported here.

- LightGBM adds in double precision, from nothing on; an average is part of a random forest only.
- XGBoost rounds inputs, adds in single precision from the base on, and goes left below a threshold, not at it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from memberstream.models.export.ensembles import Ensemble, Reader, nodes
from memberstream.models.forest import LEAF

_ZERO = float(np.float32(1e-35))  # LightGBM's kZeroThreshold


def reader_of(estimator: Any) -> Reader | None:
    """Return the function that reads such a booster; None if the estimator is something else."""
    return _READERS.get((type(estimator).__module__.split(".")[0], type(estimator).__name__))


# --- LightGBM


def _lightgbm(estimator: Any, inputs: Sequence[int], problems: list[str]) -> Ensemble | None:
    name, booster = type(estimator).__name__, estimator.booster_
    dump = booster.dump_model()  # with the trees that predict uses
    objective = dump.get("objective", "custom").split()  # of a function it says nothing
    trees = [_lightgbm_tree(one["tree_structure"], name, inputs, problems) for one in dump["tree_info"]]
    n_outputs = dump["num_tree_per_iteration"]
    is_known = objective[0] in ("binary", "multiclass", "regression", "regression_l1", "huber", "fair", "quantile")
    if not is_known or "sqrt" in objective or (objective[0] == "binary" and "sigmoid:1" not in objective):
        problems.append(f"{name}: the objective {' '.join(objective)} isn't read. Use: binary, multiclass, regression")
    if booster.params.get("linear_tree"):
        problems.append(f"{name}: linear_tree has a regression in each leaf. Use: linear_tree=False")
    if getattr(booster, "pandas_categorical", None):
        problems.append(f"{name}: reads pandas' categories. Use: their codes as numbers, with categorical_feature")
    if problems:
        return None
    found = [
        tree | ({"output": i % n_outputs} if n_outputs > 1 else {}) for i, tree in enumerate(trees) if tree is not None
    ]
    is_classifier = objective[0] in ("binary", "multiclass")
    divisor = len(found) // n_outputs if dump.get("average_output") else 1
    return Ensemble(
        found,
        [0.0] * n_outputs,
        "logit" if is_classifier else "value",
        estimator.classes_.tolist() if is_classifier else [],
        lambda x: estimator.predict(x, raw_score=True) / divisor,  # its raw score of a forest isn't the mean yet
        probability=lambda raw: 1 / (1 + math.exp(-raw)) if raw > -700 else 0.0,
        is_cut_by_probability=True,
        more={"divisor": divisor},
        transforms=_bins(found),
    )


def _lightgbm_tree(
    root: dict[str, Any], name: str, inputs: Sequence[int], problems: list[str]
) -> dict[str, Any] | None:
    """Return a tree as it stands in a model file. None, and the problem is noted, if it can't be one."""
    table: list[dict[str, Any]] = []
    left, right = [], []
    waiting: list[tuple[dict[str, Any], list[int] | None, int]] = [(root, None, 0)]
    while waiting:
        node, children, parent = waiting.pop()
        if children is not None:
            children[parent] = len(table)
        place = len(table)
        table.append(node)
        left.append(-1)
        right.append(-1)
        if "split_feature" in node:
            if node["decision_type"] == "<=" and node["missing_type"] == "Zero":
                problems.append(f"{name}: takes 0 for missing. Use: zero_as_missing=False")
                return None
            waiting += [(node["right_child"], right, place), (node["left_child"], left, place)]
    # With no missing value in training LightGBM reads one as 0.
    codes = {i: _codes(n) for i, n in enumerate(table) if n.get("decision_type") == "=="}
    cuts = [0.0 if i in codes else n.get("threshold", 0.0) for i, n in enumerate(table)]
    goes_left = [
        n["default_left"] if n.get("missing_type") == "NaN" else cut >= 0 for n, cut in zip(table, cuts, strict=True)
    ]
    return nodes(
        left,
        right,
        [n.get("split_feature", 0) for n in table],
        [_beside_zero(cut) for cut in cuts],
        [n.get("leaf_value", 0.0) for n in table],
        [n.get("leaf_count", 1) for n in table],
        goes_left,
        inputs,
        codes,
    )


def _codes(node: dict[str, Any]) -> list[int]:
    """Return the codes that go left, as `_bins` counts them."""
    return sorted(int(code) + 1 for code in node["threshold"].split("||"))


def _bins(trees: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return for each input that is asked for codes the transform that makes them. LightGBM cuts a number to a whole
    one, towards 0. So 0 is below it, 1 is its code 0, and so on; what lies behind all codes is in no set."""
    most: dict[int, int] = {}
    for tree in trees:
        for column, one in zip((c for c in tree["columns"] if c != LEAF), tree["thresholds"], strict=True):
            if isinstance(one, list):
                most[column] = max(most.get(column, 0), *one)
    below = math.nextafter(-1.0, 0.0)
    return {column: {"bins": [below, *map(float, range(1, n + 1))]} for column, n in most.items()}


def _beside_zero(threshold: float) -> float:
    """Return the threshold that does the same where numbers within ±1e-35 aren't taken for 0, as LightGBM does."""
    if abs(threshold) > _ZERO:
        return threshold
    return _ZERO if threshold >= 0 else math.nextafter(-_ZERO, -math.inf)


# --- XGBoost


def _xgboost(estimator: Any, inputs: Sequence[int], problems: list[str]) -> Ensemble | None:
    name, booster = type(estimator).__name__, estimator.get_booster()
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    objective, kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if objective not in ("binary:logistic", "multi:softprob", "reg:squarederror"):
        problems.append(f"{name}: the objective {objective} isn't read. Use: binary:logistic, reg:squarederror")
    if kind != "gbtree":
        problems.append(f'{name}: its booster {kind} isn\'t read. Use: booster="gbtree"')
        return None
    if not math.isnan(estimator.missing):
        problems.append(f"{name}: missing={estimator.missing}. Use: NaN for what is missing")
    model = learner["gradient_booster"]["model"]
    if any(tree["categories"] for tree in model["trees"]):
        problems.append(f"{name}: splits by categories. Use: no categories, behind a OneHotEncoder")
    n_targets = int(learner["learner_model_param"].get("num_target", 1))
    if n_targets > 1:
        problems.append(f"{name}: {n_targets} outputs. Use: one model for each")
    if any(int(tree["tree_param"]["size_leaf_vector"]) > 1 for tree in model["trees"]):
        problems.append(f'{name}: multi_strategy="multi_output_tree" isn\'t read. Use: "one_output_per_tree"')
    if problems:
        return None
    n_outputs = max(1, int(learner["learner_model_param"]["num_class"]))
    n_trees = len(model["trees"])
    best = learner.get("attributes", {}).get("best_iteration")
    if best is not None:  # predict uses no tree behind it
        n_trees = model["iteration_indptr"][int(best) + 1]
    trees = [
        _xgboost_tree(tree, inputs) | ({"output": output} if n_outputs > 1 else {})
        for tree, output in zip(model["trees"][:n_trees], model["tree_info"], strict=False)
    ]
    bases = np.array(json.loads(learner["learner_model_param"]["base_score"]), dtype=np.float32).ravel()
    if objective == "binary:logistic":
        bases = np.array([-math.log(np.float32(1) / b - np.float32(1)) for b in bases], dtype=np.float32)
    is_classifier = objective != "reg:squarederror"
    return Ensemble(
        trees,
        np.broadcast_to(bases, n_outputs).tolist(),
        "logit" if is_classifier else "value",
        estimator.classes_.tolist() if is_classifier else [],
        lambda x: estimator.predict(x, output_margin=True).astype(np.float64),
        probability=_single_expit,
        is_cut_by_probability=True,
        is_single=True,
        more={"input_precision": "single", "sum_precision": "single"},
    )


def _single_expit(raw: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(1) / (np.float32(1) + np.exp(-np.float32(raw))))


def _xgboost_tree(tree: dict[str, Any], inputs: Sequence[int]) -> dict[str, Any]:
    cut = np.array(tree["split_conditions"], dtype=np.float32)
    return nodes(
        tree["left_children"],
        tree["right_children"],
        tree["split_indices"],
        np.nextafter(cut, np.float32(-np.inf)).astype(np.float64),  # below the threshold is at most the number before
        cut.astype(np.float64),  # of leaves
        tree["sum_hessian"],
        tree["default_left"],
        inputs,
    )


_READERS: dict[tuple[str, str], Reader] = {
    ("lightgbm", "LGBMClassifier"): _lightgbm,
    ("lightgbm", "LGBMRegressor"): _lightgbm,
    ("xgboost", "XGBClassifier"): _xgboost,
    ("xgboost", "XGBRegressor"): _xgboost,
    ("xgboost", "XGBRFClassifier"): _xgboost,
    ("xgboost", "XGBRFRegressor"): _xgboost,
}
