"""Predictors: source → aggregate → transforms → one or more columns of `x`.

Laws:
- Evaluating never raises and never yields a non-finite number: a raw value that is missing, null, of the wrong type, or
  that the transforms can't take, becomes the declared `missing` value, which the model file check has proven to pass.
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
from models.timestamps import FOREVER
from models.transform import Category, OneHot, Transform

Columns = tuple[float, ...]


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
        one_hot = self.transforms[-1] if self.transforms and isinstance(self.transforms[-1], OneHot) else None
        rows, zeros = one_hot.rows() if one_hot else ({}, ())

        def transform(value: Any) -> Columns:
            for step in steps:
                value = step(value)
            if one_hot is not None:
                return rows.get(value, zeros)
            if not math.isfinite(value):
                raise ValueError(f"{value} is not finite")
            return (value,)

        if self.missing is None:
            fallback = zeros
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


__all__ = ["FOREVER", "Columns", "Combination", "Predictor", "Source", "compile_combination", "moves"]
