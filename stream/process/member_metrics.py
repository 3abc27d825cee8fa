"""Metrics of a worker of member documents: those of every worker, and its own; declared in metrics.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from memberstream.models.coverage import HEADINGS, Told
from memberstream.models.event import Reason
from memberstream.stream.partition.report import Report
from memberstream.stream.process.histogram import BUCKETS, Histogram
from memberstream.stream.process.metrics import by, histogram, simple
from memberstream.stream.process.worker_metrics import BatchMetrics, WorkerGauges, of_worker

STAGES = ("decode", "load", "apply", "score", "dead_letters", "deletes", "encode", "changelog_and_redis", "store")
OUTCOMES = ("applied", "ignored_version", "replayed", "dead_letter")


class ScoredVersion(NamedTuple):
    """A version that members have clusters of. `is_computed`: from documents, not from a list's rows."""

    name: str
    version: int
    type: str
    is_computed: bool
    is_live: bool

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges(WorkerGauges):
    """Where the gauges of a worker of member documents are read, too."""

    versions: Callable[[], Sequence[ScoredVersion]]
    foreign_writes: Callable[[], int]
    backfill: Callable[[], tuple[int, int]]  # members remaining, members scored
    refused_models: Callable[[], int]
    list_rows: Callable[[], tuple[int, int]]  # written, withdrawn
    timers: Callable[[], Mapping[int, int]]
    due: Callable[[], int]
    overdue_s: Callable[[], float]
    rescored: Callable[[], int]
    removed_rows: Callable[[], int]
    redis_rights_missing: Callable[[], bool]
    clusters: Callable[[], Mapping[tuple[str, int], int]]  # (model label, cluster) → members
    campaigns: Callable[[], Mapping[str, int]]  # campaign → members in its clusters
    roll_call: Callable[[], tuple[int, int]]  # members healed, counts corrected
    spot_checks: Callable[[], Mapping[str, Told]]  # model label → what its predictors find


class MemberMetrics(Collector):
    """The metrics of one worker, in a registry of their own."""

    def __init__(self, gauges: Gauges) -> None:
        self.registry = CollectorRegistry()
        self._gauges = gauges
        self._batches = BatchMetrics(OUTCOMES, map(str, Reason), STAGES)
        self._changes: Counter[str] = Counter()
        self._lateness = Histogram(BUCKETS)
        self.registry.register(self)

    def on_batch(self, report: Report, trace_id: str | None = None) -> None:
        """Count a finished batch. `trace_id`: of its trace, if it has one."""
        self._batches.on_batch(report, trace_id)
        self._changes.update(report.changes)

    def on_rescored(self, late_ms: Sequence[int]) -> None:
        """Count members rescored because they fell due, and how late each was."""
        self._lateness.observe_many(np.maximum(np.array(late_ms, dtype=np.int64), 0) / 1000)

    def collect(self) -> Iterable[Metric]:
        """Yield everything as it stands now."""
        gauges, versions = self._gauges, self._gauges.versions()
        yield simple("memberstream_events_total", by(self._batches.outcomes))
        yield simple("memberstream_dead_letters_total", by(self._batches.reasons))
        yield simple("memberstream_resent_events_total", {(): self._batches.n_resent})
        changes = {version.label: self._changes[version.label] for version in versions if version.is_computed}
        yield simple("memberstream_membership_changes_total", by(changes))
        yield from self._batches.collect()
        yield from of_worker(gauges)
        yield simple("memberstream_redis_foreign_writes_total", {(): gauges.foreign_writes()})
        vitals = gauges.vitals()
        yield simple("memberstream_rebuild_remaining_members", {(): sum(n for _, n in vitals.rebuilding)})
        yield simple("memberstream_rebuild_written_members_total", {(): vitals.rebuilt})
        yield simple("memberstream_model_info", {
            (one.name, str(one.version), one.type, "live" if one.is_live else "candidate"): 1 for one in versions
        })  # fmt: skip
        remaining, scored = gauges.backfill()
        yield simple("memberstream_backfill_remaining_members", {(): remaining})
        yield simple("memberstream_backfill_scored_members_total", {(): scored})
        yield simple("memberstream_refused_models", {(): gauges.refused_models()})
        rows_written, rows_withdrawn = gauges.list_rows()
        yield simple("memberstream_list_rows_written_total", {(): rows_written})
        yield simple("memberstream_list_rows_withdrawn_total", {(): rows_withdrawn})
        yield simple("memberstream_timers", by(gauges.timers()))
        yield simple("memberstream_due_members", {(): gauges.due()})
        yield simple("memberstream_overdue_seconds", {(): gauges.overdue_s()})
        yield simple("memberstream_due_rescored_members_total", {(): gauges.rescored()})
        yield histogram("memberstream_due_lateness_seconds", {(): self._lateness})
        yield simple("memberstream_rebuild_removed_rows_total", {(): gauges.removed_rows()})
        yield simple("memberstream_redis_rights_missing", {(): gauges.redis_rights_missing()})
        unscored = {partition: n for partition, n in vitals.unscored.items() if n is not None}
        yield simple("memberstream_unscored_members", by(unscored))
        healed, corrected = gauges.roll_call()
        yield simple("memberstream_unscored_healed_members_total", {(): healed})
        yield simple("memberstream_counts_corrected_total", {(): corrected})
        yield simple(
            "memberstream_cluster_members",
            {(label, str(cluster)): n for (label, cluster), n in gauges.clusters().items()},
        )
        yield simple("memberstream_campaign_members", by(gauges.campaigns()))
        told = gauges.spot_checks()
        yield simple("memberstream_spot_checked_values_total", {
            (one.label, heading): told[one.label].values[heading] if one.label in told else 0
            for one in versions if one.is_computed for heading in HEADINGS
        })  # fmt: skip
        yield simple("memberstream_misfit_share", by(
            {label: one.misfits for label, one in told.items() if one.misfits is not None}
        ))  # fmt: skip
        yield simple("memberstream_clock_skew_seconds", {(): self._batches.youngest.age_ms / 1000})
