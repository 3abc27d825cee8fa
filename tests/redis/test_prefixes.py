"""Installations with a prefix each on one Redis: neither sees, changes or may touch what is the other's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis
from announcing import announcing
from believing import believing

from memberstream.models.counts import Cell, Tally
from memberstream.stream.keyspace.formats import Beacon, PublishedModel, membership_field
from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.lookup import AsyncLookup, Lookup, LookupUnavailable
from memberstream.stream.projection.count_reader import CountsUnavailable, read
from memberstream.stream.projection.members import Update
from memberstream.stream.projection.projection import CountProjection, Projection

CELL = Cell("spring", 1_700_000_000_000, "activity@1", 1, False, "exposed", 20_000)
RIGHTS = (
    *("get", "mget", "set", "del", "scan", "hget", "hmget", "hgetall", "hscan", "hset", "hdel"),
    *("evalsha", "script|load", "ping", "select", "info"),
)


async def fill(url: str, prefix: str, cluster: int, n_partitions: int = 1) -> None:
    """Member m in a cluster; and one that the other installation doesn't have."""
    now, keys = time.time_ns() // 1_000_000, Keys(prefix)
    async with Projection(url, keys) as projection:
        await projection.readers.announce(announcing([PublishedModel("activity", 1, "logistic", {})]))
        token = await projection.build.begin(0)
        fields = (membership_field("activity", 1),)
        members = [Update(m, 7, now, None, fields, [(cluster, 5)]) for m in (b"m", prefix.encode())]
        await projection.members.write(0, members)
        await projection.build.beacon({0: Beacon(8, now, now)})
        await projection.build.finish(0, token, n_partitions, now)
    counts = CountProjection(url, keys)
    await counts.counts.write(0, 1, {CELL: Tally(cluster, cluster)})
    await counts.counts.tell_partitions(1)
    await counts.counts.tell({0: Beacon(1, now, now)})
    await counts.calls.close()


@pytest.fixture
def users(redis_url: str) -> Iterator[dict[str, str]]:
    """Prefix → URL of a user that may touch keys of this prefix alone."""
    with redis.Redis.from_url(redis_url) as admin:
        for prefix in ("prod", "prod-2"):
            commands = [f"+{command}" for command in RIGHTS]
            admin.acl_setuser(prefix, enabled=True, passwords=["+p"], keys=[f"{prefix}:*"], commands=commands)
        yield {prefix: f"redis://{prefix}:p@127.0.0.1:{urlsplit(redis_url).port}/0" for prefix in ("prod", "prod-2")}
        for prefix in ("prod", "prod-2"):
            admin.acl_deluser(prefix)


def test_each_prefix_is_a_world_of_its_own(redis_url: str, users: dict[str, str]) -> None:
    """Rows, small keys, counts, scans, and a rebuild of one. One prefix begins like the other."""
    asyncio.run(fill(users["prod"], "prod", 1))
    asyncio.run(fill(users["prod-2"], "prod-2", 2))
    with redis.Redis.from_url(redis_url) as admin:
        for prefix, cluster, other in (("prod", 1, "prod-2"), ("prod-2", 2, "prod")):
            keys = Keys(prefix)
            with Lookup(users[prefix], prefix=prefix) as lookup:
                believing(lookup, admin, keys)
                assert [a.cluster("activity") for a in lookup.get_many(["m", prefix, other])] == [
                    cluster,
                    cluster,
                    None,
                ]
                assert [lookup.get(member).status for member in ("m", other)] == ["current", "unknown member"]
            assert asyncio.run(_ask(users[prefix], prefix)) == cluster
            assert {member for member, _ in asyncio.run(_scan(users[prefix], keys))} == {b"m", prefix.encode()}
            assert read(users[prefix], keys, ["spring"]) == {CELL: Tally(cluster, cluster)}
        asyncio.run(_forget(users["prod-2"], Keys("prod-2")))
        with Lookup(users["prod-2"], prefix="prod-2") as lookup:
            assert lookup.get("m").status == "rebuilding"
        with Lookup(users["prod"], prefix="prod") as lookup:
            assert lookup.get("m").status == "current"
        assert all(key.startswith((b"prod:", b"prod-2:")) for key in admin.keys("*"))


def test_a_wrong_prefix_is_no_answer(redis_url: str, users: dict[str, str]) -> None:
    """A service with another prefix is told `rebuilding`, or that its user may not read these keys."""
    asyncio.run(fill(users["prod"], "prod", 1))
    with Lookup(redis_url) as lookup:
        assert lookup.get("m").status == "rebuilding"
    with Lookup(users["prod"], prefix="prod-2") as lookup, pytest.raises(LookupUnavailable, match=r"Next: .*ACL"):
        lookup.get("m")
    with pytest.raises(CountsUnavailable, match="no counts"):
        read(redis_url, Keys(), ["spring"])
    with pytest.raises(ValueError, match="prefix: expected"):
        Lookup(redis_url, prefix="a:b")
    with pytest.raises(ValueError, match="prefix: expected"):
        AsyncLookup(redis_url, prefix="{a}")


async def _ask(url: str, prefix: str) -> int | None:
    async with AsyncLookup(url, prefix=prefix) as lookup:
        return (await lookup.get("m")).cluster("activity")


async def _scan(url: str, keys: Keys) -> list[tuple[bytes, bytes]]:
    async with Projection(url, keys) as projection:
        page = await projection.rows.scan(None, b"0")
    assert page is not None
    return page[1]


async def _forget(url: str, keys: Keys) -> None:
    async with Projection(url, keys) as projection:
        await projection.build.forget()
