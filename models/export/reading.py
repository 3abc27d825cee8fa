"""What the file reads of the documents, and what it would read if something were written otherwise.

Law: what a predictor would read is computed by the predictor's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from memberstream.models.export.own import Inputs
from memberstream.models.export.raw import Raw
from memberstream.models.predictor import Predictor
from memberstream.models.problems import Problem
from memberstream.models.source import Elapsed, ListAggregate
from memberstream.models.training.columns import compile_parsed, parse_raw
from memberstream.models.training.matrix import evaluate

Written = Mapping[str, Any]  # a predictor, as its author writes it
Recompute = Callable[[Any], Any]  # (k,) places of documents → (k, n_columns)
EXACT = "ms"  # a resolution that no file can have: times as they are


@dataclass(frozen=True)
class Reading:
    """What the file reads of the documents.

    Attributes:
        x: (n, n_columns), all columns of `raw`. categories: predictor → categories that the fit knows.
    """

    raw: Raw
    inputs: Inputs
    documents: Sequence[Any]
    at_ms: Sequence[int]
    x: Any
    categories: Mapping[str, Sequence[str]]

    def place(self, column: str) -> int:
        """Return the place of a column in x."""
        return self.raw.training.names.index(column)

    def values(self, column: str, x: Any) -> Any:
        """Return a column of such a matrix: floats, or objects if it holds texts."""
        values = x[:, self.place(column)]
        return values if column in self.raw.training.texts else values.astype(np.float64)

    def written(self, name: str) -> Written:
        """Return a predictor as the author writes it."""
        return next((p for p in self.raw.written if p["name"] == name), {})

    def counts_days(self, name: str) -> bool:
        """Return whether a predictor is the days since something."""
        return self.written(name).get("aggregate") == "days_since"

    def is_empty(self, name: str) -> Any:
        """Return where the documents have nothing that a predictor could read, (n,)."""
        written = self.written(name)
        if written.get("aggregate") in ("count", "distinct", "decayed_count"):
            return self.values(name, self.x) == 0
        edit = without(written, "missing", "transforms")
        if written.get("aggregate") == "sum":
            edit["aggregate"] = "min"  # of nothing it is nothing, where the sum is 0
        recompute = self.edited({name: edit}) if "path" in written else None
        if recompute is None:
            return np.zeros(len(self.documents), dtype=bool)
        values = self.values(name, recompute(np.arange(len(self.documents))))
        return values != values

    def shifted(self, shift_ms: int) -> Recompute:
        """Return a function places → what is read at another time."""

        def recompute(rows: Any) -> Any:
            at_ms = [self.at_ms[i] + shift_ms for i in rows]
            return self.raw.evaluate([self.documents[i] for i in rows], at_ms)

        return recompute

    def reordered(self, names: Sequence[str]) -> Recompute:
        """Return a function places → the matrix whose columns stand where `names` says."""
        to, of = ([self.place(name) for name in these] for these in (self.inputs.predictors, names))

        def recompute(rows: Any) -> Any:
            x = self.x[rows]
            x[:, to] = self.x[np.ix_(rows, of)]
            return x

        return recompute

    def in_rows(self, order: Any) -> Recompute:
        """Return a function places → what stands there if rows are in another order, (n,) places."""
        return lambda rows: self.x[order[rows]]

    def changed(self, column: str, function: Callable[[Any], Any]) -> Recompute:
        """Return a function places → the matrix with other values in one column."""

        def recompute(rows: Any) -> Any:
            x = self.x[rows]
            with np.errstate(all="ignore"):
                x[:, self.place(column)] = function(self.values(column, x))
            return x

        return recompute

    def edited(self, edits: Mapping[str, Written], then: Callable[[Any], Any] | None = None) -> Recompute | None:
        """Return a function places → what is read if predictors are written otherwise; None if they can't be.

        Args:
            edits: name → the predictor as it would be written. then: of the values that these read.
        """
        touched, needed = self.raw.around(edits)
        written = [edits.get(p["name"], p) for p in self.raw.written if p["name"] in needed]
        problems: list[Problem] = []
        exact = {p["name"] for p in written if p.get("resolution") == EXACT}
        written = [without(p, "resolution") if p["name"] in exact else p for p in written]
        parsed = tuple(_in_ms(p) if p.name in exact else p for p in parse_raw(written, problems))
        if problems:
            return None
        columns = compile_parsed(written, parsed)
        moved = [
            (self.place(name), columns.names.index(name))
            for predictor in parsed
            for name in ([predictor.name] if predictor.name in columns.texts else predictor.columns)
            if predictor.name in touched and name in self.raw.training.names
        ]

        def recompute(rows: Any) -> Any:
            found = evaluate(columns, [self.documents[i] for i in rows], [self.at_ms[i] for i in rows])
            x = self.x[rows]
            for to, of in moved:
                x[:, to] = found[:, of] if then is None else then(found[:, of].astype(np.float64))
            return x

        return recompute


def _in_ms(predictor: Predictor) -> Predictor:
    """Return a predictor that counts days without cutting times."""
    assert isinstance(predictor.source, (Elapsed, ListAggregate))  # noqa: S101 (others have no clock; narrows the type)
    return replace(predictor, source=replace(predictor.source, resolution_ms=1))


def without(written: Written, *keys: str) -> dict[str, Any]:
    """Return a predictor without some of its fields."""
    return {key: value for key, value in written.items() if key not in keys}
