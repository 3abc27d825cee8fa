"""The author's predictors: the columns that a fitted object gets, as definitions and as numbers of documents.

They are written as in a model file, but for two things that a pipeline may say in their place: `missing` may be left to
a SimpleImputer, and `"type": "text"` announces a column of categories for a OneHotEncoder.

Law: the matrix made here from documents is the one that training makes of them (models/training/columns.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.export.columns import Column, Definition, label
from models.predictor import Combination, moves
from models.problems import Problem
from models.training.columns import Columns, compile_parsed, is_text, parse_raw
from models.training.matrix import by_name, evaluate

_NO_SOURCE = ("name", "type", "missing", "transforms", "ratio", "product")


@dataclass(frozen=True)
class Raw:
    """The columns, as definitions and compiled.

    Attributes:
        columns: column name → column, of all predictors in their order.
        moving: names of those that change as time passes.
        training: the same columns as training computes them.
    """

    columns: dict[str, Column]
    moving: tuple[str, ...]
    training: Columns

    def values(self, documents: Sequence[Any], at_ms: Sequence[int]) -> dict[str, Any]:
        """Return column name → its value for each document: a float or a text, NaN where it is missing."""
        return by_name(evaluate(self.training, documents, at_ms), self.training.names)

    def matrix(
        self, documents: Sequence[Any], at_ms: Sequence[int], inputs: Sequence[str], names: Sequence[str] | None
    ) -> Any:
        """Return the training matrix of documents, (n, n_inputs).

        Floats; objects if there are texts; a DataFrame with these names if the object was fitted on one.
        """
        x = evaluate(self.training, documents, at_ms).take([self.training.names.index(n) for n in inputs], axis=1)
        if names is not None:
            import pandas

            return pandas.DataFrame(by_name(x, names))
        return x if self.training.texts.intersection(inputs) else x.astype(np.float64)


def read(predictors: Sequence[Mapping[str, Any]], problems: list[str]) -> Raw | None:
    """Return the predictors; None, and every problem noted, if something is wrong with them."""
    found: list[Problem] = []
    parsed = parse_raw(predictors, found)
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
            is_text(written),
        )
        if predictor.is_one_hot and not definition.is_text:
            columns |= {
                f"{predictor.name}={label(c)}": Column(definition, c) for c in definition.transforms[-1]["one_hot"]
            }
        else:
            columns[predictor.name] = Column(definition)
    return Raw(columns, tuple(sorted(moving)), compile_parsed(predictors, parsed))
