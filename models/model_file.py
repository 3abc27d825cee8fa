"""Model files: JSON (or TOML) ↔ `Model`, with every problem reported at once (format: docs/model-file.md).

Laws: `parse` returns a model whose examples reproduce, or raises with the whole list of problems. Nothing in a file is
ever executed.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from models.examples import parse_examples, verify
from models.model import Cluster, Example, Model
from models.predictor_file import parse_predictors
from models.problems import ModelFileError, Node, Problem
from models.scorer import KMeans, Logistic, Multinomial, Scorer

FORMAT = 1
MAX_CLUSTER_ID = 2**31 - 1
MAX_VERSION = 2**31 - 1
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_REQUIRED = {"format", "name", "version", "predictors", "model", "clusters"}
_OPTIONAL = {"description", "examples", "$schema"}


def load(data: bytes, *, is_toml: bool = False) -> Model:
    """Return the model of a file's bytes.

    Raises:
        ModelFileError: not JSON or TOML, or with problems; lists all of them.
    """
    try:
        definition = _plain(tomllib.loads(data.decode())) if is_toml else orjson.loads(data)
    except (orjson.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelFileError([Problem("", "TOML" if is_toml else "JSON", str(error))]) from None
    return parse(definition)


def parse(definition: Any) -> Model:
    """Return the model of a decoded file.

    Raises:
        ModelFileError: with all problems of the file; wrong examples are looked at once the rest is right.
    """
    problems: list[Problem] = []
    root = Node(definition, "", problems)
    if not root.object(_REQUIRED, _OPTIONAL):
        raise ModelFileError(problems)
    _format(root.get("format"))
    name = _name(root.get("name"))
    version = _integer(root.get("version"), 1, MAX_VERSION, "a version")
    description_node = root.get("description")
    description = description_node.text() if description_node else ""
    predictors_node = root.get("predictors")
    before = len(problems)
    predictors = parse_predictors(predictors_node) if predictors_node else ()
    columns = [column for predictor in predictors for column in predictor.columns]
    are_complete = len(problems) == before  # else a column that seems missing is only another problem's echo
    clusters = _clusters(root.get("clusters"))
    model_node = root.get("model")
    inputs, scorer = _scorer(model_node, columns, len(clusters), are_complete) if model_node else ((), None)
    if predictors_node and are_complete and scorer is not None:
        _check_unused(predictors_node, inputs, definition)
    examples_node = root.get("examples")
    examples: tuple[Example, ...] = ()
    if examples_node is not None:
        examples = parse_examples(examples_node, set(columns) if are_complete else None, [c.id for c in clusters])
    if problems or name is None or version is None or scorer is None:
        raise ModelFileError(problems)
    model = Model(name, version, description or "", predictors, inputs, scorer, clusters, examples, definition)
    if problems := verify(model):
        raise ModelFileError(problems)
    return model


def _format(node: Node | None) -> None:
    if node and (type(node.value) is not int or node.value != FORMAT):
        node.problem(f"the format number {FORMAT}")


def _name(node: Node | None) -> str | None:
    name = node.text() if node else None
    if node and name is not None and not _NAME.fullmatch(name):
        node.problem("a name of at most 64 small letters, digits and _ that starts with a letter")
    return name


def _integer(node: Node | None, low: int, high: int, expected: str) -> int | None:
    return node.integer(low, high, expected) if node else None


def _clusters(node: Node | None) -> tuple[Cluster, ...]:
    clusters: list[Cluster] = []
    for element in node.array("a list of clusters") if node else ():
        if not element.object({"id", "name"}):
            continue
        cluster_id = _integer(element.get("id"), 0, MAX_CLUSTER_ID, "a cluster id")
        name_node = element.get("name")
        name = name_node.text() if name_node else None
        if clusters and cluster_id is not None and cluster_id <= clusters[-1].id:
            element.child("id").problem("ids that ascend")
        clusters.append(Cluster(cluster_id if cluster_id is not None else -1, name or ""))
    return tuple(clusters)


def _scorer(
    node: Node, columns: list[str], n_clusters: int, are_complete: bool
) -> tuple[tuple[str, ...], Scorer | None]:
    kind_node = node.get("type")
    kind = kind_node.value if kind_node else None
    readers = {"logistic": _logistic, "multinomial": _multinomial, "kmeans": _kmeans}
    if kind not in readers:
        (kind_node or node).problem(f"a type, one of {', '.join(readers)}", None if kind_node else "none")
        return (), None
    inputs = tuple(columns)
    inputs_node = node.get("inputs")
    if inputs_node is not None:
        named = [(element, element.text()) for element in inputs_node.array("a list of column names")]
        for element, name in named:
            if are_complete and name is not None and name not in columns:
                element.problem(f"a column of the predictors: {', '.join(columns)}")
        inputs = tuple(name for _, name in named if name is not None)
        if len(set(inputs)) < len(inputs):
            inputs_node.problem("column names that differ from one another")
    n_inputs = len(inputs) if are_complete or inputs_node is not None else None
    return inputs, readers[kind](node, n_inputs, n_clusters)


def _logistic(node: Node, n_inputs: int | None, n_clusters: int) -> Scorer | None:
    if not node.object({"type", "coef", "intercept", "thresholds"}, {"inputs"}):
        return None
    coef_node, intercept_node, thresholds_node = (
        node.get("coef"),
        node.get("intercept"),
        node.get("thresholds"),
    )
    coef = coef_node.numbers(n_inputs, "one number for each input") if coef_node else None
    intercept = intercept_node.number() if intercept_node else None
    thresholds = (
        thresholds_node.numbers(max(n_clusters - 1, 0), "one probability between each two clusters, a list")
        if thresholds_node and not (thresholds_node.value == [] and n_clusters == 1)
        else []
    )
    if thresholds_node and thresholds is not None:
        rising = all(a < b for a, b in pairwise(thresholds))
        if not rising or not all(0 < t < 1 for t in thresholds):
            thresholds_node.problem("probabilities between 0 and 1 that ascend", str(thresholds))
    if coef is None or intercept is None or thresholds is None:
        return None
    return Logistic(np.array(coef), intercept, np.array(thresholds))


def _multinomial(node: Node, n_inputs: int | None, n_clusters: int) -> Scorer | None:
    if not node.object({"type", "coef", "intercept"}, {"inputs"}):
        return None
    coef = _matrix(node.get("coef"), n_inputs, n_clusters)
    intercept_node = node.get("intercept")
    intercept = intercept_node.numbers(n_clusters, "one number for each cluster") if intercept_node else None
    return None if coef is None or intercept is None else Multinomial(np.array(coef), np.array(intercept))


def _kmeans(node: Node, n_inputs: int | None, n_clusters: int) -> Scorer | None:
    if not node.object({"type", "centroids"}, {"inputs"}):
        return None
    centroids = _matrix(node.get("centroids"), n_inputs, n_clusters)
    return None if centroids is None else KMeans(np.array(centroids))


def _matrix(node: Node | None, n_inputs: int | None, n_clusters: int) -> list[list[float]] | None:
    if node is None:
        return None
    before = len(node.problems)
    rows = [
        row.numbers(n_inputs, "one number for each input") for row in node.array("one row for each cluster", n_clusters)
    ]
    return [row for row in rows if row is not None] if len(node.problems) == before else None


def _check_unused(predictors: Node, inputs: tuple[str, ...], definition: dict[str, Any]) -> None:
    """Note predictors that reach neither the scorer nor another predictor: nearly always a forgotten input."""
    elements = definition["predictors"]
    used = {name for element in elements for kind in ("ratio", "product") for name in element.get(kind, ())}
    for index, element in enumerate(elements):
        name = element["name"]
        if name not in used and not any(i == name or i.startswith(f"{name}=") for i in inputs):
            predictors.child(index).problem("a predictor that inputs, a ratio or a product use", f"unused {name!r}")


def _plain(value: Any) -> Any:
    """Return TOML's dates as the texts that JSON would have."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, date) else value
