"""Scores and explanations of one document, for people: what `model score` and `explain` print.

Law: contributions add up. Columns that come from the same origins (models/origins.py) are one part, whose contribution
is their sum: the categories of a one-hot, a number and its square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memberstream.models.coverage import Coverage, coverage, misfits
from memberstream.models.model import Cluster, Model
from memberstream.models.origins import Raw, origins, roots
from memberstream.models.plan import Plan
from memberstream.models.predictor import Combination, Predictor, Source, compile_combination
from memberstream.models.raw_words import combined_words, words
from memberstream.models.scorer import GaussianMixture, KMeans, Logistic, Multinomial, Scorer, Scores, Trees
from memberstream.models.timestamps import FOREVER
from memberstream.models.tree_paths import contributions as of_trees


@dataclass(frozen=True, slots=True)
class Part:
    """All columns that come from the same origins.

    Attributes:
        predictors: names of those whose columns they are. of: names of what these read, if that is more than one thing.
        value: the raw value; None: missing, or of several origins. words: as people say it; of several origins: the
            ratios and products that are computed of them.
        columns: names of the scorer's inputs.
        contribution: the sum of the columns' contributions.
    """

    predictors: tuple[str, ...]
    of: tuple[str, ...]
    value: Raw
    words: str
    columns: tuple[str, ...]
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a document is in its cluster at a time.

    Attributes:
        predictors: input column → value.
        contributions: input column → what it contributes; a positive number speaks for the cluster.
            Logistic: coef × x. Multinomial: the cluster's coef × x minus the runner-up's. k-means: the runner-up's
            squared distance minus the cluster's. Gaussian mixture: the log density of the column given the columns
            before it, the cluster's minus the runner-up's (chain rule, Bishop 2006, sections 1.2 and 2.3.1). With the
            weights' log ratio these add up to the difference in eta. If covariances are diagonal, the columns' order
            doesn't matter. Trees: Shapley values of the raw score (models.tree_paths), or of the cluster's raw score
            minus the runner-up's. With the baseline these add up to it.
        parts: the same, summed over the columns that come from the same origins.
        eta: logit-scale linear predictor. Multinomial: a list per cluster. Gaussian mixture: log(weight × density), a
            list per cluster. k-means: None.
        probability: of the positive class, or a list per cluster; None for k-means.
        distances: to each centroid, k-means only.
        raw: trees: the raw score, or a list per cluster. baseline: trees: what contributions begin with.
        next_cluster: the cluster that the member would get next; None if there is one cluster only.
        distance_to_next: what separates the two. Logistic: in eta, to the nearest threshold. Multinomial and Gaussian
            mixture: in eta. k-means: the difference of the two distances. Trees: in the raw score.
        valid_until_ms: until when nothing changes by itself; None: for ever.
        misfits: places that predictors read, at which something is there that doesn't fit.
    """

    model: str
    cluster: Cluster
    predictors: dict[str, float]
    contributions: dict[str, float]
    parts: tuple[Part, ...]
    eta: float | list[float] | None
    probability: float | list[float] | None
    distances: list[float] | None
    next_cluster: Cluster | None
    distance_to_next: float | None
    valid_until_ms: int | None
    misfits: tuple[Coverage, ...] = ()
    raw: float | list[float] | None = None
    baseline: float | None = None


def explain_one(model: Model, document: dict[str, Any], now_ms: int, *, against: int | None = None) -> Explanation:
    """Return the explanation of one document at `now_ms`.

    Args:
        against: id of the cluster to set the member's against, in contributions; None, or none that is: the runner-up.
    """
    plan = Plan([model])
    everything, until = plan.evaluate_many([document], [now_ms])
    x = everything.take(plan.inputs(model), axis=1)
    scores = model.scorer.score_many(x)
    here = int(scores.index[0])
    other, distance = _next(model, scores, here)
    rivals = [i for i, cluster in enumerate(model.clusters) if cluster.id == against and i != here]
    rival = rivals[0] if rivals else other
    found, baseline = _contributions(model, x[0], here, rival)
    contributions = dict(zip(model.inputs, found, strict=True))
    valid_until_ms = int(until.min(initial=FOREVER))
    return Explanation(
        model=model.label,
        cluster=model.clusters[here],
        predictors=dict(zip(model.inputs, x[0].tolist(), strict=True)),
        contributions=contributions,
        parts=_parts(model, contributions, document, now_ms, _values(plan, model, everything[0])),
        eta=None if scores.eta is None else scores.eta[0].tolist(),
        probability=None if scores.probability is None else scores.probability[0].tolist(),
        distances=None if scores.distances is None else scores.distances[0].tolist(),
        next_cluster=None if other is None else model.clusters[other],
        distance_to_next=distance,
        valid_until_ms=None if valid_until_ms == FOREVER else valid_until_ms,
        misfits=tuple(misfits(coverage(model.predictors, [document]))),
        raw=None if scores.raw is None else scores.raw[0].tolist(),
        baseline=baseline,
    )


def score_many(model: Model, documents: Sequence[dict[str, Any]], now_ms: int) -> list[dict[str, Any]]:
    """Return a JSON-ready row per document: member_id, predictors, eta and probability (or raw and probability, or
    distances), cluster."""
    plan = Plan([model])
    x, _ = plan.evaluate_many(documents, [now_ms] * len(documents))
    x = x.take(plan.inputs(model), axis=1)
    scores = model.scorer.score_many(x)
    rows: list[dict[str, Any]] = []
    for i, (document, values) in enumerate(zip(documents, x.tolist(), strict=True)):
        row = {"member_id": document.get("member_id"), "predictors": dict(zip(model.inputs, values, strict=True))}
        for name in ("eta", "raw", "probability", "distances"):
            if (of_all := getattr(scores, name)) is not None:
                row[name] = of_all[i].tolist()
        rows.append(row | {"cluster": model.clusters[int(scores.index[i])].id})
    return rows


def _next(model: Model, scores: Scores, here: int) -> tuple[int | None, float | None]:
    if len(model.clusters) == 1:
        return None, None
    scorer = model.scorer
    if isinstance(scorer, KMeans):
        assert scores.distances is not None  # noqa: S101 (k-means always has them; narrows the type)
        ranked = sorted((d, i) for i, d in enumerate(scores.distances[0].tolist()) if i != here)
        return ranked[0][1], ranked[0][0] - float(scores.distances[0, here])
    merit = scores.raw if isinstance(scorer, Trees) else scores.eta
    assert merit is not None  # noqa: S101 (all others have one of them)
    thresholds = _thresholds(scorer)
    if thresholds is not None:
        bounds = [(i, i + 1 if i >= here else i) for i in (here - 1, here) if 0 <= i < len(thresholds)]
        gap, other = min((abs(float(merit[0]) - thresholds[i]), other) for i, other in bounds)
        return other, gap
    ranked = sorted((-e, i) for i, e in enumerate(merit[0].tolist()) if i != here)
    return ranked[0][1], float(merit[0, here]) + ranked[0][0]


def _thresholds(scorer: Scorer) -> list[float] | None:
    """Return the thresholds of eta or of the raw score; None: clusters aren't bands."""
    if isinstance(scorer, Logistic):
        return [_logit(threshold) for threshold in scorer.thresholds.tolist()]
    if isinstance(scorer, Trees) and scorer.thresholds is not None:
        return list(map(float, scorer.thresholds))
    return None


def _contributions(model: Model, x: Any, here: int, other: int | None) -> tuple[list[float], float | None]:
    """Return what each column contributes, and the baseline of trees."""
    scorer = model.scorer
    if isinstance(scorer, Logistic):
        return (scorer.coef * x).tolist(), None
    if isinstance(scorer, Trees):
        found, baselines = of_trees(scorer.forest, x)
        if scorer.thresholds is not None:
            return found[:, 0].tolist(), float(baselines[0])
        if other is not None:
            return (found[:, here] - found[:, other]).tolist(), float(baselines[here] - baselines[other])
    if other is None:
        return [0.0] * len(x), None
    if isinstance(scorer, Multinomial):
        return ((scorer.coef[here] - scorer.coef[other]) * x).tolist(), None
    if isinstance(scorer, GaussianMixture):
        row = x[None, :]
        return (scorer.log_densities(row, here)[0] - scorer.log_densities(row, other)[0]).tolist(), None
    assert isinstance(scorer, KMeans)  # noqa: S101 (the others were above; narrows the type)
    return ((x - scorer.centroids[other]) ** 2 - (x - scorer.centroids[here]) ** 2).tolist(), None


def _values(plan: Plan, model: Model, row: Any) -> dict[str, float]:
    """Return column name → what a row of the plan holds of it, also of predictors that only others read."""
    return {column: float(row[place]) for column, place in plan.positions(model).items()}


def _parts(
    model: Model, contributions: dict[str, float], document: Any, now_ms: int, values: dict[str, float]
) -> tuple[Part, ...]:
    of, by_source = roots(model.predictors), {origin.source: origin for origin in origins(model.predictors)}
    found: dict[frozenset[Source], list[Predictor]] = {}
    for predictor in model.predictors:
        if not contributions.keys().isdisjoint(predictor.columns):
            found.setdefault(of[predictor.name], []).append(predictor)
    parts = []
    for sources, predictors in found.items():
        read = [origin for source, origin in by_source.items() if source in sources]
        columns = tuple(column for p in predictors for column in p.columns if column in contributions)
        if len(read) == 1:
            value = read[0].read(document, now_ms)
            said = words(read[0], value, "" if value is not None else read[0].unread(document), rounds=True)
        else:
            value, said = None, "; ".join(combined_words(p, _combined(p, values)) for p in predictors)
        parts.append(
            Part(
                tuple(predictor.name for predictor in predictors),
                tuple(origin.name for origin in read) if len(read) > 1 else (),
                value,
                said,
                columns,
                math.fsum(contributions[column] for column in columns),
            )
        )
    return tuple(parts)


def _combined(predictor: Predictor, values: dict[str, float]) -> float | None:
    """Return the value of a ratio or product before its transforms."""
    source = predictor.source
    assert isinstance(source, Combination)  # noqa: S101 (all that come from several origins are; narrows the type)
    a, b = (values[name] for name in source.operands)
    return compile_combination(source)([a], [b])[0]


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)
