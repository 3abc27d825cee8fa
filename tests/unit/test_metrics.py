"""Metrics: the histograms' arithmetic, series from the start, and the docs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from e2e.definitions import level
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from models.event import Reason
from models.interaction import Refusal
from models.model_file import parse
from stream.health import Vitals, ready
from stream.interaction_metrics import InteractionMetrics
from stream.keyspace import Announcement
from stream.metrics import (
    INTERACTION_METRICS,
    METRICS,
    OUTCOMES,
    STAGES,
    Gauges,
    Histogram,
    Metrics,
    WorkerGauges,
    markdown_table,
)
from stream.publication import Current, compile_models

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


def test_all_series_exist_before_anything_happened() -> None:
    """A series that first appears with its first failure can't be alerted on."""
    gauges = Gauges(
        lag=lambda: {0: 5},
        standby_lag=lambda: {1: 3},
        members=lambda: {0: 7},
        vitals=Vitals,
        checks=lambda: ready(Vitals(), 0.0, 1.0),
        stalls=lambda: 0,
        refused_writes=lambda: 0,
        rebalances=lambda: 1,
        backfill=lambda: (2, 3),
        refused_models=lambda: 0,
        list_rows=lambda: (4, 1),
        timers=lambda: {0: 4},
        due=lambda: 1,
        overdue_s=lambda: 0.5,
        rescored=lambda: 6,
    )
    current = Current(compile_models([parse(level())]), Announcement(-1, (), {}))
    text = generate_latest(Metrics(current, gauges).registry).decode()
    families = list(text_string_to_metric_families(text))
    labels = {
        name: {tuple(s.labels.values()) for f in families for s in f.samples if s.name == name}
        for name in ("memberstream_events_total", "memberstream_dead_letters_total", "memberstream_stage_seconds_count")
    }
    assert labels["memberstream_events_total"] == {(outcome,) for outcome in OUTCOMES}
    assert labels["memberstream_dead_letters_total"] == {(str(reason),) for reason in Reason}
    assert labels["memberstream_stage_seconds_count"] == {(stage,) for stage in STAGES}
    assert [(f.name, f.type) for f in families] == [(name.removesuffix("_total"), kind) for name, kind, *_ in METRICS]
    assert {s.labels["model"] for f in families for s in f.samples if s.name.endswith("changes_total")} == {"level@1"}


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
        refused_writes=lambda: 2,
    )
    families = {
        f.name: f for f in text_string_to_metric_families(generate_latest(InteractionMetrics(gauges).registry).decode())
    }
    assert families.keys() >= {name.removesuffix("_total") for name, *_ in INTERACTION_METRICS}
    reasons = {s.labels["reason"] for s in families["memberstream_interaction_dead_letters"].samples}
    assert reasons == set(Refusal)
    outcomes = {s.labels["outcome"] for s in families["memberstream_interactions"].samples}
    assert outcomes == {"counted", "duplicate", "not_exposed", "replayed", "forgotten", "dead_letter"}
    assert {"memberstream_lag_records", "memberstream_ready", "memberstream_rebalances"} <= families.keys()
    assert [s.value for s in families["memberstream_redis_refused_writes"].samples] == [2]
