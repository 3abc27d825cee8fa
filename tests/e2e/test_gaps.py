"""Records removed before a worker read them: found at the start and while it runs, and the operator decides."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from e2e.counting import Counting, counting
from e2e.definitions import level
from e2e.foreign import Transactional, ends, remove_before
from e2e.system import Install, Pair, Sent, System, event
from e2e.test_transactions import checks, is_level

pytestmark = [pytest.mark.kafka, pytest.mark.redis_server]


def one_each(system: System, name: str, n: int = 40) -> list[Sent]:
    return [Sent(f"{name}{i}".encode(), event("replace", document={"x": 1})) for i in range(n)]


def held(system: System, kind: str = "gap") -> float:
    return system.metrics("memberstream_held_partitions")[(kind,)]


async def documents(system: System) -> set[str]:
    return set(await system.states())


async def test_what_retention_took_from_a_stopped_worker_holds_its_partition_until_somebody_decides(
    real_pair: Pair, install: Install
) -> None:
    """The other partition goes on; log, metric and /readyz say which offsets are gone. `continue` goes on behind them,
    says so and counts them; once it has, a restart finds nothing missing, whatever the setting is."""
    system = await install(real_pair, [level()])
    system.start()
    await system.send(one_each(system, "before"))
    await system.applied()
    system.stop()
    needed = dict(system.next_offset)
    await system.send(one_each(system, "missed"))
    begins = dict(system.next_offset)
    lost = f"offsets {needed[0]} to {begins[0] - 1} of {system.settings.topic}, partition 0, are gone"
    after = one_each(system, "after")
    await system.send(after)
    await remove_before(system, {0: begins[0]})
    system.start()
    await system.until(lambda: held(system) == 1 and "after1" in told(system, after), "the other partition to go on")
    [check] = [check for check in checks(system).values() if not check["ok"]]
    assert check["name"] == "held"
    assert lost in check["problem"]
    assert "MEMBERSTREAM_ON_GAP=continue" in check["next"]
    await system.until(lambda: f"partition 0 is held, the others go on: {lost}" in system.says(), "the line in the log")
    here = {m for m in await documents(system) if m.startswith("after")}
    assert 0 < len(here) < 40  # of the other partition only

    system.stop()
    system.set(on_gap="continue")
    system.start()
    await system.applied()
    assert f"{lost}: " in system.says()
    assert f"going on at offset {begins[0]}" in system.says()
    assert system.metrics("memberstream_lost_offsets_total")[()] == begins[0] - needed[0]
    await system.until(lambda: is_level(system), "ready")
    of_other = {m for m in await documents(system) if m.startswith("missed")}
    assert 0 < len(of_other) < 40
    assert {f"after{i}" for i in range(40)} < await documents(system)
    system.kill()
    system.set(on_gap="stop")
    system.start()
    await system.until(lambda: is_level(system), "nothing missing")


def told(system: System, records: list[Sent]) -> set[str]:
    """Return those of the records' members that Redis holds."""
    return set(system.positions([record.key.decode() for record in records if record.key]))


@pytest.mark.parametrize("on_gap", ["stop", "continue"])
async def test_what_is_removed_under_a_running_worker_is_found(real_pair: Pair, install: Install, on_gap: Any) -> None:
    """A worker that slept for a moment. Control records and aborted ones, that it has passed, aren't missed."""
    system = await install(real_pair, [level()], n_partitions=1)
    system.set(on_gap=on_gap, session_timeout_s=30)
    system.start()
    aborted = Transactional.of(system)
    await system.send(one_each(system, "before", 5))
    await aborted.begin(one_each(system, "aborted", 5))
    await aborted.abort()
    await system.until(lambda: is_level(system), "the aborted records to be passed")
    edge = await ends(system)
    await remove_before(system, edge)
    await system.send(one_each(system, "beside", 5))
    await system.applied()
    assert system.pid is not None
    os.kill(system.pid, signal.SIGSTOP)
    await asyncio.sleep(0.5)  # a fetch that is under way at the broker ends after 10 ms
    needed = system.next_offset[0]
    await system.send(one_each(system, "missed", 5))
    begins = system.next_offset[0]
    await remove_before(system, {0: begins})
    os.kill(system.pid, signal.SIGCONT)
    await system.send(one_each(system, "after", 5))
    lost = f"offsets {needed} to {begins - 1} of {system.settings.topic}, partition 0, are gone"
    await system.until(lambda: lost in system.says(), "the gap to be told")
    expected = {f"{name}{i}" for name in ("before", "beside") for i in range(5)}
    if on_gap == "stop":
        await system.until(lambda: held(system) == 1, "the hold")
        assert "after1" not in told(system, one_each(system, "after", 5))
    else:
        expected |= {f"after{i}" for i in range(5)}
        await system.applied()
        await system.until(lambda: is_level(system), "ready")
        assert system.metrics("memberstream_lost_offsets_total")[()] == begins - needed
    assert await documents(system) == expected


@pytest.fixture
async def interactions(real_pair: Pair, install: Install) -> AsyncIterator[Counting]:
    """A worker of interactions, not started yet."""
    made = await counting(real_pair, install)
    yield made
    await made.close()


async def test_interactions_are_read_as_change_events_are(interactions: Counting) -> None:
    """State that has nothing of the topic begins where the log begins; what a transaction aborted isn't counted; after
    that a gap is one."""
    system = interactions
    records = [Sent(f"m{i}".encode(), orjson.dumps({"kind": "purchase", "id": str(i), "value": 1})) for i in range(60)]
    await system.send(records[:20])
    await remove_before(system, system.next_offset)
    await system.send(records[20:40])
    aborted = Transactional.of(system)
    await aborted.begin(records[40:])
    await aborted.abort()
    system.start()
    await system.applied()
    await system.until(lambda: is_level(system), "ready")
    assert sum(system.metrics("memberstream_interactions_total").values()) == 20
    system.stop()
    begins = await ends(system)
    await system.send(records[40:])
    await remove_before(system, system.next_offset)
    lost = sum(system.next_offset[p] - begins[p] for p in begins)
    system.start()
    await system.until(lambda: held(system) == system.n_partitions, "both partitions held")
    system.stop()
    system.set(on_gap="continue")
    system.start()
    await system.until(lambda: system.metrics("memberstream_lost_offsets_total")[()] == lost, "going on")
    await system.until(lambda: is_level(system), "ready")
