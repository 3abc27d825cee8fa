"""The author's own numbers: what once became a wrong file in silence is refused with its cause, or comes out right.

Each case is held against the library's own numbers on the author's own matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer, roc_curve
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from memberstream.models.explain import score_many
from memberstream.models.export import ExportError, ModelFile, from_estimator, from_r_glm
from memberstream.models.timestamps import parse_ms

N = 400
_rng = np.random.default_rng(0)
X = pd.DataFrame(
    {
        "age": _rng.integers(18, 80, N).astype(float),
        "spend": np.round(_rng.gamma(2, 30, N), 2),
        "opens": _rng.poisson(5, N).astype(float),
    }
)
DOCUMENTS = X.to_dict("records")
PREDICTORS = [{"name": name, "path": name, "missing": 0} for name in X]
LEVEL = np.select([X["spend"] + 5 * X["opens"] < 60, X["spend"] + 5 * X["opens"] < 110], ["low", "medium"], "high")
BUYS = np.where(X["spend"] + _rng.normal(0, 20, N) > 55, "buys", "stays")
NUMBER = (BUYS == "buys").astype(int)
FRAME = X.assign(bought=NUMBER, flag=BUYS == "buys", said=BUYS)


def scaled(y: Any, x: Any = X, final: Any = None) -> Any:
    return make_pipeline(StandardScaler(), final or LogisticRegression()).fit(x, y)


def export(fitted: Any, **more: Any) -> ModelFile:
    given = {"name": "m", "version": 1, "predictors": PREDICTORS, "documents": DOCUMENTS, **more}
    return from_estimator(fitted, **given)


def refused(fitted: Any, **more: Any) -> str:
    """Return why it is refused."""
    with pytest.raises(ExportError) as error:
        export(fitted, **more)
    return str(error.value)


def clusters(file: ModelFile, documents: Any = DOCUMENTS) -> list[str]:
    """Return the name of each document's cluster."""
    names = {cluster.id: cluster.name for cluster in file.model.clusters}
    return [names[row["cluster"]] for row in score_many(file.model, documents, 0)]


THREE, TWO, NUMBERED = scaled(LEVEL), scaled(BUYS), scaled(NUMBER)


def test_names_that_are_the_classes_are_matched_by_value() -> None:
    """scikit-learn's order is the alphabet, the author's isn't: each document has the name of its predicted class, ids
    are in the author's order, and print shows all of it."""
    names = ["low", "medium", "high"]
    file = export(THREE, clusters=names, x=X, probabilities=THREE.predict_proba(X), clusters_of=THREE.predict(X))
    assert clusters(file) == THREE.predict(X).tolist()
    assert [c.name for c in file.model.clusters] == names
    assert file.proven_by == ("x", "probabilities", "clusters_of")
    n = (THREE.predict(X) == "low").sum()
    assert str(file).split("\n")[0].endswith("verified on 400 documents against your x, probabilities, clusters_of>")
    assert str(file).split("\n")[1] == f"  low    → 0 low     {n:>9,}  {n / N:6.1%}"
    for given in (
        ["stays", "buys"],
        {"stays": "stays", "buys": "buys"},
        [{"id": 3, "name": "stays"}, {"id": 7, "name": "buys"}],
        [{"id": 7, "name": "buys"}, {"id": 9, "name": "stays"}],
        None,
    ):
        file = export(TWO, clusters=given, probabilities=TWO.predict_proba(X), clusters_of=TWO.predict(X))
        assert clusters(file) == TWO.predict(X).tolist()
        p = TWO.predict_proba(X)[:, TWO.classes_.tolist().index(file.model.clusters[1].name)]
        assert [row["probability"] for row in score_many(file.model, DOCUMENTS, 0)] == pytest.approx(p.tolist())


def test_names_that_are_not_sure_are_refused() -> None:
    """Other names than the classes need a mapping where the classes are texts; so do names and ids that are some other
    class's."""
    assert "which name belongs to which of the classes high, low, medium" in refused(THREE, clusters=["a", "b", "c"])
    assert "which name belongs" in refused(TWO, clusters=[{"id": 0, "name": "no"}, {"id": 1, "name": "yes"}])
    assert "Use: clusters={'high': …, 'medium': …}" in refused(THREE, clusters=["a", "b", "c"])
    assert "low is one of the classes" in refused(THREE, clusters=["low", "b", "c"])
    three = scaled(NUMBER + (X["age"] > 50))
    assert "1, 2 is one of the classes 0, 1, 2" in refused(three, clusters=["1", "2", "3"])
    assert "which name belongs" in refused(three, clusters=[{"id": i, "name": f"c{i}"} for i in (1, 0, 2)])
    assert "expected a name for each of high, low, medium, found low, high" in refused(
        THREE, clusters={"low": "a", "high": "b"}
    )
    assert "clusters: expected 2, found 1" in refused(TWO, clusters="ab")
    odd = [{"id": "x", "name": "stays"}, {"id": 1, "name": "buys"}]
    assert "clusters[1].id: expected a cluster id from 0" in refused(TWO, clusters=odd)
    file = export(THREE, clusters={"low": "a", "medium": "b", "high": {"id": 9, "name": "c"}})
    assert [(c.id, c.name) for c in file.model.clusters] == [(0, "a"), (1, "b"), (9, "c")]
    assert clusters(file) == [{"low": "a", "medium": "b", "high": "c"}[name] for name in THREE.predict(X)]
    file = export(three, clusters=["2", "0", "1"], clusters_of=three.predict(X))
    assert clusters(file) == [str(label) for label in three.predict(X)]
    assert [c.id for c in file.model.clusters] == [0, 1, 2]
    flags = scaled(NUMBER == 1)
    assert clusters(export(flags, clusters=["no", "yes"])) == np.where(flags.predict(X), "yes", "no").tolist()
    centres = KMeans(3, n_init=1, random_state=0).fit(X.to_numpy())
    file = export(centres, clusters={2: "c", 0: "a", 1: "b"}, clusters_of=centres.labels_)
    assert clusters(file) == ["abc"[label] for label in centres.labels_]


def test_unproven_is_said() -> None:
    """Without the author's own numbers nothing is called verified."""
    assert repr(export(TWO)) == (
        "<ModelFile m@1: logistic over 3 columns, 2 clusters, 100 examples, 400 documents, unproven against your own "
        "numbers>"
    )


@pytest.mark.parametrize("formula", ["flag ~ age + spend", "said ~ age + spend", "spend > 55 ~ age", "C(bought) ~ age"])
def test_outcome_of_a_formula(formula: str) -> None:
    """A GLM of a boolean or a text models the first level; the file has the second one's probability, and each member
    the cluster of its own outcome. The author who takes the one for the other is told."""
    results = smf.glm(formula, FRAME, family=sm.families.Binomial()).fit()
    p = results.predict(FRAME)
    levels = [name.split("[")[1].removesuffix("]") for name in results.model.endog_names]
    first, second = ({"False": False, "True": True, "0": 0, "1": 1}.get(level, level) for level in levels)
    file = export(results, x=FRAME, probabilities={first: p}, clusters_of=np.where(p < 0.5, second, first))
    assert clusters(file) == np.where(p < 0.5, str(second), str(first)).tolist()
    assert [r["probability"] for r in score_many(file.model, DOCUMENTS, 0)] == pytest.approx((1 - p).tolist())
    assert f"yours are those of {first!r}, not of {second!r}" in refused(results, probabilities=p)
    file = export(results, thresholds={first: [0.3, 0.7]}, clusters=["a", "b", "c"], probabilities={first: p})
    assert clusters(file) == [["a", "b", "c"][int(v >= 0.3) + int(v >= 0.7)] for v in p]


def test_what_formulas_of_statsmodels_cannot_say() -> None:
    """A formula names its predictors, so inputs can't; a table of names isn't an array; an outcome has two levels."""
    results = smf.logit("bought ~ age + spend", FRAME).fit(disp=0)
    assert "inputs: a formula names its predictors" in refused(results, inputs=["spend", "age", "opens"])
    assert "x: expected a table with named columns" in refused(results, x=X.to_numpy())
    assert "x: lacks spend" in refused(results, x=FRAME[["age"]])
    named = sm.Logit(NUMBER, sm.add_constant(X)).fit(disp=0)
    assert "inputs: fitted on a column age where inputs says spend" in refused(named, inputs=["spend", "age", "opens"])
    exog = sm.add_constant(X)
    for x in (exog, exog.to_numpy(), X.to_numpy()):
        assert export(named, x=x, probabilities=named.predict(exog)).proven_by == ("x", "probabilities")
    array = sm.Logit(NUMBER, exog.to_numpy()).fit(disp=0)
    swapped = [PREDICTORS[1], PREDICTORS[0], PREDICTORS[2]]
    found = refused(array, predictors=swapped, x=exog)
    assert "the columns are in another order. Use: inputs=['age', 'spend', 'opens']" in found
    assert export(array, predictors=swapped, inputs=[*X], x=exog.to_numpy()).proven_by == ("x",)
    noisy = np.where(np.arange(N) % 3 == 0, "low", LEVEL)  # otherwise separable, which statsmodels can't fit
    many = sm.MNLogit(noisy, exog).fit(disp=0)
    predicted = np.array(["high", "low", "medium"])[many.predict(exog).to_numpy().argmax(axis=1)]
    file = export(many, clusters=["low", "medium", "high"], probabilities=many.predict(exog), clusters_of=predicted)
    assert clusters(file) == predicted.tolist()


def test_r_says_whose_probability_it_gives() -> None:
    """R gives the probability of a factor's second level: names are matched to it by value, and R's own probabilities
    prove them. A file that doesn't say its outcome is refused."""
    results = sm.Logit(NUMBER, sm.add_constant(X)).fit(disp=0)
    p = results.predict(sm.add_constant(X)).to_numpy()
    coefficients = {"(Intercept)" if k == "const" else k: f"{v:.17g}" for k, v in results.params.items()}
    source = {
        "family": "binomial", "link": "logit", "outcome": ["stays", "buys"], "coefficients": coefficients,
        "probabilities": [f"{v:.17g}" for v in p],
    }  # fmt: skip
    more: dict[str, Any] = {"name": "m", "version": 1, "predictors": PREDICTORS, "documents": DOCUMENTS}
    file = from_r_glm(orjson.dumps(source), clusters=["buys", "stays"], x=X, **more)
    assert file.proven_by == ("x", "probabilities")
    assert clusters(file) == np.where(p > 0.5, "buys", "stays").tolist()
    cut = from_r_glm(orjson.dumps(source), thresholds={"stays": [0.2, 0.8]}, clusters=["a", "b", "c"], **more)
    assert clusters(cut) == [["a", "b", "c"][int(1 - v >= 0.2) + int(1 - v >= 0.8)] for v in p]
    for outcome, expected in (
        (None, "outcome: expected the levels"),
        (["a", "b", "c"], "outcome: expected two levels, found 3"),
    ):
        changed = {k: v for k, v in (source | {"outcome": outcome}).items() if k != "outcome" or v}
        with pytest.raises(ExportError, match=expected):
            from_r_glm(orjson.dumps(changed), **more)
    other = source | {"probabilities": [f"{1 - v:.17g}" for v in p]}
    with pytest.raises(ExportError, match="Likely cause: they are 1 minus the file's, those of the other class"):
        from_r_glm(orjson.dumps(other), **more)
    with pytest.raises(ExportError, match=r"have another cluster[.] No single cause found[.] Use: x="):
        from_r_glm(orjson.dumps(source), clusters_of=np.where(np.arange(N) % 3, "buys", "stays"), **more)
    with pytest.raises(ExportError, match="x: spend: yours are 100 times the file's"):
        from_r_glm(orjson.dumps(source), x=X.assign(spend=X["spend"] * 100), **more)


def test_order_of_columns() -> None:
    """Names tell the order: inputs that contradict them are refused. Without names the author's numbers tell."""
    found = refused(TWO, inputs=["spend", "age", "opens"])
    assert "inputs: fitted on a column age where inputs says spend" in found
    renamed = scaled(BUYS, X.rename(columns={"age": "Age"}))
    inputs = ["age", "spend", "opens"]
    assert export(renamed, inputs=inputs, x=X.rename(columns={"age": "Age"})).proven_by == ("x",)
    matrix = X.to_numpy()
    centres = KMeans(3, n_init=1, random_state=0).fit(matrix)
    swapped = [PREDICTORS[1], PREDICTORS[0], PREDICTORS[2]]
    assert "unproven" in repr(export(centres, predictors=swapped))
    advice = "the columns are in another order. Use: inputs=['age', 'spend', 'opens']"
    assert advice in refused(centres, predictors=swapped, x=matrix)
    assert advice in refused(centres, predictors=swapped, clusters_of=centres.labels_)
    plain = scaled(BUYS, matrix)
    assert advice in refused(plain, predictors=swapped, probabilities=plain.predict_proba(matrix)[:, 1])
    around = [PREDICTORS[2], PREDICTORS[0], PREDICTORS[1]]
    assert advice in refused(plain, predictors=around, probabilities=plain.predict_proba(matrix))
    assert export(plain, predictors=swapped, inputs=inputs, x=matrix.tolist()).proven_by == ("x",)


def test_equality_at_thresholds() -> None:
    """A threshold of roc_curve is a probability of the data and means p >= t: as many are beyond as the author counts.
    It is moved into the gap beside it, and that is said."""
    p = NUMBERED.predict_proba(X)[:, 1]
    t = float(roc_curve(NUMBER, p)[2][40])
    assert (p == t).any()
    own = {"probabilities": p, "clusters": ["no", "yes"]}
    file = export(NUMBERED, thresholds=[t], clusters_of=np.where(p >= t, "yes", "no"), **own)
    assert clusters(file).count("yes") == (p >= t).sum()
    assert file.definition["model"]["threshold_rule"] == ">="
    assert "is the probability of a document: moved to" in str(file)
    [cut] = file.definition["model"]["thresholds"]
    assert np.abs(p - cut).min() > 1e-10
    assert abs(cut - t) < 1.1e-9
    file = export(NUMBERED, thresholds=t, threshold_rule=">", clusters_of=np.where(p > t, "yes", "no"), **own)
    assert clusters(file).count("yes") == (p > t).sum() == (p >= t).sum() - 1
    assert "threshold_rule" not in file.definition["model"]
    bands = [float(v) for v in sorted(p)[100:300:100]]
    file = export(NUMBERED, thresholds=np.array(bands), clusters=["a", "b", "c"], clusters_of=None)
    assert clusters(file) == [["a", "b", "c"][i] for i in np.digitize(p, bands)]
    assert str(file).split("\n")[2].startswith("  0.")
    other = export(
        TWO, thresholds={"buys": [t]}, clusters_of=np.where(TWO.predict_proba(X)[:, 0] >= t, "buys", "stays")
    )
    assert clusters(other) == np.where(TWO.predict_proba(X)[:, 0] >= t, "buys", "stays").tolist()
    cut = export(TWO, thresholds={"buys": [0.3, 0.6]}, clusters=["a", "b", "c"], probabilities=TWO.predict_proba(X))
    assert clusters(cut) == [["a", "b", "c"][i] for i in np.digitize(TWO.predict_proba(X)[:, 0], [0.3, 0.6])]


def test_thresholds_that_say_too_little_are_refused() -> None:
    """Whose probability texts' thresholds cut; thresholds outside of 0 to 1, as roc_curve's first; other rules."""
    assert "whose probability do they cut? The classes are 'buys' and 'stays'. Use: thresholds={'stays'" in refused(
        TWO, thresholds=[0.3]
    )
    assert "expected one of the classes 'buys' and 'stays'" in refused(TWO, thresholds={"yes": [0.3]})
    for given in ([np.inf, 0.5], [0.5, 0.4], [0.0], [np.nan], [1.0]):
        assert "thresholds: expected probabilities above 0 and below 1 that ascend" in refused(
            NUMBERED, thresholds=given
        )
    assert "thresholds: expected probabilities, found" in refused(NUMBERED, thresholds=["low"])
    assert 'threshold_rule: expected ">" or ">="' in refused(NUMBERED, thresholds=[0.5], threshold_rule="=")
    assert "expected 3 names, one for each band between thresholds, found 2" in refused(
        NUMBERED, thresholds=[0.3, 0.6], clusters={"a": "b", "c": "d"}
    )


def test_wrappers_are_opened() -> None:
    """Searches, threshold classifiers of either class and frozen estimators: clusters are what predict says."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    p = TWO.predict_proba(X)
    t = float(sorted(p[:, 0])[120])
    f1 = make_scorer(f1_score, pos_label="buys")
    for fitted in (
        GridSearchCV(pipeline, {"logisticregression__C": [0.1]}, cv=2).fit(X, BUYS),
        RandomizedSearchCV(pipeline, {"logisticregression__C": [0.1]}, n_iter=1, cv=2).fit(X, LEVEL),
        FixedThresholdClassifier(FrozenEstimator(TWO), threshold=t, pos_label="buys").fit(X, BUYS),
        FixedThresholdClassifier(pipeline, threshold=0.3).fit(X, BUYS),
        FixedThresholdClassifier(pipeline).fit(X, BUYS),
        FixedThresholdClassifier(pipeline, threshold=-0.4, response_method="decision_function").fit(X, BUYS),
        TunedThresholdClassifierCV(pipeline, cv=2, scoring=f1, thresholds=[0.3, 0.4, 0.6]).fit(X, BUYS),
        make_pipeline(StandardScaler(), TunedThresholdClassifierCV(LogisticRegression(), cv=2, thresholds=9)).fit(
            X, NUMBER
        ),
    ):
        said = fitted.predict(X)
        assert len(set(said)) > 1
        file = export(fitted, x=X, probabilities=fitted.predict_proba(X), clusters_of=said)
        assert clusters(file) == [str(label) for label in said]
    assert "has a threshold of its own. Use: no thresholds" in refused(fitted, thresholds=[0.2])


def changed(**more: Any) -> list[dict[str, Any]]:
    """Return the documents with other values: name → function of the value."""
    return [{k: more[k](v) if k in more else v for k, v in document.items()} for document in DOCUMENTS]


@pytest.mark.parametrize(
    ("own", "cause"),
    [
        (X.assign(spend=X["spend"] * 100), "spend: yours are 100 times the file's: a unit such as cents for euros"),
        (X.assign(spend=X["spend"] / 1000), "spend: yours are 0.001 times the file's: a unit such as milliseconds"),
        (X.assign(age=-X["age"]), "age: yours are -1 times the file's: another sign"),
        (X.assign(age=X["age"] * 12.5), "age: yours are 12.5 times the file's"),
        (X.assign(age=X["age"] + 1), "age: yours are the file's plus 1"),
        (X.assign(spend=np.log1p(X["spend"])), "spend: yours are log(1 + v) of the file's"),
        (X.assign(spend=np.sqrt(X["spend"])), "spend: yours are the square root of the file's"),
        (X.assign(spend=X["spend"].round()), "spend: yours are rounded to 0 digits"),
        (
            X.assign(age=(X["age"] - 40) / 12),
            "age: yours are 0.0833333 times the file's minus 3.33333. If a scaler did this: give",
        ),
        (X.assign(age=X["age"].where(X["age"] > 30)), "age: yours are missing there"),
        (X.assign(age=_rng.permutation(X["age"])), "have other numbers than the file computes: age"),
        (X.iloc[::-1], "the rows are in another order than the documents"),
        (X.assign(opens="few"), "opens"),
        (X[:-1], "x: expected a row for each of 400 documents, found 399"),
        (X[["age"]], "x: lacks spend, opens"),
        (X.to_numpy()[:, :2], "x: expected the 3 columns of the fit, found 2"),
        ([[1], [2, 3]], "x: expected the 3 columns of the fit, found another value"),
        (5, "x: expected the 3 columns of the fit, found another value"),
    ],
)
def test_why_the_matrix_differs(own: Any, cause: str) -> None:
    """Each mistake of units, scaling, order and missing values is named, with the first members and both values."""
    found = refused(TWO, x=own)
    assert cause in found
    if "have other numbers" in found:
        assert " in the file, " in found.split("\n")[-1]
        assert found.split("\n")[-1].endswith(" in yours")


def test_why_outputs_differ() -> None:
    """From probabilities or clusters alone: a unit, an order, another class, rounding, log-odds, other rows."""
    p, labels = TWO.predict_proba(X), TWO.predict(X)
    cents = changed(spend=lambda v: 100 * v)
    assert "Likely cause: spend: yours are 0.01 times the file's: a" in refused(TWO, documents=cents, probabilities=p)
    found = refused(TWO, documents=cents, clusters_of=labels)
    assert "Possible causes, then all 400 agree with each alone: other thresholds: yours are cut between" in found
    assert "; or spend: yours are 0.01 times the file's: a unit" in found
    assert "yours are those of 'buys', not of 'stays'" in refused(TWO, probabilities=p[:, 0])
    assert export(TWO, probabilities={"buys": p[:, 0]}).proven_by == ("probabilities",)
    assert export(TWO, probabilities=pd.DataFrame(p[:, ::-1], columns=["stays", "buys"])).proven_by
    assert export(TWO, probabilities=p[:, 1:].astype(np.float32)).proven_by
    assert "yours are rounded to 4 digits" in refused(TWO, probabilities=p.round(4)[:, 1])
    assert "yours are log-odds" in refused(TWO, probabilities=TWO.decision_function(X))
    assert "the rows are in another order" in refused(TWO, probabilities=p[::-1, 1])
    other = scaled(BUYS, X, LogisticRegression(C=0.01))
    assert "No single cause found. x agrees, so it isn't the predictors. Use: what predict_proba says" in refused(
        TWO, x=X, probabilities=other.predict_proba(X)
    )
    assert "have others than the fitted object says" in refused(TWO, probabilities=other.predict_proba(X))
    assert "the same groups under other names: the file's buys is stays in yours" in refused(
        TWO, clusters_of=np.where(labels == "buys", "stays", "buys")
    )
    q = THREE.predict_proba(X)
    assert "their columns are in another order than the classes" in refused(THREE, probabilities=q[:, [1, 2, 0]])
    assert export(THREE, probabilities=pd.DataFrame(q, columns=THREE.classes_)[["low", "medium", "high"]]).proven_by
    assert "expected those of the classes high, low, medium, found low, low" in refused(
        THREE, probabilities=pd.DataFrame(q[:, :2], columns=["low", "low"])
    )
    assert "expected an array of shape (400, 3), found (400, 2)" in refused(THREE, probabilities=q[:, :2])
    assert "probabilities: expected numbers" in refused(TWO, probabilities=["a"] * N)
    assert "clusters_of: expected one for each of 400 documents, found 3" in refused(TWO, clusters_of=labels[:3])
    assert "clusters_of: maybe is none of the clusters buys, stays. Use: " in refused(TWO, clusters_of=["maybe"] * N)
    other = {"stays": "a", "buys": "b"}
    one, few, many = (["a"] * (N - len(wrong)) + wrong for wrong in (["c"], ["d", "c"], [*"cdefghi"]))
    known = "none of the clusters a, b (of the classes stays, buys). Use: names"
    assert f"clusters_of: c is {known}" in refused(TWO, clusters=other, clusters_of=one)
    assert f"clusters_of: c, d are {known}" in refused(TWO, clusters=other, clusters_of=few)
    assert f"clusters_of: c, d, e, f, g and 2 others are {known}" in refused(TWO, clusters=other, clusters_of=many)
    named = [{**d, "member_id": f"m{i}"} for i, d in enumerate(cents)]
    assert "documents[0] (m0).spend: " in refused(TWO, documents=named, x=X)
    centres = KMeans(2, n_init=1, random_state=0).fit(X.to_numpy())
    assert "k-means has none. Use: clusters_of" in refused(centres, probabilities=p)


def test_another_time_of_scoring() -> None:
    """Days counted as of another day or in another time zone: the shift is found."""
    days = np.arange(N) % 90 + 1
    documents = [
        {"seen": str(np.datetime64("2026-01-01") - int(d)), "age": a} for d, a in zip(days, X["age"], strict=True)
    ]
    predictors = [{"name": "recency", "path": "seen", "aggregate": "days_since", "missing": 0}, PREDICTORS[0]]
    own = pd.DataFrame({"recency": days.astype(float), "age": X["age"]})
    fitted = scaled(BUYS, own)
    more: dict[str, Any] = {"documents": documents, "predictors": predictors}
    assert export(fitted, at="2026-01-01", x=own, **more).proven_by == ("x",)
    cause = "another time of scoring: yours are as of 2 days earlier than at"
    assert cause in refused(fitted, at="2026-01-03", x=own, **more)
    p = fitted.predict_proba(own)
    assert (
        "Likely cause: another time of scoring: yours are as of 2 days earlier than at (then all 400 agree)"
        in refused(fitted, at="2026-01-03", probabilities=p, **more)
    )


ORDERS: list[dict[str, Any]] = [
    {
        "name": f"m{i}",
        "orders": [{"amount": float(j + i % 7), "at": f"2025-0{1 + j % 9}-01", "kind": "cd"} for j in range(i % 4)],
        "joined": "2024-05-01" if i % 2 else "2023-01-01",
        "country": "de" if i % 3 else "fr",
    }
    for i in range(40)
]
READS: list[dict[str, Any]] = [
    {"name": "spend", "path": "orders", "aggregate": "sum", "value": "amount", "time": "at", "where": {"kind": "cd"}},
    {"name": "tenure", "path": "joined", "aggregate": "days_since", "missing": 0},
]


def fitted_on_orders() -> LogisticRegression:
    matrix = np.column_stack([np.arange(40.0) % 9, np.arange(40.0) % 5])
    return LogisticRegression().fit(matrix, np.arange(40) % 2)


def seconds(text: str) -> float:
    return (parse_ms(text) or 0) / 1_000


def misread(documents: list[dict[str, Any]], predictors: list[dict[str, Any]], **more: Any) -> str:
    """Return why an export of a model fitted on two columns is refused, or what came out."""
    fitted = fitted_on_orders()
    given = {"name": "m", "version": 1, "documents": documents, "predictors": predictors, "at": "2026-01-01", **more}
    try:
        return repr(from_estimator(fitted, **given))
    except ExportError as error:
        return str(error)


def orders(**more: Any) -> list[dict[str, Any]]:
    """Return the documents with other values in each order."""
    return [{**d, "orders": [{**order, **more} for order in d["orders"]]} for d in ORDERS]


def test_a_predictor_that_says_what_is_there_is_exported_with_it() -> None:
    """Amounts as texts and times in seconds give the file of plain documents, which says so in its predictors."""
    written = [
        {
            **d,
            "orders": [{**o, "amount": f"{o['amount']}", "at": (parse_ms(o["at"]) or 0) / 1_000} for o in d["orders"]],
        }
        for d in ORDERS
    ]
    says = {"type": "number_text", "unit": "s"}
    files = [
        from_estimator(fitted_on_orders(), name="m", version=1, documents=d, predictors=p, at="2026-01-01")
        for d, p in ((ORDERS, READS), (written, [{**READS[0], **says}, READS[1]]))
    ]
    (plain, _), (told, _) = (file.definition["predictors"] for file in files)
    assert told == plain | says
    of = [[(e["at"], e["probability"], e["cluster"]) for e in file.definition["examples"]] for file in files]
    assert of[0] == of[1] != []


@pytest.mark.parametrize(
    ("documents", "change", "name", "expected"),
    [
        (ORDERS, {"path": "order"}, "spend", "spend: none of 40 documents has order. Use: the right path; or allow="),
        (ORDERS, {"value": "price"}, "spend", "spend: none of 40 documents has orders[].price"),
        (ORDERS, {"time": "when"}, "spend", "spend: none of 40 documents has orders[].when"),
        (ORDERS, {"where": {"type": "cd"}}, "spend", "spend: none of 40 documents has orders[].type"),
        (ORDERS, {"where": {"kind": "dvd"}}, "spend", "spend: the same in all of 40 documents"),
        (ORDERS, {"where": {"kind": 1}}, "spend", "expected a number at orders[].kind, found a text in each of 30"),
        (ORDERS, {"path": "name"}, "spend", "spend: expected a list at name, found a text in each of 40 documents"),
        (
            orders(amount="12.50"),
            {},
            "spend",
            'found a number written as a text in each of 30 documents. Use: "type": "number_text" in its predictor',
        ),
        (orders(amount=None), {}, "spend", "spend: none of 40 documents has orders[].amount"),
        (
            orders(at=1_700_000_000),
            {},
            "spend",
            'spend: orders[].at lies before 1990 or after 2099 in 30 documents. Use: "unit": "s" in its predictor',
        ),
        (orders(at=1_700_000_000_000_000), {}, "spend", 'after 2099 in 30 documents. Use: "unit": "us" in its'),
        (orders(at=17), {}, "spend", "after 2099 in 30 documents. Use: milliseconds if these are seconds"),
        (orders(at="1700000000"), {}, "spend", 'written as a text in each of 30 documents. Use: "unit": "s" in its'),
        ([{**d, "joined": 1_700_000_000} for d in ORDERS], {}, "tenure", "tenure: joined lies before 1990"),
        ([{**d, "joined": "2024-01-01"} for d in ORDERS], {}, "tenure", "tenure: the same in all of 40 documents"),
        (
            [{**d, "joined": True} for d in ORDERS],
            {},
            "tenure",
            "tenure: expected a time, ISO 8601 or ms at joined, found a",
        ),
        ([{**d, "joined": {"on": 1}} for d in ORDERS], {}, "tenure", "at joined, found an object in each of 40"),
    ],
)
def test_predictors_that_read_something_else(
    documents: list[dict[str, Any]], change: dict[str, Any], name: str, expected: str
) -> None:
    """A misspelt path, another type, seconds for milliseconds, one value for everybody: refused, and each can be
    allowed by name."""
    predictors = [{**READS[0], **change}, READS[1]] if change else READS
    assert expected in misread(documents, predictors)
    assert misread(documents, predictors, allow=[name]).startswith("<ModelFile")
    assert misread(documents, predictors, allow=name).startswith("<ModelFile")


def test_what_is_plausible_passes() -> None:
    """The same documents unchanged; conditions of each kind; a few documents may have equal values."""
    assert misread(ORDERS, READS).startswith("<ModelFile")
    assert misread(ORDERS[:1], [*READS[1:], {**READS[1], "name": "again"}]).startswith("<ModelFile")
    tests = ({"kind": {"in": ["cd", 1]}}, {"amount": {"gte": 1}}, {"kind": {"exists": True}})
    for where in tests:
        assert misread(ORDERS, [{**READS[0], "where": where}, READS[1]]).startswith("<ModelFile")
    kinds = {"name": "kinds", "path": "orders", "aggregate": "distinct", "value": "amount"}
    last = {"name": "last", "path": "orders", "aggregate": "last", "value": "amount", "missing": 0}
    assert misread(ORDERS, [kinds, last]).startswith("<ModelFile")
    assert "allow: nobody is no predictor. Use: names of predictors, or at" in misread(ORDERS, READS, allow=["nobody"])
    assert "at: 1970-01-20T13:46:40Z is no time that can be meant" in misread(ORDERS, READS, at=1_691_200_000)
    assert misread(ORDERS, READS, at=1_691_200_000, allow=["at", "tenure", "spend"]).startswith("<ModelFile")


def test_categories_that_nobody_has() -> None:
    """Trained on other texts than documents hold, each column of the one-hot is 0 for everybody."""
    frame = pd.DataFrame({"country": ["DE", "FR"] * 20, "n": np.arange(40.0)})
    encoder = ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore"), ["country"])], remainder="passthrough")
    fitted = make_pipeline(encoder, LogisticRegression()).fit(frame, np.arange(40) % 2)
    predictors = [
        {"name": "country", "path": "country", "type": "text"},
        {"name": "n", "path": "orders", "aggregate": "count"},
    ]
    more: dict[str, Any] = {"documents": ORDERS, "predictors": predictors}
    assert "country: the same in all of 40 documents. Use: the right path, unit and categories" in refused(
        fitted, **more
    )
    own = pd.DataFrame({"country": [d["country"].upper() for d in ORDERS], "n": [len(d["orders"]) for d in ORDERS]})
    assert "country: yours are the file's in upper case" in refused(fitted, x=own, **more, allow=["country"])
    assert "country: yours are of type float, the file's of type str" in refused(
        fitted, x=own.assign(country=1), **more, allow=["country"]
    )
    assert "x: 40 of 40 documents" in refused(fitted, x=own.assign(country="x"), **more, allow=["country"])


def test_an_imputer_that_cannot_act() -> None:
    """A sum of nothing is 0 and never missing, so a median that training had put there is never put there again. The
    author's own matrix shows whether it mattered."""
    n = np.array([len(d["orders"]) for d in ORDERS])
    spend = np.array([sum(order["amount"] for order in d["orders"]) for d in ORDERS])
    tenure = np.where(np.arange(40) % 2, 610.0, 1096.0)
    gaps, full = (np.column_stack([values, tenure]) for values in (np.where(n > 0, spend, np.nan), spend))
    more: dict[str, Any] = {"documents": ORDERS, "predictors": READS, "at": "2026-01-01"}
    fitted = make_pipeline(SimpleImputer(strategy="median"), LogisticRegression(max_iter=999)).fit(
        gaps, np.arange(40) % 3 == 0
    )
    found = refused(fitted, **more)
    assert "spend: simpleimputer would fill it with" in found
    assert "in the file it never is: nothing counts as 0. If training had gaps there" in found
    assert "Use: x=… or probabilities=…, which show whether it had; or allow=['spend']" in found
    assert "`missing` is 0. If training" in found
    assert "no `missing` in the predictor if the imputer's value is meant; or allow=['tenure']" in found
    assert "spend: yours are missing there, and the file has what its" in refused(fitted, x=gaps, **more)
    fitted.fit(full, np.arange(40) % 3 == 0)
    file = export(fitted, x=full, **more)
    assert file.definition["predictors"][0] == READS[0]
    assert clusters(file, ORDERS) != []


def test_no_cause_is_better_than_a_wrong_one() -> None:
    """Texts among the columns, and numbers that a step can't take, end the search."""
    p = NUMBERED.predict_proba(X)[:, 1]
    rooted = make_pipeline(FunctionTransformer(np.sqrt), LogisticRegression(max_iter=500)).fit(X, NUMBER)
    labels = _rng.permutation(NUMBER)
    assert refused(rooted, clusters_of=labels).split("\n")[0].endswith(": it shows the predictor that differs")
    assert (
        refused(rooted, probabilities=_rng.permutation(p) / 2)
        .split("\n")[0]
        .endswith(": it shows the predictor that differs")
    )
    frame = pd.DataFrame({"country": ["de", "fr"] * 20, "n": np.arange(40.0) % 7})
    encoder = ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore"), ["country"])], remainder="passthrough")
    fitted = make_pipeline(encoder, LogisticRegression()).fit(frame, np.arange(40) % 3 == 0)
    reads = [{"name": "country", "path": "country", "type": "text"}, {"name": "n", "path": "n", "missing": 0}]
    more: dict[str, Any] = {"predictors": reads, "documents": frame.to_dict("records")}
    assert "have another cluster" in refused(fitted, clusters_of=np.arange(40) % 4 == 1, **more)
    assert export(fitted, x=frame.to_dict("list"), **more).proven_by == ("x",)
    many = scaled(np.arange(N) % 7)
    assert "have others than the fitted object says" in refused(many, probabilities=many.predict_proba(X)[:, ::-1])


def test_a_category_without_its_type() -> None:
    """Texts need `"type": "text"`: each way in says so, be it a formula, R or what stands for a missing one."""
    frame = FRAME.assign(country=np.where(np.arange(N) % 3, "de", "fr"))
    documents = frame[["age", "country"]].to_dict("records")
    results = smf.logit("bought ~ age + C(country)", frame).fit(disp=0)
    more: dict[str, Any] = {"documents": documents}
    for missing in ({}, {"missing": 0}):
        reads = [PREDICTORS[0], {"name": "country", "path": "country", **missing}]
        assert 'country: its levels are texts. Use: "type": "text" in its predictor' in refused(
            results, predictors=reads, **more
        )
    reads[1] |= {"missing": "de"}
    assert 'missing: expected a number; or "type": "text" beside it, if these are categories' in refused(
        results, predictors=reads, **more
    )
    reads[1] |= {"type": "text"}
    assert export(results, predictors=reads, x=frame, **more).proven_by == ("x",)


def test_documents_are_as_json_has_them() -> None:
    """NumPy's numbers, datetimes with a zone and dates are taken; a clock without a zone may be anybody's."""
    seen = pd.Timestamp("2025-12-01", tz="UTC")
    documents = [{**d, "age": np.float64(d["age"]), "seen": seen, "on": seen.date()} for d in DOCUMENTS]
    file = export(TWO, documents=documents, x=X)
    assert file.definition["examples"][0]["document"]["seen"] == "2025-12-01T00:00:00+00:00"
    assert file.definition["examples"][0]["document"]["on"] == "2025-12-01"
    documents[3]["seen"] = seen.tz_localize(None)
    assert "has no zone. Use: one with a zone, or ISO 8601" in refused(TWO, documents=documents)


def test_clusters_that_are_no_names_prove_no_names() -> None:
    """What predict says of numbers proves which cluster it is, not what it is called: print says so. Ids too."""
    said = NUMBERED.predict(X)
    file = export(NUMBERED, clusters=["no", "yes"], clusters_of=said)
    assert "clusters_of says 0, 1, no names: it proves the clusters, not how they are called" in str(file)
    ids = [{"id": 7, "name": "buys"}, {"id": 3, "name": "stays"}]
    file = export(TWO, clusters=ids, clusters_of=np.where(TWO.predict(X) == "buys", 7, 3))
    assert "clusters_of says 3, 7, no names" in str(file)
    assert "no names" not in str(export(NUMBERED, clusters=["no", "yes"], clusters_of=np.where(said, "yes", "no")))


def test_an_imputer_hides_no_other_problem() -> None:
    """Its refusal comes with what else is wrong. Own probabilities settle it, and it can be allowed by name."""
    fitted = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=999)).fit(X, NUMBER)
    found = refused(fitted, clusters_of=1 - fitted.predict(X))
    assert all(
        words in found for words in ("clusters_of: 400 of 400", "age: simpleimputer would fill it", "opens: simp")
    )
    found = refused(fitted, clusters=["a"])
    assert all(words in found for words in ("clusters: expected 2, found 1", "age: simpleimputer would fill it"))
    assert export(fitted, probabilities=fitted.predict_proba(X)).proven_by == ("probabilities",)
    assert "unproven" in repr(export(fitted, allow=["age", "spend", "opens"]))
