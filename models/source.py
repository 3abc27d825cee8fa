"""Sources: how a predictor takes its raw value from a document at a time, and until when that value holds.

Laws:
- Reading never raises, whatever JSON a document is. It gives a value, or None if it is missing, null or of the wrong
  type; and `until_ms`. While now_ms ≤ t < until_ms and the document stays, reading it at t gives the same value.
  `until_ms` is FOREVER if time alone never changes the value.
- Many documents at once give what each one gives alone.
- A list element whose time lies after `now_ms` is not there yet. A window of w days holds the elements with
  now - w < time ≤ now: an element leaves at exactly time + w.
- Sums are math.fsum's: exact, then rounded once. So they don't depend on the order of the elements. A sum that
  overflows on the way is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from memberstream.models import number_text
from memberstream.models.columns import NumberSpan, Span, sum_of_repeated
from memberstream.models.elements import Elements, Scratch, Select, Shared, compile_selection, once
from memberstream.models.path import Defined, Path, getter, getter_many
from memberstream.models.timestamps import DAY_MS, FOREVER, time_reader
from memberstream.models.where import Condition

Read = Callable[[Any, int, Scratch], tuple[Any, int]]  # (document, now_ms, scratch) → (value or None, until_ms)
Reading = tuple[list[Any], list[int]]  # values or None, and until when each holds, ms; empty: for ever
# (documents, now_ms of each, scratch of each) → all values, and until when each holds
ReadMany = Callable[[Sequence[Any], Sequence[int], Sequence[Scratch]], Reading]
RESOLUTION_MS = {"days": DAY_MS, "hours": 3_600_000, "seconds": 1_000}
Aggregate = Literal["count", "sum", "mean", "min", "max", "last", "distinct", "days_since", "decayed_count"]


def number(value: Any) -> float | None:
    """Return a JSON number or boolean (1.0 or 0.0) as a finite float, or None for anything else."""
    if type(value) is float:  # nearly always
        return value if math.isfinite(value) else None
    if not isinstance(value, (int, float)):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def numbers(values: list[Any]) -> list[float | None]:
    """Return `number` of each value."""
    return [value if type(value) is float and -math.inf < value < math.inf else number(value) for value in values]


def number_or_text(value: Any) -> float | None:
    """Return `number` of a value, or the number that a text writes (models/number_text.py)."""
    return number(number_text.read(value) if isinstance(value, str) else value)


def _number_texts(values: list[Any]) -> list[float | None]:
    return [number_or_text(value) for value in values]


def text(value: Any) -> str | None:
    """Return a JSON text, or None for anything else."""
    return value if isinstance(value, str) else None


def _texts(values: list[Any]) -> list[str | None]:
    return [text(value) for value in values]


@dataclass(frozen=True, slots=True, repr=False)
class Value(Defined):
    """The value at a path. `is_number_text`: a text that writes a number is that number."""

    path: Path
    is_text: bool = False
    is_number_text: bool = field(default=False, repr=False)

    @property
    def moves(self) -> bool:
        return False

    def compile(self, shared: Shared) -> ReadMany:
        get_many = getter_many(self.path)
        if self.is_text:
            return lambda documents, now_ms, scratches: ([text(value) for value in get_many(documents)], [])
        if self.is_number_text:
            return lambda documents, now_ms, scratches: ([number_or_text(v) for v in get_many(documents)], [])
        return lambda documents, now_ms, scratches: (numbers(get_many(documents)), [])


@dataclass(frozen=True, slots=True, repr=False)
class Elapsed(Defined):
    """Days since the point in time at a path. Both times are floored to the resolution (in a UTC offset) and
    subtracted.

    With resolution days it counts the midnights that have passed. A time in the future is missing until it arrives.
    `unit`: of times that are numbers (models/timestamps.py).
    """

    path: Path
    resolution_ms: int = DAY_MS
    utc_offset_ms: int = 0
    unit: str | None = field(default=None, repr=False)

    @property
    def moves(self) -> bool:
        return True

    def compile(self, shared: Shared) -> ReadMany:
        get, read_ms = getter(self.path), time_reader(self.unit)
        elapsed = elapsed_days(self.resolution_ms, self.utc_offset_ms)

        def read(document: Any, now_ms: int, scratch: Scratch) -> tuple[float | None, int]:
            at_ms = read_ms(get(document))
            if at_ms is None:
                return None, FOREVER
            return (None, at_ms) if at_ms > now_ms else elapsed(at_ms, now_ms)

        return each(read)


def elapsed_days(resolution_ms: int, utc_offset_ms: int) -> Callable[[int, int], tuple[float, int]]:
    """Return a function (at_ms, now_ms) → (days, the next moment at which that number changes)."""

    def elapsed(at_ms: int, now_ms: int) -> tuple[float, int]:
        ticks = (now_ms + utc_offset_ms) // resolution_ms
        days = (ticks - (at_ms + utc_offset_ms) // resolution_ms) * resolution_ms / DAY_MS
        return days, (ticks + 1) * resolution_ms - utc_offset_ms

    return elapsed


@dataclass(frozen=True, slots=True, repr=False)
class ListAggregate(Defined):
    """One value from the elements of a list.

    Attributes:
        path: the list. Anything but a list counts as an empty one.
        aggregate: what to compute.
        value: path inside an element; empty: the element itself.
        time: path of an element's point in time; elements without a valid one are left out. None: all elements count.
        window_ms: only elements younger than this; needs `time`.
        where: conditions that all must hold for an element to count.
        half_life_days: of decayed_count: after so many days an element counts half.
        is_number_text: a text that writes a number is that number. unit: of times that are numbers.
    """

    path: Path
    aggregate: Aggregate
    value: Path = ()
    time: Path | None = None
    window_ms: int | None = None
    where: tuple[Condition, ...] = ()
    resolution_ms: int = DAY_MS
    utc_offset_ms: int = 0
    is_text: bool = False
    half_life_days: float | None = None
    is_number_text: bool = field(default=False, repr=False)
    unit: str | None = field(default=None, repr=False)

    @property
    def moves(self) -> bool:
        return self.time is not None

    def compile(self, shared: Shared) -> ReadMany:
        return each(self._compile_one(shared))

    def _compile_one(self, shared: Shared) -> Read:
        select = compile_selection(self.path, self.time, self.where, self.window_ms, shared, self.unit)
        get_value = getter(self.value)
        read_number = number_or_text if self.is_number_text else number
        if self.aggregate == "days_since":
            return _days_since(select, elapsed_days(self.resolution_ms, self.utc_offset_ms))
        if self.half_life_days is not None:
            return _decayed_count(select, self.resolution_ms, self.utc_offset_ms, self.half_life_days)
        column = repr((self.value, self.is_number_text))
        get_values = getter_many(self.value)
        read_numbers = _number_texts if self.is_number_text else numbers

        def numbers_of(elements: Sequence[Any]) -> list[float | None]:
            return read_numbers(get_values(elements))

        if self.aggregate == "last" and self.is_text:
            of_span = partial(Span.last_value, definition=f"text {column}", values_of=lambda es: _texts(get_values(es)))
            return _last(select, lambda element: text(get_value(element)), of_span)
        if self.aggregate == "last":
            of_span = partial(Span.last_number, definition=column, values_of=numbers_of)
            return _last(select, lambda element: read_number(get_value(element)), of_span)
        if self.aggregate == "count":
            return _fold(select, lambda elements: float(len(elements)))
        if self.aggregate == "distinct":
            return _fold(select, _distinct(get_values, f"scalar {column}"))

        def find(document: Any, now_ms: int, scratch: Scratch) -> Elements:
            elements, times, until_ms = select(document, now_ms, scratch)
            if type(elements) is Span:
                return Elements(elements.numbers(column, numbers_of), times, until_ms)
            return Elements([v for e in elements if (v := read_number(get_value(e))) is not None], times, until_ms)

        definition = repr(
            (self.path, self.time, self.unit, self.where, self.window_ms, self.value, self.is_number_text)
        )
        return _fold(shared.setdefault(definition, once(find)), _FOLDS[self.aggregate])


def each(read: Read) -> ReadMany:
    """Return a function that reads one document after the other."""

    def read_many(documents: Sequence[Any], now_ms: Sequence[int], scratches: Sequence[Scratch]) -> Reading:
        pairs = [read(*one) for one in zip(documents, now_ms, scratches, strict=True)]
        return [value for value, _ in pairs], [until_ms for _, until_ms in pairs]

    return read_many


def _last(select: Select, value_of: Callable[[Any], Any], of_span: Callable[..., Any]) -> Read:
    """The element with the latest time; of equal times, or without times, the one that stands last in the list."""

    def read(document: Any, now_ms: int, scratch: Scratch) -> tuple[Any, int]:
        elements, times, until_ms = select(document, now_ms, scratch)
        if not elements:
            return None, until_ms
        if type(elements) is Span:
            return of_span(elements), until_ms
        index = len(times) - 1 - times[::-1].index(max(times)) if times else -1
        return value_of(elements[index]), until_ms

    return read


def _days_since(select: Select, elapsed: Callable[[int, int], tuple[float, int]]) -> Read:
    """Days since the latest element."""

    def read(document: Any, now_ms: int, scratch: Scratch) -> tuple[float | None, int]:
        elements, times, until_ms = select(document, now_ms, scratch)
        if not elements:
            return None, until_ms
        days, changes_ms = elapsed(elements.latest_ms() if type(elements) is Span else max(times), now_ms)
        return days, min(until_ms, changes_ms)

    return read


def _decayed_count(select: Select, resolution_ms: int, utc_offset_ms: int, half_life_days: float) -> Read:
    """The sum of 2 ** -(days since / half-life) over the elements, exact in its terms and rounded once."""
    elapsed = elapsed_days(resolution_ms, utc_offset_ms)

    def read(document: Any, now_ms: int, scratch: Scratch) -> tuple[float, int]:
        elements, times, until_ms = select(document, now_ms, scratch)
        if not elements:
            return 0.0, until_ms
        counts: Sequence[int] = ()
        if type(elements) is Span:  # those of one tick are equally old
            times, counts = elements.times_by(lambda at_ms: (at_ms + utc_offset_ms) // resolution_ms)
        terms = [2.0 ** -(elapsed(at_ms, now_ms)[0] / half_life_days) for at_ms in times]
        total = sum_of_repeated(terms, counts) if counts else math.fsum(terms)
        return total, min(until_ms, elapsed(times[0], now_ms)[1])

    return read


def _distinct(get_values: Callable[[Sequence[Any]], list[Any]], definition: str) -> Callable[[Any], float]:
    def scalars(elements: Sequence[Any]) -> list[Any]:
        return [_scalar(value) for value in get_values(elements)]

    def n_distinct(elements: list[Any] | Span) -> float:
        if type(elements) is Span:
            return float(elements.n_distinct(definition, scalars))
        return float(len(set(scalars(elements)) - {None}))

    return n_distinct


def _fold(select: Select, fold: Callable[[Any], float | None]) -> Read:
    """One number from all elements, or from their numbers."""

    def read(document: Any, now_ms: int, scratch: Scratch) -> tuple[float | None, int]:
        elements, _, until_ms = select(document, now_ms, scratch)
        return fold(elements), until_ms

    return read


def _exact_sum(values: list[float] | NumberSpan) -> float | None:
    try:
        return values.total() if type(values) is NumberSpan else math.fsum(values)
    except OverflowError:
        return None


def _mean(values: list[float] | NumberSpan) -> float | None:
    total = _exact_sum(values)
    return None if total is None or not values else total / len(values)


def _scalar(value: Any) -> Any:
    """Return something hashable for a JSON text, number or boolean; 1 and true stay different. None for the rest."""
    if isinstance(value, bool):
        return "bool", value
    return value if isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)) else None


def _extreme(choose: Callable[..., float]) -> Callable[[list[float] | NumberSpan], float | None]:
    def extreme(values: list[float] | NumberSpan) -> float | None:
        return values.extreme(choose) if type(values) is NumberSpan else choose(values, default=None)

    return extreme


_FOLDS: dict[str, Callable[[Any], float | None]] = {
    "sum": _exact_sum,
    "mean": _mean,
    "min": _extreme(min),
    "max": _extreme(max),
}
