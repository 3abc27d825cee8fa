"""Metrics, each declared once, here. docs/metrics.md shows this list, and a test compares the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from prometheus_client.core import HistogramMetricFamily, Metric

from memberstream.stream.process.histogram import Histogram

METRICS = (
    ("memberstream_events_total", "counter", "outcome", "records, by what became of them"),
    ("memberstream_dead_letters_total", "counter", "reason", "events that could not be applied"),
    ("memberstream_resent_events_total", "counter", "", "dead letters that came again, whatever became of them"),
    ("memberstream_membership_changes_total", "counter", "model", "members that changed their cluster"),
    ("memberstream_freshness_seconds", "histogram", "", "time from the event's Kafka timestamp until it is readable"),
    ("memberstream_stage_seconds", "histogram", "stage", "time of one batch in one stage of the path"),
    ("memberstream_batch_records", "histogram", "", "records in one batch"),
    ("memberstream_lag_records", "gauge", "partition", "offsets from which records can still come to be applied"),
    ("memberstream_state_members", "gauge", "partition", "members in local state, as RocksDB estimates it"),
    ("memberstream_open_transaction_seconds", "gauge", "partition", "age of a transaction that hasn't ended"),
    ("memberstream_lost_offsets_total", "counter", "", "offsets passed over because they were removed unread"),
    ("memberstream_held_partitions", "gauge", "kind", "partitions whose records wait for somebody to act"),
    ("memberstream_redis_available", "gauge", "", "1 while Redis takes writes, 0 while the worker waits for it"),
    ("memberstream_recovering", "gauge", "", "1 while state is recovered from the changelog"),
    ("memberstream_recovery_applied_records", "gauge", "", "changelog records applied by the current or last recovery"),
    ("memberstream_recovery_remaining_records", "gauge", "", "changelog records that this recovery still has to apply"),
    ("memberstream_standby_lag_records", "gauge", "partition", "changelog records that the standby's copy lacks"),
    ("memberstream_kafka_available", "gauge", "", "1 while Kafka answers and acknowledges, else 0"),
    ("memberstream_ready", "gauge", "", "1 while /readyz answers with 200"),
    ("memberstream_check_ok", "gauge", "check", "1 while this check of /readyz is ok"),
    ("memberstream_stalls_total", "counter", "", "times that nothing was finished although there was work"),
    ("memberstream_rebalances_total", "counter", "", "changes of the partitions that this worker owns"),
    ("memberstream_task_restarts_total", "counter", "task", "tasks beside the stream that ended and were begun again"),
    ("memberstream_redis_refused_writes_total", "counter", "", "writes refused because Redis held a later position"),
    ("memberstream_redis_round_trip_seconds", "gauge", "", "how long Redis takes to answer, the least of a minute"),
    ("memberstream_models_log_set_aside_records", "gauge", "", "records of the models' log that aren't steps"),
    ("memberstream_redis_foreign_writes_total", "counter", "", "members whose rows another partition wrote last"),
    ("memberstream_rebuild_remaining_members", "gauge", "", "about how many members a rebuild still has to write"),
    ("memberstream_rebuild_written_members_total", "counter", "", "members written to Redis again from state"),
    ("memberstream_model_info", "gauge", "model, version, type, status", "1 for each version that is scored"),
    ("memberstream_backfill_remaining_members", "gauge", "", "about how many members and list rows are still to do"),
    ("memberstream_backfill_scored_members_total", "counter", "", "members and list rows done when models changed"),
    ("memberstream_refused_models", "gauge", "", "published versions that this worker can't load"),
    ("memberstream_list_rows_written_total", "counter", "", "rows of uploaded lists written to Redis"),
    ("memberstream_list_rows_withdrawn_total", "counter", "", "rows withdrawn: member deleted, or list ended"),
    ("memberstream_timers", "gauge", "partition", "members that will fall due if nothing arrives"),
    ("memberstream_due_members", "gauge", "", "about how many members are due and wait to be rescored"),
    ("memberstream_overdue_seconds", "gauge", "", "how long the member that is due longest has waited"),
    ("memberstream_due_rescored_members_total", "counter", "", "members rescored because they fell due"),
    ("memberstream_due_lateness_seconds", "histogram", "", "time from when a member fell due until it was rescored"),
    ("memberstream_rebuild_removed_rows_total", "counter", "", "rows and lists removed because no member has them"),
    ("memberstream_redis_rights_missing", "gauge", "", "1 while the user in Redis lacks rights that workers need"),
    ("memberstream_unscored_members", "gauge", "partition", "members lacking a version that their partition has"),
    ("memberstream_unscored_healed_members_total", "counter", "", "members found unscored by a roll call, and scored"),
    ("memberstream_counts_corrected_total", "counter", "", "counts of members that a roll call found wrong"),
    ("memberstream_cluster_members", "gauge", "model, cluster", "members in each cluster, counted with the states"),
    ("memberstream_campaign_members", "gauge", "campaign", "members in the clusters of each campaign shown now"),
    ("memberstream_spot_checked_values_total", "counter", "model, found", "values that a model reads, looked at"),
    ("memberstream_misfit_share", "gauge", "model", "share that doesn't fit, at the place of the model with most"),
    ("memberstream_clock_skew_seconds", "gauge", "", "age of the youngest record of the last minute or two"),
)  # fmt: skip
#: Metrics of a worker that counts interactions, beside those of every worker (stream/process/interaction_metrics.py).
INTERACTION_METRICS = (
    ("memberstream_interactions_total", "counter", "outcome", "interactions, by what became of them"),
    ("memberstream_interaction_dead_letters_total", "counter", "reason", "interactions that could not be counted"),
    ("memberstream_resent_interactions_total", "counter", "", "dead letters that came again, whatever became of them"),
    ("memberstream_campaign_exposed_members", "gauge", "campaign, group", "members exposed, as counted so far"),
)
_DECLARED = {
    name: (kind, [x for x in labels.split(", ") if x], text)
    for name, kind, labels, text in (*METRICS, *INTERACTION_METRICS)
}

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
