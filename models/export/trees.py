"""Trees as a scorer: over which columns, what is missing, and where raw scores are cut into clusters.

Laws:
- Thresholds of a probability become one of the raw score: the first number whose probability passes, by the trainer's
  own function. So a document that equals a threshold is where the trainer has it. (XGBoost has an exponential of its
  own. NumPy's, which stands in for it, may differ in the last bit. Then the proof refuses a document that lies there.)
- Where the trainer has a place for NaN, a missing value is a number that no document holds.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from memberstream.models.examples import TOLERANCE
from memberstream.models.export.bands import Asked, Bands, read_bands
from memberstream.models.export.columns import Column, gaps
from memberstream.models.export.ensembles import Ensemble, Reader
from memberstream.models.export.scorers import Fitted, negated
from memberstream.models.problems import Problem
from memberstream.models.scorer import ThresholdRule
from memberstream.models.training.columns import parse_raw

MISSING = 1e90  # log1p and scale can take it
_FLATTENING = ("clip", "bins", "codes")  # behind these it would be a number like others
_SINGLE = 1e-6  # of probabilities that the trainer computes in single precision
_FARTHEST = 1e4  # of a raw score on the logit scale: beyond 745 probabilities are 0 or 1


def of_trees(
    estimator: Any, reader: Reader, columns: Sequence[Column], asked: Asked | Bands, problems: list[str]
) -> Fitted | None:
    """Return fitted trees as a scorer. If they can't be exact: None, and every problem is noted."""
    name, before = type(estimator).__name__, len(problems)
    if len(classes := list(getattr(estimator, "classes_", []))) == 1:
        problems.append(f"{name}: fitted on one class alone, {classes[0]}. Use: rows of two classes")
        return None
    kept, inputs = _inputs(columns, name, problems)
    found = reader(estimator, inputs, problems) if inputs else None
    if found is None or len(problems) > before:
        return None
    if found.takes_missing:
        kept, missing = _with_missing(kept, problems)
        kept, missing = _with_codes(kept, missing, found.transforms, name, problems)
        more = {"missing": missing} if any(number is not None for number in missing) else {}
    else:
        problems += gaps(kept, name)
        more = {}
    trees = found.trees if more else [{k: v for k, v in t.items() if k != "missing_left"} for t in found.trees]
    model = {"type": "trees", "scale": found.scale, **found.more, **more, "base": found.base, "trees": trees}
    if len(problems) > before:
        return None
    tolerance = _SINGLE if found.is_single else TOLERANCE
    n_clusters = max(1, len(found.classes))
    fitted = Fitted(
        model, kept, found.classes or None, found.classes, n_clusters, raw=found.raw, tolerance=tolerance,
        refuses_missing="" if found.takes_missing else name,
    )  # fmt: skip
    if not found.classes:
        return _by_value(fitted, asked, name, problems)
    if len(found.classes) > 2:
        if asked.thresholds is not None:
            problems.append(f"{name}: thresholds cut one probability, this model has {len(found.classes)}. Use: none")
        return fitted
    return _binary(fitted, found, asked, name, problems)


def _inputs(columns: Sequence[Column], name: str, problems: list[str]) -> tuple[list[Column], list[int]]:
    """Return the different columns, and for each column of the matrix its place among them."""
    places: dict[tuple[bytes, Any], int] = {}
    kept: list[Column] = []
    inputs: list[int] = []
    for column in columns:
        if column.definition is None or column.is_scaled:
            what = "a component" if column.terms else "a constant" if column.is_constant else "a scaled category"
            problems.append(f"{name}: {what} reaches it. Use: trees over columns as they are; they need no scaling")
            return [], []
        key = column.definition.key, column.category
        if key not in places:
            places[key] = len(kept)
            kept.append(column)
        inputs.append(places[key])
    return kept, inputs


def _with_codes(
    columns: Sequence[Column],
    missing: Sequence[float | None],
    transforms: Mapping[int, dict[str, Any]],
    name: str,
    problems: list[str],
) -> tuple[list[Column], list[float | None]]:
    """Return the columns, those that are asked for codes with what makes them, and the numbers that mean missing there.
    An OrdinalEncoder may have made codes already."""
    result, numbers = list(columns), list(missing)
    for place, transform in transforms.items():
        column = columns[place]
        definition = column.definition
        assert definition is not None  # noqa: S101 (constants were refused; narrows the type)
        if column.category is not None:
            problems.append(f"{name}: {column.hint}: takes a one-hot column for codes. Use: it as a number")
        elif "codes" in transform and definition.is_encoded:
            made = definition.transforms[-1]["codes"]
            if transform["codes"] != list(map(float, range(len(made)))):
                problems.append(f"{name}: {column.hint}: its encoder knows other categories. Use: both fitted together")
        else:
            result[place] = replace(column, definition=definition.then(transform))
            numbers[place] = -1.0 if "codes" in transform else None  # in no set, as what is missing
    return result, numbers


def _with_missing(columns: Sequence[Column], problems: list[str]) -> tuple[list[Column], list[float | None]]:
    """Return the columns, with a number for what is missing where their authors left that to the trees, and what that
    number is behind their transforms."""
    result: list[Column] = []
    missing: list[float | None] = []
    for column in columns:
        definition, number = column.definition, None
        assert definition is not None  # noqa: S101 (constants were refused; narrows the type)
        if definition.is_encoded:
            number = -1.0  # of what is unknown, too
            if not definition.is_never_missing:
                column = replace(column, definition=replace(definition, missing=MISSING))
        elif column.category is None and not definition.is_never_missing and not definition.operation:
            definition = replace(definition, missing=MISSING)
            number = _behind(definition.transforms)
            if number is None:
                problems.append(
                    f"{column.hint}: a missing value behind its transforms is a number like others. Use: `missing` in "
                    "its predictor; or no clip, bins and codes, which trees don't need"
                )
            column = replace(column, definition=definition)
        result.append(column)
        missing.append(number)
    return result, missing


def _behind(transforms: Sequence[Any]) -> float | None:
    """Return what becomes of MISSING; None: a number that others may have, too."""
    if any(isinstance(t, Mapping) and not t.keys().isdisjoint(_FLATTENING) for t in transforms):
        return None
    noted: list[Problem] = []
    written = {"name": "x", "path": "x", "missing": MISSING, "transforms": list(transforms)}
    parsed = parse_raw([written], noted)
    return None if noted else float(parsed[0].compile_transforms()([None])[0])


def _by_value(fitted: Fitted, asked: Asked | Bands, name: str, problems: list[str]) -> Fitted | None:
    """Return a regressor, cut into bands of what it predicts."""
    given: Any = asked.thresholds
    try:
        numbers = [float(t) for t in (given if np.ndim(given) else [given])]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or any(not a < b for a, b in zip([-math.inf, *numbers], [*numbers, math.inf], strict=True)):
        problems.append(f"{name}: thresholds: expected numbers that ascend, of what it predicts. Use: thresholds=[…]")
        return None
    if asked.rule not in get_args(ThresholdRule):
        problems.append(f'threshold_rule: expected ">" or ">=", found {asked.rule!r}')
        return None
    return _cut(fitted, numbers, asked.rule, (numbers, asked.rule))


def _binary(fitted: Fitted, found: Ensemble, asked: Asked | Bands, name: str, problems: list[str]) -> Fitted | None:
    """Return two classes: as predict has them, or cut into bands of one's probability."""
    is_one = len(found.base) == 1
    if isinstance(asked, Asked) and asked.thresholds is None:
        if is_one and found.is_cut_by_probability:
            return _cut(fitted, [first_passing(found.probability, 0.5, ">")], ">=")
        return _cut(fitted, [0.0], found.rule) if is_one else fitted
    bands = asked if isinstance(asked, Bands) else read_bands(asked, fitted.classes, problems)
    if bands is None:
        return None
    if not is_one and found.scale == "logit":
        problems.append(
            f"{name}: thresholds cut one raw score, and its objective has one for each of two classes. "
            "Use: no thresholds, or a binary objective"
        )
        return None
    place = fitted.classes.index(bands.of)
    raw, thresholds = fitted.raw, bands.thresholds
    assert raw is not None  # noqa: S101 (trees have one; narrows the type)
    if is_one and place == 0:
        fitted = replace(fitted, model=negated(fitted.model), raw=lambda x: -raw(x))
    elif not is_one:
        fitted = replace(fitted, model=_of_output(fitted.model, place), raw=lambda x: raw(x)[:, place])
    rule = bands.rule
    if bands.raw is not None:
        thresholds, rule = [bands.raw], ">="
    elif is_one:
        probability = found.probability if place == 1 else lambda r: 1.0 - found.probability(-r)
        thresholds, rule = [first_passing(probability, t, rule) for t in thresholds], ">="
    classes = fitted.classes if place == 1 else fitted.classes[::-1]
    n_clusters = len(thresholds) + 1
    return replace(
        _cut(fitted, thresholds, rule, (bands.thresholds, bands.rule)),
        labels=classes if n_clusters == 2 else None,
        classes=classes,
        is_turned=place == 0,
        by_predict=bands.by_predict,
    )


def _cut(
    fitted: Fitted, thresholds: list[float], rule: ThresholdRule, cuts: tuple[list[float], str] | None = None
) -> Fitted:
    """Return it as bands of its only raw score. `cuts`: as the author means them; None: as predict does."""
    model = fitted.model | {"thresholds": thresholds, "threshold_rule": rule}
    n_clusters = len(thresholds) + 1
    return replace(fitted, model=model, n_clusters=n_clusters, cuts=cuts, by_predict=cuts is None)


def _of_output(model: dict[str, Any], place: int) -> dict[str, Any]:
    """Return a forest with one of its raw scores alone."""
    trees = [tree | {"values": [row[place] for row in tree["values"]]} for tree in model["trees"]]
    return model | {"base": [model["base"][place]], "trees": trees}


def first_passing(probability: Callable[[float], float], threshold: float, rule: str) -> float:
    """Return the lowest raw score whose probability passes a threshold. Probabilities ascend with raw scores."""
    low, high = _ordered(-_FARTHEST), _ordered(_FARTHEST)
    while high - low > 1:
        middle = (low + high) // 2
        p = probability(_number(middle))
        if p >= threshold if rule == ">=" else p > threshold:
            high = middle
        else:
            low = middle
    return _number(high)


def _ordered(number: float) -> int:
    """Return an integer for each double, in their order."""
    (bits,) = struct.unpack("<q", struct.pack("<d", number))
    return int(bits if bits >= 0 else -(bits & 0x7FFFFFFFFFFFFFFF))


def _number(ordered: int) -> float:
    (number,) = struct.unpack("<d", struct.pack("<q", abs(ordered)))
    return float(number if ordered >= 0 else -number)
