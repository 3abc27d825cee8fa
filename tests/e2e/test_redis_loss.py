"""Redis forgets everything: the worker writes it again by itself, and nobody is called unknown meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from servers import RedisServer

from memberstream.stream.lookup import Lookup, LookupUnavailable, Status

N_MEMBERS = 2_000
IDS = [f"m{i}" for i in range(N_MEMBERS)]


def first_events() -> list[Sent]:
    return [Sent(m.encode(), event("replace", document={"x": i % 2})) for i, m in enumerate(IDS)]


def everything(system: System) -> dict[str, dict[str, str]]:
    """Return all members' rows."""
    return {member_id: system.held(member_id) for member_id in IDS}


async def watch(lookup: Lookup, found: set[Status]) -> None:
    """Collect the statuses that look-ups of known members say, until cancelled."""
    while True:
        found.update(answer.status for answer in lookup.get_many(IDS[::100]))
        await asyncio.sleep(0.002)


async def test_an_emptied_redis_is_made_whole_again(embedded_pair: Pair, install: Install) -> None:
    """FLUSHALL while the worker runs, then while it is stopped: afterwards every hash is as before; look-ups in between
    say `rebuilding`, never `unknown member`."""
    system = await install(embedded_pair, [level()])
    system.start()
    await system.send(first_events())
    await system.applied()
    before = everything(system)
    assert {fields["level@1"].split(":")[0] for fields in before.values()} == {"1", "2"}
    with Lookup(system.settings.redis_url) as lookup:
        lookup.get(IDS[0])
        found: set[Status] = set()
        watching = asyncio.create_task(watch(lookup, found))
        await asyncio.sleep(0)
        system.redis.flushall()
        await system.applied()
        watching.cancel()
        assert {"rebuilding", "current"} >= found >= {"rebuilding"}
        assert lookup.get(IDS[0]).status == "current"
        assert everything(system) == before
        system.stop()
        system.redis.flushall()
        assert {answer.status for answer in lookup.get_many(IDS)} == {"rebuilding"}
        system.start()
        await system.applied()
        assert everything(system) == before
        assert {answer.status for answer in lookup.get_many(IDS)} == {"current"}


@pytest.mark.parametrize("own_redis", [pytest.param("redis", marks=pytest.mark.redis_server)], indirect=True)
async def test_a_redis_killed_under_load_and_restarted_empty_loses_nothing(
    embedded_pair: Pair, own_redis: Callable[..., RedisServer], install: Install
) -> None:
    """kill -9 of the store while events stream in, down for a second, back without data: every member is right, the
    worker lives on, look-ups never say `unknown member` of a known one."""
    store = own_redis()
    system = await install(replace(embedded_pair, store=store), [level()])
    system.start()
    await system.send(first_events())
    await system.applied()
    pid = system.pid
    load = asyncio.create_task(steady_load(system))
    await asyncio.sleep(0.3)
    store.kill()
    await system.until(lambda: system.metrics("memberstream_redis_available") == {(): 0}, "the outage in the metrics")
    store.start()
    with Lookup(system.settings.redis_url) as lookup:
        statuses: set[Status] = set()
        while not load.done():
            with contextlib.suppress(LookupUnavailable):
                statuses.update(answer.status for answer in lookup.get_many(IDS[::50]))
            await asyncio.sleep(0.01)
    last = await load
    await system.applied()
    assert "unknown member" not in statuses
    assert system.pid == pid
    assert {m: fields["pos"].split(":")[1:3] for m, fields in everything(system).items()} == last
    assert {fields["level@1"].split(":")[0] for fields in everything(system).values()} == {"2"}
    assert system.metrics("memberstream_redis_available") == {(): 1}
    assert "waiting for Redis" in system.says()


@pytest.mark.parametrize("own_redis", [pytest.param("redis", marks=pytest.mark.redis_server)], indirect=True)
async def test_a_redis_that_comes_back_with_older_data_is_rewritten(
    embedded_pair: Pair, own_redis: Callable[..., RedisServer], install: Install
) -> None:
    """The last writes gone and the epoch still there, as after a fail-over: the worker misses its own last beacon, and
    every member is right without any further event."""
    store = own_redis()
    system = await install(replace(embedded_pair, store=store), [level()])
    system.set(session_timeout_s=4.0)  # it is stopped for a moment
    system.start()
    await system.send(first_events())
    await system.applied()
    system.redis.save()
    await system.send([Sent(m.encode(), event("patch", patch={"x": 1})) for m in IDS])
    await system.applied()
    right = everything(system)
    await asyncio.sleep(1.5)  # a beacon at least: what comes back is older than what was acknowledged
    pid = system.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # so that it finds the older data, not an outage
    store.kill()
    store.start()
    assert system.redis.exists("ms:{meta}:epoch")
    assert everything(system) != right
    os.kill(pid, signal.SIGCONT)
    await system.until(lambda: everything(system) == right and system.is_applied(), "all members right again")
    assert system.pid == pid
    assert "Redis may have lost what was written last" in system.says()


async def steady_load(system: System) -> dict[str, list[str]]:
    """Patch every member some times over two seconds; returns the position of each one's last event."""
    last: dict[str, list[str]] = {}
    for round_ in range(20):
        for half in (IDS[::2], IDS[1::2]):
            patch = event("patch", patch={"x": 1, "round": round_})
            places = await system.send([Sent(m.encode(), patch) for m in half])
            last |= {m: [str(place.partition), str(place.offset)] for m, place in zip(half, places, strict=True)}
            await asyncio.sleep(0.05)
    return last
