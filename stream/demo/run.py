"""The demo: real purchases through a real broker, worker process and Valkey, and what came of it.

1. The first part of the history waits in Kafka when the worker starts: how fast does it catch up?
2. The rest arrives at a steady rate: how long until an event is readable in Redis, seen from outside?
3. Days have passed for everybody: how soon is each member in the cluster of the last day?
4. Look-ups are timed, and every member in Redis is compared with a recomputation that shares no code with the worker.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from memberstream.models.wording import counted
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.demo.history import Change, changes, histories
from memberstream.stream.demo.measure import EVENTS, LAG, CatchingUp, Freshness, time_lookups, worker_metrics
from memberstream.stream.demo.oracle import BOOSTED, MODELS
from memberstream.stream.demo.result import Result, explain_some, show_result
from memberstream.stream.demo.spawning import spawn
from memberstream.stream.demo.verify import n_due, verify
from memberstream.stream.files.models import read_model
from memberstream.stream.kafka.producer import Producer
from memberstream.stream.kafka.topics import create_topic
from memberstream.stream.local.embedded import EmbeddedKafka, EmbeddedValkey
from memberstream.stream.local.server_process import ServerError, ServerProcess, free_port
from memberstream.stream.lookup import AsyncLookup
from memberstream.stream.settings import Settings
from memberstream.stream.terminal.output import err, out, print_json

LIVE_EVENTS = 12_000  # the end of the history, sent at a steady rate
LIVE_RATE = 1_000  # events per second: well below what the worker and this process manage side by side on two cores
N_PARTITIONS = 4
N_LOOKUPS = 20_000
SAMPLE = 10  # every tenth live event is watched until it is readable: enough for a p99, little load
LINGER_MS = 2  # the producer's; part of the freshness
START_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 60.0
_POLL_S = 0.05  # how exactly the catching-up is timed; each look costs the worker a millisecond


def run_demo(*, json: bool, boosted: bool = False, then: Callable[[Settings], None] | None = None) -> None:
    """Run the demo. Prints results, and progress beside them; with `json` one line of JSON, and all else beside it.
    `boosted`: with the boosted trees as a third model. `then` is called while all still runs.

    Raises:
        ServerError: a server or the worker didn't start or died; the text shows the end of its log.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memberstream-demo-")))
        kafka = stack.enter_context(EmbeddedKafka())
        valkey = stack.enter_context(EmbeddedValkey())
        settings = Settings(
            kafka_bootstrap=(kafka.bootstrap,),
            broker_kind="embedded",
            redis_url=valkey.url,
            data_dir=folder / "worker",
            clock="event",
            replication_factor=1,
            session_timeout_s=4.0,  # the embedded broker lets a worker join after half of this time
            metrics_port=free_port(),
            query_secret=secrets.token_hex(24),  # for the console's page of a member
        )
        err.print(f"[dim]broker on {kafka.bootstrap}, Valkey on {valkey.url}, both in memory[/]")
        # The worker is started by a thread of the runner, and ends with it.
        runner = stack.enter_context(asyncio.Runner())
        worker = stack.enter_context(WorkerProcess(settings, folder / "worker.log"))
        result = runner.run(_replay(settings, worker, (*MODELS, BOOSTED) if boosted else MODELS))
        show_result(result, err if json else out)
        if json:
            print_json(result.summary())
        if then is not None:
            then(settings)


class WorkerProcess:
    """`memberstream worker` as a process of its own. `start` starts it; it is stopped with the context."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._settings = settings
        self._server = ServerProcess("the worker", log)

    def start(self) -> None:
        """Start the worker. Returns when its metrics answer; that is before it has joined its group."""
        spawn(self._server, self._settings, "worker")
        self._server.wait_until(self._answers, timeout_s=START_TIMEOUT_S)

    def _answers(self) -> bool:
        worker_metrics(self._settings.metrics_port)
        return True

    def check(self) -> None:
        """Raise ServerError with the end of the worker's log if it has died."""
        if self._server.pid is None:
            self._server.wait_until(lambda: False, timeout_s=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace_s=10.0)


async def _replay(settings: Settings, worker: WorkerProcess, names: Sequence[str]) -> Result:
    await create_topic(settings.kafka, settings.topic, N_PARTITIONS)
    folder = files("memberstream.stream.demo") / "models"
    models = [read_model(Path(str(folder / f"{name}.json"))) for name in names]
    await Publishing(settings, "demo").install(models)
    events = list(changes())
    backlog, live = events[:-LIVE_EVENTS], events[-LIVE_EVENTS:]
    columns = TextColumn("{task.description:<46}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, refresh_per_second=2) as progress:  # drawing takes turns with measuring
        async with Producer(settings.kafka, settings.topic, partitioner=settings.partitioner) as producer:
            task = progress.add_task("purchases until May 1998 into Kafka", total=len(backlog))
            for i, change in enumerate(backlog):
                await producer.send(change.member_id.encode(), orjson.dumps(change.envelope))
                if i % 1_000 == 0:
                    progress.update(task, completed=i)
            await producer.flush()
            progress.update(task, completed=len(backlog))
        task = progress.add_task("the worker starts, joins and catches up", total=len(backlog))
        seconds = await asyncio.to_thread(_catch_up, settings, worker, len(backlog), progress, task)
        task = progress.add_task(f"the rest as it happens, {LIVE_RATE:,} purchases/s", total=len(live))
        freshness = await _send_live(settings, live, progress, task)
        histories_by_member, last_day_ms = histories(), events[-1].at_ms
        member_ids = list(histories_by_member)
        task = progress.add_task("members brought up to the history's last day", total=len(member_ids))
        await asyncio.to_thread(_wait_for_the_due, settings, worker, member_ids, last_day_ms, progress, task)
    err.print(f"[dim]{N_LOOKUPS:,} look-ups, then every member compared with a recomputation …[/]")
    lookups = time_lookups(settings.redis_url, member_ids, N_LOOKUPS)
    verification = verify(settings.redis_url, histories_by_member, last_day_ms, names)
    counters = worker_metrics(settings.metrics_port, EVENTS)[EVENTS]
    explained = await explain_some(settings, models, verification, last_day_ms)
    return Result(
        events=len(events),
        dead_letters=int(counters["dead_letter"]),
        events_per_s=len(backlog) / seconds,
        freshness_s=freshness,
        lookup_s=lookups,
        verification=verification,
        explained=explained,
        names={m.name: {c.id: c.name for c in m.clusters} for m in models},
    )


def _catch_up(settings: Settings, worker: WorkerProcess, n: int, progress: Progress, task: TaskID) -> float:
    """Start the worker and wait until n events are applied. Returns the seconds since its first fetch."""
    worker.start()
    catching_up = CatchingUp(n, time.perf_counter())
    while True:
        asked_s = time.perf_counter()
        told = worker_metrics(settings.metrics_port, LAG, EVENTS)
        catching_up.look(asked_s, told[LAG], told[EVENTS], time.perf_counter())
        progress.update(task, completed=catching_up.n_done)
        if catching_up.seconds is not None:
            return catching_up.seconds
        worker.check()
        time.sleep(_POLL_S)


def _wait_for_the_due(
    settings: Settings, worker: WorkerProcess, member_ids: Sequence[str], at_ms: int, progress: Progress, task: TaskID
) -> None:
    """Wait until everybody is in Redis as of a time. Raises ServerError when that takes too long."""
    give_up_at = time.monotonic() + SETTLE_TIMEOUT_S
    while n := n_due(settings.redis_url, member_ids, at_ms):
        progress.update(task, completed=len(member_ids) - n)
        worker.check()
        if time.monotonic() > give_up_at:
            raise ServerError(
                f"{counted(n, 'member is', 'members are')} not as of the last day after {SETTLE_TIMEOUT_S:g} s. Next: "
                "report it"
            )
        time.sleep(0.2)  # each look takes the worker's core some time
    progress.update(task, completed=len(member_ids))


async def _send_live(settings: Settings, live: list[Change], progress: Progress, task: TaskID) -> list[float]:
    """Send events at the steady rate; returns the freshness of a sample of them."""
    async with (
        AsyncLookup(settings.redis_url) as client,
        Producer(settings.kafka, settings.topic, partitioner=settings.partitioner, linger_ms=LINGER_MS) as producer,
    ):
        freshness = Freshness(client)
        watcher = asyncio.create_task(freshness.watch())
        start = time.perf_counter()
        for i, change in enumerate(live):
            ahead_s = start + i / LIVE_RATE - time.perf_counter()
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            sent_at = time.perf_counter()
            acknowledged = await producer.send(change.member_id.encode(), orjson.dumps(change.envelope))
            if i % SAMPLE == 0:
                acknowledged.add_done_callback(partial(_expect, freshness, change.member_id, sent_at))
                progress.update(task, completed=i + 1)
        await producer.flush()
        settled = asyncio.create_task(freshness.settle())
        done, _ = await asyncio.wait({watcher, settled}, timeout=SETTLE_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        watcher.cancel()
        settled.cancel()
        if watcher in done:
            watcher.result()  # raises what ended it
        if settled not in done:
            raise ServerError(f"events are not readable {SETTLE_TIMEOUT_S:g} s after they were sent. Next: report it")
        progress.update(task, completed=len(live))
        return freshness.seconds


def _expect(freshness: Freshness, member_id: str, sent_at: float, acknowledged: asyncio.Future[Any]) -> None:
    freshness.expect(member_id, acknowledged.result().offset, sent_at)
