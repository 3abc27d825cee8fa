"""R: a `glm(…, family = binomial)`, as the JSON that the lines of R in docs/export.md write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from memberstream.models.export.bands import Asked, Thresholds
from memberstream.models.export.columns import ExportError
from memberstream.models.export.file import ModelFile, Request, Times, as_json, build
from memberstream.models.export.naming import Clusters
from memberstream.models.export.own import Own
from memberstream.models.export.proof import Subject
from memberstream.models.export.raw import read
from memberstream.models.export.terms import by_terms, named_in
from memberstream.models.scorer import ThresholdRule
from memberstream.models.training.given import listed
from memberstream.models.wording import counted


def from_r_glm(
    source: str | bytes,
    *,
    name: str,
    version: int,
    predictors: Sequence[Mapping[str, Any]],
    documents: Sequence[Mapping[str, Any]],
    x: Any = None,
    clusters_of: Any = None,
    at: Times | None = None,
    clusters: Clusters | None = None,
    thresholds: Thresholds | None = None,
    threshold_rule: ThresholdRule = ">=",
    allow: str | Sequence[str] = (),
    description: str = "",
) -> ModelFile:
    """Return R's logistic regression as a model file.

    What isn't listed here is as for `from_estimator`. Predictors have the names of R's variables.

    Args:
        source: the JSON that R wrote: `family`, `link`, `outcome` (the outcome's levels if it is a factor), then
            `coefficients` (term → number), `xlevels` (factor → levels) and `probabilities`. These are what R's
            `predict` says about the members, in the order of their documents: your own numbers. A number may be a text,
            which keeps all 17 digits.
        x: the members' predictors as R had them, a table by their names.

    Raises:
        ExportError: as `from_estimator`.
    """
    problems: list[str] = []
    found, documents = _decoded(source), listed(documents, "documents", problems)
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
        problems.append(
            f"probabilities: expected one for each of {counted(len(documents), 'document')}, found {len(stated)}"
        )
    predictors = as_json(listed(predictors, "predictors", problems), "predictors", problems) or []
    raw = read(predictors, problems)
    classes = _outcome(found, problems)
    left = None
    if raw and not problems:
        left = by_terms(coefficients, levels, raw.columns, classes, Asked(thresholds, threshold_rule), problems)
    own, allow = Own(x, stated or None, clusters_of), [allow] if isinstance(allow, str) else allow
    request = Request(name, version, predictors, documents, own, at, clusters, None, allow, description)
    subject = None
    if raw and left:
        p = np.array(stated)
        used = named_in([*coefficients, *levels], raw)
        subject = Subject(raw, used, lambda _: (1.0 - p if left.is_turned else p, None), left, is_here=False)
    return build(request, subject, raw, problems)


def _outcome(found: dict[str, Any], problems: list[str]) -> list[Any]:
    """Return the two outcomes. R gives the probability of a factor's second level, whatever it is called."""
    if "outcome" not in found:
        problems.append(
            "outcome: expected the levels of the outcome, which say whose probability it is, found none. Use: the "
            "lines of R in docs/export.md"
        )
    levels = _listed(found.get("outcome") or [])
    if len(levels) not in (0, 2):
        problems.append(f"outcome: expected two levels, found {len(levels)}. Use: a factor of two levels")
    return levels if len(levels) == 2 else [0, 1]


def _decoded(source: str | bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(source)
    except ValueError as error:
        raise ExportError([f"source: expected the JSON that R wrote, found something else: {error}"]) from None
    if not isinstance(found, dict):
        raise ExportError(["source: expected an object with coefficients and probabilities, found another value"])
    return found


def _object(found: dict[str, Any], key: str, problems: list[str]) -> dict[str, Any]:
    if isinstance(value := found.get(key), dict):
        return value
    problems.append(f"{key}: expected an object of term → number, found another value")
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
