"""Metrics: the histograms' arithmetic, series from the start, and the docs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from e2e.definitions import level
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from memberstream.models.coverage import HEADINGS, Told
from memberstream.models.event import Reason
from memberstream.models.interaction import Refusal
from memberstream.models.model_file import parse
from memberstream.stream.interactions.batch import OUTCOMES as INTERACTION_OUTCOMES
from memberstream.stream.interactions.pipeline import STAGES as INTERACTION_STAGES
from memberstream.stream.keyspace.formats import Announcement
from memberstream.stream.partition.holds import Kind
from memberstream.stream.process.health import ready
from memberstream.stream.process.histogram import FEW, Histogram
from memberstream.stream.process.interaction_metrics import InteractionMetrics
from memberstream.stream.process.member_metrics import OUTCOMES, STAGES, Gauges, MemberMetrics
from memberstream.stream.process.metrics import INTERACTION_METRICS, METRICS, markdown_table
from memberstream.stream.process.vitals import Vitals
from memberstream.stream.process.worker_metrics import WorkerGauges
from memberstream.stream.registry.publication import Current, compile_models
from memberstream.stream.worker import scored_versions

ROOT = Path(__file__).resolve().parents[2]
EDGES = (0.001, 0.01, 0.5, 1.0)
VALUES = st.lists(st.lists(st.sampled_from([0.0, 0.0005, *EDGES, 0.7, 2.0, 1e6]) | st.floats(0, 10)))


@given(VALUES)
def test_histograms_count_like_numpy(batches: list[list[float]]) -> None:
    """Cumulative counts of values ≤ each bound, however the observations arrive; the sum and +Inf hold all."""
    histogram = Histogram(EDGES)
    for batch in batches:
        histogram.observe_many(batch)
    values = np.array([value for batch in batches for value in batch])
    buckets, total = histogram.buckets()
    assert buckets == [*((f"{edge:g}", float((values <= edge).sum())) for edge in EDGES), ("+Inf", float(len(values)))]
    np.testing.assert_allclose(total, values.sum(), rtol=1e-9)


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=3 * FEW))
def test_ages_count_like_their_seconds(times_ms: list[int]) -> None:
    """However many there are; a clock that is ahead gives 0."""
    one, other = Histogram(EDGES), Histogram(EDGES)
    one.observe_ages(2_000, times_ms)
    other.observe_many([max(2_000 - at_ms, 0) / 1000 for at_ms in times_ms])
    assert one.buckets()[0] == other.buckets()[0]
    np.testing.assert_allclose(one.buckets()[1], other.buckets()[1], rtol=1e-9)


def test_all_series_exist_before_anything_happened() -> None:
    """A series that first appears with its first failure can't be alerted on."""
    current = Current(compile_models([parse(level())]), Announcement(-1, (), {}))
    gauges = Gauges(
        versions=lambda: scored_versions(current),
        lag=lambda: {0: 5},
        standby_lag=lambda: {1: 3},
        members=lambda: {0: 7},
        vitals=lambda: Vitals(unscored={0: 0, 1: None}),
        checks=lambda: ready(Vitals(), 0.0, 1.0),
        stalls=lambda: 0,
        refused_writes=lambda: 0,
        redis_round_trip_s=lambda: 0.0,
        foreign_writes=lambda: 0,
        set_aside=lambda: 0,
        rebalances=lambda: 1,
        task_restarts=lambda: {"probe": 4},
        backfill=lambda: (2, 3),
        refused_models=lambda: 0,
        list_rows=lambda: (4, 1),
        timers=lambda: {0: 4},
        due=lambda: 1,
        overdue_s=lambda: 0.5,
        removed_rows=lambda: 3,
        redis_rights_missing=lambda: False,
        rescored=lambda: 6,
        clusters=lambda: {("level@1", 1): 5},
        campaigns=lambda: {"spring": 4},
        roll_call=lambda: (0, 0),
        spot_checks=lambda: {"level@1": Told(dict.fromkeys(HEADINGS, 0) | {"usable": 3}, 0.25)},
    )
    text = generate_latest(MemberMetrics(gauges).registry).decode()
    families = list(text_string_to_metric_families(text))
    labels = {
        name: {tuple(s.labels.values()) for f in families for s in f.samples if s.name == name}
        for name in (
            "memberstream_events_total",
            "memberstream_dead_letters_total",
            "memberstream_stage_seconds_count",
            "memberstream_held_partitions",
        )
    }
    assert labels["memberstream_events_total"] == {(outcome,) for outcome in OUTCOMES}
    assert labels["memberstream_dead_letters_total"] == {(str(reason),) for reason in Reason}
    assert labels["memberstream_stage_seconds_count"] == {(stage,) for stage in STAGES}
    assert labels["memberstream_held_partitions"] == {(str(kind),) for kind in Kind}
    assert [(f.name, f.type) for f in families] == [(name.removesuffix("_total"), kind) for name, kind, *_ in METRICS]
    assert {s.labels["model"] for f in families for s in f.samples if s.name.endswith("changes_total")} == {"level@1"}
    values = {
        (s.labels["model"], s.labels["found"]): s.value for f in families for s in f.samples if "spot_checked" in s.name
    }
    assert values == {("level@1", heading): 3 * (heading == "usable") for heading in HEADINGS}
    assert [s.value for f in families for s in f.samples if s.name == "memberstream_misfit_share"] == [0.25]


def test_the_docs_show_the_list() -> None:
    """One list, many readers: docs/metrics.md has the table that the code makes."""
    shown = (ROOT / "docs" / "metrics.md").read_text()
    assert markdown_table() in shown
    assert markdown_table(INTERACTION_METRICS) in shown


def test_a_worker_of_interactions_has_all_its_series_from_the_start() -> None:
    """Its own, and those of every worker."""
    gauges = WorkerGauges(
        lag=lambda: {0: 5},
        standby_lag=lambda: {1: 3},
        members=lambda: {0: 7},
        vitals=Vitals,
        checks=lambda: ready(Vitals(), 0.0, 1.0),
        stalls=lambda: 0,
        rebalances=lambda: 1,
        task_restarts=lambda: {"probe": 4},
        refused_writes=lambda: 2,
        redis_round_trip_s=lambda: 0.002,
        set_aside=lambda: 0,
    )
    exposed = {("spring", False): 5, ("spring", True): 2}
    worker = InteractionMetrics(gauges, INTERACTION_OUTCOMES, INTERACTION_STAGES, lambda: exposed)
    families = {f.name: f for f in text_string_to_metric_families(generate_latest(worker.registry).decode())}
    assert families.keys() >= {name.removesuffix("_total") for name, *_ in INTERACTION_METRICS}
    reasons = {s.labels["reason"] for s in families["memberstream_interaction_dead_letters"].samples}
    assert reasons == set(Refusal)
    outcomes = {s.labels["outcome"] for s in families["memberstream_interactions"].samples}
    assert outcomes == {"counted", "duplicate", "not_exposed", "replayed", "forgotten", "dead_letter"}
    assert {"memberstream_lag_records", "memberstream_ready", "memberstream_rebalances"} <= families.keys()
    found = families["memberstream_campaign_exposed_members"].samples
    assert [(*s.labels.values(), s.value) for s in found] == [("spring", "shown", 5), ("spring", "held_out", 2)]
    exposed |= {(str(i), False): 1 for i in range(999)}
    assert "spring" not in generate_latest(worker.registry).decode()
    assert [s.value for s in families["memberstream_redis_refused_writes"].samples] == [2]
