"""What a finished batch tells its listeners (metrics, logs), whatever it is of; the paths themselves know of none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from memberstream.stream.partition.source_topic import Record


@dataclass(frozen=True, slots=True)
class Report:
    """A batch that is durable and readable.

    Attributes:
        outcomes: what became of records → how many.
        reasons: of each dead letter.
        produced_ms: of each record, by its producer's clock.
        finished_ms: wall clock at that moment; minus a record's timestamp: its freshness.
        stages: stage → seconds.
        changes: model → members that changed their cluster.
        n_resent: dead letters that came again, whatever became of them.
        partition: whose records they are. records: themselves, for traces.
        timeline: of the batch and of its parts (tasks/stopwatch.py), by `perf_counter`; of the whole under "".
    """

    outcomes: Mapping[str, int]
    reasons: Sequence[str]
    produced_ms: Sequence[int]
    finished_ms: int
    stages: Mapping[str, float]
    changes: Mapping[str, int] = field(default_factory=dict)
    n_resent: int = 0
    partition: int = 0
    records: Sequence[Record] = ()
    timeline: Mapping[str, tuple[float, float]] = field(default_factory=dict)
