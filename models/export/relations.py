"""What the author's numbers are of the file's: a multiple, a rounding, another order, other names.

Law: a relation is named only if it holds in every document. It is a fact of the numbers; what made them so, only the
author knows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from memberstream.models.scorer import Floats, Indices

#: What people confuse; "times" is how the file's number becomes the author's.
FACTORS = {
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
TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "log(1 + v)": np.log1p,
    "log(v)": np.log,
    "the square root": np.sqrt,
    "the square": np.square,
    "exp(v) - 1": np.expm1,
    "the whole part": np.trunc,
    "the next whole number": np.ceil,
}
SPELLINGS: dict[str, Callable[[str], str]] = {
    "in lower case": str.lower,
    "in upper case": str.upper,
    "with a capital first": str.capitalize,
    "without spaces around": str.strip,
    "without spaces around, in lower case": lambda text: text.strip().lower(),
}
_TOLERANCE = 1e-9
_SINGLE = 1e-6
_ENOUGH = 3  # different values that a relation must explain: two points lie on any line
_MOST_PERMUTED = 5  # classes of which each order is tried


def same(a: Any, b: Any, tolerance: float = _TOLERANCE) -> Any:
    """Return where two columns hold the same, (n,): numbers within a relative tolerance, missing where missing."""
    if a.dtype == object or b.dtype == object:
        pairs = zip(a.tolist(), b.tolist(), strict=True)
        return np.array([x == y or (x != x and y != y) for x, y in pairs], dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):
        largest = np.maximum(np.abs(a), np.abs(b))
        scale = np.nanmax(largest[np.isfinite(largest)], initial=0.0)
        are_near = (np.abs(a - b) <= tolerance * largest + tolerance * 1e-3 * scale) & np.isfinite(largest)
        return are_near | (np.isnan(a) & np.isnan(b)) | (a == b)


# --- a column of the matrix


def of_column(file: Any, own: Any, is_empty: Any, tolerance: float = _TOLERANCE) -> str | None:
    """Return what a column of the author's is of the file's.

    Args:
        is_empty: (n,) whether the document has nothing there.
    """
    missing, own_missing = file != file, own != own
    differ = ~same(file, own, tolerance)
    if (differ == (own_missing & ~missing)).all():
        if (is_empty | ~differ).all():
            return (
                "yours are missing there, and the file has what its `missing` says, or 0 of a count or sum. Use: the "
                "same in the notebook; or no `missing`, if the pipeline imputes"
            )
        return "yours are missing there, though the documents have a value"
    if (differ == (missing & ~own_missing)).all():
        return _of_gaps(own[differ])
    if file.dtype == object or own.dtype == object:
        return _of_texts(file, own)
    both = np.isfinite(file) & np.isfinite(own)
    a, b = file[both], own[both]
    if len(np.unique(b)) >= _ENOUGH and len(np.unique(a)) == 1:
        return "the file finds the same value in each document: are path, conditions and value as documents have them?"
    if (missing != own_missing).any() or len(np.unique(a)) < _ENOUGH:
        return None
    if len(np.unique(b)) == 1:
        return f"yours are {b[0]:g} in each document, the file's aren't"
    return _of_numbers(a, b, tolerance)


def _of_gaps(own: Any) -> str:
    """Return what is said where the documents have nothing that can be used, and the author has something."""
    values = set(own.tolist())
    if len(values) > 1:
        return "the documents have no usable value there"
    value = values.pop()
    shown = f'"{value}"' if isinstance(value, str) else f"{value:g}"
    return f'the documents have no usable value there, and yours are all {shown}. Use: "missing": {shown}'


def _of_numbers(a: Floats, b: Floats, tolerance: float) -> str | None:
    def explains(c: Any) -> bool:
        return bool(np.isfinite(c).all()) and bool(same(c, b, tolerance).all())

    nonzero = a != 0
    ratio = float(np.median(b[nonzero] / a[nonzero])) if nonzero.any() else 0.0
    if ratio and explains(a * ratio):
        return times(ratio)
    if explains(a + (shift := float(np.median(b - a)))):
        return f"yours are the file's {'plus' if shift > 0 else 'minus'} {abs(shift):.6g}"
    with np.errstate(all="ignore"):
        for words, function in TRANSFORMS.items():
            if explains(function(a)):
                return f"yours are {words} of the file's: give x as it is before the pipeline, or the transform in it"
        for digits in range(7):
            if explains(np.round(a, digits)):
                return f"yours are rounded to {digits} digits"
        if explains(a.astype(np.float32).astype(np.float64)):
            return "yours are in single precision"
        slope, intercept = np.polyfit(a, b, 1)
        if explains(a * slope + intercept):
            return (
                f"yours are {slope:.6g} times the file's {'plus' if intercept > 0 else 'minus'} {abs(intercept):.6g}. "
                "If a scaler did this: give x as it is before it"
            )
    return None


def times(ratio: float) -> str:
    """Return that the author's numbers are so many times the file's, and what people mostly confuse then."""
    known = [words for factor, words in FACTORS.items() if np.isclose(ratio, factor) or np.isclose(ratio, 1 / factor)]
    return f"yours are {ratio:.6g} times the file's{': ' + known[0] if known else ''}"


def _of_texts(file: Any, own: Any) -> str | None:
    ours, theirs = ({type(v).__name__ for v in values.tolist() if v == v} for values in (file, own))
    if not theirs <= ours:
        return f"yours are of type {', '.join(sorted(theirs))}, the file's of type {', '.join(sorted(ours)) or 'none'}"
    pairs = [(f, o) for f, o in zip(file.tolist(), own.tolist(), strict=True) if f == f or o == o]
    if any(f != f or o != o for f, o in pairs):
        return None  # missing here or there, and other texts besides
    for words, function in SPELLINGS.items():
        if all(function(f) == o for f, o in pairs):
            return f"yours are the file's {words}"
    if all(f.strip().lower() == o.strip().lower() for f, o in pairs):
        return "they differ in capitals or spaces only"
    renamed = dict.fromkeys(pairs)
    if 1 < len(renamed) == len({f for f, _ in renamed}) == len({o for _, o in renamed}) < len(pairs):
        f, o = next((f, o) for f, o in renamed if f != o)
        return f"the same categories under other names: where the file has {f!r}, yours have {o!r}"
    return None


# --- orders


def row_order(file: Sequence[Any], own: Sequence[Any]) -> Indices | None:
    """Return the places at which the author's rows stand in the file, if both hold the same rows; None otherwise.

    Numbers are the same within a tolerance: sums in another order differ in their last digits.
    """
    codes = [_codes(a, b) for a, b in zip(file, own, strict=True)]
    n = len(file[0])
    rows, own_rows = (np.stack([code[part] for code in codes], axis=1) for part in (slice(0, n), slice(n, None)))
    order, own_order = (np.lexsort(r.T) for r in (rows, own_rows))
    if not (rows[order] == own_rows[own_order]).all() or len(np.unique(rows, axis=0)) < _ENOUGH:
        return None
    places = np.empty(n, dtype=np.intp)
    places[own_order] = order
    return places


def _codes(a: Any, b: Any) -> Indices:
    """Return a whole number for each value of two columns, (2n,): equal for the same values."""
    both = np.concatenate([a, b])
    if both.dtype == object:
        known: dict[Any, int] = {}
        return np.array([known.setdefault(v if v == v else None, len(known)) for v in both.tolist()], dtype=np.intp)
    order = np.argsort(both, kind="stable")  # what is missing comes last
    ascending = both[order]
    with np.errstate(invalid="ignore"):
        gap = np.diff(ascending) > _TOLERANCE * np.maximum(np.abs(ascending[1:]), np.abs(ascending[:-1]))
    steps = np.concatenate([[0], gap | (np.isnan(ascending[1:]) & ~np.isnan(ascending[:-1]))])
    codes = np.empty(len(both), dtype=np.intp)
    codes[order] = np.cumsum(steps)
    return codes


def column_order(file: Mapping[str, Any], own: Mapping[str, Any], tolerance: float = _TOLERANCE) -> list[str] | None:
    """Return the file's columns in the order in which they hold what the author's do; None if they don't."""
    taken: list[str] = []
    places = {
        name: [other for other in file if bool(same(file[other], values, tolerance).all())]
        for name, values in own.items()
    }
    for name, found in places.items():
        free = [other for other in found if other not in taken]
        taken += [name if name in free else free[0]] if free else []
    return taken if len(taken) == len(file) and taken != list(file) else None


# --- probabilities and clusters


OTHER = "they are 1 minus the file's, those of the other class"


def of_probabilities(file: Any, own: Any) -> str | None:
    """Return what the author's probabilities are of the file's."""
    if file.ndim == 1:
        if same(1.0 - file, own).all():
            return OTHER
        with np.errstate(divide="ignore"):
            eta = np.log(file) - np.log1p(-file)
        if same(eta, own).all():
            return "yours are log-odds: give probabilities, what predict_proba says"
    with np.errstate(divide="ignore"):
        if same(np.log(file).ravel(), own.ravel()).all():
            return "yours are logarithms: give probabilities, what predict_proba says"
    if same(100 * file.ravel(), own.ravel()).all():
        return "yours are 100 times the file's: give shares from 0 to 1, not percent"
    if set(np.unique(own).tolist()) == {0.0, 1.0}:
        return "yours are only 0 and 1: give what predict_proba says; what predict says is clusters_of"
    for order in (
        itertools.permutations(range(file.shape[1])) if 1 < file.ndim <= file.shape[1] <= _MOST_PERMUTED else ()
    ):
        if same(file[:, order].ravel(), own.ravel()).all():
            return "their columns are in another order than the classes"
    for digits in range(2, 9):
        if same(np.round(file, digits).ravel(), own.ravel()).all():
            return f"yours are rounded to {digits} digits: give all of them"
    columns = ([file], [own]) if file.ndim == 1 else ([*file.T], [*own.T])
    return ROWS if row_order(*columns) is not None else None


def differ_in_single_precision(file: Any, own: Any) -> bool:
    """Return whether all differences are as small as those that single precision makes."""
    return bool(same(file.ravel(), own.ravel(), _SINGLE).all())


ROWS = "the rows are in another order than the documents"


def renamed(file: Indices, own: Indices, names: Sequence[str]) -> str | None:
    """Return which cluster of the file is which of the author's, if the groups are the same."""
    pairs = set(zip(file.tolist(), own.tolist(), strict=True))
    if not 1 < len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
        return None
    return "the same groups under other names: " + ", ".join(
        f"the file's {names[a]} is {names[b]} in yours" for a, b in sorted(pairs) if a != b
    )


def cuts(
    scores: Floats, own: Indices, thresholds: Sequence[float], shown: Callable[[float], float] = float, of: str = ""
) -> str | None:
    """Return between which scores the author's clusters are cut, if other thresholds make all of them.

    Args:
        scores: (n,) what the file cuts. shown: score → what stands in the text. of: what the thresholds are of.
    """
    found: list[str] = []
    is_other = False
    for i, t in enumerate(thresholds):
        below, above = scores[own <= i], scores[own > i]
        if not len(below) or not len(above) or below.max() >= above.min():
            return None
        low, high = float(below.max()), float(above.min())
        is_other |= not low <= t <= high
        found.append(f"between {shown(low):.6g} and {shown(high):.6g}")
    if not is_other:
        return None
    ours = " and ".join(f"{shown(t):.6g}" for t in thresholds)
    return f"other thresholds{of}: yours are cut {' and '.join(found)}, the file's at {ours}"
