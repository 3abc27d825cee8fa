"""The worker, put together: the only place where concrete adapters are named.

It is long because it is one list: each part once, beside what it is handed. In pieces, each would pass the rest on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial

from memberstream.models.definition import LIST
from memberstream.stream.faust_batch import BatchApp, StartError
from memberstream.stream.interactions.forgetting import Forgetting
from memberstream.stream.lists import rows as list_rows
from memberstream.stream.lists.enlisting import Enlisting
from memberstream.stream.members.admission import Admission
from memberstream.stream.members.backfill import Backfill
from memberstream.stream.members.background import KINDS, Background
from memberstream.stream.members.computing import Computing
from memberstream.stream.members.decoding import Rules
from memberstream.stream.members.level import Level
from memberstream.stream.members.ownership import Ownership
from memberstream.stream.members.pipeline import Pipeline
from memberstream.stream.members.rebuild import Rebuild
from memberstream.stream.members.recent import Recent
from memberstream.stream.members.redis_watch import RedisWatch
from memberstream.stream.members.rescoring import Rescoring
from memberstream.stream.members.roll_call import RollCall
from memberstream.stream.members.spot_checks import SPOT_CHECKS, SpotChecks
from memberstream.stream.members.sweep import Sweep
from memberstream.stream.members.timers import MemberTimers
from memberstream.stream.partition.dead_letters import DeadLetters
from memberstream.stream.partition.locks import Locks
from memberstream.stream.partition.report import Report
from memberstream.stream.partition.state import NotOwner
from memberstream.stream.process.http_server import HttpServer
from memberstream.stream.process.member_metrics import Gauges, MemberMetrics, ScoredVersion
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
from memberstream.stream.projection.projection import Projection
from memberstream.stream.projection.surroundings import Surroundings
from memberstream.stream.projection.writer import Writer
from memberstream.stream.queries.answering import Answering, Read
from memberstream.stream.registry.follower import Follower
from memberstream.stream.registry.log import ModelsLog, ModelsLogError
from memberstream.stream.registry.publication import Current
from memberstream.stream.registry.registrar import Registrar, describe
from memberstream.stream.settings import Settings, variable
from memberstream.stream.tasks.supervisor import Supervisor
from memberstream.stream.tasks.turns import Turns

log = logging.getLogger(__name__)
COMPACTION_SETTING = f"set {variable('compacted_source')}=whole_documents"
SKIP_COMMAND = "memberstream events skip"


def overdue_s(waiting: Iterable[tuple[int, int]]) -> float:
    """Return for how long the member has waited that is due longest, by the wall clock (MemberTimers.waiting)."""
    return max((max(0, wall_ms() - since_ms) / 1000 for _, since_ms in waiting), default=0.0)


def scored_versions(current: Current) -> list[ScoredVersion]:
    """Return the versions that members have clusters of."""
    publication, live = current.publication, current.announcement.live
    computed = [(model.name, model.version, model.scorer.type, True) for model in publication.models]
    listed = [(version.name, version.version, LIST, False) for _, version in publication.lists.published]
    return [ScoredVersion(*one, live.get(one[0]) == one[1]) for one in computed + listed]


class Pulse:
    """Reads the vitals of a worker's parts; from any thread."""

    def __init__(
        self,
        app: BatchApp,
        tasks: Supervisor,
        follower: Follower,
        surroundings: Surroundings,
        writer: Writer,
        rebuild: Rebuild,
        backfill: Backfill,
        roll_call: RollCall,
        breaths: Callable[[], int],
    ) -> None:
        self._app, self._tasks, self._follower, self._surroundings = app, tasks, follower, surroundings
        self._writer, self._rebuild, self._backfill = writer, rebuild, backfill
        self._roll_call, self._breaths = roll_call, breaths  # of all computing: it goes on
        self.batches = 0

    def vitals(self) -> Vitals:
        """Return them as they are now."""
        return vitals_of(
            self._app,
            self._tasks,
            self._follower,
            self._writer.problem,
            self._surroundings.problems,
            self.batches + self._rebuild.written + self._backfill.scored + self._breaths(),
            tuple(self._rebuild.remaining.items()),
            self._rebuild.written,
            unscored={p: standing.unscored for p, standing in self._roll_call.standing.items()},
        )


def run_worker(settings: Settings) -> int:
    """Run a worker in the foreground until SIGTERM or SIGINT; returns the exit status of the process.

    Raises:
        StartError: the models, Kafka, the topic, the data directory or the metrics' port isn't as it must be, or the
            keys in Redis are another installation's.
    """
    follower, registrar = _models(settings)
    owner = installation_of(settings)
    tracer = tracer_of(settings, settings.topic, settings.group, "memberstream-worker")
    current = registrar.current
    app = _app(settings, current)
    state, clock, locks, tasks = app.partition_state, settings.clock, Locks(), new_supervisor(*KINDS, SPOT_CHECKS)
    projection = Projection(settings.redis_url, settings.keys, owner)
    writer = Writer(projection, app.owned.holds, clock, wall_ms)
    surroundings = Surroundings(projection.calls, wall_ms)
    recent = Recent()
    rescoring = Rescoring(state, writer, clock, wall_ms, recent)

    # A deleted member leaves the lists, and who counts interactions is told.
    enlisting = Enlisting(
        current,
        writer,
        lambda: app.source.partition_count,
        registrar.until_known,
        partial(list_rows.read, settings.kafka, settings.lists_topic),
        partial(app.producing.rows, settings.lists_topic),
    )
    forgetting = Forgetting(
        writer,
        lambda: app.producing.partitions_of(settings.interactions_topic),
        partial(app.producing.rows, settings.interactions_topic),
    )

    # Beside the batches.
    turns = Turns(lambda: pulse.batches)
    sweep = Sweep(state, writer, lambda: app.source.partition_count)
    level = Level(app.source, writer, rescoring)
    rebuild = Rebuild(
        current,
        state,
        writer,
        rescoring,
        enlisting,
        sweep,
        level,
        n_partitions=lambda: app.source.partition_count,
        until_current=partial(registrar.until_known, -1),
    )
    backfill = Backfill(current, state, writer, rescoring, enlisting, locks, turns)
    timers = MemberTimers(current, state, rescoring, locks, turns, lambda late_ms: metrics.on_rescored(late_ms))
    roll_call = RollCall(current, state, rescoring, backfill.is_complete, locks, turns)
    background = Background(
        tasks=tasks,
        locks=locks,
        writer=writer,
        rebuild=rebuild,
        backfill=backfill,
        timers=timers,
        roll_call=roll_call,
    )

    def held(partition: int, key: bytes) -> bytes | None:
        if partition not in writer.progress:
            raise NotOwner
        return state.get_many(partition, [key])[0]

    # Partitions come and go, and models change.
    admission = Admission(
        topic=app.source,
        state=state,
        writer=writer,
        epoch=settings.topic_epoch,
        partitioner=settings.partitioner,
        until_known=registrar.until_known,
    )
    ownership = Ownership(
        current=current,
        writer=writer,
        admission=admission,
        background=background,
        locks=locks,
        look=surroundings.look,
    )
    queries = _queries(settings, held, lambda: app.event_loop)
    redis_watch = RedisWatch(
        writer=writer,
        background=background,
        rebuild=rebuild,
        backfill=backfill,
        roll_call=roll_call,
        lag=app.source.lag,
        wall_ms=wall_ms,
        address=None if queries is None else (settings.query_host, queries.port),
    )

    # The path of events.
    spot_checks = SpotChecks(current)
    computing = Computing(
        current,
        app.source,
        state,
        writer,
        clock,
        wall_ms,
        settings.partitioner,
        latest_ms=surroundings.latest_ms,
        offer=spot_checks.offer,
        rules=Rules(settings.is_compaction_admitted, settings.are_json_keys_allowed),
        recent=recent,
    )
    pipeline = Pipeline(
        locks=locks,
        computing=computing,
        dead_letters=DeadLetters(settings.topic, settings.dead_letter_topic, app.producing.letters, wall_ms),
        enlisting=enlisting,
        forgetting=forgetting,
        state=state,
        writer=writer,
        wall_ms=wall_ms,
        report=lambda report: on_batch(report),
        on_written=background.on_batch,
    )

    # What others see of it.
    paces = (computing.pace, rebuild.pace, backfill.pace, timers.pace, roll_call.pace)
    pulse = Pulse(
        *(app, tasks, follower, surroundings, writer, rebuild, backfill, roll_call),
        breaths=lambda: sweep.looked_at + sum(pace.breaths for pace in paces),
    )
    watchdog = Watchdog(pulse.vitals, lambda: app.event_loop, settings.stall_limit_s)
    metrics = MemberMetrics(
        Gauges(
            versions=lambda: scored_versions(current),
            lag=app.source.lag,
            standby_lag=app.standby_lag,
            members=lambda: {p: state.approximate_count(p) for p in app.owned.partitions},
            vitals=pulse.vitals,
            checks=watchdog.readyz,
            stalls=lambda: watchdog.stalls,
            refused_writes=lambda: writer.refused,
            foreign_writes=writer.foreign.total,
            rebalances=lambda: app.rebalances,
            task_restarts=lambda: dict(tasks.restarts),
            backfill=lambda: (sum(backfill.remaining.values()), backfill.scored),
            refused_models=lambda: len(registrar.refused),
            set_aside=lambda: follower.registry.n_set_aside,
            list_rows=lambda: (enlisting.written, enlisting.withdrawn),
            timers=lambda: {p: state.timers_count(p) for p in app.owned.partitions},
            due=lambda: sum(n for n, _ in tuple(timers.waiting.values())),
            overdue_s=lambda: overdue_s(tuple(timers.waiting.values())) if clock == "wall" else 0.0,
            rescored=lambda: timers.rescored,
            removed_rows=lambda: sweep.removed,
            redis_rights_missing=lambda: sweep.problem is not None or surroundings.is_forbidden,
            redis_round_trip_s=lambda: writer.round_trip_s,
            clusters=roll_call.clusters,
            campaigns=lambda: roll_call.campaigns(wall_ms()),
            roll_call=lambda: (roll_call.healed, roll_call.corrected),
            spot_checks=lambda: spot_checks.told,
        ),
    )

    def on_batch(report: Report) -> None:
        pulse.batches += 1
        metrics.on_batch(report, tracer.batch(report))

    app.serve(ownership, pipeline.handle, tracer.commit)
    tasks.keep(REDIS, redis_watch.run)
    tasks.keep(SURROUNDINGS, surroundings.run)
    tasks.keep(SPOT_CHECKS, spot_checks.run)
    tasks.keep(MODELS, lambda: registrar.run(ownership.adopt))
    try:
        return run_service(app, settings, metrics.registry, watchdog, tasks, tracer)
    finally:
        if queries is not None:
            queries.close()


def _queries(settings: Settings, read: Read, loop: Callable[[], asyncio.AbstractEventLoop | None]) -> HttpServer | None:
    """Return the port on which questions about members are answered; None: without a secret there is none."""
    if settings.query_key is None:
        return None
    host, port = settings.query_host, settings.query_port
    try:
        return HttpServer(host, port, Answering(settings.query_key, read, loop), "queries")
    except OSError as error:
        raise StartError(
            f"questions about members: can't listen on {host}:{port} ({error.strerror}). Next: set "
            f"{variable('query_host')} to an address of this machine, and {variable('query_port')} to a free port or 0"
        ) from error


def _app(settings: Settings, current: Current) -> BatchApp:
    lists = current.publication.lists
    created: dict[str, dict[str, str]] = {settings.dead_letter_topic: {}}
    if lists.published or lists.uploading:  # deleted, it holds up whoever deletes a member or writes Redis anew
        created[settings.lists_topic] = list_rows.CONFIGS
    return new_app(
        settings,
        settings.group,
        settings.topic,
        settings.data_dir,
        created,
        SKIP_COMMAND,
        is_compaction_admitted=settings.is_compaction_admitted,
        compaction_advice=f"or, if its producers send whole documents only, {COMPACTION_SETTING}",
    )


def _models(settings: Settings) -> tuple[Follower, Registrar]:
    """Return who follows the models' log, which has been read, and the worker's registrar, its models loaded."""
    models_log = ModelsLog(settings.kafka, settings.models_topic, settings.replication_factor, KAFKA_WAIT_S)
    try:
        registry = asyncio.run(models_log.read())
    except ModelsLogError as error:
        raise StartError(str(error)) from None
    follower = Follower(models_log, registry)
    registrar = Registrar(follower)
    log.info("models: %s", describe(registry))
    if problems := registrar.refused_live():
        raise StartError("\n".join([*problems, "Next: update this worker, or promote another version"]))
    return follower, registrar
