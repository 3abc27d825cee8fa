"""The columns of a training matrix: predictors as their author wrote them, or the inputs of a model.

Laws:
- Predictors are a model file's, with two liberties for those who fit: `"type": "text"` makes a column of texts, for an
  encoder, and `missing` may be left to an imputer; such a gap is NaN.
- Everything but a gap is the stream's number, bit for bit; a model's inputs are the stream's, scaled and all.
- A row depends on its own document and time alone, however many are evaluated together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.elements import Scratch, Shared
from models.model import Model
from models.plan import Plan
from models.predictor import LIMIT, Combination, Predictor, compile_combination
from models.predictor_file import EMPTY_IS_ZERO, parse_predictors
from models.problems import Node, Problem

Predictors = Sequence[Mapping[str, Any]]
Fill = Callable[[Any, Sequence[Any], Sequence[int], Sequence[Scratch]], None]  # (matrix, documents, now_ms, scratches)


class TrainingError(ValueError):
    """Predictors, rows or events that no training matrix can be made of; lists every problem. Their author corrects
    them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns, compiled. `texts`: those of texts; with any the matrix holds objects."""

    names: tuple[str, ...]
    texts: frozenset[str]
    evaluate_many: Callable[[Sequence[Any], Sequence[int]], Any]  # (documents, now_ms) → (n, n_columns)


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
        raise TrainingError([*map(str, problems)])
    return _compile(predictors, parsed)


def parse_raw(predictors: Predictors, problems: list[Problem]) -> tuple[Predictor, ...]:
    """Return the predictors that could be read; every problem is noted."""
    definitions = []
    for predictor in predictors:
        definition = {name: value for name, value in predictor.items() if name != "type"}
        if predictor.get("type") == "text":
            definition["transforms"] = [{"one_hot": [" "]}]  # makes the source one of texts
        elif "missing" not in definition:
            definition["missing"] = 0  # stands in for the gap, which is NaN in the end
        definitions.append(definition)
    root = Node(definitions, "predictors", problems)
    parsed = parse_predictors(root)
    if not problems:
        _check_gaps(root, predictors, parsed)
    return parsed


def _check_gaps(root: Node, predictors: Predictors, parsed: Sequence[Predictor]) -> None:
    """Note where a gap would be computed with: what comes out then depends on an imputer that isn't there yet."""
    gaps: set[str] = set()
    for i, (written, predictor) in enumerate(zip(predictors, parsed, strict=True)):
        source = predictor.source
        operands = source.operands if isinstance(source, Combination) else ()
        if names := sorted(gaps.intersection(operands)):
            root.child(i).problem(f"a field `missing` in {' and '.join(names)}, which it is computed from", "none")
        if _has_gaps(written, predictor):
            gaps.add(predictor.name)
            if written.get("type") != "text" and predictor.transforms:
                root.child(i).problem("a field `missing`, or the transforms in the pipeline behind its imputer", "none")


def _has_gaps(written: Mapping[str, Any], predictor: Predictor) -> bool:
    """Return whether a predictor leaves missing values open: it doesn't say, and they aren't 0 by themselves."""
    source = predictor.source
    kind = source.operation if isinstance(source, Combination) else getattr(source, "aggregate", None)
    return "missing" not in written and kind not in EMPTY_IS_ZERO


def _compile(predictors: Predictors, parsed: Sequence[Predictor]) -> Columns:
    texts = frozenset(p.name for written, p in zip(predictors, parsed, strict=True) if written.get("type") == "text")
    names: list[str] = []
    start_of: dict[str, int] = {}
    fills: list[Fill] = []
    shared: Shared = {}
    for written, predictor in zip(predictors, parsed, strict=True):
        start_of[predictor.name] = start = len(names)
        is_text = predictor.name in texts
        names += [predictor.name] if is_text else predictor.columns
        read = _reader(predictor, start_of, shared)
        place = slice(start, len(names)) if predictor.is_one_hot and not is_text else start
        fills.append(_fill(read, _text_columns(written) if is_text else _number_columns(written, predictor), place))

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
        if documents:
            x[:, place] = columns_many(read(x, documents, now_ms, scratches))

    return fill


def _text_columns(written: Mapping[str, Any]) -> Callable[[list[Any]], list[Any]]:
    missing = written.get("missing")
    gap = math.nan if missing is None else missing
    return lambda values: [gap if value is None else value for value in values]


def _number_columns(written: Mapping[str, Any], predictor: Predictor) -> Callable[[list[Any]], list[Any]]:
    if not _has_gaps(written, predictor):
        return predictor.compile_transforms()
    # Without transforms, so only what no column may hold is left to refuse (models/predictor.py).
    return lambda values: [v if v is not None and -LIMIT <= v <= LIMIT else math.nan for v in values]
