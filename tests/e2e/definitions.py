"""Small models whose clusters can be told by looking, and those of the demo."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson


def demo_models(*, boosted: bool = False) -> list[dict[str, Any]]:
    """Return the demo's two model files; with `boosted` its boosted trees, too."""
    folder = files("memberstream.stream.demo") / "models"
    names = ("repeat_buyer", "buying_style", *(["repeat_boosted"] if boosted else []))
    return [orjson.loads((folder / f"{name}.json").read_bytes()) for name in names]


def level(version: int = 1, threshold: float = 0.5, name: str = "level") -> dict[str, Any]:
    """Return a model of the document's number `x`: eta = x, so cluster 2 `high` is x > logit(threshold)."""
    return {
        "format": 1,
        "name": name,
        "version": version,
        "predictors": [{"name": "x", "path": "x", "missing": 0}],
        "model": {"type": "logistic", "coef": [1.0], "intercept": 0.0, "thresholds": [threshold]},
        "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "high"}],
    }


def level_of_trees() -> dict[str, Any]:
    """Return level@2, one tree: cluster 2 `high` is x > 1.5. Its training data had as many members on each side."""
    stump = {"columns": [0, -1, -1], "thresholds": [1.5], "values": [-1, 1], "covers": [2, 2]}
    return level(version=2) | {"model": {"type": "trees", "scale": "logit", "thresholds": [0], "trees": [stump]}}


def recent(days: int = 1) -> dict[str, Any]:
    """Return a model of a moment `seen`: cluster 1 `new` within that many days of it, 2 `old` from then on."""
    return {
        "format": 1,
        "name": "recent",
        "version": 1,
        "predictors": [{"name": "age", "path": "seen", "aggregate": "days_since", "missing": 0}],
        "model": {"type": "logistic", "coef": [1.0], "intercept": 0.5 - days, "thresholds": [0.5]},
        "clusters": [{"id": 1, "name": "new"}, {"id": 2, "name": "old"}],
    }
