"""All that may be written otherwise than the author means it: the time of scoring, the order of columns, a predictor,
its unit. Each is a hypothesis about why the author's numbers are others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from memberstream.models.export.causes import Hypothesis
from memberstream.models.export.edits import edits_of, offsets, rivals_of_time
from memberstream.models.export.own import Inputs
from memberstream.models.export.raw import Raw
from memberstream.models.export.reading import Reading
from memberstream.models.export.relations import FACTORS, SPELLINGS, TRANSFORMS, times
from memberstream.models.predictor import Combination
from memberstream.models.timestamps import DAY_MS
from memberstream.models.wording import counted

HOUR_MS = 3_600_000
_DAYS = (*range(1, 32), 60, 90, 91, 365)
_HOURS = (*range(1, 15), 3.5, 4.5, 5.5, 5.75, 6.5, 9.5)  # time zones
#: Other times of scoring: days, time zones, and a moment before, for who counts what was before it.
SHIFTS_MS = (
    *(sign * days * DAY_MS for days in _DAYS for sign in (-1, 1)),
    *(int(sign * hours * HOUR_MS) for hours in _HOURS for sign in (-1, 1)),
    -1,
)
_MOST_COLUMNS = 60  # of which pairs are tried
_MOST_MOVED = 20  # columns of which each is tried in each other place
_MOST_PERMUTED = 5  # columns of which each order is tried


def rereadings(reading: Reading) -> Iterator[Hypothesis]:
    """Yield all of them."""
    yield from _orders(reading)
    yield from written_otherwise(reading, reading.raw.columns)
    for column in reading.inputs.predictors:
        yield from _spellings(reading, column) if column in reading.raw.training.texts else _units(reading, column)


def written_otherwise(reading: Reading, names: Container[str]) -> Iterator[Hypothesis]:
    """Yield other times of scoring, and how the predictors of these columns may have been meant. (One that is encoded
    by itself has no column of its own name.)"""
    yield from times_of_scoring(reading, SHIFTS_MS)
    yield from offsets(reading)
    for written, predictor in zip(reading.raw.written, reading.raw.parsed, strict=True):
        if not isinstance(predictor.source, Combination) and written["name"] in names:
            yield from edits_of(reading, written)


def times_of_scoring(reading: Reading, shifts_ms: Sequence[int]) -> Iterator[Hypothesis]:
    """Yield other times of scoring. If nothing happened in between, a window that ends otherwise, or days counted
    otherwise, give the same."""
    for shift in shifts_ms if reading.raw.moving else ():
        yield Hypothesis(
            reading.shifted(shift),
            "another time of scoring: yours are as of {} than at",
            duration(shift),
            partial(rivals_of_time, reading, shift),
        )


def duration(shift_ms: int) -> str:
    """Return a shift of time in words."""
    n, unit = next(
        (shift_ms / unit_ms, unit)
        for unit, unit_ms in (("day", DAY_MS), ("hour", HOUR_MS), ("minute", 60_000), ("millisecond", 1))
        if shift_ms % unit_ms == 0
    )
    return f"{counted(int(abs(n)), unit)} {'later' if n > 0 else 'earlier'}"


# --- the order of columns


def _orders(reading: Reading) -> Iterator[Hypothesis]:
    names, texts = reading.inputs.predictors, reading.raw.training.texts
    seen = {tuple(names)}
    for order in _permuted(names):
        are_alike = all((a in texts) == (b in texts) for a, b in zip(names, order, strict=True))
        if are_alike and tuple(order) not in seen:
            seen.add(tuple(order))
            yield of_order(reading, order)


def of_order(reading: Reading, order: Sequence[str]) -> Hypothesis:
    """Return that columns are in another order, with the words that mend it."""
    moved = [(name, of) for name, of in zip(reading.inputs.predictors, order, strict=True) if name != of]
    if _takes(reading.inputs, reading.raw, order):
        words = f"Use: inputs={list(order)}"
    else:  # the fit knows its columns by names, so predictors have the wrong ones
        reads = ", ".join(f"{name} is what {of} reads" for name, of in moved)
        words = f"The fit names them, so predictors have each other's names: {reads}. Use: their names exchanged"
    return Hypothesis(reading.reordered(order), f"the columns are in another order. {words}")


def _takes(inputs: Inputs, raw: Raw, order: Sequence[str]) -> bool:
    """Return whether such `inputs` wouldn't be refused: a fit that knows columns by their names has an order."""
    if inputs.are_named_only or inputs.names is None:
        return not inputs.are_named_only
    names = [name for name, column in zip(inputs.names, inputs.columns, strict=True) if column is not None]
    return raw.contradicted(names, order) is None


def _permuted(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield orders: all, or of many columns those in which one is in another place, or two have changed theirs."""
    n = len(names)
    if n <= _MOST_PERMUTED:
        yield from itertools.permutations(names)
        return
    yield from (sorted(names), [*reversed(names)])
    for i, j in itertools.combinations(range(min(n, _MOST_COLUMNS)), 2):
        order = [*names]
        order[i], order[j] = order[j], order[i]
        yield order
    for i, j in itertools.permutations(range(n if n <= _MOST_MOVED else 0), 2):
        order = [*names]
        order.insert(j, order.pop(i))
        yield order


# --- other values of one column


def _units(reading: Reading, column: str) -> Iterator[Hypothesis]:
    for factor in dict.fromkeys(ratio for f in FACTORS for ratio in (f, 1 / f)):
        recompute = reading.changed(column, partial(np.multiply, factor))
        yield Hypothesis(recompute, f"{column}: {times(factor)}")
    for words, function in TRANSFORMS.items():
        yield Hypothesis(reading.changed(column, function), f"{column}: yours are {words} of the file's")


def _spellings(reading: Reading, column: str) -> Iterator[Hypothesis]:
    for words, function in SPELLINGS.items():
        yield Hypothesis(reading.changed(column, partial(_spelt, function)), f"{column}: yours are the file's {words}")


def _spelt(function: Callable[[str], str], values: Any) -> Any:
    return np.array([function(v) if isinstance(v, str) else v for v in values.tolist()], dtype=object)
