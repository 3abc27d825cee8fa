"""Redis comes back with data of an earlier moment: who was deleted or left a list since doesn't come back with it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from keys import KEYS
from servers import RedisServer

from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.authoring.steps import find
from memberstream.stream.authoring.uploading import Options, Uploading
from memberstream.stream.files.lists import read_rows
from memberstream.stream.lookup import Answer, AsyncLookup, Lookup, LookupUnavailable, Status

pytestmark = pytest.mark.parametrize(
    "own_redis", [pytest.param("redis", marks=pytest.mark.redis_server)], indirect=True
)
IDS = [f"m{i}" for i in range(120)]
VERSIONED = IDS[60:80]


def rows(system: System) -> dict[bytes, bytes]:
    """Return all rows, tombstones and whatever differs from one scoring to another left out."""
    keys = sorted(system.redis.scan_iter(KEYS.member_prefix + b"*", count=1_000))
    found = zip(keys, system.redis.mget(keys) if keys else [], strict=True)
    return {key: row for key, row in found if row is not None and not row.endswith(b":gone")}


def small_keys(system: System) -> dict[str, object]:
    """Return what readers go by beside the rows."""
    names = ("live", "models", "campaigns")
    return {name: system.redis.hgetall(f"ms:{{meta}}:{name}") for name in names} | {
        "known": system.redis.get("ms:{meta}:known")
    }


def dump(system: System, store: RedisServer, to: Path) -> None:
    system.redis.save()
    shutil.copy(store.directory / "dump.rdb", to)


def go_back(store: RedisServer, to: Path) -> None:
    """Restart Redis with a dump."""
    store.kill()
    shutil.copy(to, store.directory / "dump.rdb")
    store.start()


async def upload(system: System, name: str, members: dict[str, int]) -> None:
    outcome = await Uploading(system.settings, "author").upload(read_rows(members), Options(name))
    publishing = Publishing(system.settings, "author")
    async with asyncio.timeout(60):
        async for _ in publishing.wait(find(await publishing.registry(), outcome.label)):
            pass
    await publishing.promote(name, int(outcome.label.rpartition("@")[2]), max_flips=1.0)


@pytest.fixture
async def lived(
    embedded_pair: Pair, own_redis: Callable[..., RedisServer], install: Install, tmp_path: Path
) -> tuple[System, RedisServer, Path]:
    """A worker, its Redis, and a dump from before half of the members were deleted, lists left and models changed."""
    store = own_redis()
    system = await install(replace(embedded_pair, store=store), [level()])
    system.start()
    version = {m: {"version": 1} for m in VERSIONED}
    first = [event("replace", document={"x": i % 4}, **version.get(m, {})) for i, m in enumerate(IDS)]
    await system.send([Sent(m.encode(), value) for m, value in zip(IDS, first, strict=True)])
    await system.applied()
    await upload(system, "buyers", {m: 1 + i % 2 for i, m in enumerate(IDS[:100])} | {"only-listed": 1, "left": 2})
    await upload(system, "passing", dict.fromkeys(IDS[90:], 1))
    dump(system, store, tmp_path / "old.rdb")
    gone = [Sent(m.encode(), event("delete")) for m in [*IDS[:20], "left"]]
    gone += [Sent(m.encode(), event("delete", version=2)) for m in VERSIONED[:10]]
    await system.send(gone)
    await system.send([Sent(m.encode(), event("replace", document={"x": 3})) for m in [*IDS[15:20], "new-1", "new-2"]])
    await system.send([Sent(m.encode(), event("patch", patch={"x": 1})) for m in IDS[30:50]])
    await system.applied()
    # As if more than a day had passed: no tombstone is there, and who was deleted then may be on a later list.
    for key in system.redis.scan_iter(KEYS.member_prefix + b"*"):
        if (system.redis.get(key) or b"").endswith(b":gone"):
            system.redis.delete(key)
    await upload(system, "later", {IDS[0]: 1, VERSIONED[0]: 2, "new-1": 1, IDS[100]: 2})
    await upload(system, "passing", {"new-2": 1})
    await Publishing(system.settings, "author").retire("passing", 1)
    await system.publish(level(2))
    await system.until(lambda: b"|level@2=" in system.redis.get("ms:member:m110"), "the new version")
    await system.until(lambda: b"passing@1" not in system.redis.get("ms:member:m110"), "the list's end")
    await system.applied()
    await asyncio.sleep(2.5)  # withdrawn, and marked so
    return system, store, tmp_path / "old.rdb"


async def test_a_rebuild_leaves_what_state_and_lists_say_and_nothing_else(
    lived: tuple[System, RedisServer, Path], tmp_path: Path
) -> None:
    """A dump of long ago under a live worker, then while it is stopped, then FLUSHALL, then `rebuild` over foreign
    rows: afterwards each row is as before, to the byte. A dump of a moment ago: what came after it is written again."""
    system, store, old = lived
    right, small = rows(system), small_keys(system)
    assert len(right) == 120 - 15 - 10 + 2 + 2 + 1  # m0 and a versioned one on the later list alone, `only-listed`

    async def is_right(what: str) -> None:
        await system.until(lambda: system.is_applied() and rows(system) == right, what)
        assert small_keys(system) == small

    noticed = "Redis may have lost what was written last"
    go_back(store, old)
    assert system.redis.exists("ms:{meta}:epoch") or noticed in system.says()  # the dump itself says that all is there
    await system.until(lambda: noticed in system.says(), "the loss noticed")
    await is_right("the rows, after an old dump")

    system.stop()
    go_back(store, old)
    system.start()
    await is_right("the rows, after an old dump while no worker was there")

    system.redis.flushall()
    await is_right("the rows, after FLUSHALL")

    gone = system.redis.get("ms:member:m110")
    assert gone is not None
    system.redis.set("ms:member:nobody", gone)
    system.redis.set("ms:member:garbage", "x")
    for key, row in list(right.items())[::3]:  # as of another partition, which holds none of them: both must act
        if row.startswith((b"0:0:", b"0:1:")):
            system.redis.set(key, b"0:%d:0:" % (row.startswith(b"0:0:")) + row.split(b":", 3)[3])
    assert (await memberstream(system, "rebuild", "--yes"))[0] == 0
    assert rows(system) == right

    young = tmp_path / "young.rdb"
    was = system.redis.hgetall("ms:{meta}:beacons")
    await system.until(lambda: system.redis.hgetall("ms:{meta}:beacons") != was, "a beacon")
    dump(system, store, young)
    await system.send([Sent(b"m110", event("patch", patch={"x": 0})), Sent(b"m111", event("delete"))])
    await system.until(lambda: b":gone" in system.redis.get("ms:member:m111"), "the last writes")
    go_back(store, young)
    del right[b"ms:member:m111"]
    await system.until(lambda: set(rows(system)) == set(right) and system.is_applied(), "the deleted one gone")
    assert rows(system)[b"ms:member:m110"] != right[b"ms:member:m110"]
    assert b"later" not in (system.redis.get("ms:member:m0") or b"").partition(b"||")[0]


class Reader:
    """A service that asks for members all the time, which all exist and are in cluster 2; notes what is wrong."""

    def __init__(self, url: str) -> None:
        self.url, self.is_over = url, False
        self.answers = 0
        self.statuses: Counter[Status] = Counter()
        self.wrong: list[str] = []

    def take(self, found: list[Answer]) -> None:
        self.answers += len(found)
        self.statuses.update(answer.status for answer in found)
        for answer in found:
            if answer.status == "unknown member" or (answer.status == "current" and answer.cluster("level") != 2):
                self.wrong.append(repr(answer))

    def run(self) -> None:
        with Lookup(self.url) as lookup:
            while not self.is_over:
                with contextlib.suppress(LookupUnavailable):
                    self.take([*lookup.get_many(IDS), lookup.get(IDS[-1])])
                time.sleep(0.001)

    async def run_async(self) -> None:
        async with AsyncLookup(self.url) as lookup:
            while not self.is_over:
                with contextlib.suppress(LookupUnavailable):
                    self.take([*await lookup.get_many(IDS), await lookup.get(IDS[-1])])
                await asyncio.sleep(0.001)


async def test_readers_are_told_nothing_wrong_while_redis_goes_back(
    embedded_pair: Pair, own_redis: Callable[..., RedisServer], install: Install, tmp_path: Path
) -> None:
    """Both clients ask without a pause while Redis restarts, three times, with a dump that lacks half of the members
    and has the others in another cluster: nobody is ever called unknown, and no old cluster is called current."""
    store, old = own_redis(), tmp_path / "old.rdb"
    system = await install(replace(embedded_pair, store=store), [level()])
    system.start()
    await system.send([Sent(m.encode(), event("replace", document={"x": 0})) for m in IDS[:60]])
    await system.applied()
    dump(system, store, old)
    await system.send([Sent(m.encode(), event("replace", document={"x": 1})) for m in IDS])
    await system.applied()
    reader, other = Reader(system.settings.redis_url), Reader(system.settings.redis_url)
    asking = [asyncio.create_task(asyncio.to_thread(reader.run)), asyncio.create_task(other.run_async())]
    try:
        for _ in range(3):
            await asyncio.sleep(2.0)  # a beacon at least: both have seen later ones than the dump has
            await asyncio.to_thread(go_back, store, old)
            await system.until(lambda: b"|level@1=2:" in (system.redis.get("ms:member:m0") or b""), "m0 right again")
            await system.until(lambda: system.is_applied(), "Redis whole")
        await system.until(lambda: min(reader.answers, other.answers) > 50_000, "many answers")
    finally:
        reader.is_over = other.is_over = True
        await asyncio.gather(*asking)
    assert (reader.wrong, other.wrong) == ([], [])
    for statuses in (reader.statuses, other.statuses):
        assert {"current", "rebuilding"} <= statuses.keys() <= set(get_args(Status))


async def test_a_user_without_the_right_to_scan_is_told_and_nothing_comes_to_a_halt(
    embedded_pair: Pair, own_redis: Callable[..., RedisServer], install: Install, tmp_path: Path
) -> None:
    """An installation whose ACL is of an older release: said once at the start with the next action, in a metric and in
    /readyz's neighbour; a rebuild ends as it did then."""
    store = own_redis()
    system = await install(replace(embedded_pair, store=store), [level()])
    rights = "+get +set +del +hget +hmget +hgetall +hset +hdel +evalsha +script|load +ping +select +info"
    system.redis.execute_command(f"ACL SETUSER old on >secret ~ms:* resetchannels -@all {rights}")
    system.set(redis_url=f"redis://old:secret@127.0.0.1:{store.port}/0")
    system.start()
    await system.send([Sent(m.encode(), event("replace", document={"x": 1})) for m in IDS])
    await system.applied()
    right = rows(system)
    assert len(right) == len(IDS)
    assert system.metrics("memberstream_redis_rights_missing") == {(): 1}
    system.redis.set("ms:member:nobody", right[b"ms:member:m0"])
    assert (await memberstream(system, "rebuild", "--yes"))[0] == 0
    assert rows(system).keys() == right.keys() | {b"ms:member:nobody"}
    assert system.says().count("+scan +mget") == 1
    system.redis.execute_command("ACL", "SETUSER", "old", "+scan", "+mget")
    assert (await memberstream(system, "rebuild", "--yes"))[0] == 0
    assert rows(system) == right
    assert system.metrics("memberstream_redis_rights_missing") == {(): 0}
    assert system.metrics("memberstream_rebuild_removed_rows_total") == {(): 1}
