"""The columns of a training matrix as definitions: what the steps of a pipeline make of the author's predictors.

A fitted pipeline is walked from left to right. It begins with the columns of the author's predictors
(models.export.raw). Each step turns columns into columns. In front of the final estimator each column is a definition
that the model file can hold.

Law: equal definitions become one predictor; different ones never share a name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from memberstream.models.predictor_file import EMPTY_IS_ZERO

_MAX_HINT = 90  # a name may have 100 characters (models.predictor_file)


class ExportError(ValueError):
    """A fitted model that can't be exported exactly, or whose export doesn't reproduce it. Lists a step's problems."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True)
class Definition:
    """A predictor in the making.

    Attributes:
        hint: the name it gets unless another one has it.
        source: `path`, `aggregate` … as in a model file; empty for a combination.
        operation: "ratio" or "product" of two operands; empty for a source.
        missing: the raw value in place of a missing one; None: not known yet, or (before a one-hot) no category.
        is_text: its raw value is a category's text that no step has encoded yet.
        is_encoded: whether an OrdinalEncoder made its codes: -1 stands for a gap.
        unfilled: what a SimpleImputer would have put in place of a missing value, if there were any here.
    """

    hint: str
    source: Mapping[str, Any]
    operation: str = ""
    operands: tuple[Definition, ...] = ()
    missing: Any = None
    transforms: tuple[Any, ...] = ()
    is_text: bool = False
    is_encoded: bool = False
    unfilled: tuple[str, Any] | None = None  # (the step, the value)

    @property
    def is_never_missing(self) -> bool:
        """Whether an imputer finds nothing to fill: the predictor has its own rule, or nothing counts as 0 or as -1."""
        match self.transforms:
            case [{"codes": [str(), *_]}, *_]:
                return True
        kind = self.operation or self.source.get("aggregate")
        return self.missing is not None or kind in EMPTY_IS_ZERO

    @property
    def key(self) -> bytes:
        """Bytes that two definitions share only if they compute the same."""
        operands = [operand.key.decode() for operand in self.operands]
        parts = (dict(self.source), self.operation, operands, self.missing, self.transforms)
        return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)

    def then(self, transform: Any) -> Definition:
        """Return it with one more transform."""
        return replace(self, transforms=(*self.transforms, transform))


@dataclass(frozen=True)
class Column:
    """A column of the matrix: of a definition, of one of its categories, a weighted sum of others (`terms`), or the
    constant 1.

    Its value in the matrix is (v - mean) / sd. Only a scaling that can't be a transform of the definition stands here:
    that of a category's column or of a sum. Linear models and mixtures take it into their parameters.
    """

    definition: Definition | None
    category: Any = None
    mean: float = 0.0
    sd: float = 1.0
    terms: tuple[tuple[Column, float], ...] = ()

    @property
    def is_constant(self) -> bool:
        """Whether it is the constant 1."""
        return self.definition is None and not self.terms

    @property
    def is_plain(self) -> bool:
        """Whether it is a number that can be transformed further."""
        return self.definition is not None and self.category is None and not self.definition.is_text

    @property
    def is_scaled(self) -> bool:
        """Whether it isn't its definition's value as it stands."""
        return (self.mean, self.sd) != (0.0, 1.0)

    @property
    def hint(self) -> str:
        """Its name in the text of a problem."""
        name = self.definition.hint if self.definition else "a component" if self.terms else "1"
        return name if self.category is None else f"{name}={label(self.category)}"


def gaps(columns: Sequence[Column], name: str) -> list[str]:
    """Return problems of an estimator that takes no gaps, where an OrdinalEncoder may make some."""
    return [
        f"{column.hint}: an unknown category is NaN, which {name} doesn't take. Use: a OneHotEncoder"
        for column in columns
        if column.definition is not None and column.definition.is_encoded
    ]


def product(a: Definition, b: Definition) -> Definition:
    """Return the product of two definitions."""
    hint = f"{a.hint}_squared" if a.key == b.key else f"{a.hint}_x_{b.hint}"
    return Definition(hint, {}, "product", (a, b))


def emit(columns: Sequence[Column]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the model file's predictors, operands first, and the name of each column."""
    emitted: dict[bytes, dict[str, Any]] = {}
    taken: set[str] = set()

    def add(definition: Definition) -> str:
        key = definition.key
        if key not in emitted:
            operands = [add(operand) for operand in definition.operands]
            hint = name = definition.hint[:_MAX_HINT]
            n = 2
            while name in taken:
                name, n = f"{hint}_{n}", n + 1
            taken.add(name)
            predictor: dict[str, Any] = {"name": name, **definition.source}
            if operands:
                predictor[definition.operation] = operands
            if definition.missing is not None:
                predictor["missing"] = definition.missing
            if definition.transforms:
                predictor["transforms"] = list(definition.transforms)
            emitted[key] = predictor
        return str(emitted[key]["name"])

    names = []
    for column in columns:
        assert column.definition is not None  # noqa: S101 (no scorer has a constant as input; narrows the type)
        name = add(column.definition)
        names.append(name if column.category is None else f"{name}={label(column.category)}")
    return list(emitted.values()), names


def label(category: Any) -> str:
    """Return a category as it stands in its column's name (models.transform.OneHot.labels)."""
    return category if isinstance(category, str) else f"{float(category):.17g}"
