"""The plan: the distinct predictors of all published models, compiled once, evaluated only where something changed.

Laws:
- Predictors with equal definitions, in whatever models and under whatever names, are one step and share their columns.
- Incremental equals full: after `update`, x and until are bit for bit what a full evaluation of the document at that
  time gives. Single equals batch: a row depends only on its own document and time.
- An update costs the touched and the due predictors, not all.
- A plan falls into parts. Models of two parts share no predictor. What concerns one part costs the others nothing. A
  model that comes or goes leaves the rows of the other parts as they are.
- A step takes all rows that need it at once. Steps run in the order of definition, so operands come first.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from memberstream.models.elements import Scratch, Shared
from memberstream.models.model import Model
from memberstream.models.path import Path
from memberstream.models.predictor import Combination, Predictor, compile_combination, moves
from memberstream.models.scorer import Floats, Trees
from memberstream.models.source import Reading
from memberstream.models.steps import Steps, finish
from memberstream.models.timestamps import FOREVER

Times = npt.NDArray[np.int64]
T = TypeVar("T")
EVERYTHING: frozenset[Path] = frozenset({()})  # the touched paths of a replaced document
# A producer may touch new paths again and again, and many at once. So the choice of steps is remembered only for a few
# paths. When that memory is full, it is emptied.
_MAX_REMEMBERED_CHOICES = 10_000
_MAX_REMEMBERED_PATHS = 8
# Predictors evaluated without a pause: some ten microseconds for an ordinary member, some 10 ms for the longest lists.
_AT_ONCE = 4
# To be raised when the same definition begins to give other numbers: stored rows are then evaluated anew.
_SEMANTICS = 1


@dataclass(frozen=True, slots=True)
class Documents:
    """The rows for which one step is evaluated: where they stand in x and until (`at`), their documents and times."""

    at: slice | npt.NDArray[np.intp]
    documents: Sequence[Any]
    now_ms: Sequence[int]
    scratches: Sequence[Scratch]
    x: Floats
    until: Times


@dataclass(frozen=True, slots=True)
class Slot:
    """One distinct predictor: how to evaluate it and where its columns and its `until` stand."""

    read_many: Callable[[Documents], Reading]
    columns_many: Callable[[Sequence[Any]], list[Any]]
    start: int
    stop: int
    place: int | slice  # in a row of x; a slice where `columns_many` gives tuples
    reads: frozenset[Path]  # its own and its operands'
    clock: int  # column of `until`, or -1 when no passing of time changes it

    def evaluate(self, rows: Documents) -> None:
        """Write the step's columns and until of these rows."""
        values, until_ms = self.read_many(rows)
        columns = self.columns_many(values)
        rows.x[rows.at, self.place] = columns
        if self.clock >= 0:
            rows.until[rows.at, self.clock] = until_ms


class Plan:
    """Evaluates the predictors of a list of models.

    Attributes:
        models: the published models, in the given order; keys: theirs.
        id: 8 bytes as an integer; equal for equal steps in equal order, so stored rows can be used again.
        scoring_id: likewise, but equal only if the models are equal, too.
        n_columns: columns of x; n_clocks: columns of until.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = tuple(models)
        self.steps: list[Slot] = []
        self.n_columns = self.n_clocks = 0
        self._shared: Shared = {}
        self._known: dict[str, int] = {}  # definition → index of its step
        self._positions = {model.label: self._columns_of(model) for model in self.models}
        self._inputs = {
            model.label: np.array([self._positions[model.label][name] for name in model.inputs], dtype=np.intp)
            for model in self.models
        }
        self.keys = frozenset(model.key for model in self.models)
        self.id = _digest(f"semantics {_SEMANTICS}", *self._known)
        self.scoring_id = _digest(str(self.id), *self._positions)
        self._all = tuple(range(len(self.steps)))
        self._choices: dict[frozenset[Path], tuple[int, ...]] = {}
        self._due = [i for i, step in enumerate(self.steps) if step.clock >= 0]  # clock → its step
        self._at, self._within = _index(self.steps)
        self._concerned: dict[frozenset[Path], tuple[Plan, ...]] = {}

    @property
    def row_bytes(self) -> int:
        """Bytes of a stored row: x and until, eight a column."""
        return 8 * (self.n_columns + self.n_clocks)

    @cached_property
    def parts(self) -> tuple[Plan, ...]:
        """The plan cut into plans of models that share predictors, directly or through others."""
        groups: list[tuple[set[int], list[Model]]] = []
        for model in self.models:
            columns = set(self._positions[model.label].values())
            akin = [group for group in groups if not columns.isdisjoint(group[0])]
            groups = [group for group in groups if group not in akin]
            together = [earlier for _, models in akin for earlier in models]
            groups.append((columns.union(*[taken for taken, _ in akin]), [*together, model]))
        return (self,) if len(groups) == 1 else tuple([Plan(together) for _, together in groups])

    @cached_property
    def has_trees(self) -> bool:
        """Whether there are trees among the models."""
        return any(isinstance(model.scorer, Trees) for model in self.models)

    @cached_property
    def moving(self) -> tuple[Plan, ...]:
        """The parts in which time changes something."""
        return tuple([part for part in self.parts if part.n_clocks])

    def concerned(self, touched: frozenset[Path]) -> tuple[Plan, ...]:
        """Return the parts to look at after changes at these paths: the parts that read one, and the moving ones."""
        found = self._concerned.get(touched)
        if found is None:
            found = tuple([part for part in self.parts if part.n_clocks or part._touched_by(touched)])
            _remember(self._concerned, touched, found)
        return found

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
            a, b = (self.steps[local[name]] for name in source.operands)
            clocks = [step.clock for step in (a, b) if step.clock >= 0]
            combine = compile_combination(source)

            def read_many(rows: Documents) -> Reading:
                values = combine(rows.x[rows.at, a.start].tolist(), rows.x[rows.at, b.start].tolist())
                return values, rows.until[rows.at][:, clocks].min(axis=1, initial=FOREVER).tolist() if clocks else []

            reads = a.reads | b.reads
            is_moving = bool(clocks)
        else:
            read = source.compile(self._shared)

            def read_many(rows: Documents) -> Reading:
                return read(rows.documents, rows.now_ms, rows.scratches)

            reads, is_moving = predictor.reads, moves(source)
        clock = self.n_clocks if is_moving else -1
        self.n_clocks += is_moving
        columns_many = predictor.compile_transforms()
        place = slice(start, self.n_columns) if predictor.is_one_hot else start
        self.steps.append(Slot(read_many, columns_many, start, self.n_columns, place, reads, clock))
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
        finish(self.updating(x, until, documents, now_ms, touched))

    def updating(
        self,
        x: Floats,
        until: Times,
        documents: Sequence[Any],
        now_ms: Sequence[int],
        touched: Sequence[Iterable[Path]],
    ) -> Steps[None]:
        """Do what `update` does, some predictors at a time."""
        needed: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)  # choice of steps → its rows
        for i, paths in enumerate(touched):
            needed[self._touched_by(frozenset(paths))].append(i)
        of_step: defaultdict[int, list[int]] = defaultdict(list)
        for choice, rows in needed.items():
            for index in choice:
                of_step[index] += rows
        if self.n_clocks:
            due = until <= np.array(now_ms, dtype=np.int64)[:, None]
            if whole := needed.get(self._all):  # they are evaluated as it is, once
                due[whole] = False
            for i, clock in zip(*(axis.tolist() for axis in due.nonzero()), strict=True):
                of_step[self._due[clock]].append(i)
        scratches: list[Scratch] = [{} for _ in documents]
        everyone = Documents(slice(None), documents, now_ms, scratches, x, until)
        for n, index in enumerate(sorted(of_step), 1):
            self.steps[index].evaluate(_some(everyone, of_step[index]))
            if not n % _AT_ONCE:
                yield

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
        _remember(self._choices, paths, choice)
        return choice


def _remember(known: dict[frozenset[Path], T], paths: frozenset[Path], what: T) -> None:
    if len(paths) <= _MAX_REMEMBERED_PATHS:
        if len(known) >= _MAX_REMEMBERED_CHOICES:
            known.clear()
        known[paths] = what


def _digest(*lines: str) -> int:
    return int.from_bytes(hashlib.blake2b("\n".join(lines).encode(), digest_size=8).digest(), "little")


def _some(everyone: Documents, wanted: Sequence[int]) -> Documents:
    """Return the rows that are wanted; one may be wanted more than once."""
    if len(wanted) == len(everyone.documents) == len(set(wanted)):
        return everyone
    documents, now_ms, scratches = everyone.documents, everyone.now_ms, everyone.scratches
    return Documents(
        np.array(wanted, dtype=np.intp),
        [documents[i] for i in wanted],
        [now_ms[i] for i in wanted],
        [scratches[i] for i in wanted],
        everyone.x,
        everyone.until,
    )


def _index(steps: Sequence[Slot]) -> tuple[dict[Path, list[int]], dict[Path, list[int]]]:
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
    """Return a text that is equal for predictors of one plan that compute the same: the definition without its name."""
    source: Any = predictor.source
    if isinstance(source, Combination):
        source = (source.operation, *(local[name] for name in source.operands))
    return repr((source, predictor.missing, predictor.transforms))
