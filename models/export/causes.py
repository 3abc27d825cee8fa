"""Why the author's numbers and those of the file differ: the likely cause, in words.

Law: a cause is named only if it explains every difference of a column (or of the probabilities), not most of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from memberstream.models.scorer import Floats
from memberstream.models.timestamps import DAY_MS

#: What people confuse; "times" is how the file's number becomes the author's.
_FACTORS = {
    100.0: "a unit such as cents for euros, or percent for shares",
    1_000.0: "a unit such as milliseconds for seconds, or grams for kilograms",
    60.0: "minutes for hours, or seconds for minutes",
    24.0: "hours for days",
    3_600.0: "seconds for hours",
    86_400.0: "seconds for days",
    86_400_000.0: "milliseconds for days",
    7.0: "days for weeks",
    -1.0: "another sign",
}
_TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "log(1 + v)": np.log1p,
    "log(v)": np.log,
    "the square root": np.sqrt,
    "the square": np.square,
    "exp(v) - 1": np.expm1,
    "the whole part": np.trunc,
}
OTHER = "they are 1 minus the file's, those of the other class"
_TOLERANCE = 1e-9
_ENOUGH = 3  # different values that a cause must explain: two points lie on any line
_MOST_COLUMNS = 60  # of which pairs are tried
_MOST_PERMUTED = 5  # columns or classes of which each order is tried
HOUR_MS = 3_600_000
#: Clocks that people mix up: time zones, and whether a day has begun or ended.
SHIFTS_MS = [sign * hours * HOUR_MS for hours in (24, *range(1, 15), 48, 168, 720) for sign in (1, -1)]


def same(a: Any, b: Any, tolerance: float = _TOLERANCE) -> Any:
    """Return where two columns hold the same, (n,): numbers within a relative tolerance, missing where missing."""
    if a.dtype == object or b.dtype == object:
        pairs = zip(a.tolist(), b.tolist(), strict=True)
        return np.array([x == y or (x != x and y != y) for x, y in pairs], dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):
        largest = np.maximum(np.abs(a), np.abs(b))
        scale = np.nanmax(largest[np.isfinite(largest)], initial=0.0)
        return (
            (np.abs(a - b) <= tolerance * largest + tolerance * 1e-3 * scale) | (np.isnan(a) & np.isnan(b)) | (a == b)
        )


def of_column(file: Any, own: Any, tolerance: float = _TOLERANCE) -> str | None:
    """Return why a column's numbers differ: what the author's are of the file's."""
    if file.dtype == object or own.dtype == object:
        return _of_texts(file, own)
    differ = ~same(file, own, tolerance)
    if (only_own := np.isnan(own) & ~np.isnan(file)).any() and (differ == only_own).all():
        return "yours are missing there: the file has the predictor's own rule for what is missing, not the imputer's"
    if (only_file := np.isnan(file) & ~np.isnan(own)).any() and (differ == only_file).all():
        return "the documents have no usable value there"
    both = np.isfinite(file) & np.isfinite(own)
    a, b = file[both], own[both]
    if len(np.unique(b)) >= _ENOUGH and len(np.unique(a)) == 1:
        return "the file finds the same value in each document: is the path right, and is the value a number there?"
    if len(np.unique(a)) < _ENOUGH:
        return None
    return _of_numbers(a, b)


def _of_numbers(a: Floats, b: Floats) -> str | None:
    def explains(c: Any) -> bool:
        return bool(np.isfinite(c).all()) and bool(same(c, b).all())

    nonzero = a != 0
    ratio = float(np.median(b[nonzero] / a[nonzero])) if nonzero.any() else 0.0
    if ratio and explains(a * ratio):
        known = [
            words for factor, words in _FACTORS.items() if np.isclose(ratio, factor) or np.isclose(ratio, 1 / factor)
        ]
        return f"yours are {ratio:.6g} times the file's{': ' + known[0] if known else ''}"
    if explains(a + (shift := float(np.median(b - a)))):
        return f"yours are the file's {'plus' if shift > 0 else 'minus'} {abs(shift):.6g}"
    with np.errstate(all="ignore"):
        for words, function in _TRANSFORMS.items():
            if explains(function(a)):
                return f"yours are {words} of the file's: give x as it is before the pipeline, or the transform in it"
        for digits in range(7):
            if explains(np.round(a, digits)):
                return f"yours are rounded to {digits} digits"
        if explains(a.astype(np.float32).astype(np.float64)):
            return "yours are in single precision"
        slope, intercept = np.polyfit(a, b, 1)
        if explains(a * slope + intercept):
            return "yours are scaled: give x as it is before the pipeline's scaler"
    return None


def _of_texts(file: Any, own: Any) -> str | None:
    ours, theirs = ({type(v).__name__ for v in values.tolist() if v == v} for values in (file, own))
    if not theirs <= ours:
        return f"yours are of type {', '.join(sorted(theirs))}, the file's of type {', '.join(sorted(ours))}"
    pairs = [(f, o) for f, o in zip(file.tolist(), own.tolist(), strict=True) if f == f and o == o]
    if pairs and all(str(f).strip().lower() == str(o).strip().lower() for f, o in pairs):
        return "they differ in capitals or spaces only"
    return None


def of_order(file: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    """Return the order of columns, or of rows, in which both hold the same."""
    names = list(file)
    if len(names) > _MOST_COLUMNS:
        return None
    places = {name: [other for other in names if bool(same(file[other], own[name]).all())] for name in names}
    if all(places.values()):
        taken: list[str] = []
        for name in names:
            free = [other for other in places[name] if other not in taken]
            taken += [name if name in free else free[0]] if free else []
        if len(taken) == len(names) and taken != names:
            return f"the columns are in another order. Use: inputs={taken}"
    rows, own_rows = (list(zip(*(columns[name].tolist() for name in names), strict=True)) for columns in (file, own))
    if len(set(rows)) >= _ENOUGH and sorted(map(repr, rows)) == sorted(map(repr, own_rows)):
        return "the rows are in another order than the documents"
    return None


def candidates(x: Floats, columns: Sequence[int], names: Sequence[str]) -> Iterator[tuple[str, Floats]]:
    """Yield (what may be wrong, the matrix if it were so): columns in another order, another unit in one of them.

    Args:
        x: (n, n_columns) as the file's sources compute it. columns: those that the fitted object gets.
    """
    for places in _orders(len(columns)):
        changed = x.copy()
        changed[:, columns] = x[:, [columns[i] for i in places]]
        yield f"the columns are in another order. Use: inputs={[names[i] for i in places]}", changed
    for place, name in zip(columns, names, strict=True):
        for factor, words in _FACTORS.items():
            for times in (factor, 1 / factor):
                changed = x.copy()
                changed[:, place] *= times
                yield f"{name} is {times:.6g} times the file's: {words}", changed


def _orders(n: int) -> Iterator[Sequence[int]]:
    """Yield orders of n columns: all, or of many columns those in which two have changed places."""
    if n <= _MOST_PERMUTED:
        yield from itertools.permutations(range(n))
        return
    for i, j in itertools.combinations(range(min(n, _MOST_COLUMNS)), 2):
        places = list(range(n))
        places[i], places[j] = j, i
        yield places


def of_probabilities(file: Any, own: Any) -> str | None:
    """Return what the author's probabilities are of the file's."""
    if file.ndim == 1:
        if same(1.0 - file, own).all():
            return OTHER
        with np.errstate(divide="ignore"):
            eta = np.log(file) - np.log1p(-file)
        if same(eta, own).all():
            return "yours are log-odds: give probabilities, what predict_proba says"
    for order in (
        itertools.permutations(range(file.shape[1])) if 1 < file.ndim <= file.shape[1] <= _MOST_PERMUTED else ()
    ):
        if same(file[:, order].ravel(), own.ravel()).all():
            return "their columns are in another order than the classes"
    for digits in range(2, 9):
        if same(np.round(file, digits).ravel(), own.ravel()).all():
            return f"yours are rounded to {digits} digits: give all of them"
    if sorted(map(repr, np.round(file, 9).tolist())) == sorted(map(repr, np.round(own, 9).tolist())):
        return "the rows are in another order than the documents"
    return None


def days(shift_ms: int) -> str:
    """Return a shift of time in words."""
    amount, unit = (shift_ms / DAY_MS, "day") if shift_ms % DAY_MS == 0 else (shift_ms / HOUR_MS, "hour")
    plural = "" if abs(amount) == 1 else "s"
    return f"{abs(amount):g} {unit}{plural} {'later' if amount > 0 else 'earlier'}"
