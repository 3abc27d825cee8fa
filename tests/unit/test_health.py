"""Health: what counts as alive, ready and stalled, the endpoint, and what the watchdog does about a stall."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from prometheus_client import CollectorRegistry

from stream.cli.console import SaysItOnce
from stream.faust_batch.changelog import patiently
from stream.health import DEAD_AFTER_S, Check, Progress, Vitals, alive, ready
from stream.http_server import PATHS, serve
from stream.watchdog import Watchdog, stacks

WELL = Vitals(partitions=frozenset({0, 1}))
LIMIT_S = 120.0


def wrong(vitals: Vitals, stalled_s: float = 0.0) -> list[str]:
    """Return the names of the checks of /readyz that aren't ok; each says what to do."""
    checks = [check for check in ready(vitals, stalled_s, LIMIT_S) if not check.ok]
    assert all(check.problem and check.next for check in checks)
    return [check.name for check in checks]


def test_a_worker_is_ready_when_nothing_is_wrong() -> None:
    """Also as a spare one without partitions."""
    assert wrong(WELL) == []
    assert wrong(replace(WELL, partitions=frozenset())) == []


@pytest.mark.parametrize(
    ("vitals", "name", "said"),
    [
        (Vitals(), "assigned", "hasn't given"),
        (replace(WELL, is_recovering=True), "recovered", "isn't known"),
        (replace(WELL, is_recovering=True, recovered=30, to_recover=70), "recovered", "30 of 100"),
        (replace(WELL, rebuilding=((0, 400), (1, 100))), "rebuilt", "about 500 members of 2 partitions"),
        (replace(WELL, redis_problem="OOM", redis_down_s=7.0), "redis", "7 s: OOM"),
        (replace(WELL, kafka_problem="no answer", kafka_down_s=61.0), "kafka", "61 s: no answer"),
        (replace(WELL, loop_silent_s=DEAD_AFTER_S + 1), "event_loop", "11 s (limit 10 s)"),
    ],
)
def test_each_trouble_is_one_check(vitals: Vitals, name: str, said: str) -> None:
    """The others stay ok, so that the answer points at the cause."""
    assert wrong(vitals) == [name]
    [check] = [check for check in ready(vitals, 0.0, LIMIT_S) if not check.ok]
    assert said in check.problem


def test_only_a_silent_loop_is_not_alive() -> None:
    """A restart helps nobody while Redis or Kafka is down, so these never fail /healthz."""
    troubled = replace(WELL, redis_problem="gone", kafka_problem="gone", is_recovering=True)
    assert [check.ok for check in alive(troubled)] == [True]
    assert [check.ok for check in alive(replace(WELL, loop_silent_s=DEAD_AFTER_S + 0.1))] == [False]


BUSY = replace(WELL, is_busy=True)


@pytest.mark.parametrize(
    ("later", "stalled_s"),
    [
        (BUSY, 60.0),
        (replace(WELL, is_recovering=True), 60.0),
        (replace(WELL, rebuilding=((0, 5),)), 60.0),
        (WELL, 0.0),  # nothing to do
        (replace(BUSY, finished=1), 0.0),
        (replace(BUSY, redis_problem="gone"), 0.0),
        (replace(BUSY, kafka_problem="gone"), 0.0),
        (replace(WELL, loop_silent_s=60.0, redis_problem="gone"), 60.0),  # what a hanging loop says is old
    ],
)
def test_a_stall_is_work_without_progress_and_without_excuse(later: Vitals, stalled_s: float) -> None:
    """The clock runs only while there is work, Redis and Kafka are there, and nothing gets finished."""
    progress = Progress(0.0)
    progress.stalled_s(100.0, BUSY)  # what has been finished by now is the start
    assert progress.stalled_s(160.0, later) == stalled_s


def test_a_stall_ends_with_the_first_thing_finished() -> None:
    """And begins anew from there."""
    progress = Progress(0.0)
    assert progress.stalled_s(0.0, BUSY) == 0.0
    assert progress.stalled_s(50.0, BUSY) == 50.0
    assert progress.stalled_s(51.0, replace(BUSY, finished=7)) == 0.0
    assert progress.stalled_s(61.0, replace(BUSY, finished=7)) == 10.0
    assert wrong(BUSY, 29.0) == []
    assert wrong(BUSY, 31.0) == ["progress"]


async def test_the_watchdog_says_a_stall_once_and_ends_the_worker(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has the stack of the task that hangs; past the limit the process ends with 1, not before."""
    clock = [0.0]
    monkeypatch.setattr("stream.watchdog.monotonic", lambda: clock[0])
    monkeypatch.setattr(logging, "shutdown", lambda: None)  # would close pytest's handlers
    ended: list[int] = []

    async def a_handler_that_hangs() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(a_handler_that_hangs())
    await asyncio.sleep(0)
    watchdog = Watchdog(lambda: BUSY, asyncio.get_running_loop, LIMIT_S, ended.append)
    for clock[0] in (0.0, 10.0, 29.0):
        watchdog.tick()
    assert not caplog.records
    for clock[0] in (31.0, 60.0, 119.0):
        watchdog.tick()
    [record] = caplog.records
    assert "a_handler_that_hangs" in record.getMessage()
    assert watchdog.stalls == 1
    assert not ended
    clock[0] = 121.0
    watchdog.tick()
    assert ended == [1]
    task.cancel()


def test_an_outage_of_kafka_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning when it goes, one line when it is back, however long it takes."""
    caplog.set_level(logging.INFO)
    vitals = [WELL]
    watchdog = Watchdog(lambda: vitals[0], lambda: None, LIMIT_S)
    for problem in (None, "no answer", "no answer", "refused", None, None):
        vitals[0] = replace(WELL, kafka_problem=problem)
        watchdog.tick()
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "Kafka is unreachable, waiting for it: no answer"),
        ("INFO", "Kafka is back"),
    ]


def test_stacks_without_a_loop() -> None:
    """Before the loop exists there are threads to show."""
    assert "test_stacks_without_a_loop" in stacks(None)


@pytest.fixture
def checks() -> list[Check]:
    return [Check("kafka", True), Check("redis", True)]


@pytest.fixture
def connection(checks: list[Check]) -> Iterator[HTTPConnection]:
    server = serve("127.0.0.1", 0, CollectorRegistry(), lambda: [Check("event_loop", True)], lambda: checks)
    client = HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    yield client
    client.close()
    server.shutdown()
    server.server_close()


def ask(connection: HTTPConnection, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection.request(method, path)
    reply = connection.getresponse()
    return reply.status, reply.read()


def test_the_endpoint(connection: HTTPConnection, checks: list[Check]) -> None:
    """200 or 503 with one line for each check; HEAD says the same without a body; other paths are told which exist."""
    assert ask(connection, "/readyz") == (
        200,
        b'{"ok":true,"checks":[\n  {"name":"kafka","ok":true},\n  {"name":"redis","ok":true}\n]}\n',
    )
    checks[1] = Check("redis", False, problem='"gone"', next="bring it back")
    status, body = ask(connection, "/readyz")
    assert status == 503
    assert json.loads(body)["checks"][1] == {
        "name": "redis", "ok": False, "problem": '"gone"', "next": "bring it back",
    }  # fmt: skip
    assert len(body.splitlines()) == 2 + len(checks)
    assert ask(connection, "/readyz", "HEAD") == (503, b"")
    assert ask(connection, "/healthz") == (200, b'{"ok":true,"checks":[\n  {"name":"event_loop","ok":true}\n]}\n')
    assert ask(connection, "/healthz", "HEAD") == (200, b"")
    assert ask(connection, "/metrics", "HEAD") == (200, b"")
    assert ask(connection, "/metrics")[0] == 200
    status, body = ask(connection, "/")
    assert (status, json.loads(body)["paths"]) == (404, PATHS)
    assert ask(connection, "/readyz", "POST")[0] == 405


def test_aiokafka_says_each_kind_of_thing_once_in_a_while() -> None:
    """An outage is a hundred lines a second otherwise; everybody else's lines, and tracebacks, always come through."""
    clock = [0.0]
    once = SaysItOnce(lambda: clock[0])

    def line(name: str, text: str, node: int = 1, exc_info: Any = None) -> bool:
        return once.filter(logging.LogRecord(name, logging.ERROR, "", 0, text, (node,), exc_info))

    assert line("aiokafka", "no connection to %s")
    assert not line("aiokafka", "no connection to %s", 2)
    assert line("aiokafka", "another kind of %s")
    assert line("stream.writer", "waiting for Redis %s")
    assert line("stream.writer", "waiting for Redis %s")
    assert line("aiokafka", "no connection to %s", exc_info=(ValueError, ValueError(), None))
    clock[0] = 31.0
    assert line("aiokafka", "no connection to %s")


async def test_a_full_queue_is_waited_for() -> None:
    """aiokafka's time-out before it has taken a batch isn't the end of it: the batch is offered again, once it is taken
    never again."""
    offered: list[int] = []

    async def send() -> str:
        offered.append(1)
        if len(offered) < 3:
            raise KafkaTimeoutError
        return "taken"

    assert await patiently(send) == "taken"
    assert len(offered) == 3
