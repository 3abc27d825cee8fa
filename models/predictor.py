"""Predictors: source → aggregate → transforms → one or more columns of `x`.

Laws:
- Evaluating never raises and never yields a number beyond ±1e100. A raw value that is missing, null, of the wrong type,
  or that the transforms can't take, becomes the declared `missing` value. Reading the file has proven that this value
  passes the transforms.
- A predictor's columns depend only on the time and on the document at the paths in `reads`. While the document stays as
  it is, they hold until `until_ms`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from memberstream.models.path import Path
from memberstream.models.source import Elapsed, ListAggregate, Value
from memberstream.models.transform import Category, OneHot, Transform

# (raw values or None) → per value its number or, after a one-hot, its tuple of numbers
ColumnsMany = Callable[[Sequence[Any]], list[Any]]
_FAILURES = (ValueError, OverflowError, ZeroDivisionError)
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
        missing: the raw value in place of one that can't be used. None only before a one-hot (all columns
            are 0) or codes (the code is -1).
        transforms: applied in order; a one-hot or codes come last.
    """

    name: str
    source: Source
    missing: Category | None
    transforms: tuple[Transform, ...] = ()

    @property
    def is_one_hot(self) -> bool:
        return bool(self.transforms) and isinstance(self.transforms[-1], OneHot)

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

    def compile_transforms(self) -> ColumnsMany:
        """Return a function raw values (or None) → columns of each, by the laws above.

        Raises:
            ValueError: the missing value itself doesn't pass the transforms; the text says which number came out.
        """
        steps = [t.compile() for t in self.transforms if not isinstance(t, OneHot)]
        last = self.transforms[-1] if self.transforms else None
        one_hot = last.compile() if isinstance(last, OneHot) else None

        def transform(value: Any) -> Any:
            for step in steps:
                value = step(value)
            if one_hot is not None:
                return one_hot(value)
            if not -LIMIT <= value <= LIMIT:  # neither does NaN pass
                raise ValueError(f"{value}, beyond ±1e100")
            return value

        missing = self.missing
        if missing is None and one_hot is not None:
            fallback: Any = (0.0,) * len(self.columns)
        else:
            try:
                fallback = transform(missing)
            except (ValueError, OverflowError, ZeroDivisionError, TypeError) as error:
                raise ValueError(f"a value that passes the transforms, but {missing!r} gives: {error}") from None

        def columns_of(value: Any) -> Any:
            if value is None:
                return fallback
            try:
                return transform(value)
            except _FAILURES:
                return fallback

        def numbers_many(values: Sequence[Any]) -> list[Any]:
            """Transform all values, a pass per transform, which is faster. If that fails for one, each by itself."""
            try:
                numbers: list[Any] = [missing if value is None else value for value in values]
                for step in steps:
                    numbers = [step(value) for value in numbers]
                return [value if -LIMIT <= value <= LIMIT else fallback for value in numbers]
            except _FAILURES:
                return [columns_of(value) for value in values]

        return numbers_many if one_hot is None else lambda values: [columns_of(value) for value in values]


def compile_combination(source: Combination) -> Callable[[Sequence[float], Sequence[float]], list[float | None]]:
    """Return a function (a of each row, b of each row) → a / b or a × b; None if that isn't a finite number."""
    if source.operation == "product":
        return lambda a, b: [_finite(left * right) for left, right in zip(a, b, strict=True)]
    return lambda a, b: [_finite(left / right) if right else None for left, right in zip(a, b, strict=True)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def moves(source: Source) -> bool:
    """Return whether a source's value can change by time alone. A combination's operands decide that, not it."""
    return not isinstance(source, Combination) and source.moves
