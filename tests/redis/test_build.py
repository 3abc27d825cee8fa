"""The build protocol, beacons, and every way in which Redis can fail the writer."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from announcing import announcing
from keys import KEYS
from servers import RedisServer

from memberstream.stream.keyspace.formats import (
    Announcement,
    Beacon,
    Behind,
    KeyspaceError,
    PublishedModel,
    Scored,
    Sizes,
    membership_field,
)
from memberstream.stream.projection.build import BuiltMark
from memberstream.stream.projection.calls import RedisFault, RedisUnavailable
from memberstream.stream.projection.members import Update
from memberstream.stream.projection.projection import Projection

FIELD = membership_field("repeat_buyer", 1)
# Commands with which a writer introduces itself.
N_HELLO = 1 + len(Projection("redis://127.0.0.1", KEYS).calls._scripts)
MODELS = [
    PublishedModel("repeat_buyer", 1, "logistic", {1: "low", 2: "high"}),
    PublishedModel("repeat_buyer", 10, "logistic", {1: "low", 2: "höher"}),
    PublishedModel("buying_style", 2, "kmeans", {}),
]


def one(offset: int) -> list[Update]:
    return [Update(b"m", offset, 1, None, (FIELD,), [(1, 1)])]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, protocol=2, decode_responses=True) as client:
        yield client


async def test_the_epoch_appears_with_the_last_partition(redis_url: str, client: redis.Redis) -> None:
    """Two partitions: the first waits, the second completes; then nothing of the building is left."""
    async with Projection(redis_url, KEYS) as projection:
        await projection.readers.announce(announcing(MODELS))
        beacons = {0: Beacon(5, 1, 1), 1: Beacon(6, 1, 1)}
        assert (await projection.build.beacon(beacons))[:2] == (False, {0: None, 1: None})
        first, second = await projection.build.begin(0), await projection.build.begin(1)
        assert await projection.build.finish(0, first, 2, 77) == "waiting"
        assert await projection.build.finish(0, first, 2, 77) == "waiting"  # a repeated call
        assert (await projection.build.beacon(beacons))[:2] == (
            False, {0: BuiltMark(first, True), 1: BuiltMark(second, False)},
        )  # fmt: skip
        assert await projection.build.finish(1, second, 2, 78) == "complete"
        assert (await projection.build.beacon(beacons))[:2] == (True, {0: None, 1: None})
    assert client.get("ms:{meta}:epoch") == "78"
    assert not client.exists("ms:{meta}:built")


async def test_a_worker_that_joins_takes_nothing_for_a_restart(redis_url: str, client: redis.Redis) -> None:
    """It knows no witness yet, and several of its calls find that out at the same moment: what is complete stays so."""
    beacons = {0: Beacon(5, 1, 1)}
    async with Projection(redis_url, KEYS) as first:
        await asyncio.gather(
            first.build.begin(0), first.build.beacon(beacons), first.build.begin(0), first.build.beacon(beacons)
        )
        assert await first.build.finish(0, await first.build.begin(0), 1, 77) == "complete"
        witness = client.get("ms:{meta}:witness")
        for _ in range(10):
            async with Projection(redis_url, KEYS) as second:
                calls: list[Any] = [second.build.beacon(beacons) for _ in range(3)]
                replies = await asyncio.gather(*calls, second.build.begin(0))
                assert [(reply.epoch, reply.restarted) for reply in replies[:3]] == [(True, False)] * 3
        assert client.get("ms:{meta}:witness") == witness


async def test_redis_emptied_while_building_restarts_everyone(redis_url: str, client: redis.Redis) -> None:
    """FLUSHALL between any two steps: no one completes a projection that has lost members."""
    async with Projection(redis_url, KEYS) as projection:
        await projection.readers.announce(announcing(MODELS))
        done, open_ = await projection.build.begin(0), await projection.build.begin(1)
        await projection.members.write(0, one(1))
        assert await projection.build.finish(0, done, 2, 1) == "waiting"
        client.flushall()
        assert await projection.build.finish(1, open_, 2, 2) == "restart"
        two = {0: Beacon(1, 1, 1), 1: Beacon(1, 1, 1)}
        assert (await projection.build.beacon(two))[:2] == (False, {0: None, 1: None})
        open_ = await projection.build.begin(1)
        assert await projection.build.finish(1, open_, 2, 3) == "waiting"  # partition 0 has to build again, too
        done = await projection.build.begin(0)
        client.flushall()
        done = await projection.build.begin(0)
        assert await projection.build.finish(0, done, 2, 4) == "waiting"
        assert not client.exists("ms:{meta}:epoch")
        assert await projection.build.finish(1, await projection.build.begin(1), 2, 5) == "complete"
    assert client.hgetall("ms:{meta}:live") == {"repeat_buyer": "10", "buying_style": "2"}  # written by begin


async def test_a_new_owner_shuts_the_old_one_out(redis_url: str) -> None:
    """A worker that lost the partition while building can't finish it for the new owner."""
    async with Projection(redis_url, KEYS) as old, Projection(redis_url, KEYS) as new:
        late = await old.build.begin(0)
        token = await new.build.begin(0)
        assert await old.build.finish(0, late, 1, 1) == "restart"
        assert await new.build.finish(0, token, 1, 2) == "complete"
        assert await old.build.finish(0, late, 1, 3) == "restart"


async def test_a_late_beacon_changes_nothing_and_each_tells_of_the_one_before(
    redis_url: str, client: redis.Redis
) -> None:
    """A worker that wakes up late can't make a partition look dead or alive; an owner that misses its own last beacon
    learns so that Redis went back in time."""
    async with Projection(redis_url, KEYS) as projection:
        await projection.build.beacon({0: Beacon(10, 100, 1_000), 1: Beacon(0, 5, 1_000)})
        await projection.build.beacon({0: Beacon(12, 90, 999)})
        assert client.hget("ms:{meta}:beacons", "0") == "10:100:1000"
        assert (await projection.build.beacon({0: Beacon(7, 120, 1_001)})).last == {0: Beacon(10, 100, 1_000)}
        assert client.hgetall("ms:{meta}:beacons") == {"0": "10:120:1001", "1": "0:5:1000"}
        assert await projection.build.beacon({}) == (False, {}, {}, False)


async def test_models_are_replaced_whole_and_never_by_what_is_older(redis_url: str, client: redis.Redis) -> None:
    """What is no longer published goes; the live versions are those that are told; who is behind changes nothing."""
    async with Projection(redis_url, KEYS) as projection:
        assert await projection.readers.announce(Announcement(3, tuple(MODELS), {"repeat_buyer": 1, "buying_style": 2}))
        assert client.hgetall("ms:{meta}:live") == {"repeat_buyer": "1", "buying_style": "2"}
        assert client.hgetall("ms:{meta}:models") == {
            "repeat_buyer@1": '{"type":"logistic","clusters":{"1":"low","2":"high"}}',
            "repeat_buyer@10": '{"type":"logistic","clusters":{"1":"low","2":"höher"}}',
            "buying_style@2": '{"type":"kmeans","clusters":{}}',
        }
        late = Announcement(2, (), {})
        assert not await projection.readers.announce(late)
        assert client.hgetall("ms:{meta}:live") == {"repeat_buyer": "1", "buying_style": "2"}
        for _ in range(2):
            assert await projection.readers.announce(Announcement(4, tuple(MODELS[:1]), {"repeat_buyer": 1}))
            assert client.hgetall("ms:{meta}:live") == {"repeat_buyer": "1"}
            assert client.hkeys("ms:{meta}:models") == ["repeat_buyer@1"]
        assert await projection.readers.announce(Announcement(5, (), {}))
        assert not client.exists("ms:{meta}:live", "ms:{meta}:models")


async def test_how_far_partitions_are_scored(redis_url: str) -> None:
    """What workers tell is read back; a later word of a partition replaces its earlier one alone."""
    async with Projection(redis_url, KEYS) as projection:
        assert (await projection.partitions.scored(), await projection.partitions.behind()) == ({}, {})
        await projection.partitions.tell({0: Scored(-1, 10), 3: Scored(7, 0)}, {}, {})
        await projection.partitions.tell({0: Scored(7, 5, (3, 6))}, {0: Behind(4, 9, 0, 17)}, {})
        await projection.partitions.tell({}, {3: Behind(None, None, None, 18)}, {})
        assert await projection.partitions.scored() == {0: Scored(7, 5, (3, 6)), 3: Scored(7, 0)}
        assert await projection.partitions.behind() == {0: Behind(4, 9, 0, 17), 3: Behind(None, None, None, 18)}


async def test_how_many_members_are_in_which_cluster(redis_url: str, client: redis.Redis) -> None:
    """What workers tell of a partition replaces all that they told of it before; nothing else is touched."""
    first = Sizes(17, {b"level@1": {1: 20, 2: 0}, b"style@3": {0: 9}})
    async with Projection(redis_url, KEYS) as projection:
        assert await projection.partitions.sizes() == {}
        await projection.partitions.tell({}, {}, {0: first, 3: Sizes(17, {b"level@1": {1: 1, 2: 2}})})
        await projection.partitions.tell({}, {}, {3: Sizes(18, {})})
        assert await projection.partitions.sizes() == {0: first, 3: Sizes(18, {})}
        assert client.hget("ms:{meta}:sizes", "0") == "17|level@1=1:20,2:0|style@3=0:9"
        client.hset("ms:{meta}:sizes", "0", "17|level@1")
        with pytest.raises(KeyspaceError, match=r"sizes: expected <written_ms>\|<model>@<version>=<cluster>"):
            await projection.partitions.sizes()


async def test_fields_of_retired_versions_go(redis_url: str, client: redis.Redis) -> None:
    """Only the named fields of the named members, and what was before; one that has none, or isn't there, is fine."""
    async with Projection(redis_url, KEYS) as projection:
        client.set("ms:member:a", "0:0:1:1:|m@1=1:1|m@2=2:1|m@1~=3:0|m@2~=1:0||x@9=4:1|x@1=5:1")
        client.set("ms:member:b", "0:0:1:1:|m@1=1:1")
        await projection.rows.drop([b"a", b"nobody"], [b"m@1", b"x@9"])
    assert client.get("ms:member:a") == "0:0:1:1:|m@2=2:1|m@2~=1:0||x@1=5:1"
    assert client.get("ms:member:b") == "0:0:1:1:|m@1=1:1"
    assert not client.exists("ms:member:nobody")


async def test_forgotten_scripts_are_loaded_again(redis_url: str, client: redis.Redis) -> None:
    """SCRIPT FLUSH (or a failover to a replica that never saw them) is not an error for the caller."""
    async with Projection(redis_url, KEYS) as projection:
        assert await projection.members.write(0, one(5)) == 0
        client.script_flush()
        many = [Update(b"m%d" % i, 1, 1, None, (FIELD,), [(1, 1)]) for i in range(100)]
        assert await projection.members.write(0, [*one(4), *many]) == 1
        client.script_flush()
        assert (await projection.build.beacon({0: Beacon(1, 1, 1)})).epoch is False
    assert client.dbsize() == 103  # and the witness


async def test_full_memory_is_an_outage_and_ends(redis_url: str, client: redis.Redis) -> None:
    """OOM: named, with the action; the same call succeeds once there is room."""
    async with Projection(redis_url, KEYS) as projection:
        await projection.calls.ping()
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(RedisUnavailable, match=r"OOM.*Next: .*maxmemory"):
                await projection.members.write(0, one(1))
        finally:
            client.config_set("maxmemory", "0")
        assert await projection.members.write(0, one(1)) == 0


async def test_a_replica_is_an_outage(redis_url: str, client: redis.Redis) -> None:
    """READONLY after a failover, and MASTERDOWN where stale reads are forbidden."""
    async with Projection(redis_url, KEYS) as projection:
        await projection.calls.ping()
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(RedisUnavailable, match=r"READONLY.*Next: .*primary"):
                await projection.members.write(0, one(1))
            client.config_set("replica-serve-stale-data", "no")
            with pytest.raises(RedisUnavailable, match=r"MASTERDOWN.*Next: "):
                await projection.members.write(0, one(1))
        finally:
            client.config_set("replica-serve-stale-data", "yes")
            client.execute_command("REPLICAOF", "NO", "ONE")
        assert await projection.members.write(0, one(1)) == 0


async def test_a_foreign_key_is_a_fault_not_an_outage(redis_url: str, client: redis.Redis) -> None:
    """Waiting would not help: the worker has to stop and say what it found."""
    client.hset(KEYS.member(b"m"), "not", "ours")
    async with Projection(redis_url, KEYS) as projection:
        with pytest.raises(RedisFault, match=r"WRONGTYPE.*Next: .*a database of its own"):
            await projection.members.write(0, one(1))


async def test_a_stopped_server_is_an_outage_and_the_writer_comes_back(
    own_redis: Callable[..., RedisServer],
) -> None:
    """Killed under the writer, refused while down, served again after the restart: no other exception escapes."""
    server = own_redis()
    async with Projection(server.url, KEYS) as projection:
        assert await projection.members.write(0, one(1)) == 0
        server.kill()
        with pytest.raises(RedisUnavailable, match="Next: "):
            await projection.members.write(0, one(2))
        with pytest.raises(RedisUnavailable, match=r"no connection.*Next: check that it runs"):
            await projection.members.write(0, one(2))
        server.start()
        assert await projection.members.write(0, one(2)) == 0


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("LOADING Redis is loading the dataset in memory", "wait until it has"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "resharding"),
        ("CLUSTERDOWN The cluster is down", "missing nodes"),
        ("NOAUTH Authentication required.", "password"),
        ("NOPERM this user has no permissions", "docs/redis.md"),
    ],
)
async def test_errors_of_a_server_that_says_only_that(code: str, action: str) -> None:
    """Errors that are hard to force, from a server that gives no other answer, also while logging in."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(b"-%b\r\n" % code.encode() * N_HELLO)
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        Projection(_url(server), KEYS) as projection,
    ):
        with pytest.raises(RedisUnavailable, match=rf"{code.split()[0]}.*Next: .*{action}"):
            await projection.members.write(0, one(1))


async def test_silence_is_an_outage_for_everyone_waiting() -> None:
    """A hung server: all calls on the connection end after the time allowed, none waits for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(b"+OK\r\n" * N_HELLO)
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        Projection(_url(server), KEYS, timeout_s=0.2) as projection,
    ):
        calls = [projection.members.write(p, one(1)) for p in range(3)]
        for error in await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5):
            assert isinstance(error, RedisUnavailable)
            assert "no answer within 0.2 s" in str(error)


async def test_an_outage_text_never_holds_the_password() -> None:
    """It goes to logs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"redis://worker:s3cret@127.0.0.1:{taken.getsockname()[1]}/2"
        async with Projection(url, KEYS) as projection:
            with pytest.raises(RedisUnavailable) as caught:
                await projection.calls.ping()
    assert "s3cret" not in str(caught.value)
    assert "/2: no connection" in str(caught.value)


def _url(server: asyncio.Server) -> str:
    address: Any = server.sockets[0].getsockname()
    return f"redis://127.0.0.1:{address[1]}"
