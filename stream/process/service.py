"""What the workers have in common as processes: an app from the settings, vitals, metrics and health over HTTP."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from signal import SIGINT, SIGTERM
from types import MappingProxyType

from prometheus_client import CollectorRegistry, ProcessCollector

from memberstream.stream.faust_batch import BatchApp, ForeignWrite, StartError, run
from memberstream.stream.kafka.cluster_id import ClusterUnknown
from memberstream.stream.partition.skip_log import SkipLog
from memberstream.stream.partition.state import NotOwner, StateUnusable
from memberstream.stream.process.http_server import HttpServer, router
from memberstream.stream.process.memory import keep_freed_memory
from memberstream.stream.process.tracing import Tracer, TracesMissing, Untraced
from memberstream.stream.process.vitals import Vitals
from memberstream.stream.process.watchdog import Watchdog
from memberstream.stream.projection.calls import NotOurs, RedisFault, RedisUnavailable
from memberstream.stream.projection.installation import projection_of
from memberstream.stream.registry.follower import Follower
from memberstream.stream.settings import Settings, variable
from memberstream.stream.tasks.supervisor import Supervisor

log = logging.getLogger(__name__)
KAFKA_WAIT_S = 30.0  # a worker is often started seconds before its broker
#: A worker learns by its next heartbeat that another one joins; with a long session that mustn't take long, too.
LONGEST_HEARTBEAT_S = 3.0
#: Tasks of every worker: asking Kafka; telling Redis each second how far it is; following the models' log and the log
#: of skips; asking Redis about itself.
PROBE, REDIS, MODELS, SKIPS, SURROUNDINGS = "probe", "redis", "models", "skips", "surroundings"


def wall_ms() -> int:
    """Return the wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


def new_app(
    settings: Settings,
    group: str,
    topic: str,
    data_dir: Path,
    created_topics: Mapping[str, Mapping[str, str]],
    skip_command: str,
    *,
    is_compaction_admitted: bool = False,
    compaction_advice: str = "",
) -> BatchApp:
    """Return the app of a worker that reads `topic`; `serve` is still to be called. Arguments are those of BatchApp."""
    return BatchApp(
        kafka=settings.kafka,
        group=group,
        source_topic=topic,
        data_dir=data_dir,
        group_instance_id=settings.kafka_group_instance_id,
        session_timeout_s=settings.session_timeout_s,
        heartbeat_s=min(LONGEST_HEARTBEAT_S, settings.session_timeout_s / 4),
        replication_factor=settings.replication_factor,
        standby_replicas=settings.standby_replicas,
        created_topics=created_topics,
        on_gap=settings.on_gap,
        is_compaction_admitted=is_compaction_admitted,
        compaction_advice=compaction_advice,
        is_embedded_broker=settings.broker_kind == "embedded",
        skip_log=SkipLog(settings.kafka, settings.skips_topic, settings.replication_factor),
        skip_command=skip_command,
    )


def installation_of(settings: Settings) -> str:
    """Return the id of the worker's installation, if the keys in Redis are its own or nobody's, or Redis is away.

    Raises:
        StartError: the keys are another installation's; or Kafka doesn't tell which cluster it is.
    """

    async def admitted() -> str:
        async with await projection_of(settings) as projection:
            try:
                await projection.calls.admit()
            except NotOurs as error:
                raise StartError(str(error)) from None
            except (RedisUnavailable, RedisFault) as error:  # once it is back, each connection asks
                log.warning("whose keys Redis holds isn't known yet: %s", error)
            return projection.calls.owner

    try:
        return asyncio.run(admitted())
    except ClusterUnknown as error:
        raise StartError(str(error)) from None


def tracer_of(settings: Settings, topic: str, group: str, service: str) -> Untraced:
    """Return who makes traces of a worker. Raises StartError: they are wanted, and the libraries aren't there."""
    if settings.traces == "off":
        return Untraced()
    try:
        return Tracer(topic, group, service)
    except TracesMissing as error:
        raise StartError(str(error)) from None


def new_supervisor(*more: str) -> Supervisor:
    """Return the supervisor of a worker's tasks: those of every worker, and `more`."""
    return Supervisor(
        (PROBE, REDIS, MODELS, SKIPS, SURROUNDINGS, *more),
        cured_by_restart=(ForeignWrite, StateUnusable),
        over=(NotOwner,),
    )


def vitals_of(
    app: BatchApp,
    tasks: Supervisor,
    models: Follower,
    redis: tuple[float, str] | None,
    surroundings: tuple[tuple[str, str, bool], ...],
    finished: int,
    rebuilding: tuple[tuple[int, int], ...] = (),
    rebuilt: int = 0,
    unscored: Mapping[int, int | None] = MappingProxyType({}),
) -> Vitals:
    """Return a worker's vitals. `redis`: since when it waits, and why. `surroundings`: problems of Redis.
    `finished`: without recovery."""
    now, kafka, recovery = time.monotonic(), app.probe.problem, app.recovery
    return Vitals(
        loop_silent_s=now - app.turned_at,
        partitions=app.owned.partitions if app.owned.is_settled else None,
        is_recovering=app.rebalances > 0 and not app.owned.is_settled,
        recovered=recovery.applied,
        to_recover=recovery.remaining,
        rebuilding=rebuilding,
        rebuilt=rebuilt,
        unscored=unscored,
        held=app.owned.holds.now,
        models_problem=models.lost and models.lost[1],
        models_lost_s=now - models.lost[0] if models.lost else 0.0,
        models_unreadable=models.unreadable and models.unreadable[1],
        topics=app.topic_watch.problems,
        is_topic_missing=bool(app.topic_watch.missing),
        lost_offsets=app.source.lost_offsets,
        transactions=tuple((one, now - one.since_s) for one in app.source.transactions.now.values()),
        redis_problem=redis and redis[1],
        redis_down_s=now - redis[0] if redis else 0.0,
        surroundings=surroundings,
        kafka_problem=kafka and kafka[1],
        kafka_down_s=now - kafka[0] if kafka else 0.0,
        is_busy=app.source.is_busy,
        finished=finished + recovery.applied,
        tasks_down=tasks.down(),
    )


def run_service(
    app: BatchApp,
    settings: Settings,
    metrics: CollectorRegistry,
    watchdog: Watchdog,
    tasks: Supervisor,
    tracer: Untraced,
) -> int:
    """Run a worker in the foreground, with its metrics and health. Returns the exit status of the process.

    Raises:
        StartError: Kafka, the topic, the data directory or the metrics' port isn't as it must be.
    """
    keep_freed_memory()
    tasks.keep(PROBE, app.probe.run)
    tasks.keep(SKIPS, app.source.follow_skips)
    app.add_background(tasks.run)
    ProcessCollector(registry=metrics)  # start time, CPU, memory: alerts on restarts need them
    try:
        health = router(metrics, watchdog.healthz, watchdog.readyz)
        server = HttpServer(settings.metrics_host, settings.metrics_port, health)
    except OSError as error:
        raise StartError(
            f"metrics: can't listen on {settings.metrics_host}:{settings.metrics_port} ({error.strerror}). "
            f"Next: set {variable('metrics_port')} to a free port (0: any)"
        ) from error
    url = f"http://{settings.metrics_host}:{server.port}"
    log.info("metrics on %s/metrics, health on %s/healthz and %s/readyz", url, url, url)
    watchdog.start()
    try:
        status = run(app)
    finally:
        watchdog.stop()
        server.close()
        tracer.close()
    if app.must_stay_away:
        stay_away(settings.session_timeout_s)
    return status


def stay_away(seconds: float) -> None:
    """Return after so many seconds, or after a signal to stop.

    A supervisor that starts this worker at once would have it take its name back from the other process.
    """
    log.warning("the name is taken: this process ends in %g s, so that a restart doesn't take it back at once", seconds)
    give_up_at, signals = time.monotonic() + seconds, list[int]()
    before = {one: signal.signal(one, lambda number, _: signals.append(number)) for one in (SIGTERM, SIGINT)}
    try:
        while not signals and (rest_s := give_up_at - time.monotonic()) > 0:
            time.sleep(min(rest_s, 0.1))
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
