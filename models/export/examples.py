"""The matrix that a fitted object gets, made from documents: training's, in the form that the object was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.training.columns import Predictors, compile_columns
from models.training.matrix import by_name


def matrix(predictors: Predictors, documents: Sequence[Any], at_ms: Sequence[int], names: Sequence[str] | None) -> Any:
    """Return the training matrix of documents, (n, n_predictors); a DataFrame if the object was fitted on one (`names`:
    of its columns)."""
    x = compile_columns(predictors).evaluate_many(documents, at_ms)
    if names is None:
        return x
    import pandas

    return pandas.DataFrame(by_name(x, names))
