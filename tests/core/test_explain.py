"""Explanations and offline scores of one document: what people read must add up to what the worker computes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from core import worlds
from core.files import GOOD, changed
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.explain import explain_one, score_many
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.scorer import GaussianMixture, Trees

NOW = worlds.BASE_MS


def three_bands() -> Model:
    """Return a logistic of one plain predictor with thresholds 0.3 and 0.7."""
    plain = [{"name": "v", "path": "v", "missing": 0}]
    return parse(changed({"predictors": plain, "model.coef": [2], "model.intercept": 0, "examples": []}))


@pytest.mark.parametrize(("v", "cluster", "following"), [(-2, 1, 2), (-0.3, 2, 1), (0.3, 2, 3), (2, 3, 2)])
def test_logistic_names_the_nearest_threshold(v: float, cluster: int, following: int) -> None:
    """The next cluster lies across the nearest threshold, and moving eta that far arrives there."""
    model = three_bands()
    told = explain_one(model, {"v": v}, NOW)
    assert told.next_cluster is not None
    assert told.distance_to_next is not None
    assert (told.cluster.id, told.next_cluster.id) == (cluster, following)
    assert told.predictors == {"v": v}
    assert told.contributions == {"v": 2 * v}
    step = math.copysign((told.distance_to_next + 1e-9) / 2, following - cluster)
    assert explain_one(model, {"v": v + step}, NOW).cluster.id == following
    assert told.valid_until_ms is None
    assert told.distances is None


@given(worlds.models(), worlds.documents)
def test_explanations_agree_with_scores(model: Model, document: dict[str, Any]) -> None:
    """Cluster, eta, probability and distances are those of score_many; contributions sum to what separates two."""
    told = explain_one(model, document, NOW)
    (row,) = score_many(model, [document], NOW)
    assert row["cluster"] == told.cluster.id
    assert row["predictors"] == told.predictors
    assert [row.get(name) for name in ("eta", "raw", "probability", "distances")] == [
        told.eta,
        told.raw,
        told.probability,
        told.distances,
    ]
    orjson.dumps(row, option=orjson.OPT_NON_STR_KEYS)
    total = math.fsum(told.contributions.values())
    if len(model.clusters) == 1:
        assert (told.next_cluster, told.distance_to_next) == (None, None)
        return
    assert told.next_cluster is not None
    assert told.distance_to_next is not None
    assert told.next_cluster != told.cluster
    assert told.distance_to_next >= 0
    here, there = model.clusters.index(told.cluster), model.clusters.index(told.next_cluster)
    scale = max(1.0, *(abs(v) for v in told.contributions.values()))
    if model.scorer.type == "logistic":
        assert isinstance(told.eta, float)
        assert total + model.scorer.intercept == pytest.approx(told.eta, rel=1e-9, abs=1e-9 * scale)  # type: ignore[union-attr]
    elif model.scorer.type == "multinomial":
        assert isinstance(told.eta, list)
        assert told.distance_to_next == told.eta[here] - told.eta[there]
    elif isinstance(model.scorer, GaussianMixture):
        assert isinstance(told.eta, list)
        assert told.distance_to_next == told.eta[here] - told.eta[there]
        weights = math.log(model.scorer.weights[here] / model.scorer.weights[there])
        scale = max(scale, abs(told.eta[here]))
        assert total + weights == pytest.approx(told.distance_to_next, rel=1e-9, abs=1e-9 * scale)
    elif isinstance(model.scorer, Trees):
        assert told.baseline is not None
        raw = told.raw if isinstance(told.raw, float) else told.raw[here] - told.raw[there]  # type: ignore[index]
        is_single = model.definition["model"].get("sum_precision") == "single"
        assert total + told.baseline == pytest.approx(raw, rel=1e-12, abs=1e-4 if is_single else 1e-12 * scale)
        if model.scorer.thresholds is None:
            assert told.distance_to_next == raw
    else:
        assert told.distances is not None
        assert told.distance_to_next == told.distances[there] - told.distances[here]
        squares = told.distances[there] ** 2 - told.distances[here] ** 2
        largest = max(1.0, float(np.square(told.distances).max()))
        assert total == pytest.approx(squares, rel=1e-9, abs=1e-9 * largest)


def test_one_cluster_has_no_next() -> None:
    """With a single cluster nothing separates it from another, whatever the type."""
    one = {"clusters": [{"id": 4, "name": "all"}], "examples": []}
    for model in (
        {"type": "logistic", "coef": [1, 2, 3], "intercept": 0, "thresholds": []},
        {"type": "multinomial", "coef": [[1, 2, 3]], "intercept": [0]},
        {"type": "kmeans", "centroids": [[1, 2, 3]]},
        {"type": "gaussian_mixture", "weights": [1], "means": [[1, 2, 3]]}
        | {"covariance_type": "spherical", "precisions_cholesky": [1]},
    ):
        told = explain_one(parse(changed(one | {"model": model})), {"apps": {"opens": 1}}, NOW)
        assert (told.cluster.id, told.next_cluster, told.distance_to_next) == (4, None, None)


def test_what_separates_two_centroids() -> None:
    """k-means: each column's share of the squared distances' difference, and how much nearer the given one is."""
    two: dict[str, Any] = {"clusters": [{"id": 0, "name": "near"}, {"id": 1, "name": "far"}], "examples": []}
    two["model"] = {"type": "kmeans", "centroids": [[0, 0, 0], [1e4, 1e4, 1e4]]}
    told = explain_one(parse(changed(two)), {"apps": {"opens": 1}}, NOW)
    assert (told.cluster.id, told.next_cluster and told.next_cluster.id) == (0, 1)
    assert told.distances is not None
    assert told.distance_to_next == told.distances[1] - told.distances[0]
    assert sum(told.contributions.values()) == pytest.approx(told.distances[1] ** 2 - told.distances[0] ** 2)


def test_moving_predictors_bound_an_explanation() -> None:
    """An explanation says until when it holds."""
    told = explain_one(parse(GOOD["days since, count and where"]), {"joined": "2025-12-31"}, NOW)
    assert told.valid_until_ms == NOW + 86_400_000


@given(st.lists(worlds.documents, max_size=5))
def test_offline_scores_come_in_order(documents: list[dict[str, Any]]) -> None:
    """score_many gives a row per document, with its member_id, in the given order."""
    numbered = [d | {"member_id": i} for i, d in enumerate(documents)]
    rows = score_many(three_bands(), numbered, NOW)
    assert [row["member_id"] for row in rows] == list(range(len(documents)))


def test_what_separates_two_classes() -> None:
    """Of a multinomial model each predictor contributes by the difference of the two classes' coefficients."""
    definition = {
        "format": 1,
        "name": "three",
        "version": 1,
        "predictors": [{"name": "v", "path": "v", "missing": 0}],
        "model": {"type": "multinomial", "coef": [[0.0], [1.0], [3.0]], "intercept": [0.0, 0.0, 0.0]},
        "clusters": [{"id": i, "name": str(i)} for i in range(3)],
    }
    told = explain_one(parse(definition), {"v": 2.0}, NOW)
    assert told.next_cluster is not None
    assert (told.cluster.id, told.next_cluster.id, told.contributions) == (2, 1, {"v": 4.0})


def test_columns_of_one_origin_are_one_part() -> None:
    """The categories of a one-hot are summed up, and so is a square; a product of two stands by itself. A predictor
    that only others read has no part of its own."""
    predictors = [
        {"name": "c", "path": "c", "transforms": [{"one_hot": ["x", "y"]}]},
        {"name": "v", "path": "v", "missing": 0},
        {"name": "vv", "product": ["v", "v"]},
        {"name": "w", "path": "w", "missing": 2},
        {"name": "vw", "product": ["v", "w"]},
    ]
    inputs = {"inputs": ["vv", "c=x", "c=y", "vw", "v"], "coef": [1, 0.25, 0.5, 2, -1], "intercept": 0}
    two = [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]
    scorer = {"type": "logistic", "thresholds": [0.5]} | inputs
    model = parse(changed({"predictors": predictors, "model": scorer, "clusters": two, "examples": []}))
    told = explain_one(model, {"c": "y", "v": 3}, NOW)
    assert [(p.predictors, p.of, p.value, p.words, p.columns, p.contribution) for p in told.parts] == [
        (("c",), (), "y", "y", ("c=x", "c=y"), 0.5),
        (("v", "vv"), (), 3.0, "3", ("v", "vv"), 6.0),
        (("vw",), ("v", "w"), None, "6 (v × w)", ("vw",), 12.0),
    ]


def test_what_separates_it_from_a_cluster_that_is_asked_for() -> None:
    """Contributions are set against the cluster that is named; the member's own, or none of the model's, changes
    nothing."""
    two = {"name": "three", "predictors": [{"name": "v", "path": "v", "missing": 0}], "examples": []}
    scorer = {"type": "multinomial", "coef": [[0.0], [1.0], [3.0]], "intercept": [0.0, 0.0, 0.0]}
    model = parse(changed(two | {"model": scorer}))
    told = {a: explain_one(model, {"v": 2.0}, NOW, against=a).contributions["v"] for a in (None, 1, 2, 3, 9)}
    assert told == {None: 4.0, 1: 6.0, 2: 4.0, 3: 4.0, 9: 4.0}
