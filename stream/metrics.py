"""Metrics: every one declared once, here; they listen to batch reports and are read at each scrape.

Law: scoring never waits for a metric. Per-event figures (freshness) arrive as one array per batch; gauges are read from
their owners when Prometheus asks. docs/metrics.md shows this list; a test holds the two together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from models.event import Reason
from models.list_version import TYPE
from stream.health import Check, Vitals
from stream.publication import Current
from stream.report import BatchReport

# Seconds. From a fifth of a millisecond, what one event alone takes, to the minute after which freshness is an outage.
BUCKETS = (
    *(0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0),
)
BATCH_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)


class Histogram:
    """A Prometheus histogram that takes many observations at once; thread-safe enough for one writer and scrapes."""

    def __init__(self, buckets: Sequence[float]) -> None:
        self._bounds = list(buckets)
        self._edges = np.array(buckets, dtype=np.float64)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0

    def observe_one(self, value: float) -> None:
        """Add one observation, in a tenth of the time that NumPy takes for it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def observe_many(self, values: npt.ArrayLike) -> None:
        """Add observations, (n,)."""
        observed = np.asarray(values, dtype=np.float64)
        index = self._edges.searchsorted(observed, side="left")  # Prometheus: a bucket holds values ≤ its bound
        self._counts += np.bincount(index, minlength=len(self._counts))
        self._sum += float(observed.sum())

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Return (upper bound, observations up to it)… and the sum of all."""
        bounds = [*(f"{edge:g}" for edge in self._edges.tolist()), "+Inf"]
        return list(zip(bounds, np.cumsum(self._counts).astype(float).tolist(), strict=True)), self._sum


class Youngest:
    """The smallest age of a record in this minute and the one before; negative: the producer's clock is ahead.

    No record is younger than the path takes, so what is beyond that, on a quiet stream, is between the two clocks.
    """

    def __init__(self) -> None:
        self._minute = -1
        self._ages_ms: list[int] = [0, 0]  # of the minute before, of this one

    def see(self, now_ms: int, age_ms: int) -> None:
        """Take in the smallest age of some records."""
        if (minute := now_ms // 60_000) == self._minute:
            self._ages_ms[1] = min(self._ages_ms[1], age_ms)
        else:
            self._ages_ms = [self._ages_ms[1] if self._minute >= 0 else age_ms, age_ms]
            self._minute = minute

    @property
    def age_ms(self) -> int:
        """In ms; while nothing arrives, as of the last record; 0 before the first."""
        return min(self._ages_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGauges:
    """Where the gauges of any worker are read from, at each scrape."""

    lag: Callable[[], Mapping[int, int]]
    standby_lag: Callable[[], Mapping[int, int]]
    members: Callable[[], Mapping[int, int]]
    vitals: Callable[[], Vitals]
    checks: Callable[[], Sequence[Check]]
    stalls: Callable[[], int]
    rebalances: Callable[[], int]
    refused_writes: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges(WorkerGauges):
    """And those of a worker of member documents."""

    backfill: Callable[[], tuple[int, int]]  # members remaining, members scored
    refused_models: Callable[[], int]
    list_rows: Callable[[], tuple[int, int]]  # written, withdrawn
    timers: Callable[[], Mapping[int, int]]
    due: Callable[[], int]
    overdue_s: Callable[[], float]
    rescored: Callable[[], int]


METRICS = (
    ("memberstream_events_total", "counter", "outcome", "records by what became of them"),
    ("memberstream_dead_letters_total", "counter", "reason", "events that could not be applied"),
    ("memberstream_membership_changes_total", "counter", "model", "members that changed their cluster"),
    ("memberstream_freshness_seconds", "histogram", "", "from the event's Kafka timestamp until readable in Redis"),
    ("memberstream_stage_seconds", "histogram", "stage", "time of one batch in one stage of the path"),
    ("memberstream_batch_records", "histogram", "", "records in one batch"),
    ("memberstream_lag_records", "gauge", "partition", "records that have arrived and are not applied yet"),
    ("memberstream_state_members", "gauge", "partition", "members in local state, as RocksDB estimates it"),
    ("memberstream_redis_available", "gauge", "", "1 while Redis takes writes, 0 while the worker waits for it"),
    ("memberstream_recovering", "gauge", "", "1 while state is recovered from the changelog"),
    ("memberstream_recovery_applied_records", "gauge", "", "changelog records applied by the current or last recovery"),
    ("memberstream_recovery_remaining_records", "gauge", "", "changelog records that it still has to apply"),
    ("memberstream_standby_lag_records", "gauge", "partition", "changelog records that the standby's copy lacks"),
    ("memberstream_kafka_available", "gauge", "", "1 while Kafka answers and acknowledges, else 0"),
    ("memberstream_ready", "gauge", "", "1 while /readyz says 200"),
    ("memberstream_check_ok", "gauge", "check", "1 while this check of /readyz is ok"),
    ("memberstream_stalls_total", "counter", "", "times that nothing was finished although there was work"),
    ("memberstream_rebalances_total", "counter", "", "changes of the partitions this worker owns"),
    ("memberstream_redis_refused_writes_total", "counter", "", "writes refused because Redis held a later position"),
    ("memberstream_rebuild_remaining_members", "gauge", "", "members still to be written to Redis again, about"),
    ("memberstream_rebuild_written_members_total", "counter", "", "members written to Redis again from state"),
    ("memberstream_model_info", "gauge", "model, version, type, status", "1 for each version that is scored"),
    ("memberstream_backfill_remaining_members", "gauge", "", "members, and rows of lists, still to be done, about"),
    ("memberstream_backfill_scored_members_total", "counter", "", "members, and rows of lists, done as models changed"),
    ("memberstream_refused_models", "gauge", "", "published versions that this worker can't load"),
    ("memberstream_list_rows_written_total", "counter", "", "rows of uploaded lists written to Redis"),
    ("memberstream_list_rows_withdrawn_total", "counter", "", "rows withdrawn: member deleted or list ended"),
    ("memberstream_timers", "gauge", "partition", "members that will fall due, even if nothing arrives"),
    ("memberstream_due_members", "gauge", "", "members that are due and wait to be rescored, about"),
    ("memberstream_overdue_seconds", "gauge", "", "for how long the member has waited that is due longest"),
    ("memberstream_due_rescored_members_total", "counter", "", "members rescored because they fell due"),
    ("memberstream_due_lateness_seconds", "histogram", "", "from the moment a member fell due until it was rescored"),
    ("memberstream_clock_skew_seconds", "gauge", "", "age of the youngest record of the last minute or two"),
)  # fmt: skip
#: Of a worker that counts interactions, beside what every worker tells (stream/interaction_metrics.py).
INTERACTION_METRICS = (
    ("memberstream_interactions_total", "counter", "outcome", "interactions by what became of them"),
    ("memberstream_interaction_dead_letters_total", "counter", "reason", "interactions that could not be counted"),
)
_DECLARED = {
    name: (kind, [x for x in labels.split(", ") if x], text)
    for name, kind, labels, text in (*METRICS, *INTERACTION_METRICS)
}
STAGES = ("decode", "load", "apply", "score", "dead_letters", "deletes", "encode", "changelog_and_redis", "store")
OUTCOMES = ("applied", "ignored_version", "replayed", "dead_letter")


class Metrics(Collector):
    """The metrics of one worker, in a registry of their own."""

    def __init__(self, current: Current, gauges: Gauges) -> None:
        self.registry = CollectorRegistry()
        self._current, self._gauges = current, gauges
        # All series exist from the start: one that first appears with its first failure can't be alerted on.
        self._events = Counter(dict.fromkeys(OUTCOMES, 0))
        self._dead_letters = Counter(dict.fromkeys(map(str, Reason), 0))
        self._changes: Counter[str] = Counter()
        self._freshness = Histogram(BUCKETS)
        self._batch_records = Histogram(BATCH_SIZES)
        self._lateness = Histogram(BUCKETS)
        self._youngest = Youngest()
        self._stages = {stage: Histogram(BUCKETS) for stage in STAGES}
        self.registry.register(self)

    def on_batch(self, report: BatchReport) -> None:
        """Count a finished batch."""
        batch = report.batch
        self._events.update(batch.outcomes)
        self._dead_letters.update(str(letter.error.reason) for letter in batch.dead_letters)
        self._changes.update(batch.membership_changes)
        if batch.produced_ms:
            age_ms = report.finished_ms - np.array(batch.produced_ms, dtype=np.int64)
            self._freshness.observe_many(np.maximum(age_ms, 0) / 1000)
            self._youngest.see(report.finished_ms, int(age_ms.min()))
        self._batch_records.observe_one(sum(batch.outcomes.values()))
        for stage, seconds in report.stages.items():
            self._stages[stage].observe_one(seconds)

    def on_rescored(self, late_ms: Sequence[int]) -> None:
        """Count members rescored because they fell due, each so much too late."""
        self._lateness.observe_many(np.maximum(np.array(late_ms, dtype=np.int64), 0) / 1000)

    def collect(self) -> Iterable[Metric]:
        """Yield everything as it stands now."""
        gauges = self._gauges
        yield simple("memberstream_events_total", by(self._events))
        yield simple("memberstream_dead_letters_total", by(self._dead_letters))
        models = self._current.publication.models
        changes = {model.label: self._changes[model.label] for model in models}
        yield simple("memberstream_membership_changes_total", by(changes))
        yield histogram("memberstream_freshness_seconds", {(): self._freshness})
        yield histogram("memberstream_stage_seconds", by(self._stages))
        yield histogram("memberstream_batch_records", {(): self._batch_records})
        yield from of_worker(gauges)
        vitals = gauges.vitals()
        yield simple("memberstream_rebuild_remaining_members", {(): sum(n for _, n in vitals.rebuilding)})
        yield simple("memberstream_rebuild_written_members_total", {(): vitals.rebuilt})
        live = self._current.announcement.live
        lists = [version for _, version in self._current.publication.lists.published]
        yield simple("memberstream_model_info", {
            (name, str(version), kind, "live" if live.get(name) == version else "candidate"): 1
            for name, version, kind in [
                *[(m.name, m.version, m.scorer.type) for m in models], *[(v.name, v.version, TYPE) for v in lists]
            ]
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
        yield simple("memberstream_clock_skew_seconds", {(): self._youngest.age_ms / 1000})


def of_worker(gauges: WorkerGauges) -> Iterable[Metric]:
    """Yield what every worker tells, whatever it works on."""
    yield simple("memberstream_lag_records", by(gauges.lag()))
    yield simple("memberstream_state_members", by(gauges.members()))
    vitals, checks = gauges.vitals(), gauges.checks()
    yield simple("memberstream_redis_available", {(): vitals.redis_problem is None})
    yield simple("memberstream_recovering", {(): vitals.is_recovering})
    yield simple("memberstream_recovery_applied_records", {(): vitals.recovered})
    yield simple("memberstream_recovery_remaining_records", {(): vitals.to_recover or 0})
    yield simple("memberstream_standby_lag_records", by(gauges.standby_lag()))
    yield simple("memberstream_kafka_available", {(): vitals.kafka_problem is None})
    yield simple("memberstream_ready", {(): all(check.ok for check in checks)})
    yield simple("memberstream_check_ok", by({check.name: check.ok for check in checks}))
    yield simple("memberstream_stalls_total", {(): gauges.stalls()})
    yield simple("memberstream_rebalances_total", {(): gauges.rebalances()})
    yield simple("memberstream_redis_refused_writes_total", {(): gauges.refused_writes()})


V = TypeVar("V")


def by(series: Mapping[Any, V]) -> dict[tuple[str, ...], V]:
    """Return series by their one label's value."""
    return {(str(value),): one for value, one in series.items()}


def simple(name: str, series: Mapping[tuple[str, ...], float]) -> Metric:
    kind, labels, text = _DECLARED[name]
    metric = Metric(name.removesuffix("_total"), text, kind)
    for values, value in series.items():
        metric.add_sample(name, dict(zip(labels, values, strict=True)), float(value))
    return metric


def histogram(name: str, series: Mapping[tuple[str, ...], Histogram]) -> Metric:
    _, labels, text = _DECLARED[name]
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, one in series.items():
        buckets, total = one.buckets()
        family.add_metric(values, buckets, total)
    return family


def markdown_table(metrics: Sequence[tuple[str, str, str, str]] = METRICS) -> str:
    """Return a table of docs/metrics.md."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| `{n}` | {kind} | {labels} | {text} |" for n, kind, labels, text in metrics)])
