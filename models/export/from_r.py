"""R: a `glm(…, family = binomial)`, as the JSON that the lines of R in docs/export.md write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from models.export.columns import ExportError
from models.export.file import Clusters, ModelFile, Request, Times, as_json, build
from models.export.raw import read
from models.export.terms import by_terms


def from_r_glm(
    source: str | bytes,
    *,
    name: str,
    version: int,
    predictors: Sequence[Mapping[str, Any]],
    documents: Sequence[Mapping[str, Any]],
    at: Times | None = None,
    clusters: Clusters | None = None,
    thresholds: Sequence[float] | None = None,
    description: str = "",
) -> ModelFile:
    """Return R's logistic regression as a model file.

    Args:
        source: the JSON that R wrote: `family`, `link`, `coefficients` (term → number), `xlevels` (factor → levels) and
            `probabilities`, what R's `predict` says of the documents, in their order. A number may be a text, which
            keeps all 17 digits.
        Others: as for `from_estimator`; predictors have the names that the variables have in R.

    Raises:
        ExportError: as `from_estimator`.
    """
    problems: list[str] = []
    found = _decoded(source)
    for key, expected in (("family", ("binomial", "quasibinomial")), ("link", ("logit",))):
        if found.get(key) not in expected:
            problems.append(
                f"{key}: expected {' or '.join(expected)}, found {found.get(key)}. Use: glm(…, family = binomial)"
            )
    coefficients = {
        term: [_number(value, f"coefficients.{term}", problems)]
        for term, value in _object(found, "coefficients", problems).items()
    }
    # R's JSON writes one level, and one probability, as itself rather than as a list of one
    levels = {key: _listed(value) for key, value in (found.get("xlevels") or {}).items()}
    stated = [
        _number(v, f"probabilities[{i}]", problems) for i, v in enumerate(_listed(found.get("probabilities", [])))
    ]
    if len(stated) != len(documents):
        problems.append(f"probabilities: expected one for each of the {len(documents)} documents, found {len(stated)}")
    predictors = as_json(list(predictors), "predictors", problems) or []
    raw = read(predictors, problems)
    left = (
        None if problems or raw is None else by_terms(coefficients, levels, raw.columns, [0, 1], thresholds, problems)
    )
    request = Request(name, version, predictors, documents, at, clusters, None, description)
    return build(request, raw, left, lambda documents, at_ms: (np.array(stated), None), problems)


def _decoded(source: str | bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(source)
    except ValueError as error:
        raise ExportError([f"source: expected the JSON that R wrote, found another: {error}"]) from None
    if not isinstance(found, dict):
        raise ExportError(["source: expected an object with coefficients and probabilities, found another"])
    return found


def _object(found: dict[str, Any], key: str, problems: list[str]) -> dict[str, Any]:
    if isinstance(value := found.get(key), dict):
        return value
    problems.append(f"{key}: expected an object of term → number, found another")
    return {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _number(value: Any, where: str, problems: list[str]) -> float:
    """Return a number that may be written as a text; R's NA is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        problems.append(f"{where}: expected a number, found {value}. Use: a model whose terms R could all estimate")
        return 0.0
