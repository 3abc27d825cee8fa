"""The nearest change: a document scored with another raw value, and the first place on a line that changes its cluster.

The laws are those of what_if.py. A search halves the line, and leaves out what bounds prove to change nothing
(enclosure.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import numpy as np

from memberstream.models.enclosure import Interval, Margins, columns, combined, margins
from memberstream.models.model import Cluster, Model
from memberstream.models.origins import Origin, Raw, as_read
from memberstream.models.plan import Documents, Plan
from memberstream.models.possible import Line
from memberstream.models.predictor import Combination
from memberstream.models.raw_words import words
from memberstream.models.scorer import Floats, GaussianMixture, Scorer, Trees

MAX_INTERVALS = 2_000  # looked at in one direction; a usual model takes a hundred or two
MAX_WORK_US = 5_000_000  # about microseconds, for all origins together: people wait for it
_LEAST_INTERVALS = 50  # of one search, while there are any
_AT_ONCE = 31  # places that the engine is asked about together, which takes it hardly longer than one
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


class Engine:
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


class Work:
    """How much may still be looked at, of all origins together. It is counted, not timed: answers don't depend on the
    machine.

    Attributes:
        left: intervals. call: what one question to the engine counts for, in intervals.
    """

    def __init__(self, scorer: Scorer, n_searches: int) -> None:
        if isinstance(scorer, Trees):
            interval_us, call_us = 150 + 0.1 * scorer.forest.size, 300.0 + 10 * len(scorer.forest.roots)
        else:
            parameters = (getattr(scorer, field.name) for field in fields(scorer))
            n_sums = scorer.means.size if isinstance(scorer, GaussianMixture) and scorer.factors.ndim == 3 else 0
            interval_us, call_us = 150 + 0.005 * sum(np.size(v) for v in parameters), 150.0 + 15 * n_sums
        self.left = MAX_WORK_US / interval_us
        self.call = call_us / interval_us
        self._n_searches = n_searches

    def share(self) -> float:
        """Return how many intervals the next search may look at: its share, or at least a few while there are any."""
        share = max(self.left / self._n_searches, _LEAST_INTERVALS)
        self._n_searches -= 1
        return min(share, self.left, MAX_INTERVALS)


class Search:
    """The first place on a line, in one direction, at which the cluster is another one."""

    def __init__(self, engine: Engine, origin: Origin, line: Line, direction: int, work: Work) -> None:
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
