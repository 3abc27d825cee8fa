"""Health: what counts as alive, ready and stalled, the endpoint, and what the watchdog does about a stall."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from prometheus_client import CollectorRegistry

from memberstream.stream.faust_batch.changelog import patiently
from memberstream.stream.partition.holds import Hold, Holds, Kind
from memberstream.stream.process.health import Check, alive, ready
from memberstream.stream.process.http_server import PATHS, HttpServer, router
from memberstream.stream.process.vitals import DEAD_AFTER_S, StallClock, Vitals
from memberstream.stream.process.watchdog import Watchdog, stacks
from memberstream.stream.terminal.output import SaysItOnce

WELL = Vitals(partitions=frozenset({0, 1}))
LIMIT_S = 120.0
HELD = Hold(Kind.STUCK, "offset 7 ends the worker", "memberstream events skip 3 7", 1_767_225_600_000)


def wrong(vitals: Vitals, stalled_s: float = 0.0) -> list[str]:
    """Return the names of the checks of /readyz that aren't ok; each says what to do."""
    checks = [check for check in ready(vitals, stalled_s, LIMIT_S) if not check.ok]
    assert all(check.problem and check.next for check in checks)
    return [check.name for check in checks]


def test_a_worker_is_ready_when_nothing_is_wrong() -> None:
    """Also as a spare one without partitions."""
    assert wrong(WELL) == []
    assert wrong(replace(WELL, partitions=frozenset())) == []
    assert wrong(replace(WELL, unscored={0: 0, 1: None})) == []
    counting = [check.detail for check in ready(replace(WELL, unscored={0: 0, 1: None}), 0.0, LIMIT_S)]
    assert "members of partition 1 are being counted" in counting


@pytest.mark.parametrize(
    ("vitals", "name", "said"),
    [
        (Vitals(), "assigned", "hasn't given"),
        (replace(WELL, is_recovering=True), "recovered", "isn't known"),
        (replace(WELL, is_recovering=True, recovered=30, to_recover=70), "recovered", "30 of 100"),
        (replace(WELL, held={3: HELD}), "held", "partition 3 is held since 2026-01-01T00:00:00Z: offset 7 ends the"),
        (replace(WELL, rebuilding=((0, 400), (1, 100))), "rebuilt", "about 500 members of 2 partitions"),
        (
            replace(WELL, unscored={0: 3, 1: None, 2: 0, 7: 4}),
            "scored",
            "7 members lack a version that partitions 0, 7 had",
        ),
        (replace(WELL, redis_problem="OOM", redis_down_s=7.0), "redis", "7 s: OOM"),
        (replace(WELL, kafka_problem="no answer", kafka_down_s=61.0), "kafka", "61 s: no answer"),
        (replace(WELL, models_unreadable="no right"), "models_log", "can't be read: no right"),
        (replace(WELL, models_unreadable="no answer", kafka_problem="no answer"), "kafka", "no answer"),
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
        (replace(BUSY, models_unreadable="gone"), 0.0),
        (replace(WELL, loop_silent_s=60.0, redis_problem="gone"), 60.0),  # what a hanging loop says is old
    ],
)
def test_a_stall_is_work_without_progress_and_without_excuse(later: Vitals, stalled_s: float) -> None:
    """The clock runs only while there is work, Redis and Kafka are there, and nothing gets finished."""
    progress = StallClock(100.0)
    progress.stalled_s(100.0, BUSY)  # what has been finished by now is the start
    for second in range(101, 160):
        progress.stalled_s(second, BUSY)
    assert progress.stalled_s(160.0, later) == stalled_s


def test_a_stall_ends_with_the_first_thing_finished() -> None:
    """And begins anew from there."""
    progress = StallClock(0.0)
    assert progress.stalled_s(0.0, BUSY) == 0.0
    assert progress.stalled_s(5.0, BUSY) == 5.0
    assert progress.stalled_s(6.0, replace(BUSY, finished=7)) == 0.0
    assert progress.stalled_s(16.0, replace(BUSY, finished=7)) == 10.0
    assert wrong(BUSY, 29.0) == []
    assert wrong(BUSY, 31.0) == ["progress"]


def test_a_process_that_was_stopped_has_not_stalled() -> None:
    """Nothing could be finished meanwhile. A worker that is resumed after minutes gets its time to go on."""
    progress = StallClock(0.0)
    for second in range(20):
        progress.stalled_s(second, BUSY)
    silent = replace(BUSY, loop_silent_s=600.0)  # the watchdog's thread may look before the loop turns
    assert progress.stalled_s(619.0, silent) == 29.0
    assert progress.stalled_s(620.0, BUSY) == 30.0


def test_a_process_that_lets_nothing_of_it_turn_has_stalled() -> None:
    """Code that holds the interpreter keeps the watchdog from looking, too. It uses the processor: it isn't frozen."""
    progress = StallClock(0.0, 5.0)
    progress.stalled_s(0.0, BUSY, 5.0)
    assert progress.stalled_s(60.0, BUSY, 64.0) == 60.0


def test_two_held_partitions_are_told_with_both_actions_and_the_same_one_once() -> None:
    """An operator reads the one line and knows all there is to do."""
    held = {3: HELD, 1: HELD._replace(next="another"), 4: HELD}
    [check] = [check for check in ready(replace(WELL, held=held), 0.0, LIMIT_S) if not check.ok]
    assert check.problem.count("is held since") == 3
    assert check.next == "another; memberstream events skip 3 7"


def test_the_watchdog_says_what_is_held_and_again_after_minutes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once when it begins, again while it lasts, at once when the reason changes, and when it is over."""
    clock, holds = [0.0], Holds()
    monkeypatch.setattr("memberstream.stream.process.watchdog.monotonic", lambda: clock[0])
    watchdog = Watchdog(lambda: replace(WELL, held=holds.now), lambda: None, LIMIT_S, list[int]().append)
    caplog.set_level(logging.INFO)

    def said(at_s: float) -> list[str]:
        caplog.clear()
        clock[0] = at_s
        watchdog.tick()
        return [record.message for record in caplog.records]

    assert said(0.0) == []
    holds.hold(3, HELD)
    line = "partition 3 is held, the others go on: offset 7 ends the worker. Next: memberstream events skip 3 7"
    assert said(1.0) == [line]
    assert said(300.0) == []
    assert said(301.0) == [line]
    holds.hold(3, HELD._replace(why="another"))
    assert said(302.0) == [line.replace("offset 7 ends the worker", "another")]
    holds.release([3])
    assert said(303.0) == ["partition 3 isn't held any more"]
    assert said(304.0) == []


def test_a_hold_leaves_the_beacon_as_of_its_begin() -> None:
    """So readers are told `stale` once it is old enough; others are told of as ever."""
    holds = Holds()
    holds.hold(3, HELD)
    assert (holds.told_ms(3, HELD.since_ms + 5), holds.told_ms(3, HELD.since_ms - 5)) == (
        HELD.since_ms,
        HELD.since_ms - 5,
    )
    assert holds.told_ms(2, HELD.since_ms + 5) == HELD.since_ms + 5


async def test_the_watchdog_says_a_stall_once_and_ends_the_worker(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has the stack of the task that hangs; past the limit the process ends with 1, not before."""
    clock = [0.0]
    monkeypatch.setattr("memberstream.stream.process.watchdog.monotonic", lambda: clock[0])
    monkeypatch.setattr(logging, "shutdown", lambda: None)  # would close pytest's handlers
    ended: list[int] = []

    async def a_call_of_it() -> None:
        await asyncio.Event().wait()

    async def a_handler_that_hangs() -> None:
        await a_call_of_it()

    task = asyncio.create_task(a_handler_that_hangs())
    await asyncio.sleep(0)
    watchdog = Watchdog(lambda: BUSY, asyncio.get_running_loop, LIMIT_S, ended.append)
    for clock[0] in range(30):
        watchdog.tick()
    assert not caplog.records
    for clock[0] in range(30, 120):
        watchdog.tick()
    [record] = caplog.records
    assert record.getMessage().index("in a_handler_that_hangs\n") < record.getMessage().index("in a_call_of_it\n")
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
    for problem in (None, "no answer. Next: see the brokers", "no answer", "refused", None, None):
        vitals[0] = replace(WELL, kafka_problem=problem)
        watchdog.tick()
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "Kafka is unreachable, waiting for it: no answer. Next: see the brokers"),
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
    server = HttpServer(
        "127.0.0.1", 0, router(CollectorRegistry(), lambda: [Check("event_loop", True)], lambda: checks)
    )
    client = HTTPConnection("127.0.0.1", server.port, timeout=5)
    yield client
    client.close()
    server.close()


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
    assert line("memberstream.stream.projection.writer", "waiting for Redis %s")
    assert line("memberstream.stream.projection.writer", "waiting for Redis %s")
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


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that is patient for 2 s."""
    monkeypatch.setattr(HttpServer, "LIMIT_S", 2.0)
    server = HttpServer("127.0.0.1", 0, router(CollectorRegistry(), lambda: [Check("event_loop", True)], lambda: []))
    yield server.port
    server.close()


def status_of(port: int) -> int:
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=5)) as client:
        return ask(client, "/healthz")[0]


def test_requests_that_hang_hold_up_nobody(port: int) -> None:
    """1,100 connections that begin a request and don't end it: health answers at once, beside them and after them; they
    cost no thread, and only a few of the process' file descriptors."""
    threads = threading.active_count()
    with contextlib.ExitStack() as opened:
        clients = []
        for _ in range(1_100):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            client.sendall(b"GET /metr")
            clients.append(client)
            if len(clients) % 100 == 0:
                began = time.monotonic()
                assert status_of(port) == 200
                assert time.monotonic() - began < 2.0
        assert threading.active_count() == threads
        ended = 0
        for client in clients:  # the youngest, too, once they had their time
            with contextlib.suppress(ConnectionError):
                assert client.recv(1) == b""
            ended += 1
        assert ended == len(clients)
    assert status_of(port) == 200


def test_a_request_that_comes_byte_by_byte_has_an_end(port: int) -> None:
    """Each byte in time, but never the whole: it is cut off as if it said nothing."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client, contextlib.suppress(ConnectionError):
        for byte in itertools.cycle(b"GET /healthz HTTP/1.1\r\nx: "):
            client.sendall(bytes([byte]))
            time.sleep(0.05)
            assert time.monotonic() - began < 10
    assert time.monotonic() - began > 1.5


@pytest.mark.parametrize(
    "sent", [b"\r\n\r\n", b"\xff\x00\r\n\r\n", b"GET\r\n\r\n", b"GET /nowhere HTTP/9\r\n:::\r\n\r\n"]
)
def test_whatever_is_sent_is_answered(port: int, sent: bytes) -> None:
    """With an error of HTTP, and the next request finds the server well."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(sent)
        assert client.makefile("rb").readline().split()[1] in (b"400", b"404", b"405")
    assert status_of(port) == 200


def test_a_head_without_an_end_is_refused(port: int) -> None:
    """At 16 KiB, not when memory is full."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000)
        with contextlib.suppress(ConnectionError):
            assert client.recv(100).startswith((b"HTTP/1.1 400", b""))
    assert status_of(port) == 200
