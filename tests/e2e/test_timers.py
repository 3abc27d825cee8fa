"""Memberships that change when nothing arrives."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from e2e.system import Install, Pair, Sent, System, event
from keys import KEYS
from servers import RedisServer

from memberstream.models.member import Member
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan
from memberstream.models.rescore import rescore_many
from memberstream.stream.keyspace.formats import parse_row
from memberstream.stream.lookup import Lookup

WINDOW_S = 15  # enough for a busy machine to look while visits are in it
#: Cluster 1 `quiet`, 2 `active`: at least one visit within the window.
ACTIVE: dict[str, Any] = {
    "format": 1,
    "name": "active",
    "version": 1,
    "predictors": [
        {
            "name": "n",
            "path": "seen",
            "time": "at",
            "aggregate": "count",
            "window_days": WINDOW_S / 86_400,
            "missing": 0,
        }
    ],
    "model": {"type": "logistic", "coef": [1.0], "intercept": -0.5, "thresholds": [0.5]},
    "clusters": [{"id": 1, "name": "quiet"}, {"id": 2, "name": "active"}],
}
IDS = [f"m{i}" for i in range(1_200)]
BEGIN_MS = 1_577_836_800_000  # 2020-01-01


def visits(at: datetime) -> list[Sent]:
    return [Sent(m.encode(), event("replace", document={"seen": [{"at": at.isoformat()}]})) for m in IDS]


def clusters(system: System) -> set[str]:
    """Return the clusters that Redis holds of all members."""
    rows = map(parse_row, system.redis.mget([KEYS.member(m.encode()) for m in IDS]))
    return {row.get(b"active@1", b"").decode().split(":")[0] for row in rows}


async def test_members_go_quiet_while_nothing_arrives(embedded_pair: Pair, install: Install) -> None:
    """By the wall clock: all members leave the cluster when their visit leaves the window, without an event, at the
    position they had; state says the same as Redis; a deleted member stays deleted, and no timer is left."""
    system = await install(embedded_pair, [ACTIVE])
    system.set(clock="wall")
    system.start()
    await system.applied()
    seen = datetime.now(UTC)
    await system.send(visits(seen))
    await system.send([Sent(b"m0", None)])
    await system.applied()
    ends_ms = int((seen + timedelta(seconds=WINDOW_S)).timestamp() * 1000)
    before = {m: system.held(m) for m in IDS[1:]}
    assert {held["active@1"][:2] for held in before.values()} == {"2:"}
    assert all(abs(int(held["pos"].split(":")[4]) - ends_ms) <= 1 for held in before.values())
    assert sum(system.metrics("memberstream_timers").values()) == len(IDS) - 1
    n_batches = system.metrics("memberstream_batch_records_count")
    await system.until(lambda: clusters(system) == {"", "1"}, "all members quiet")
    for m, was in before.items():
        held = system.held(m)
        cluster, since_ms = held["active@1"].split(":")
        *position, as_of_ms, valid_until = held["pos"].split(":")
        assert (cluster, position, valid_until) == ("1", was["pos"].split(":")[:3], "")
        assert since_ms == as_of_ms
        assert 0 <= int(as_of_ms) - ends_ms < 5_000
    assert system.metrics("memberstream_batch_records_count") == n_batches
    with Lookup(system.settings.redis_url) as lookup:
        assert {answer.status for answer in lookup.get_many(IDS[1:])} == {"current"}
    await system.until(lambda: sum(system.metrics("memberstream_timers").values()) == 0, "no timer left")
    assert system.metrics("memberstream_due_rescored_members_total") == {(): len(IDS) - 1}
    assert system.metrics("memberstream_due_lateness_seconds_count") == {(): len(IDS) - 1}
    assert system.metrics("memberstream_due_members") == {(): 0}
    assert system.metrics("memberstream_overdue_seconds") == {(): 0}
    assert abs(system.metrics("memberstream_clock_skew_seconds")[()]) < 5
    states = await system.states()
    assert {m for m, state in states.items() if state.document is not None} == set(before)
    assert {state.memberships[parse(ACTIVE).key][0] for state in states.values()} == {1}


async def test_what_fell_due_while_no_worker_ran_is_caught_up(
    embedded_pair: Pair, install: Install, tmp_path: Path
) -> None:
    """kill -9 with timers waiting, with the local state and without it: the next worker rescores the overdue, whom
    look-ups called stale meanwhile."""
    with RedisServer("valkey", tmp_path / "other") as other:  # both at the same time: they only wait
        keeping = await install(embedded_pair, [ACTIVE])
        losing = await install(Pair(embedded_pair.broker, other), [ACTIVE])
        await asyncio.gather(caught_up(keeping, loses_disk=False), caught_up(losing, loses_disk=True))
        await losing.close()


async def caught_up(system: System, *, loses_disk: bool) -> None:
    """Kill a worker, wait until all members are overdue, and see that the next worker rescores them."""
    system.set(clock="wall")
    system.start()
    await system.applied()
    seen = datetime.now(UTC)
    await system.send(visits(seen))
    await system.applied()
    assert clusters(system) == {"2"}
    system.kill()
    if loses_disk:
        system.lose_disk()
    await asyncio.sleep(WINDOW_S - (datetime.now(UTC) - seen).total_seconds())
    assert clusters(system) == {"2"}
    with Lookup(system.settings.redis_url) as lookup:
        assert {answer.status for answer in lookup.get_many(IDS)} == {"stale"}
    system.start()
    await system.until(lambda: clusters(system) == {"1"}, "the overdue caught up")
    assert system.metrics("memberstream_due_rescored_members_total") == {(): len(IDS)}
    system.stop()


async def test_the_event_clock_moves_timers(embedded_pair: Pair, install: Install) -> None:
    """A replay: members fall due when the events' time has passed their end, and only those."""
    system = await install(embedded_pair, [ACTIVE], n_partitions=1)
    system.start()
    times = {m: BEGIN_MS + i for i, m in enumerate(IDS)}
    await system.send(
        [Sent(m.encode(), event("replace", at=t, document={"seen": [{"at": t}]})) for m, t in times.items()]
    )
    for after_ms in (-1, 600, 5_000):
        now_ms = BEGIN_MS + WINDOW_S * 1_000 + after_ms
        await system.send([Sent(b"clock", event("replace", at=now_ms, document={}))])
        expected = {m: from_scratch(t, now_ms) for m, t in times.items()}
        await system.applied()
        await system.until(partial(is_held, system, expected), "the members of this time")
        n_quiet = sum(cluster == "1" for cluster in expected.values())
        assert system.metrics("memberstream_due_rescored_members_total") == {(): n_quiet}


def from_scratch(seen_ms: int, now_ms: int) -> str:
    """Return the cluster at a time of a member that was seen once."""
    model, member = parse(ACTIVE), Member(document={"seen": [{"at": seen_ms}]})
    rescore_many(Plan([model]), [member], [now_ms])
    return str(member.memberships[model.key][0])


def is_held(system: System, expected: dict[str, str]) -> bool:
    return {m: system.held(m)["active@1"].split(":")[0] for m in expected} == expected
