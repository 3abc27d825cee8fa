"""Scores and explanations of one document, for people: what `model score` and `explain` print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.model import Cluster, Model
from models.plan import Plan
from models.scorer import GaussianMixture, KMeans, Logistic, Multinomial, Scores
from models.timestamps import FOREVER


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a document is in its cluster at a time.

    Attributes:
        predictors: input column → value.
        contributions: input column → coef × x, for logistic; for multinomial the cluster's minus the runner-up's; for
            k-means the runner-up's squared distance minus the cluster's; for a Gaussian mixture the cluster's minus the
            runner-up's log density of the column given the columns before it (chain rule, Bishop 2006, sections 1.2
            and 2.3.1): with the weights' log ratio they add up to the difference in eta, and where covariances are
            diagonal the order doesn't matter. Positive: speaks for the cluster.
        eta: logit-scale linear predictor; a list per cluster for multinomial and, log(weight × density), for a Gaussian
            mixture; None for k-means.
        probability: of the positive class, or a list per cluster; None for k-means.
        distances: to each centroid, k-means only.
        next_cluster: the cluster nearest to being given instead; None where there is one cluster only.
        distance_to_next: what separates the two: logistic, in eta, to the nearest threshold; multinomial and Gaussian
            mixture, in eta; k-means, difference of the two distances.
        valid_until_ms: until when nothing changes by itself; None: for ever.
    """

    model: str
    cluster: Cluster
    predictors: dict[str, float]
    contributions: dict[str, float]
    eta: float | list[float] | None
    probability: float | list[float] | None
    distances: list[float] | None
    next_cluster: Cluster | None
    distance_to_next: float | None
    valid_until_ms: int | None


def explain_one(model: Model, document: dict[str, Any], now_ms: int) -> Explanation:
    """Return the explanation of one document at `now_ms`."""
    plan = Plan([model])
    x, until = plan.evaluate_many([document], [now_ms])
    x = x.take(plan.inputs(model), axis=1)
    scores = model.scorer.score_many(x)
    here = int(scores.index[0])
    other, distance = _next(model, scores, here)
    contributions = _contributions(model, x[0], here, other)
    valid_until_ms = int(until.min(initial=FOREVER))
    return Explanation(
        model=model.label,
        cluster=model.clusters[here],
        predictors=dict(zip(model.inputs, x[0].tolist(), strict=True)),
        contributions=dict(zip(model.inputs, contributions, strict=True)),
        eta=None if scores.eta is None else scores.eta[0].tolist(),
        probability=None if scores.probability is None else scores.probability[0].tolist(),
        distances=None if scores.distances is None else scores.distances[0].tolist(),
        next_cluster=None if other is None else model.clusters[other],
        distance_to_next=distance,
        valid_until_ms=None if valid_until_ms == FOREVER else valid_until_ms,
    )


def score_many(model: Model, documents: Sequence[dict[str, Any]], now_ms: int) -> list[dict[str, Any]]:
    """Return a JSON-ready row per document: member_id, predictors, eta and probability (or distances), cluster."""
    plan = Plan([model])
    x, _ = plan.evaluate_many(documents, [now_ms] * len(documents))
    x = x.take(plan.inputs(model), axis=1)
    scores = model.scorer.score_many(x)
    rows: list[dict[str, Any]] = []
    for i, (document, values) in enumerate(zip(documents, x.tolist(), strict=True)):
        row = {"member_id": document.get("member_id"), "predictors": dict(zip(model.inputs, values, strict=True))}
        if scores.eta is not None and scores.probability is not None:
            row |= {"eta": scores.eta[i].tolist(), "probability": scores.probability[i].tolist()}
        if scores.distances is not None:
            row |= {"distances": scores.distances[i].tolist()}
        rows.append(row | {"cluster": model.clusters[int(scores.index[i])].id})
    return rows


def _next(model: Model, scores: Scores, here: int) -> tuple[int | None, float | None]:
    if len(model.clusters) == 1:
        return None, None
    scorer = model.scorer
    if isinstance(scorer, Logistic):
        assert scores.eta is not None  # noqa: S101 (a logistic always has it; narrows the type)
        eta = float(scores.eta[0])
        bounds = [(i, i + 1 if i >= here else i) for i in (here - 1, here) if 0 <= i < len(scorer.thresholds)]
        gaps = [(abs(eta - _logit(float(scorer.thresholds[i]))), other) for i, other in bounds]
        gap, other = min(gaps)
        return other, gap
    if isinstance(scorer, KMeans):
        assert scores.distances is not None  # noqa: S101
        ranked = sorted((d, i) for i, d in enumerate(scores.distances[0].tolist()) if i != here)
        return ranked[0][1], ranked[0][0] - float(scores.distances[0, here])
    assert scores.eta is not None  # noqa: S101
    ranked = sorted((-e, i) for i, e in enumerate(scores.eta[0].tolist()) if i != here)
    return ranked[0][1], float(scores.eta[0, here]) + ranked[0][0]


def _contributions(model: Model, x: Any, here: int, other: int | None) -> list[float]:
    scorer = model.scorer
    if isinstance(scorer, Logistic):
        return (scorer.coef * x).tolist()  # type: ignore[no-any-return]
    if other is None:
        return [0.0] * len(x)
    if isinstance(scorer, Multinomial):
        return ((scorer.coef[here] - scorer.coef[other]) * x).tolist()  # type: ignore[no-any-return]
    if isinstance(scorer, GaussianMixture):
        row = x[None, :]
        return (scorer.log_densities(row, here)[0] - scorer.log_densities(row, other)[0]).tolist()  # type: ignore[no-any-return]
    return ((x - scorer.centroids[other]) ** 2 - (x - scorer.centroids[here]) ** 2).tolist()  # type: ignore[no-any-return]


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)
