"""Logistic models that are known by the names of their coefficients: R's glm, and statsmodels with or without formulas.

A term is the name of a predictor, `log1p(name)`, `I(name^2)`, a product `a:b` of two of these, or a level of a factor:
R writes `countryde`, patsy `C(country)[T.de]`. The base level of a factor has no term: all its columns are 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from models.export.columns import Column, Definition, ExportError, emit, raw_columns
from models.export.examples import matrix
from models.export.model import Clusters, ModelFile, build, clusters_of, times
from models.export.scorers import Fitted, logistic, multinomial
from models.export.steps import product
from models.problems import Problem
from models.timestamps import format_ms
from models.training.columns import parse_raw

INTERCEPTS = ("(Intercept)", "Intercept", "const")
_LOG1P = re.compile(r"(?:np\.|numpy\.)?log1p\((.+)\)")
_SQUARE = re.compile(r"I\((.+?)\s*(?:\^|\*\*)\s*2\)")
_LEVEL = re.compile(r"(?:C\()?(.+?)\)?\[T\.(.+)\]")


def columns_of(
    terms: Sequence[str],
    predictors: Sequence[Mapping[str, Any]],
    levels: Mapping[str, Sequence[str]],
    problems: list[str],
) -> list[Column]:
    """Return the column of each term; what a term isn't is noted.

    Args:
        levels: factor → its levels, the base first, as R's xlevels; of patsy's terms they are read from the terms.
    """
    raw = {column.definition.hint: column.definition for column in raw_columns(predictors) if column.definition}
    known = {name: list(found) for name, found in levels.items()}
    for term in terms:
        if match := _LEVEL.fullmatch(term):
            known.setdefault(match[1], [""]).append(match[2])
    columns = []
    for term in terms:
        column = _column(term, raw, known)
        if column is None:
            problems.append(
                f"{term}: isn't a term that can be represented. Use: a predictor's name, log1p(name), I(name^2), a:b "
                f"of these, or a level of a factor; predictors are {', '.join(raw)}"
            )
        else:
            columns.append(column)
    return columns


def _column(term: str, raw: Mapping[str, Definition], levels: Mapping[str, Sequence[str]]) -> Column | None:
    if number := _number(term, raw):
        return Column(number)
    if ":" in term:
        factors = [_number(factor, raw) for factor in term.split(":")]
        if len(factors) == 2 and factors[0] and factors[1]:
            return Column(product([factors[0], factors[1]]))
    for factor, its_levels in levels.items():
        for level in its_levels[1:]:
            if term in (f"{factor}{level}", f"C({factor})[T.{level}]", f"{factor}[T.{level}]") and factor in raw:
                definition = raw[factor]
                if definition.is_text:
                    return Column(replace(definition.then({"one_hot": list(its_levels[1:])}), is_text=False), level)
    return None


def _number(term: str, raw: Mapping[str, Definition]) -> Definition | None:
    """Return the definition of a term that is one number."""
    term = term.strip()
    if term in raw:
        return None if raw[term].is_text else raw[term]
    if (match := _LOG1P.fullmatch(term)) and (inner := _number(match[1], raw)):
        return inner.then("log1p")
    if (match := _SQUARE.fullmatch(term)) and (inner := _number(match[1], raw)):
        return product([inner, inner])
    return None


def from_r_glm(
    source: str | bytes | Mapping[str, Any],
    *,
    name: str,
    version: int,
    predictors: Sequence[Mapping[str, Any]],
    documents: Sequence[Mapping[str, Any]],
    probabilities: Sequence[float],
    at: str | int | Sequence[str | int],
    clusters: Clusters,
    thresholds: Sequence[float] = (0.5,),
    description: str = "",
) -> ModelFile:
    """Return R's `glm(…, family = binomial)` as a model file.

    Args:
        source: JSON, or its object, of `coefficients` (term → number) and `xlevels` (factor → levels), which R writes
            by the two lines in docs/export.md.
        documents, probabilities: examples, and what R's `predict(fit, newdata, type = "response")` says of them.
        Others: as for `from_estimator`.

    Raises:
        ExportError: as `from_estimator`.
    """
    found = orjson.loads(source) if isinstance(source, (str, bytes)) else source
    coefficients = found.get("coefficients") if isinstance(found, Mapping) else None
    if not isinstance(coefficients, Mapping) or not all(isinstance(c, (int, float)) for c in coefficients.values()):
        raise ExportError(
            ["coefficients: expected an object of term → number (NA: drop that term in R), found another"]
        )
    levels = found.get("xlevels") or {}
    levels = {factor: [one] if isinstance(one, str) else one for factor, one in levels.items()}
    return linear_by_name(
        {term: [float(value)] for term, value in coefficients.items()},
        levels, ["0", "1"], lambda frame: [[p] for p in probabilities],
        name=name, version=version, predictors=predictors, documents=documents, at=at, clusters=clusters,
        thresholds=thresholds, description=description,
    )  # fmt: skip


def linear_by_name(
    coefficients: Mapping[str, Sequence[float]],
    levels: Mapping[str, Sequence[str]],
    classes: list[Any],
    predict: Any,
    *,
    name: str,
    version: int,
    predictors: Sequence[Mapping[str, Any]],
    documents: Sequence[Mapping[str, Any]],
    at: str | int | Sequence[str | int],
    clusters: Clusters | None,
    thresholds: Sequence[float] | None,
    description: str,
) -> ModelFile:
    """Return a model file of coefficients by term: one number of each (binary), or one for each class but the first.

    Args:
        predict: DataFrame of the raw predictors → probabilities, (n, 1) of the second class or (n, n_classes).
    """
    found: list[Problem] = []
    parse_raw(predictors, found)
    problems = [str(problem) for problem in found]
    if not documents:
        problems.append("documents: expected some, found none. Use: a dozen members of each cluster, if you can")
    terms = [term for term in coefficients if term not in INTERCEPTS]
    columns = columns_of(terms, predictors, levels, problems)
    if problems:
        raise ExportError(problems)
    n_rows = len(next(iter(coefficients.values())))
    coef = [[float(coefficients[term][row]) for term in terms] for row in range(n_rows)]
    intercept = [sum(float(coefficients[t][row]) for t in coefficients if t in INTERCEPTS) for row in range(n_rows)]
    left = _fitted(coef, intercept, classes, thresholds, len(terms))
    definitions, inputs = emit(columns)
    listed = clusters_of(clusters, left, problems)
    if problems:
        raise ExportError(problems)
    at_ms = times(at, len(documents))
    probabilities = predict(matrix(predictors, documents, at_ms, [str(p.get("name")) for p in predictors]))
    ids = [cluster["id"] for cluster in listed]
    examples = [
        {"document": dict(document), "at": format_ms(time), **_outputs(row, left, ids)}
        for document, time, row in zip(documents, at_ms, probabilities, strict=True)
    ]
    return build(
        name=name, version=version, description=description, definitions=definitions,
        model={**left.model, "inputs": inputs}, clusters=listed, examples=examples,
    )  # fmt: skip


def _fitted(
    coef: list[list[float]], intercept: list[float], classes: list[Any], thresholds: Sequence[float] | None, n: int
) -> Fitted:
    import numpy as np

    kept = list(range(n))
    if len(coef) == 1:
        return logistic(kept, np.array(coef[0]), intercept[0], thresholds or [0.5], classes)
    return multinomial(kept, np.array([[0.0] * n, *coef]), np.array([0.0, *intercept]), classes)


def _outputs(row: Sequence[float], left: Fitted, ids: Sequence[int]) -> dict[str, Any]:
    """Return probability and cluster of an example."""
    if left.model["type"] == "logistic":
        probability = float(row[0])
        return {"probability": probability, "cluster": ids[sum(t < probability for t in left.model["thresholds"])]}
    values = list(map(float, row))
    return {"probability": values, "cluster": ids[values.index(max(values))]}
