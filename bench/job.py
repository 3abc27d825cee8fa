"""The job that is measured: members, their change events, two models, and what is right at the end.

50,000 members, each first with a whole document (15 fields, about 600 bytes, nested two deep), then 200,000 merge
patches of about 400 bytes, each touching 2 to 4 fields of a random member. 12 predictors (logs, ratios, one-hots,
numbers); one logistic in three bands and one k-means of 5 centroids.

Everything here is deterministic and knows neither Kafka nor Redis nor memberstream: `score_many` is the plain NumPy
that a peer's author would write, and the oracle for everybody.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

MEMBERS, PATCHES, PARTITIONS = 50_000, 200_000, 4
COUNTRIES = ("de", "fr", "in", "us", "br", "jp")
SYSTEMS = ("android", "ios", "web")
_WORDS = (
    *("running", "shoes", "rain", "jacket", "coffee", "grinder", "desk", "lamp", "phone", "case", "travel", "mug"),
    *("yoga", "mat", "garden", "hose", "wool", "socks"),
)
_START_MS = 1_767_225_600_000  # 2026-01-01
COLUMNS = (
    *("opens_7d", "opens_30d", "minutes_30d", "opens_ratio", "orders", "spend", "basket", "age"),
    *("country=de", "country=fr", "country=in", "country=us", "os=android", "os=ios", "push", "news_7d"),
)
COEF = (0.9, 0.4, 0.05, 1.1, 0.6, 0.1, -0.2, -0.15, 0.2, -0.1, 0.3, 0.05, 0.15, 0.25, 0.4, -0.3)
INTERCEPT = -3.2
THRESHOLDS = (0.35, 0.7)
STYLE_COLUMNS = ("opens_7d", "minutes_30d", "orders", "spend", "news_7d")
CENTROIDS = (
    (0.5, 2.0, 0.5, 2.0, 0.5),
    (1.5, 4.0, 1.0, 4.0, 2.5),
    (3.0, 5.0, 1.5, 5.0, 1.0),
    (3.2, 6.0, 2.5, 6.5, 3.0),
    (1.0, 3.0, 3.0, 7.0, 0.8),
)
AGE_MEAN, AGE_SD = 41.0, 14.0
ACTIVITY, STYLE = "activity", "style"  # the models' names; both have version 1


def member_id(i: int) -> bytes:
    """Return the key of member i: 24 characters, as ids of document databases have."""
    return b"member-%017d" % i


def _text(rng: random.Random, n_words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=n_words))


def _document(rng: random.Random) -> dict[str, Any]:
    opens = int(rng.expovariate(1 / 8))
    orders = int(rng.expovariate(1 / 4))
    return {
        "country": rng.choice(COUNTRIES),
        "language": rng.choice(("en", "de", "fr")),
        "age": rng.randrange(18, 80),
        "joined": f"20{rng.randrange(18, 26)}-0{rng.randrange(1, 10)}-1{rng.randrange(10)}",
        "device": {"os": rng.choice(SYSTEMS), "model": _text(rng, 2), "app": f"7.{rng.randrange(40)}.1"},
        "apps": {
            "shopping": {
                "opens_7d": opens,
                "opens_30d": 3 * opens + rng.randrange(6),
                "minutes_30d": rng.random() * 600,
            },
            "news": {"opens_7d": rng.randrange(20)},
        },
        "spend": {"total": round(orders * rng.uniform(5, 90), 2), "orders": orders},
        "consent": {"push": rng.random() < 0.6, "email": rng.random() < 0.5},
        "last_search": _text(rng, 22),
        "tags": [_text(rng, 1) for _ in range(4)],
    }


def _patch(rng: random.Random) -> dict[str, Any]:
    """Two to four fields; the last search is long and read by no predictor, as much of a real document is."""
    patch: dict[str, Any] = {"last_search": _text(rng, 34)}
    kind = rng.randrange(4)
    if kind == 0:
        opens = int(rng.expovariate(1 / 8))
        patch["apps"] = {"shopping": {"opens_7d": opens, "opens_30d": 3 * opens + rng.randrange(6)}}
    elif kind == 1:
        orders = int(rng.expovariate(1 / 4))
        patch["spend"] = {"total": round(orders * rng.uniform(5, 90), 2), "orders": orders}
        patch["consent"] = {"push": rng.random() < 0.6}
    elif kind == 2:
        patch["apps"] = {"shopping": {"minutes_30d": rng.random() * 600}, "news": {"opens_7d": rng.randrange(20)}}
    else:
        patch["device"] = {"os": rng.choice(SYSTEMS)}
    return patch


def events(n_members: int = MEMBERS, n_patches: int = PATCHES, seed: int = 1) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) of every change event, in the order in which they are sent."""
    rng = random.Random(seed)
    for i in range(n_members + n_patches):
        at = _START_MS + 20 * i
        meta = {"source": "app-backend", "trace": f"{rng.getrandbits(128):032x}"}
        if i < n_members:
            member, what = i, {"op": "replace", "document": _document(rng)}
        else:
            member, what = rng.randrange(n_members), {"op": "patch", "patch": _patch(rng)}
        yield member_id(member), orjson.dumps({"at": at, "version": i, "meta": meta, **what})


def merge(document: dict[str, Any], patch: dict[str, Any]) -> None:
    """Change a document in place by a JSON merge patch (RFC 7396), as a peer's author would."""
    for key, change in patch.items():
        if isinstance(change, dict):
            inner = document.get(key)
            if not isinstance(inner, dict):
                inner = document[key] = {}
            merge(inner, change)
        elif change is None:
            document.pop(key, None)
        else:
            document[key] = change


def change(document: dict[str, Any] | None, event: dict[str, Any]) -> dict[str, Any]:
    """Return a member's document after an event; the old one may have been changed in place."""
    if event["op"] == "replace":
        whole: dict[str, Any] = event["document"]
        return whole
    document = {} if document is None else document
    merge(document, event["patch"])
    return document


def predictors(document: dict[str, Any]) -> tuple[float, ...]:
    """Return the columns of x, in the order of COLUMNS."""
    log1p = math.log1p
    shopping, spend = document["apps"]["shopping"], document["spend"]
    opens_7d, opens_30d = log1p(shopping["opens_7d"]), log1p(shopping["opens_30d"])
    orders, total = log1p(spend["orders"]), log1p(spend["total"])
    country, system = document["country"], document["device"]["os"]
    return (
        opens_7d,
        opens_30d,
        log1p(shopping["minutes_30d"]),
        opens_7d / opens_30d if opens_30d else 0.0,
        orders,
        total,
        total / orders if orders else 0.0,
        (document["age"] - AGE_MEAN) / AGE_SD,
        1.0 if country == "de" else 0.0,
        1.0 if country == "fr" else 0.0,
        1.0 if country == "in" else 0.0,
        1.0 if country == "us" else 0.0,
        1.0 if system == "android" else 0.0,
        1.0 if system == "ios" else 0.0,
        1.0 if document["consent"]["push"] else 0.0,
        log1p(document["apps"]["news"]["opens_7d"]),
    )


_COEF, _CENTROIDS, _THRESHOLDS = np.array(COEF), np.array(CENTROIDS), np.array(THRESHOLDS)
_STYLE = [COLUMNS.index(name) for name in STYLE_COLUMNS]


def score_many(documents: Sequence[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """Return the clusters of both models, (n,) each: activity 1 to 3, style 1 to 5."""
    x = np.array([predictors(document) for document in documents])
    probability = 1 / (1 + np.exp(-(x @ _COEF + INTERCEPT)))
    activity = np.searchsorted(_THRESHOLDS, probability) + 1
    distance = ((x[:, None, _STYLE] - _CENTROIDS[None]) ** 2).sum(axis=2)
    return activity.tolist(), (distance.argmin(axis=1) + 1).tolist()


def model_files() -> dict[str, dict[str, Any]]:
    """Return both models as memberstream's model files: name → file."""
    log = {"missing": 0, "transforms": ["log1p"]}
    predictors: list[dict[str, Any]] = [
        {"name": "opens_7d", "path": "apps.shopping.opens_7d", **log},
        {"name": "opens_30d", "path": "apps.shopping.opens_30d", **log},
        {"name": "minutes_30d", "path": "apps.shopping.minutes_30d", **log},
        {"name": "opens_ratio", "ratio": ["opens_7d", "opens_30d"], "missing": 0},
        {"name": "orders", "path": "spend.orders", **log},
        {"name": "spend", "path": "spend.total", **log},
        {"name": "basket", "ratio": ["spend", "orders"], "missing": 0},
        {
            "name": "age",
            "path": "age",
            "missing": AGE_MEAN,
            "transforms": [{"scale": {"mean": AGE_MEAN, "sd": AGE_SD}}],
        },
        {"name": "country", "path": "country", "transforms": [{"one_hot": ["de", "fr", "in", "us"]}]},
        {"name": "os", "path": "device.os", "transforms": [{"one_hot": ["android", "ios"]}]},
        {"name": "push", "path": "consent.push", "missing": 0},
        {"name": "news_7d", "path": "apps.news.opens_7d", **log},
    ]
    logistic = {"type": "logistic", "coef": list(COEF), "intercept": INTERCEPT, "thresholds": list(THRESHOLDS)}
    kmeans = {"type": "kmeans", "inputs": list(STYLE_COLUMNS), "centroids": [list(row) for row in CENTROIDS]}
    return {
        ACTIVITY: {
            "format": 1,
            "name": ACTIVITY,
            "version": 1,
            "predictors": predictors,
            "model": logistic,
            "clusters": [{"id": i, "name": name} for i, name in enumerate(("low", "medium", "high"), 1)],
        },
        STYLE: {
            "format": 1,
            "name": STYLE,
            "version": 1,
            "predictors": [p for p in predictors if p["name"] in STYLE_COLUMNS],
            "model": kmeans,
            "clusters": [{"id": i, "name": f"style {i}"} for i in range(1, 6)],
        },
    }
