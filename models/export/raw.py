"""The author's predictors: the columns that a fitted object gets, as definitions and as numbers for documents.

They are written as in a model file, except for two things that the pipeline does: a SimpleImputer may fill `missing`,
and `"type": "text"` announces a column of categories for a OneHotEncoder.

Law: the matrix made here from documents is the one that training makes from them (models/training/columns.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memberstream.models.export.columns import Column, Definition, label
from memberstream.models.predictor import Combination, Predictor, moves
from memberstream.models.predictor_file import NUMBER_TEXT
from memberstream.models.problems import Problem
from memberstream.models.training.columns import Columns, compile_parsed, is_text, parse_raw
from memberstream.models.training.matrix import by_name, evaluate

_NO_SOURCE = ("name", "type", "missing", "transforms", "ratio", "product")


@dataclass(frozen=True)
class Raw:
    """The columns, as definitions and compiled.

    Attributes:
        columns: column name → column, of all predictors in their order.
        moving: names of those that change as time passes.
        written, parsed: the predictors as the author writes them, and as the core reads them.
        training: the same columns as training computes them.
    """

    columns: dict[str, Column]
    moving: tuple[str, ...]
    written: tuple[Mapping[str, Any], ...]
    parsed: tuple[Predictor, ...]
    training: Columns

    def evaluate(self, documents: Sequence[Any], at_ms: Sequence[int]) -> Any:
        """Return (n, n_columns), all columns in their order: floats; objects if there are texts."""
        return evaluate(self.training, documents, at_ms)

    def values(self, x: Any) -> dict[str, Any]:
        """Return column name → its values in such a matrix: floats or texts, NaN where it is missing."""
        return by_name(x, self.training.names)

    def around(self, names: Iterable[str]) -> tuple[set[str], set[str]]:
        """Return (these predictors and what is computed of them; these, and what they are computed of)."""
        operands = {p.name: p.source.operands for p in self.parsed if isinstance(p.source, Combination)}
        touched = {*names}
        for name, of in operands.items():  # operands come first
            touched |= {name} if touched.intersection(of) else set()
        needed = {*touched}
        for name in reversed(operands):
            needed |= {*operands[name]} if name in needed else set()
        return touched, needed

    def contradicted(self, names: Sequence[str], inputs: Sequence[str]) -> tuple[str, str] | None:
        """Return (name of a fitted column, the column that inputs puts in its place) if another one has that name."""
        pairs = zip(names, inputs, strict=True)
        return next(((name, chosen) for name, chosen in pairs if name != chosen and name in self.columns), None)

    def matrix(self, x: Any, inputs: Sequence[str], names: Sequence[str] | None) -> Any:
        """Return the matrix that a fitted object gets, (n, n_inputs), of one with all columns.

        Floats; objects if there are texts; a DataFrame with these names if the object was fitted on one.
        """
        x = x.take([self.training.names.index(n) for n in inputs], axis=1)
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
            {k: v for k, v in written.items() if k not in _NO_SOURCE or (k == "type" and v == NUMBER_TEXT)},
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
    return Raw(columns, tuple(sorted(moving)), tuple(predictors), parsed, compile_parsed(predictors, parsed))
