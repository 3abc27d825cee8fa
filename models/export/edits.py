"""One predictor, written otherwise: another window, clock, condition, aggregate, or value for what is missing.

Each is a hypothesis about why the author's numbers are others, with the words to write instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from memberstream.models.export.causes import Hypothesis
from memberstream.models.export.reading import EXACT, Reading, Written, without
from memberstream.models.predictor_file import EMPTY_IS_ZERO
from memberstream.models.source import RESOLUTION_MS
from memberstream.models.timestamps import DAY_MS

_WINDOWS = (7, 14, 28, 30, 31, 60, 61, 90, 91, 92, 180, 182, 183, 364, 365, 366, 730)
_ROUND_THE_CLOCK = (*range(-720, 841, 30), 345, 525, 765)  # minutes that time zones are from UTC
_GAPS = (0, -1, 1, 999, 9_999)
_NO_TEXTS = ("none", "None", "nan", "NaN", "NA", "null", "missing", "unknown", "other", "")
_ANOTHER = 'where the documents have nothing, yours are another value. Use: "missing": {}'
_ZERO = ', "missing": 0'
_NUMBERS = ("sum", "mean", "min", "max", "last")
#: What people count instead of days.
_UNITS: dict[str, Callable[[Any], Any]] = {
    "hours with fractions": lambda days: days * 24,
    "whole hours": lambda days: np.floor(days * 24),
    "minutes with fractions": lambda days: days * 1_440,
    "whole minutes": lambda days: np.floor(days * 1_440),
    "seconds with fractions": lambda days: days * 86_400,
    "whole seconds": lambda days: np.floor(days * 86_400),
}


class Edit(NamedTuple):
    """A predictor as it would be written, in words that say so; {} stands for the variant. `then`: of its values."""

    sentence: str
    written: Written
    then: Callable[[Any], Any] | None = None
    variant: str = ""


def edits_of(reading: Reading, written: Written) -> Iterator[Hypothesis]:
    """Yield how a predictor may have been meant, as it would be written then."""
    name = written["name"]
    for edit in (
        *_windows(written),
        *_clocks(written),
        *_conditions(written),
        *_aggregates(written),
        *_gaps(reading, written),
    ):
        yield from _hypotheses(reading, name, edit)


def _hypotheses(reading: Reading, name: str, edit: Edit) -> Iterator[Hypothesis]:
    """Yield that a predictor was meant so, if it can be written so."""
    if recompute := reading.edited({name: edit.written}, edit.then):
        yield Hypothesis(recompute, f"{name}: {edit.sentence}", edit.variant)


def _windows(written: Written) -> Iterator[Edit]:
    if "time" not in written or written.get("aggregate") == "decayed_count":
        return
    days = written.get("window_days")
    now = "none" if days is None else f"{days:g}"
    near = () if days is None else (days - 1, days + 1)
    for other in dict.fromkeys((*near, *_WINDOWS)):
        if other != days:
            yield _window(written, other)
    if days is not None:
        exact = days + 1e-5  # within a second
        words = f'yours count what is exactly {days:g} days ago, too. Use: "window_days": {exact:.10g}'
        yield Edit(words, {**written, "window_days": exact})
        yield Edit(f"yours have no window. Use: no window_days, not {now}", without(written, "window_days"))
    elif written["aggregate"] not in ("days_since", "last"):
        words = "yours count what was later than `at`, too. Use: only what was before it in the notebook"
        yield Edit(words, without(written, "time"))


def _window(written: Written, days: float) -> Edit:
    now = "none" if (of := written.get("window_days")) is None else f"{of:g}"
    words = f'yours have another window. Use: "window_days": {{}}, not {now}'
    return Edit(words, {**written, "window_days": days}, variant=f"{days:g}")


def rivals_of_time(reading: Reading, shift_ms: int) -> Iterator[Hypothesis]:
    """Yield what gives the same as scoring some days later: a window that is as much shorter, or, of one day, that the
    first day counts as well as the last."""
    days = shift_ms // DAY_MS
    for written in reading.raw.written if days * DAY_MS == shift_ms else ():
        name, window = written["name"], written.get("window_days")
        if window is not None and window > days:
            yield from _hypotheses(reading, name, _window(written, window - days))
        if abs(days) == 1 and reading.counts_days(name):
            yield _more_days(reading, name, days)


def _more_days(reading: Reading, name: str, days: float) -> Hypothesis:
    """Return that the author counts so many days more than the file, where there is something to count from."""
    empty, column = reading.is_empty(name), reading.place(name)

    def recompute(rows: Any) -> Any:
        x = reading.x[rows]
        x[:, column] = reading.values(name, x) + np.where(empty[rows], 0.0, days)
        return x

    return Hypothesis(recompute, f"{name}: yours are the file's {'plus' if days > 0 else 'minus'} {abs(days):g}")


def _clocks(written: Written) -> Iterator[Edit]:
    if written.get("aggregate") not in ("days_since", "decayed_count"):
        return
    now = written.get("resolution", "days")
    for other in RESOLUTION_MS:
        if other != now:
            words = f'yours count time in another resolution. Use: "resolution": "{other}", not "{now}"'
            yield Edit(words, {**written, "resolution": other})
    if written["aggregate"] == "decayed_count":
        return
    exact = {**written, "resolution": EXACT}
    words = (
        f'yours are days with fractions, the file counts whole {now}. Use: "resolution": "seconds", and times cut to '
        "whole seconds in the notebook"
    )
    yield Edit(words, exact)
    if now == "days":
        words = (
            "yours are whole periods of 24 hours, the file's are midnights that have passed. Use: days between dates "
            "in the notebook"
        )
        yield Edit(words, exact, np.floor)
    for unit, function in _UNITS.items():
        yield Edit(f"yours are {unit}, the file's are days. Use: days in the notebook", exact, function)


def offsets(reading: Reading) -> Iterator[Hypothesis]:
    """Yield midnights of another time zone: of all predictors that count days, and of each."""
    of = {p["name"]: p for p in reading.raw.written if p.get("aggregate") in ("days_since", "decayed_count")}
    groups = [list(of), *([name] for name in of if len(of) > 1)]
    for names, minutes in itertools.product(groups if of else (), _ROUND_THE_CLOCK):
        edits = {name: {**of[name], "utc_offset_minutes": minutes} for name in names}
        if any(minutes != of[name].get("utc_offset_minutes", 0) for name in names) and (
            recompute := reading.edited(edits)
        ):
            sentence = 'yours count the midnights of another time zone. Use: "utc_offset_minutes": {}'
            rivals = partial(_counted_otherwise, reading, names)
            yield Hypothesis(recompute, f"{', '.join(names)}: {sentence}", str(minutes), rivals)


def _counted_otherwise(reading: Reading, names: Sequence[str]) -> Iterator[Hypothesis]:
    """Yield that a day more, or less, is counted: at one time of scoring other midnights do the same."""
    for days in (1.0, -1.0) if len(names) == 1 and reading.counts_days(names[0]) else ():
        yield _more_days(reading, names[0], days)


def _conditions(written: Written) -> Iterator[Edit]:
    conditions = written.get("where") or {}
    for key in conditions if len(conditions) > 1 else ():
        where = without(conditions, key)
        words = f"yours are without the condition on {key}. Use: no {key} in `where`"
        yield Edit(words, {**written, "where": where})
    if conditions:
        words = (
            f"yours are of all elements, whatever {' and '.join(conditions)} {'is' if len(conditions) == 1 else 'are'}"
        )
        yield Edit(f"{words}. Use: no `where`", without(written, "where"))


def _aggregates(written: Written) -> Iterator[Edit]:
    now = written.get("aggregate")
    if now not in (*_NUMBERS, "count", "distinct"):
        return
    for other in _NUMBERS if now in _NUMBERS else ():
        if other != now:
            # Of nothing a sum is 0, the others are missing: what stands there then has to be said, or is imputed.
            is_needed = now in EMPTY_IS_ZERO and "missing" not in written
            words = f'yours are the {other}, not the {now}. Use: "aggregate": "{other}"{_ZERO if is_needed else ""}'
            edit = {**written, "aggregate": other}
            yield Edit(words, {"missing": 0, **edit} if is_needed else edit)
    if now != "count":
        words = f'yours are the count, not the {now}. Use: "aggregate": "count"'
        yield Edit(words, {**without(written, "value"), "aggregate": "count"})


def gap(reading: Reading, name: str, value: Any) -> Iterator[Hypothesis]:
    """Yield that the author has this value where the documents have nothing."""
    shown = f'"{value}"' if isinstance(value, str) else f"{value:.10g}"
    written, empty = reading.written(name), reading.is_empty(name)
    if not empty.any():
        return
    words = f"{name}: where the documents have nothing, yours are {shown}"
    if written.get("aggregate") in EMPTY_IS_ZERO:
        column = reading.place(name)

        def recompute(rows: Any) -> Any:
            x = reading.x[rows]
            x[empty[rows], column] = value
            return x

        yield Hypothesis(
            recompute,
            f"{words}, the file's 0: nothing {'adds up' if written['aggregate'] == 'sum' else 'counts'} there",
        )
    elif reread := reading.edited({name: {**written, "missing": value}}):
        yield Hypothesis(reread, f"{name}: {_ANOTHER}", shown)


def _gaps(reading: Reading, written: Written) -> Iterator[Edit]:
    """Yield other values for what is missing."""
    name = written["name"]
    if name in reading.raw.training.texts:
        values: list[Any] = [*_NO_TEXTS, *reading.categories.get(name, ())]
    else:
        column = reading.values(name, reading.x)
        there = column[~(np.isnan(column) | reading.is_empty(name))]
        usual = [float(np.mean(there)), float(np.median(there))] if len(there) else []
        values = [*_GAPS, *usual]
    for value in dict.fromkeys(values):
        shown = f'"{value}"' if isinstance(value, str) else f"{value:.10g}"
        if value != written.get("missing"):
            yield Edit(_ANOTHER, {**written, "missing": value}, variant=shown)
