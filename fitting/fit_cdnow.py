"""Fit the demo's models on CDNOW and write their model files: `python -m fitting.fit_cdnow`.

Laws:
- Nothing after the cut-off, 1998-04-01, and nothing of a held-out customer goes into a fit, a threshold or a name.
- Rerunning writes the same files: fixed seeds, solvers run to convergence, parameters rounded to 8 decimals and
  the rounded ones put back into the scikit-learn pipeline. So the pipeline that made the examples is the one in the
  file, and another BLAS' last bit doesn't show. Trees keep their bits: one thread adds, in one order.
- The examples are the trainer's own: predictors by the hand-written code of stream/demo/oracle.py and StandardScaler,
  probability and cluster by the pipeline. `models/` has no part in them, and must reproduce them.
- `repeat_boosted` is exported as anybody would (from_estimator), and proven against the oracle's matrix and
  scikit-learn's probabilities.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from fitting.cdnow_sample import Floats, Sample, all_histories, is_held_out, sample
from memberstream.models.export import from_estimator
from memberstream.models.model_file import parse
from memberstream.stream.demo import history, oracle

TARGET = Path(__file__).parents[1] / "stream" / "demo" / "models"
CUT_OFF = "1998-04-01"
# Their label windows of 90 days don't overlap, so no purchase is counted twice; the last one ends on the cut-off.
# By the first date the whole cohort has joined.
TRAINING_DAYS = ("1997-04-01", "1997-07-01", "1997-10-01", "1998-01-01")
EXAMPLE_DAYS = ("1997-07-01", "1998-01-01", "1998-06-30")
DECIMALS = 8
_EXAMPLES = 2  # of trees, for each day and cluster
NEVER_BOUGHT_DAYS = 730  # recency of a member without purchases: longer than any in the data

_BOUGHT = {"path": "purchases", "time": "at"}
_RECENCY = {"aggregate": "days_since", "missing": NEVER_BOUGHT_DAYS}
_TENURE = {"path": "joined", "aggregate": "days_since", "missing": 0}
# Distinct days, not records: one visit to the shop is often several records of one day.
_DAYS = {"aggregate": "distinct", "value": "at"}

REPEAT_BUYER: tuple[dict[str, Any], ...] = (
    {"name": "recency_days", **_BOUGHT, **_RECENCY},
    {"name": "tenure_days", **_TENURE},
    {"name": "recency", **_BOUGHT, **_RECENCY, "transforms": ["log1p"]},
    {"name": "frequency", **_BOUGHT, **_DAYS, "transforms": ["log1p"]},
    {"name": "spend", **_BOUGHT, "aggregate": "sum", "value": "amount", "transforms": ["log1p"]},
    {
        "name": "units_per_purchase",
        **_BOUGHT,
        "aggregate": "mean",
        "value": "units",
        "missing": 0,
        "transforms": ["log1p"],
    },
    {"name": "days_bought_90d", **_BOUGHT, **_DAYS, "window_days": 90, "transforms": ["log1p"]},
    {"name": "days_bought_180d", **_BOUGHT, **_DAYS, "window_days": 180, "transforms": ["log1p"]},
    # Few of the training rows are younger than 30 days; without the clip the logarithm would run away below that.
    {"name": "tenure", **_TENURE, "transforms": [{"clip": {"min": 30}}, "log1p"]},
    # 1 for everyone who has bought only on one day, so also on the day of joining, where it would be 0 / 0.
    {"name": "idle_share", "ratio": ["recency_days", "tenure_days"], "missing": 1, "transforms": []},
)
REPEAT_BUYER_INPUTS = (
    "recency",
    "frequency",
    "spend",
    "units_per_purchase",
    "days_bought_90d",
    "days_bought_180d",
    "tenure",
    "idle_share",
)

# The same numbers as they are: trees need no logarithm, clip or scale.
REPEAT_BOOSTED: tuple[dict[str, Any], ...] = (
    *REPEAT_BUYER[:2],
    {"name": "days_bought", **_BOUGHT, **_DAYS},
    {"name": "spend_sum", **_BOUGHT, "aggregate": "sum", "value": "amount"},
    {"name": "mean_units", **_BOUGHT, "aggregate": "mean", "value": "units", "missing": 0},
    {"name": "bought_90d", **_BOUGHT, **_DAYS, "window_days": 90},
    {"name": "bought_180d", **_BOUGHT, **_DAYS, "window_days": 180},
    {"name": "idle_share", "ratio": ["recency_days", "tenure_days"], "missing": 1},
)
REPEAT_BOOSTED_INPUTS = tuple(predictor["name"] for predictor in REPEAT_BOOSTED)
REPEAT_NAMES = ("low", "medium", "high")

BUYING_STYLE: tuple[dict[str, Any], ...] = (
    {"name": "spend_sum", **_BOUGHT, "aggregate": "sum", "value": "amount"},
    {"name": "units_sum", **_BOUGHT, "aggregate": "sum", "value": "units"},
    REPEAT_BUYER[3],
    REPEAT_BUYER[5],
    {"name": "price_per_cd", "ratio": ["spend_sum", "units_sum"], "missing": 0, "transforms": ["log1p"]},
)
# No recency: a style isn't lost by waiting.
BUYING_STYLE_INPUTS = ("frequency", "units_per_purchase", "price_per_cd")


def fit_repeat_buyer() -> tuple[dict[str, Any], Pipeline]:
    """Return the model file of `repeat_buyer` and the fitted pipeline that made it."""
    training = sample(REPEAT_BUYER, REPEAT_BUYER_INPUTS, TRAINING_DAYS, held_out=False)
    # C=1 is scikit-learn's default: with 66,000 rows and 8 inputs the penalty decides nothing. newton-cholesky with
    # this tolerance ends at the optimum, which makes the 8 decimals the same everywhere.
    logistic = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12, max_iter=100)
    pipeline = Pipeline([("scale", StandardScaler()), ("logistic", logistic)]).fit(training.x, training.bought)
    _round_scaler(pipeline["scale"])
    logistic.coef_, logistic.intercept_ = logistic.coef_.round(DECIMALS), logistic.intercept_.round(DECIMALS)

    thresholds = _thresholds(training)
    definition: dict[str, Any] = {
        "format": 1,
        "name": "repeat_buyer",
        "version": 1,
        "description": "Probability of buying again within 90 days. medium: above the average of the training sample; "
        "high: above twice that average. What it is worth: docs/cdnow-models.md.",
        "predictors": _with_scale(REPEAT_BUYER, REPEAT_BUYER_INPUTS, pipeline["scale"]),
        "model": {
            "type": "logistic",
            "inputs": list(REPEAT_BUYER_INPUTS),
            "coef": logistic.coef_[0].tolist(),
            "intercept": float(logistic.intercept_[0]),
            "thresholds": thresholds,
        },
        "clusters": [{"id": 1 + i, "name": name} for i, name in enumerate(REPEAT_NAMES)],
    }

    def judge(x: Floats) -> list[dict[str, Any]]:
        probabilities = pipeline.predict_proba(x)[:, 1].tolist()
        return [{"probability": round(p, 14), "cluster": 1 + sum(p > t for t in thresholds)} for p in probabilities]

    definition["examples"] = _examples(REPEAT_BUYER_INPUTS, pipeline["scale"], judge, [1, 2, 3])
    return definition, pipeline


def fit_repeat_boosted() -> tuple[dict[str, Any], HistGradientBoostingClassifier]:
    """Return the model file of `repeat_boosted` and the fitted trees that made it."""
    training = sample(REPEAT_BOOSTED, REPEAT_BOOSTED_INPUTS, TRAINING_DAYS, held_out=False)
    # Chosen among seven sets by the log loss of five folds of training customers. What is left to chance, and to the
    # number of threads that add up histograms, is fixed.
    trees = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.05, max_leaf_nodes=8, min_samples_leaf=200, early_stopping=False, random_state=0
    )
    with threadpool_limits(1):
        trees.fit(training.x, training.bought)
    thresholds = _thresholds(training)
    columns = [oracle.PREDICTORS.index(name) for name in REPEAT_BOOSTED_INPUTS]
    documents, days, rows = [], [], []
    for day in EXAMPLE_DAYS:
        made, x = _held_out(day)
        band = np.digitize(trees.predict_proba(x[:, columns])[:, 1], thresholds)
        chosen = np.concatenate([np.flatnonzero(band == i)[:_EXAMPLES] for i in range(len(REPEAT_NAMES))])
        documents += [made[k] for k in chosen]
        days += [day] * len(chosen)
        rows.append(x[chosen][:, columns])
    x = np.concatenate(rows)
    p = trees.predict_proba(x)[:, 1]
    file = from_estimator(
        trees,
        name="repeat_boosted",
        version=1,
        description="repeat_buyer's question, predictors and thresholds, answered by boosted trees. What it is worth: "
        "docs/cdnow-models.md.",
        predictors=REPEAT_BOOSTED,
        documents=documents,
        at=days,
        x=x,
        probabilities={True: p},
        clusters_of=[REPEAT_NAMES[i] for i in np.digitize(p, thresholds)],
        thresholds={True: thresholds},
        clusters=[{"id": 1 + i, "name": name} for i, name in enumerate(REPEAT_NAMES)],
    )
    return file.definition, trees


def _thresholds(training: Sample) -> list[float]:
    """Return the thresholds of the probability: the training rows' average, and twice that."""
    base_rate = round(float(training.bought.mean()), 2)
    return [base_rate, round(2 * base_rate, 2)]


def fit_buying_style() -> tuple[dict[str, Any], Pipeline]:
    """Return the model file of `buying_style` and the fitted pipeline; its clusters are numbered from 0, as in k-means.

    Cluster c of the file is cluster c - 1 of the pipeline.
    """
    training = sample(BUYING_STYLE, BUYING_STYLE_INPUTS, [CUT_OFF], held_out=False)
    # tol=0 iterates until no member moves, so the centroids are exact means of their members.
    kmeans = KMeans(n_clusters=4, n_init=10, max_iter=1_000, tol=0.0, random_state=0)
    pipeline = Pipeline([("scale", StandardScaler()), ("kmeans", kmeans)]).fit(training.x)
    _round_scaler(pipeline["scale"])
    order, names = _in_order(kmeans.cluster_centers_)
    kmeans.cluster_centers_ = np.ascontiguousarray(kmeans.cluster_centers_[order].round(DECIMALS))

    definition: dict[str, Any] = {
        "format": 1,
        "name": "buying_style",
        "version": 1,
        "description": "How a member buys: on how many days, how many CDs at once and at what price per CD. "
        "k-means on standardised predictors; profiles: docs/cdnow-models.md.",
        "predictors": _with_scale(BUYING_STYLE, BUYING_STYLE_INPUTS, pipeline["scale"]),
        "model": {
            "type": "kmeans",
            "inputs": list(BUYING_STYLE_INPUTS),
            "centroids": kmeans.cluster_centers_.tolist(),
        },
        "clusters": [{"id": 1 + i, "name": name} for i, name in enumerate(names)],
    }

    def judge(x: Floats) -> list[dict[str, Any]]:
        return [{"cluster": 1 + int(i)} for i in pipeline.predict(x)]

    definition["examples"] = _examples(BUYING_STYLE_INPUTS, pipeline["scale"], judge, [1, 2, 3, 4])
    return definition, pipeline


def _in_order(centroids: Floats) -> tuple[list[int], list[str]]:
    """Return the order of the clusters in the file and their names, by rules on the centroids.

    The one that buys on the most days comes first; of the rest one buys the most CDs at once, and one pays the most per
    CD. Columns as in BUYING_STYLE_INPUTS.
    """
    rest = set(range(len(centroids)))
    order = []
    for column in range(3):
        most = max(rest, key=lambda i: float(centroids[i, column]))
        order.append(most)
        rest.remove(most)
    return [*order, *rest], ["frequent", "multi-CD", "high-price", "single-CD"]


def _round_scaler(scaler: StandardScaler) -> None:
    scaler.mean_, scaler.scale_ = scaler.mean_.round(DECIMALS), scaler.scale_.round(DECIMALS)


def _with_scale(predictors: Sequence[dict[str, Any]], inputs: Sequence[str], scaler: StandardScaler) -> list[Any]:
    """Return the definitions with StandardScaler's mean and standard deviation as the last transform of each input."""
    scaled = []
    for predictor in predictors:
        if predictor["name"] in inputs:
            i = inputs.index(predictor["name"])
            scale = {"scale": {"mean": float(scaler.mean_[i]), "sd": float(scaler.scale_[i])}}
            predictor = {**predictor, "transforms": [*predictor["transforms"], scale]}
        scaled.append(predictor)
    return scaled


def _examples(
    inputs: Sequence[str],
    scaler: StandardScaler,
    judge: Callable[[Floats], list[dict[str, Any]]],
    clusters: Sequence[int],
) -> list[dict[str, Any]]:
    """Return, for each day and cluster, the first held-out customer in it with two to six purchases (or any number).

    One customer on the very day of joining comes on top: there the ratio has no value.
    """
    columns = [oracle.PREDICTORS.index(name) for name in inputs]
    examples = []
    for day in ("1997-01-02", *EXAMPLE_DAYS):
        made, x = _held_out(day)
        x = x[:, columns]
        judged, scaled = judge(x), scaler.transform(x)
        if day not in EXAMPLE_DAYS:
            chosen = [next(k for k, document in enumerate(made) if document["joined"] == day)]
        else:
            of_cluster = [[k for k, j in enumerate(judged) if j["cluster"] == c][:1] for c in clusters]
            chosen = [k for found in of_cluster for k in found]
        examples += [
            {
                "document": made[k],
                "at": day,
                "predictors": {n: round(v, 14) for n, v in zip(inputs, scaled[k].tolist(), strict=True)},
                **judged[k],
            }
            for k in chosen
        ]
    return examples


def _held_out(day: str) -> tuple[list[dict[str, Any]], Floats]:
    """Return the documents of the held-out customers as of a day, those with two to six purchases first, and their
    predictors by the oracle, (n, 16)."""
    as_of_ms = history.day_ms(day)
    made = {i: d for i, d in history.documents(as_of_ms).items() if is_held_out(i)}
    members = sorted(made, key=lambda i: (not 2 <= len(made[i]["purchases"]) <= 6, i))
    return [made[i] for i in members], oracle.predictors([(all_histories()[i], as_of_ms) for i in members])


def to_json(definition: dict[str, Any]) -> str:
    """Return the file's text: one line for each predictor, cluster, example and model parameter."""

    def lines(value: Any, indent: str) -> str:
        if isinstance(value, list):
            return "[\n" + ",\n".join(f"{indent}  {json.dumps(v)}" for v in value) + f"\n{indent}]"
        return json.dumps(value)

    parts = []
    for key, value in definition.items():
        if key == "model":
            inner = ",\n".join(
                f"    {json.dumps(k)}: {lines(v, '    ') if k in ('centroids', 'trees') else json.dumps(v)}"
                for k, v in value.items()
            )
            text = f"{{\n{inner}\n  }}"
        else:
            text = lines(value, "  ")
        parts.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit repeat_buyer, repeat_boosted and buying_style on CDNOW.")
    parser.add_argument("--out", type=Path, default=TARGET, help="folder of the model files (default: the demo's)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for fit in (fit_repeat_buyer, fit_repeat_boosted, fit_buying_style):
        definition = fit()[0]
        parse(definition)  # refuses a file whose examples the core doesn't reproduce
        path = out / f"{definition['name']}.json"
        path.write_text(to_json(definition), encoding="utf-8", newline="\n")
        print(f"{path.name}: {path.stat().st_size:,} bytes, {len(definition['examples'])} examples")


if __name__ == "__main__":
    main()
