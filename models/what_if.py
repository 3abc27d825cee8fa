"""What would move this member: for each origin of a model's predictors, the smallest change that changes the cluster.

Laws:
- One origin changes, as a raw value. Everything else stays as it is: other raw values, and the time.
- A change that is told has been scored by the plan and the scorer that the workers run, and gives the cluster told.
  One step back (the number before, of all numbers that a computer knows) still gives the member's own cluster.
- Between the member's value and that step nothing was skipped. An interval is left out only if bounds prove that the
  cluster holds all over it (models/enclosure.py), but for rounding: where two clusters differ by less than the last
  digits of their scores, either may come out, and that is no change. If `is_smallest` is false the search gave up: it
  found a change, and there may be a smaller one.
- Values stay possible: a count is whole and not below 0; days since something are whole steps of their resolution, and
  end with the window; what a logarithm or root reads stays at 0 or above; true may become false; a category is one that
  the model knows, or another one. Numbers are looked at up to ±1e12 (or twice the member's own): no member has others,
  and rounding would decide about them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import numpy as np

from memberstream.models.enclosure import Interval, Margins, columns, combined, margins
from memberstream.models.model import Cluster, Model
from memberstream.models.origins import Origin, Raw, as_read, origins
from memberstream.models.plan import Documents, Plan
from memberstream.models.predictor import Combination
from memberstream.models.raw_words import words
from memberstream.models.scorer import Floats, GaussianMixture, Scorer
from memberstream.models.source import Elapsed, ListAggregate, Value
from memberstream.models.timestamps import DAY_MS, MIN_MS
from memberstream.models.transform import Log, Log1p, OneHot, Sqrt

FARTHEST = 1e12
MAX_INTERVALS = 2_000  # looked at in one direction; a usual model takes a hundred or two
MAX_WORK_US = 5_000_000  # about microseconds, for all origins together: people wait for it
_LEAST_INTERVALS = 50  # of one search, while there are any
_AT_ONCE = 31  # places that the engine is asked about together, which takes it hardly longer than one
_MOST_COUNTED = 2**53
_ALIKE = 4.0
_DIGITS = 15
_FLOAT_DIGITS = 20  # more than a float has: rounding to further ones changes nothing


@dataclass(frozen=True, slots=True)
class Change:
    """A raw value that gives another cluster.

    Attributes:
        value: exactly where the cluster changes. shown: rounded away from the member's value, and scored as well.
        words: `shown` as people say it.
        cluster: what it gives.
        is_smallest: whether it is proven that no smaller change in this direction does.
    """

    value: Raw
    shown: Raw
    words: str
    cluster: Cluster
    is_smallest: bool = True


@dataclass(frozen=True, slots=True)
class Lever:
    """What an origin can do alone.

    Attributes:
        predictors: names of those that read it.
        value: the member's raw value; None: missing. words: as people say it.
        changes: the smallest first: one upwards, one downwards; of categories each. Last: that it is missing.
        is_settled: if there are no changes, whether it is proven that there is none.
    """

    predictors: tuple[str, ...]
    value: Raw
    words: str
    changes: tuple[Change, ...]
    is_settled: bool = True


def levers(model: Model, document: dict[str, Any], now_ms: int) -> tuple[Lever, ...]:
    """Return what each origin can do for a document at `now_ms`, in the order of the file."""
    engine, all_of_them = _Engine(model, document, now_ms), origins(model.predictors)
    work = _Work(model.scorer, 2 * len(all_of_them))
    return tuple([_lever(engine, origin, document, now_ms, work) for origin in all_of_them])


def _lever(engine: _Engine, origin: Origin, document: Any, now_ms: int, work: _Work) -> Lever:
    raw = origin.read(document, now_ms)
    found = engine.scored(origin, [*_categories(origin, raw), *([not raw] if isinstance(raw, bool) else [])])
    is_settled = True
    if not isinstance(raw, bool) and _has_numbers(origin):
        line = _line(origin, raw, now_ms)
        for direction in (1, -1):
            change, is_proven = _Search(engine, origin, line, direction, work).first()
            found += [change] if change else []
            is_settled &= is_proven
        found.sort(key=lambda change: abs(line.start - change.value) if isinstance(change.value, float) else math.inf)
    if raw is not None and _may_be_missing(origin.source):
        found += engine.scored(origin, [None])
    names = tuple(predictor.name for predictor in origin.readers)
    there = "" if raw is not None else origin.unread(document)
    return Lever(names, raw, words(origin, raw, there), tuple(found), is_settled)


def _may_be_missing(source: Value | Elapsed | ListAggregate) -> bool:
    counts = ("count", "sum", "distinct", "decayed_count")
    return not isinstance(source, ListAggregate) or source.aggregate not in counts


# --- categories


def _categories(origin: Origin, raw: Raw) -> list[Raw]:
    """Return the categories, texts or numbers, that the value may become; the last of a kind is one that nobody knows.

    Numbers are categories if a one-hot looks at them as they are.
    """
    known: dict[Raw, None] = {}
    for reader in origin.readers:
        if len(reader.transforms) == 1 and isinstance(one_hot := reader.transforms[0], OneHot):
            known |= dict.fromkeys(one_hot.categories)
    texts, numbers = [c for c in known if isinstance(c, str)], [c for c in known if isinstance(c, float)]
    others: list[Raw] = []
    if texts:
        others.append(_another(texts))
    if numbers and not _has_numbers(origin) and not isinstance(raw, bool):
        others.append(max(numbers) + 1)
    else:
        numbers = []
    return [category for category in (*texts, *numbers, *others) if category != raw]


def _another(texts: Sequence[str]) -> str:
    name = "another"
    while name in texts:
        name += " one"
    return name


def _has_numbers(origin: Origin) -> bool:
    """Return whether a number of the origin is more than the name of a category."""
    return any(
        not (isinstance(reader.source, (Value, ListAggregate)) and reader.source.is_text)
        and not (len(reader.transforms) == 1 and isinstance(reader.transforms[0], OneHot))
        for reader in origin.readers
    )


# --- numbers


@dataclass(frozen=True, slots=True)
class _Line:
    """The possible numbers in their order: `value` of each whole number from `low` to `high`.

    Attributes:
        start: the member's number, or what a missing one counts as. at: its place, or the nearest one.
        is_start_new: whether the number at that place is itself a change: the member's is missing.
    """

    value: Callable[[int], float]
    low: int
    high: int
    start: float
    at: int
    is_start_new: bool
    is_continuous: bool


def _line(origin: Origin, raw: Raw, now_ms: int) -> _Line:
    source = origin.source
    numeric = [reader.missing for reader in origin.readers if isinstance(reader.missing, float)]
    start = raw if isinstance(raw, float) else numeric[0] if numeric else 0.0
    value: Callable[[int], float] = float
    aggregate = source.aggregate if isinstance(source, ListAggregate) else ""
    if isinstance(source, Elapsed) or aggregate == "days_since":
        step_ms = source.resolution_ms  # type: ignore[union-attr]  # both have it
        low, high = 0, _most_ticks(source, now_ms)

        def value(i: int) -> float:
            return i * step_ms / DAY_MS

        at = round(start * DAY_MS / step_ms)
    elif aggregate in ("count", "distinct"):
        low, high, at = 0, _MOST_COUNTED, round(start)
    else:
        value, far = _float_at, max(FARTHEST, 2 * abs(start))
        is_amount = aggregate == "decayed_count" or (start >= 0 and _is_amount(origin))
        low, high, at = 0 if is_amount else _place(-far), _place(far), _place(start)
    at = min(max(at, low), high)
    return _Line(value, low, high, start, at, not isinstance(raw, float), value is _float_at)


def _is_amount(origin: Origin) -> bool:
    """Return whether a logarithm or a root reads the number as it is: then nobody thinks of it as below 0."""
    return any(isinstance(one, (Log1p, Log, Sqrt)) for reader in origin.readers for one in reader.transforms[:1])


def _most_ticks(source: Any, now_ms: int) -> int:
    """Return how many steps of the resolution something can be ago: as far as the window reaches, or to the year 1."""
    window_ms = source.window_ms if isinstance(source, ListAggregate) else None
    first_ms = MIN_MS if window_ms is None else now_ms - window_ms + 1
    ticks = [(moment + source.utc_offset_ms) // source.resolution_ms for moment in (now_ms, first_ms)]
    return int(ticks[0] - ticks[1])


def _place(number: float) -> int:
    """Return the place of a float among all floats, 0 for 0.0: neighbours are 1 apart (IEEE 754, section 3.4)."""
    bits: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF)


def _float_at(place: int) -> float:
    number: float = struct.unpack("<d", struct.pack("<q", abs(place)))[0]
    return number if place >= 0 else -number


class _Engine:
    """A document's score with one origin's raw value replaced, by the plan and scorer of the workers."""

    def __init__(self, model: Model, document: Any, now_ms: int) -> None:
        self.model, self._document, self._now_ms = model, document, now_ms
        self._plan = Plan([model])
        self._x, self._until = self._plan.evaluate_many([document], [now_ms])
        positions = self._plan.positions(model)
        by_start = {step.start: step for step in self._plan.steps}
        self.places = {p.name: [positions[column] for column in p.columns] for p in model.predictors}
        self._steps = {name: by_start[places[0]] for name, places in self.places.items()}
        self._inputs = self._plan.inputs(model)
        self.fallbacks = {name: self._fallback(name) for name in self.places}
        [self.here] = self._indexes(self._x)

    def _fallback(self, name: str) -> tuple[float, ...]:
        [found] = self._steps[name].columns_many([None])
        return found if isinstance(found, tuple) else (found,)

    def _indexes(self, x: Floats) -> list[int]:
        return [int(index) for index in self.model.scorer.score_many(x.take(self._inputs, axis=1)).index]

    def indexes_of(self, origin: Origin, raws: Sequence[Raw]) -> list[int]:
        """Return the index of the cluster that each raw value gives."""
        n = len(raws)
        x, until = self._x.repeat(n, axis=0), self._until.repeat(n, axis=0)
        rows = Documents(slice(None), [self._document] * n, [self._now_ms] * n, [{} for _ in raws], x, until)
        for predictor in origin.affected:
            step = self._steps[predictor.name]
            if isinstance(predictor.source, Combination):
                step.evaluate(rows)
            else:
                x[:, step.place] = step.columns_many([as_read(predictor.source, raw) for raw in raws])
        return self._indexes(x)

    def scored(self, origin: Origin, raws: Sequence[Raw]) -> list[Change]:
        """Return the changes to raw values that give another cluster."""
        indexes = self.indexes_of(origin, raws) if raws else []
        return [
            Change(raw, raw, words(origin, raw), self.model.clusters[index])
            for raw, index in zip(raws, indexes, strict=True)
            if index != self.here
        ]

    def bounds(self, origin: Origin, interval: Interval) -> tuple[Floats, Floats]:
        """Return bounds of the inputs, (n_inputs,) each, while the origin's number lies in an interval."""
        low, high = self._x[0].copy(), self._x[0].copy()
        for predictor in origin.affected:
            source, fallback = predictor.source, self.fallbacks[predictor.name]
            may_fail = False
            number: Interval | None = interval
            if isinstance(source, Combination):
                known = {name: (low[self.places[name][0]], high[self.places[name][0]]) for name in source.operands}
                number, may_fail = combined(source, {k: (float(a), float(b)) for k, (a, b) in known.items()})
            elif as_read(source, 0.0) is None:
                number = None  # it reads texts
            found = columns(predictor, number, fallback)
            for place, (a, b), missing in zip(self.places[predictor.name], found, fallback, strict=True):
                low[place], high[place] = (min(a, missing), max(b, missing)) if may_fail else (a, b)
        return low.take(self._inputs), high.take(self._inputs)


class _Work:
    """How much may still be looked at, of all origins together. It is counted, not timed: answers don't depend on the
    machine.

    Attributes:
        left: intervals. call: what one question to the engine counts for, in intervals.
    """

    def __init__(self, scorer: Scorer, n_searches: int) -> None:
        parameters = (getattr(scorer, field.name) for field in fields(scorer))
        n_parameters = sum(np.size(v) for v in parameters)
        interval_us = 150 + 0.005 * n_parameters
        n_sums = scorer.means.size if isinstance(scorer, GaussianMixture) and scorer.factors.ndim == 3 else 0
        self.left = MAX_WORK_US / interval_us
        self.call = (150 + 15 * n_sums) / interval_us
        self._n_searches = n_searches

    def share(self) -> float:
        """Return how many intervals the next search may look at: its share, or at least a few while there are any."""
        share = max(self.left / self._n_searches, _LEAST_INTERVALS)
        self._n_searches -= 1
        return min(share, self.left, MAX_INTERVALS)


class _Search:
    """The first place on a line, in one direction, at which the cluster is another one."""

    def __init__(self, engine: _Engine, origin: Origin, line: _Line, direction: int, work: _Work) -> None:
        self._engine, self._origin, self._line, self._direction = engine, origin, line, direction
        self._nearest = line.at if line.is_start_new else line.at + direction
        self._work = work

    def first(self) -> tuple[Change | None, bool]:
        """Return the change, or None; and whether it is proven that there is no smaller one."""
        line = self._line
        near = self._nearest
        far = line.high if self._direction > 0 else line.low
        todo = [(near, far)] if (far - near) * self._direction >= 0 else []
        least = self._work.left - self._work.share()
        while todo and self._work.left > least:
            self._work.left -= 1
            near, far = todo.pop()
            verdict = self._verdict(near, far)
            if verdict is None:
                middle = (near + far) // 2 if self._direction > 0 else -((-near - far) // 2)
                todo += [(middle + self._direction, far), (near, middle)]
            elif verdict and self._changes([far])[0]:
                return self._told(self._bisected(near, far), is_smallest=True), True
        if todo and self._work.left > 0:  # the search has given up: at least find some change
            open_ = [*reversed(todo)]
            for (near, far), is_other in zip(open_, self._changes([far for _, far in open_]), strict=True):
                if is_other:
                    return self._told(self._bisected(near, far), is_smallest=False), True
        return None, not todo

    def _verdict(self, near: int, far: int) -> bool | None:
        """Return False if nothing can change between two places, True to ask the engine, None to look closer."""
        ends = self._line.value(near), self._line.value(far)
        low, high = min(ends), max(ends)
        bounds = self._engine.bounds(self._origin, (low, high))
        found = margins(self._engine.model.scorer, *bounds, self._engine.here)
        if found.are_safe:
            return False
        is_one_row = bool((bounds[0] == bounds[1]).all())
        if is_one_row or (found.are_noise and self._is_all_alike(near, far, found)):
            return not found.are_ahead
        return True if near == far else None

    def _is_all_alike(self, near: int, far: int, found: Margins) -> bool:
        """Return whether rounding weighs about as much everywhere in an interval: at its ends and in its middle."""
        for place in dict.fromkeys((near, (near + far) // 2, far)):
            value = self._line.value(place)
            bounds = self._engine.bounds(self._origin, (value, value))
            slack = margins(self._engine.model.scorer, *bounds, self._engine.here).slack
            if not (found.slack <= _ALIKE * slack).all():
                return False
        return True

    def _changes(self, places: Sequence[int]) -> list[bool]:
        """Return whether each place gives another cluster."""
        self._work.left -= self._work.call
        found = self._engine.indexes_of(self._origin, [self._line.value(place) for place in places])
        return [index != self._engine.here for index in found]

    def _bisected(self, near: int, far: int) -> int:
        """Return a place whose cluster is another one, and whose neighbour's towards the member's isn't.

        `far` changes it. Just before a border rounding may have changed it already: then the border is before `near`.
        """
        stride = self._direction
        while self._changes([near])[0]:
            if near == self._nearest:
                return near
            far, near = near, near - stride
            near = max(near, self._nearest) if self._direction > 0 else min(near, self._nearest)
            stride *= 2
        while (gap := abs(far - near)) > 1:
            n = min(_AT_ONCE, gap - 1)
            places = [near + self._direction * (gap * i // (n + 1)) for i in range(1, n + 1)]
            changed = [*self._changes(places), True]
            first = changed.index(True)
            near, far = [near, *places][first], [*places, far][first]
        return far

    def _told(self, place: int, *, is_smallest: bool) -> Change:
        value = self._line.value(place)
        candidates = [value, *self._rounded(value)]
        self._work.left -= self._work.call
        index, *others = self._engine.indexes_of(self._origin, candidates)
        shown = next(v for v, other in zip(candidates[1:], others, strict=True) if other == index)
        cluster = self._engine.model.clusters[index]
        return Change(value, shown, words(self._origin, shown), cluster, is_smallest)

    def _rounded(self, value: float) -> Iterator[float]:
        """Yield a number rounded away from the member's, two digits of the difference and then more; at last itself."""
        difference = abs(value - self._line.start)
        if self._line.is_continuous and difference:  # none: a missing value that counts as this one
            rounding = ROUND_CEILING if self._direction > 0 else ROUND_FLOOR
            digit, finest = math.floor(math.log10(difference)), Decimal(value).adjusted() - _FLOAT_DIGITS
            for place in range(digit - 1, max(digit - _DIGITS, finest), -1):
                yield float(Decimal(value).quantize(Decimal(1).scaleb(place), rounding))
        yield value
