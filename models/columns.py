"""What predictors read of a long list, in columns by time: its elements needn't be looked through again.

Laws:
- Elements stand in the order of their times, those of equal times in the order of the list; without times in the order
  of the list. So the elements of a window are a slice, found by bisection.
- What is told of a slice is what models/source.py tells of its elements in a list, bit for bit. Sums are exact, then
  rounded once, as math.fsum's: a block of numbers stands for its sum in a few numbers, without a loss. Where the order
  of the list decides (zeros of both signs, sums that may overflow on the way), the elements are read.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from itertools import chain, pairwise, repeat
from operator import itemgetter
from sys import getsizeof
from typing import Any, final

import numpy as np

from memberstream.models.timestamps import FOREVER

#: Elements → whether each counts at all: its time, ms (0 if no time is asked for), or None.
Keep = Callable[[Sequence[Any]], Sequence[int | None]]
NumbersOf = Callable[[Sequence[Any]], Sequence[float | None]]  # elements → the number of each, None if it is none
ValuesOf = Callable[[Sequence[Any]], Sequence[Hashable]]  # elements → the value of each
Items = Callable[[], list[Any]]  # reads all elements of the list
#: Numbers that one block sums up. A sum of n looks at 2 n / BLOCK + BLOCK numbers or so.
BLOCK = 128
_SURE_SUM = 1e300  # if all magnitudes sum up to less, nothing overflows on the way


class Selection:
    """The elements of a packed list that meet some conditions.

    Attributes:
        times: of each, ms, ascending; without times empty.
    """

    def __init__(self, keep: Keep, items: list[Any], *, is_timed: bool) -> None:
        self._keep, self._is_timed = keep, is_timed
        self.times = array("q")
        self._numbers: dict[str, Numbers] = {}
        self._codes: dict[str, Codes] = {}
        self._elements: list[Any] | None = self._read(items)
        self.n = len(self._elements)

    def _read(self, items: list[Any]) -> list[Any]:
        """Return the elements in order, and set their times."""
        found = zip(self._keep(items), items, strict=True)
        kept = [(at_ms, element) for at_ms, element in found if at_ms is not None]
        if self._is_timed:
            kept.sort(key=itemgetter(0))  # stable
            self.times = array("q", [at_ms for at_ms, _ in kept])
        return [element for _, element in kept]

    def _ordered(self, items: Items) -> list[Any]:
        if self._elements is None:
            self._elements = self._read(items())
        return self._elements

    def forget(self) -> None:
        """Forget the elements themselves."""
        self._elements = None

    def add(self, element: Any) -> None:
        """Go on with the list's next element."""
        self.forget()
        [at_ms] = self._keep([element])
        if at_ms is None:
            return
        place = bisect_right(self.times, at_ms) if self._is_timed else self.n
        if self._is_timed:
            self.times.insert(place, at_ms)
        self.n += 1
        for numbers in self._numbers.values():
            numbers.add(place, element)
        for codes in self._codes.values():
            codes.add(place, element)

    def numbers(self, definition: str, numbers_of: NumbersOf, items: Items) -> Numbers:
        """Return the column of the elements' numbers. Equal definitions tell the same."""
        found = self._numbers.get(definition)
        if found is None:
            found = self._numbers[definition] = Numbers(numbers_of, self._ordered(items))
        return found

    def codes(self, definition: str, values_of: ValuesOf, items: Items) -> Codes:
        """Return the column of the elements' values. Equal definitions tell the same."""
        found = self._codes.get(definition)
        if found is None:
            found = self._codes[definition] = Codes(values_of, self._ordered(items))
        return found

    def listed(self, after_ms: int, now_ms: int, items: Items) -> list[Any]:
        """Return elements whose time lies in between, in the order of the list."""
        found = zip(items(), self._keep(items()), strict=True)
        return [e for e, at_ms in found if at_ms is not None and after_ms < at_ms <= now_ms]

    @property
    def size_bytes(self) -> int:
        """Bytes that it takes in memory, about."""
        columns: list[Numbers | Codes] = [*self._numbers.values(), *self._codes.values()]
        return 8 * len(self.times) + sum(column.size_bytes for column in columns)


@final
class Span:
    """The elements of a selection that count: those of a slice. `len` is their number."""

    __slots__ = ("_after_ms", "_items", "_now_ms", "selection", "start", "stop")

    def __init__(
        self, selection: Selection, items: Items, start: int, stop: int, after_ms: int = -FOREVER, now_ms: int = FOREVER
    ) -> None:
        self.selection, self.start, self.stop = selection, start, stop
        self._items, self._after_ms, self._now_ms = items, after_ms, now_ms

    def __len__(self) -> int:
        return self.stop - self.start

    def at(self, now_ms: int, window_ms: int | None) -> tuple[Span, int]:
        """Return what of all elements counts at a time, and until when that holds (models/elements.py)."""
        times, start, after_ms = self.selection.times, 0, -FOREVER
        stop = bisect_right(times, now_ms)
        until_ms = times[stop] if stop < len(times) else FOREVER
        if window_ms is not None:
            after_ms = now_ms - window_ms
            start = bisect_right(times, after_ms)
            if start < stop:
                until_ms = min(until_ms, times[start] + window_ms)
        return Span(self.selection, self._items, start, stop, after_ms, now_ms), until_ms

    def latest_ms(self) -> int:
        """Return the latest time; there is an element."""
        return self.selection.times[self.stop - 1]

    def times_by(self, group_of: Callable[[Any], Any]) -> tuple[list[int], list[int]]:
        """Return a time of each group, and how many elements have one of that group.

        Args:
            group_of: times (n,) → a number of each, ascending with the times.
        """
        times = np.frombuffer(self.selection.times, dtype=np.int64)[self.start : self.stop]
        begins = np.flatnonzero(np.diff(group_of(times))) + 1
        starts = [0, *begins.tolist()]
        return times[starts].tolist(), [b - a for a, b in pairwise([*starts, len(times)])]

    def last_number(self, definition: str, values_of: NumbersOf) -> float | None:
        """Return the number of the latest element; there is one."""
        value = self.selection.numbers(definition, values_of, self._items).values[self.stop - 1]
        return None if math.isnan(value) else value

    def last_value(self, definition: str, values_of: ValuesOf) -> Any:
        """Return the value of the latest element; there is one."""
        return self.selection.codes(definition, values_of, self._items).value(self.stop - 1)

    def n_distinct(self, definition: str, values_of: ValuesOf) -> int:
        """Return how many values there are, without None."""
        return self.selection.codes(definition, values_of, self._items).n_distinct(self.start, self.stop)

    def numbers(self, definition: str, numbers_of: NumbersOf) -> NumberSpan:
        """Return the numbers of the elements."""
        return NumberSpan(self, self.selection.numbers(definition, numbers_of, self._items))

    def listed(self) -> list[Any]:
        """Return the elements in the order of the list."""
        return self.selection.listed(self._after_ms, self._now_ms, self._items)


@final
class NumberSpan:
    """The numbers of a span's elements, without those that are none. `len` is how many there are."""

    __slots__ = ("_column", "_span")

    def __init__(self, span: Span, column: Numbers) -> None:
        self._span, self._column = span, column

    def __len__(self) -> int:
        return self._column.count(self._span.start, self._span.stop)

    def listed(self) -> list[float]:
        """Return them in the order of the list."""
        return [value for value in self._column.numbers_of(self._span.listed()) if value is not None]

    def extreme(self, choose: Callable[[Sequence[float]], float]) -> float | None:
        """Return what `min` or `max` chooses of them in the order of the list; None if there are none."""
        found = self._column.extreme(self._span.start, self._span.stop, choose is min)
        return choose(self.listed()) if found == 0.0 and self._column.has_negative_zero else found

    def total(self) -> float:
        """Return their sum. Raises OverflowError as math.fsum does of them in the order of the list."""
        found = self._column.total(self._span.start, self._span.stop)
        return math.fsum(self.listed()) if found is None else found


class Numbers:
    """A column of numbers; NaN in the place of what is none."""

    has_negative_zero = False

    def __init__(self, numbers_of: NumbersOf, elements: Sequence[Any]) -> None:
        self.numbers_of = numbers_of
        self.values = array("d", [math.nan if value is None else value for value in numbers_of(elements)])
        numbers = np.array(self.values)
        self._n_missing = int(np.isnan(numbers).sum())
        self._largest = float(np.fmax.reduce(np.abs(numbers), initial=0.0))
        self.has_negative_zero = bool(np.any((numbers == 0.0) & np.signbit(numbers)))
        self._blocks: list[list[float]] = []  # of the first blocks that are full: numbers with the same exact sum

    def add(self, place: int, element: Any) -> None:
        """Put the number of an element at a place."""
        [value] = self.numbers_of([element])
        if value is None:
            self._n_missing += 1
        elif not value:
            self.has_negative_zero |= math.copysign(1.0, value) < 0
        elif abs(value) > self._largest:
            self._largest = abs(value)
        self.values.insert(place, math.nan if value is None else value)
        del self._blocks[place // BLOCK :]

    def count(self, start: int, stop: int) -> int:
        """Return how many of a slice are numbers."""
        if not self._n_missing or start == stop:
            return stop - start
        return stop - start - int(np.isnan(np.frombuffer(self.values)[start:stop]).sum())

    def extreme(self, start: int, stop: int, is_least: bool) -> float | None:
        """Return the least or largest of a slice; None if there are no numbers."""
        if start == stop:
            return None
        found = float((np.fmin if is_least else np.fmax).reduce(np.frombuffer(self.values)[start:stop]))
        return None if math.isnan(found) else found

    def total(self, start: int, stop: int) -> float | None:
        """Return the sum of a slice; None if it might overflow on the way."""
        if self._largest * (stop - start) > _SURE_SUM:
            return None
        first, last = -(-start // BLOCK), stop // BLOCK
        if first >= last:
            return math.fsum(self._within(start, stop))
        for block in range(len(self._blocks), last):
            self._blocks.append(_partials(self._within(block * BLOCK, (block + 1) * BLOCK)))
        edges = self._within(start, first * BLOCK), self._within(last * BLOCK, stop)
        return math.fsum(chain(*edges, *self._blocks[first:last]))

    def _within(self, start: int, stop: int) -> Sequence[float]:
        values = self.values[start:stop]
        return [value for value in values if not math.isnan(value)] if self._n_missing else values

    @property
    def size_bytes(self) -> int:
        """Bytes that it takes in memory, about."""
        return 8 * len(self.values) + 150 * len(self._blocks)


class Codes:
    """A column of values that are few or compared only: a number stands for each, and for equal ones the same."""

    def __init__(self, values_of: ValuesOf, elements: Sequence[Any]) -> None:
        self._values_of, values = values_of, values_of(elements)
        self._values: list[Any] = list(dict.fromkeys([None, *values]))
        self._known = {value: code for code, value in enumerate(self._values)}
        self._codes = array("i", map(self._known.__getitem__, values))
        self._values_bytes = sum(map(getsizeof, self._values))

    def add(self, place: int, element: Any) -> None:
        """Put the value of an element at a place."""
        [value] = self._values_of([element])
        code = self._known.setdefault(value, len(self._values))
        if code == len(self._values):
            self._values.append(value)
            self._values_bytes += getsizeof(value)
        self._codes.insert(place, code)

    def value(self, place: int) -> Any:
        """Return the value at a place."""
        return self._values[self._codes[place]]

    def n_distinct(self, start: int, stop: int) -> int:
        """Return how many values but None a slice has."""
        if start == stop:
            return 0
        counts = np.bincount(np.frombuffer(self._codes, dtype=np.intc)[start:stop])
        return int(np.count_nonzero(counts[1:]))

    @property
    def size_bytes(self) -> int:
        """Bytes that it takes in memory, about."""
        return 4 * len(self._codes) + 100 * len(self._values) + self._values_bytes


def _partials(values: Sequence[float]) -> list[float]:
    """Return a few numbers that have the same exact sum."""
    parts: list[float] = []
    while rest := math.fsum(chain(values, [-part for part in parts])):
        parts.append(rest)
    return parts


def sum_of_repeated(terms: Sequence[float], counts: Sequence[int]) -> float:
    """Return the sum of terms, each as often as its count says, exact and rounded once."""
    return math.fsum(chain.from_iterable(map(repeat, terms, counts)))
