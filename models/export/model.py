"""A fitted object, its predictors and example documents → a model file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from sklearn.pipeline import Pipeline

from models.export.columns import ExportError, emit, raw_columns
from models.export.examples import matrix
from models.export.scorers import Fitted, of_estimator
from models.export.steps import through
from models.model import Model
from models.model_file import FORMAT, parse
from models.problems import ModelFileError, Problem
from models.timestamps import format_ms, parse_ms
from models.training.columns import parse_raw

Clusters = Sequence[str | Mapping[str, Any]]


@dataclass(frozen=True)
class ModelFile:
    """A model file, proven to reproduce its examples. `model`: as a worker loads it."""

    definition: dict[str, Any]
    model: Model

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all; returns the path."""
        target = Path(path)
        data = orjson.dumps(self.definition, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        descriptor, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)  # mkstemp's 0600 would hide it from others
        os.replace(name, target)
        return target


def from_estimator(
    fitted: Any,
    *,
    name: str,
    version: int,
    predictors: Sequence[Mapping[str, Any]],
    documents: Sequence[Mapping[str, Any]],
    at: str | int | Sequence[str | int],
    clusters: Clusters | None = None,
    thresholds: Sequence[float] | None = None,
    description: str = "",
) -> ModelFile:
    """Return a fitted scikit-learn estimator, alone or as the end of a Pipeline, as a model file.

    Args:
        predictors: one for each column that `fitted` was fitted on, in their order, as in a model file, without what
            the pipeline does. `"type": "text"` for a column of categories. `missing` may be left to a SimpleImputer.
        documents: examples of member documents; the outputs of `fitted` for them travel in the file.
        at: the time of scoring, ISO 8601 or ms, one for all documents or one for each.
        clusters: names in the order of the classes (or bands, or centroids), or {"id": …, "name": …} of each. Default:
            the classes as names.
        thresholds: binary models: probabilities of the second class that part the clusters; default [0.5].

    Raises:
        ExportError: something can't be represented exactly, or the file doesn't compute what `fitted` does. Lists all.
    """
    problems: list[str] = []
    found: list[Problem] = []
    parse_raw(predictors, found)
    problems += map(str, found)
    if problems:
        raise ExportError(problems)
    if type(fitted).__module__.startswith("statsmodels."):
        from models.export.from_statsmodels import from_statsmodels

        return from_statsmodels(
            fitted, name=name, version=version, predictors=predictors, documents=documents, at=at, clusters=clusters,
            thresholds=thresholds, description=description,
        )  # fmt: skip
    *steps, (last, estimator) = fitted.steps if isinstance(fitted, Pipeline) else [("", fitted)]
    columns = raw_columns(predictors)
    names = getattr(fitted, "feature_names_in_", None)
    if names is not None and len(names) != len(columns):
        problems.append(f"predictors: expected one for each of the columns {', '.join(names)}, found {len(columns)}")
        raise ExportError(problems)
    for step_name, step in steps:
        columns = through(step, columns, step_name, problems)
    n_in = getattr(estimator, "n_features_in_", len(columns))
    if not problems and n_in != len(columns):
        problems.append(f"{last or type(estimator).__name__}: fitted on {n_in} columns, gets {len(columns)}. "
                        "Use: one predictor for each column")  # fmt: skip
    for column in columns:
        definition = column.definition
        if definition is not None and definition.is_text:
            problems.append(f"{definition.hint}: a text reaches the estimator. Use: a OneHotEncoder in the pipeline")
    left = None if problems else of_estimator(estimator, columns, thresholds, problems)
    if problems or left is None:
        raise ExportError(problems)
    definitions, inputs = emit([columns[i] for i in left.kept])
    listed = clusters_of(clusters, left, problems)
    if problems:
        raise ExportError(problems)
    at_ms = times(at, len(documents))
    x = matrix(predictors, documents, at_ms, names)
    return build(
        name=name,
        version=version,
        description=description,
        definitions=definitions,
        model={**left.model, "inputs": inputs},
        clusters=listed,
        examples=examples_of(fitted, x, documents, at_ms, left, [cluster["id"] for cluster in listed]),
    )


def build(
    *,
    name: str,
    version: int,
    description: str,
    definitions: list[dict[str, Any]],
    model: dict[str, Any],
    clusters: list[dict[str, Any]],
    examples: list[dict[str, Any]],
) -> ModelFile:
    """Return the model file of its parts, checked as a worker checks it. Raises ExportError."""
    file = {
        "format": FORMAT,
        "name": name,
        "version": version,
        "description": description,
        "predictors": definitions,
        "model": model,
        "clusters": clusters,
        "examples": examples,
    }
    try:
        file = orjson.loads(orjson.dumps(file, option=orjson.OPT_SERIALIZE_NUMPY))
        return ModelFile(file, parse(file))
    except ModelFileError as error:
        raise ExportError([str(problem) for problem in error.problems]) from None


def examples_of(
    fitted: Any, x: Any, documents: Sequence[Any], at_ms: Sequence[int], left: Fitted, ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Return examples with the fitted object's own outputs for the rows of `x`."""
    if not len(documents):
        raise ExportError(["documents: expected some, found none. Use: a dozen members of each cluster, if you can"])
    examples: list[dict[str, Any]] = []
    is_probable = left.model["type"] != "kmeans"
    probabilities = fitted.predict_proba(x) if is_probable else None
    predicted = fitted.predict(x)
    for i, document in enumerate(documents):
        example: dict[str, Any] = {"document": dict(document), "at": format_ms(at_ms[i])}
        if probabilities is None or left.model["type"] == "multinomial":
            index = list(left.classes or ()).index(_plain(predicted[i]))
            if probabilities is not None:
                example["probability"] = probabilities[i].astype(np.float64).tolist()
        else:
            example["probability"] = float(probabilities[i, 1])
            index = sum(threshold < example["probability"] for threshold in left.model["thresholds"])
        examples.append(example | {"cluster": ids[index]})
    return examples


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def times(at: str | int | Sequence[str | int], n: int) -> list[int]:
    listed = [at] * n if isinstance(at, (str, int)) else list(at)
    times = [parse_ms(value) for value in listed]
    if len(times) != n or any(time is None for time in times):
        raise ExportError([f"at: expected a time, ISO 8601 or ms, or one for each of the {n} documents"])
    return [time for time in times if time is not None]


def clusters_of(clusters: Clusters | None, left: Fitted, problems: list[str]) -> list[dict[str, Any]]:
    """Return ids and names: the author's, else the classes'; ids are the classes where these are ascending integers."""
    classes = left.classes
    if clusters is None:
        if classes is None:
            problems.append(
                f"clusters: expected {left.n_clusters} names, one for each band between thresholds, found none"
            )
            return []
        clusters = [str(c) for c in classes]
    if len(clusters) != left.n_clusters:
        problems.append(f"clusters: expected {left.n_clusters}, found {len(clusters)}")
        return []
    ids = list(range(left.n_clusters))
    if classes is not None and all(type(c) is int and c >= 0 for c in classes):
        ids = classes
    return [
        {"id": cluster_id, "name": cluster} if isinstance(cluster, str) else dict(cluster)
        for cluster_id, cluster in zip(ids, clusters, strict=True)
    ]
