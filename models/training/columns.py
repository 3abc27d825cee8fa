"""The columns of a training matrix: predictors as their author wrote them, or the inputs of a model.

Laws:
- Predictors are those of a model file, with two exceptions for fitting. `"type": "text"` makes a column of texts, for
  an encoder. `missing` may be left out, for an imputer; a missing value is then a gap, NaN.
- Every value that isn't a gap is the stream's number, bit for bit. A model's inputs are the stream's, scaling included.
- A row depends only on its own document and time, however many are evaluated together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memberstream.models.elements import Scratch, Shared
from memberstream.models.model import Model
from memberstream.models.plan import Plan
from memberstream.models.predictor import LIMIT, Combination, Predictor, compile_combination
from memberstream.models.predictor_file import EMPTY_IS_ZERO, NUMBER_TEXT, parse_predictors
from memberstream.models.problems import Node, Problem
from memberstream.models.training.given import listed

Predictors = Sequence[Mapping[str, Any]]
Fill = Callable[[Any, Sequence[Any], Sequence[int], Sequence[Scratch]], None]  # (matrix, documents, now_ms, scratches)


class TrainingError(ValueError):
    """Predictors, rows or events from which no training matrix can be made. Lists every problem. Their author corrects
    them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns, compiled. `texts`: the columns of texts. If there are any, the matrix holds objects."""

    names: tuple[str, ...]
    texts: frozenset[str]
    evaluate_many: Callable[[Sequence[Any], Sequence[int]], Any]  # (documents, now_ms) → (n, n_columns)


def in_hand(predictors: Iterable[Mapping[str, Any]] | Model) -> Predictors | Model:
    """Return predictors that can be gone through more than once. Raises TrainingError: they aren't any."""
    if isinstance(predictors, Model):
        return predictors
    problems: list[str] = []
    found = listed(predictors, "predictors", problems)
    if problems:
        raise TrainingError(problems)
    return found


def compile_columns(predictors: Predictors | Model) -> Columns:
    """Return the columns of predictors, in their order, or of a model's inputs.

    Raises:
        TrainingError: with every problem of the predictors.
    """
    if isinstance(predictors, Model):
        model, plan = predictors, Plan([predictors])
        inputs = plan.inputs(model)

        def inputs_many(documents: Sequence[Any], now_ms: Sequence[int]) -> Any:
            return plan.evaluate_many(documents, now_ms)[0].take(inputs, axis=1)

        return Columns(model.inputs, frozenset(), inputs_many)
    problems: list[Problem] = []
    parsed = parse_raw(predictors, problems)
    if problems:
        raise TrainingError([*dict.fromkeys(map(str, problems))])
    return compile_parsed(predictors, parsed)


def parse_raw(predictors: Predictors, problems: list[Problem]) -> tuple[Predictor, ...]:
    """Return the predictors that could be read; every problem is noted."""
    root = Node(list(predictors), "predictors", problems)
    for element in root.array("a list of predictors"):
        if isinstance(element.value, Mapping) and "type" in element.value:
            if element.value["type"] not in ("text", NUMBER_TEXT):
                element.child("type").problem(f'"text", "{NUMBER_TEXT}", or no type for numbers')
            if is_text(element.value) and element.value.get("transforms"):
                element.child("transforms").problem("no transforms of a text: the pipeline encodes it")
        elif isinstance(element.value, Mapping) and _is_meant_as_text(element.value):
            element.child("missing").problem('a number; or "type": "text" beside it, if these are categories')
    parsed = parse_predictors(Node([_completed(written) for written in predictors], "predictors", problems))
    if not problems:
        _check_gaps(root, predictors, parsed)
    return parsed


def is_text(written: Mapping[str, Any]) -> bool:
    """Return whether a predictor is a column of texts."""
    return written.get("type") == "text"


def _completed(written: Any) -> Any:
    """Return the predictor in a form that the core reads: a text as categories, and a stand-in for a gap."""
    if not isinstance(written, Mapping):
        return written
    completed = {key: value for key, value in written.items() if key != "type" or value == NUMBER_TEXT}
    if is_text(written):
        completed["transforms"] = [{"one_hot": [" "]}]  # makes its source one of texts
    elif not _has_text_categories(written):
        completed.setdefault("missing", 0)  # the gap is NaN in the end
        completed |= {"missing": 0} if _is_meant_as_text(written) else {}  # noted already
    return completed


def _is_meant_as_text(written: Mapping[str, Any]) -> bool:
    """Return whether a text stands for what is missing, though nothing says that the values are texts."""
    return isinstance(written.get("missing"), str) and "type" not in written and not _has_text_categories(written)


def _has_text_categories(written: Mapping[str, Any]) -> bool:
    """Return whether it is encoded already, as texts. Then a missing value is no category."""
    match written.get("transforms"):
        case [*_, {"one_hot": [str(), *_]}] | [{"codes": [str(), *_]}, *_]:
            return True
    return False


def _check_gaps(root: Node, predictors: Predictors, parsed: Sequence[Predictor]) -> None:
    """Note where something would be computed from a gap: the result would depend on an imputer that isn't there yet."""
    gaps: set[str] = set()
    for i, (written, predictor) in enumerate(zip(predictors, parsed, strict=True)):
        source = predictor.source
        operands = source.operands if isinstance(source, Combination) else ()
        if names := sorted(gaps.intersection(operands)):
            root.child(i).problem(f"a field `missing` in {' and '.join(names)}, which it is computed from", "none")
        if _has_gaps(written, predictor):
            gaps.add(predictor.name)
            if not is_text(written) and predictor.transforms:
                root.child(i).problem("a field `missing`, or the transforms in the pipeline behind its imputer", "none")


def _has_gaps(written: Mapping[str, Any], predictor: Predictor) -> bool:
    """Return whether a predictor leaves open what a missing value becomes: it doesn't say, and the default isn't 0."""
    source = predictor.source
    kind = source.operation if isinstance(source, Combination) else getattr(source, "aggregate", None)
    return "missing" not in written and kind not in EMPTY_IS_ZERO and not _has_text_categories(written)


def compile_parsed(predictors: Predictors, parsed: Sequence[Predictor]) -> Columns:
    """Return the columns of predictors that `parse_raw` has read without a problem."""
    texts = frozenset(p.name for written, p in zip(predictors, parsed, strict=True) if is_text(written))
    names: list[str] = []
    start_of: dict[str, int] = {}
    fills: list[Fill] = []
    shared: Shared = {}
    for written, predictor in zip(predictors, parsed, strict=True):
        start_of[predictor.name] = start = len(names)
        is_texts = predictor.name in texts
        names += [predictor.name] if is_texts else predictor.columns
        read = _reader(predictor, start_of, shared)
        place = slice(start, len(names)) if predictor.is_one_hot and not is_texts else start
        fills.append(_fill(read, _text_columns(written) if is_texts else _number_columns(written, predictor), place))

    def evaluate_many(documents: Sequence[Any], now_ms: Sequence[int]) -> Any:
        x = np.empty((len(documents), len(names)), dtype=object if texts else np.float64)
        scratches: list[Scratch] = [{} for _ in documents]
        for fill in fills:
            fill(x, documents, now_ms, scratches)
        return x

    return Columns(tuple(names), texts, evaluate_many)


def _reader(predictor: Predictor, start_of: Mapping[str, int], shared: Shared) -> Callable[..., list[Any]]:
    """Return a function (matrix so far, documents, now_ms, scratches) → raw values or None."""
    source = predictor.source
    if isinstance(source, Combination):
        a, b = (start_of[name] for name in source.operands)
        combine = compile_combination(source)
        return lambda x, documents, now_ms, scratches: combine(x[:, a].tolist(), x[:, b].tolist())
    read = source.compile(shared)
    return lambda x, documents, now_ms, scratches: read(documents, now_ms, scratches)[0]


def _fill(read: Callable[..., list[Any]], columns_many: Callable[[list[Any]], list[Any]], place: int | slice) -> Fill:
    def fill(x: Any, documents: Sequence[Any], now_ms: Sequence[int], scratches: Sequence[Scratch]) -> None:
        x[:, place] = columns_many(read(x, documents, now_ms, scratches))

    return fill


def _text_columns(written: Mapping[str, Any]) -> Callable[[list[Any]], list[Any]]:
    missing = written.get("missing")
    gap = math.nan if missing is None else missing
    return lambda values: [gap if value is None else value for value in values]


def _number_columns(written: Mapping[str, Any], predictor: Predictor) -> Callable[[list[Any]], list[Any]]:
    if not _has_gaps(written, predictor):
        return predictor.compile_transforms()
    # It has no transforms, so only values that no column may hold are refused (models/predictor.py).
    return lambda values: [v if v is not None and -LIMIT <= v <= LIMIT else math.nan for v in values]
