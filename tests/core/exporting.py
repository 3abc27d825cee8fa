"""What the tests of models.export share: predictors and documents for the rows of a matrix, and the comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from memberstream.models.explain import score_many
from memberstream.models.export import ExportError, ModelFile, from_estimator

AT = "2026-01-01"


def numbers(n: int, **more: Any) -> list[dict[str, Any]]:
    """Return predictors x0 … of the numbers at these paths."""
    return [{"name": f"x{i}", "path": f"x{i}", "missing": 0} | more for i in range(n)]


def documents_of(x: Any) -> list[dict[str, Any]]:
    """Return a document for each row; what is missing there is absent here."""
    rows = x.to_numpy(dtype=object).tolist() if isinstance(x, pd.DataFrame) else np.asarray(x, dtype=object).tolist()
    return [{f"x{i}": value for i, value in enumerate(row) if not pd.isna(value)} for row in rows]


def exported(fitted: Any, rows: Any, predictors: list[dict[str, Any]] | None = None, **more: Any) -> ModelFile:
    """Return the model file of an object fitted on such rows, all of them documents and the author's own matrix."""
    predictors = numbers(rows.shape[1]) if predictors is None else predictors
    given = {"name": "m", "version": 1, "predictors": predictors, "documents": documents_of(rows), "x": rows, **more}
    if "documents" in more and "x" not in more:
        del given["x"]  # other rows
    return from_estimator(fitted, **given)


def refused(fitted: Any, rows: Any, predictors: list[dict[str, Any]] | None = None, **more: Any) -> str:
    """Return why an export is refused."""
    with pytest.raises(ExportError) as error:
        exported(fitted, rows, predictors, **more)
    assert error.value.problems == str(error.value).split("\n")
    return str(error.value)


def agrees(file: ModelFile, fitted: Any, x: Any, ids: dict[Any, int] | None = None) -> None:
    """The file's probabilities are within 1e-12 of the fitted object's, and its clusters are equal, for all rows.

    Args:
        ids: class → cluster id; None: they are the same, and so is their order.
    """
    rows = score_many(file.model, documents_of(x), 0)
    said = np.asarray(fitted.predict(x)).tolist()
    assert [row["cluster"] for row in rows] == [int(value) if ids is None else ids[value] for value in said]
    if "probability" in rows[0]:
        expected = fitted.predict_proba(x)
        found = np.array([row["probability"] for row in rows])
        if ids is not None and found.ndim == 2:
            expected = expected[:, np.argsort(list(ids.values()))]
        np.testing.assert_allclose(found, expected if found.ndim == 2 else expected[:, 1], rtol=1e-12, atol=1e-12)
