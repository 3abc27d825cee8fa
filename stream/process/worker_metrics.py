"""Metrics of every worker, whatever it works on. They listen to batch reports and are read at each scrape.

Law: scoring never waits for a metric. Figures of single events (freshness) arrive as one array for each batch. Gauges
are read from their owners when Prometheus asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import Metric

from memberstream.stream.partition.holds import Kind
from memberstream.stream.partition.report import Report
from memberstream.stream.process.health import Check
from memberstream.stream.process.histogram import BATCH_SIZES, BUCKETS, Histogram, Youngest
from memberstream.stream.process.metrics import by, histogram, simple
from memberstream.stream.process.vitals import Vitals


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGauges:
    """Where the gauges of every worker are read at each scrape."""

    lag: Callable[[], Mapping[int, int]]
    standby_lag: Callable[[], Mapping[int, int]]
    members: Callable[[], Mapping[int, int]]
    vitals: Callable[[], Vitals]
    checks: Callable[[], Sequence[Check]]
    stalls: Callable[[], int]
    rebalances: Callable[[], int]
    task_restarts: Callable[[], Mapping[str, int]]
    refused_writes: Callable[[], int]
    redis_round_trip_s: Callable[[], float]
    set_aside: Callable[[], int]


class BatchMetrics:
    """What finished batches add up to.

    Args:
        outcomes, reasons, stages: all that there may ever be. All series exist from the start: no alert can be made on
            one that first appears with its first failure.
    """

    def __init__(self, outcomes: Iterable[str], reasons: Iterable[str], stages: Iterable[str]) -> None:
        self.outcomes = Counter(dict.fromkeys(outcomes, 0))
        self.reasons = Counter(dict.fromkeys(reasons, 0))
        self.n_resent = 0
        self.youngest = Youngest()
        self._freshness = Histogram(BUCKETS)
        self._batch_records = Histogram(BATCH_SIZES)
        self._stages = {stage: Histogram(BUCKETS) for stage in stages}

    def on_batch(self, report: Report, trace_id: str | None = None) -> None:
        """Count a finished batch. `trace_id`: of its trace, which stands beside its oldest record's freshness."""
        self.outcomes.update(report.outcomes)
        self.reasons.update(report.reasons)
        self.n_resent += report.n_resent
        if report.produced_ms:
            self.youngest.see(report.finished_ms, report.finished_ms - max(report.produced_ms))
            self._freshness.observe_ages(report.finished_ms, report.produced_ms, trace_id)
        self._batch_records.observe_one(sum(report.outcomes.values()))
        for stage, seconds in report.stages.items():
            self._stages[stage].observe_one(seconds)

    def collect(self) -> Iterable[Metric]:
        """Yield what is measured of batches."""
        yield histogram("memberstream_freshness_seconds", {(): self._freshness})
        yield histogram("memberstream_stage_seconds", by(self._stages))
        yield histogram("memberstream_batch_records", {(): self._batch_records})


def of_worker(gauges: WorkerGauges) -> Iterable[Metric]:
    """Yield the metrics of every worker, whatever it works on."""
    yield simple("memberstream_lag_records", by(gauges.lag()))
    yield simple("memberstream_state_members", by(gauges.members()))
    vitals, checks = gauges.vitals(), gauges.checks()
    open_s = {one.partition: seconds for one, seconds in vitals.transactions}
    yield simple("memberstream_open_transaction_seconds", by({p: open_s.get(p, 0.0) for p in gauges.lag()}))
    yield simple("memberstream_lost_offsets_total", {(): vitals.lost_offsets})
    kinds = Counter(str(hold.kind) for hold in vitals.held.values())
    yield simple("memberstream_held_partitions", by({str(kind): kinds[str(kind)] for kind in Kind}))
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
    yield simple("memberstream_task_restarts_total", by(gauges.task_restarts()))
    yield simple("memberstream_redis_refused_writes_total", {(): gauges.refused_writes()})
    yield simple("memberstream_redis_round_trip_seconds", {(): gauges.redis_round_trip_s()})
    yield simple("memberstream_models_log_set_aside_records", {(): gauges.set_aside()})
