"""What the worker's process does beside its app."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry

from memberstream.stream.faust_batch import offsets
from memberstream.stream.faust_batch.app import BatchApp
from memberstream.stream.faust_batch.consumer import BatchConsumer
from memberstream.stream.faust_batch.errors import NameTaken
from memberstream.stream.faust_batch.running import COLLECT_AGAIN_S, COLLECT_EVERY_S, _collect, _ended
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.process import service
from memberstream.stream.process.tracing import Untraced


class Loop:
    """Notes when something is called next."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def call_later(self, wait_s: float, *_: Any) -> None:
        self.waits.append(wait_s)


class Ring:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_cycles_are_freed_between_batches() -> None:
    """Not while a batch is in hand: it has a million objects to look at."""
    gc.disable()  # or chance may free it first
    try:
        ring, loop = weakref.ref(Ring()), Loop()
        for is_busy in (True, False):
            app = cast(BatchApp, SimpleNamespace(source=SimpleNamespace(is_busy=is_busy)))
            _collect(app, cast(asyncio.AbstractEventLoop, loop))
            assert (ring() is not None) == is_busy
    finally:
        gc.enable()
    assert loop.waits == [COLLECT_AGAIN_S, COLLECT_EVERY_S]


HAD, GIVEN_AWAY = TP("docs", 0), TP("docs", 1)


class Consumer(BatchConsumer):
    """A consumer with offsets of two partitions to commit, one of which it no longer has."""

    def __init__(self, *answers: bool | None) -> None:
        self._answers, self._refused = iter(answers), set[TP]()
        self._positions: Any = SimpleNamespace(next={HAD: 5})
        self.commits: list[dict[int, int]] = []
        self._owned: Any = SimpleNamespace(on_commit=lambda offsets, *_: self.commits.append(offsets))
        self._thread: Any = SimpleNamespace(commit=self._answer)
        self.log: Any = logging.getLogger(__name__)

    async def _answer(self, offsets: dict[TP, int]) -> bool:
        if (answer := next(self._answers)) is None:
            await asyncio.Event().wait()
        return bool(answer)

    async def commit(self, *_: Any) -> bool:
        if not self._refused:  # Faust takes what was refused for committed
            return await self._commit({HAD: 5})
        return False

    async def park(self) -> None:
        """Nothing is in flight."""


async def test_a_commit_tells_whether_the_broker_has_taken_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, or not answered in time, it isn't; what was refused of partitions that others have now doesn't count.
    Who listens hears of what was taken only."""
    monkeypatch.setattr(offsets, "BATCH_GRACE_S", 0.05)
    taken = Consumer(True)
    assert await taken.commit_range()
    assert taken.commits == [{HAD.partition: 5}]
    assert not await Consumer(None).commit_range()
    refused = Consumer(False)
    assert not await refused.commit_range()
    assert not await refused.commit_range()
    assert refused.commits == []
    refused._positions.next = {GIVEN_AWAY: 7}
    assert await refused.commit_range()


class Beside(Consumer):
    """Where a commit of Faust's own timer is under way, and doesn't end: a write isn't acknowledged."""

    def __init__(self) -> None:
        super().__init__(None)
        self._loop = asyncio.get_running_loop()
        self._commit_fut: Any = self._loop.create_future()
        self.app: Any = SimpleNamespace(client_only=False)

    async def commit(self, *_: Any) -> bool:
        return bool(await faust.transport.consumer.Consumer.commit(self))

    async def force_commit(self, *_: Any, **__: Any) -> bool:
        """Wait for what isn't acknowledged, as the other one does."""
        return await self._commit({HAD: 5})


async def test_a_commit_beside_another_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance waits for it, and all other workers for the rebalance. The one under way isn't touched."""
    monkeypatch.setattr(offsets, "BATCH_GRACE_S", 0.05)
    consumer = Beside()
    assert not await asyncio.wait_for(consumer.commit_range(), 5)
    assert not consumer._commit_fut.done()
    consumer._commit_fut.set_result(None)
    assert await consumer.maybe_wait_for_commit_to_finish()
    consumer._commit_fut = None
    assert not await consumer.maybe_wait_for_commit_to_finish()


@pytest.mark.parametrize("is_taken", [True, False])
async def test_after_a_signal_only_what_is_committed_is_said_to_be(
    is_taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stop goes on without the last commit, and says so."""

    async def nothing(*_: Any) -> None:
        pass

    app = BatchApp(kafka=Kafka(("127.0.0.1:1",)), group="group", source_topic="docs", data_dir=tmp_path)
    app.source.partition_count = 1
    recovery = SimpleNamespace(assigning=SimpleNamespace(cancel=nothing))
    monkeypatch.setattr(BatchApp, "tables", SimpleNamespace(recovery=recovery))
    monkeypatch.setattr(faust.App, "on_stop", nothing)
    monkeypatch.setattr(app.owned, "release", nothing)
    monkeypatch.setattr("memberstream.stream.faust_batch.app.STOP_LIMIT_S", 1e6)  # its end is the process's
    app._consumer = app.consumer = Consumer(is_taken)
    await app.on_stop()
    with caplog.at_level(logging.INFO):
        assert _ended(app, is_crash=False, is_asked=True) == 0
    assert ("what was applied is committed" in caplog.text) == is_taken
    assert ("will be replayed" in caplog.text) != is_taken


async def test_who_has_lost_its_name_stays_away_unless_it_was_asked_to_end(caplog: pytest.LogCaptureFixture) -> None:
    """A supervisor would start it at once, and it would take the name back. The last line of its log says why."""

    async def crash(error: Exception) -> None:
        crashed.append(error)

    crashed: list[Exception] = []
    for is_asked in (False, True):
        consumer = Consumer()
        consumer.app = SimpleNamespace(is_name_taken=False, must_stay_away=False, crash=crash, crash_reason=None)
        assert _ended(consumer.app, is_crash=True, is_asked=False) == 1
        assert not consumer.app.must_stay_away
        await consumer.name_taken(NameTaken("another process has it"))
        consumer.app.crash_reason = crashed[-1]
        assert _ended(consumer.app, is_crash=True, is_asked=is_asked) == 1
        assert caplog.messages[-1] == "ended by NameTaken: another process has it"
        assert consumer.app.must_stay_away is not is_asked
    assert len(crashed) == 2


@pytest.mark.parametrize("must_stay_away", [True, False])
def test_a_worker_stays_away_for_one_session(must_stay_away: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its watchdog stopped: it would take the wait for a stall."""
    done: list[Any] = []
    nothing: Any = SimpleNamespace(
        keep=lambda *_: None, run=None, follow_skips=None, healthz=None, readyz=None, start=lambda: None,
        stop=lambda: done.append("watchdog"), metrics_host="127.0.0.1", metrics_port=0, session_timeout_s=7.0,
        add_background=lambda _: None, must_stay_away=must_stay_away,
    )  # fmt: skip
    nothing.probe = nothing.source = nothing
    monkeypatch.setattr(service, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(service, "run", lambda _: 1)
    monkeypatch.setattr(service, "HttpServer", lambda *_: SimpleNamespace(port=0, close=lambda: None))
    monkeypatch.setattr(service, "stay_away", done.append)
    assert service.run_service(nothing, nothing, CollectorRegistry(), nothing, nothing, Untraced()) == 1
    assert done == (["watchdog", 7.0] if must_stay_away else ["watchdog"])


def test_a_signal_to_stop_ends_the_wait() -> None:
    """And afterwards signals do what they did before."""
    before = signal.getsignal(signal.SIGTERM)
    service.stay_away(0.0)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    service.stay_away(600.0)
    assert time.monotonic() - began < 300
    assert signal.getsignal(signal.SIGTERM) is before
