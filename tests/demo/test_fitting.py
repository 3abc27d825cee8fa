"""The model files are what the script fits, mean what scikit-learn means, and agree with the oracle everywhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memberstream.models.explain import score_many
from memberstream.models.export import from_estimator
from memberstream.models.model import Model
from memberstream.models.model_file import load, parse
from memberstream.models.plan import Plan
from memberstream.models.transform import Scale
from memberstream.stream.demo import history, oracle
from memberstream.stream.demo.history import Customer

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
MODELS = ROOT / "stream" / "demo" / "models"
ALL = (*oracle.MODELS, oracle.BOOSTED)
DAY_MS = 86_400_000
LAST_MS = history.day_ms("1998-06-30")
MOMENTS = (LAST_MS, history.day_ms("1997-10-17") + 13 * 3_600_000 + 1)  # the demo's last day; a moment within a day
JOINING_MS = history.day_ms("1997-02-10")


def demo_models() -> list[Model]:
    return [load((MODELS / f"{name}.json").read_bytes()) for name in ALL]


@pytest.fixture(scope="module")
def fitted() -> dict[str, tuple[dict[str, Any], Any]]:
    """All models fitted afresh: name → (model file, what scikit-learn fitted)."""
    pytest.importorskip("sklearn")
    sys.path.insert(0, str(ROOT))
    try:
        from fitting.fit_cdnow import fit_buying_style, fit_repeat_boosted, fit_repeat_buyer

        return dict(zip(ALL, (fit_repeat_buyer(), fit_buying_style(), fit_repeat_boosted()), strict=True))
    finally:
        sys.path.remove(str(ROOT))


def unscaled(model: Model, x: Any) -> Any:
    """Undo the standardisation of the inputs, to compare predictors on their own scale."""
    scale = {p.name: p.transforms[-1] if p.transforms else Scale(0.0, 1.0) for p in model.predictors}
    used = [scale[name] for name in model.inputs]
    assert all(isinstance(s, Scale) for s in used)
    return x * [s.sd for s in used] + [s.mean for s in used]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ALL)
def test_a_fresh_fit_gives_the_committed_file(name: str, fitted: dict[str, tuple[dict[str, Any], Any]]) -> None:
    """Rerunning the script changes nothing: definitions, thresholds and examples equal, parameters within 1e-6."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rounded(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [rounded(inner) for inner in value]
        return pytest.approx(value, abs=1e-6) if isinstance(value, float) else value

    committed = json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))
    assert fitted[name][0] == rounded(committed)


@pytest.mark.parametrize("at_ms", MOMENTS)
def test_the_oracle_and_the_core_agree_on_all_members(at_ms: int) -> None:
    """Two implementations, one from paths and transforms, one by hand: predictors within 1e-12 and equal clusters."""
    histories = history.histories()
    documents = history.documents(LAST_MS)  # whole histories: both must leave out what lies after the moment
    raw = oracle.predictors((histories[i], at_ms) for i in documents)
    ours = oracle.recompute_all(histories, dict.fromkeys(documents, at_ms), ALL)
    models = demo_models()
    plan = Plan(models)
    columns, _ = plan.evaluate_many(list(documents.values()), [at_ms] * len(documents))
    for model in models:
        x = columns.take(plan.inputs(model), axis=1)
        theirs = raw[:, [oracle.PREDICTORS.index(name) for name in model.inputs]]
        np.testing.assert_allclose(unscaled(model, x), theirs, rtol=1e-12, atol=1e-12)
        found = [model.clusters[i].id for i in model.scorer.score_many(x).index]
        assert found == [clusters[model.name] for clusters in ours.values()]


def test_the_oracle_and_the_core_agree_at_times_of_each_members_own() -> None:
    """As in the demo, where each membership states its own moment: here days from before joining to after the end."""
    histories = history.histories()
    documents = history.documents(LAST_MS)
    as_of = {i: JOINING_MS + (7_919 * n) % 600 * DAY_MS + n for n, i in enumerate(documents)}
    ours = oracle.recompute_all(histories, as_of, ALL)
    models = demo_models()
    plan = Plan(models)
    columns, _ = plan.evaluate_many([documents[i] for i in as_of], list(as_of.values()))
    for model in models:
        index = model.scorer.score_many(columns.take(plan.inputs(model), axis=1)).index
        assert [model.clusters[i].id for i in index] == [clusters[model.name] for clusters in ours.values()]


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(1, 99), st.integers(0, 99_999).map(lambda cents: cents / 100)),
        max_size=12,
    ),
    st.integers(0, 500 * DAY_MS),
)
@example([], DAY_MS)  # a day after joining and nothing bought: eta is -721: exp of its opposite overflows
def test_the_oracle_and_the_core_agree_on_histories_that_nobody_had(
    bought: list[tuple[int, int, float]], after_ms: int
) -> None:
    """Also without purchases, with all of them in the future, and on the exact edges of the windows."""
    joined_ms = min((day for day, _, _ in bought), default=0) * DAY_MS
    purchases = [(day * DAY_MS, units, amount) for day, units, amount in bought]
    document = {
        "joined": joined_ms,
        "purchases": [{"at": at_ms, "units": units, "amount": amount} for at_ms, units, amount in purchases],
    }
    models = demo_models_once()
    plan = Plan(models)
    columns, _ = plan.evaluate_many([document], [after_ms])
    found = {m.name: m.clusters[m.scorer.score_many(columns[:, plan.inputs(m)]).index[0]].id for m in models}
    histories = {"": Customer(joined_ms, tuple(purchases))}
    assert oracle.recompute_all(histories, {"": after_ms}, ALL)[""] == found


_loaded: list[Model] = []


def demo_models_once() -> list[Model]:
    """Return the models, loaded once: Hypothesis doesn't like fixtures of a function's scope."""
    if not _loaded:
        _loaded.extend(demo_models())
    return _loaded


@pytest.mark.parametrize("at_ms", [MOMENTS[0], JOINING_MS])
def test_the_files_say_what_scikit_learn_says(at_ms: int, fitted: dict[str, tuple[dict[str, Any], Any]]) -> None:
    """On all members: predict_proba within 1e-12, equal clusters, k-means' predict exactly, and the bits of trees."""
    histories = history.histories()
    documents = history.documents(at_ms)
    raw = oracle.predictors((histories[i], at_ms) for i in documents)
    for model in demo_models():
        pipeline = fitted[model.name][1]
        plan = Plan([model])
        columns, _ = plan.evaluate_many(list(documents.values()), [at_ms] * len(documents))
        scores = model.scorer.score_many(columns.take(plan.inputs(model), axis=1))
        theirs = raw[:, [oracle.PREDICTORS.index(name) for name in model.inputs]]
        if model.name == "repeat_buyer":
            probability = pipeline.predict_proba(theirs)[:, 1]
            assert scores.probability is not None
            np.testing.assert_allclose(scores.probability, probability, rtol=0, atol=1e-12)
            thresholds = model.definition["model"]["thresholds"]
            assert scores.index.tolist() == np.digitize(probability, thresholds, right=True).tolist()
        elif model.name == oracle.BOOSTED:
            assert scores.raw is not None
            assert scores.raw.tobytes() == pipeline.decision_function(theirs).tobytes()
            probability = pipeline.predict_proba(theirs)[:, 1]
            assert scores.index.tolist() == np.digitize(probability, [0.19, 0.38]).tolist()
        else:
            assert scores.index.tolist() == pipeline.predict(theirs).tolist()


def test_an_export_of_the_pipelines_says_the_same_bit_for_bit(fitted: dict[str, tuple[dict[str, Any], Any]]) -> None:
    """The script writes its files by hand, with the oracle's examples; from_estimator computes what they compute."""
    documents = list(history.documents(MOMENTS[0]).values())
    for name in oracle.MODELS:
        definition, pipeline = fitted[name]
        inputs = definition["model"]["inputs"]
        without_scale = [
            {**p, "transforms": p["transforms"][:-1]} if p["name"] in inputs else p for p in definition["predictors"]
        ]
        file = from_estimator(
            pipeline,
            name=name,
            version=1,
            predictors=without_scale,
            inputs=inputs,
            documents=documents,
            at=MOMENTS[0],
            clusters=definition["clusters"],
            thresholds=definition["model"].get("thresholds"),
        )
        by_hand = score_many(parse(definition), documents, MOMENTS[0])
        assert score_many(file.model, documents, MOMENTS[0]) == by_hand


def test_every_cluster_has_an_example_and_members() -> None:
    """8 examples or more in each file, of every cluster; at the end of the history no cluster is empty."""
    as_of = dict.fromkeys(history.histories(), LAST_MS)
    ours = oracle.recompute_all(history.histories(), as_of, ALL)
    for model in demo_models():
        ids = {cluster.id for cluster in model.clusters}
        assert len(model.examples) >= 8
        assert {example.cluster for example in model.examples} == ids
        assert {clusters[model.name] for clusters in ours.values()} == ids


def test_the_sizes_in_the_docs_are_the_ones_computed_here() -> None:
    """docs/cdnow-models.md states how many members each cluster has, at their last purchase and on the last day."""
    text = (ROOT / "docs" / "cdnow-models.md").read_text(encoding="utf-8")
    stated = re.findall(r"^\| `(\w+)` \| (\d) [\w-]+ \| ([\d,]+) \| ([\d,]+) \|$", text, re.MULTILINE)
    histories = history.histories()
    times = {i: h.purchases[-1][0] for i, h in histories.items()}, dict.fromkeys(histories, LAST_MS)
    ours = [list(oracle.recompute_all(histories, as_of, ALL).values()) for as_of in times]
    assert len(stated) == 10
    for model, cluster, *sizes in stated:
        for size, found in zip(sizes, ours, strict=True):
            assert sum(clusters[model] == int(cluster) for clusters in found) == int(size.replace(",", ""))


def imported_by(module: str) -> Iterator[str]:
    """Yield what a fresh Python has loaded after importing a module."""
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    yield from done.stdout.split()


def test_the_oracle_is_independent_of_the_core() -> None:
    """It loads nothing of `models/`, nor does the history, which needs no NumPy either."""
    loaded = set(imported_by("memberstream.stream.demo.oracle"))
    assert not [
        name for name in loaded if name.startswith("memberstream.models") or name.split(".")[0] in ("sklearn", "pandas")
    ]
    assert "numpy" not in set(imported_by("memberstream.stream.demo.history"))
