"""A notebook that computes its matrix by itself, with one thing otherwise than the predictors of the export say.

No code of the product takes part in it: the author's numbers are computed here in plain Python.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from memberstream.models.export import ExportError, from_estimator

N = 240
NOW = datetime(2026, 1, 1, 9, 30, tzinfo=UTC)
NUMBERS = ["recency", "spend", "n_orders", "age", "opens"]
PREDICTORS: list[dict[str, Any]] = [
    {"name": "recency", "path": "seen", "aggregate": "days_since", "missing": 0},
    {"name": "spend", "path": "orders", "aggregate": "sum", "value": "amount", "time": "at", "window_days": 90},
    {"name": "n_orders", "path": "orders", "aggregate": "count", "time": "at", "where": {"kind": "cd"}},
    {"name": "age", "path": "age", "missing": 0},
    {"name": "opens", "path": "opens", "missing": 0},
    {"name": "country", "path": "country", "type": "text", "missing": "de"},
]


@dataclass(frozen=True)
class Notebook:
    """How the notebook computes what the predictors say; each default is what they say."""

    now: datetime = NOW
    window: float | None = 90
    includes_the_edge: bool = False
    days: str = "midnights"
    zone: timezone = UTC
    aggregate: str = "sum"
    kinds: tuple[str, ...] = ("cd",)
    missing_age: float = 0.0
    missing_country: str = "de"
    spells: Any = str
    unit: float = 1.0
    logs: bool = False
    order: list[str] = field(default_factory=lambda: [*NUMBERS])
    values_of: dict[str, str] = field(default_factory=dict)
    rows: Any = None
    is_single: bool = False


def members(*, at_midnight: bool = False) -> list[dict[str, Any]]:
    """Return the documents: with times of day, or with dates alone."""
    rng = np.random.default_rng(5)

    def time(days: float) -> str:
        moment = NOW - timedelta(days=float(days))
        return moment.date().isoformat() if at_midnight else moment.isoformat(timespec="milliseconds")

    found = []
    for i in range(N):
        orders = [
            {"amount": round(float(a), 2), "at": time(d), "kind": "cd" if k else "book"}
            for a, d, k in zip(
                rng.gamma(2, 30, 6), rng.choice([*range(88, 93), *rng.uniform(0, 300, 12)], 6), rng.random(6) < 0.6,
                strict=True,
            )
        ][: int(rng.integers(0, 7))]  # fmt: skip
        one: dict[str, Any] = {"member_id": f"m{(i * 7919) % N}", "seen": time(rng.uniform(0.1, 60)), "orders": orders}
        one |= {"opens": float(rng.poisson(9))}
        if i % 6:
            one["age"] = float(rng.integers(18, 80))
        if i % 5:
            one["country"] = ["de", "fr", "us"][int(rng.integers(0, 3))]
        found.append(one)
    return found


def matrix(documents: list[dict[str, Any]], book: Notebook) -> pd.DataFrame:
    """Return what the notebook computes of the documents."""
    rows = []
    for document in documents:
        then = datetime.fromisoformat(document["seen"])
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        passed = (book.now - then).total_seconds() / 86_400
        dates = book.now.astimezone(book.zone).date() - then.astimezone(book.zone).date()
        amounts, n_orders = [], 0
        for order in document["orders"]:
            moment = datetime.fromisoformat(order["at"])
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            age = (book.now - moment).total_seconds() / 86_400
            is_in = book.window is None or (age <= book.window if book.includes_the_edge else age < book.window)
            amounts += [order["amount"]] if age >= 0 and is_in else []
            n_orders += age >= 0 and order["kind"] in book.kinds
        total = sum(reversed(amounts)) if book.aggregate == "sum" else float(np.mean(amounts or [0.0]))
        spend = total * book.unit
        rows.append(
            {
                "recency": {
                    "midnights": float(dates.days), "exact": passed, "whole": float(math.floor(passed)),
                    "seconds": passed * 86_400,
                }[book.days],
                "spend": math.log1p(spend) if book.logs else spend,
                "n_orders": float(n_orders),
                "age": document.get("age", book.missing_age),
                "opens": document["opens"],
                "country": book.spells(document.get("country", book.missing_country)),
            }
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    for name, of in book.values_of.items():
        frame[name] = pd.DataFrame(rows)[of]
    frame = frame[[*book.order, "country"]]
    if book.is_single:
        frame[book.order] = frame[book.order].astype(np.float32)
    return frame


@cache
def outcome() -> Any:
    x = matrix(members(), Notebook())
    rng = np.random.default_rng(3)
    z = (x[NUMBERS] - x[NUMBERS].mean()) / x[NUMBERS].std()
    score = z @ [-1.0, 1.2, 0.8, 0.7, 0.9] + (x["country"] == "fr") * 1.0 + rng.normal(0, 0.6, N)
    return np.where(score > score.median(), "buys", "stays")


def fit(x: pd.DataFrame, c: float = 1.0, *, is_named: bool = True) -> Any:
    """Return a pipeline fitted on the notebook's matrix."""
    numbers: Any = [name for name in x if name != "country"] if is_named else slice(0, len(x.columns) - 1)
    text: Any = ["country"] if is_named else [len(x.columns) - 1]
    steps = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), text))
    given = x if is_named else x.to_numpy(dtype=object)
    return make_pipeline(steps, LogisticRegression(C=c, max_iter=1000)).fit(given, outcome())


def report(book: Notebook, given: str, **more: Any) -> str:
    """Return what an export says that gets some of the notebook's numbers; "" if it is silent.

    Args:
        given: x, probabilities, clusters_of or several of them. more: arguments of the export; and is_named: the fit
            knows its columns by names; refitted: other numbers come from another fit; own_order: of the matrix's
            columns; cut: the probability of "stays" at which the notebook cuts.
    """
    documents = more.pop("documents", None) or members()
    is_named, order, cut = more.pop("is_named", True), more.pop("own_order", None), more.pop("cut", 0.5)
    x = matrix(documents, book)
    fitted = fit(x, is_named=is_named)
    own = x if book.rows is None else x.iloc[book.rows]
    says = fit(x, 0.02, is_named=is_named) if more.pop("refitted", False) else fitted
    asked = own if is_named else own.to_numpy(dtype=object)
    shown = asked if order is None else own[[*order, "country"]].to_numpy(dtype=object)
    p = says.predict_proba(asked)
    numbers = {"x": shown, "probabilities": p, "clusters_of": says.classes_[(p[:, 1] > cut).astype(int)]}
    numbers = {name: numbers[name] for name in given.split()}
    arguments: dict[str, Any] = {"name": "m", "version": 1, "predictors": PREDICTORS, "documents": documents, "at": NOW}
    try:
        from_estimator(fitted, **arguments | numbers | more)
    except ExportError as error:
        return str(error)
    return ""


def median_age() -> float:
    return float(median(document["age"] for document in members() if "age" in document))


def book(**more: Any) -> Notebook:
    return replace(Notebook(), **more)
