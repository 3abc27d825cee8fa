"""Linear models that are known by the names of their coefficients: R's, and statsmodels' with or without formulas.

A term is the name of a predictor, `log1p(name)`, `I(name^2)`, a product `a:b` of two of these, or a level of a factor.
R writes a level `countryde` or `factor(tier)2`, patsy `C(country)[T.de]`. A factor's base level has no term: all its
columns are 0, and so they are for a level that training has not seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from models.export.columns import Column, Definition, product
from models.export.scorers import Fitted, linear, logistic, multinomial

INTERCEPTS = ("(Intercept)", "Intercept", "const")
_LOG1P = re.compile(r"(?:np\.|numpy\.)?log1p\((.+)\)")
_SQUARE = re.compile(r"I\((.+?)\s*(?:\^|\*\*)\s*2\)")
_PATSY_LEVEL = re.compile(r"(?:C\()?([\w.-]+)(?:, Treatment.*)?\)?\[(?:T\.)?(.+)\]")
_R_FACTOR = re.compile(r"(?:as\.)?factor\((.+)\)")


def by_terms(
    coefficients: Mapping[str, Sequence[float]],
    levels: Mapping[str, Sequence[str]],
    columns: Mapping[str, Column],
    classes: list[Any],
    thresholds: Sequence[float] | None,
    problems: list[str],
) -> Fitted | None:
    """Return what is left of a logistic model; None, and every problem noted, if a term can't be represented.

    Args:
        coefficients: term → one number (binary), or one for each class but the first.
        levels: factor → its levels, R's xlevels; patsy's terms name factor and level themselves.
        columns: the predictors' columns by name.
    """
    predictors = {
        name: column.definition for name, column in columns.items() if column.definition and not column.category
    }
    terms = [term for term in coefficients if term not in INTERCEPTS]
    encoded = _levels(terms, levels, predictors)
    found: list[Column] = []
    for term in terms:
        number = _number(term, predictors) or _interaction(term, predictors)
        column = columns.get(term) or encoded.get(term) or (Column(number) if number else None)
        if column is None or column.definition is None or column.definition.is_text:
            problems.append(
                f"{term}: isn't a term that can be represented. Use: a predictor's name, log1p(name), I(name^2), a:b "
                f"of these, or a level of a factor; predictors are {', '.join(columns)}"
            )
        else:
            found.append(column)
    if problems:
        return None
    n_rows = max(map(len, coefficients.values()), default=1)
    coef = [[float(coefficients[term][row]) for term in terms] for row in range(n_rows)]
    intercept = [sum(float(coefficients[t][row]) for t in coefficients if t in INTERCEPTS) for row in range(n_rows)]
    if n_rows == 1:
        kept, weights, constant = linear(found, coef, intercept)
        return logistic(kept, weights[0], constant[0], thresholds, classes)
    # the first class has no coefficients: its eta is 0
    return multinomial(*linear(found, [[0.0] * len(terms), *coef], [0.0, *intercept]), classes)


def _levels(
    terms: Sequence[str], levels: Mapping[str, Sequence[str]], predictors: Mapping[str, Definition]
) -> dict[str, Column]:
    """Return the column of each term that is a level of a factor; the levels of one factor share a predictor."""
    found: dict[str, tuple[str, Any]] = {}
    for term in terms:
        for factor, its_levels in levels.items():
            if term.startswith(factor) and term[len(factor) :] in its_levels:
                inner = _R_FACTOR.fullmatch(factor)
                found[term] = (inner[1] if inner else factor, term[len(factor) :])
        if (match := _PATSY_LEVEL.fullmatch(term)) and match[1] in predictors:
            found[term] = (match[1], match[2])
    columns = {}
    for term, (name, level) in found.items():
        if (definition := predictors.get(name)) is None:
            continue
        of_factor = [_category(other, definition) for other_name, other in found.values() if other_name == name]
        if None not in of_factor:
            encoded = replace(definition.then({"one_hot": of_factor}), is_text=False)
            columns[term] = Column(encoded, _category(level, definition))
    return columns


def _category(level: str, definition: Definition) -> str | float | None:
    """Return a level as the predictor has it: a text or a number."""
    if definition.is_text:
        return level
    try:
        return float(level)
    except ValueError:
        return None


def _interaction(term: str, predictors: Mapping[str, Definition]) -> Definition | None:
    factors = [_number(factor, predictors) for factor in term.split(":")]
    match factors:
        case [Definition() as a, Definition() as b]:
            return product(a, b)
    return None


def _number(term: str, predictors: Mapping[str, Definition]) -> Definition | None:
    """Return the definition of a term that is one number made of one predictor."""
    term = term.strip()
    if term in predictors:
        return None if predictors[term].is_text else predictors[term]
    if (match := _LOG1P.fullmatch(term)) and (inner := _number(match[1], predictors)):
        return inner.then("log1p")
    if (match := _SQUARE.fullmatch(term)) and (inner := _number(match[1], predictors)):
        return product(inner, inner)
    return None
