"""The worker, put together: the only place where concrete adapters are named."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from prometheus_client import ProcessCollector

from stream import list_rows
from stream.backfill import Backfill
from stream.enlisting import Enlisting
from stream.faust_batch import BatchApp, StartError, run
from stream.health import Vitals
from stream.http_server import serve
from stream.locks import Locks
from stream.metrics import Gauges, Metrics
from stream.models_log import ModelsLog, ModelsLogError
from stream.pipeline import Pipeline
from stream.projection import Projection
from stream.rebuild import Rebuild
from stream.registrar import Registrar, describe
from stream.report import BatchReport
from stream.rescoring import Rescoring
from stream.settings import Settings, variable
from stream.watchdog import Watchdog
from stream.writer import Writer

log = logging.getLogger(__name__)
KAFKA_WAIT_S = 30.0  # a worker is often started seconds before its broker


def wall_ms() -> int:
    """Return the wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


class Pulse:
    """Reads the vitals of a worker's parts; from any thread."""

    def __init__(self, app: BatchApp, writer: Writer, rebuild: Rebuild, backfill: Backfill) -> None:
        self._app, self._writer, self._rebuild, self._backfill = app, writer, rebuild, backfill
        self.batches = 0

    def vitals(self) -> Vitals:
        """Return them as they are now."""
        app, rebuild, now = self._app, self._rebuild, time.monotonic()
        redis, kafka, recovery = self._writer.problem, app.probe.problem, app.recovery
        return Vitals(
            loop_silent_s=now - app.turned_at,
            partitions=app.assigned_partitions if app.is_settled else None,
            is_recovering=app.rebalances > 0 and not app.is_settled,
            recovered=recovery.applied,
            to_recover=recovery.remaining,
            rebuilding=tuple(rebuild.remaining.items()),
            rebuilt=rebuild.written,
            redis_problem=redis and redis[1],
            redis_down_s=now - redis[0] if redis else 0.0,
            kafka_problem=kafka and kafka[1],
            kafka_down_s=now - kafka[0] if kafka else 0.0,
            is_busy=app.is_busy,
            finished=self.batches + recovery.applied + rebuild.written + self._backfill.scored,
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
    app = BatchApp(
        bootstrap=settings.kafka_bootstrap,
        group=settings.group,
        source_topic=settings.topic,
        data_dir=settings.data_dir,
        session_timeout_s=settings.session_timeout_s,
        heartbeat_s=settings.session_timeout_s / 4,
        replication_factor=settings.replication_factor,
        standby_replicas=settings.standby_replicas,
        created_topics=created,
        is_embedded_broker=settings.broker_kind == "embedded",
    )
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
    rebuild = Rebuild(current, state, writer, rescoring, enlisting, lambda: app.partition_count)
    backfill = Backfill(current, state, writer, rescoring, enlisting, locks, lambda: pulse.batches)
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
        ),
    )

    def on_batch(report: BatchReport) -> None:
        pulse.batches += 1
        metrics.on_batch(report)

    pipeline = Pipeline(
        settings, current, app, state, writer, rebuild, backfill, enlisting, locks, app.produce, wall_ms, on_batch
    )
    app.handler = pipeline
    app.add_background(pipeline.watch_redis)
    app.add_background(lambda: registrar.run(pipeline.adopt))
    ProcessCollector(registry=metrics.registry)  # start time, CPU, memory: alerts on restarts need them
    try:
        server = serve(
            settings.metrics_host, settings.metrics_port, metrics.registry, watchdog.healthz, watchdog.readyz
        )
    except OSError as error:
        raise StartError(
            f"metrics: can't listen on {settings.metrics_host}:{settings.metrics_port} ({error.strerror}). "
            f"Next: set {variable('metrics_port')} to a free port (0: any)"
        ) from error
    url = f"http://{settings.metrics_host}:{server.server_port}"
    log.info("metrics on %s/metrics, health on %s/healthz and %s/readyz", url, url, url)
    watchdog.start()
    try:
        return run(app)
    finally:
        watchdog.stop()
        server.shutdown()
        server.server_close()


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
