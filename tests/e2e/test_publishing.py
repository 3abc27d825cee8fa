"""Model versions: published, scored beside the live one, promoted and rolled back while the worker runs."""

from __future__ import annotations

import asyncio
import time

import pytest
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event

from models.model_file import parse
from stream.lookup import AsyncLookup, Lookup, Status
from stream.model_source import PublishError
from stream.publishing import Publishing, find

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
    async with asyncio.timeout(30):
        async for _ in publishing.wait(find(await publishing.registry(), label)):
            pass


async def test_a_version_becomes_live_without_a_restart(system: System) -> None:
    """A candidate reaches every member, also those from whom nothing arrives; readers see it when it is promoted, and
    the one before it after a rollback, each in one look-up for everybody; the history tells who did what."""
    publishing, pid = author(system), system.pid
    assert await publishing.publish(parse(level(version=2, threshold=0.8)), reason="fewer")
    assert not await publishing.publish(parse(level(version=2, threshold=0.8)))
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


async def until_version(lookup: Lookup, version: int) -> None:
    """Return when readers see this version; on the way all members of a look-up have the same one, and are current."""
    give_up_at = time.monotonic() + 5
    while True:
        answers = lookup.get_many(IDS)
        assert {a.status for a in answers} == {Status.CURRENT}
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
    with pytest.raises(PublishError, match=r"isn't scored for all members yet: 2 of 2 partitions.*Next: .*--force"):
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
    assert await publishing.publish(parse(odd), force=True)
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
    """A hundred promotions to and fro while a reader asks without a pause: each look-up over all members has one
    version of the model, and the cluster that this version gives."""
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
    for i in range(100):
        await publishing.promote("level", 2 - i % 2, force=True)
        if reader.done():
            break
    done.set()
    await reader
    assert set(seen) == {1, 2}
