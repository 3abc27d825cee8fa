"""Metrics of a worker that counts interactions: those of every worker, and its own; declared in stream/metrics.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from models.interaction import Refusal
from stream.interaction_batch import OUTCOMES
from stream.interactions import STAGES, Counted
from stream.metrics import BATCH_SIZES, BUCKETS, Histogram, WorkerGauges, by, histogram, of_worker, simple


class InteractionMetrics(Collector):
    """The metrics of one worker, in a registry of their own. They listen to batches, and are read at each scrape."""

    def __init__(self, gauges: WorkerGauges) -> None:
        self.registry = CollectorRegistry()
        self._gauges = gauges
        # All series exist from the start: one that first appears with its first failure can't be alerted on.
        self._interactions = Counter(dict.fromkeys(OUTCOMES, 0))
        self._dead_letters = Counter(dict.fromkeys(map(str, Refusal), 0))
        self._freshness = Histogram(BUCKETS)
        self._batch_records = Histogram(BATCH_SIZES)
        self._stages = {stage: Histogram(BUCKETS) for stage in STAGES}
        self.registry.register(self)

    def on_batch(self, counted: Counted) -> None:
        """Count a finished batch."""
        batch = counted.batch
        self._interactions.update(batch.outcomes)
        self._dead_letters.update(str(letter.error.reason) for letter in batch.dead_letters)
        if batch.produced_ms:
            age_ms = counted.finished_ms - np.array(batch.produced_ms, dtype=np.int64)
            self._freshness.observe_many(np.maximum(age_ms, 0) / 1000)
        self._batch_records.observe_one(sum(batch.outcomes.values()))
        for stage, seconds in counted.stages.items():
            self._stages[stage].observe_one(seconds)

    def collect(self) -> Iterable[Metric]:
        """Yield everything as it stands now."""
        yield simple("memberstream_interactions_total", by(self._interactions))
        yield simple("memberstream_interaction_dead_letters_total", by(self._dead_letters))
        yield histogram("memberstream_freshness_seconds", {(): self._freshness})
        yield histogram("memberstream_stage_seconds", by(self._stages))
        yield histogram("memberstream_batch_records", {(): self._batch_records})
        yield from of_worker(self._gauges)
