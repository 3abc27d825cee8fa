"""The pipeline's laws: how records are cut into batches doesn't matter, and neither does where it crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit.shell import CRASH_POINTS, LISTED_FIELD, WALL_MS, Crash, CrashPoint, Disk, Held, Process, Record

from memberstream.models.member import decode
from memberstream.models.model_file import parse
from memberstream.stream.keyspace.formats import Announcement
from memberstream.stream.members.background import REBUILD
from memberstream.stream.members.decoding import Rules
from memberstream.stream.projection.writer import Writer
from memberstream.stream.settings import Clock

MODELS = [
    parse(
        {
            "format": 1,
            "name": name,
            "version": 1,
            "predictors": predictors,
            "model": {"type": "logistic", "coef": [1.0], "intercept": -1.5, "thresholds": [0.5]},
            "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "high"}],
        }
    )
    for name, predictors in {
        "level": [{"name": "x", "path": "x", "missing": 0}],
        "visits": [{"name": "n", "path": "seen", "time": "at", "aggregate": "count", "window_days": 3}],
    }.items()
]
_DAY_MS = 86_400_000
DAYS = st.integers(0, 8).map(lambda day: 1_000 * _DAY_MS + day * _DAY_MS)


def _events() -> st.SearchStrategy[dict[str, Any] | None]:
    """Good and bad envelopes, few enough to meet one another; None is the null value that deletes."""
    number = st.integers(0, 3)
    bodies = st.one_of(
        st.fixed_dictionaries({"op": st.just("replace"), "document": st.fixed_dictionaries({"x": number})}),
        st.fixed_dictionaries(
            {"op": st.just("patch"), "patch": st.fixed_dictionaries({"x": number}), "create": st.booleans()}
        ),
        st.fixed_dictionaries(
            {
                "op": st.just("append"),
                "path": st.sampled_from(["seen", "x"]),
                "value": st.fixed_dictionaries({"at": DAYS}),
                "create": st.booleans(),
            }
        ),
        st.just({"op": "delete"}),
        st.just({"op": "nonsense"}),
    )
    common = st.fixed_dictionaries({"at": DAYS}, optional={"version": number})
    commands = st.sampled_from([{"op": op, "partition": p} for op in ("forget", "rewrite") for p in (0, 0, 1)])
    events = st.builds(lambda body, more: body | more, bodies, common)
    again = st.builds(
        lambda event, origin, before: {
            **{"op": "resend", "partition": 0, "origin": origin, "before": before, "at": 1_000 * _DAY_MS, "by": ""},
            "event": event,
        },
        st.none() | events,
        st.integers(-1, 12),
        st.lists(st.integers(0, 23), max_size=2),
    )
    return st.one_of(st.none(), events, commands, again)


RECORDS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), _events()), min_size=1, max_size=24).map(
    lambda events: [
        Record(i, key, None if envelope is None else orjson.dumps(envelope), 1_003 * _DAY_MS)
        for i, (key, envelope) in enumerate(events)
    ]
)


def cut(records: Sequence[Record], sizes: Sequence[int]) -> list[list[Record]]:
    """Return the records in batches of these sizes, the rest one by one."""
    batches, at = [], 0
    for size in [*sizes, *[1] * len(records)]:
        batches.append(list(records[at : at + size]))
        at += size
    return [batch for batch in batches if batch]


def outcome(disk: Disk) -> dict[bytes, Any]:
    """Return what state and Redis say of each member, but for `since`: that is the time of a batch's last event."""
    found: dict[bytes, Any] = {}
    for key, value in disk.state().items():
        if not key.startswith(b"\0"):
            member = decode(value)
            clusters = {model: cluster for model, (cluster, _) in member.memberships.items()}
            found[key] = member.document, member.position, member.version, member.as_of_ms, clusters, member.rows
    for key, held in disk.redis.items():
        if held.memberships is not None:  # a tombstone's position may be that of a later event that was ignored
            in_redis = {name: cluster for name, (cluster, _) in held.memberships.items()}
            found[b"redis " + key] = in_redis, held.position, held.valid_until_ms
    return found


def dead(disk: Disk) -> list[tuple[bytes, bytes]]:
    """Return origin offset and reason of the dead letters, without repetitions."""
    letters = [dict(letter.added) for letter in disk.dead]
    return sorted({(letter["origin_offset"] or b"", letter["reason"] or b"") for letter in letters})


def listed() -> Disk:
    """Return a disk where everybody is on the list, without a document yet."""
    return Disk(redis={key: Held((-1, 0), None, {LISTED_FIELD: (1, WALL_MS)}) for key in (b"a", b"b", b"c")})


def run(batches: Sequence[Sequence[Record]]) -> Disk:
    disk = listed()
    asyncio.run(Process(disk, MODELS).run(batches))
    return disk


@given(RECORDS, st.lists(st.integers(1, 8), max_size=12))
def test_batches_may_be_cut_anywhere(records: list[Record], sizes: list[int]) -> None:
    """Any split gives the documents, clusters, positions, times and dead letters of one event at a time."""
    one_by_one, split, whole = run(cut(records, [])), run(cut(records, sizes)), run([records])
    assert outcome(split) == outcome(one_by_one) == outcome(whole)
    assert dead(split) == dead(one_by_one) == dead(whole)
    assert sum(sum(report.outcomes.values()) for report in split.reports) == len(records)


@pytest.mark.parametrize("crash_at", CRASH_POINTS)
@given(RECORDS, st.lists(st.integers(1, 8), max_size=6), st.lists(st.integers(1, 8), max_size=6))
def test_a_crash_after_any_side_effect_changes_nothing(
    crash_at: CrashPoint, records: list[Record], sizes: list[int], later_sizes: list[int]
) -> None:
    """The process dies after a numbered side effect, once in each batch; replays, cut otherwise, end in the same."""
    undisturbed, disk = run(cut(records, sizes)), listed()
    for _ in range(3):
        process = Process(disk, MODELS)
        try:
            asyncio.run(process.run(cut(records, sizes), crash_at))
        except Crash:
            # The batch at which it died goes through now, cut in another way, and the next one meets the crash.
            done = disk.committed
            rest = [record for record in records if record.offset >= done]
            asyncio.run(Process(disk, MODELS).run(cut(rest, later_sizes)[:1]))
            assert disk.committed > done or not rest
    asyncio.run(Process(disk, MODELS).run([records]))
    assert outcome(disk) == outcome(undisturbed)
    assert set(disk.rows) == set(undisturbed.rows)
    assert {told[:2] for told in disk.forgotten} >= {told[:2] for told in undisturbed.forgotten}
    if crash_at == "half of 2a":  # a delete without the batch's progress: an append before it finds nobody, a 2nd time
        assert set(dead(undisturbed)) <= set(dead(disk))
    else:
        assert dead(disk) == dead(undisturbed)


@given(RECORDS, st.lists(st.integers(1, 8), max_size=6), st.sets(st.integers(0, 23), min_size=1))
def test_what_is_set_aside_is_a_dead_letter_and_nothing_else(
    records: list[Record], sizes: list[int], aside: set[int]
) -> None:
    """Whatever it is, good or bad: the members are as if it had never been sent, and it is one dead letter, also after
    a replay of everything."""
    kept = [record for record in records if record.offset not in aside]
    without, disk = run(cut(kept, sizes)) if kept else listed(), listed()
    for _ in range(2):
        process = Process(disk, MODELS)
        process.topic.aside = dict.fromkeys(aside, "by an operator")
        asyncio.run(process.run(cut(records, sizes)))
        disk.committed = 0
    assert outcome(disk) == outcome(without)
    skipped = [(b"%d" % record.offset, b"skipped") for record in records if record.offset in aside]
    assert dead(disk) == sorted([*dead(without), *skipped])
    assert len(disk.dead) == len(dead(disk))


CAME_AND_WENT = [Record(0, b"a", orjson.dumps({"op": "replace", "document": {}})), Record(1, b"a", None)]


@example(CAME_AND_WENT, 0, 1, 24)
@given(RECORDS, st.integers(0, 3), st.integers(0, 24), st.integers(0, 24))
def test_a_batch_says_all_of_its_members_whoever_has_written_before_it(
    records: list[Record], had: int, stale_to: int, arrived: int
) -> None:
    """A stale worker, with the state of when it fell asleep, gets some of its batch into the changelog just before the
    owner's, which has its events, too. The owner learns of it by its restart, and is to find what it meant to write."""
    base = run([records[:had]] if records[:had] else [])
    stale, owner = deepcopy(base), deepcopy(base)
    for disk, batch in ((stale, records[had : had + stale_to]), (owner, records[had:])):
        if batch:
            asyncio.run(Process(disk, MODELS).run([batch]))
    n = len(base.changelog)
    between = stale.changelog[n : n + arrived]
    assert Disk([*base.changelog, *between, *owner.changelog[n:]]).state() == owner.state()


def test_the_crash_points_are_reached() -> None:
    """Each numbered side effect does happen in a batch that has all kinds of work; otherwise the law above is empty."""
    good = orjson.dumps({"op": "replace", "document": {"x": 3}})
    records = [Record(0, b"a", good), Record(1, b"b", good), Record(2, b"c", b"{"), Record(3, b"d", None)]
    for point in CRASH_POINTS:
        with pytest.raises(Crash, match=point):
            asyncio.run(Process(Disk(), MODELS).run([records], point))


def test_interactions_are_told_of_who_is_deleted() -> None:
    """In each partition, when Redis shows it; also of somebody without a document, and of one who is back by then."""
    replace, delete = orjson.dumps({"op": "replace", "document": {"x": 3}}), orjson.dumps({"op": "delete"})
    records = [Record(0, b"a", replace), Record(1, b"b", replace), Record(2, b"c", replace)]
    disk = run(
        [records, [Record(3, b"a", None), Record(4, b"b", delete), Record(5, b"b", replace), Record(6, b"d", None)]]
    )
    assert disk.forgotten == [(p, m, m != b"b") for p in (0, 1) for m in (b"a", b"b", b"d")]


def test_a_replay_writes_to_redis_what_a_crash_kept_from_it() -> None:
    """State is ahead of Redis after a crash at 2a: the replayed events change no state but bring Redis up to it."""
    records = [Record(0, b"a", orjson.dumps({"op": "replace", "at": 5, "document": {"x": 3}}))]
    disk = Disk()
    with pytest.raises(Crash):
        asyncio.run(Process(disk, MODELS).run([records], "2a"))
    assert disk.redis == {}
    before = list(disk.changelog)
    disk.redis.clear()
    asyncio.run(Process(disk, MODELS).run([records]))
    assert disk.redis[b"a"].memberships == {b"level@1": (2, 5), b"visits@1": (1, 5)}
    assert dict(disk.changelog) == dict(before)
    assert disk.reports[-1].outcomes == {"replayed": 1}


def test_readers_are_not_told_that_what_a_crash_kept_from_redis_is_there() -> None:
    """State is ahead of Redis after a crash at 2a. Beacons stay at what is committed, until the replay has passed."""
    first, *rest = [Record(i, b"a", orjson.dumps({"op": "replace", "document": {"x": i}})) for i in range(4)]
    disk, told = Disk(), []
    asyncio.run(Process(disk, MODELS).run([[first]]))
    with pytest.raises(Crash):
        asyncio.run(Process(disk, MODELS).run([rest], "2a"))

    async def replay() -> None:
        process = Process(disk, MODELS)
        await process.ownership.assigned({0: disk.committed})
        for records, next_offset in (
            (rest[:1], None),
            (rest[1:2], None),
            ([], 4),
        ):  # the last one's transaction is gone
            await process.writer.beacon()
            told.append(disk.told[-1])
            await process.pipeline.handle(0, records, next_offset)
        await process.writer.beacon()
        told.append(disk.told[-1])

    asyncio.run(replay())
    assert told == [1, 2, 3, 4]


def test_the_wall_clock_is_now_when_it_is_chosen() -> None:
    """clock=wall scores at the wall clock, clock=event at the latest event of the member."""
    records = [Record(0, b"a", orjson.dumps({"op": "replace", "at": 5, "document": {"x": 3}}))]
    expected: dict[Clock, int] = {"wall": WALL_MS, "event": 5}
    for clock, as_of_ms in expected.items():
        disk = Disk()
        asyncio.run(Process(disk, MODELS, clock).run([records]))
        assert disk.redis[b"a"].position == (0, as_of_ms)


MEMBERS = [Record(i, b"m%d" % i, orjson.dumps({"op": "replace", "document": {"x": 3}})) for i in range(10)]


async def written() -> tuple[Disk, Process]:
    """Return a process that has applied MEMBERS."""
    disk = Disk()
    process = Process(disk, MODELS)
    await process.run([MEMBERS])
    return disk, process


def lose_redis(disk: Disk) -> None:
    """Empty Redis; it answers, but takes no writes."""
    disk.redis.clear()
    disk.built.clear()
    disk.epoch, disk.is_redis_down = False, True


def is_whole(disk: Disk) -> bool:
    """Return whether readers are told that Redis has everybody."""
    return disk.epoch


async def until_waiting(process: Process) -> None:
    """Return when the process waits for Redis."""
    async with asyncio.timeout(60):
        while process.writer.problem is None:  # noqa: ASYNC110 (nobody announces it)
            await asyncio.sleep(0.001)


async def test_a_rebuild_cut_short_by_a_rebalance_is_done_again() -> None:
    """The partition goes and comes back to the same process while its members are being written: Redis becomes whole
    (and isn't believed to be in work for ever)."""
    disk, process = await written()
    lose_redis(disk)
    assigning = asyncio.create_task(process.ownership.assigned({0: 0}))
    await until_waiting(process)
    assigning.cancel()
    await asyncio.gather(assigning, return_exceptions=True)
    await process.ownership.revoked(frozenset({0}))
    assert not is_whole(disk)
    disk.is_redis_down = False
    await process.ownership.assigned({0: 0})
    assert is_whole(disk)
    assert disk.redis.keys() == {record.key for record in MEMBERS}


async def test_redis_is_whole_when_readers_are_told_all_steps_that_there_are() -> None:
    """It is emptied just after a promotion that this worker hasn't read yet: until it has, and has told readers, they
    are told `rebuilding`. Found: they were told the version before as current."""
    disk, process = await written()
    disk.log_end = 7
    disk.redis.clear()
    disk.built.clear()
    disk.epoch = False
    process.background.rebuild([0])
    async with asyncio.timeout(60):
        while disk.redis.keys() != {record.key for record in MEMBERS}:  # noqa: ASYNC110 (nobody announces it)
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert not is_whole(disk)
    process.current.announcement = promoted = Announcement(7, (), {"activity": 2})  # read; nobody is told yet
    async with asyncio.timeout(60):
        while not is_whole(disk):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert disk.announcement == promoted


async def test_a_rebuild_that_waits_for_redis_lets_the_partition_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis goes away while its loss is being repaired: a rebalance or a stop doesn't wait for its return."""
    monkeypatch.setattr(Writer, "BEACON_INTERVAL_S", 0.01)
    disk, process = await written()
    lose_redis(disk)
    watching = asyncio.create_task(process.redis_watch.run())
    await until_waiting(process)
    await asyncio.wait_for(process.ownership.revoked(frozenset({0})), 1)
    disk.is_redis_down = False
    await asyncio.sleep(0.1)
    assert disk.redis == {}
    assert not is_whole(disk)
    await process.ownership.assigned({0: 0})
    assert is_whole(disk)
    assert not watching.done()
    watching.cancel()


async def test_a_rebuild_that_begins_during_the_farewell_lets_the_partition_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis has lost its data and goes away while readers are told a last time how far the partition is."""
    disk, process = await written()

    async def farewell(partitions: frozenset[int]) -> None:
        lose_redis(disk)
        process.tasks.do(REBUILD, partial(process.background.repair, 0), 0)
        await until_waiting(process)

    monkeypatch.setattr(process.writer, "farewell", farewell)
    await asyncio.wait_for(process.ownership.revoked(frozenset({0})), 30)
    assert not process.tasks.is_doing(REBUILD, 0)


def test_a_member_whose_key_is_json_can_be_deleted_all_the_same() -> None:
    """By a null value, where such keys are refused. One that isn't held is refused: the producer means another."""
    key, value = b'"a"', orjson.dumps({"op": "replace", "document": {"x": 3}})
    disk = run([[Record(0, key, value)]])
    assert key in disk.redis
    records = [Record(1, key, value), Record(2, key, None), Record(3, b'"b"', None)]
    asyncio.run(Process(disk, MODELS, rules=Rules(json_keys=False)).run([records]))
    assert disk.redis[key].memberships is None
    assert dead(disk) == [(b"1", b"bad_key"), (b"3", b"bad_key")]
    assert disk.forgotten[-1][1] == key
