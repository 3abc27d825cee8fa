"""scikit-learn: a fitted estimator, alone or as the end of a Pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from models.export.columns import Column
from models.export.file import Clusters, Judge, ModelFile, Request, Times, as_json, build
from models.export.from_statsmodels import from_statsmodels
from models.export.raw import Raw, read
from models.export.scorers import Fitted, of_estimator
from models.export.steps import through


def from_estimator(
    fitted: Any,
    *,
    name: str,
    version: int,
    predictors: Sequence[Mapping[str, Any]],
    documents: Sequence[Mapping[str, Any]],
    at: Times | None = None,
    clusters: Clusters | None = None,
    inputs: Sequence[str] | None = None,
    thresholds: Sequence[float] | None = None,
    description: str = "",
) -> ModelFile:
    """Return a fitted scikit-learn estimator or Pipeline, or the results of a statsmodels fit, as a model file.

    Args:
        predictors: as in a model file, without what the pipeline does. `"type": "text"` for a column of categories.
            `missing` may be left to a SimpleImputer.
        documents: member documents, a dozen of each cluster or thousands. `fitted` is asked about each, the file must
            compute the same, and up to 100 of them travel in it as examples.
        at: the time of scoring, ISO 8601 or ms, one for all documents or one for each. Needed if a predictor depends on
            time.
        clusters: names in the order of the classes (or of the bands between thresholds, or of the components), or
            {"id": …, "name": …} of each. Default: the classes as names.
        inputs: the predictors' columns in the order of those that `fitted` was fitted on. Default: by their names if it
            was fitted on a DataFrame or by a formula, else all in the order of `predictors`.
        thresholds: binary models: probabilities of the second class that part the clusters. Default: one half.

    Raises:
        ExportError: something can't be represented exactly, or the file doesn't compute what `fitted` does. Lists all.
    """
    problems: list[str] = []
    predictors = as_json(list(predictors), "predictors", problems) or []
    request = Request(name, version, predictors, documents, at, clusters, inputs, description)
    if type(fitted).__module__.startswith("statsmodels."):
        return from_statsmodels(fitted, request, thresholds, problems)
    raw = None if problems else read(predictors, problems)
    names = _names(fitted)
    chosen = _inputs(fitted, raw, inputs, names, problems) if raw else None
    left = _walk(fitted, [raw.columns[i] for i in chosen], thresholds, problems) if raw and chosen else None
    judge = _judge(fitted, raw, chosen, names, left) if raw and chosen and left else None
    return build(request, raw, left, judge, problems)


def _names(fitted: Any) -> list[str] | None:
    names = getattr(fitted, "feature_names_in_", None)
    return None if names is None else list(map(str, names))


def _inputs(
    fitted: Any, raw: Raw, inputs: Sequence[str] | None, names: list[str] | None, problems: list[str]
) -> list[str] | None:
    """Return the name of the predictors' column that stands for each column of the training matrix."""
    chosen = list(inputs) if inputs is not None else names or list(raw.columns)
    if unknown := [name for name in chosen if name not in raw.columns]:
        problems.append(
            f"predictors: none is named {', '.join(unknown)}. Use: the names of the columns that it was fitted on, or "
            "inputs=[the predictors in the order of the columns]"
        )
        return None
    n_in = getattr(fitted, "n_features_in_", len(chosen))
    if n_in != len(chosen):
        problems.append(
            f"{type(fitted).__name__}: fitted on {n_in} columns, gets {len(chosen)}. Use: one predictor for each "
            "column, or inputs=[the predictors in the order of the columns]"
        )
        return None
    return chosen


def _judge(fitted: Any, raw: Raw, inputs: list[str], names: list[str] | None, left: Fitted) -> Judge:
    """Return what asks the fitted object itself."""
    kind = left.model["type"]

    def judge(documents: list[Any], at_ms: list[int]) -> tuple[Any, Any]:
        x = raw.matrix(documents, at_ms, inputs, names)
        probabilities = None if kind == "kmeans" else np.asarray(fitted.predict_proba(x))
        if probabilities is not None and kind == "logistic":
            probabilities = probabilities[:, 1]
        return probabilities, None if left.classes is None else np.asarray(fitted.predict(x)).tolist()

    return judge


def _walk(fitted: Any, columns: list[Column], thresholds: Sequence[float] | None, problems: list[str]) -> Fitted | None:
    """Return what is left of the final estimator over the columns, once they went through the steps before it."""
    try:
        check_is_fitted(fitted)
    except NotFittedError:
        problems.append(f"{type(fitted).__name__}: isn't fitted yet. Use: fit, then export")
        return None
    while isinstance(fitted, Pipeline):
        *steps, (_, last) = fitted.steps
        for name, step in steps:
            columns = through(step, columns, name, problems)
        fitted = last
    problems += [
        f"{column.hint}: a text reaches the estimator. Use: a OneHotEncoder in the pipeline"
        for column in columns
        if column.definition is not None and column.definition.is_text
    ]
    # A step that can't be represented leaves columns too many or too few, of which the estimator knows nothing.
    return None if problems else of_estimator(fitted, columns, thresholds, problems)
