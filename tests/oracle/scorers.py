"""The cluster of a document under a model file: written from docs/model-file.md alone, in plain Python.

Two programs may differ in the last bit of a logarithm, so a document that lies on the border of two clusters, closer
than `BORDER`, has both: `clusters` returns every cluster that is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from oracle.predictors import columns

BORDER = 1e-9


def clusters(file: Mapping[str, Any], document: Any, now_ms: int) -> frozenset[int]:
    """Return the ids of the clusters that a document may be in at a time: one, or two on a border."""
    found = columns(file["predictors"], document, now_ms)
    scorer = file["model"]
    x = [found[name] for name in scorer.get("inputs", list(found))]
    ids = [cluster["id"] for cluster in file["clusters"]]
    if scorer["type"] == "logistic":
        p = probability(math.fsum(c * v for c, v in zip(scorer["coef"], x, strict=True)) + scorer["intercept"])
        places = {sum(t < p + shift for t in scorer["thresholds"]) for shift in (-BORDER, 0, BORDER)}
        return frozenset(ids[place] for place in places)
    if scorer["type"] == "trees":
        return _of_trees(scorer, x, ids)
    merits = _merits(scorer, x)
    best = max(merits)
    return frozenset(i for i, merit in zip(ids, merits, strict=True) if merit >= best - BORDER * max(1, abs(best)))


def _of_trees(scorer: Mapping[str, Any], x: Sequence[float], ids: Sequence[int]) -> frozenset[int]:
    """Bands of the raw score, or the largest of several. In double precision only."""
    n = 1 if "thresholds" in scorer else len(ids)
    raw = list(scorer.get("base", [0.0] * n))
    for tree in scorer["trees"]:
        leaf = _leaf(tree, x, scorer.get("missing", [None] * len(x)))
        for i, value in enumerate(leaf if isinstance(leaf, list) else [leaf]):
            raw[i if isinstance(leaf, list) else tree.get("output", 0)] += value
    raw = [r / scorer.get("divisor", 1) for r in raw]
    if "thresholds" not in scorer:
        return frozenset([ids[max(scorer.get("ties", range(n)), key=raw.__getitem__)]])
    is_above = scorer.get("threshold_rule", ">") == ">="
    return frozenset([ids[sum(raw[0] >= t if is_above else raw[0] > t for t in scorer["thresholds"])]])


def _leaf(tree: Mapping[str, Any], x: Sequence[float], missing: Sequence[float | None]) -> Any:
    """The value of the leaf that x falls into. Nodes in preorder: the right child stands behind all of the left one."""
    columns = tree["columns"]

    def behind(i: int) -> int:
        return i + 1 if columns[i] == -1 else behind(behind(i + 1))

    at = 0
    while columns[at] != -1:
        column, asked = columns[at], sum(c != -1 for c in columns[:at])
        is_missing = missing[column] is not None and x[column] == missing[column]
        left = tree["missing_left"][asked] if is_missing else x[column] <= tree["thresholds"][asked]
        at = at + 1 if left else behind(at + 1)
    return tree["values"][sum(c == -1 for c in columns[:at])]


def probability(eta: float) -> float:
    """1 / (1 + e^−η), for any η."""
    return 1 / (1 + math.exp(-eta)) if eta > -700 else 0.0


def _merits(scorer: Mapping[str, Any], x: Sequence[float]) -> list[float]:
    """What speaks for each cluster; the largest wins."""
    if scorer["type"] == "multinomial":
        return [
            math.fsum(c * v for c, v in zip(row, x, strict=True)) + b
            for row, b in zip(scorer["coef"], scorer["intercept"], strict=True)
        ]
    if scorer["type"] == "kmeans":
        return [-math.dist(centroid, x) for centroid in scorer["centroids"]]
    assert scorer["type"] == "gaussian_mixture"
    return [math.log(w) + _log_density(scorer, k, x) for k, w in enumerate(scorer["weights"])]


def _log_density(scorer: Mapping[str, Any], cluster: int, x: Sequence[float]) -> float:
    """log of the normal density, U Uᵀ being the precision matrix: −d/2 log 2π + Σ log Uᵢᵢ − ½ |(x − mean) U|²."""
    n, kind, given = len(x), scorer["covariance_type"], scorer["precisions_cholesky"]
    if kind in ("full", "tied"):
        u = given[cluster] if kind == "full" else given
    else:
        diagonal = [given[cluster]] * n if kind == "spherical" else given[cluster]
        u = [[diagonal[i] if i == j else 0.0 for j in range(n)] for i in range(n)]
    away = [v - m for v, m in zip(x, scorer["means"][cluster], strict=True)]
    rotated = [math.fsum(away[i] * u[i][j] for i in range(n)) for j in range(n)]
    logs = math.fsum(math.log(u[i][i]) for i in range(n))
    return -n / 2 * math.log(2 * math.pi) + logs - math.fsum(r * r for r in rotated) / 2
