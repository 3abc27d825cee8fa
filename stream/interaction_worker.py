"""The worker that counts interactions, put together: a process of its own beside the worker of member documents."""

from __future__ import annotations

import asyncio

from memberstream.stream.faust_batch import StartError
from memberstream.stream.interactions.batch import OUTCOMES
from memberstream.stream.interactions.pipeline import STAGES, Interactions
from memberstream.stream.interactions.standing import Standing
from memberstream.stream.lookup import AsyncLookup
from memberstream.stream.partition.dead_letters import DeadLetters
from memberstream.stream.partition.report import Report
from memberstream.stream.process.interaction_metrics import InteractionMetrics
from memberstream.stream.process.service import (
    KAFKA_WAIT_S,
    MODELS,
    REDIS,
    SURROUNDINGS,
    installation_of,
    new_app,
    new_supervisor,
    run_service,
    tracer_of,
    vitals_of,
    wall_ms,
)
from memberstream.stream.process.vitals import Vitals
from memberstream.stream.process.watchdog import Watchdog
from memberstream.stream.process.worker_metrics import WorkerGauges
from memberstream.stream.projection.patience import Patience
from memberstream.stream.projection.projection import CountProjection
from memberstream.stream.projection.surroundings import Surroundings
from memberstream.stream.registry.follower import Follower
from memberstream.stream.registry.log import ModelsLog, ModelsLogError
from memberstream.stream.settings import Settings

#: Of the data directory: a worker of member documents may use the same.
DIRECTORY = "interactions"
SKIP_COMMAND = "memberstream events skip --interactions"
# Longer than a reader's: nobody waits for the answer, and what takes longer is an outage (projection/calls.py).
LOOKUP_TIMEOUT_S = 5.0


def run_interaction_worker(settings: Settings) -> int:
    """Run a worker in the foreground until SIGTERM or SIGINT; returns the exit status of the process.

    Raises:
        StartError: Kafka, the topic, the data directory or the metrics' port isn't as it must be, or the keys in Redis
            are another installation's.
    """
    models_log = ModelsLog(settings.kafka, settings.models_topic, settings.replication_factor, KAFKA_WAIT_S)
    try:
        registry = asyncio.run(models_log.read())
    except ModelsLogError as error:
        raise StartError(str(error)) from None
    follower, owner = Follower(models_log, registry), installation_of(settings)
    tracer = tracer_of(
        settings, settings.interactions_topic, settings.interaction_group, "memberstream-interactions-worker"
    )
    app = new_app(
        settings,
        settings.interaction_group,
        settings.interactions_topic,
        settings.data_dir / DIRECTORY,
        {settings.interaction_dead_letter_topic: {}},
        SKIP_COMMAND,
        compaction_advice="each interaction counts",
    )
    projection = CountProjection(settings.redis_url, settings.keys, owner)
    surroundings = Surroundings(projection.calls, wall_ms)
    state, tasks, patience, batches = app.partition_state, new_supervisor(), Patience(), 0

    def vitals() -> Vitals:
        finished = batches + interactions.pace.breaths
        return vitals_of(app, tasks, follower, patience.problem, surroundings.problems, finished)

    watchdog = Watchdog(vitals, lambda: app.event_loop, settings.stall_limit_s)
    metrics = InteractionMetrics(
        WorkerGauges(
            lag=app.source.lag,
            standby_lag=app.standby_lag,
            members=lambda: {p: state.approximate_count(p) for p in app.owned.partitions},
            vitals=vitals,
            checks=watchdog.readyz,
            stalls=lambda: watchdog.stalls,
            rebalances=lambda: app.rebalances,
            task_restarts=lambda: dict(tasks.restarts),
            refused_writes=lambda: interactions.refused_writes,
            redis_round_trip_s=lambda: projection.calls.round_trip.seconds,
            set_aside=lambda: registry.n_set_aside,
        ),
        OUTCOMES,
        STAGES,
        exposed=lambda: interactions.exposed(),
    )

    def on_batch(report: Report) -> None:
        nonlocal batches
        batches += 1
        metrics.on_batch(report, tracer.batch(report))

    async def changed() -> None:
        """Nobody needs to be told: the campaigns are read from the registry."""

    interactions = Interactions(
        settings=settings,
        registry=registry,
        until_known=follower.until_known,
        topic=app.source,
        holds=app.owned.holds,
        state=state,
        standing=Standing(
            AsyncLookup(settings.redis_url, prefix=settings.redis_prefix, timeout_s=LOOKUP_TIMEOUT_S), patience
        ),
        projection=projection,
        patience=patience,
        dead_letters=DeadLetters(
            settings.interactions_topic, settings.interaction_dead_letter_topic, app.producing.letters, wall_ms
        ),
        wall_ms=wall_ms,
        latest_ms=surroundings.latest_ms,
        look=surroundings.look,
        report=on_batch,
    )
    app.serve(interactions, interactions.handle, tracer.commit)
    tasks.keep(REDIS, interactions.watch_redis)
    tasks.keep(SURROUNDINGS, surroundings.run)
    tasks.keep(MODELS, lambda: follower.run(changed))
    return run_service(app, settings, metrics.registry, watchdog, tasks, tracer)
