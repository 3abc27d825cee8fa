"""The plan: the distinct predictors of all published models, compiled once, evaluated only where something changed.

Laws:
- Predictors with equal definitions, in whatever models and under whatever names, are one step and share their columns.
- After `update`, x and until are bit for bit what a full evaluation of the document at that time gives, however they
  came about (incremental equals full); a row depends on its own document and time alone (single equals batch).
- Cost of an update: the touched and the due predictors, not all.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.elements import Scratch, Shared
from models.model import Model
from models.path import Path
from models.predictor import Columns, Combination, Predictor, compile_combination, moves
from models.scorer import Floats
from models.timestamps import FOREVER

Times = npt.NDArray[np.int64]
EVERYTHING: frozenset[Path] = frozenset({()})  # the touched paths of a replaced document
# A producer may touch ever new paths, and many at once: the choice of steps is remembered for the usual few, and that
# memory is emptied rather than bounded finely.
_MAX_REMEMBERED_CHOICES = 10_000
_MAX_REMEMBERED_PATHS = 8
_SEMANTICS = 1  # raised when the same definition begins to give other numbers: stored rows are then evaluated anew


@dataclass(frozen=True, slots=True)
class Step:
    """One distinct predictor: how to evaluate it and where its columns and its `until` stand."""

    # (document, now_ms, row of x, row of until, scratch) → (columns, until_ms)
    evaluate: Callable[[Any, int, Any, Any, Scratch], tuple[Columns, int]]
    start: int
    stop: int
    reads: frozenset[Path]  # its own and its operands'
    clock: int  # column of `until`, or -1 when no passing of time changes it


class Plan:
    """Evaluates the predictors of a list of models.

    Attributes:
        models: the published models, in the given order.
        id: 8 bytes as an integer; equal for equal steps in equal order, so stored rows of x can be used again.
        n_columns: columns of x; n_clocks: columns of until.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = tuple(models)
        self.steps: list[Step] = []
        self.n_columns = self.n_clocks = 0
        self._shared: Shared = {}
        self._known: dict[str, int] = {}  # definition → index of its step
        self._positions = {model.label: self._columns_of(model) for model in self.models}
        self._inputs = {
            model.label: np.array([self._positions[model.label][name] for name in model.inputs], dtype=np.intp)
            for model in self.models
        }
        text = "\n".join((f"semantics {_SEMANTICS}", *self._known))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        self.id = int.from_bytes(digest, "little")
        self._all = tuple(range(len(self.steps)))
        self._choices: dict[frozenset[Path], tuple[int, ...]] = {EVERYTHING: self._all}
        self._due = [i for i, step in enumerate(self.steps) if step.clock >= 0]  # clock → its step
        self._at, self._within = _index(self.steps)

    def _columns_of(self, model: Model) -> dict[str, int]:
        """Add the model's predictors; return column name → column of x."""
        local: dict[str, int] = {}  # predictor name → step
        position: dict[str, int] = {}
        for predictor in model.predictors:
            definition = _definition(predictor, local)
            if definition not in self._known:
                self._known[definition] = self._add(predictor, local)
            index = local[predictor.name] = self._known[definition]
            step = self.steps[index]
            position.update(zip(predictor.columns, range(step.start, step.stop), strict=True))
        return position

    def _add(self, predictor: Predictor, local: dict[str, int]) -> int:
        source = predictor.source
        start, self.n_columns = self.n_columns, self.n_columns + len(predictor.columns)
        if isinstance(source, Combination):
            operands = [self.steps[local[name]] for name in source.operands]
            clocks = [step.clock for step in operands if step.clock >= 0]
            combine = compile_combination(predictor, [step.start for step in operands])

            def evaluate(document: Any, now_ms: int, row: Any, until: Any, scratch: Scratch) -> tuple[Columns, int]:
                return combine(row), min((int(until[c]) for c in clocks), default=FOREVER)

            reads = operands[0].reads | operands[1].reads
            is_moving = bool(clocks)
        else:
            read, columns_of = source.compile(self._shared), predictor.compile_transforms()

            def evaluate(document: Any, now_ms: int, row: Any, until: Any, scratch: Scratch) -> tuple[Columns, int]:
                value, until_ms = read(document, now_ms, scratch)
                return columns_of(value), until_ms

            reads, is_moving = predictor.reads, moves(source)
        clock = self.n_clocks if is_moving else -1
        self.n_clocks += is_moving
        self.steps.append(Step(evaluate, start, self.n_columns, reads, clock))
        return len(self.steps) - 1

    def inputs(self, model: Model) -> npt.NDArray[np.intp]:
        """Return the columns of x that are the model's inputs, (n_inputs,)."""
        return self._inputs[model.label]

    def positions(self, model: Model) -> dict[str, int]:
        """Return column name → column of x, for all columns of the model's predictors."""
        return self._positions[model.label]

    def empty(self, n: int) -> tuple[Floats, Times]:
        """Return room for n rows: x (n, n_columns) and until (n, n_clocks), ms, not yet evaluated."""
        return np.zeros((n, self.n_columns)), np.zeros((n, self.n_clocks), dtype=np.int64)

    def evaluate_many(self, documents: Sequence[Any], now_ms: Sequence[int]) -> tuple[Floats, Times]:
        """Return x (n, n_columns) and until (n, n_clocks) of n documents, each at its own time."""
        x, until = self.empty(len(documents))
        self.update(x, until, documents, now_ms, [EVERYTHING] * len(documents))
        return x, until

    def update(
        self,
        x: Floats,
        until: Times,
        documents: Sequence[Any],
        now_ms: Sequence[int],
        touched: Sequence[Iterable[Path]],
    ) -> None:
        """Bring rows evaluated at earlier times up to `now_ms`, in place.

        Args:
            x: (n, n_columns); until: (n, n_clocks).
            touched: per row the paths that changed since it was evaluated; EVERYTHING for a row not yet evaluated.
        """
        steps = self.steps
        due = np.empty(until.shape, dtype=np.bool_)
        np.less_equal(until, np.array(now_ms, dtype=np.int64)[:, None], out=due)
        overdue: Any = due.any(axis=1).tolist()
        for i, (document, now, paths) in enumerate(zip(documents, now_ms, touched, strict=True)):
            chosen: Sequence[int] = self._touched_by(frozenset(paths))
            if overdue[i] and chosen is not self._all:
                chosen = sorted({*chosen, *(self._due[clock] for clock in np.flatnonzero(due[i]).tolist())})
            # Python's lists take single numbers faster than NumPy's rows; moving a whole row costs as much as a few.
            are_many = 2 * len(chosen) > len(steps)
            row: Any = x[i].tolist() if are_many else x[i]
            row_until: Any = until[i].tolist() if are_many else until[i]
            scratch: Scratch = {}
            for index in chosen:
                step = steps[index]
                columns, until_ms = step.evaluate(document, now, row, row_until, scratch)
                if len(columns) == 1:
                    row[step.start] = columns[0]
                else:
                    row[step.start : step.stop] = columns
                if step.clock >= 0:
                    row_until[step.clock] = until_ms
            if are_many:
                x[i], until[i] = row, row_until

    def _touched_by(self, paths: frozenset[Path]) -> tuple[int, ...]:
        choice = self._choices.get(paths)
        if choice is not None:
            return choice
        chosen: set[int] = set()
        for path in paths:
            chosen.update(self._within.get(path, ()))
            for n in range(len(path)):
                chosen.update(self._at.get(path[:n], ()))
        choice = tuple(sorted(chosen))
        if len(paths) <= _MAX_REMEMBERED_PATHS:
            if len(self._choices) >= _MAX_REMEMBERED_CHOICES:
                self._choices = {EVERYTHING: self._all}
            self._choices[paths] = choice
        return choice


def _index(steps: Sequence[Step]) -> tuple[dict[Path, list[int]], dict[Path, list[int]]]:
    """Return path → the steps that read just that path, and path → those that read it or something inside it."""
    at: defaultdict[Path, list[int]] = defaultdict(list)
    within: defaultdict[Path, list[int]] = defaultdict(list)
    for i, step in enumerate(steps):
        for path in step.reads:
            at[path].append(i)
            for n in range(len(path) + 1):
                within[path[:n]].append(i)
    return dict(at), dict(within)


def _definition(predictor: Predictor, local: dict[str, int]) -> str:
    """Return a text equal for predictors of one plan that compute the same: the definition without its name."""
    source: Any = predictor.source
    if isinstance(source, Combination):
        source = (source.operation, *(local[name] for name in source.operands))
    return repr((source, predictor.missing, predictor.transforms))
