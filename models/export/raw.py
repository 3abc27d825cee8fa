"""The author's predictors: the columns that a fitted object gets, as definitions and as numbers of documents.

They are written as in a model file, but for two things that a pipeline may say in their place: `missing` may be left to
a SimpleImputer, and `"type": "text"` announces a column of categories for a OneHotEncoder.

Law: the matrix made here from documents is what training made of them: the same sources and transforms of the core,
nothing of the pipeline, NaN where a value is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.export.columns import Column, Definition, label
from models.predictor import Combination, Predictor, compile_combination, moves
from models.predictor_file import EMPTY_IS_ZERO, parse_predictors
from models.problems import Node, Problem

_NO_SOURCE = ("name", "type", "missing", "transforms", "ratio", "product")


@dataclass(frozen=True)
class Raw:
    """Predictors as written, and as read by the core.

    Attributes:
        columns: column name → column, of all predictors in their order.
        moving: names of those that change as time passes.
    """

    written: tuple[Mapping[str, Any], ...]
    parsed: tuple[Predictor, ...]
    columns: dict[str, Column]
    moving: tuple[str, ...]

    def values(self, documents: Sequence[Any], at_ms: Sequence[int]) -> dict[str, list[Any]]:
        """Return column name → its value for each document: a float or a text, NaN where it is missing."""
        values: dict[str, list[Any]] = {}
        for written, predictor in zip(self.written, self.parsed, strict=True):
            if isinstance(predictor.source, Combination):
                a, b = (values[name] for name in predictor.source.operands)
                raw: list[Any] = compile_combination(predictor.source)(a, b)
            else:
                raw, _ = predictor.source.compile({})(documents, at_ms, [{} for _ in documents])
            if _is_text(written):
                missing = written.get("missing", math.nan)
                values[predictor.name] = [missing if value is None else value for value in raw]
                continue
            columns = predictor.compile_transforms()(raw)
            if predictor.is_one_hot:
                split = zip(*columns, strict=True)
                values |= {name: list(column) for name, column in zip(predictor.columns, split, strict=True)}
            elif _is_never_missing(written):
                values[predictor.name] = columns
            else:
                pairs = zip(raw, columns, strict=True)
                values[predictor.name] = [math.nan if value is None else column for value, column in pairs]
        return values

    def matrix(
        self, documents: Sequence[Any], at_ms: Sequence[int], inputs: Sequence[str], names: Sequence[str] | None
    ) -> Any:
        """Return the training matrix of documents, (n, n_inputs).

        Floats; objects if there are texts; a DataFrame with these names if the object was fitted on one.
        """
        values = self.values(documents, at_ms)
        columns = [values[name] for name in inputs]
        if names is not None:
            import pandas

            return pandas.DataFrame(dict(zip(names, columns, strict=True)))
        has_texts = any(d.is_text for name in inputs if (d := self.columns[name].definition))
        x = np.empty((len(documents), len(columns)), dtype=object if has_texts else np.float64)
        for i, column in enumerate(columns):
            x[:, i] = column
        return x


def read(predictors: Sequence[Mapping[str, Any]], problems: list[str]) -> Raw | None:
    """Return the predictors; None, and every problem noted, if something is wrong with them."""
    found: list[Problem] = []
    node = Node(list(predictors), "predictors", found)
    for element in node.array("a list of predictors"):
        if isinstance(element.value, Mapping) and "type" in element.value:
            if element.value["type"] != "text":
                element.child("type").problem('"text", or no type for numbers')
            if element.value.get("transforms"):
                element.child("transforms").problem("no transforms of a text: the pipeline encodes it")
    completed = [_completed(predictor) for predictor in predictors]
    parsed = parse_predictors(Node(completed, "predictors", found))
    if found:
        problems += dict.fromkeys(map(str, found))
        return None
    columns: dict[str, Column] = {}
    moving: set[str] = set()
    for written, predictor in zip(predictors, parsed, strict=True):
        operation, operands = "", tuple[Definition, ...]()
        is_moving = moves(predictor.source)
        if isinstance(predictor.source, Combination):
            operation = predictor.source.operation
            operands = tuple(d for name in predictor.source.operands if (d := columns[name].definition))
            is_moving = not moving.isdisjoint(predictor.source.operands)
        if is_moving:
            moving.add(predictor.name)
        definition = Definition(
            predictor.name,
            {key: value for key, value in written.items() if key not in _NO_SOURCE},
            operation,
            operands,
            written.get("missing"),
            tuple(written.get("transforms", ())),
            _is_text(written),
        )
        if predictor.is_one_hot and not definition.is_text:
            columns |= {
                f"{predictor.name}={label(c)}": Column(definition, c) for c in definition.transforms[-1]["one_hot"]
            }
        else:
            columns[predictor.name] = Column(definition)
    return Raw(tuple(predictors), parsed, columns, tuple(sorted(moving)))


def _completed(predictor: Any) -> Any:
    """Return a predictor that the core reads: a text as categories, and something in place of a missing value."""
    if not isinstance(predictor, Mapping):
        return predictor
    completed = {key: value for key, value in predictor.items() if key != "type"}
    if predictor.get("type") == "text":
        completed["transforms"] = [{"one_hot": [" "]}]  # makes its source one of texts
    elif not _has_text_categories(predictor):
        completed.setdefault("missing", 0)
    return completed


def _has_text_categories(predictor: Mapping[str, Any]) -> bool:
    """Return whether it is encoded already, as texts: then nothing stands in place of a missing one."""
    match predictor.get("transforms"):
        case [*_, {"one_hot": [str(), *_]}]:
            return True
    return False


def _is_text(predictor: Mapping[str, Any]) -> bool:
    return predictor.get("type") == "text"


def _is_never_missing(predictor: Mapping[str, Any]) -> bool:
    """Return whether there always is a value, as the author said or because an empty list has one."""
    return "missing" in predictor or "product" in predictor or predictor.get("aggregate") in EMPTY_IS_ZERO
