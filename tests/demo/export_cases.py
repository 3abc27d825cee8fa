"""Exports as authors make them, right and with one mistake, and what the author's own numbers say of each document.

A case is one level of each factor. What the author means is computed here from the library's own numbers on the
author's own matrix, by the names that the author has in mind. No code of the export takes part.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import orjson
import pandas as pd
import statsmodels.api as sm
import statsmodels.formula.api as smf
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from memberstream.models.explain import score_many
from memberstream.models.export import ExportError, ModelFile, from_estimator, from_r_glm

NOW, DAY_MS, N = "2026-01-01", 86_400_000, 60
NOW_MS = 1_767_225_600_000
COMPONENTS = ("kmeans", "minibatch", "full", "tied", "diag", "spherical")
OWN_THRESHOLD, THREE = ("fixed", "tuned"), ("three", "mnlogit")
STATISTICS = ("logit", "logit formula", "glm formula", "mnlogit", "r")  # statsmodels' and R's
FACTORS: dict[str, tuple[str, ...]] = {
    "estimator": ("logistic", "cv", "grid", "random", *OWN_THRESHOLD, "three", *COMPONENTS, *STATISTICS),
    "classes": ("numbers", "booleans", "alphabetical", "not alphabetical"),
    "names": ("none", "by value", "in order", "mapping"),
    "thresholds": ("none", "of the data", "bands", "of the first class"),
    "dtype": ("float64", "float32", "frame"),
    "mistake": ("none", "predictors", "inputs", "cents", "seconds", "path", "rows", "other class"),
    "proof": ("none", "x", "probabilities", "clusters_of", "all"),
}
#: Of these only the author's own numbers can tell; without them a file says that it is unproven.
HIDDEN = ("predictors", "inputs", "cents")
#: The classes from the lowest to the highest, as their author means them.
CLASSES: dict[str, list[Any]] = {
    "numbers": [0, 1, 2],
    "booleans": [False, True],
    "alphabetical": ["cold", "medium", "warm"],
    "not alphabetical": ["low", "medium", "high"],
}
Case = Mapping[str, str]


def is_possible(case: Case) -> bool:
    """Return whether there is such a case: clusterings have no classes, only binary models have thresholds …"""
    kind, classes, dtype, proof, mistake = (case[f] for f in ("estimator", "classes", "dtype", "proof", "mistake"))
    is_text = classes.endswith("alphabetical")
    impossible = (
        (kind in COMPONENTS and (classes, case["thresholds"]) != ("numbers", "none")),
        (kind in (*OWN_THRESHOLD, *THREE) and case["thresholds"] != "none"),
        (kind in THREE and classes == "booleans"),
        (kind in ("logit", "logit formula") and is_text),
        dtype == "float32" and kind in (*COMPONENTS, *STATISTICS),
        (kind.endswith("formula") and dtype != "frame"),
        (kind == "r" and (dtype != "float64" or classes == "booleans" or mistake == "predictors")),
        (mistake == "inputs" and (kind == "r" or kind.endswith("formula"))),
        (mistake == "rows" and proof == "none" and kind != "r"),
        (proof == "probabilities" and kind in ("kmeans", "minibatch")),
        mistake == "other class" and (proof in ("none", "x") or case["thresholds"] != "none" or kind in COMPONENTS),
    )
    return not any(impossible)


def must_export(case: Case) -> bool:
    """Return whether nothing is wrong with a case, and nothing left open."""
    is_text = case["classes"].endswith("alphabetical")
    is_open = (
        (is_text and case["thresholds"] in ("of the data", "bands")),
        (is_text and case["names"] == "in order"),
        (case["thresholds"] == "bands" and case["names"] in ("none", "mapping")),
        # equal in one precision, not in the other
        (case["dtype"] == "float32" and case["thresholds"] != "none"),
    )
    is_harmless = case["mistake"] == "predictors" and case["dtype"] == "frame"  # names tell the order
    return not any(is_open) and (case["mistake"] == "none" or is_harmless)


def product() -> Iterator[dict[str, str]]:
    """Yield all possible cases."""
    for levels in itertools.product(*FACTORS.values()):
        case = dict(zip(FACTORS, levels, strict=True))
        if is_possible(case):
            yield case


def pairwise(cases: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return some of the cases in which each pair of levels that occurs in them occurs. Greedy, and always the same."""
    rng = np.random.default_rng(0)
    tried = [cases[i] for i in rng.permutation(len(cases))]
    pairs_of = [frozenset(itertools.combinations(case.items(), 2)) for case in tried]
    missing = set().union(*pairs_of)
    chosen = []
    while missing:
        best = max(rng.integers(0, len(tried), 300).tolist(), key=lambda i: len(pairs_of[i] & missing))
        if not pairs_of[best] & missing:
            wanted = min(missing)
            best = next(i for i, pairs in enumerate(pairs_of) if wanted in pairs)
        chosen.append(tried[best])
        missing -= pairs_of[best]
    return chosen


# --- the author's data, and what was fitted on it


@cache
def matrix() -> pd.DataFrame:
    """Return the author's matrix: days since a visit, money, openings."""
    rng = np.random.default_rng(7)
    columns = {"recency": rng.integers(0, 90, N), "spend": rng.gamma(2, 30, N).round(2), "opens": rng.poisson(5, N)}
    return pd.DataFrame(columns).astype(float)


def documents(mistake: str) -> list[dict[str, Any]]:
    """Return the members' documents, with the mistake that lies in them."""
    factor = 100.0 if mistake == "cents" else 1.0
    unit = 1_000 if mistake == "seconds" else 1
    return [
        {
            "seen": (NOW_MS - int(days) * DAY_MS) // unit,
            "orders": [{"amount": money * factor / 2}, {"amount": money * factor / 2}],
            "opens": opens,
        }
        for days, money, opens in matrix().to_numpy().tolist()
    ]


def predictors(mistake: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": "recency", "path": "seen", "aggregate": "days_since", "missing": 0},
        {"name": "spend", "path": "orders", "aggregate": "sum", "value": "amount"},
        {"name": "opens", "path": "open" if mistake == "path" else "opens", "missing": 0},
    ]
    return [found[2], found[0], found[1]] if mistake == "predictors" else found


@cache
def outcome(n_classes: int) -> Any:
    """Return each row's class, from the lowest, as a number."""
    x, rng = matrix(), np.random.default_rng(8)
    score = x["spend"] / 40 + x["opens"] / 5 - x["recency"] / 60 + rng.normal(0, 0.7, N)
    return np.digitize(score, np.quantile(score, [0.5] if n_classes == 2 else [0.35, 0.7]))


@cache
def fitted(kind: str, classes: str, dtype: str) -> tuple[Any, Any]:
    """Return (what was fitted, the matrix of the fit)."""
    frame = matrix()
    x: Any = frame if dtype == "frame" else frame.to_numpy().astype(dtype)
    labels = np.array(CLASSES[classes], dtype=object if classes.endswith("alphabetical") else None)
    y = labels[outcome(3 if kind in THREE else 2)]
    y = y.astype(str) if classes.endswith("alphabetical") else y
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    high = CLASSES[classes][1]
    if kind in ("kmeans", "minibatch"):
        model = (KMeans if kind == "kmeans" else MiniBatchKMeans)(3, n_init=1, random_state=0)
        return make_pipeline(RobustScaler(), model).fit(x), x
    if kind in COMPONENTS:
        return GaussianMixture(3, covariance_type=kind, random_state=0).fit(x), x
    if kind == "logit":
        return sm.Logit(y, sm.add_constant(x)).fit(disp=0), sm.add_constant(x)
    if kind == "mnlogit":
        return sm.MNLogit(y, sm.add_constant(x)).fit(disp=0), sm.add_constant(x)
    if kind == "r":
        return sm.Logit(outcome(2), sm.add_constant(frame)).fit(disp=0), frame
    if kind == "logit formula":
        return smf.logit("y ~ recency + np.log1p(spend) + opens", frame.assign(y=y.astype(int))).fit(disp=0), frame
    if kind == "glm formula":
        formula = "y ~ recency + spend + I(opens**2)"
        return smf.glm(formula, frame.assign(y=y), family=sm.families.Binomial()).fit(), frame
    models = {
        "logistic": logistic,
        "three": make_pipeline(MinMaxScaler(), LogisticRegression()),
        "cv": make_pipeline(
            StandardScaler(),
            LogisticRegressionCV(
                Cs=2, cv=2, l1_ratios=(0,), use_legacy_attributes=False, scoring="neg_log_loss", max_iter=500
            ),
        ),
        "grid": GridSearchCV(logistic, {"logisticregression__C": [0.1]}, cv=2),
        "random": RandomizedSearchCV(logistic, {"logisticregression__C": [1.0]}, n_iter=1, cv=2),
        "fixed": FixedThresholdClassifier(logistic, threshold=0.4, pos_label=high),
        "tuned": TunedThresholdClassifierCV(logistic, thresholds=[0.3, 0.45, 0.7], cv=2),
    }
    return models[kind].fit(x, y), x


# --- what the author means


@dataclass(frozen=True)
class Meant:
    """What the author has in the notebook.

    Attributes:
        probabilities: of the classes or components from the lowest, (n, n_classes); None: k-means.
        names: the cluster that each document is meant to be in.
        labels: what the library's predict says, or these names where it says nothing of them.
    """

    probabilities: Any
    names: list[str]
    labels: list[Any]


def labels_of(case: Case) -> list[Any]:
    """Return the classes or components, from the lowest."""
    kind = case["estimator"]
    n = 3 if kind in (*THREE, *COMPONENTS) else 2
    if case["classes"] == "booleans" and kind.startswith("logit"):
        return [0, 1]  # statsmodels sees numbers
    return [*CLASSES[case["classes"]][:n]]


def threshold_list(case: Case, p: Any) -> list[float]:
    """Return the thresholds of the class that they cut: two of its probabilities, or one."""
    ordered = sorted(p.tolist())
    return [ordered[N // 2]] if case["thresholds"] != "bands" else [ordered[N // 3], ordered[2 * N // 3]]


def probabilities_of(case: Case) -> Any:
    """Return the library's probabilities, of the classes from the lowest."""
    kind = case["estimator"]
    model, x = fitted(kind, case["classes"], case["dtype"])
    if kind in ("kmeans", "minibatch"):
        return None
    if kind in ("logit", "logit formula", "r"):
        p = np.asarray(model.predict(sm.add_constant(x) if kind == "r" else x))
        return np.column_stack([1 - p, p])
    if kind == "glm formula":
        p = np.asarray(model.predict(x))
        first = labels_of(case).index(sorted(labels_of(case))[0])  # what patsy takes as the level that is modelled
        p = p if case["classes"] == "numbers" or first == 1 else 1 - p
        return np.column_stack([1 - p, p])
    if kind == "mnlogit":
        p, classes = np.asarray(model.predict(x)), sorted(labels_of(case))
    elif kind in COMPONENTS:
        return model.predict_proba(x)
    else:
        p, classes = model.predict_proba(x), model.classes_.tolist()
    return p[:, [classes.index(label) for label in labels_of(case)]]


def meant(case: Case) -> Meant:
    """Return what the author means of each document."""
    labels, kind = labels_of(case), case["estimator"]
    model, x = fitted(kind, case["classes"], case["dtype"])
    p = probabilities_of(case)
    if kind in COMPONENTS:
        places = model.predict(x).tolist()
    elif case["thresholds"] in ("of the data", "bands"):
        places = np.digitize(p[:, 1], threshold_list(case, p[:, 1])).tolist()
    elif case["thresholds"] == "of the first class":
        places = (1 - (p[:, 0] >= threshold_list(case, p[:, 0])[0])).tolist()
    elif kind in STATISTICS:
        places = p.argmax(axis=1).tolist()
    else:
        places = [labels.index(label) for label in model.predict(x).tolist()]
    if case["thresholds"] == "bands":
        return Meant(p, [f"band {i}" for i in places], [f"band {i}" for i in places])
    given = {"in order": "N{}", "mapping": "M{}"}.get(case["names"])
    names = [given.format(i) if given else str(labels[i]) for i in places]
    return Meant(p, names, [labels[i] for i in places])


def clusters_argument(case: Case) -> Any:
    """Return what the author gives as `clusters`."""
    labels = labels_of(case)
    if case["thresholds"] == "bands":
        return {"none": None, "mapping": {"x": "band 0", "y": "band 1", "z": "band 2"}}.get(
            case["names"], ["band 0", "band 1", "band 2"]
        )
    return {
        "none": None,
        "by value": [str(label) for label in labels],
        "in order": [f"N{i}" for i in range(len(labels))],
        "mapping": {label: f"M{i}" for i, label in enumerate(labels)},
    }[case["names"]]


def export(case: Case) -> ModelFile:
    """Export as the author does. Raises ExportError."""
    kind, mistake, proof, labels = case["estimator"], case["mistake"], case["proof"], labels_of(case)
    said, (model, x) = meant(case), fitted(kind, case["classes"], case["dtype"])
    turn = slice(None, None, -1) if mistake == "rows" else slice(None)
    p = said.probabilities
    if p is not None and mistake == "other class":
        p = p[:, ::-1]
    own_labels: list[Any] = said.labels[turn]
    if mistake == "other class":
        own_labels = [labels[(labels.index(label) + 1) % len(labels)] for label in own_labels]
    more: dict[str, Any] = {
        "name": "m", "version": 1, "predictors": predictors(mistake), "documents": documents(mistake), "at": NOW,
        "clusters": clusters_argument(case),
    }  # fmt: skip
    if case["thresholds"] in ("of the data", "bands"):
        more["thresholds"] = threshold_list(case, said.probabilities[:, 1])
    elif case["thresholds"] == "of the first class":
        more["thresholds"] = {labels[0]: threshold_list(case, said.probabilities[:, 0])}
    if mistake == "inputs":
        more["inputs"] = ["spend", "recency", "opens"]
    elif mistake == "predictors" and case["dtype"] != "frame":
        assert more["predictors"][0]["name"] == "opens"
    if proof in ("x", "all"):
        more["x"] = x[turn]
    if proof in ("clusters_of", "all"):
        more["clusters_of"] = own_labels
    if kind == "r":
        coefficients = {"(Intercept)" if k == "const" else k: f"{v:.17g}" for k, v in model.params.items()}
        source = {
            "family": "binomial", "link": "logit", "coefficients": coefficients,
            "outcome": labels if case["classes"].endswith("alphabetical") else None,
            "probabilities": [f"{v:.17g}" for v in p[turn, 1]],
        }  # fmt: skip
        return from_r_glm(orjson.dumps(source), **more)
    if proof in ("probabilities", "all") and p is not None:
        classes = sorted(labels) if kind not in COMPONENTS else labels
        more["probabilities"] = p[turn][:, [labels.index(label) for label in classes]]
        if len(labels) == 2:  # as predict_proba's second column, or statsmodels' one number
            more["probabilities"] = more["probabilities"][:, 1]
    return from_estimator(model, **more)


def verdict(case: Case) -> str:
    """Return "refused", "right", "unproven and wrong" or "silently wrong"."""
    try:
        file = export(case)
    except ExportError:
        return "refused"
    names = {cluster.id: cluster.name for cluster in file.model.clusters}
    found = [names[row["cluster"]] for row in score_many(file.model, documents(case["mistake"]), NOW_MS)]
    is_unproven = "unproven" in repr(file)
    assert is_unproven == (case["proof"] == "none" and case["estimator"] != "r")
    if found == meant(case).names and case["mistake"] != "other class":
        return "right"
    return "unproven and wrong" if is_unproven and case["mistake"] in HIDDEN else "silently wrong"
