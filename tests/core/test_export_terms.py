"""statsmodels' and R's models as model files: coefficients by the names of their terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula
import statsmodels.formula.api as smf
from core.exporting import AT

from memberstream.models.explain import score_many
from memberstream.models.export import ExportError, ModelFile, from_estimator, from_r_glm

_rng = np.random.default_rng(2)
FRAME = pd.DataFrame(
    {
        "recency": np.abs(_rng.normal(size=80)),
        "spend": np.abs(_rng.normal(size=80)),
        "country": ["de", "fr", "it", "de"] * 20,
        "tier": [1, 2, 3, 3, 2] * 16,
        "bought": (_rng.random(80) > 0.5).astype(int),
        "kind": _rng.integers(1, 4, 80),
    }
)
NAMED: list[dict[str, Any]] = [
    {"name": "recency", "path": "recency", "missing": 0},
    {"name": "spend", "path": "spend", "missing": 0},
    {"name": "country", "path": "country", "type": "text"},
    {"name": "tier", "path": "tier", "missing": 1},
]
MEMBERS = FRAME[["recency", "spend", "country", "tier"]].to_dict("records")
EXOG = sm.add_constant(FRAME[["spend", "recency"]])


def of_results(results: Any, predictors: list[dict[str, Any]] = NAMED, **more: Any) -> ModelFile:
    return from_estimator(results, name="m", version=1, predictors=predictors, documents=MEMBERS, at=AT, **more)


def says(file: ModelFile, expected: Any) -> None:
    """The file's probabilities are within 1e-12 of these."""
    found = [row["probability"] for row in score_many(file.model, MEMBERS, 0)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_statsmodels() -> None:
    """Logit and GLM by formula, DataFrame and array, factors of texts and numbers in any coding of levels:
    probabilities are equal."""
    numbers = "bought ~ np.log1p(recency) + spend + I(spend**2) + recency:spend"
    names = ["low", "high"]
    for formula in (
        f"{numbers} + C(country) + C(tier)",
        f"{numbers} + C(country, Treatment('it'))",
        f"0 + {numbers} + country",
    ):
        results = smf.logit(formula, FRAME).fit(disp=0)
        says(of_results(results, clusters=names), results.predict(FRAME))
    results = smf.glm("bought ~ recency", FRAME, family=sm.families.Binomial()).fit()
    says(of_results(results, thresholds=[0.4, 0.5], clusters=["a", "b", "c"]), results.predict(FRAME))
    results = sm.Logit(FRAME["bought"], EXOG).fit(disp=0)
    says(of_results(results), results.predict(EXOG))
    results = sm.GLM(FRAME["bought"].to_numpy(), EXOG.to_numpy(), family=sm.families.Binomial()).fit()
    says(of_results(results, [NAMED[1], NAMED[0]]), results.predict(EXOG))
    says(of_results(results, NAMED, inputs=["spend", "recency"]), results.predict(EXOG))


def test_multinomial_logit() -> None:
    """MNLogit's base class has no coefficients; its classes are numbers or words."""
    many = sm.MNLogit(FRAME["kind"], EXOG).fit(disp=0)
    file = of_results(many)
    assert [c.id for c in file.model.clusters] == [1, 2, 3]
    says(file, many.predict(EXOG))
    words = sm.MNLogit(FRAME["kind"].map({1: "a", 2: "b", 3: "c"}), EXOG).fit(disp=0)
    assert [c.name for c in of_results(words).model.clusters] == ["a", "b", "c"]
    by_formula = smf.mnlogit("kind ~ spend + C(country)", FRAME).fit(disp=0)
    says(of_results(by_formula), by_formula.predict(FRAME))


def test_what_statsmodels_has_more_is_refused() -> None:
    """Other families, links, models, offsets and terms are refused by name."""
    binomial = sm.families.Binomial()
    logit = sm.Logit(FRAME["bought"].to_numpy(), EXOG.to_numpy()).fit(disp=0)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (sm.GLM(FRAME["bought"], EXOG, family=sm.families.Poisson()).fit(), {}, "GLM: family Poisson"),
        (
            sm.GLM(FRAME["bought"], EXOG, family=sm.families.Binomial(sm.families.links.Probit())).fit(),
            {},
            "link Probit",
        ),
        (sm.GLM(FRAME["bought"], EXOG, family=binomial, offset=FRAME["spend"]).fit(), {}, "GLM: an offset can't"),
        (sm.Logit(FRAME["bought"], EXOG, offset=FRAME["spend"]).fit(disp=0), {}, "Logit: an offset can't"),
        (sm.Probit(FRAME["bought"], EXOG).fit(disp=0), {}, "Probit can't be represented. Use: Logit"),
        (smf.logit("bought ~ np.cbrt(spend)", FRAME).fit(disp=0), {}, "np.cbrt(spend): isn't a term"),
        (smf.logit("bought ~ spend:C(country)", FRAME).fit(disp=0), {}, "spend:C(country)[de]: isn't a term"),
        (smf.logit("bought ~ C(country, Sum)", FRAME).fit(disp=0), {}, "C(country, Sum)[S.de]: isn't a term"),
        (smf.logit("bought ~ C(tier, Sum)", FRAME).fit(disp=0), {}, "C(tier, Sum)[S.1]: isn't a term"),
        (logit, {}, "Logit: fitted on 2 columns beside the constant, gets 4. Use: one predictor"),
        (logit, {"predictors": [NAMED[2], NAMED[0]]}, "country: isn't a term"),
        (logit, {"predictors": [{"name": "x"}]}, "predictors[0]: expected exactly one of path"),
        (sm.MNLogit(FRAME["kind"], EXOG).fit(disp=0), {"thresholds": [0.5]}, "MNLogit: thresholds cut one probability"),
    ]
    for results, more, expected in cases:
        with pytest.raises(ExportError) as error:
            of_results(results, **more)
        assert expected in str(error.value), expected
    absent = [*MEMBERS[:2], {"spend": 1.0, "recency": 2.0}]
    results = smf.logit("bought ~ spend + country", FRAME).fit(disp=0)
    with pytest.raises(ExportError, match=r"documents\[2\]: the fitted object says nothing of it. Use: `missing`"):
        from_estimator(results, name="m", version=1, predictors=NAMED, documents=absent)


# R isn't installed where the tests run. This is what the lines in docs/export.md print there, in R's names of terms and
# order of fields, with the coefficients that statsmodels finds for the same formula on FRAME.
R = (Path(__file__).parent / "r_glm.json").read_bytes()
ASKED: dict[str, Any] = {
    "name": "m",
    "version": 1,
    "predictors": NAMED,
    "documents": MEMBERS[:12],
    "clusters": ["no", "yes"],
}


def test_r() -> None:
    """R's coefficients, factors by their levels, numbers as texts of 17 digits: the file says what R's predict
    says, and what statsmodels says of the same model."""
    file = from_r_glm(R, **ASKED)
    assert file.model.inputs == (
        "recency", "spend_squared", "country=fr", "country=it", "tier=2", "tier=3", "recency_x_spend",
    )  # fmt: skip
    formula = "bought ~ np.log1p(recency) + I(spend**2) + country + C(tier) + recency:spend"
    says(file, smf.glm(formula, FRAME, family=sm.families.Binomial()).fit().predict(FRAME))
    cut = from_r_glm(R.decode(), **ASKED | {"thresholds": [0.2, 0.5], "clusters": ["low", "medium", "high"], "at": AT})
    assert len(cut.model.clusters) == 3


def test_the_docs_show_what_r_writes() -> None:
    """The JSON in docs/export.md has the fields and terms of the one here, its numbers are texts, too."""
    text = (Path(__file__).parents[2] / "docs/export.md").read_text()
    shown = orjson.loads(text.split("```json\n")[1].split("```")[0])
    real = orjson.loads(R)
    assert list(shown) == list(real)
    assert shown["coefficients"].keys() <= real["coefficients"].keys()
    assert all(float(value) for value in (*shown["coefficients"].values(), *shown["probabilities"]))


def test_what_r_writes_of_one_is_no_list() -> None:
    """A factor of a single level, one document and no factor at all: R writes them as a text, a text and {}."""
    one = {
        "family": "quasibinomial",
        "link": "logit",
        "outcome": None,
        "coefficients": {"spend": "0"},
        "probabilities": ["0.5"],
    }
    for levels in ({"country": "de"}, {}, None):
        assert from_r_glm(orjson.dumps(one | {"xlevels": levels}), **ASKED | {"documents": MEMBERS[:1]}).n_verified == 1


@pytest.mark.parametrize(
    ("changes", "more", "expected"),
    [
        ({"family": "poisson", "link": "log"}, {}, "family: expected binomial or quasibinomial, found poisson"),
        ({"link": "probit"}, {}, "link: expected logit, found probit"),
        ({"coefficients": None}, {}, "coefficients: expected an object of term → number"),
        ({"coefficients": {"spend": "NA"}}, {}, "coefficients.spend: expected a number, found NA"),
        ({"probabilities": ["0.5", None]}, {}, "probabilities[1]: expected a number, found None"),
        ({"probabilities": ["0.5"]}, {}, "probabilities: expected one for each of 12 documents, found 1"),
        ({"probabilities": ["0.5"] * 12}, {}, "12 of 12 documents: the file computes other numbers"),
        ({"probabilities": ["nan"] * 12}, {}, "documents[0]: the fitted object says nothing of it"),
        ({}, {"documents": []}, "documents: expected some"),
        ({}, {"clusters": ["a"]}, "clusters: expected 2, found 1"),
        ({}, {"thresholds": [0.3, 0.6], "clusters": None}, "clusters: expected 3 names, one for each band"),
        ({}, {"predictors": NAMED[:2]}, "countryfr: isn't a term that can be represented. Use: a predictor's name"),
        ({}, {"predictors": [{"name": "x"}]}, "predictors[0]: expected exactly one of path"),
        ({"coefficients": {"country": 1}}, {}, "country: isn't a term"),
        (
            {"coefficients": {"spendlow": 1}, "xlevels": {"spend": ["high", "low"]}},
            {},
            "spend: its levels are texts. Use: ",
        ),
        ({"coefficients": {"(Intercept)": 1}}, {}, "predictors: expected a list of predictors, not empty"),
    ],
)
def test_what_r_has_more_is_refused(changes: dict[str, Any], more: dict[str, Any], expected: str) -> None:
    """Other families and links, terms, NA, and probabilities that aren't reproduced: each by name."""
    with pytest.raises(ExportError) as error:
        from_r_glm(orjson.dumps(orjson.loads(R) | changes), **ASKED | more)
    assert expected in str(error.value)


@pytest.mark.parametrize("source", [b"{", "[]"])
def test_what_r_did_not_write_is_refused(source: str | bytes) -> None:
    """Neither JSON nor an object."""
    with pytest.raises(ExportError, match="source: expected"):
        from_r_glm(source, **ASKED)


def test_booleans_and_quoted_names() -> None:
    """A boolean in the documents is a number here and two levels in a formula; Q names what Python couldn't; roots and
    logarithms are transforms. In both engines of formulas, and as R writes a logical."""
    frame = FRAME.assign(active=_rng.random(80) > 0.4, **{"spend-90d": FRAME["spend"] + 1})
    documents = frame[["recency", "active", "spend-90d"]].to_dict("records")
    predictors = [{"name": name, "path": name, "missing": 1} for name in documents[0]]
    formulas = [
        """bought ~ active + np.sqrt(recency) + np.log(Q('spend-90d')) + Q("spend-90d")""",
        "bought ~ 0 + active + recency",
        "bought ~ recency:Q('spend-90d')",
    ]
    more: dict[str, Any] = {"name": "m", "version": 1, "predictors": predictors, "documents": documents}
    with pytest.raises(ExportError, match="isn't a term that can be represented"):
        from_estimator(smf.logit("bought ~ np.cbrt(recency)", frame).fit(disp=0), **more)
    before = statsmodels.formula.options.formula_engine
    try:
        for engine in ("patsy", "formulaic"):
            statsmodels.formula.options.formula_engine = engine
            for formula in formulas:
                results = smf.logit(formula, frame).fit(disp=0)
                p = results.predict(frame)
                own = frame[[name for name in documents[0] if name in formula]]
                assert from_estimator(results, x=own, probabilities=p, **more).proven_by == ("x", "probabilities")
    finally:
        statsmodels.formula.options.formula_engine = before
    r = {"coefficients": {"(Intercept)": 0.5, "activeTRUE": -1.0}, "probabilities": [], "xlevels": {}}
    r["probabilities"] = [1 / (1 + np.exp(a - 0.5)) for a in frame["active"]]
    source = orjson.dumps(
        {"family": "binomial", "link": "logit", "outcome": None, **r}, option=orjson.OPT_SERIALIZE_NUMPY
    )
    assert from_r_glm(source, x=frame[["active"]], **more).proven_by == ("x", "probabilities")
    for lacking in (frame[["active"]].rename(columns={"active": "zzz"}), frame[["active"]].to_numpy(), {"zzz": [1]}):
        with pytest.raises(ExportError, match=r"x: (lacks active|expected a table with named columns)"):
            from_r_glm(source, x=lacking, **more)
