"""The worker, put together: the only place where concrete adapters are named."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

from stream import list_rows
from stream.backfill import Backfill
from stream.enlisting import Enlisting
from stream.faust_batch import BatchApp, StartError
from stream.forgetting import Forgetting
from stream.health import Vitals
from stream.locks import Locks
from stream.metrics import Gauges, Metrics
from stream.models_log import ModelsLog, ModelsLogError
from stream.pipeline import Pipeline
from stream.projection import Projection
from stream.rebuild import Rebuild
from stream.registrar import Registrar, describe
from stream.report import BatchReport
from stream.rescoring import Rescoring
from stream.service import KAFKA_WAIT_S, new_app, run_service, vitals_of, wall_ms
from stream.settings import Settings
from stream.timers import MemberTimers
from stream.turns import Turns
from stream.watchdog import Watchdog
from stream.writer import Writer

log = logging.getLogger(__name__)


def overdue_s(waiting: Iterable[tuple[int, int]]) -> float:
    """Return for how long the member has waited that is due longest, by the wall clock (MemberTimers.waiting)."""
    return max((max(0, wall_ms() - since_ms) / 1000 for _, since_ms in waiting), default=0.0)


class Pulse:
    """Reads the vitals of a worker's parts; from any thread."""

    def __init__(self, app: BatchApp, writer: Writer, rebuild: Rebuild, backfill: Backfill) -> None:
        self._app, self._writer, self._rebuild, self._backfill = app, writer, rebuild, backfill
        self.batches = 0

    def vitals(self) -> Vitals:
        """Return them as they are now."""
        return vitals_of(
            self._app,
            self._writer.problem,
            self.batches + self._rebuild.written + self._backfill.scored,
            tuple(self._rebuild.remaining.items()),
            self._rebuild.written,
        )


def run_worker(settings: Settings) -> int:
    """Run a worker in the foreground until SIGTERM or SIGINT; returns the exit status of the process.

    Raises:
        StartError: the models, Kafka, the topic, the data directory or the metrics' port isn't as it must be.
    """
    registrar = _registrar(settings)
    current = registrar.current
    lists = current.publication.lists
    created: dict[str, dict[str, str]] = {settings.dead_letter_topic: {}}
    if lists.published or lists.uploading:  # deleted, it holds up whoever deletes a member or writes Redis anew
        created[settings.lists_topic] = list_rows.CONFIGS
    app = new_app(settings, settings.group, settings.topic, settings.data_dir, created)
    state = app.partition_state
    projection = Projection(settings.redis_url)
    writer = Writer(projection, settings.clock, wall_ms)
    rescoring, locks = Rescoring(state, writer, settings.clock, wall_ms), Locks()
    enlisting = Enlisting(
        current,
        writer,
        lambda: app.partition_count,
        partial(list_rows.read, settings.kafka_bootstrap, settings.lists_topic),
        partial(app.produce_rows, settings.lists_topic),
    )
    forgetting = Forgetting(
        writer,
        lambda: app.partitions_of(settings.interactions_topic),
        partial(app.produce_rows, settings.interactions_topic),
    )
    turns = Turns(lambda: pulse.batches)
    rebuild = Rebuild(current, state, writer, rescoring, enlisting, lambda: app.partition_count)
    backfill = Backfill(current, state, writer, rescoring, enlisting, locks, turns)
    timers = MemberTimers(current, state, rescoring, locks, turns, lambda late_ms: metrics.on_rescored(late_ms))
    pulse = Pulse(app, writer, rebuild, backfill)
    watchdog = Watchdog(pulse.vitals, lambda: app.event_loop, settings.stall_limit_s)
    metrics = Metrics(
        current,
        Gauges(
            lag=app.lag,
            standby_lag=app.standby_lag,
            members=lambda: {p: state.approximate_count(p) for p in app.assigned_partitions},
            vitals=pulse.vitals,
            checks=watchdog.readyz,
            stalls=lambda: watchdog.stalls,
            refused_writes=lambda: writer.refused,
            rebalances=lambda: app.rebalances,
            backfill=lambda: (sum(backfill.remaining.values()), backfill.scored),
            refused_models=lambda: len(registrar.refused),
            list_rows=lambda: (enlisting.written, enlisting.withdrawn),
            timers=lambda: {p: state.timers_count(p) for p in app.assigned_partitions},
            due=lambda: sum(n for n, _ in tuple(timers.waiting.values())),
            overdue_s=lambda: overdue_s(tuple(timers.waiting.values())) if settings.clock == "wall" else 0.0,
            rescored=lambda: timers.rescored,
        ),
    )

    def on_batch(report: BatchReport) -> None:
        pulse.batches += 1
        metrics.on_batch(report)

    pipeline = Pipeline(
        settings,
        current,
        app,
        state,
        writer,
        rebuild,
        backfill,
        enlisting,
        forgetting,
        timers,
        locks,
        app.produce,
        wall_ms,
        on_batch,
    )
    app.handler = pipeline
    app.add_background(pipeline.watch_redis)
    app.add_background(lambda: registrar.run(pipeline.adopt))
    return run_service(app, settings, metrics.registry, watchdog)


def _registrar(settings: Settings) -> Registrar:
    """Return the worker's registrar, the models' log read and its models loaded."""
    models_log = ModelsLog(settings.kafka_bootstrap, settings.models_topic, settings.replication_factor, KAFKA_WAIT_S)
    try:
        registry = asyncio.run(models_log.read())
    except ModelsLogError as error:
        raise StartError(str(error)) from None
    registrar = Registrar(models_log, registry)
    log.info("models: %s", describe(registry))
    if problems := registrar.refused_live():
        raise StartError("\n".join([*problems, "Next: update this worker, or promote another version"]))
    return registrar
