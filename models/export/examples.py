"""The matrix that a fitted object gets, made from documents: what the stream would have computed, without its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.predictor import Predictor
from models.predictor_file import parse_predictors
from models.problems import Node, Problem


def parse_raw(predictors: Sequence[Mapping[str, Any]], problems: list[Problem]) -> tuple[Predictor, ...]:
    """Return the author's predictors, each read alone; a text is read as categories, a missing value may be absent.

    Every problem is noted.
    """
    definitions = []
    for predictor in predictors:
        definition = {name: value for name, value in predictor.items() if name != "type"}
        if predictor.get("type") == "text":
            definition["transforms"] = [{"one_hot": [" "]}]  # makes the source one of texts
        elif "missing" not in definition:
            definition["missing"] = 0  # in place of what an imputer will say; see `matrix`
        definitions.append(definition)
    return parse_predictors(Node(definitions, "predictors", problems))


def matrix(
    predictors: Sequence[Mapping[str, Any]], documents: Sequence[Any], at_ms: Sequence[int], names: Sequence[str] | None
) -> Any:
    """Return the training matrix of documents, (n, n_predictors): floats with NaN where a value is missing; objects if
    there are texts; a DataFrame if the object was fitted on one (`names`: of its columns)."""
    parsed = parse_raw(predictors, [])
    columns = [
        _column(written, predictor, documents, at_ms) for written, predictor in zip(predictors, parsed, strict=True)
    ]
    if names is not None:
        import pandas

        return pandas.DataFrame(dict(zip(names, columns, strict=True)))
    if any(written.get("type") == "text" for written in predictors):
        objects = np.empty((len(documents), len(columns)), dtype=object)
        for i, column in enumerate(columns):
            objects[:, i] = column
        return objects
    return np.array(columns, dtype=np.float64).T.reshape(len(documents), len(columns))


def _column(
    written: Mapping[str, Any], predictor: Predictor, documents: Sequence[Any], at_ms: Sequence[int]
) -> list[Any]:
    source: Any = predictor.source
    read = source.compile({})
    values, _ = read(documents, at_ms, [{} for _ in documents])
    if written.get("type") == "text":
        missing = written.get("missing")
        return [(math.nan if missing is None else missing) if value is None else value for value in values]
    columns = predictor.compile_transforms()(values)
    if "missing" in written or source_is_never_missing(predictor):
        return columns
    return [math.nan if value is None else column for value, column in zip(values, columns, strict=True)]


def source_is_never_missing(predictor: Predictor) -> bool:
    """Return whether a predictor's empty value is 0 without being told (models.predictor_file)."""
    return getattr(predictor.source, "aggregate", None) in ("count", "sum", "distinct")
