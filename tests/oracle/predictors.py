"""The columns of a model file for one document at one time: written from docs/model-file.md alone, in plain Python."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from oracle.events import moment, split_path

DAY_MS = 86_400_000
BOUND = 1e100
RESOLUTIONS_MS = {"days": DAY_MS, "hours": 3_600_000, "seconds": 1_000}
ZERO_IF_MISSING = {"count", "sum", "distinct", "decayed_count"}
Column = dict[str, float]


class Missing(Exception):
    """There is no value that can be used."""


def columns(predictors: Sequence[Mapping[str, Any]], document: Any, now_ms: int) -> Column:
    """Return every column by its name."""
    found: Column = {}
    for predictor in predictors:
        found |= _columns_of(predictor, document, now_ms, found)
    return found


def _columns_of(predictor: Mapping[str, Any], document: Any, now_ms: int, before: Column) -> Column:
    name = str(predictor["name"])
    transforms = [_named(transform) for transform in predictor.get("transforms", [])]
    categories = transforms.pop()[1] if transforms and transforms[-1][0] == "one_hot" else None
    is_of_texts = categories is not None and isinstance(categories[0], str)
    value: float | str | None
    try:
        value = _through(transforms, _raw(predictor, document, now_ms, before, is_of_texts))
    except Missing:
        value = _instead(predictor)
        if not isinstance(value, str) and value is not None:
            value = _through(transforms, float(value))
    if categories is None:
        assert isinstance(value, float)
        return {name: value}
    return {f"{name}={_shown(category)}": float(_equal(value, category)) for category in categories}


def _named(transform: Any) -> tuple[str, Any]:
    if isinstance(transform, str):
        return transform, None
    [(name, argument)] = transform.items()
    return name, argument


def _shown(category: Any) -> str:
    return str(int(category)) if isinstance(category, float) and category.is_integer() else str(category)


def _instead(predictor: Mapping[str, Any]) -> Any:
    if "missing" in predictor:
        return predictor["missing"]
    return 0 if predictor.get("aggregate") in ZERO_IF_MISSING or "product" in predictor else None


def _through(transforms: Sequence[tuple[str, Any]], raw: float | str) -> float | str:
    if isinstance(raw, str):
        return raw
    value = raw
    for name, argument in transforms:
        if name == "log1p":
            if value <= -1:
                raise Missing
            value = math.log1p(value)
        elif name == "clip":
            value = max(value, argument.get("min", value))
            value = min(value, argument.get("max", value))
        elif name == "scale":
            value = (value - argument["mean"]) / argument["sd"]
        else:
            assert name == "bins"
            value = sum(edge <= value for edge in argument)
    if not abs(value) <= BOUND:
        raise Missing
    return float(value)


def _raw(predictor: Mapping[str, Any], document: Any, now_ms: int, before: Column, is_of_texts: bool) -> float | str:
    if "ratio" in predictor:
        a, b = (before[name] for name in predictor["ratio"])
        if b == 0:
            raise Missing
        return a / b
    if "product" in predictor:
        a, b = (before[name] for name in predictor["product"])
        return a * b
    found, aggregate = at(document, predictor["path"]), predictor.get("aggregate")
    if aggregate is None:
        return _usable(found, is_of_texts, has_texts="type" in predictor)
    if aggregate == "days_since" and "time" not in predictor:
        return _days(predictor, moment_of(predictor, found), now_ms)
    return _aggregated(predictor, found if isinstance(found, list) else [], now_ms, is_of_texts)


def at(value: Any, path: str) -> Any:
    """What stands at a path; None if there is nothing."""
    for key in split_path(path) or ():
        value = value.get(key) if isinstance(value, dict) else None
    return value


def number(value: Any) -> float | None:
    """A number, booleans 1 and 0; None: it is none."""
    if isinstance(value, bool | int | float):
        try:
            return float(value) if math.isfinite(float(value)) else None
        except OverflowError:
            return None
    return None


def written(value: Any) -> Any:
    """The number that a text writes, exactly; other texts are None, and other values stay as they are."""
    if not isinstance(value, str):
        return value
    bare = value.strip(" \t\r\n")
    if len(value) > 64 or not re.fullmatch(r"[+-]?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", bare):
        return None
    return int(bare) if bare.lstrip("+-").isdigit() else float(bare)


def moment_of(predictor: Mapping[str, Any], value: Any) -> int | None:
    """The time of a value in ms, numbers in the predictor's unit."""
    if "unit" not in predictor:
        return moment(value)
    found = written(value)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return moment(value) if isinstance(value, str) else None
    if not math.isfinite(found):
        return None
    each = {"s": Fraction(10**3), "days": Fraction(DAY_MS), "us": Fraction(1, 10**3), "ns": Fraction(1, 10**6)}
    ms = each.get(predictor["unit"], Fraction(1))
    exact = Fraction(found) * ms
    return moment(round(exact) if ms > 1 else math.floor(exact))


def _usable(value: Any, is_of_texts: bool, has_texts: bool = False) -> float | str:
    value = written(value) if has_texts else value
    found = value if is_of_texts and isinstance(value, str) else None if is_of_texts else number(value)
    if found is None:
        raise Missing
    return found


def _days(predictor: Mapping[str, Any], time_ms: int | None, now_ms: int) -> float:
    if time_ms is None or time_ms > now_ms:
        raise Missing
    step = RESOLUTIONS_MS[predictor.get("resolution", "days")]
    shift: int = predictor.get("utc_offset_minutes", 0) * 60_000
    return ((now_ms + shift) // step - (time_ms + shift) // step) * step / DAY_MS


def _aggregated(predictor: Mapping[str, Any], elements: list[Any], now_ms: int, is_of_texts: bool) -> float | str:
    aggregate = predictor["aggregate"]
    kept: list[tuple[int, Any]] = []
    for element in elements:
        if not all(_meets(at(element, path), wanted) for path, wanted in predictor.get("where", {}).items()):
            continue
        time_ms = 0
        if "time" in predictor:
            moment_ms = moment_of(predictor, at(element, predictor["time"]))
            if moment_ms is None or moment_ms > now_ms:
                continue
            time_ms = moment_ms
            if "window_days" in predictor and not now_ms - round(predictor["window_days"] * DAY_MS) < time_ms:
                continue
        kept.append((time_ms, at(element, predictor["value"]) if "value" in predictor else element))
    if aggregate == "count":
        return float(len(kept))
    if aggregate == "distinct":
        return float(len({(_kind(v), v) for _, v in kept if isinstance(v, str | bool | int | float)}))
    if aggregate == "decayed_count":
        return math.fsum(2 ** -(_days(predictor, t, now_ms) / predictor["half_life_days"]) for t, _ in kept)
    if not kept and aggregate != "sum":
        raise Missing
    if aggregate == "days_since":
        return _days(predictor, max(t for t, _ in kept), now_ms)
    has_texts = "type" in predictor
    if aggregate == "last":
        latest = max(t for t, _ in kept)
        return _usable([v for t, v in kept if t == latest][-1], is_of_texts, has_texts)
    numbers = [found for _, v in kept if (found := number(written(v) if has_texts else v)) is not None]
    if aggregate == "sum":
        return _sum(numbers)
    if not numbers:
        raise Missing
    if aggregate == "mean":
        return _sum(numbers) / len(numbers)
    return min(numbers) if aggregate == "min" else max(numbers)


def _sum(numbers: Sequence[float]) -> float:
    try:
        return math.fsum(numbers)
    except OverflowError:
        raise Missing from None


def _kind(value: Any) -> str:
    return "truth" if isinstance(value, bool) else "number" if isinstance(value, int | float) else type(value).__name__


def _equal(value: Any, wanted: Any) -> bool:
    return _kind(value) == _kind(wanted) and bool(value == wanted)


def _meets(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return _equal(value, wanted)
    value_there = value
    if wanted.get("type") == "number_text":
        value = written(value)
    for name, argument in wanted.items():
        if name == "type":
            continue
        if name == "exists":
            holds = (value_there is not None) == argument
        elif name == "in":
            holds = any(_equal(value_there, one) for one in argument)
        else:
            is_number = _kind(value) == "number"
            compared = {"gt": lambda v, a: v > a, "gte": lambda v, a: v >= a, "lt": lambda v, a: v < a}
            holds = is_number and compared.get(name, lambda v, a: v <= a)(value, argument)
        if not holds:
            return False
    return True
