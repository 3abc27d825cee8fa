"""Nobody is left without a published version, however batches, backfills, publications and workers interleave."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.shell import LISTED, WALL_MS, Disk, Process, Record

from memberstream.models.member import Move, decode, encode
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.stream.keyspace.formats import Announcement, PublishedCampaign, Sizes, membership_field
from memberstream.stream.members import roll_call
from memberstream.stream.members.roll_call import Standing
from memberstream.stream.partition.bookkeeping import SCORED, Mark, decode_mark
from memberstream.stream.partition.census import Census
from memberstream.stream.registry.publication import Lists, Publication, compile_models

MODELS = [
    parse(
        {
            "format": 1,
            "name": name,
            "version": 1,
            "predictors": [{"name": "x", "path": "x", "missing": 0}],
            "model": {"type": "logistic", "coef": [1.0], "intercept": -1.5, "thresholds": [0.5]},
            "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "high"}],
        }
    )
    for name in ("first", "second", "third")
]


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields of retired versions go at once: nobody reads them here."""
    monkeypatch.setattr("memberstream.stream.members.backfill.GRACE_S", 0.0)
    monkeypatch.setattr("memberstream.stream.members.roll_call.SHARE", 1.0)  # it doesn't rest


def publications(steps: Sequence[int]) -> list[Publication]:
    """Return what a worker goes by after each step of a models' log: model i is published, or retired if it is."""
    found = [compile_models(MODELS[:1], 0, members_offset=0, lists=Lists(((-1, LISTED),)))]
    scored, retired = {0}, dict[int, int]()
    for offset, i in enumerate(steps, 1):
        if i in retired:
            continue  # for ever
        if i in scored:
            scored.remove(i)
            retired[i] = offset
        else:
            scored.add(i)
        gone = [(ended_at, field(MODELS[k])) for k, ended_at in retired.items()]
        models = [MODELS[k] for k in sorted(scored)]
        found.append(compile_models(models, offset, gone, offset, Lists(((-1, LISTED),))))
    return found


def field(model: Model) -> bytes:
    return membership_field(model.name, model.version)


def replace(offset: int, key: bytes, x: int = 1) -> Record:
    """Return the record of a member's document, or from x = 4 on of its deletion."""
    value = orjson.dumps({"op": "replace", "document": {"x": x}, "at": 1_000}) if x < 4 else None
    return Record(offset, key, value, 1_000)


def check(disk: Disk, publication: Publication) -> None:
    """State and Redis have of each member just the published versions, and the partition says that it is complete."""
    n = 0
    for key, value in disk.state().items():
        if not key.startswith(b"\0") and (member := decode(value)).document is not None:
            n += 1
            assert publication.covers(member), key
            assert member.memberships.keys() == set(publication.keys), key
            in_redis = disk.redis[key].memberships or {}
            expected = {
                name: member.memberships[k] for name, k in zip(publication.fields, publication.keys, strict=True)
            }
            assert {name: held for name, held in in_redis.items() if name not in disk.listed} == expected, key
    assert n == sum(held.memberships is not None for held in disk.redis.values())
    assert decode_mark(disk.state()[SCORED]) == Mark(publication.fingerprint, publication.offset)


def check_mark(disk: Disk, log: Sequence[Publication]) -> None:
    """The partition's mark holds: with what it names all members have been scored."""
    mark = decode_mark(disk.state().get(SCORED))
    members = [decode(value) for key, value in disk.state().items() if not key.startswith(b"\0")]
    publication = next((p for p in log if p.fingerprint == mark.fingerprint), None)
    assert publication is None or all(publication.covers(member) for member in members)


def told(process: Process) -> tuple[int, int]:
    scored = process.backfill.told()[0]
    return scored.offset, scored.remaining


def test_a_batch_of_new_members_in_flight_while_a_model_is_published() -> None:
    """Computed under the models of before, it reaches state and Redis after the backfill has begun: it is looked at."""

    async def interleaved() -> Disk:
        disk, (before, after) = Disk(), publications([1])
        process, gate = Process(disk, MODELS[:1]), asyncio.Event()
        process.current.publication = before
        await process.run([[replace(0, b"old")]])
        await process.backfilled()
        process.pause = gate.wait
        batch = asyncio.create_task(process.pipeline.handle(0, [replace(1, b"new")]))
        for _ in range(20):
            await asyncio.sleep(0)  # it is computed, and on its way to the changelog
        await process.ownership.adopt(after, Announcement(-1, (), {}))
        for _ in range(20):
            await asyncio.sleep(0)  # the backfill waits for the partition
        gate.set()
        await batch
        await process.backfilled()
        assert told(process) == (1, 0)
        return disk

    check(asyncio.run(interleaved()), publications([1])[-1])


def test_a_worker_whose_models_are_older_takes_over_for_a_moment() -> None:
    """Members that it writes aren't missed by who finds its own models noted, here by itself with the newer ones."""

    async def interleaved() -> Disk:
        disk, (before, after) = Disk(), publications([1])
        first = Process(disk, MODELS[:1])
        first.current.publication = after
        await first.run([[replace(0, b"old")]])
        await first.backfilled()
        second = Process(disk, MODELS[:1])
        second.current.publication = before
        gate = asyncio.Event()
        await second.ownership.assigned({0: 0})
        second.pause = gate.wait  # its own backfill doesn't end
        batch = asyncio.create_task(second.pipeline.handle(0, [replace(1, b"new")]))
        await asyncio.sleep(0)
        second.current.publication = after
        gate.set()
        await batch
        await second.ownership.adopt(after, Announcement(-1, (), {}))
        await second.backfilled()
        assert told(second) == (1, 0)
        return disk

    check(asyncio.run(interleaved()), publications([1])[-1])


def test_a_roll_call_finds_and_scores_who_was_missed(caplog: pytest.LogCaptureFixture) -> None:
    """Two of three members lack a version although the partition says that it is scored. The counts tell at once; a
    roll call scores them, in state and Redis, and says so. A count that is wrong is put right, and that is said."""

    async def missed() -> Disk:
        disk, [_, publication] = Disk(), publications([1])
        process = Process(disk, [])
        process.current.publication = publication
        await process.run([[replace(i, key) for i, key in enumerate([b"a", b"b", b"c"])]])
        await process.backfilled()
        await process.roll_call.once()
        assert process.roll_call.standing == {0: Standing(3, 0)}
        assert process.roll_call.clusters() == {
            ("first@1", 1): 3,
            ("first@1", 2): 0,
            ("second@1", 1): 3,
            ("second@1", 2): 0,
        }
        day = PublishedCampaign("day", "first", (1, 2), WALL_MS, WALL_MS + 1)
        others = PublishedCampaign("gone", "third", (1,)), PublishedCampaign("list", LISTED.name, (1,))
        few, off = PublishedCampaign("few", "second", (2, 7)), PublishedCampaign("off", "first", (1,), is_paused=True)
        process.current.announcement = Announcement(
            1, (), {"first": 1, "second": 1, LISTED.name: 1}, (day, few, off, *others)
        )
        assert process.roll_call.campaigns(WALL_MS) == {"day": 3, "few": 0}
        assert process.roll_call.campaigns(WALL_MS - 1) == process.roll_call.campaigns(WALL_MS + 1) == {"few": 0}
        told = process.redis_watch._sizes()
        assert told == {0: Sizes(WALL_MS, {b"first@1": {1: 3, 2: 0}, b"second@1": {1: 3, 2: 0}})}
        for key in (b"b", b"c"):
            member = decode(disk.state()[key])
            left = {k: held for k, held in member.memberships.items() if k == publication.keys[0]}
            move = Move(key, member.memberships, left)
            member.memberships, member.plan_id = left, 0
            disk.changelog.append((key, encode(member, 2)))
            process.state.write(0, [disk.changelog[-1]], len(disk.changelog) - 1, 2, (), [move])
        process.roll_call.look()
        assert process.roll_call.standing == {0: Standing(3, 2)}
        await process.roll_call.once()
        assert (process.roll_call.healed, process.roll_call.corrected) == (2, 0)
        assert process.roll_call.standing == {0: Standing(3, 0)}
        process.state.census(0).counts.documents = 5
        process.roll_call.look()
        assert process.roll_call.standing == {0: Standing(5, 2)}
        await process.roll_call.once()
        assert (process.roll_call.healed, process.roll_call.corrected) == (2, 1)
        assert process.roll_call.standing == {0: Standing(3, 0)}
        return disk

    check(asyncio.run(missed()), publications([1])[-1])
    assert [record.getMessage().partition(". Next")[0] for record in caplog.records if record.levelname == "ERROR"] == [
        "partition 0: members that were not scored with all models, as they were said to be, are now: 2",
        "partition 0: counts of members that were wrong are put right: 1",
    ]


def test_roll_calls_of_many_partitions_take_no_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice that takes a second is followed by a rest of 99, and with four partitions of 399."""
    clock = itertools.count()
    monkeypatch.setattr(roll_call, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(roll_call, "SHARE", 0.01)
    rests: list[float] = []

    async def rest(partition: int, census: Census, rest_s: float) -> None:
        rests.append(rest_s)

    async def called() -> None:
        process = Process(Disk(), [])
        await process.run([[replace(0, b"a")]])
        await process.backfilled()
        process.roll_call._rest = rest  # type: ignore[method-assign]
        await process.roll_call.once()
        process.roll_call._called |= dict.fromkeys((1, 2, 3), process.roll_call._called[0])
        await process.roll_call.once()

    asyncio.run(called())
    assert [rests[0], rests[-1]] == pytest.approx([99, 399])


@dataclass(frozen=True)
class Let:
    """The loop turns so often."""

    turns: int


@dataclass(frozen=True)
class Event:
    """Some events arrive."""

    keys: tuple[bytes, ...]


@dataclass(frozen=True)
class Step:
    """The models' log goes on, and the worker reads it."""


@dataclass(frozen=True)
class Restart:
    """The worker dies, and another takes over that has read so many steps less than there are."""

    behind: int


KEYS = [b"a", b"b", b"c", b"d", b"e", b"f"]
ACTIONS = st.lists(
    st.one_of(
        st.builds(Let, st.integers(1, 30)),
        st.builds(Event, st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True).map(tuple)),
        st.builds(Step),
        st.builds(Restart, st.integers(0, 2)),
    ),
    max_size=14,
)


@given(ACTIONS, st.lists(st.integers(0, 2), max_size=5), st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_nobody_stays_unscored(actions: list[Let | Event | Step | Restart], steps: list[int], turns: list[int]) -> None:
    """Batches, backfills, publications and restarts in any order, each call taking some turns of the loop: with what
    the partition's mark names all members are scored, at any time, and at the end it names what was published last.
    Nobody is ever counted as unscored, and a roll call that goes on beside all that never finds anything wrong."""
    asyncio.run(interleave(actions, publications(steps), turns))


async def interleave(
    actions: Sequence[Let | Event | Step | Restart], log: Sequence[Publication], turns: Sequence[int]
) -> None:
    disk, records, read, n_calls = Disk(), list[Record](), 0, 0

    async def pause() -> None:
        nonlocal n_calls
        n_calls += 1
        for _ in range(turns[n_calls % len(turns)]):
            await asyncio.sleep(0)

    async def consume(process: Process) -> None:
        while True:
            await arrived.wait()
            arrived.clear()
            while batch := records[disk.committed : disk.committed + 2]:
                await process.pipeline.handle(0, batch)
                disk.committed = batch[-1].offset + 1

    async def start(position: int) -> tuple[Process, asyncio.Task[None], asyncio.Task[None]]:
        process = Process(disk, [])
        process.pause = pause
        process.current.publication = log[position]
        await process.ownership.assigned({0: 0})
        arrived.set()
        return process, asyncio.create_task(consume(process)), asyncio.create_task(call_on(process))

    async def call_on(process: Process) -> None:
        while True:
            await process.roll_call.once()
            assert (process.roll_call.healed, process.roll_call.corrected) == (0, 0)
            assert process.roll_call.standing[0].unscored == 0
            await asyncio.sleep(0)

    async def stop() -> None:
        if calling.done():
            calling.result()
        tasks = [consuming, calling, *process.tasks.tasks().values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    arrived = asyncio.Event()
    process, consuming, calling = await start(read)
    end: Sequence[Let | Event | Step | Restart] = [Step()] * len(log)
    for action in [*actions, *end]:
        match action:
            case Let(n):
                for _ in range(n):
                    await asyncio.sleep(0)
            case Event(keys):
                records += [replace(len(records) + i, key, len(records) % 5) for i, key in enumerate(keys)]
                arrived.set()
            case Step():
                if read < len(log) - 1:
                    read += 1
                    await process.ownership.adopt(log[read], Announcement(-1, (), {}))
            case Restart(behind):
                await stop()
                read = max(0, read - behind)
                process, consuming, calling = await start(read)
        check_mark(disk, log)
    while disk.committed < len(records):  # noqa: ASYNC110 (nobody announces it)
        await asyncio.sleep(0)
    await process.backfilled()
    try:
        check(disk, log[-1])
        assert told(process) == (log[-1].offset, 0)
    finally:
        await stop()
