"""Fixtures that every test may use: brokers and stores, each kind from a wheel and the real thing.

`broker` and `redis_url` run a test once on each kind. Shared servers live for the whole session; a test that
stops or kills a server starts its own (`own_kafka`, `own_redis`). All are stopped by pid.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import redis
from laws import choose_profile, leave_uncovered
from order import longest_first
from releases import Release, built
from servers import ApacheKafka, Broker, KafkaMissing, RedisServer, missing
from shared import shared

from memberstream.stream.local.embedded import EmbeddedKafka
from memberstream.stream.local.server_process import ServerError

BROKERS = [pytest.param("embedded"), pytest.param("apache", marks=pytest.mark.kafka)]
SERVERS = ("tansu", "kafka.Kafka", "valkey-server", "redis-server")
STORES = [pytest.param("valkey"), pytest.param("redis", marks=pytest.mark.redis_server)]

# Processes share the cores. Linear algebra whose threads wait for one another on all of them took 26 s of CPU for
# tests that take 10 with one thread. (Nothing above has loaded NumPy.)
os.environ.setdefault("OMP_NUM_THREADS", "1")
choose_profile()


@pytest.hookimpl(trylast=True)  # Hypothesis has marked its tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The laws aren't measured by coverage. What takes longest starts first."""
    leave_uncovered(items)
    items[:] = longest_first(items)


def pytest_collection_finish() -> None:
    """Typer's runner makes all commands anew for each call, which takes 45 ms of CPU: here it makes them once."""
    if (testing := sys.modules.get("typer.testing")) is not None:
        testing._get_command = cache(testing._get_command)  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    """One line for each failure, last of all: a log that keeps only its end still says what failed and why. (pytest's
    own summary repeats whole messages when CI=true, and workers' logs are part of ours.)"""
    yield
    for report in [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]:
        crash = getattr(report.longrepr, "reprcrash", None)
        why = crash.message if crash else str(report.longrepr)
        terminalreporter.write_line(f"FAILED {report.nodeid}: {why.splitlines()[0] if why else ''}"[:300])


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: three processes a core, as most tests wait for servers most of the time."""
    return 3 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Set up first, so taken down last: no server that a test started outlives the session."""
    yield
    left = [line for line in running_children() if any(name in line for name in SERVERS)]
    assert left == []


def running_children() -> list[str]:
    """Command lines of this process's children (Linux; elsewhere none are seen)."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    pids = listed.read_text().split() if listed.exists() else []
    return [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in pids]


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Broker]:
    """Tansu, in memory: quick; its ListOffsets(latest) is wrong and nothing outlives a stop."""
    server = EmbeddedKafka()
    try:
        server.start()
    except ServerError as error:
        missing(str(error))
    yield Broker("embedded", server.bootstrap)
    server.stop()


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka 4, one node for the whole run: the processes of xdist share it."""
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    try:
        with shared(run / "shared-kafka", lambda: ApacheKafka(tmp_path_factory.mktemp("kafka"))) as bootstrap:
            yield Broker("apache", bootstrap)
    except KafkaMissing as error:
        missing(str(error))


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Broker:
    """A running broker, once of each kind."""
    chosen = {"embedded": "embedded_broker", "apache": "apache_kafka"}[request.param]
    running: Broker = request.getfixturevalue(chosen)
    return running


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[ApacheKafka]:
    """An Apache Kafka node of this test alone, running: stop(), kill() and start() it at will."""
    server = ApacheKafka(tmp_path / "kafka")
    try:
        server.start()
    except KafkaMissing as error:
        missing(str(error))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Valkey of the wheel, for the whole session."""
    with RedisServer("valkey", tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Debian's redis-server, for the whole session."""
    with RedisServer("redis", tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=STORES)
def redis_url(request: pytest.FixtureRequest) -> str:
    """URL of an emptied store, once of each kind."""
    chosen = {"valkey": "valkey_server", "redis": "redis_server"}[request.param]
    server: RedisServer = request.getfixturevalue(chosen)
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.script_flush()
    return server.url


@pytest.fixture(params=STORES)
def own_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """`own_redis(persistent=True)` starts a store of this test alone, once of each kind."""
    started: list[RedisServer] = []

    def start(*, persistent: bool = False) -> RedisServer:
        server = RedisServer(request.param, tmp_path / f"store-{len(started)}", persistent=persistent)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The release before this one, ready to run."""
    return built(tmp_path_factory.mktemp("before"))
