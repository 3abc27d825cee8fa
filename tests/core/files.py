"""A corpus of model files: good ones that use every feature, and bad ones with the problems they must give."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

GONE = object()  # in `changes`: remove the key


def base() -> dict[str, Any]:
    """Return a good logistic file of two predictors, three clusters and an example."""
    return {
        "format": 1,
        "name": "activity",
        "version": 2,
        "description": "How active a member is.",
        "predictors": [
            {"name": "opens", "path": "apps.opens", "missing": 0, "transforms": ["log1p"]},
            {"name": "country", "path": "country", "transforms": [{"one_hot": ["de", "fr"]}]},
        ],
        "model": {"type": "logistic", "coef": [1, 0.5, -0.5], "intercept": -1, "thresholds": [0.3, 0.7]},
        "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "medium"}, {"id": 3, "name": "high"}],
        "examples": [{"document": {"country": "de"}, "at": "2026-01-01", "cluster": 2}],
    }


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """Return the base file with values replaced."""
    return replaced(base(), changes)


def replaced(original: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a file with values replaced; a key of `changes` is a path such as `predictors.0.name`."""
    file = deepcopy(original)
    for path, value in changes.items():
        *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        place: Any = file
        for key in parents:
            place = place[key]
        if value is GONE:
            del place[last]
        elif isinstance(last, int) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    return file


_TWO: list[dict[str, Any]] = [{"id": 0, "name": "a"}, {"id": 7, "name": "b"}]
_MORE: list[dict[str, Any]] = [{}, {"value": "v", "time": "t"}, {"value": "o.v", "time": "t", "window_days": 0.25}]
_LISTS: list[dict[str, Any]] = [
    {"name": f"{name}_{i}", "path": "a.list", "aggregate": name, "missing": 0, **more}
    for name in ("sum", "mean", "min", "max", "last", "distinct")
    for i, more in enumerate(_MORE)
]
_WHERE = {
    "a": "x",
    "b": 1,
    "c": True,
    "d": {"in": ["x", 1, False]},
    "e.f": {"gt": 0, "lte": 9.5},
    "g": {"exists": False},
}
_PLAIN = [{"name": f"x{i}", "path": f"x{i}", "missing": 0} for i in range(2)]
_MIXTURE = {"type": "gaussian_mixture", "weights": [0.25, 0.75], "means": [[1, 2], [3, 4]]}


_TREE = {"columns": [0, -1, 1, -1, -1], "thresholds": [0.5, 2], "values": [1, 2, 4]}
_LEAF = {"columns": [-1], "thresholds": [], "values": [3]}


def _trees(*trees: Any) -> dict[str, Any]:
    """Return the model of a file of these trees."""
    return {"type": "trees", "scale": "logit", "trees": list(trees)}


def _bad_trees(*trees: Any, **changes: Any) -> dict[str, Any]:
    """Return changes to the base file that make trees over two inputs, with something wrong."""
    model = {"type": "trees", "scale": "logit", "thresholds": [1, 3], "trees": list(trees) or [_TREE]}
    return {"predictors": _PLAIN, "model": {k: v for k, v in (model | changes).items() if v is not GONE}}


def _bad_mixture(**changes: Any) -> dict[str, Any]:
    """Return changes to the base file that make a mixture of three components over two inputs, with something wrong."""
    good = {"weights": [0.2, 0.3, 0.5], "means": [[1, 2], [3, 4], [5, 6]]}
    return {"predictors": _PLAIN, "model": {"type": "gaussian_mixture", **good, **changes}}


GOOD: dict[str, dict[str, Any]] = {
    "base": base(),
    "least": changed({"description": GONE, "examples": GONE}),
    "schema named": changed({"$schema": "model-file.schema.json", "examples": []}),
    "threshold rule": changed({"model.threshold_rule": ">="}),
    "one cluster": changed({"clusters": [{"id": 0, "name": "all"}], "model.thresholds": [], "examples": GONE}),
    "inputs chosen": changed({"model.inputs": ["country=fr", "opens"], "model.coef": [1, 2], "examples": GONE}),
    "multinomial": changed(
        {"predictors": _PLAIN, "model": {"type": "multinomial", "coef": [[1, 2], [3, 4]], "intercept": [0, 0]}}
        | {"clusters": _TWO, "examples": []}
    )
    | {"examples": [{"document": {}, "at": 0, "cluster": 0, "probability": [0.5, 0.5], "predictors": {"x0": 0}}]},
    "kmeans": changed(
        {"predictors": _PLAIN, "model": {"type": "kmeans", "centroids": [[1, 2], [3, 4]]}, "clusters": _TWO}
        | {"examples": [{"document": {"x0": 3, "x1": 4}, "at": "2026-01-01T00:00:00Z", "cluster": 7}]}
    ),
    **{
        f"mixture {kind}": changed(
            {
                "predictors": _PLAIN,
                "clusters": _TWO,
                "model": _MIXTURE | {"covariance_type": kind} | {"precisions_cholesky": u},
            }
            | {"examples": [{"document": {"x0": 3, "x1": 4}, "at": 0, "cluster": 7}]}
        )
        for kind, u in {
            "full": [[[1, 0.5], [0, 2]], [[1, 0], [0, 1]]],
            "tied": [[1, -0.5], [0, 2]],
            "diag": [[1, 2], [0.5, 1]],
            "spherical": [1, 0.5],
        }.items()
    },
    "trees in bands": changed(
        {
            "predictors": _PLAIN,
            "model": _trees(_TREE | {"missing_left": [0, 1], "covers": [10, 4, 6]})
            | {"thresholds": [1, 3], "threshold_rule": ">=", "base": [0.5], "missing": [None, 9]},
            "examples": [
                {"document": {"x0": 1, "x1": 9}, "at": 0, "cluster": 2, "raw": 2.5},
                {"document": {"x0": 1, "x1": 3}, "at": 0, "cluster": 3, "probability": 0.9890130573694068},
            ],
        }
    ),
    "boosted trees": changed(
        {
            "predictors": _PLAIN,
            "clusters": _TWO,
            "model": _trees(_TREE | {"output": 1}, _LEAF | {"output": 0}) | {"base": [1, -1], "ties": [1, 0]},
        }
        | {"examples": [{"document": {"x0": 1, "x1": 3}, "at": 0, "cluster": 0, "raw": [4, 3]}]}
    ),
    "a forest": changed(
        {
            "predictors": _PLAIN,
            "clusters": _TWO,
            "model": _trees(_TREE | {"values": [[1, 0], [0.5, 0.5], [0, 1]]})
            | {"scale": "probability", "divisor": 1, "input_precision": "single"},
            "examples": [{"document": {"x0": 0.5}, "at": 0, "cluster": 0, "raw": [1, 0], "probability": [1, 0]}],
        }
    ),
    "trees of codes": changed(
        {
            "predictors": [
                {"name": "x0", "path": "x0", "transforms": [{"codes": ["gold", "silver"]}]},
                {"name": "x1", "path": "x1", "missing": 7, "transforms": [{"codes": [3, 7]}, {"bins": [0, 1]}]},
                {"name": "x2", "path": "x2", "missing": 0},
            ],
            "clusters": [{"id": 0, "name": "low"}, {"id": 1, "name": "high"}],
            "model": _trees(
                {"columns": [0, -1, -1], "thresholds": [[1]], "values": [1, -1], "missing_left": [1]},
                {"columns": [0, 1, -1, -1, 2, -1, -1], "thresholds": [[0, 1], [], 5], "values": [1, 2, 3, 4]},
            )
            | {"thresholds": [2.5], "missing": [-1, None, None]},
            "examples": [
                {"document": {"x0": "gold", "x1": 3}, "at": 0, "cluster": 0, "raw": 1},
                {"document": {"x0": "wood"}, "at": 0, "cluster": 1, "raw": 4},
                {"document": {}, "at": 0, "cluster": 1, "raw": 4},
            ],
        }
    ),
    "single trees": changed(
        {"predictors": _PLAIN, "clusters": [{"id": 0, "name": "all"}], "examples": []}
        | {"model": _trees(_LEAF) | {"scale": "value", "thresholds": [], "sum_precision": "single"}}
    ),
    "aggregates": changed(
        {"predictors": _LISTS, "model.coef": [0.1] * len(_LISTS), "clusters": _TWO, "model.thresholds": [0.5]}
        | {"examples": GONE}
    ),
    "days since, count and where": changed(
        {
            "predictors": [
                {"name": "a", "path": "joined", "aggregate": "days_since", "missing": 0},
                {"name": "b", "path": "seen", "aggregate": "days_since", "missing": 9, "resolution": "hours"},
                {"name": "c", "path": "l", "time": "t", "aggregate": "days_since", "missing": 9, "where": _WHERE}
                | {"window_days": 30, "utc_offset_minutes": -330, "resolution": "seconds"},
                {"name": "d", "path": "l", "aggregate": "count", "where": {"a\\.b": {"gte": 1, "lt": 3}}},
                {"name": "e", "path": "l", "time": "t", "aggregate": "count", "window_days": 36_500},
                {"name": "f", "ratio": ["a", "b"], "missing": 1, "transforms": [{"clip": {"min": 0}}]},
                {"name": "h", "path": "l", "time": "t", "aggregate": "decayed_count", "half_life_days": 7}
                | {"resolution": "hours", "utc_offset_minutes": 60, "window_days": 90, "where": _WHERE},
                {"name": "g", "product": ["f", "f"], "transforms": [{"clip": {"max": 5}}, {"bins": [0, 1, 2]}]},
            ],
            "model.coef": [0] * 8,
            "examples.0.cluster": 1,
        }
    ),
    "what is there": changed(
        {
            "predictors": [
                {"name": "a", "path": "a", "missing": 0, "type": "number_text"},
                {"name": "b", "path": "joined", "aggregate": "days_since", "missing": 9, "unit": "days"},
                {"name": "c", "path": "l", "aggregate": "mean", "missing": 0, "value": "v", "type": "number_text"}
                | {"time": "t", "unit": "s", "where": {"w": {"gte": 1, "type": "number_text"}}},
                *(
                    {"name": f"d_{unit}", "path": "l", "aggregate": "count", "time": "t", "unit": unit}
                    for unit in ("ms", "us", "ns")
                ),
                {"name": "e", "path": "l", "aggregate": "decayed_count", "half_life_days": 7, "time": "t", "unit": "s"},
                {"name": "f", "path": "l", "aggregate": "days_since", "missing": 0, "time": "t", "unit": "s"},
            ],
            "model.coef": [0] * 8,
            "examples.0.cluster": 1,
        }
    ),
    "transforms": changed(
        {
            "predictors": [
                {"name": "a", "path": "a", "missing": 1, "transforms": ["log1p", {"scale": {"mean": 1, "sd": 2}}]},
                {"name": "b", "path": "b", "missing": 1, "transforms": [{"clip": {"min": 0, "max": 1}}]},
                {"name": "c", "path": "c", "missing": 1, "transforms": [{"bins": [1, 2]}, {"one_hot": [0, 1, 2]}]},
                {"name": "d", "path": "d", "missing": None, "transforms": [{"one_hot": ["x"]}]},
                {"name": "e", "path": "e", "missing": "x", "transforms": [{"one_hot": ["x"]}]},
                {"name": "f", "path": "f", "aggregate": "last", "transforms": [{"one_hot": ["x"]}]},
                {"name": "g", "path": "g", "missing": 0, "transforms": []},
                {"name": "h", "path": "g", "missing": 0, "transforms": [{"one_hot": [False, True]}]},
            ],
            "model.coef": [0] * 11,
            "examples.0.cluster": 1,
        }
    ),
}

DEEP: Any = 1
for _ in range(70):
    DEEP = [DEEP]

# name → changes to the base file; the problems that each must give stand in bad_files.txt
BAD: dict[str, dict[str, Any]] = {
    "format": {"format": 2, "name": "Bad Name", "version": 0, "description": None, "extra": 1},
    "format is true": {"format": True, "version": "1"},
    "everything missing": dict.fromkeys(base(), GONE),
    "predictors no list": {"predictors": {}, "examples": GONE},
    "predictors empty": {"predictors": [], "examples": GONE},
    "predictor no object": {"predictors.0": 5},
    "predictor names": {"predictors.0.name": "1x", "predictors.1.name": 5},
    "predictor name twice": {"predictors.1": {"name": "opens", "path": "b", "missing": 0}, "model.coef": [1]},
    "no source": {"predictors.0.path": GONE, "predictors.0.transforms": ["log2"]},
    "two sources": {"predictors.0.ratio": ["a", "b"]},
    "unknown aggregate": {
        "predictors.0.aggregate": "median",
        "predictors.0.transforms": [{"scale": {"mean": "x", "sd": 0}}],
    },
    "aggregate no text": {"predictors.0.aggregate": []},
    "fields of another aggregate": {
        "predictors.0": {"name": "a", "path": "l", "aggregate": "count", "value": "v"},
        "predictors.1": {
            "name": "b",
            "path": "t",
            "aggregate": "days_since",
            "missing": 0,
            "where": {"a": 1},
            "resolution": "weeks",
            "utc_offset_minutes": 1.5,
        },
    },
    "resolution no text": {
        "predictors.0": {
            "name": "b",
            "path": "t",
            "aggregate": "days_since",
            "missing": 0,
            "resolution": [],
            "utc_offset_minutes": 2000,
        }
    },
    "half-life": {
        "predictors.0": {"name": "a", "path": "l", "aggregate": "decayed_count", "value": "v"},
        "predictors.1": {"name": "b", "path": "l", "aggregate": "decayed_count", "time": "t", "half_life_days": 0},
    },
    "value with a window": {"predictors.0.window_days": 3},
    "window": {
        "predictors.0": {"name": "a", "path": "l", "aggregate": "count", "window_days": 0},
        "predictors.1": {"name": "b", "path": "l", "aggregate": "count", "time": "t", "window_days": "7"},
    },
    "window too long": {
        "predictors.0": {"name": "a", "path": "l", "aggregate": "count", "time": "t", "window_days": 40000}
    },
    "paths": {
        "predictors.0.path": "a..b",
        "predictors.1": {"name": "b", "path": "l", "aggregate": "sum", "value": 7, "time": ""},
    },
    "where": {
        "predictors.0": {"name": "a", "path": "l", "aggregate": "count", "where": {}},
        "predictors.1": {"name": "b", "path": "l", "aggregate": "count", "where": [1]},
    },
    "where conditions": {
        "predictors.0": {
            "name": "a",
            "path": "l",
            "aggregate": "count",
            "where": {
                "a": None,
                "b": {},
                "c": {"like": "x", "gt": "1"},
                "d": {"in": []},
                "e": {"in": [[]]},
                "f": {"exists": 1},
                "g..h": 1,
            },
        }
    },
    "what is there": {
        "predictors": [
            {"name": "a", "path": "a", "missing": 0, "type": "text"},
            {"name": "b", "path": "b", "missing": 0, "unit": "s"},
            {"name": "c", "path": "c", "aggregate": "sum", "unit": "s"},
            {"name": "d", "path": "d", "aggregate": "days_since", "missing": 0, "unit": "hours", "type": "number_text"},
            {"name": "e", "path": "e", "aggregate": "distinct", "type": "number_text", "time": "t", "unit": ["s"]},
            {"name": "f", "path": "f", "type": "number_text", "transforms": [{"one_hot": ["x"]}]},
            {"name": "g", "path": "g", "aggregate": "count", "where": {"v": {"exists": True, "type": "number_text"}}},
            {"name": "h", "path": "h", "aggregate": "count", "where": {"v": {"gt": 1, "type": "number"}}},
            {"name": "i", "product": ["a", "b"], "unit": "s"},
        ]
    },
    "missing left out": {"predictors.0.missing": GONE},
    "missing wrong": {"predictors.0.missing": "0", "predictors.1.missing": 0},
    "missing infinite": {"predictors.0.missing": math.inf},
    "missing nan": {"predictors.0.missing": math.nan},
    "missing does not pass": {"predictors.0.missing": -1},
    "missing default does not pass": {
        "predictors.0": {
            "name": "a",
            "path": "l",
            "aggregate": "count",
            "transforms": [{"scale": {"mean": 1, "sd": 1e-101}}],
        }
    },
    "missing beyond": {"predictors.0.missing": 1e101, "model.intercept": 10**400},
    "transforms": {"predictors.0.transforms": "log1p", "predictors.1.transforms": [{"one_hot": ["a", "a"]}]},
    "transforms unknown": {
        "predictors.0.transforms": [
            {"log1p": 1},
            {"scale": []},
            {"clip": {}},
            {"clip": {"low": 0}},
            {"clip": 1},
            {"clip": {"min": 2, "max": 1}},
            {"bins": []},
            {"bins": [1, 3, 2]},
            {"bins": ["a"]},
            {"scale": {"mean": 0}},
            {"scale": {"mean": 0, "sd": -1}},
        ]
    },
    "one_hot": {
        "predictors.0.transforms": [{"one_hot": [1]}, "log1p"],
        "predictors.1.transforms": [{"clip": {"min": 0}}, {"one_hot": ["x"]}],
    },
    "codes": {
        "predictors.0.transforms": [{"codes": []}, "log1p"],
        "predictors.1.transforms": [{"clip": {"min": 0}}, {"codes": ["x"]}],
    },
    "one_hot mixed": {
        "predictors.0.transforms": [{"one_hot": [1, "x"]}],
        "predictors.1.transforms": [{"one_hot": ["x", 1]}],
    },
    "one_hot of nothing": {"predictors.0.transforms": [{"one_hot": []}], "predictors.1.transforms": [{"one_hot": "x"}]},
    "one_hot of texts after a number": {
        "predictors.1": {"name": "b", "path": "l", "aggregate": "sum", "transforms": [{"one_hot": ["x"]}]}
    },
    "combination": {
        "predictors.2": {"name": "r", "ratio": ["opens", "later"], "missing": 0},
        "predictors.3": {"name": "s", "product": ["country", 5]},
        "predictors.4": {"name": "t", "ratio": ["opens"], "missing": 0},
        "predictors.5": {"name": "u", "product": ["opens", "opens"], "path2": "x"},
    },
    "combination of a bad one": {
        "predictors.0.missing": GONE,
        "predictors.2": {"name": "r", "product": ["opens", "opens"]},
    },
    "too many columns": {"predictors.1.transforms": [{"one_hot": [f"c{i}" for i in range(4096)]}]},
    "model no object": {"model": 5},
    "model type": {"model.type": "forest"},
    "model type no text": {"model.type": []},
    "model type missing": {"model.type": GONE},
    "coef": {"model.coef": [1, 2], "model.intercept": "0", "model.thresholds": [0.7]},
    "coef wrong": {"model.coef": [1, "a", True]},
    "fields missing": {"model": {"type": "logistic", "centroids": []}},
    "thresholds": {"model.thresholds": [0.7, 0.3]},
    "thresholds out": {"model.thresholds": [0, 1]},
    "thresholds no list": {"model.thresholds": 0.5},
    "threshold rule": {"model.threshold_rule": ["<"]},
    "inputs": {"model.inputs": ["opens", "country", 5, "opens"], "model.coef": [1, 2, 3]},
    "inputs no list": {"model.inputs": "opens"},
    "unused": {"model.inputs": ["opens"], "model.coef": [1]},
    "multinomial": {"model": {"type": "multinomial", "coef": [[1, 2, 3], [1, 2]], "intercept": [0, 0]}},
    "multinomial missing": {"model": {"type": "multinomial"}},
    "kmeans": {"model": {"type": "kmeans", "centroids": [[1, 2, 3], "x", [1, 2, 3]], "coef": []}},
    "mixture": _bad_mixture(
        weights=[0, 1, -1], means=[[1, 2], [3], [5, 6]], covariance_type="free", precisions_cholesky=[]
    ),
    "mixture missing": {"predictors": _PLAIN, "model": {"type": "gaussian_mixture"}},
    "mixture full": _bad_mixture(
        weights=[0.3, 0.3, 0.5], covariance_type="full", precisions_cholesky=[[[1, 0], [0.5, -1]], [[1, 1e41]]]
    ),
    "mixture tied": _bad_mixture(covariance_type="tied", precisions_cholesky=[[1], "x"]),
    "mixture diag": _bad_mixture(covariance_type="diag", precisions_cholesky=[[1, 1], [2], [0, 1]]),
    "mixture spherical": _bad_mixture(covariance_type="spherical", precisions_cholesky=[1, [2]]),
    "mixture over unknown inputs": _bad_mixture(
        covariance_type="full", precisions_cholesky=[[[1]], [[1]], [[1]]], means=[[1]] * 3
    )
    | {"predictors": [{"name": "x0", "path": "x0"}]},
    "trees": _bad_trees(
        scale="log",
        thresholds=[3, 3],
        threshold_rule="<",
        ties=[0, 1, 2],
        base=[1, 2],
        divisor=0,
        input_precision="half",
        sum_precision=1,
        extra=1,
    ),
    "trees missing": {"predictors": _PLAIN, "model": {"type": "trees"}},
    "trees no list": _bad_trees(trees={}, missing=[1]),
    "trees empty": _bad_trees(trees=[]),
    "trees ties": _bad_trees(thresholds=GONE, ties=[0, 1, 1], trees=[_TREE | {"output": 3}, _TREE]),
    "trees without clusters": _bad_trees(thresholds=GONE) | {"clusters": []},
    "trees over unknown inputs": _bad_trees() | {"predictors": [{"name": "x0", "path": "x0"}]},
    "trees that are none": _bad_trees(
        5,
        {},
        _TREE | {"columns": []},
        _TREE | {"columns": [0, -1]},
        _TREE | {"columns": [-1, -1]},
        _TREE | {"columns": [0, True, -2, 2, "x"]},
        _TREE | {"columns": [0] * 300 + [-1] * 301},
        _TREE | {"columns": 5},
        _TREE | {"left": [1]},
    ),
    "trees of other lengths": _bad_trees(
        _TREE | {"thresholds": [1]},
        _TREE | {"values": [1, 2]},
        _TREE | {"missing_left": [1, 2]},
        _TREE | {"covers": [1, -1, 1e16]},
        _TREE | {"output": 1},
        _TREE | {"thresholds": [math.nan, math.inf]},
        _TREE | {"missing_left": 0},
        _TREE | {"columns": [-1]},
        _TREE | {"covers": [1]},
    ),
    "trees of codes": _bad_trees(
        _TREE | {"thresholds": [[1, 1], 2]},
        _TREE | {"thresholds": [[-1], [1.0]]},
        _TREE | {"thresholds": [["x"], "x"]},
    ),
    "trees of codes and numbers": _bad_trees(_TREE, _TREE | {"thresholds": [[1], 2]}),
    "trees of too many codes": _bad_trees(
        *[_TREE | {"thresholds": [[i], 2]} for i in range(1_200)],
    ),
    "trees with rows": _bad_trees(
        _TREE | {"values": [[1, 2, 3], [1], "x"]},
        _TREE | {"values": [[1, 2, 3]] * 3, "output": 1},
        _TREE | {"output": 0},
        _TREE | {"values": [[1, 2, 3]] * 3},
        thresholds=GONE,
        missing=[1, "x"],
    ),
    "trees of both kinds": _bad_trees(_TREE, _TREE | {"values": [[1], [2], [3]]}),
    "trees beyond single precision": _bad_trees(
        _TREE | {"values": [1, -1e35, 1]}, _TREE | {"values": [[1], [1e35], [3]]}, sum_precision="single", base=[1e38]
    ),
    "trees of which there are too many": _bad_trees(trees=[_TREE] * 10_001),
    "trees with too many nodes": _bad_trees(_TREE, {"columns": [0] * 500_000}),
    "trees without raw": _bad_trees()
    | {
        "examples": [
            {"document": {"x0": 1, "x1": 3}, "at": 0, "cluster": 3, "raw": 4.000000000000001},
            {"document": {}, "at": 0, "cluster": 1, "raw": [1, 2]},
        ]
    },
    "example of no trees": {"examples.0.raw": 0.5},
    "clusters no list": {"clusters": {}},
    "clusters empty": {"clusters": []},
    "clusters": {"clusters": [{"id": 2, "name": "a"}, {"id": 2, "name": "a"}, 5]},
    "clusters wrong": {"clusters": [{"id": -1, "name": ""}, {"id": 1.5, "name": 1}, {"id": 9}]},
    "examples no list": {"examples": {}},
    "example shapes": {
        "examples": [
            5,
            {
                "document": [],
                "at": "never",
                "cluster": 9,
                "predictors": {"nothing": 1, "opens": "x"},
                "probability": "p",
            },
            {"document": {}, "at": 0, "cluster": True, "predictors": [], "probability": [0.5, "x"]},
            {},
        ]
    },
    "examples and predictors": {
        "predictors.0.missing": GONE,
        "examples.0.predictors": {"nothing": 1},
        "clusters.0.name": "",
        "examples.0.cluster": 77,
    },
    "example cluster": {"examples.0.cluster": 1},
    "example values": {"examples.0.probability": 0.5, "examples.0.predictors": {"opens": 1e-9, "country=de": 1}},
    "example probability list": {"examples.0.probability": [0.5, 0.5]},
    "example of kmeans": {
        "model": {"type": "kmeans", "centroids": [[1, 2, 3], [0, 1, 0], [1, 2, 3]]},
        "examples.0.probability": 0.5,
    },
    "example of an operand": {
        "predictors": [*_PLAIN, {"name": "q", "product": ["x0", "x1"]}],
        "model.inputs": ["q"],
        "model.coef": [1],
        "model.intercept": 0,
        "examples": [{"document": {"x0": 2}, "at": 0, "cluster": 2, "predictors": {"x0": 3, "q": 0}}],
    },
    "too deep": {"examples.0.document": {"x": DEEP}},
}
