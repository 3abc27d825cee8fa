"""Models fitted on CDNOW as a notebook would, exported: all members, each kind of model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, PolynomialFeatures, StandardScaler

from memberstream.models.explain import score_many
from memberstream.models.export import ModelFile, from_estimator
from memberstream.stream.demo import history

pytestmark = pytest.mark.long

DAY = "1998-04-01"
BOUGHT = {"path": "purchases", "time": "at"}
PREDICTORS: list[dict[str, Any]] = [
    {"name": "recency", **BOUGHT, "aggregate": "days_since", "missing": 730},
    {"name": "tenure", "path": "joined", "aggregate": "days_since", "missing": 0},
    {"name": "frequency", **BOUGHT, "aggregate": "distinct", "value": "at"},
    {"name": "spend", **BOUGHT, "aggregate": "sum", "value": "amount"},
]
FINALS: dict[str, Any] = {
    "logistic": LogisticRegression(),
    "polynomial": make_pipeline(PolynomialFeatures(2, include_bias=False), LogisticRegression(max_iter=1000)),
    "multinomial": LogisticRegression(max_iter=1000),
    "kmeans": KMeans(4, n_init=1, random_state=0),
    "minibatch": MiniBatchKMeans(4, n_init=1, random_state=0),
    "mixture": GaussianMixture(4, random_state=0),
    "tied mixture": GaussianMixture(4, covariance_type="tied", random_state=0),
    "diagonal mixture": GaussianMixture(4, covariance_type="diag", random_state=0),
    "spherical mixture": GaussianMixture(4, covariance_type="spherical", random_state=0),
}
# A number with gaps, a category that is a number and one that is a text: what a ColumnTransformer is for.
MORE: list[dict[str, Any]] = [
    *PREDICTORS,
    {"name": "price_90d", **BOUGHT, "aggregate": "mean", "value": "amount", "window_days": 90},
    {"name": "units", **BOUGHT, "aggregate": "last", "value": "units", "missing": 0},
    {"name": "cohort", "path": "joined", "type": "text"},
]
COLUMNS = ColumnTransformer(
    [
        ("logs", make_pipeline(FunctionTransformer(np.log1p), StandardScaler()), ["recency", "frequency", "spend"]),
        ("gaps", make_pipeline(SimpleImputer(strategy="median"), MinMaxScaler(clip=True)), ["price_90d"]),
        ("categories", OneHotEncoder(handle_unknown="ignore", drop="first"), ["units", "cohort"]),
    ],
    remainder=MinMaxScaler(),
    sparse_threshold=0,
)


def row(document: dict[str, Any]) -> list[float]:
    """Return a member's predictors by plain arithmetic, with no help of the core."""
    day_ms = 86_400_000
    days = {purchase["at"] for purchase in document["purchases"]}
    ages = [(history.day_ms(DAY) - history.day_ms(day)) / day_ms for day in (max(days), document["joined"])]
    return [*ages, len(days), sum(purchase["amount"] for purchase in document["purchases"])]


@pytest.mark.parametrize("kind", FINALS)
def test_all_members(kind: str) -> None:
    """For every member the file's probabilities are within 1e-12 of the pipeline's, and the clusters are equal."""
    documents = list(history.documents(history.day_ms(DAY)).values())
    x = np.array([row(document) for document in documents])
    y = np.digitize(x[:, 3], [20, 100]) if kind == "multinomial" else x[:, 3] > 50
    fitted = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), FINALS[kind]).fit(x, y)
    file = from_estimator(fitted, name="m", version=1, predictors=PREDICTORS, documents=documents, at=DAY)
    agrees(kind, file, documents, fitted, x)


@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize("kind", ["logistic", "multinomial", "kmeans"])
def test_all_members_through_a_column_transformer(kind: str) -> None:
    """Fitted on every other member as a DataFrame with gaps, texts and numbers: some of the rest have categories that
    the fit has not seen."""
    documents = list(history.documents(history.day_ms(DAY)).values())
    x = pd.DataFrame([more_of_row(document) for document in documents], columns=[p["name"] for p in MORE])
    y = np.digitize(x["spend"], [20, 100]) if kind == "multinomial" else x["spend"] > 50
    fitted = make_pipeline(COLUMNS, FINALS[kind]).fit(x[::2], y[::2])
    file = from_estimator(fitted, name="m", version=1, predictors=MORE, documents=documents, at=DAY)
    agrees(kind, file, documents, fitted, x)


def more_of_row(document: dict[str, Any]) -> list[Any]:
    """Return a member's predictors with gaps and categories, by plain arithmetic."""
    since_ms = history.day_ms(DAY) - 90 * 86_400_000
    recent = [p["amount"] for p in document["purchases"] if history.day_ms(p["at"]) > since_ms]
    last = document["purchases"][-1]["units"]
    return [*row(document), sum(recent) / len(recent) if recent else np.nan, last, document["joined"]]


def agrees(kind: str, file: ModelFile, documents: list[dict[str, Any]], fitted: Any, x: Any) -> None:
    """Probabilities are within 1e-12 and clusters equal, for all members."""
    assert file.n_verified == len(documents) == 23_570
    rows = score_many(file.model, documents, history.day_ms(DAY))
    assert [r["cluster"] for r in rows] == fitted.predict(x).astype(int).tolist()
    if "probability" in rows[0]:
        expected, found = fitted.predict_proba(x), np.array([r["probability"] for r in rows])
        worst = np.abs(found - (expected if found.ndim == 2 else expected[:, 1])).max()
        print(f"{kind}: worst difference {worst:.2g}")
        assert worst <= 1e-12
