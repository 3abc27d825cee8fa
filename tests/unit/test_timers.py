"""Timers between the fakes: whoever is due is rescored, wherever the process dies, and nobody else is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.shell import CRASH_POINTS, Crash, CrashPoint, Disk, Process, Record
from unit.test_pipeline import MODELS, RECORDS, cut

from memberstream.models.member import Member, decode
from memberstream.models.plan import Plan
from memberstream.models.rescore import rescore_many
from memberstream.stream.members.background import TIMERS
from memberstream.stream.partition.bookkeeping import APPLIED, decode_progress
from memberstream.stream.partition.state import Timer
from memberstream.stream.tasks.turns import SLICE

_DAY_MS = 86_400_000
_START_MS = 1_000 * _DAY_MS


def visit(offset: int, key: bytes, day: int) -> Record:
    """Return the record of a member's visit on a day: the model `visits` counts it for three days."""
    at = _START_MS + day * _DAY_MS
    body = {"op": "append", "at": at, "path": "seen", "value": {"at": at}, "create": True}
    return Record(offset, key, orjson.dumps(body), at)


def scratch(document: Any, at_ms: int) -> Member:
    """Return a member scored by its document alone."""
    fresh = Member(document=document)
    rescore_many(Plan(MODELS), [fresh], [at_ms])
    return fresh


def clusters(member: Member) -> dict[int, int]:
    """Return model → cluster."""
    return {model: cluster for model, (cluster, _) in member.memberships.items()}


def check(disk: Disk) -> None:
    """Everybody's clusters are those of a recomputation at the partition's clock, and at each moment at which a
    predictor changes until the end of validity; rows are of the last scoring; Redis says the same as the state."""
    clock_ms = decode_progress(disk.state().get(APPLIED)).clock_ms
    found = set()
    for key, value in disk.state().items():
        if not key.startswith(b"\0") and (member := decode(value)).document is not None:
            found.add(key)
            now = scratch(member.document, clock_ms)
            assert member.rows == scratch(member.document, member.as_of_ms).rows
            assert clusters(member) == clusters(now)
            assert member.valid_until_ms > clock_ms
            while now.valid_until_ms < member.valid_until_ms:
                now = scratch(member.document, now.valid_until_ms)
                assert clusters(member) == clusters(now)
            assert now.valid_until_ms == member.valid_until_ms
            in_redis = disk.redis[key]
            assert in_redis.memberships is not None
            assert list(in_redis.memberships.values()) == [member.memberships[model.key] for model in MODELS]
            assert (in_redis.valid_until_ms or 2**62) == member.valid_until_ms
            assert in_redis.position == (member.position, member.as_of_ms)
    assert found == {key for key, in_redis in disk.redis.items() if in_redis.memberships is not None}


@pytest.mark.parametrize("crash_at", [None, *CRASH_POINTS])
@given(RECORDS, st.lists(st.integers(1, 8), max_size=6))
def test_timers_agree_with_a_recomputation(
    crash_at: CrashPoint | None, records: list[Record], sizes: list[int]
) -> None:
    """After each batch the due members are rescored, in a process that dies at a side effect and in one that follows:
    all have the clusters of their documents at the clock, in state and in Redis, and these hold as long as they say."""
    disk = Disk()
    for batch in cut(records, sizes):
        if crash_at is not None:
            with suppress(Crash):
                asyncio.run(catch_up(disk, [batch], crash_at))
        asyncio.run(catch_up(disk, [batch]))
        check(disk)


async def catch_up(disk: Disk, batches: Sequence[Sequence[Record]], crash_at: CrashPoint | None = None) -> Process:
    """Run a process that handles what isn't committed yet and then rescores the due."""
    process = Process(disk, MODELS)
    await process.run(batches)
    await process.rescore_due(crash_at)
    return process


def test_the_crash_points_are_reached() -> None:
    """Each side effect but those of events alone happens when members are rescored; else the law above is empty."""
    visits = [visit(0, b"a", 0), visit(1, b"b", 0), visit(2, b"c", 5)]
    for point in CRASH_POINTS:
        if point in ("1", "1b", "1c"):
            continue
        with pytest.raises(Crash, match=point):
            asyncio.run(catch_up(Disk(), [visits], point))


def test_only_the_due_are_touched() -> None:
    """Of a hundred members the one whose visit leaves the window is written again, and keeps its position."""
    disk = Disk()
    records = [visit(i, b"m%d" % i, 0 if i == 7 else 2) for i in range(100)]
    asyncio.run(catch_up(disk, [[*records, visit(100, b"clock", 2)]]))
    before, n = dict(disk.redis), len(disk.changelog)
    process = asyncio.run(catch_up(disk, [[visit(101, b"clock", 3)]]))
    changed = {key for key, now in disk.redis.items() if now != before[key]}
    assert changed == {b"m7", b"clock"}
    assert [key for key, _ in disk.changelog[n:] if not key.startswith(b"\0")] == [b"clock", b"m7"]
    assert disk.redis[b"m7"].position == (7, _START_MS + 3 * _DAY_MS)
    assert disk.redis[b"m7"].valid_until_ms is None
    assert disk.late_ms == [0]
    assert process.timers.rescored == 1


@pytest.mark.parametrize("last", [{"op": "delete"}, {"op": "replace", "document": {"x": 1}}])
def test_who_is_deleted_or_depends_on_no_time_leaves_no_timer(last: dict[str, Any]) -> None:
    """The timer goes with the write that deletes the member or takes the last visit away."""
    process = Process(Disk(), MODELS)

    async def come_and_go() -> None:
        await process.run([[visit(0, b"a", 0)]])
        assert [timer.key for timer in process.state.timers] == [b"a"]
        await process.run([[Record(1, b"a", orjson.dumps(last | {"at": _START_MS}))]])

    asyncio.run(come_and_go())
    assert process.state.timers == set()


def test_a_retired_model_leaves_no_timer() -> None:
    """The backfill after the last moving model was retired removes the timers of those from whom nothing arrives."""
    disk = Disk()
    asyncio.run(Process(disk, MODELS).run([[visit(0, b"a", 0)]]))

    async def retire() -> Process:
        process = Process(disk, MODELS[:1])
        await process.run([])
        await process.backfilled()
        return process

    process = asyncio.run(retire())
    assert process.state.timers == set()
    assert disk.redis[b"a"].valid_until_ms is None


def test_an_obsolete_timer_is_removed() -> None:
    """A timer that says what no state says costs one look, and changes no member."""
    disk = Disk()
    process = Process(disk, MODELS)

    async def with_obsolete_ones() -> None:
        await process.run([[visit(0, b"a", 2), visit(1, b"clock", 3)]])
        await process.rescore_due()
        whole, n = set(process.state.timers), len(disk.changelog)
        for obsolete in (Timer(5, b"a"), Timer(6, b"nobody")):
            process.state.timers.add(obsolete)
            await process.rescore_due()
            assert process.state.timers == whole
        assert len(disk.changelog) == n

    asyncio.run(with_obsolete_ones())
    assert process.timers.rescored == 0


def test_overdue_members_come_oldest_first_and_in_slices() -> None:
    """1,050 members of three days are due at once: the longest due go first, a slice at a time, and are counted."""
    disk = Disk()
    process = Process(disk, MODELS)
    days = [0, 2, 1]
    records = [visit(i, b"m%04d" % i, days[i % 3]) for i in range(1_050)]
    seen: list[tuple[int, int]] = []
    write = process.state.write

    def spy(*args: Any) -> None:
        seen.extend(process.timers.waiting.values())
        write(*args)

    async def all_at_once() -> None:
        await process.run([[*records, visit(1_050, b"clock", 50)]])
        process.state.write = spy  # type: ignore[method-assign, assignment]
        await process.rescore_due()

    asyncio.run(all_at_once())
    left = [n for n, _ in seen] + [0]
    assert left[0] == 1_050
    assert all(0 < before - after <= SLICE for before, after in pairwise(left))
    assert [due_ms for _, due_ms in seen] == sorted(due_ms for _, due_ms in seen)
    assert disk.late_ms == sorted(disk.late_ms, reverse=True)
    assert process.timers.rescored == 1_050
    assert process.timers.waiting == {}


def test_a_rebalance_doesnt_wait_for_due_members() -> None:
    """Redis is away while due members are written: the partition is let go at once, and its next owner catches up."""

    async def interrupted() -> Disk:
        disk = Disk()
        process = Process(disk, MODELS)
        await process.run([[visit(0, b"a", 0), visit(1, b"clock", 5)]])
        disk.is_redis_down = True
        process.tasks.keep(TIMERS, partial(process.timers.catch_up, 0), 0)
        async with asyncio.timeout(60):
            while process.writer.problem is None:  # noqa: ASYNC110 (nobody announces it)
                await asyncio.sleep(0.001)
        await asyncio.wait_for(process.ownership.revoked(frozenset({0})), 1)
        disk.is_redis_down = False
        return disk

    disk = asyncio.run(interrupted())
    with pytest.raises(AssertionError):
        check(disk)
    asyncio.run(catch_up(disk, []))
    check(disk)
