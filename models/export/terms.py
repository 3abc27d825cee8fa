"""Linear models whose coefficients have names: R's, and those of statsmodels with or without formulas.

A term is the name of a predictor (patsy's `Q("name")`, too), `log1p(name)`, `log(name)`, `sqrt(name)`, `I(name^2)`, a
product `a:b` of two of these, or a level of a factor. R writes a level as `countryde`, `factor(tier)2` or `activeTRUE`,
patsy as `C(country)[T.de]` or `active[T.True]`. A factor's base level has no term: all columns of the factor are 0.
They are 0, too, for a level that training hasn't seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from memberstream.models.export.bands import Asked
from memberstream.models.export.columns import Column, Definition, product
from memberstream.models.export.own import Inputs
from memberstream.models.export.raw import Raw
from memberstream.models.export.scorers import Fitted, linear, logistic, multinomial

INTERCEPTS = ("(Intercept)", "Intercept", "const")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_FUNCTION = re.compile(r"(?:np\.|numpy\.)?(log1p|log|sqrt)\((.+)\)")
_QUOTED = re.compile(r"""Q\((["'])(.+?)\1\)""")
_SQUARE = re.compile(r"I\((.+?)\s*(?:\^|\*\*)\s*2\)")
_PATSY_LEVEL = re.compile(r"(?:C\()?([\w.-]+)(?:, Treatment.*)?\)?\[(?:T\.)?(.+)\]")
_R_FACTOR = re.compile(r"(?:as\.)?factor\((.+)\)")


def by_terms(
    coefficients: Mapping[str, Sequence[float]],
    levels: Mapping[str, Sequence[str]],
    columns: Mapping[str, Column],
    classes: list[Any],
    asked: Asked,
    problems: list[str],
) -> Fitted | None:
    """Return a logistic model as a scorer. If a term can't be represented: None, and every problem is noted.

    Args:
        coefficients: term → one number (binary), or one for each class but the first.
        levels: factor → its levels, R's xlevels; patsy's terms name factor and level themselves.
        columns: the predictors' columns by name.
    """
    predictors = {
        name: column.definition for name, column in columns.items() if column.definition and not column.category
    }
    coefficients = {_QUOTED.sub(r"\2", term): numbers for term, numbers in coefficients.items()}
    terms = [term for term in coefficients if term not in INTERCEPTS]
    encoded, unread = _levels(terms, levels, predictors)
    problems += [
        f'{name}: its levels are texts. Use: "type": "text" in its predictor' for name in dict.fromkeys(unread.values())
    ]
    found: list[Column] = []
    for term in terms:
        if term in unread:
            continue
        number = _number(term, predictors) or _interaction(term, predictors)
        column = columns.get(term) or encoded.get(term) or (Column(number) if number else None)
        if column is None or column.definition is None or column.definition.is_text:
            problems.append(
                f"{term}: isn't a term that can be represented. Use: a predictor's name, log1p, log or sqrt of it, "
                f"I(name^2), a:b of these, or a level of a factor; predictors are {', '.join(columns)}"
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
        return logistic(kept, weights[0], constant[0], classes, asked, problems)
    # the first class has no coefficients: its eta is 0
    return multinomial(*linear(found, [[0.0] * len(terms), *coef], [0.0, *intercept]), classes)


def _levels(
    terms: Sequence[str], levels: Mapping[str, Sequence[str]], predictors: Mapping[str, Definition]
) -> tuple[dict[str, Column], dict[str, str]]:
    """Return the column of each term that is a level of a factor, and the factor of each level that its predictor
    can't have. The levels of one factor share a predictor."""
    found: dict[str, tuple[str, Any]] = {}
    for term in terms:
        for factor, its_levels in levels.items():
            if term.startswith(factor) and term[len(factor) :] in its_levels:
                inner = _R_FACTOR.fullmatch(factor)
                found[term] = (inner[1] if inner else factor, term[len(factor) :])
        if term.endswith("TRUE") and term.removesuffix("TRUE") in predictors:
            found[term] = (term.removesuffix("TRUE"), "TRUE")
        if (match := _PATSY_LEVEL.fullmatch(term)) and match[1] in predictors:
            found[term] = (match[1], match[2])
    columns, unread = {}, {}
    for term, (name, level) in found.items():
        if (definition := predictors.get(name)) is None:
            continue
        of_factor = [_category(other, definition) for other_name, other in found.values() if other_name == name]
        if None not in of_factor:
            encoded = replace(definition.then({"one_hot": of_factor}), is_text=False)
            columns[term] = Column(encoded, _category(level, definition))
        else:
            unread[term] = name
    return columns, unread


def _category(level: str, definition: Definition) -> str | float | None:
    """Return a level as it stands in the predictor: a text or a number."""
    if definition.is_text:
        return level
    if level.lower() in ("true", "false"):
        return float(level.lower() == "true")
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
    """Return the definition of a term that is a number computed from one predictor."""
    term = term.strip()
    if term in predictors:
        return None if predictors[term].is_text else predictors[term]
    if (match := _FUNCTION.fullmatch(term)) and (inner := _number(match[2], predictors)):
        return inner.then(match[1])
    if (match := _SQUARE.fullmatch(term)) and (inner := _number(match[1], predictors)):
        return product(inner, inner)
    return None


def named_in(terms: Iterable[str], raw: Raw) -> Inputs:
    """Return the predictors that occur in terms, as the columns of a table: a formula knows them by their names."""
    words = {word for term in terms for word in _WORD.findall(term)}
    words |= {word.removesuffix("TRUE") for word in words}  # R's logicals
    columns: list[str | None] = [name for name in raw.columns if name in words]
    return Inputs(columns, [str(name) for name in columns], are_named_only=True)
