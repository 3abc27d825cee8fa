"""Fixtures for whole installations: the embedded pair, and Apache Kafka 4 with Debian's redis-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from e2e.system import Install, Pair, System
from servers import Broker, RedisServer

from memberstream.stream.lookup import AsyncLookup, Lookup

#: A test that holds on each pair runs on the embedded one with every change, and on the real one in `make proof`.
PAIRS = [
    pytest.param("embedded"),
    pytest.param("real", marks=[pytest.mark.kafka, pytest.mark.redis_server, pytest.mark.long]),
]


@pytest.fixture(autouse=True)
def patient_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look-ups wait 30 s for an answer, not one. A machine full of servers may stand still for a second, and how long
    readers wait is shown in tests/redis."""
    for client in (Lookup, AsyncLookup):
        defaults: Any = client.__init__.__kwdefaults__
        assert defaults["timeout_s"] == 1.0
        monkeypatch.setitem(defaults, "timeout_s", 30.0)


@pytest.fixture
def embedded_pair(embedded_broker: Broker, valkey_server: RedisServer) -> Pair:
    """Tansu and Valkey, from wheels: for what doesn't depend on the servers."""
    return Pair(embedded_broker, valkey_server)


@pytest.fixture
def real_pair(apache_kafka: Broker, redis_server: RedisServer) -> Pair:
    """Apache Kafka 4 and Debian's redis-server: where promises are kept."""
    return Pair(apache_kafka, redis_server)


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    """Each pair in turn."""
    chosen: Pair = request.getfixturevalue(f"{request.param}_pair")
    return chosen


@pytest.fixture
async def install(tmp_path: Path) -> AsyncIterator[Install]:
    """`await install(pair, models)` makes an installation that ends with the test."""
    made: list[System] = []

    async def make(pair: Pair, models: Iterable[dict[str, Any]], **more: Any) -> System:
        directory = tmp_path / f"system-{len(made)}"
        directory.mkdir()
        system = await System.create(pair, directory, models, **more)
        made.append(system)
        return system

    yield make
    for system in made:
        await system.close()
