"""CatBoost's boosted trees, by the JSON that a fitted object writes of itself. The library isn't imported here.

- Inputs are rounded to single precision. A number above a border goes right.
- Leaf values are added in double precision, and the bias last. So the bias is a tree of one leaf, behind the others.
- An oblivious tree asks the same question all over a level, and its leaves are numbered by the answers: the first
  split is the lowest bit. It becomes an ordinary tree that asks the last split first, as CatBoost's own contributions
  do.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memberstream.models.export.ensembles import Ensemble, Reader, nodes

_CLASSIFYING = ("Logloss", "MultiClass")
_REGRESSING = ("RMSE", "MAE", "Quantile", "Huber")
_OTHER_SPLITS = ("categorical_features", "text_features", "embedding_features")


def reader_of(estimator: Any) -> Reader | None:
    """Return the function that reads such an object; None if it is something else."""
    kind = type(estimator)
    is_known = kind.__name__ in ("CatBoostClassifier", "CatBoostRegressor")
    return _catboost if is_known and kind.__module__.split(".")[0] == "catboost" else None


def _catboost(estimator: Any, inputs: Sequence[int], problems: list[str]) -> Ensemble | None:
    name, written = type(estimator).__name__, _written(estimator)
    features, (scale, bias) = written["features_info"], written["scale_and_bias"]
    classes = list(getattr(estimator, "classes_", []))
    objective = written["model_info"].get("params", {}).get("loss_function", {}).get("type", "of several models")
    if objective not in (_CLASSIFYING if name == "CatBoostClassifier" else _REGRESSING):
        known = ", ".join(_CLASSIFYING if name == "CatBoostClassifier" else _REGRESSING)
        problems.append(f"{name}: the objective {objective} isn't read. Use: {known}")
    if name == "CatBoostClassifier" and len(classes) != max(2, len(bias)):
        found = f"has {len(classes)} classes, its rows are of {max(2, len(bias))}"
        problems.append(f"{name}: {found}. Use: rows of all classes, or the classes of the rows alone")
    if any(features.get(kind) for kind in _OTHER_SPLITS):
        problems.append(f"{name}: reads categories, texts or embeddings. Use: none of them, behind a OneHotEncoder")
    if scale != 1:
        problems.append(f"{name}: its scale is {scale}. Use: set_scale_and_bias(1, its bias)")
    if float(written["model_info"].get("binclass_probability_threshold", 0.5)) != 0.5:
        problems.append(f"{name}: has a threshold of its own. Use: set_probability_threshold(0.5); give thresholds")
    if problems:
        return None
    trees = [_tree(tree, features["float_features"], len(bias), inputs) for tree in _trees(written)]
    if any(bias):
        trees.append(_tree([{"value": bias, "weight": 1.0}], features["float_features"], len(bias), inputs))
    return Ensemble(
        trees,
        [0.0] * len(bias),
        "logit" if classes else "value",
        [one.item() if hasattr(one, "item") else one for one in classes],
        lambda x: estimator.predict(x, prediction_type="RawFormulaVal"),
        more={"input_precision": "single"},
    )


def _written(estimator: Any) -> dict[str, Any]:
    """Return what it says of itself: it only writes files."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.json"
        estimator.save_model(str(path), format="json")
        written: dict[str, Any] = json.loads(path.read_bytes())
    return written


def _trees(written: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the nodes of each tree; each has `left` and `right`, its children's places, and `split`, or `value` and
    `weight`."""
    if "trees" in written:
        return [_listed(root) for root in written["trees"]]
    return [_levelled(tree) for tree in written["oblivious_trees"]]


def _listed(root: dict[str, Any]) -> list[dict[str, Any]]:
    table = [root]
    for node in table:  # grows meanwhile
        if "split" in node:
            table += [node["left"], node["right"]]
            node |= {"left": len(table) - 2, "right": len(table) - 1}
    return table


def _levelled(tree: dict[str, Any]) -> list[dict[str, Any]]:
    splits = (tree["splits"] or [])[::-1]
    n_leaves = 2 ** len(splits)
    values, weights = tree["leaf_values"], tree["leaf_weights"]
    n_values = len(values) // n_leaves
    asking = [
        {"split": split, "left": 2 * node + 1, "right": 2 * node + 2}
        for level, split in enumerate(splits)
        for node in range(2**level - 1, 2 ** (level + 1) - 1)
    ]
    return asking + [
        {"value": values[n_values * leaf : n_values * (leaf + 1)], "weight": weights[leaf]} for leaf in range(n_leaves)
    ]


def _tree(
    table: list[dict[str, Any]], floats: list[dict[str, Any]], n_outputs: int, inputs: Sequence[int]
) -> dict[str, Any]:
    """Return a tree as it stands in a model file."""
    nothing = {"float_feature_index": 0, "border": 0.0}
    splits = [node.get("split", nothing) for node in table]
    asked = [floats[split["float_feature_index"]] for split in splits]
    return nodes(
        [node.get("left", -1) for node in table],
        [node.get("right", -1) for node in table],
        [one["flat_feature_index"] for one in asked],
        [split["border"] for split in splits],
        _flat([node.get("value", 0.0) for node in table], n_outputs),
        [node.get("weight", 0.0) for node in table],
        [one["nan_value_treatment"] != "AsTrue" for one in asked],  # no comparison with NaN holds
        inputs,
    )


def _flat(values: list[Any], n_outputs: int) -> list[Any]:
    """Return a number of each node, or one for each raw score."""
    rows = [value if isinstance(value, list) else [value] * n_outputs for value in values]
    return rows if n_outputs > 1 else [row[0] for row in rows]
