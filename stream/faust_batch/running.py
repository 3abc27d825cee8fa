"""The worker as a process: its event loop, Faust's worker around the app, the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import logging
from time import monotonic
from typing import Any

import faust
import uvloop

from memberstream.stream.faust_batch.app import BatchApp
from memberstream.stream.faust_batch.data_dir import DataDirInUse
from memberstream.stream.faust_batch.errors import StartError
from memberstream.stream.kafka.clients import advice
from memberstream.stream.partition.state import StateUnusable

log = logging.getLogger(__name__)

#: Seconds between two collections of cycles. While records wait it is tried again after the shorter time.
COLLECT_EVERY_S, COLLECT_AGAIN_S = 60.0, 0.5


class _Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker without its spinner, its process title, and the second it sleeps at the end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spinner = None

    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        """Leave the name of the process as it was started."""

    async def _sentinel_task(self) -> None:
        """Everything is stopped already when this is called."""


def _beat(app: BatchApp, loop: asyncio.AbstractEventLoop) -> None:
    """Note, four times a second, that the loop turns."""
    app.turned_at = monotonic()
    loop.call_later(0.25, _beat, app, loop)


def _collect(app: BatchApp, loop: asyncio.AbstractEventLoop) -> None:
    """Free what is held by cycles only, such as closed connections: a scrape of the metrics leaves one.

    Between two batches there are some thousand objects to look at, which takes a millisecond. A batch has a million.
    """
    if not (is_busy := app.source.is_busy):
        gc.collect()
    loop.call_later(COLLECT_AGAIN_S if is_busy else COLLECT_EVERY_S, _collect, app, loop)


def run(app: BatchApp) -> int:
    """Run the worker in the foreground, in this process; SIGTERM and SIGINT stop it gracefully.

    Returns the exit status: 0 after a signal, 1 after a crash or when it can't start. Logging is the caller's.
    """
    # A batch holds a million objects that die with it. Looking for cycles among them costs a fifth of the speed at the
    # default of 700, a twentieth at 50,000. What the imports made lives as long as the process.
    gc.set_threshold(2_000_000, 20, 1000)
    gc.freeze()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # for aiokafka's thread, too
    loop = app.event_loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    _beat(app, loop)
    loop.call_later(COLLECT_EVERY_S, _collect, app, loop)
    try:
        loop.run_until_complete(app.prepare())
    except (StartError, DataDirInUse, StateUnusable) as error:
        log.error("%s", error)
        loop.close()
        return 1
    worker = _Worker(app, loop=loop, override_logging=False, redirect_stdouts=False)
    try:
        worker.execute_from_commandline()
    except SystemExit as status:  # how Faust's worker returns
        return _ended(app, is_crash=bool(status.code), is_asked=bool(worker._signal_stop_time))
    return 1


def _ended(app: BatchApp, *, is_crash: bool, is_asked: bool) -> int:
    """Say how a worker has ended. Returns the exit status. `is_asked`: by a signal."""
    app.must_stay_away = app.is_name_taken and not is_asked
    if not is_crash:
        rest = "what was applied is committed" if app.is_committed else "what isn't committed will be replayed"
        log.info("ended after a signal: %s", rest)
    elif (error := app.crash_reason) is not None:  # the last line of a log says why; Faust's own are far above it
        log.error("ended by %s: %s%s", type(error).__name__, error, advice(error))
    return int(is_crash)
