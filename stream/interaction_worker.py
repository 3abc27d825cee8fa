"""The worker that counts interactions, put together: a process of its own beside the worker of member documents."""

from __future__ import annotations

import asyncio

from stream.count_projection import CountProjection
from stream.faust_batch import StartError
from stream.health import Vitals
from stream.interaction_metrics import InteractionMetrics
from stream.interactions import Counted, Interactions
from stream.lookup import AsyncLookup
from stream.metrics import WorkerGauges
from stream.models_log import ModelsLog, ModelsLogError
from stream.patience import Patience
from stream.service import KAFKA_WAIT_S, new_app, run_service, vitals_of, wall_ms
from stream.settings import Settings
from stream.standing import Standing
from stream.watchdog import Watchdog

#: Of the data directory: a worker of member documents may use the same.
DIRECTORY = "interactions"
# Longer than a reader's: nobody waits for the answer, and what takes longer is an outage (stream/projection.py).
LOOKUP_TIMEOUT_S = 5.0


def run_interaction_worker(settings: Settings) -> int:
    """Run a worker in the foreground until SIGTERM or SIGINT; returns the exit status of the process.

    Raises:
        StartError: Kafka, the topic, the data directory or the metrics' port isn't as it must be.
    """
    models_log = ModelsLog(settings.kafka_bootstrap, settings.models_topic, settings.replication_factor, KAFKA_WAIT_S)
    try:
        registry = asyncio.run(models_log.read())
    except ModelsLogError as error:
        raise StartError(str(error)) from None
    app = new_app(
        settings,
        settings.interaction_group,
        settings.interactions_topic,
        settings.data_dir / DIRECTORY,
        {settings.interaction_dead_letter_topic: {}},
    )
    state, patience, batches = app.partition_state, Patience(), 0

    def vitals() -> Vitals:
        return vitals_of(app, patience.problem, batches)

    watchdog = Watchdog(vitals, lambda: app.event_loop, settings.stall_limit_s)
    metrics = InteractionMetrics(
        WorkerGauges(
            lag=app.lag,
            standby_lag=app.standby_lag,
            members=lambda: {p: state.approximate_count(p) for p in app.assigned_partitions},
            vitals=vitals,
            checks=watchdog.readyz,
            stalls=lambda: watchdog.stalls,
            rebalances=lambda: app.rebalances,
            refused_writes=lambda: handler.refused_writes,
        )
    )

    def on_batch(counted: Counted) -> None:
        nonlocal batches
        batches += 1
        metrics.on_batch(counted)

    async def changed() -> None:
        """Nobody needs to be told: the campaigns are read from the registry."""

    app.handler = handler = Interactions(
        settings,
        registry,
        app,
        state,
        Standing(AsyncLookup(settings.redis_url, timeout_s=LOOKUP_TIMEOUT_S), patience),
        CountProjection(settings.redis_url),
        patience,
        lambda: app.partition_count,
        app.produce,
        wall_ms,
        on_batch,
    )
    app.add_background(handler.watch_redis)
    app.add_background(lambda: models_log.follow(registry, changed))
    return run_service(app, settings, metrics.registry, watchdog)
