"""Predictors: source → aggregate → transforms → one or more columns of `x`.

Laws:
- Evaluating never raises and never yields a number beyond ±1e100: a raw value that is missing, null, of the wrong
  type, or that the transforms can't take, becomes the declared `missing` value, proven to pass when the file is read.
- A predictor's columns depend only on the document at the paths in `reads` and on the time; with the document as it
  is they hold until `until_ms`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from models.path import Path
from models.source import Elapsed, ListAggregate, Value
from models.transform import Category, OneHot, Transform

Columns = tuple[float, ...]
LIMIT = 1e100  # far beyond anything real, and so far below 1.8e308 that no score made from columns can overflow


@dataclass(frozen=True, slots=True)
class Combination:
    """The ratio a / b or the product a × b of two predictors defined before, each after its own transforms."""

    operation: str  # "ratio" or "product"
    operands: tuple[str, str]


Source = Value | Elapsed | ListAggregate | Combination


@dataclass(frozen=True, slots=True)
class Predictor:
    """The definition of a predictor; equal definitions give equal bits.

    Attributes:
        name: unique in its model file.
        source: where the raw value comes from.
        missing: the raw value in place of one that can't be used; None only before a one-hot (all its columns 0).
        transforms: applied in order; a one-hot comes last.
    """

    name: str
    source: Source
    missing: Category | None
    transforms: tuple[Transform, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns: the predictor's own, or `name=category` for each category of a one-hot."""
        if self.transforms and isinstance(self.transforms[-1], OneHot):
            return tuple(f"{self.name}={label}" for label in self.transforms[-1].labels())
        return (self.name,)

    @property
    def reads(self) -> frozenset[Path]:
        """The document paths that the source itself reads; a combination has none of its own."""
        return frozenset() if isinstance(self.source, Combination) else frozenset({self.source.path})

    def compile_transforms(self) -> Callable[[Any], Columns]:
        """Return a function raw value (or None) → columns, by the laws above.

        Raises:
            ValueError: the missing value itself doesn't pass the transforms; the text says which number came out.
        """
        steps = [t.compile() for t in self.transforms if not isinstance(t, OneHot)]
        last = self.transforms[-1] if self.transforms else None
        one_hot = last.compile() if isinstance(last, OneHot) else None

        def transform(value: Any) -> Columns:
            for step in steps:
                value = step(value)
            if one_hot is not None:
                return one_hot(value)
            if not -LIMIT <= value <= LIMIT:  # neither does NaN pass
                raise ValueError(f"{value}, beyond ±1e100")
            return (value,)

        if self.missing is None:
            fallback = (0.0,) * len(self.columns)
        else:
            try:
                fallback = transform(self.missing)
            except (ValueError, OverflowError, ZeroDivisionError, TypeError) as error:
                raise ValueError(f"a value that passes the transforms, but {self.missing!r} gives: {error}") from None

        def columns_of(value: Any) -> Columns:
            if value is None:
                return fallback
            try:
                return transform(value)
            except (ValueError, OverflowError, ZeroDivisionError):
                return fallback

        return columns_of


def compile_combination(predictor: Predictor, operands: Sequence[int]) -> Callable[[Sequence[float]], Columns]:
    """Return a function (row of x) → columns of a ratio or product; `operands` are its two column indices."""
    assert isinstance(predictor.source, Combination)  # noqa: S101 (the caller has looked; narrows the type)
    columns_of = predictor.compile_transforms()
    a, b = operands
    if predictor.source.operation == "product":
        return lambda row: columns_of(_finite(float(row[a]) * float(row[b])))
    return lambda row: columns_of(_finite(float(row[a]) / float(row[b])) if row[b] else None)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def moves(source: Source) -> bool:
    """Return whether a source's value can change by the mere passing of time; of a combination its operands decide."""
    return not isinstance(source, Combination) and source.moves
