"""The model file of a fitted object's parts, with examples that are its own outputs, proven before anything is written.

Laws:
- Every document that the author gives is verified: the fitted object's output for it against what the file computes.
- The file says what the fitted object says; what it computes itself is never taken for an example.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from models.examples import parse_examples, verify
from models.export.columns import ExportError, emit
from models.export.raw import Raw
from models.export.scorers import Fitted
from models.model import Model
from models.model_file import FORMAT, parse
from models.problems import ModelFileError, Node, Problem
from models.timestamps import format_ms, parse_ms

Clusters = Sequence[str | Mapping[str, Any]]
Times = str | int | Sequence[str | int]
# documents, times (ms) → (probabilities, (n,) or (n, n_classes), or None; the class of each, or None for bands)
Judge = Callable[[list[Any], list[int]], tuple[Any, Sequence[Any] | None]]
MAX_EXAMPLES = 100  # every worker proves them at each load, and the file is one record in Kafka
_MAX_SHOWN = 5
_IF_IT_DIFFERS = {
    "gaussian_mixture": "a larger reg_covar; where variances almost vanish scikit-learn's own rounding exceeds 1e-12",
    "kmeans": "scikit-learn's own classes; and other documents, if these lie exactly between two centroids",
}


@dataclass(frozen=True)
class Request:
    """What the author says beside the fitted object: the arguments of `from_estimator`."""

    name: str
    version: int
    predictors: Sequence[Mapping[str, Any]]
    documents: Sequence[Mapping[str, Any]]
    at: Times | None = None
    clusters: Clusters | None = None
    inputs: Sequence[str] | None = None
    description: str = ""


@dataclass(frozen=True, repr=False)
class ModelFile:
    """A model file, proven to reproduce what the fitted object says.

    Attributes:
        definition: the file's JSON object.
        model: as a worker loads it.
        n_verified: documents for which both said the same.
    """

    definition: dict[str, Any]
    model: Model
    n_verified: int

    def __repr__(self) -> str:
        model = self.model
        return (
            f"<ModelFile {model.label}: {model.scorer.type} over {len(model.inputs)} columns, {len(model.clusters)} "
            f"clusters, {len(model.examples)} examples, verified on {self.n_verified} documents>"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all; returns the path. Raises OSError."""
        target = Path(path)
        data = orjson.dumps(self.definition, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        descriptor, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)  # mkstemp's 0600 would hide it from others
        os.replace(name, target)
        return target


def as_json(value: Any, where: str, problems: list[str]) -> Any:
    """Return a value as it will stand in a file: tuples are lists, NumPy's numbers are numbers, NaN is null."""
    try:
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))
    except (TypeError, ValueError) as error:
        problems.append(f"{where}: expected what JSON can hold, found another: {error}")
        return None


def build(
    request: Request, raw: Raw | None, fitted: Fitted | None, judge: Judge | None, problems: list[str]
) -> ModelFile:
    """Return the model file.

    Args:
        raw, fitted, judge: None where the problems already noted forbid it; the rest is checked all the same.

    Raises:
        ExportError: with the problems noted and all that are found here.
    """
    documents = as_json(list(request.documents), "documents", problems) or []
    problems += [f"documents[{i}]: expected an object" for i, one in enumerate(documents) if not isinstance(one, dict)]
    if not len(request.documents):
        problems.append("documents: expected some, found none. Use: a dozen members of each cluster, if you can")
    at_ms = _times(request.at, len(request.documents), raw.moving if raw else (), problems)
    definition: dict[str, Any] = {"format": FORMAT, "name": request.name, "version": request.version}
    definition["description"] = request.description
    order: list[int] = []
    if fitted is not None:
        definition["predictors"], inputs = emit(fitted.columns)
        clusters, order = _clusters(request.clusters, fitted, problems)
        definition |= {"model": {**fitted.in_order(order), "inputs": inputs}, "clusters": clusters}
    definition = as_json(definition, "name, version, description, clusters", problems) or {}
    model = _parse(definition, problems)
    if problems or model is None or fitted is None or judge is None:
        raise ExportError(problems)
    examples = _examples(documents, at_ms, fitted, order, model, judge)
    definition["examples"] = [examples[i] for i in _chosen([example["cluster"] for example in examples])]
    model = _parse(definition, problems)
    if model is None:
        raise ExportError(problems)
    return ModelFile(definition, model, len(documents))


def _parse(definition: dict[str, Any], problems: list[str]) -> Model | None:
    """Return the model of a file; problems of what isn't in it yet are an echo of others, and left out."""
    try:
        return parse(definition)
    except ModelFileError as error:
        for problem in error.problems:
            top = re.split(r"[.\[]", problem.path)[0]
            if top in definition or not top:
                place = re.match(r"predictors\[(\d+)\]", problem.path)
                name = f"{definition['predictors'][int(place[1])]['name']}, " if place else ""
                problems.append(f"{name}{problem}")
        return None


def _times(at: Times | None, n: int, moving: Sequence[str], problems: list[str]) -> list[int]:
    if at is None and not moving:
        return [0] * n  # nothing depends on it
    listed = [at] * n if at is None or isinstance(at, (str, int)) else list(at)
    times = [parse_ms(value) for value in listed]
    if at is None:
        problems.append(f"at: {', '.join(moving)} depend on time. Use: at=…, the time of scoring, ISO 8601 or ms")
    elif len(times) != n or any(time is None for time in times):
        problems.append(f"at: expected a time, ISO 8601 or ms, or one for each of the {n} documents")
    return [time or 0 for time in times]


def _clusters(clusters: Clusters | None, fitted: Fitted, problems: list[str]) -> tuple[list[Any], list[int]]:
    """Return (the file's clusters; which of the fitted object's stands at each place).

    Names are the author's, else the classes'. Ids are the author's, who may sort k-means' clusters by them, else the
    classes where these are whole numbers from 0, else 0, 1, 2 …
    """
    classes, n = fitted.classes, fitted.n_clusters
    order = list(range(n))
    if clusters is None and classes is None:
        problems.append(f"clusters: expected {n} names, one for each band between thresholds, found none")
        return [], order
    whole = _whole_numbers(classes or ())
    named = list(map(str, whole or classes or ())) if clusters is None else list(clusters)
    if len(named) != n:
        problems.append(f"clusters: expected {n}, found {len(named)}")
        return [], order
    listed: list[dict[str, Any]] = [
        dict(cluster) if isinstance(cluster, Mapping) else {"id": cluster_id, "name": cluster}
        for cluster_id, cluster in zip(whole or order, named, strict=True)
    ]
    ids: list[Any] = [cluster.get("id") for cluster in listed]
    if fitted.model["type"] != "logistic" and all(type(cluster_id) is int for cluster_id in ids):
        order.sort(key=lambda i: ids[i])
    return [listed[i] for i in order], order


def _whole_numbers(classes: Sequence[Any]) -> list[int]:
    """Return classes as ids, nothing if one can't be; scikit-learn takes no floats but whole ones."""
    are_whole = all(type(c) in (int, float) and c >= 0 for c in classes)
    return list(map(int, classes)) if are_whole else []


def _examples(
    documents: list[Any], at_ms: list[int], fitted: Fitted, order: list[int], model: Model, judge: Judge
) -> list[dict[str, Any]]:
    """Return an example of each document, the fitted object's output for it, which the model reproduces."""
    try:
        probabilities, predicted = judge(documents, at_ms)
    except (ValueError, TypeError) as error:
        first_line = str(error).split("\n")[0]
        raise ExportError([f"documents: the fitted object refuses them: {first_line}"]) from error
    if probabilities is not None and not (finite := np.isfinite(probabilities)).all():
        row = int(np.argwhere(~finite)[0][0])
        raise ExportError([f"documents[{row}]: the fitted object says nothing of it. Use: one with all predictors"])
    examples = []
    for i, document in enumerate(documents):
        example: dict[str, Any] = {"document": document, "at": format_ms(at_ms[i])}
        if fitted.model["type"] == "logistic":
            example["probability"] = float(probabilities[i])
        elif probabilities is not None:
            example["probability"] = [float(probabilities[i][j]) for j in order]
        if predicted is None:
            index = sum(threshold < example["probability"] for threshold in fitted.model["thresholds"])
        else:
            index = order.index((fitted.classes or []).index(predicted[i]))
        examples.append(example | {"cluster": model.clusters[index].id})
    _verify(model, examples)
    return examples


def _verify(model: Model, examples: list[dict[str, Any]]) -> None:
    unread: list[Problem] = []
    parsed = parse_examples(Node(examples, "documents", unread), None, None)
    found = verify(replace(model, examples=parsed)) + unread
    if found:
        shown = [str(problem).replace("examples[", "documents[", 1) for problem in found[:_MAX_SHOWN]]
        advice = _IF_IT_DIFFERS.get(model.scorer.type, "scikit-learn's own classes, not ones derived from them")
        n = len({problem.path.split(".")[0] for problem in found})
        first = (
            f"{n} of {len(examples)} documents: the file computes other numbers than the fitted object. Use: {advice}"
        )
        raise ExportError([first, *shown])


def _chosen(clusters: Sequence[int]) -> list[int]:
    """Return which examples travel in the file: the first ones of each cluster in turn."""
    seen: Counter[int] = Counter()
    ranks = []
    for i, cluster in enumerate(clusters):
        ranks.append((seen[cluster], i))
        seen[cluster] += 1
    return sorted(i for _, i in sorted(ranks)[:MAX_EXAMPLES])
