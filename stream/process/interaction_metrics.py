"""Metrics of a worker that counts interactions: those of every worker, and its own. Declared in metrics.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from memberstream.models.interaction import Refusal
from memberstream.stream.process.metrics import by, simple
from memberstream.stream.process.worker_metrics import BatchMetrics, WorkerGauges, of_worker

_MOST_SERIES = 1_000


class InteractionMetrics(Collector):
    """The metrics of one worker, in a registry of their own. They listen to batches, and are read at each scrape.

    Args:
        outcomes, stages: of a batch, all that there may be.
        exposed: asks how many members were exposed to a campaign, or, if it was held out (True), to nothing.
    """

    def __init__(
        self,
        gauges: WorkerGauges,
        outcomes: Sequence[str],
        stages: Sequence[str],
        exposed: Callable[[], Mapping[tuple[str, bool], int]],
    ) -> None:
        self.registry = CollectorRegistry()
        self._gauges, self._exposed = gauges, exposed
        self._batches = BatchMetrics(outcomes, map(str, Refusal), stages)
        self.on_batch = self._batches.on_batch
        self.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yield everything as it stands now."""
        yield simple("memberstream_interactions_total", by(self._batches.outcomes))
        yield simple("memberstream_interaction_dead_letters_total", by(self._batches.reasons))
        yield simple("memberstream_resent_interactions_total", {(): self._batches.n_resent})
        yield from self._batches.collect()
        yield from of_worker(self._gauges)
        found = self._exposed()
        if len(found) <= _MOST_SERIES:
            yield simple("memberstream_campaign_exposed_members", {
                (campaign, "held_out" if is_held_out else "shown"): n for (campaign, is_held_out), n in found.items()
            })  # fmt: skip
