"""The worker, put together: the only place where concrete adapters are named."""

from __future__ import annotations

import logging
import time

from prometheus_client import ProcessCollector, start_http_server

from stream.faust_batch import BatchApp, StartError, run
from stream.metrics import Gauges, Metrics
from stream.pipeline import Pipeline
from stream.projection import Projection
from stream.publication import compile_models
from stream.published import load_published
from stream.rebuild import Rebuild
from stream.settings import Settings, variable
from stream.writer import Writer

log = logging.getLogger(__name__)


def wall_ms() -> int:
    """Return the wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


def run_worker(settings: Settings) -> int:
    """Run a worker in the foreground until SIGTERM or SIGINT; returns the exit status of the process.

    Raises:
        PublishError: the published models can't be loaded.
        StartError: Kafka, the topic, the data directory or the metrics' port isn't as it must be.
    """
    publication = compile_models(load_published(settings.models_dir))
    app = BatchApp(
        bootstrap=settings.kafka_bootstrap,
        group=settings.group,
        source_topic=settings.topic,
        data_dir=settings.data_dir,
        session_timeout_s=settings.session_timeout_s,
        heartbeat_s=settings.session_timeout_s / 4,
        replication_factor=settings.replication_factor,
        standby_replicas=settings.standby_replicas,
        created_topics=[settings.dead_letter_topic],
        is_embedded_broker=settings.broker_kind == "embedded",
    )
    state = app.partition_state
    projection = Projection(settings.redis_url)
    writer = Writer(projection, settings.clock, wall_ms)
    rebuild = Rebuild(publication, state, writer, settings.clock, wall_ms, lambda: app.partition_count)
    metrics = Metrics(
        publication,
        Gauges(
            lag=app.lag,
            members=lambda: {p: state.approximate_count(p) for p in app.assigned_partitions},
            is_redis_available=lambda: writer.is_available,
            refused_writes=lambda: writer.refused,
            is_recovering=lambda: app.is_recovering,
            rebalances=lambda: app.rebalances,
        ),
    )
    pipeline = Pipeline(settings, publication, state, writer, rebuild, app.produce, wall_ms, metrics.on_batch)
    app.handler = pipeline
    app.add_background(pipeline.watch_redis)
    ProcessCollector(registry=metrics.registry)  # start time, CPU, memory: alerts on restarts need them
    try:
        server, _ = start_http_server(settings.metrics_port, settings.metrics_host, metrics.registry)
    except OSError as error:
        raise StartError(
            f"metrics: can't listen on {settings.metrics_host}:{settings.metrics_port} ({error.strerror}). "
            f"Next: set {variable('metrics_port')} to a free port (0: any)"
        ) from error
    log.info("metrics on http://%s:%d/metrics", settings.metrics_host, server.server_port)
    log.info("models: %s", ", ".join(model.label for model in publication.models))
    try:
        return run(app)
    finally:
        server.shutdown()
        server.server_close()
