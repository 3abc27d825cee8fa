"""scikit-learn: a fitted estimator, alone or as the end of a Pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import joblib
import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from memberstream.models.export import boosters, catboost
from memberstream.models.export.bands import Asked, Bands, Thresholds
from memberstream.models.export.columns import Column, gaps
from memberstream.models.export.ensembles import reader_of
from memberstream.models.export.file import ModelFile, Request, Times, as_json, build
from memberstream.models.export.from_statsmodels import from_statsmodels
from memberstream.models.export.naming import Clusters
from memberstream.models.export.own import Inputs, Own
from memberstream.models.export.proof import Judge, Subject
from memberstream.models.export.raw import Raw, read
from memberstream.models.export.scorers import Fitted, of_estimator
from memberstream.models.export.steps import through
from memberstream.models.export.trees import of_trees
from memberstream.models.export.wrappers import unwrap
from memberstream.models.scorer import ThresholdRule
from memberstream.models.training.given import listed
from memberstream.models.wording import counted


def from_estimator(
    fitted: Any,
    *,
    name: str,
    version: int,
    predictors: Sequence[Mapping[str, Any]],
    documents: Sequence[Mapping[str, Any]],
    x: Any = None,
    probabilities: Any = None,
    clusters_of: Any = None,
    at: Times | None = None,
    clusters: Clusters | None = None,
    inputs: Sequence[str] | None = None,
    thresholds: Thresholds | None = None,
    threshold_rule: ThresholdRule = ">=",
    allow: str | Sequence[str] = (),
    description: str = "",
) -> ModelFile:
    """Return a fitted scikit-learn estimator or Pipeline, or the results of a statsmodels fit, as a model file.

    Args:
        predictors: as in a model file, without what the pipeline does. `"type": "text"` for a column of categories.
            `missing` may be left to a SimpleImputer.
        documents: member documents, a dozen of each cluster or thousands. `fitted` is asked about each, and the file
            must compute the same. Up to 100 of them travel in the file as examples.
        x: your own numbers, a row for each document: the matrix or DataFrame from which you predict. Give any of x,
            probabilities and clusters_of: only they can tell a wrong path, order, unit or class.
        probabilities: what predict_proba says, or the second class's column alone, or {class: probabilities}.
        clusters_of: what predict says, or names of clusters.
        at: the time of scoring, ISO 8601, ms or a datetime with a zone, one for all documents or one for each. Needed
            if a predictor depends on time.
        clusters: names, or {"id": …, "name": …}. Names that are the classes may have any order. Other names come as
            {class: name}; or in the order of the classes if these are numbers, of the bands between thresholds, of the
            components. Default: the classes as names.
        inputs: the predictors' columns, in the order of the columns on which `fitted` was fitted. Default: by their
            names if that was a DataFrame or a formula, otherwise all in the order of `predictors`.
        thresholds: for binary models, the probabilities that separate the clusters: of the higher class if classes are
            numbers, otherwise as {class: probabilities}. Default: as predict does, one half.
        threshold_rule: ">=" (roc_curve, numpy.digitize) or ">": whether a probability passes a threshold that it
            equals.
        allow: predictors that may look wrong in the documents (or "at"): see models.export.plausible.

    Raises:
        ExportError: something can't be represented exactly, or the file computes something else than `fitted` or than
            your own numbers. Lists all problems of a step, with likely causes; docs/export.md has the steps.
    """
    problems: list[str] = []
    predictors = as_json(listed(predictors, "predictors", problems), "predictors", problems) or []
    documents = listed(documents, "documents", problems)
    allow = [allow] if isinstance(allow, str) else allow
    own, asked = Own(x, probabilities, clusters_of), Asked(thresholds, threshold_rule)
    request = Request(name, version, predictors, documents, own, at, clusters, inputs, allow, description)
    if type(fitted).__module__.startswith("statsmodels."):
        return from_statsmodels(fitted, request, asked, problems)
    raw = None if problems else read(predictors, problems)
    names = _names(fitted)
    chosen = _inputs(fitted, raw, inputs, names, problems) if raw else None
    left = _walk(fitted, [raw.columns[i] for i in chosen], asked, problems) if raw and chosen else None
    subject = None
    if raw and chosen and left:
        judge, own_raw = _judge(fitted, raw, chosen, names, left), _raw(fitted, raw, chosen, names, left)
        subject = Subject(raw, Inputs([*chosen], names), judge, left, raw_scores=own_raw)
    return build(request, subject, raw, problems)


def _names(fitted: Any) -> list[str] | None:
    # CatBoost's and LightGBM's names of a matrix are their own.
    names = getattr(fitted, "feature_names_in_", None)
    if names is None and (own := getattr(fitted, "feature_names_", None)) != list(map(str, range(len(own or ())))):
        names = own
    listed = None if names is None else list(map(str, names))
    return None if listed == [f"Column_{i}" for i in range(len(listed or ()))] else listed


def _inputs(
    fitted: Any, raw: Raw, inputs: Sequence[str] | None, names: list[str] | None, problems: list[str]
) -> list[str] | None:
    """Return, for each column of the training matrix, the name of the predictors' column that it is."""
    chosen = list(inputs) if inputs is not None else names or list(raw.columns)
    if unknown := [name for name in chosen if name not in raw.columns]:
        problems.append(
            f"predictors: none is named {', '.join(unknown)}. Use: the names of the columns that it was fitted on, or "
            "inputs=[the predictors in the order of the columns]"
        )
        return None
    n_in = getattr(fitted, "n_features_in_", None)  # None: it isn't told, or it isn't fitted yet
    if n_in is not None and n_in != len(chosen):
        problems.append(
            f"{type(fitted).__name__}: fitted on {counted(n_in, 'column')}, gets {len(chosen)}. Use: one predictor for "
            "each column, or inputs=[the predictors in the order of the columns]"
        )
        return None
    if names is not None and (moved := raw.contradicted(names, chosen)):
        problems.append(
            f"inputs: fitted on a column {moved[0]} where inputs says {moved[1]}. Use: no inputs, the names tell which "
            f"is which; or inputs={names}"
        )
        return None
    return chosen


def _judge(fitted: Any, raw: Raw, inputs: list[str], names: list[str] | None, left: Fitted) -> Judge:
    """Return the function that asks the fitted object itself."""

    def judge(x: Any) -> tuple[Any, Any]:
        x = raw.matrix(x, inputs, names)
        with joblib.parallel_config(backend="sequential"):  # the order in which threads add trees is chance
            probabilities = np.asarray(fitted.predict_proba(x)) if left.has_probabilities else None
            predicted = np.ravel(fitted.predict(x)).tolist()  # CatBoost tells classes in a column
        if probabilities is not None and left.is_banded:
            probabilities = probabilities[:, fitted.classes_.tolist().index(left.classes[1])]
        return probabilities, predicted

    return judge


def _raw(
    fitted: Any, raw: Raw, inputs: list[str], names: list[str] | None, left: Fitted
) -> Callable[[Any], Any] | None:
    """Return the function that asks fitted trees for their raw scores, behind the steps in front of them."""
    say = left.raw

    def ask(x: Any) -> Any:
        assert say is not None  # noqa: S101 (checked below; narrows the type)
        with joblib.parallel_config(backend="sequential"):
            return np.asarray(say(_before_last(fitted, raw.matrix(x, inputs, names))))

    return None if say is None else ask


def _before_last(fitted: Any, x: Any) -> Any:
    """Return the matrix in front of the final estimator."""
    problems: list[str] = []
    while True:
        if isinstance(fitted, Pipeline):
            x = fitted[:-1].transform(x) if len(fitted.steps) > 1 else x
            fitted = fitted.steps[-1][1]
        elif inside := unwrap(fitted, Asked(), problems):
            fitted = inside[0]
        else:
            return x


def _is_fitted(fitted: Any, problems: list[str]) -> bool:
    own = getattr(fitted, "is_fitted", None)  # CatBoost's: scikit-learn doesn't see whether it is
    try:
        is_fitted = own() if callable(own) else check_is_fitted(fitted) is None
    except NotFittedError:
        is_fitted = False
    if not is_fitted:
        problems.append(f"{type(fitted).__name__}: isn't fitted yet. Use: fit, then export")
    return bool(is_fitted)


def _walk(fitted: Any, columns: list[Column], asked: Asked, problems: list[str]) -> Fitted | None:
    """Return the final estimator as a scorer, over the columns that have gone through the steps before it."""
    if not _is_fitted(fitted, problems):
        return None
    cut: Asked | Bands = asked
    while True:
        if isinstance(fitted, Pipeline):
            *steps, (_, last) = fitted.steps
            for name, step in steps:
                columns = through(step, columns, name, problems)
            fitted = last
        elif inside := unwrap(fitted, cut, problems):
            fitted, cut = inside
        else:
            break
    problems += [
        f"{column.hint}: a text reaches the estimator. Use: a OneHotEncoder in the pipeline"
        for column in columns
        if column.definition is not None and column.definition.is_text
    ]
    # After a step that can't be represented there are too many or too few columns for the estimator.
    if problems or not _is_fitted(fitted, problems):
        return None
    reader = reader_of(fitted) or boosters.reader_of(fitted) or catboost.reader_of(fitted)
    if reader is not None:
        return of_trees(fitted, reader, columns, cut, problems)
    problems += gaps(columns, type(fitted).__name__)
    if problems:
        return None
    found = of_estimator(fitted, columns, cut, problems)
    return None if found is None else replace(found, refuses_missing=type(fitted).__name__)
