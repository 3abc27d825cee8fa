"""Whose keys these are: a writer of another installation writes nothing, whenever it meets them, and says so."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import redis
from announcing import announcing
from keys import KEYS
from nodes import Cluster

from memberstream.models.counts import Cell, Tally
from memberstream.stream.keyspace.formats import Beacon, Behind, PublishedModel, Scored, membership_field
from memberstream.stream.projection.calls import NotOurs
from memberstream.stream.projection.installation import TakeOver, id_of, owner_of
from memberstream.stream.projection.members import Update
from memberstream.stream.projection.projection import CountProjection, Projection

PROD, STAGING = id_of("prod", "kafka-1"), id_of("staging", "kafka-1")
MODEL = announcing([PublishedModel("level", 1, "logistic", {})])
CELL = Cell("spring", 1_700_000_000_000, "level@1", 1, False, "exposed", 20_000)
Write = Callable[[], Awaitable[object]]


def row(offset: int) -> Update:
    """A member at an offset."""
    return Update(b"m", offset, offset, None, (membership_field("level", 1),), [(1, 5)])


def writes(members: Projection, counts: CountProjection) -> dict[str, Write]:
    """Everything that a worker or a command writes."""
    return {
        "rows": lambda: members.members.write(0, [row(99)]),
        "lists": lambda: members.rows.enlist(b"tried@1", [(b"m", b"1:9")]),
        "drop": lambda: members.rows.drop([b"m"], [b"level@1"]),
        "cut": lambda: members.rows.cut([(b"m", b"0:0:7:7:|level@1=1:5")]),
        "models": lambda: members.readers.announce(MODEL._replace(offset=99)),
        "beacon": lambda: members.build.beacon({0: Beacon(99, 99, 99)}),
        "begin": lambda: members.build.begin(0),
        "forget": members.build.forget,
        "reset": lambda: members.build.reset_beacon(0),
        "scored": lambda: members.partitions.tell({0: Scored(9, 9)}, {0: Behind(1, 1, 1, 1)}, {}),
        "counts": lambda: counts.counts.write(0, 9, {CELL: Tally(1, 1)}),
        "counted": lambda: counts.counts.tell({0: Beacon(99, 99, 99)}),
        "partitions": lambda: counts.counts.tell_partitions(9),
        "reset counts": lambda: counts.counts.reset(0),
    }


async def fill(projection: Projection) -> None:
    """Let an installation write what it has."""
    await projection.readers.announce(MODEL)
    token = await projection.build.begin(0)
    await projection.members.write(0, [row(7)])
    await projection.build.beacon({0: Beacon(8, 8, 8)})
    assert await projection.build.finish(0, token, 1, 8) == "complete"


def held(client: redis.Redis) -> dict[str, object]:
    """All that is there."""
    keys: list[str] = sorted(map(str, client.keys("*")))
    return {key: client.get(key) if client.type(key) == "string" else client.hgetall(key) for key in keys}


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client
        client.flushall()


async def test_another_installation_writes_nothing(redis_url: str, client: redis.Redis) -> None:
    """By no call, whichever is its first one; the refusal names both and the ways out. Then it has its own prefix."""
    async with Projection(redis_url, KEYS, PROD) as own:
        await fill(own)
        before = held(client)
        assert before["ms:{meta}:installation"] == PROD
        for name in writes(own, CountProjection(redis_url, KEYS)):
            async with Projection(redis_url, KEYS, STAGING) as other:
                counts = CountProjection(redis_url, KEYS, STAGING)
                for _ in range(2):
                    with pytest.raises(NotOurs, match=f"installation {PROD}, this is {STAGING}: nothing") as caught:
                        await writes(other, counts)[name]()
                assert "Next: give this one a MEMBERSTREAM_REDIS_PREFIX" in str(caught.value)
                assert "memberstream rebuild --take-over" in str(caught.value)
                await counts.calls.close()
            assert held(client) == before, name
        await own.build.beacon({0: Beacon(9, 9, 9)})


async def test_one_that_meets_it_later_holds_and_goes_on(redis_url: str, client: redis.Redis) -> None:
    """Redis was emptied, and another was first: the beacon is refused, then everything. Until it is as it was."""
    await hold_and_go_on(redis_url, client)


@pytest.mark.redis_server
async def test_in_a_cluster_too(tmp_path: Path) -> None:
    """There the rows of most members lie on other nodes than whose the keys are."""
    cluster = Cluster(tmp_path)
    try:
        [client] = [node.client for node in cluster.nodes if _has_meta(node.client)]
        await hold_and_go_on(cluster.url, client)
        async with Projection(cluster.url, KEYS, STAGING) as other:
            with pytest.raises(NotOurs):
                await other.members.write(0, [row(99)])
    finally:
        cluster.kill()


async def hold_and_go_on(url: str, client: redis.Redis) -> None:
    """`client`: of the node with the small keys."""
    async with Projection(url, KEYS, PROD) as own:
        counts = CountProjection(url, KEYS, PROD)
        await fill(own)
        await counts.counts.tell_partitions(1)
        client.flushall()
        await own.build.beacon({0: Beacon(9, 9, 9)})
        assert client.get("ms:{meta}:installation") == PROD, "an emptied Redis doesn't lose whose it is"
        client.set("ms:{meta}:installation", STAGING)
        await own.members.write(0, [row(8)])  # the connection stands, and a row says nothing of it
        with pytest.raises(NotOurs):
            await own.build.beacon({0: Beacon(9, 9, 9)})
        for name, write in writes(own, counts).items():
            if "count" not in name and name != "partitions":
                with pytest.raises(NotOurs):
                    await write()
        with pytest.raises(NotOurs):
            await counts.counts.tell({0: Beacon(9, 9, 9)})
        with pytest.raises(NotOurs):
            await counts.counts.write(0, 9, {CELL: Tally(1, 1)})
        client.set("ms:{meta}:installation", PROD)
        assert await own.members.write(0, [row(9)]) == 0
        assert await counts.counts.write(0, 9, {CELL: Tally(1, 1)})
        await counts.calls.close()


async def test_who_names_no_installation_is_not_asked(redis_url: str, client: redis.Redis) -> None:
    """Keys of a version before have no owner: they become the first writer's, in silence. Readers change nothing."""
    async with Projection(redis_url, KEYS) as before:
        await fill(before)
        assert not client.exists("ms:{meta}:installation")
        assert await owner_of(before.calls) is None
        async with Projection(redis_url, KEYS, PROD) as own:
            await own.calls.admit()
            assert await owner_of(before.calls) == PROD
            assert (await before.partitions.look()).epoch
        assert not await before.readers.announce(MODEL._replace(offset=-2)), "an older version goes on"


async def test_keys_are_taken_over(redis_url: str, client: redis.Redis) -> None:
    """By name, so that nobody takes what has changed hands; then progress is gone, and rows stay until written anew."""
    async with Projection(redis_url, KEYS, PROD) as own:
        await fill(own)
        now = time.time_ns() // 1_000_000
        async with Projection(redis_url, KEYS) as projection:
            over = TakeOver(projection.calls)
            assert await over.silent_ms() == pytest.approx(now - 8, abs=10_000)
            await own.partitions.tell({}, {0: Behind(1, 1, 1, now)}, {})
            assert await over.silent_ms() == pytest.approx(0, abs=10_000)
            await own.partitions.tell({}, {0: Behind(1, 1, 1, 8)}, {})
            await own.build.beacon({0: Beacon(9, now, now)})
            assert await over.silent_ms() == pytest.approx(0, abs=10_000)
            assert not await over.take(STAGING, "x@y"), "it isn't staging's"
            assert await over.take(PROD, STAGING)
            assert await over.owner() == STAGING
            assert await over.silent_ms() is None
        assert sorted(held(client)) == [
            *("ms:member:m", "ms:{meta}:installation", "ms:{meta}:live", "ms:{meta}:models", "ms:{meta}:witness"),
        ]
        with pytest.raises(NotOurs):
            await own.build.beacon({0: Beacon(9, now, now)})
        async with Projection(redis_url, KEYS, STAGING) as new:
            await fill(new)


def _has_meta(client: redis.Redis) -> bool:
    try:
        client.get("ms:{meta}:epoch")
    except redis.exceptions.ResponseError:  # MOVED
        return False
    return True
