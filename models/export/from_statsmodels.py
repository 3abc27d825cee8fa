"""statsmodels: Logit, GLM with family Binomial and logit link, MNLogit (whose base class has no coefficients)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.export.columns import ExportError
from models.export.from_r import linear_by_name
from models.export.model import Clusters, ModelFile


def from_statsmodels(
    results: Any,
    *,
    name: str,
    version: int,
    predictors: Sequence[Mapping[str, Any]],
    documents: Sequence[Mapping[str, Any]],
    at: str | int | Sequence[str | int],
    clusters: Clusters | None = None,
    thresholds: Sequence[float] | None = None,
    description: str = "",
) -> ModelFile:
    """Return the results of a statsmodels fit as a model file; arguments and errors as `from_estimator`.

    Columns are found by the names of the coefficients, so predictors are named as in the formula or the DataFrame that
    the model was fitted on, in any order.
    """
    model = results.model
    kind = type(model).__name__
    if kind == "GLM":
        family = model.family
        if type(family).__name__ != "Binomial" or type(family.link).__name__ not in ("Logit", "logit"):
            raise ExportError([f"GLM: family {type(family).__name__}, link {type(family.link).__name__}. "
                               "Use: families.Binomial() with its logit link"])  # fmt: skip
    elif kind not in ("Logit", "MNLogit"):
        raise ExportError([f"{kind} can't be represented. Use: Logit, GLM with families.Binomial(), or MNLogit"])
    if getattr(model, "offset", None) is not None and kind == "GLM" and model.offset.any():
        raise ExportError(["GLM: an offset can't be represented. Use: a predictor"])
    import numpy as np

    params = np.asarray(results.params, dtype=np.float64)
    rows = params.reshape(len(params), -1)
    coefficients = {term: row.tolist() for term, row in zip(model.exog_names, rows, strict=True)}
    classes: list[Any] = [0, 1]
    if kind == "MNLogit":
        classes = [_class(label) for _, label in sorted(model._ynames_map.items())]

    def predict(frame: Any) -> Any:
        formula = hasattr(model.data, "design_info") or (
            getattr(model.data, "orig_exog", None) is not None and hasattr(model.data.orig_exog, "design_info")
        )
        if formula:
            exog = frame
        else:
            exog = np.column_stack([np.ones(len(frame)) if t == "const" else frame[t] for t in model.exog_names])
        found = np.asarray(results.predict(exog), dtype=np.float64)
        return found.reshape(len(frame), -1)

    return linear_by_name(
        coefficients, {}, classes, predict, name=name, version=version, predictors=predictors, documents=documents,
        at=at, clusters=clusters, thresholds=thresholds, description=description,
    )  # fmt: skip


def _class(label: str) -> Any:
    """Return a class as the author knows it: MNLogit keeps its classes' names, whole numbers as texts."""
    try:
        return int(float(label)) if float(label).is_integer() else label
    except ValueError:
        return label
