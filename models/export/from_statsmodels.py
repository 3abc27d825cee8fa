"""statsmodels: Logit, GLM with family Binomial and logit link, MNLogit (whose base class has no coefficients).

Law: which outcome's probability a model gives is read from the names of its outcome, never assumed. After a formula
with a boolean or a text as outcome, a GLM's predict gives that of the *first* level. The file has the second one's, as
scikit-learn's have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from memberstream.models.export.bands import Asked
from memberstream.models.export.file import ModelFile, Request, build
from memberstream.models.export.own import Inputs
from memberstream.models.export.proof import Judge, Subject
from memberstream.models.export.raw import Raw, read
from memberstream.models.export.scorers import Fitted
from memberstream.models.export.terms import INTERCEPTS, by_terms, named_in
from memberstream.models.wording import counted

_LEVEL = re.compile(r"(.+)\[(?:T\.)?(.+)\]")


def from_statsmodels(results: Any, request: Request, asked: Asked, problems: list[str]) -> ModelFile:
    """Return the results of a statsmodels fit as a model file (models.export.estimator).

    After a formula or a DataFrame the names of the coefficients say which predictor is meant; after an array their
    order.
    """
    model, kind = results.model, type(results.model).__name__
    _check_kind(model, kind, problems)
    raw = None if problems else read(request.predictors, problems)
    terms = _terms(model, request.inputs, raw, problems) if raw else None
    left = _left(results, kind, terms, raw, asked, problems) if raw and terms else None
    subject = None
    if raw and terms and left:
        judge = _judge(results, terms, raw, left, is_first=_models_the_first(model))
        subject = Subject(raw, _inputs(model, terms, raw), judge, left)
    return build(request, subject, raw, problems)


def _judge(results: Any, terms: list[str], raw: Raw, left: Fitted, is_first: bool) -> Judge:
    """Return the function that asks statsmodels itself.

    Args:
        is_first: whether its predict gives the probability of the first of the two outcomes.
    """

    def judge(x: Any) -> tuple[Any, Any]:
        values = raw.values(x)
        if hasattr(results.model, "formula"):
            import pandas

            exog: Any = pandas.DataFrame(values)
        else:
            ones = [1.0] * len(x)
            exog = np.column_stack([ones if term in INTERCEPTS else values[term] for term in terms])
        probabilities = np.asarray(results.predict(exog), dtype=np.float64)
        if probabilities.ndim == 1:
            is_other = is_first != (left.is_turned)
            return 1.0 - probabilities if is_other else probabilities, None
        return probabilities, [left.classes[i] for i in probabilities.argmax(axis=1)]

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


def _levels(model: Any) -> list[str]:
    """Return the two levels of a formula's outcome; none if it is a number (or counts of successes and failures)."""
    names = model.endog_names
    found = [_LEVEL.fullmatch(name) for name in names] if isinstance(names, list) else []
    levels = [match for match in found if match]
    return [match[2] for match in levels] if len(levels) == 2 and levels[0][1] == levels[1][1] else []


def _models_the_first(model: Any) -> bool:
    return bool(_levels(model))


def _classes(model: Any, kind: str) -> list[Any]:
    """Return the outcomes: of a binary model first the one that isn't modelled by the file."""
    if kind == "MNLogit":
        return [_class(label) for _, label in sorted(model._ynames_map.items())]
    if levels := _levels(model):
        return [{"False": False, "True": True}.get(level, _class(level)) for level in levels]
    return [0, 1]


def _terms(model: Any, inputs: Sequence[str] | None, raw: Raw, problems: list[str]) -> list[str] | None:
    """Return the name of each coefficient. An array's columns have the predictors' names, in their order."""
    names = list(model.exog_names)
    is_named = type(model.data).__name__ == "PandasData"
    if inputs is not None and hasattr(model, "formula"):
        problems.append("inputs: a formula names its predictors. Use: no inputs, and predictors of the same names")
        return None
    if inputs is None and is_named:
        return names
    chosen = list(raw.columns) if inputs is None else list(inputs)
    n_in = sum(name not in INTERCEPTS for name in names)
    if n_in != len(chosen):
        problems.append(
            f"{type(model).__name__}: fitted on {counted(n_in, 'column')} beside the constant, gets {len(chosen)}. "
            "Use: one predictor for each column, or inputs=[the predictors in the order of the columns]"
        )
        return None
    fitted_names = [name for name in names if name not in INTERCEPTS]
    if is_named and (moved := raw.contradicted(fitted_names, chosen)):
        problems.append(
            f"inputs: fitted on a column {moved[0]} where inputs says {moved[1]}. Use: no inputs, the names tell which "
            f"is which; or inputs={fitted_names}"
        )
        return None
    rest = iter(chosen)
    return [name if name in INTERCEPTS else next(rest) for name in names]


def _inputs(model: Any, terms: Sequence[str], raw: Raw) -> Inputs:
    """Return which columns the author's matrix has: after a formula, the predictors that occur in its terms."""
    if hasattr(model, "formula"):
        return named_in(terms, raw)
    is_named = type(model.data).__name__ == "PandasData"
    columns: list[str | None] = [None if term in INTERCEPTS else term for term in terms]
    return Inputs(columns, list(model.exog_names) if is_named else None)


def _left(
    results: Any,
    kind: str,
    terms: Sequence[str],
    raw: Raw,
    asked: Asked,
    problems: list[str],
) -> Fitted | None:
    params, classes = np.asarray(results.params, dtype=np.float64), _classes(results.model, kind)
    if _models_the_first(results.model):
        params = -params
    rows = params.reshape(len(params), -1).tolist()
    if kind == "MNLogit" and asked.thresholds is not None:
        problems.append(f"MNLogit: thresholds cut one probability, this model has {len(classes)}. Use: no thresholds")
    return by_terms(dict(zip(terms, rows, strict=True)), {}, raw.columns, classes, asked, problems)


def _class(label: str) -> Any:
    """Return a class as the author knows it. (MNLogit keeps its classes as names, whole numbers as texts.)"""
    try:
        return int(float(label)) if float(label).is_integer() else label
    except ValueError:
        return label
