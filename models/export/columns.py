"""The columns of a training matrix as definitions: what a pipeline's steps make of the predictors they were given.

A fitted pipeline is walked from left to right. Before it stand the raw columns, one for each predictor; each step turns
columns into columns; in front of the final estimator each column is a definition that the model file can hold.

Law: equal definitions become one predictor; different ones never share a name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

_CARRIED = ("missing", "transforms")


class ExportError(ValueError):
    """A fitted model that can't be exported exactly, or whose export doesn't reproduce it. Lists every problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True)
class Definition:
    """A predictor in the making.

    Attributes:
        hint: the name it gets unless another one has it.
        source: `path`, `aggregate` … as in a model file; empty for a product.
        operands: of a product.
        missing: the raw value in place of a missing one; None: not known yet, or (before a one-hot) no category.
        is_text: its raw value is a category's text.
    """

    hint: str
    source: Mapping[str, Any]
    operands: tuple[Definition, ...] = ()
    missing: Any = None
    transforms: tuple[Any, ...] = ()
    is_text: bool = False

    @property
    def key(self) -> bytes:
        """Bytes that two definitions share only if they compute the same."""
        parts = (dict(self.source), [o.key.decode() for o in self.operands], self.missing, self.transforms)
        return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)

    def then(self, transform: Any) -> Definition:
        """Return it with one more transform."""
        return replace(self, transforms=(*self.transforms, transform))


@dataclass(frozen=True)
class Column:
    """A column of the matrix: a definition's, or one of its categories', or (definition None) the constant 1.

    Its value there is (v - mean) / sd. Only what can't be a transform of the definition is kept here: the scaling of a
    category's column, which a linear model takes into its coefficients.
    """

    definition: Definition | None
    category: Any = None
    mean: float = 0.0
    sd: float = 1.0

    @property
    def is_plain(self) -> bool:
        """Whether it is a number that can be transformed further."""
        return self.definition is not None and self.category is None and not self.definition.is_text


def raw_columns(predictors: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return a column for each predictor as the author wrote it."""
    columns = []
    for predictor in predictors:
        source = {name: value for name, value in predictor.items() if name not in (*_CARRIED, "name", "type")}
        definition = Definition(
            str(predictor.get("name", "")),
            source,
            missing=predictor.get("missing"),
            transforms=tuple(predictor.get("transforms", ())),
            is_text=predictor.get("type") == "text",
        )
        columns.append(Column(definition))
    return columns


def emit(columns: Sequence[Column]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return (the model file's predictors, operands before what needs them; the name of each column)."""
    emitted: dict[bytes, dict[str, Any]] = {}
    taken: set[str] = set()

    def add(definition: Definition) -> str:
        key = definition.key
        if key not in emitted:
            operands = [add(operand) for operand in definition.operands]
            name, n = definition.hint, 2
            while name in taken:
                name, n = f"{definition.hint}_{n}", n + 1
            taken.add(name)
            predictor: dict[str, Any] = {"name": name, **definition.source}
            if operands:
                predictor["product"] = operands
            if definition.missing is not None:
                predictor["missing"] = definition.missing
            if definition.transforms:
                predictor["transforms"] = list(definition.transforms)
            emitted[key] = predictor
        return str(emitted[key]["name"])

    names = []
    for column in columns:
        assert column.definition is not None  # noqa: S101 (the constant is in no scorer; narrows the type)
        name = add(column.definition)
        names.append(name if column.category is None else f"{name}={label(column.category)}")
    return list(emitted.values()), names


def label(category: Any) -> str:
    """Return a category as its column's name has it (models.transform.OneHot.labels)."""
    return category if isinstance(category, str) else f"{float(category):.17g}"
