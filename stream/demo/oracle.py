"""The oracle: the demo models' clusters from scratch, by a second implementation.

Laws:
- Nothing of `models/` is used. The predictors are written out by hand below, from the purchases alone. Only numbers
  (means, standard deviations, coefficients, thresholds, centroids, trees, ids) are read from the model files.
- A purchase counts from its own time on: what lies after the as-of time isn't there.
- Sums are math.fsum's, so a sum is the same to the last bit whoever computes it. What is computed from a sum may differ
  from the core in the last bits. tests/demo/test_fitting.py looks whether a member lies so close to a threshold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import fsum, log1p
from typing import Any

import numpy as np
import numpy.typing as npt

from memberstream.stream.demo.history import Customer

MODELS = ("repeat_buyer", "buying_style")
BOOSTED = "repeat_boosted"  # repeat_buyer's question, answered by boosted trees; the demo has it if it is asked to
PREDICTORS = (
    "recency",
    "frequency",
    "spend",
    "units_per_purchase",
    "days_bought_90d",
    "days_bought_180d",
    "tenure",
    "idle_share",
    "price_per_cd",
    # As they are, for trees.
    "recency_days",
    "days_bought",
    "spend_sum",
    "mean_units",
    "bought_90d",
    "bought_180d",
    "tenure_days",
)
_DAY_MS = 86_400_000
_NEVER_BOUGHT_DAYS = 730
_LEAST_TENURE_DAYS = 30

Floats = npt.NDArray[np.float64]


def recompute_all(
    histories: Mapping[str, Customer], as_of: Mapping[str, int], models: Sequence[str] = MODELS
) -> dict[str, dict[str, int]]:
    """Return member → model → cluster for every member in `as_of`, each at its own time (ms).

    Raises:
        KeyError: a member without a history.
    """
    x = predictors((histories[member_id], at_ms) for member_id, at_ms in as_of.items())
    columns = [clusters(model, x).tolist() for model in models]
    return {
        member_id: dict(zip(models, of_member, strict=True))
        for member_id, of_member in zip(as_of, zip(*columns, strict=True), strict=True)
    }


def predictors(members: Iterable[tuple[Customer, int]]) -> Floats:
    """Return the predictors, before scaling, of (history, as-of ms) pairs: (n, 16), columns as in PREDICTORS."""
    rows = [_row(history.purchases, history.joined_ms, at_ms) for history, at_ms in members]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(PREDICTORS))


def _row(purchases: Sequence[tuple[int, int, float]], joined_ms: int, at_ms: int) -> tuple[float, ...]:
    so_far = [purchase for purchase in purchases if purchase[0] <= at_ms]
    times = {time for time, _, _ in so_far}  # purchases are dated by the day: distinct times are distinct days
    units = fsum(purchase[1] for purchase in so_far)
    spend = fsum(purchase[2] for purchase in so_far)
    today = at_ms // _DAY_MS
    recency_days = today - max(times) // _DAY_MS if times else _NEVER_BOUGHT_DAYS
    tenure_days = today - joined_ms // _DAY_MS if joined_ms <= at_ms else 0
    mean_units = units / len(so_far) if so_far else 0.0
    in_90d = sum(time > at_ms - 90 * _DAY_MS for time in times)
    in_180d = sum(time > at_ms - 180 * _DAY_MS for time in times)
    return (
        log1p(recency_days),
        log1p(len(times)),
        log1p(spend),
        log1p(mean_units),
        log1p(in_90d),
        log1p(in_180d),
        log1p(max(tenure_days, _LEAST_TENURE_DAYS)),
        recency_days / tenure_days if tenure_days else 1.0,
        log1p(spend / units) if units else 0.0,
        recency_days,
        len(times),
        spend,
        mean_units,
        in_90d,
        in_180d,
        tenure_days,
    )


def clusters(model: str, x: Floats) -> npt.NDArray[np.int64]:
    """Return the cluster ids (n,) that a model gives for predictors (n, 16) before scaling."""
    definition = _definition(model)
    scale = {p["name"]: p["transforms"][-1]["scale"] for p in definition["predictors"] if p.get("transforms")}
    parameters = definition["model"]
    names = parameters["inputs"]
    unscaled = {"mean": 0.0, "sd": 1.0}
    means, sds = np.array([[scale.get(name, unscaled)[key] for name in names] for key in ("mean", "sd")])
    z = (x[:, [PREDICTORS.index(name) for name in names]] - means) / sds
    ids = np.array([cluster["id"] for cluster in definition["clusters"]])
    if parameters["type"] == "trees":
        band = (_raw_scores(parameters, z)[:, None] >= np.array(parameters["thresholds"])).sum(axis=1)
    elif parameters["type"] == "logistic":
        eta = z @ np.array(parameters["coef"]) + parameters["intercept"]
        probability = np.exp(-np.logaddexp(0.0, -eta))  # 1 / (1 + exp(-eta)) without overflow
        band = (probability[:, None] > np.array(parameters["thresholds"])).sum(axis=1)
    else:
        band = ((z[:, None, :] - np.array(parameters["centroids"])) ** 2).sum(axis=2).argmin(axis=1)
    chosen: npt.NDArray[np.int64] = ids[band]
    return chosen


def _raw_scores(parameters: Mapping[str, Any], x: Floats) -> Floats:
    """Return the raw scores (n,) of boosted trees: the base, then a leaf of each tree in turn. Nodes are in preorder;
    rows go left up to and with the threshold."""
    raw = np.full(len(x), parameters["base"][0])
    for tree in parameters["trees"]:
        thresholds, leaves = iter(tree["thresholds"]), iter(tree["values"])
        found = np.empty(len(x))
        waiting = [np.arange(len(x))]  # the rows of each node that is still to come
        for column in tree["columns"]:
            rows = waiting.pop()
            if column < 0:
                found[rows] = next(leaves)
            else:
                is_left = x[rows, column] <= next(thresholds)
                waiting += [rows[~is_left], rows[is_left]]
        raw += found
    return raw


@cache
def _definition(model: str) -> dict[str, Any]:
    text = (files("memberstream.stream.demo") / "models" / f"{model}.json").read_text(encoding="utf-8")
    definition: dict[str, Any] = json.loads(text)
    return definition
