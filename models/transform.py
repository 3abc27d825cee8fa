"""Transforms: what happens to a predictor's raw number (or category) before it becomes a column of `x`.

Laws: a transform is a pure function of one number, evaluated with Python's float arithmetic and libm. So one document
and a million give the same bits. A transform may fail (log of a negative number). Then the predictor takes its
`missing` value. Formulas are scikit-learn's: `scale` is StandardScaler's (v - mean) / sd, `bins` is numpy.digitize.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Category = str | float


@dataclass(frozen=True, slots=True)
class Log1p:
    """log(1 + v); fails for v ≤ -1."""

    def compile(self) -> Callable[[float], float]:
        return math.log1p


@dataclass(frozen=True, slots=True)
class Log:
    """log(v); fails for v ≤ 0."""

    def compile(self) -> Callable[[float], float]:
        return math.log


@dataclass(frozen=True, slots=True)
class Sqrt:
    """The square root of v; fails for v < 0."""

    def compile(self) -> Callable[[float], float]:
        return math.sqrt


@dataclass(frozen=True, slots=True)
class Clip:
    """v limited to [low, high]; either bound may be absent."""

    low: float = -math.inf
    high: float = math.inf

    def compile(self) -> Callable[[float], float]:
        low, high = self.low, self.high
        return lambda v: low if v < low else high if v > high else v


@dataclass(frozen=True, slots=True)
class Scale:
    """(v - mean) / sd."""

    mean: float
    sd: float

    def compile(self) -> Callable[[float], float]:
        mean, sd = self.mean, self.sd
        return lambda v: (v - mean) / sd


@dataclass(frozen=True, slots=True)
class Bins:
    """The number of edges ≤ v, 0 … len(edges)."""

    edges: tuple[float, ...]

    def compile(self) -> Callable[[float], float]:
        edges = self.edges
        return lambda v: float(bisect_right(edges, v))


@dataclass(frozen=True, slots=True)
class OneHot:
    """One column per category: 1.0 if the value equals it, else 0.0. Any other value gives zeros only.

    Categories are all texts or all numbers. A number written as a boolean counts as 0 or 1.
    """

    categories: tuple[Category, ...]

    @property
    def is_text(self) -> bool:
        return isinstance(self.categories[0], str)

    def labels(self) -> tuple[str, ...]:
        """Return the categories as column suffixes, whole numbers without their `.0`."""
        return tuple(c if isinstance(c, str) else f"{c:.17g}" for c in self.categories)

    def compile(self) -> Callable[[Any], tuple[float, ...]]:
        """Return a function value → columns. (A table of all rows would take categories² numbers.)"""
        places = {category: i for i, category in enumerate(self.categories)}
        zeros = (0.0,) * len(places)
        one = (1.0,)

        def columns_of(value: Any) -> tuple[float, ...]:
            place = places.get(value)
            return zeros if place is None else zeros[:place] + one + zeros[place + 1 :]

        return columns_of


@dataclass(frozen=True, slots=True)
class Codes:
    """The place of the category in a list, 0 … n - 1; of any other value, and of a missing one, -1.

    Categories are all texts or all numbers, as a one-hot's.
    """

    categories: tuple[Category, ...]

    @property
    def is_text(self) -> bool:
        return isinstance(self.categories[0], str)

    def compile(self) -> Callable[[Any], float]:
        places = {category: float(i) for i, category in enumerate(self.categories)}
        return lambda value: places.get(value, -1.0)


Transform = Log1p | Log | Sqrt | Clip | Scale | Bins | OneHot | Codes
