"""What the workers have in common as processes: an app from the settings, vitals, metrics and health over HTTP."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector

from stream.faust_batch import BatchApp, StartError, run
from stream.health import Vitals
from stream.http_server import serve
from stream.settings import Settings, variable
from stream.watchdog import Watchdog

log = logging.getLogger(__name__)
KAFKA_WAIT_S = 30.0  # a worker is often started seconds before its broker


def wall_ms() -> int:
    """Return the wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


def new_app(
    settings: Settings, group: str, topic: str, data_dir: Path, created_topics: Mapping[str, Mapping[str, str]]
) -> BatchApp:
    """Return the app of a worker that reads `topic`; its handler is still to be set. Arguments as of BatchApp."""
    return BatchApp(
        bootstrap=settings.kafka_bootstrap,
        group=group,
        source_topic=topic,
        data_dir=data_dir,
        session_timeout_s=settings.session_timeout_s,
        heartbeat_s=settings.session_timeout_s / 4,
        replication_factor=settings.replication_factor,
        standby_replicas=settings.standby_replicas,
        created_topics=created_topics,
        is_embedded_broker=settings.broker_kind == "embedded",
    )


def vitals_of(
    app: BatchApp,
    redis: tuple[float, str] | None,
    finished: int,
    rebuilding: tuple[tuple[int, int], ...] = (),
    rebuilt: int = 0,
) -> Vitals:
    """Return how a worker is; `redis`: since when and why it is waited for; `finished`: beside recovery."""
    now, kafka, recovery = time.monotonic(), app.probe.problem, app.recovery
    return Vitals(
        loop_silent_s=now - app.turned_at,
        partitions=app.assigned_partitions if app.is_settled else None,
        is_recovering=app.rebalances > 0 and not app.is_settled,
        recovered=recovery.applied,
        to_recover=recovery.remaining,
        rebuilding=rebuilding,
        rebuilt=rebuilt,
        redis_problem=redis and redis[1],
        redis_down_s=now - redis[0] if redis else 0.0,
        kafka_problem=kafka and kafka[1],
        kafka_down_s=now - kafka[0] if kafka else 0.0,
        is_busy=app.is_busy,
        finished=finished + recovery.applied,
    )


def run_service(app: BatchApp, settings: Settings, metrics: CollectorRegistry, watchdog: Watchdog) -> int:
    """Run a worker in the foreground, with its metrics and health; returns the exit status of the process.

    Raises:
        StartError: Kafka, the topic, the data directory or the metrics' port isn't as it must be.
    """
    ProcessCollector(registry=metrics)  # start time, CPU, memory: alerts on restarts need them
    try:
        server = serve(settings.metrics_host, settings.metrics_port, metrics, watchdog.healthz, watchdog.readyz)
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
