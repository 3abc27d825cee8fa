"""The training matrix: predictors of members as of times, and the frames that libraries want."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from memberstream.models.model import Model
from memberstream.models.training.columns import Columns, TrainingError, compile_columns, in_hand
from memberstream.models.training.given import listed
from memberstream.models.training.rows import At, times_of

KEYS = ("member_id", "at", "is_known")  # the columns that stand before the predictors in a table
_PLAIN = {str, int, float, bool, type(None)}
_SHOWN = 20  # problems of documents: a whole table may have the same one
_CHUNK = 200  # rows evaluated together: more don't fit the cache; with fewer the fixed cost of each step is too much


class Refused(NamedTuple):
    """An event that was skipped; a worker would make it a dead letter. `number`: its place in the history, from 0."""

    number: int
    reason: StrEnum
    detail: str


@dataclass(frozen=True, eq=False, slots=True)
class TrainingMatrix:
    """Predictors of members as of times.

    Attributes:
        x: (n, n_columns) float64; objects where there are texts. NaN: missing, for an imputer.
        columns: names of the columns. texts: the columns that hold texts.
        member_ids: whose row it is. at_ms: (n,) as of when, ms.
        is_known: (n,) whether the stream knew the member at that time. If it didn't, the row is NaN.
        refused: events that can't be applied, each listed once.
    """

    x: Any
    columns: tuple[str, ...]
    member_ids: tuple[str, ...]
    at_ms: npt.NDArray[np.int64]
    is_known: npt.NDArray[np.bool_]
    texts: frozenset[str] = frozenset()
    refused: tuple[Refused, ...] = field(default=(), repr=False)

    def to_pandas(self) -> Any:
        """Return a DataFrame of the predictors alone, as estimators want it; its index is (member_id, at).

        Raises:
            ModuleNotFoundError: pandas isn't installed.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise ModuleNotFoundError("to_pandas needs pandas. Next: pip install pandas") from None
        keys = [pandas.Index(self.member_ids), pandas.to_datetime(self.at_ms, unit="ms", utc=True)]
        index = pandas.MultiIndex.from_arrays(keys, names=KEYS[:2])
        return pandas.DataFrame(by_name(self.x, self.columns), index=index)

    def to_polars(self) -> Any:
        """Return a DataFrame of member_id, at, is_known and the predictors. A missing text is null.

        Raises:
            ModuleNotFoundError: Polars isn't installed.
            TrainingError: a predictor has the name of one of the first three.
        """
        try:
            import polars
        except ModuleNotFoundError:
            raise ModuleNotFoundError("to_polars needs Polars. Next: pip install polars") from None
        table = self.to_table()
        at = polars.Series(table["at"]).cast(polars.Datetime("ms", "UTC"))
        return polars.DataFrame(table | {"at": at}, schema_overrides=dict.fromkeys(self.texts, polars.String))

    def to_table(self) -> dict[str, Any]:
        """Return name → values of member_id, at (ms), is_known and the predictors. A missing text is None.

        Raises:
            TrainingError: a predictor has the name of one of the first three.
        """
        if taken := sorted({*KEYS}.intersection(self.columns)):
            raise TrainingError([f"{name}: expected another name, a table has such a column already" for name in taken])
        predictors = by_name(self.x, self.columns)
        for name in self.texts:
            predictors[name] = [value if isinstance(value, str) else None for value in predictors[name]]
        return dict(zip(KEYS, (list(self.member_ids), self.at_ms, self.is_known), strict=True)) | predictors


def training_matrix(
    predictors: Iterable[Mapping[str, Any]] | Model,
    documents: Iterable[Mapping[str, Any]],
    at: At | Iterable[At],
) -> TrainingMatrix:
    """Return the predictors of member documents as they are at a time.

    Args:
        predictors: as in a model file. `"type": "text"` makes a column of texts. `missing` may be left out, for an
            imputer. Or a model: then you get its inputs, as a worker computes them.
        documents: dicts, in a list or anything that can be gone through.
        at: ISO 8601, ms or a datetime with a zone; one for all documents or one for each.

    Raises:
        TrainingError: with every problem of the predictors or the times, or the first problems of the documents.
    """
    columns = compile_columns(in_hand(predictors))
    documents = _checked(documents)
    at_ms = times_of(at, len(documents))
    member_ids = tuple(str(document.get("member_id", "")) for document in documents)
    x = evaluate(columns, documents, at_ms)
    n = len(documents)
    return TrainingMatrix(x, columns.names, member_ids, np.array(at_ms, np.int64), np.ones(n, np.bool_), columns.texts)


def _checked(given: Any) -> list[Any]:
    """Return the documents. Raises TrainingError if they hold what JSON can't hold: it would silently be missing."""
    problems: list[str] = []
    documents = listed(given, "documents", problems)
    for number, document in enumerate(documents):
        if not isinstance(document, dict):
            problems.append(f"documents[{number}]: expected a dict, found {type(document).__name__}")
        elif foreign := _foreign(document):
            path, kind = foreign
            problems.append(f"documents[{number}]{path}: expected what JSON holds, found {kind}. Next: convert it")
        if len(problems) == _SHOWN:
            break
    if problems:
        raise TrainingError(problems)
    return documents


def _foreign(document: dict[str, Any]) -> tuple[str, str] | None:
    """Return path and type of a value that JSON can't hold; None if there is none."""
    inner: list[tuple[str, Any]] = [("", document)]
    while inner:
        path, value = inner.pop()
        if isinstance(value, dict):
            inner += [(f"{path}.{key}", one) for key, one in value.items() if type(one) not in _PLAIN]
        elif isinstance(value, list):
            inner += [(f"{path}[{i}]", one) for i, one in enumerate(value) if type(one) not in _PLAIN]
        elif not isinstance(value, (str, int, float)):
            return path, type(value).__name__
    return None


def evaluate(columns: Columns, documents: Sequence[Any], at_ms: Sequence[int]) -> Any:
    """Return (n, n_columns) for documents, each at its own time, chunk by chunk."""
    x = empty(columns, len(documents))
    for start in range(0, len(documents), _CHUNK):
        stop = start + _CHUNK
        x[start:stop] = columns.evaluate_many(documents[start:stop], at_ms[start:stop])
    return x


def empty(columns: Columns, n: int) -> Any:
    """Return (n, n_columns) of NaN."""
    return np.full((n, len(columns.names)), np.nan, dtype=object if columns.texts else np.float64)


def by_name(x: Any, columns: Sequence[str]) -> dict[str, Any]:
    """Return name → the values of its column. Objects come as a list, so that libraries look at each value's type."""
    return dict(zip(columns, x.T.tolist() if x.dtype == object else x.T, strict=True))
