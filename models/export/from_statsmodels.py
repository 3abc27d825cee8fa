"""statsmodels: Logit, GLM with family Binomial and logit link, MNLogit (whose base class has no coefficients)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.export.file import Judge, ModelFile, Request, build
from models.export.raw import Raw, read
from models.export.scorers import Fitted
from models.export.terms import INTERCEPTS, by_terms


def from_statsmodels(
    results: Any, request: Request, thresholds: Sequence[float] | None, problems: list[str]
) -> ModelFile:
    """Return the results of a statsmodels fit as a model file (models.export.from_estimator).

    Of a formula or a DataFrame the coefficients' names say which predictor is meant; of an array the order does.
    """
    model, kind = results.model, type(results.model).__name__
    _check_kind(model, kind, problems)
    raw = None if problems else read(request.predictors, problems)
    terms = _terms(model, request.inputs, raw, problems) if raw else None
    left = _left(results, kind, terms, raw, thresholds, problems) if raw and terms else None
    judge = _judge(results, terms, raw, left) if raw and terms and left else None
    return build(request, raw, left, judge, problems)


def _judge(results: Any, terms: list[str], raw: Raw, left: Fitted) -> Judge:
    """Return what asks statsmodels itself."""

    def judge(documents: list[Any], at_ms: list[int]) -> tuple[Any, Any]:
        values = raw.values(documents, at_ms)
        if hasattr(results.model, "formula"):
            import pandas

            exog: Any = pandas.DataFrame(values)
        else:
            ones = [1.0] * len(documents)
            exog = np.column_stack([ones if term in INTERCEPTS else values[term] for term in terms])
        probabilities = np.asarray(results.predict(exog), dtype=np.float64)
        if probabilities.ndim == 1:
            return probabilities, None
        return probabilities, [(left.classes or [])[i] for i in probabilities.argmax(axis=1)]

    return judge


def _check_kind(model: Any, kind: str, problems: list[str]) -> None:
    if kind == "GLM":
        family, link = type(model.family).__name__, type(model.family.link).__name__
        if (family, link) != ("Binomial", "Logit"):
            problems.append(f"GLM: family {family}, link {link}. Use: families.Binomial() with its logit link")
    elif kind not in ("Logit", "MNLogit"):
        problems.append(f"{kind} can't be represented. Use: Logit, GLM with families.Binomial(), or MNLogit")
    offset = getattr(model, "offset", None)
    if offset is not None and np.any(offset):
        problems.append(f"{kind}: an offset can't be represented. Use: a predictor")


def _terms(model: Any, inputs: Sequence[str] | None, raw: Raw, problems: list[str]) -> list[str] | None:
    """Return the name of each coefficient; those of an array's columns are the predictors' in their order."""
    names = list(model.exog_names)
    if inputs is None and type(model.data).__name__ == "PandasData":
        return names
    chosen = list(raw.columns) if inputs is None else list(inputs)
    n_in = sum(name not in INTERCEPTS for name in names)
    if n_in != len(chosen):
        problems.append(
            f"{type(model).__name__}: fitted on {n_in} columns beside the constant, gets {len(chosen)}. Use: one "
            "predictor for each column, or inputs=[the predictors in the order of the columns]"
        )
        return None
    rest = iter(chosen)
    return [name if name in INTERCEPTS else next(rest) for name in names]


def _left(
    results: Any, kind: str, terms: Sequence[str], raw: Raw, thresholds: Sequence[float] | None, problems: list[str]
) -> Fitted | None:
    params = np.asarray(results.params, dtype=np.float64)
    rows = params.reshape(len(params), -1).tolist()
    classes: list[Any] = [0, 1]
    if kind == "MNLogit":
        classes = [_class(label) for _, label in sorted(results.model._ynames_map.items())]
        if thresholds is not None:
            problems.append(
                f"MNLogit: thresholds cut one probability, this model has {len(classes)}. Use: no thresholds"
            )
    return by_terms(dict(zip(terms, rows, strict=True)), {}, raw.columns, classes, thresholds, problems)


def _class(label: str) -> Any:
    """Return a class as the author knows it: MNLogit keeps its classes' names, whole numbers as texts."""
    try:
        return int(float(label)) if float(label).is_integer() else label
    except ValueError:
        return label
