"""The predictors of a model file: parsing and checking (format: docs/model-file.md, "Predictors").

A predictor has `path` (with an optional `aggregate`), `ratio` or `product`, and then `missing` and `transforms`.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any, get_args

from memberstream.models.path import Path, parse_path
from memberstream.models.predictor import Combination, Predictor, Source
from memberstream.models.problems import Node
from memberstream.models.source import RESOLUTION_MS, Aggregate, Elapsed, ListAggregate, Value
from memberstream.models.timestamps import DAY_MS, UNITS
from memberstream.models.transform import Bins, Category, Clip, Codes, Log, Log1p, OneHot, Scale, Sqrt, Transform
from memberstream.models.where import ORDERINGS, Condition

MAX_COLUMNS = 4_096  # 32 KiB of every member's state, which shares one changelog record with the document
MAX_WINDOW_DAYS = 36_500
MAX_TRANSFORMS = 32  # of one predictor, each evaluated for each member
MAX_CONDITIONS = 64  # of one predictor, each asked of each element of a list
MAX_OPERANDS = 10_000  # of one `in`: they are looked up, not compared one by one
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,99}")
_AGGREGATES = get_args(Aggregate)
_COMBINATIONS = ("ratio", "product")
LACKS_MISSING = "a field `missing`:"  # how that problem begins: an export knows more of it (models.export.file)
EMPTY_IS_ZERO = (
    "count",
    "sum",
    "distinct",
    "decayed_count",
    "product",
)  # their missing value has an obvious default, 0
_PLAIN_TRANSFORMS: dict[str, Transform] = {"log1p": Log1p(), "log": Log(), "sqrt": Sqrt()}
_OPTIONAL = {"missing", "transforms"}
_LIST_FIELDS = {"value", "time", "window_days", "where"}
_CLOCK_FIELDS = {"resolution", "utc_offset_minutes"}
NUMBER_TEXT = "number_text"  # the type of numbers that may be written as texts


def parse_predictors(node: Node) -> tuple[Predictor, ...]:
    """Return the predictors that could be read; every problem is noted on the way."""
    # None: it has problems of its own, so predictors that name it aren't judged
    earlier: dict[str, Predictor | None] = {}
    for element in node.array("a list of predictors", most=MAX_COLUMNS):
        predictor = _predictor(element, earlier)
        name = element.get("name")
        if name is not None and isinstance(name.value, str):
            if name.value in earlier:
                name.problem("a name that no other predictor has")
            earlier[name.value] = predictor
    predictors = tuple(predictor for predictor in earlier.values() if predictor is not None)
    n_columns = sum(len(predictor.columns) for predictor in predictors)
    if n_columns > MAX_COLUMNS:
        node.problem(f"at most {MAX_COLUMNS} columns", str(n_columns))
    return predictors


def _predictor(node: Node, earlier: dict[str, Predictor | None]) -> Predictor | None:
    if not isinstance(node.value, dict):
        node.problem("an object")
        return None
    before = len(node.problems)
    name_node = node.get("name")
    name = name_node.text() if name_node else None
    if name_node and name is not None and not _NAME.fullmatch(name):
        name_node.problem("a name of letters, digits, _, - and . that starts with a letter or _")
    before_transforms = len(node.problems)
    transforms = _transforms(node)
    are_transforms_known = len(node.problems) == before_transforms
    is_text = any(isinstance(one, (OneHot, Codes)) and one.is_text for one in transforms)
    kind = _kind(node)
    if kind is None:
        return None
    source = _combination(node, kind, earlier) if kind in _COMBINATIONS else _source(node, kind, is_text)
    if is_text and "type" in node.value:
        node.child("type").problem("no type where a one-hot of texts follows")
    if is_text and kind not in ("value", "last"):
        node.child("transforms").problem(f"a one-hot of numbers, for {kind} gives numbers", "a one-hot of texts")
    missing = _missing(node, kind, is_text) if are_transforms_known else None
    if len(node.problems) > before or name is None or source is None:
        return None
    predictor = Predictor(name, source, missing, transforms)
    try:
        predictor.compile_transforms()
    except ValueError as error:
        place = node.get("missing") or node
        place.problem(str(error), repr(missing))
        return None
    return predictor


def _kind(node: Node) -> str | None:
    """Return "ratio", "product", "value" or the aggregate, having checked which fields go with it."""
    kinds = [kind for kind in (*_COMBINATIONS, "path") if kind in node.value]
    if len(kinds) != 1:
        node.problem("exactly one of path, ratio and product", " and ".join(kinds) or "none")
        return None
    if kinds != ["path"]:
        node.object({"name", *kinds}, _OPTIONAL)
        return kinds[0]
    aggregate = node.get("aggregate")
    if aggregate is None:
        node.object({"name", "path"}, _OPTIONAL | {"type"})
        return "value"
    if aggregate.value not in _AGGREGATES:
        aggregate.problem(f"one of {', '.join(_AGGREGATES)}")
        return None
    fields = _OPTIONAL | _LIST_FIELDS | ({"unit"} if "time" in node.value else set())
    if aggregate.value in ("sum", "mean", "min", "max", "last"):
        fields |= {"type"}
    if aggregate.value == "count":
        fields -= {"value"}
    elif aggregate.value == "decayed_count":
        fields = (fields - {"value"}) | _CLOCK_FIELDS
        node.object({"name", "path", "time", "half_life_days"}, fields | {"aggregate"})
        return "decayed_count"
    elif aggregate.value == "days_since":  # without `time` the value at the path itself is the point in time
        fields = (fields - {"value"} if "time" in node.value else _OPTIONAL | {"time", "unit"}) | _CLOCK_FIELDS
    node.object({"name", "path"}, fields | {"aggregate"})
    return str(aggregate.value)


def _source(node: Node, kind: str, is_text: bool) -> Source | None:
    path = _path(node.get("path"))
    time = _path(node.get("time"))
    value = _path(node.get("value"))
    window = node.get("window_days")
    window_days = window.number("a number of days") if window else None
    if window and window_days is not None and not 1 / DAY_MS <= window_days <= MAX_WINDOW_DAYS:
        window.problem(f"a number of days, from a millisecond to {MAX_WINDOW_DAYS}")
    if window and "time" not in node.value:
        window.problem("a field `time` beside the window", "none")
    half_life = node.get("half_life_days")
    half_life_days = half_life.number("a number of days") if half_life else None
    if half_life and half_life_days is not None and not 0 < half_life_days <= MAX_WINDOW_DAYS:
        half_life.problem(f"a number of days above 0, up to {MAX_WINDOW_DAYS}")
    where = _where(node.get("where"))
    resolution_ms, offset_ms = _clock(node)
    unit, is_number_text = _choice(node, "unit", tuple(UNITS)), _choice(node, "type", (NUMBER_TEXT,)) is not None
    if path is None or ("time" in node.value and time is None):
        return None
    if kind == "value":
        return Value(path, is_text, is_number_text)
    if kind == "days_since" and time is None:
        return Elapsed(path, resolution_ms, offset_ms, unit)
    window_ms = None if window_days is None else round(window_days * DAY_MS)
    aggregate: Any = kind  # one of _AGGREGATES, as _kind has checked
    return ListAggregate(
        path,
        aggregate,
        value or (),
        time,
        window_ms,
        where,
        resolution_ms,
        offset_ms,
        is_text,
        half_life_days,
        is_number_text,
        unit,
    )


def _choice(node: Node, name: str, choices: tuple[str, ...]) -> str | None:
    """Return the text of a field; None if it isn't there, or after noting that it is none of the choices."""
    given = node.get(name)
    if given is None or given.value in choices:
        return None if given is None else str(given.value)
    given.problem(f"one of {', '.join(choices)}" if len(choices) > 1 else f'"{choices[0]}", or no {name}')
    return None


def _clock(node: Node) -> tuple[int, int]:
    resolution, offset = node.get("resolution"), node.get("utc_offset_minutes")
    name = resolution.text() if resolution else "days"
    if resolution and name is not None and name not in RESOLUTION_MS:
        resolution.problem(f"one of {', '.join(RESOLUTION_MS)}")
    minutes = offset.integer(-1_080, 1_080, "an offset in minutes") if offset else 0
    return RESOLUTION_MS.get(name or "days", DAY_MS), (minutes or 0) * 60_000


def _path(node: Node | None) -> Path | None:
    text = node.text("a path such as apps.shopping.opens") if node else None
    if node is None or text is None:
        return None
    try:
        return parse_path(text)
    except ValueError as error:
        node.problem(str(error).removeprefix("expected "))
        return None


def _where(node: Node | None) -> tuple[Condition, ...]:
    conditions: list[Condition] = []
    if node is None or not node.object(set(), set(node.value) if isinstance(node.value, dict) else set()):
        return ()
    if not node.value:
        node.problem("at least one condition")
    if len(node.value) > MAX_CONDITIONS:
        node.problem(f"at most {MAX_CONDITIONS} conditions", str(len(node.value)))
        return ()
    for key in node.value:
        test = node.child(key)
        try:
            path = parse_path(key)
        except ValueError as error:
            test.problem(str(error).removeprefix("expected "), f"the path {key!r}")
            continue
        if isinstance(test.value, dict):
            if not test.value:
                test.problem("at least one of in, gt, gte, lt, lte, exists")
            test.object(set(), {"in", "exists", "type", *ORDERINGS})
            is_number_text = _choice(test, "type", (NUMBER_TEXT,)) is not None
            if is_number_text and not test.value.keys() & ORDERINGS.keys():
                test.child("type").problem("gt, gte, lt or lte beside the type", "none of them")
            conditions.extend(
                _comparison(test.child(c), path, c, is_number_text=is_number_text)
                for c in test.value
                if c in {"in", "exists", *ORDERINGS}
            )
        elif isinstance(test.value, (str, int, float, bool)):
            conditions.append(Condition(path, "eq", test.value))
        else:
            test.problem("a text, a number, true, false or an object of comparisons")
    return tuple(conditions)


def _comparison(node: Node, path: Path, comparison: Any, *, is_number_text: bool) -> Condition:
    operand: Any
    if comparison == "exists":
        operand = node.boolean()
    elif comparison == "in":
        for one in (elements := list(node.array("a list of texts, numbers or booleans", most=MAX_OPERANDS))):
            if not isinstance(one.value, (str, int, float, bool)):
                one.problem("a text, a number, true or false")
        operand = tuple(one.value for one in elements)
    else:
        operand = node.number()
    return Condition(path, comparison, operand, is_number_text and comparison in ORDERINGS)


def _combination(node: Node, kind: str, earlier: dict[str, Predictor | None]) -> Combination | None:
    names: list[str] = []
    for operand in node.child(kind).array("two names of predictors", 2):
        name = operand.text("the name of a predictor")
        if name is None:
            continue
        if name not in earlier:
            operand.problem("the name of a predictor defined above this one")
        elif (predictor := earlier[name]) is not None and predictor.columns != (name,):
            operand.problem("a predictor with one column", f"{name!r}, a one-hot")
        names.append(name)
    return Combination(kind, (names[0], names[1])) if len(names) == 2 else None


def _missing(node: Node, kind: str, is_text: bool) -> Category | None:
    given = node.get("missing")
    if given is None:
        if not is_text and kind not in EMPTY_IS_ZERO:
            node.problem(f"{LACKS_MISSING} what {kind} becomes where there is no usable value", "none")
        return None if is_text else 0.0
    if not is_text:
        return given.number()
    return None if given.value is None else given.text("a text, or null for zeros in every column")


def _transforms(node: Node) -> tuple[Transform, ...]:
    given = node.get("transforms")
    if given is None:
        return ()
    transforms: list[Transform] = []
    elements = list(given.array("a list of transforms", most=MAX_TRANSFORMS)) if given.value != [] else []
    for index, element in enumerate(elements):
        transform = _transform(element)
        if isinstance(transform, OneHot) and index != len(elements) - 1:
            element.problem("one_hot as the last transform", "one before others")
        if isinstance(transform, (OneHot, Codes)) and transform.is_text and index:
            element.problem("categories that are numbers after other transforms", "texts")
        if transform is not None:
            transforms.append(transform)
    return tuple(transforms)


def _transform(node: Node) -> Transform | None:
    if isinstance(node.value, str) and node.value in _PLAIN_TRANSFORMS:
        return _PLAIN_TRANSFORMS[node.value]
    kinds = ("clip", "scale", "bins", "one_hot", "codes")
    if not isinstance(node.value, dict) or len(node.value) != 1 or next(iter(node.value)) not in kinds:
        node.problem('"log1p", "log", "sqrt" or an object with one key of clip, scale, bins, one_hot, codes')
        return None
    (name,) = node.value
    inner = node.child(name)
    if name == "clip":
        return _clip(inner)
    if name == "scale":
        inner.object({"mean", "sd"})
        mean, sd = inner.get("mean"), inner.get("sd")
        m, s = mean.number() if mean else None, sd.number("a number above 0") if sd else None
        if sd and s is not None and s <= 0:
            sd.problem("a number above 0")
        return None if m is None or s is None or s <= 0 else Scale(m, s)
    if name == "bins":
        edges = inner.numbers(expected="a list of edges")
        for index, (a, b) in enumerate(pairwise(edges or ())):
            if a >= b:
                inner.child(index + 1).problem(f"an edge above {a}, the one before")
        return Bins(tuple(edges)) if edges else None
    categories = _categories(inner)
    return None if categories is None else OneHot(categories) if name == "one_hot" else Codes(categories)


def _clip(node: Node) -> Clip | None:
    if not node.object(set(), {"min", "max"}):
        return None
    if not node.value:
        node.problem("min, max or both")
    low, high = node.get("min"), node.get("max")
    a, b = low.number() if low else None, high.number() if high else None
    if a is not None and b is not None and a > b:
        node.problem("a min not above the max", f"{a} and {b}")
    return Clip(-math.inf if a is None else a, math.inf if b is None else b)


def _categories(node: Node) -> tuple[Category, ...] | None:
    before = len(node.problems)
    elements = list(node.array("a list of categories", most=MAX_COLUMNS))
    are_texts = bool(elements) and isinstance(elements[0].value, str)
    categories: list[Category | None] = [
        e.text("a text like the first category")
        if are_texts
        else float(e.value)
        if isinstance(e.value, bool)
        else e.number("a number like the first category")
        for e in elements
    ]
    if len(set(categories)) < len(categories):
        node.problem("categories that differ from one another")
    return tuple(c for c in categories if c is not None) if len(node.problems) == before else None
