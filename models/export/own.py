"""The author's own numbers: what the notebook holds of the documents, read into the shape of what the file computes.

Law: nothing here looks at what the file computes. So a number that the author gives is never bent towards it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memberstream.models.export.bands import find_class
from memberstream.models.export.naming import label_text
from memberstream.models.export.scorers import Fitted
from memberstream.models.model import Cluster
from memberstream.models.scorer import Floats, Indices
from memberstream.models.wording import counted


@dataclass(frozen=True)
class Own:
    """The author's own numbers of the documents, in their order; None: not given (models.export.estimator)."""

    x: Any = None
    probabilities: Any = None
    clusters_of: Any = None

    @property
    def given(self) -> tuple[str, ...]:
        """Names of what is given."""
        return tuple(name for name in ("x", "probabilities", "clusters_of") if getattr(self, name) is not None)


@dataclass(frozen=True)
class Inputs:
    """The columns of the matrix that was fitted on, in its order.

    Attributes:
        columns: names of the predictors' columns; None: a constant.
        names: names of the matrix's own columns, if it has any.
        are_named_only: whether the fit knows columns by their names alone, as after a formula.
    """

    columns: list[str | None]
    names: list[str] | None = None
    are_named_only: bool = False

    @property
    def predictors(self) -> list[str]:
        """The predictors' columns, without constants."""
        return [name for name in self.columns if name is not None]


def own_columns(x: Any, inputs: Inputs, n: int, problems: list[str]) -> dict[str, Any] | None:
    """Return predictors' column → the author's values of it, (n,) floats or objects. None, and the problem is noted."""
    frame = _frame(x)
    if frame is not None and inputs.names is not None:
        wanted = {c: name for c, name in zip(inputs.columns, inputs.names, strict=True) if c is not None}
        if absent := [name for name in wanted.values() if name not in frame]:
            problems.append(f"x: lacks {', '.join(absent)}. Use: the matrix or table from which you predict")
            return None
        columns = {column: _values(frame[name]) for column, name in wanted.items()}
    elif inputs.are_named_only:
        problems.append(
            "x: expected a table with named columns, found another value. Use: the DataFrame of the formula"
        )
        return None
    else:
        matrix = _matrix(frame, x)
        kept = [i for i, column in enumerate(inputs.columns) if column is not None]
        width = matrix.shape[1] if matrix is not None and matrix.ndim == 2 else None
        if matrix is None or width not in (len(kept), len(inputs.columns)):
            found = "another value" if width is None else str(width)
            problems.append(f"x: expected the {counted(len(inputs.columns), 'column')} of the fit, found {found}")
            return None
        places = kept if width == len(inputs.columns) else range(len(kept))
        columns = {name: _values(matrix[:, i]) for name, i in zip(inputs.predictors, places, strict=True)}
    lengths = {len(values) for values in columns.values()}
    if lengths - {n}:
        problems.append(f"x: expected a row for each of {counted(n, 'document')}, found {lengths.pop()}")
        return None
    return columns


def _frame(x: Any) -> Mapping[str, Any] | None:
    """Return a table (pandas, Polars, a dictionary of columns) by its columns' names; None if it isn't one."""
    if isinstance(x, Mapping):
        return {str(name): x[name] for name in x}
    if hasattr(x, "columns") and hasattr(x, "__getitem__"):
        return {str(name): x[name] for name in x.columns}
    return None


def _matrix(frame: Mapping[str, Any] | None, x: Any) -> Any:
    try:
        if frame is None:
            return np.asarray(x.toarray() if hasattr(x, "toarray") else x)
        return np.column_stack([np.asarray(values, dtype=object) for values in frame.values()])
    except ValueError:
        return None  # rows of different lengths


def _values(values: Any) -> Any:
    """Return a column as floats if it holds numbers, otherwise as objects. What is missing is NaN."""
    listed = [math.nan if _is_missing(value) else value for value in np.asarray(values, dtype=object).ravel()]
    try:
        return np.array([value if not isinstance(value, str) else _refuse() for value in listed], dtype=np.float64)
    except (TypeError, ValueError):
        return np.array(listed, dtype=object)


def _refuse() -> float:
    raise TypeError  # "12" would pass as a number


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def own_probabilities(given: Any, fitted: Fitted, n: int, problems: list[str]) -> Floats | None:
    """Return the author's probabilities in the shape of the fitted object's: (n,) of the second class, or (n,
    n_clusters). None, and the problem is noted, if they don't fit."""
    labels = (fitted.classes[::-1] if fitted.is_turned else fitted.classes) or fitted.labels or []
    is_binary = fitted.is_banded
    if not fitted.has_probabilities:
        what = "k-means" if fitted.model["type"] == "kmeans" else "a regressor"
        problems.append(f"probabilities: {what} has none. Use: clusters_of, what predict says")
        return None
    names = list(given.columns if hasattr(given, "columns") else given if isinstance(given, Mapping) else [])
    is_named = bool(names) and (isinstance(given, Mapping) or names != list(range(len(names))))  # pandas' own numbers
    names = names if is_named else []
    places = [find_class(name, labels) for name in names]
    if is_named and (None in places or len(set(places)) < len(places)):
        shown = ", ".join(map(label_text, labels))
        problems.append(f"probabilities: expected those of the classes {shown}, found {', '.join(map(str, names))}")
        return None
    try:
        columns = [np.asarray(given[name], dtype=np.float64) for name in names]
        values = np.stack(columns, axis=1) if is_named else np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        problems.append("probabilities: expected numbers, found something else")
        return None
    if is_binary and is_named and len(names) == 1:
        values = values[:, 0] if places == [1] else 1.0 - values[:, 0]
    elif is_named and len(names) == len(labels):
        values = values[:, np.argsort(np.array(places, dtype=np.intp))]
    if values.ndim == 2 and is_binary and values.shape[1] in (1, 2):
        values = values[:, -1]
    if values.shape == (n,) and not is_binary and fitted.n_clusters == 2:  # of a forest: the second class's
        values = np.stack([1.0 - values, values], axis=1)
    shape = (n,) if is_binary else (n, fitted.n_clusters)
    if values.shape != shape:
        problems.append(f"probabilities: expected an array of shape {shape}, found {values.shape}")
        return None
    return 1.0 - values if fitted.is_turned else values


def own_clusters(
    given: Any, fitted: Fitted, clusters: Sequence[Cluster], order: Sequence[int], n: int, problems: list[str]
) -> Indices | None:
    """Return the places in the file's clusters of what the author says. None, and the problem is noted.

    Args:
        given: a label of the fitted object, a cluster's name or its id for each document. Labels come first: they are
            what predict says.
    """
    labels = [label_text(value) for value in np.asarray(given).ravel().tolist()]
    if len(labels) != n:
        problems.append(f"clusters_of: expected one for each of {counted(n, 'document')}, found {len(labels)}")
        return None
    own = [] if fitted.labels is None else [label_text(fitted.labels[i]) for i in order]
    names = [cluster.name for cluster in clusters]
    ids = [str(cluster.id) for cluster in clusters]
    for texts in (own, names, ids):
        if set(labels) <= set(texts):
            return np.array([texts.index(label) for label in labels], dtype=np.intp)
    # What most of them are is what the author means.
    unknown = min((sorted(set(labels).difference(texts)) for texts in (names, own, ids)), key=len)
    shown = ", ".join(unknown[:5]) + (f" and {counted(len(unknown) - 5, 'other')}" if len(unknown) > 5 else "")
    classes = f" (of the classes {', '.join(own)})" if own and own != names else ""
    problems.append(
        f"clusters_of: {shown} {'is' if len(unknown) == 1 else 'are'} none of the clusters {', '.join(names)}{classes}"
        ". Use: names, classes or ids of clusters, the same for all documents"
    )
    return None
