"""Model versions: published, scored beside the live one, promoted and rolled back while the worker runs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress

import pytest
import rocksdict
from e2e.definitions import level, level_of_trees
from e2e.system import Install, Pair, Sent, System, event
from keys import KEYS
from releases import NOW, Release

from memberstream.models.member import decode, encode
from memberstream.models.model_file import parse
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.authoring.steps import find
from memberstream.stream.keyspace.formats import parse_behind
from memberstream.stream.lookup import AsyncLookup, Lookup, Status
from memberstream.stream.registry.refused import PublishError

IDS = [f"m{i}" for i in range(700)]  # several slices of a backfill in each partition


@pytest.fixture
async def system(pair: Pair, install: Install) -> System:
    """A running worker with `level@1` live and everybody scored."""
    system = await install(pair, [level()])
    system.start()
    await system.send([Sent(m.encode(), event("replace", document={"x": i % 4})) for i, m in enumerate(IDS)])
    await system.applied()
    return system


def author(system: System) -> Publishing:
    return Publishing(system.settings, "author@notebook")


async def scored(publishing: Publishing, label: str) -> None:
    """Return when all partitions are scored with a version."""
    async with asyncio.timeout(60):
        async for _ in publishing.wait(find(await publishing.registry(), label)):
            pass


async def test_a_version_becomes_live_without_a_restart(system: System) -> None:
    """A candidate reaches every member, also those from whom nothing arrives; readers see it when it is promoted, and
    the one before it after a rollback, each in one look-up for everybody; the history tells who did what."""
    publishing, pid = author(system), system.pid
    assert (await publishing.publish(parse(level(version=2, threshold=0.8)), reason="fewer")).is_new
    assert not (await publishing.publish(parse(level(version=2, threshold=0.8)))).is_new
    await scored(publishing, "level@2")
    for i, m in enumerate(IDS):
        held = system.held(m)
        assert held["level@2"].startswith("2:" if i % 4 > 1 else "1:")  # logit(0.8) is 1.39, and eta is x
        assert held["level@1"].startswith("2:" if i % 4 > 0 else "1:")
    assert await publishing.sizes(find(await publishing.registry(), "level@2")) == {1: 350, 2: 350}
    with Lookup(system.settings.redis_url) as lookup:
        assert {a.memberships["level"].version for a in lookup.get_many(IDS)} == {1}
        await publishing.promote("level", 2, max_flips=0.3, reason="better")
        await until_version(lookup, 2)
        assert await publishing.rollback("level", reason="worse") == 1
        await until_version(lookup, 1)
    steps = (await publishing.registry()).history
    assert [(s.action, s.version, s.reason, s.forced) for s in steps] == [
        ("publish", 1, "", True), ("promote", 1, "", True),
        ("publish", 2, "fewer", False), ("promote", 2, "better", False), ("rollback", 1, "worse", False),
    ]  # fmt: skip
    assert {s.actor for s in steps[2:]} == {"author@notebook"}
    assert system.pid == pid


async def test_trees_are_a_version_like_any_other(system: System) -> None:
    """Published beside a logistic version, scored for everybody, promoted and looked up; an event that crosses a
    threshold moves its member, and one that crosses none leaves it where it was."""
    publishing = author(system)
    await publishing.publish(parse(level_of_trees()))
    await scored(publishing, "level@2")
    for i, m in enumerate(IDS):
        assert system.held(m)["level@2"].startswith("2:" if i % 4 > 1 else "1:")
    with Lookup(system.settings.redis_url) as lookup:
        await publishing.promote("level", 2, max_flips=0.3)
        await until_version(lookup, 2)
        changes = {"m0": 1, "m1": 1.75, "m2": 9, "m3": -1}
        await system.send([Sent(m.encode(), event("replace", document={"x": x})) for m, x in changes.items()])
        await system.applied()
        assert [a.cluster("level") for a in lookup.get_many(list(changes))] == [1, 2, 2, 1]


@pytest.mark.long  # 10 s: the version before is built
async def test_a_worker_of_the_version_before_cannot_use_trees(
    embedded_pair: Pair, install: Install, before: Release
) -> None:
    """It knows no such type. It says so, the version can't be promoted, and the live one goes on moving members.
    Today's worker, on its disk, takes the version up."""
    system = await install(embedded_pair, [level()])
    system.release = before
    system.start()
    await system.send([Sent(m.encode(), event("replace", document={"x": 0})) for m in IDS[:40]])
    await system.applied()
    publishing = author(system)
    await publishing.publish(parse(level_of_trees()))
    refusal = r"level@2 can't be used by the workers of 2 of 2 partitions.* Next: update these workers"
    with pytest.raises(PublishError, match=refusal):
        await scored(publishing, "level@2")
    with pytest.raises(PublishError, match=refusal):
        await publishing.promote("level", 2)
    assert [line for line in system.says().splitlines() if "level@2" in line and "model.type: expected" in line]
    await system.send([Sent(b"m0", event("patch", patch={"x": 1}))])
    await system.applied()
    assert system.held("m0")["level@1"].startswith("2:")
    system.stop()
    system.release = NOW
    system.start()
    async with asyncio.timeout(60):
        while True:  # until its workers have told of themselves, the one before is believed
            with suppress(PublishError):
                await scored(publishing, "level@2")
                break
            await asyncio.sleep(0.1)
    await publishing.promote("level", 2)
    with Lookup(system.settings.redis_url) as lookup:
        assert [a.cluster("level") for a in lookup.get_many(["m0", "m1"])] == [1, 1]


async def until_version(lookup: Lookup, version: int) -> None:
    """Return when readers see this version; on the way all members of a look-up have the same one, and are current."""
    give_up_at = time.monotonic() + 5
    while True:
        answers = lookup.get_many(IDS)
        assert {a.status for a in answers} == {"current"}
        [found] = {a.memberships["level"].version for a in answers}
        if found == version:
            return
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.02)


async def test_promoting_is_refused_until_it_is_safe(system: System) -> None:
    """Not while the workers are away and nobody is scored, not when too many would change; forced it is done."""
    publishing = author(system)
    system.stop()
    await publishing.publish(parse(level(version=2, threshold=0.99)))
    with pytest.raises(PublishError, match=r"isn't scored.*it waits for partitions 0, 1.*Next: .*--force"):
        await publishing.promote("level", 2)
    system.start()
    await scored(publishing, "level@2")
    with pytest.raises(PublishError, match=r"525 of 700 members \(75.0%\) would change.*Next: .*model compare"):
        await publishing.promote("level", 2)
    assert (await publishing.registry()).live == {"level": 1}
    await publishing.promote("level", 2, force=True)
    assert (await publishing.registry()).live == {"level": 2}


async def test_what_cannot_be_published_is_refused(system: System) -> None:
    """Other content under the same version; paths that nobody's document has, unless forced; a version nobody knows."""
    publishing = author(system)
    with pytest.raises(PublishError, match=r"other content\. Next: .* new version"):
        await publishing.publish(parse(level(threshold=0.7)))
    odd = level(name="odd")
    odd["predictors"][0]["path"] = "apps.typo"
    with pytest.raises(PublishError, match=r"odd@1 reads what no member's document has: apps\.typo\. Next: .*--force"):
        await publishing.publish(parse(odd))
    assert (await publishing.publish(parse(odd), force=True)).is_new
    odd = level(name="times")
    odd["predictors"] = [{"name": "x", "path": "x", "aggregate": "days_since", "missing": 0}]
    with pytest.raises(PublishError, match=r"x: x: times before 1990 or .*, in 700 of 700 doc.*\nNext: .*--force"):
        await publishing.publish(parse(odd))
    times = await publishing.publish(parse(odd), force=True)
    assert [one.n_implausible for one in await publishing.coverage(times.version)] == [700]
    with pytest.raises(PublishError, match=r"level@9 isn't published; of level: level@1\. Next"):
        await publishing.promote("level", 9)
    with pytest.raises(PublishError, match=r"no version was live before\. Next"):
        await publishing.rollback("level")
    with pytest.raises(PublishError, match=r"level@1 is live\. Next: promote another"):
        await publishing.retire("level", 1)


async def test_a_retired_version_leaves_redis_and_state(system: System) -> None:
    """Its field goes from every member in the background, its membership from every state; the live one stays whole."""
    publishing = author(system)
    await publishing.publish(parse(level(version=2, threshold=0.8)))
    await scored(publishing, "level@2")
    await publishing.retire("level", 2)
    await system.until(lambda: all("level@2" not in system.held(m) for m in IDS), "the fields to go")
    assert all("level@1" in system.held(m) for m in IDS)
    await system.until(lambda: system.says().count("all members are scored") >= 4, "the backfill's end")
    assert {len(state.memberships) for state in (await system.states()).values()} == {1}
    with pytest.raises(PublishError, match="level@2 is retired"):
        await publishing.publish(parse(level(version=2, threshold=0.8)))


async def test_readers_never_see_two_versions_at_once(system: System) -> None:
    """Promotions to and fro while a reader asks without a pause, a hundred in `make proof`: each look-up over all
    members has one version of the model, and the cluster that this version gives."""
    publishing = author(system)
    await publishing.publish(parse(level(version=2, threshold=0.8)))
    await scored(publishing, "level@2")
    expected = {v: [1 + (i % 4 > v - 1) for i in range(len(IDS))] for v in (1, 2)}
    seen: dict[int, int] = {}
    done = asyncio.Event()

    async def hammer() -> None:
        async with AsyncLookup(system.settings.redis_url) as lookup:
            while not done.is_set():
                answers = await lookup.get_many(IDS)
                [version] = {a.memberships["level"].version for a in answers}
                assert [a.cluster("level") for a in answers] == expected[version]
                seen[version] = seen.get(version, 0) + 1

    reader = asyncio.create_task(hammer())
    for i in range(100 if system.pair.broker.kind == "apache" else 20):
        await publishing.promote("level", 2 - i % 2, force=True)
        if reader.done():
            break
    done.set()
    await reader
    assert set(seen) == {1, 2}


async def test_a_model_published_while_a_backlog_of_new_members_is_in_flight(real_pair: Pair, install: Install) -> None:
    """Batches under way were computed under the models of before; whom they bring gets the new one all the same. And
    nobody is called unknown whose event waits unread."""
    system = await install(real_pair, [level()])
    publishing, ids = author(system), [f"n{i}" for i in range(40_000)]
    await system.send([Sent(m.encode(), event("replace", document={"x": i % 4})) for i, m in enumerate(ids)])
    system.start()
    with Lookup(system.settings.redis_url) as lookup:
        told: Counter[Status] = Counter()

        def is_loaded(n: int) -> bool:
            told.update(answer.status for answer in lookup.get_many(ids[::400]))
            return int(system.redis.dbsize()) > n

        await system.until(lambda: is_loaded(1_000), "the first members")
        await publishing.publish(parse(level(version=2)), force=True)
        await system.until(lambda: is_loaded(len(ids)), "all members")
        await system.applied()
        is_loaded(0)
    assert told["rebuilding"] > 0
    assert told["current"] >= 100
    assert told["unknown member"] == 0
    await scored(publishing, "level@2")
    rows = system.redis.mget([KEYS.member(m.encode()) for m in ids])
    assert sum(b"|level@2=" not in row for row in rows) == 0


async def test_who_lacks_a_version_is_found_counted_and_scored(system: System) -> None:
    """As after an older worker's mistake: the states of some members lack what their partitions say that they have, and
    nobody counted. The next worker counts and scores them, by its roll call or a rebuild that comes first."""
    await system.until(lambda: sum(system.metrics("memberstream_cluster_members").values()) == 700, "the counts")
    before = {m: system.held(m) for m in IDS}
    system.stop()
    n_missed = 0
    for path in sorted(system.settings.data_dir.glob("**/state-*.db")):
        state = rocksdict.Rdict(str(path), options=rocksdict.Options(raw_mode=True))
        del state[b"\0census"]
        for key, value in list(state.items(from_key=b"m"))[:50]:
            member = decode(value)
            member.memberships, member.plan_id = {}, 0
            state[key] = encode(member, -1)
            n_missed += 1
        state.close()
    assert n_missed == 100
    system.start()
    await system.until(lambda: system.says().count(" members counted") == 2, "the roll call")
    await system.until(lambda: {m: system.held(m) for m in IDS} == before, "the rows of before")
    expected = Counter(held["level@1"].partition(":")[0] for held in before.values())
    assert system.metrics("memberstream_cluster_members") == {(k, "level@1"): n for k, n in expected.items()}
    unscored = "memberstream_unscored_members"
    await system.until(lambda: list(system.metrics(unscored).values()) == [0.0, 0.0], "the next look")

    def told() -> list[tuple[int | None, int | None]]:
        behind = map(parse_behind, system.redis.hgetall(KEYS.behind).values())
        return sorted((b.members, b.unscored) for b in behind)

    await system.until(lambda: told() == [(348, 0), (352, 0)], "what promote goes by")
    assert all(state.memberships for state in (await system.states()).values())
