"""What isn't so in a Redis, and what a wrong clock does: the worker asks, says so, and loses nothing by it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from e2e.test_health import health
from servers import Broker, RedisServer

from memberstream.stream.projection import surroundings
from memberstream.stream.projection.calls import Calls, RedisFault
from memberstream.stream.projection.surroundings import Said, Surroundings, judge

SLOW_MS = 600_000
#: A worker whose clock is ten minutes behind.
LATE = (
    "import sys, time, runpy\n"
    "real_ns, real = time.time_ns, time.time\n"
    f"time.time_ns = lambda: real_ns() - {SLOW_MS} * 1_000_000\n"
    f"time.time = lambda: real() - {SLOW_MS} / 1_000\n"
    "sys.argv = ['memberstream', 'worker']\n"
    "runpy.run_module('memberstream', run_name='__main__', alter_sys=True)\n"
)


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[RedisServer]:
    """A Valkey of this test alone: its settings are changed."""
    with RedisServer("valkey", tmp_path / "store") as server:
        yield server


def check(system: System, name: str) -> dict[str, Any]:
    """Return a check of /readyz."""
    return health(system)[1][name]


async def doctor(system: System) -> dict[str, Any]:
    out = (await memberstream(system, "doctor", "--json"))[1]
    found: list[dict[str, Any]] = orjson.loads(out)["checks"]
    return next(one for one in found if one["name"] == "surroundings")


async def test_a_redis_that_evicts_is_named(embedded_broker: Broker, own_store: RedisServer, install: Install) -> None:
    """At the start, by log, /readyz and doctor, each with the next action; not any more when it is put right."""
    system = await install(Pair(embedded_broker, own_store), [level()])
    system.redis.config_set("maxmemory", "500mb")
    system.redis.config_set("maxmemory-policy", "allkeys-lru")
    system.start()
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    await system.applied()
    await system.until(lambda: not check(system, "surroundings")["ok"], "the check")
    assert "CONFIG SET maxmemory-policy noeviction" in check(system, "surroundings")["next"]
    assert "evicts (maxmemory-policy allkeys-lru)" in system.says()
    assert "evicts" in (await doctor(system))["problem"]
    system.redis.config_set("maxmemory-policy", "noeviction")
    assert (await doctor(system))["detail"].startswith("valkey ")


async def test_a_worker_whose_clock_is_behind_refuses_no_good_event(
    embedded_broker: Broker, own_store: RedisServer, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten minutes: each event of now is from its future, by its clock. By Redis' clock it isn't. An event of tomorrow
    is refused by both."""
    monkeypatch.setattr(System, "command", staticmethod(lambda: [sys.executable, "-c", LATE]))
    system = await install(Pair(embedded_broker, own_store), [level()])
    system.start()
    now_ms = time.time_ns() // 1_000_000
    await system.send(
        [Sent(b"m%d" % i, event("replace", document={"x": 1}, at=now_ms)) for i in range(20)]
        + [Sent(b"late", event("replace", document={"x": 1}, at=now_ms + 86_400_000))]
    )
    await system.applied()
    assert all(system.held(f"m{i}")["level@1"].startswith("2:") for i in range(20))
    letters = await system.dead_letters()
    assert [(letter.key, dict(letter.headers)["reason"]) for letter in letters] == [(b"late", b"future_time")]
    await system.until(lambda: "s behind that of Redis" in check(system, "surroundings")["detail"], "the check")
    assert "NTP" in system.says()


def said(**changes: Any) -> Said:
    return Said("valkey 9.0.1", "noeviction", 1, 0, 0, True, 0)._replace(**changes)


def test_what_expires_only_is_no_member() -> None:
    """The volatile policies can take tombstones; managed services have them by default."""
    assert judge(said(policy="volatile-lru"), "here") == []
    assert [problem.falsifies for problem in judge(said(policy="allkeys-lfu", version="redis 6.2.1"), "here")] == [
        True,
        False,
    ]


@pytest.mark.parametrize(("ahead_ms", "believed_ms"), [(SLOW_MS, SLOW_MS), (86_400_000, 0), (-SLOW_MS, 0)])
async def test_a_clock_that_is_a_day_ahead_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, ahead_ms: int, believed_ms: int
) -> None:
    """It would let events of tomorrow in."""

    async def ask(*_: Any) -> dict[str, Said]:
        return {"here": said(ahead_ms=ahead_ms)}

    monkeypatch.setattr(surroundings, "ask", ask)
    looking = Surroundings(cast(Calls, None), lambda: 5)
    await looking.look()
    assert looking.latest_ms() == 5 + believed_ms
    assert len(looking.problems) == 1


@pytest.mark.parametrize("error", [RedisFault("ERR unknown command 'INFO'"), ValueError("invalid literal")])
async def test_a_server_that_knows_no_info_stops_nothing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A proxy, or a Redis whose INFO has another name."""

    async def ask(*_: Any) -> dict[str, Said]:
        raise error

    monkeypatch.setattr(surroundings, "ask", ask)
    looking = Surroundings(cast(Calls, None), lambda: 5)
    await looking.look()
    assert looking.is_forbidden


async def test_a_worker_that_may_not_ask_says_so_once(
    embedded_broker: Broker, own_store: RedisServer, install: Install
) -> None:
    """Older users lack the right. Nothing else changes."""
    system = await install(Pair(embedded_broker, own_store), [level()])
    system.redis.acl_setuser("old", enabled=True, passwords=["+x"], keys=["ms:*"], commands=["+@all", "-info"])
    system.set(redis_url=own_store.url.replace("redis://", "redis://old:x@"))
    system.start()
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    await system.applied()
    await system.until(lambda: "+info" in system.says(), "the line in the log")
    assert check(system, "surroundings")["ok"]
    assert system.metrics("memberstream_redis_rights_missing") == {(): 1.0}
    assert "lacks +info" in (await doctor(system))["detail"]
