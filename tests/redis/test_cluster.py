"""The same writer and look-ups on a Redis Cluster of three nodes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import redis
from announcing import announcing
from believing import async_believing, believing
from hypothesis import given
from hypothesis import strategies as st
from keys import KEYS
from nodes import Cluster

from memberstream.stream.keyspace.formats import Beacon, PublishedCampaign, PublishedModel, membership_field
from memberstream.stream.lookup import AsyncLookup, Lookup, LookupUnavailable
from memberstream.stream.projection.build import BeaconReply
from memberstream.stream.projection.calls import RedisUnavailable
from memberstream.stream.projection.members import Deletion, Update
from memberstream.stream.projection.projection import Projection
from memberstream.stream.wire.cluster import MAX_ROUNDS, Piece, Scatter, SlotMap, slot_of
from memberstream.stream.wire.replies import ConnectionLost, ReplyError

T = TypeVar("T")
MODEL = PublishedModel("activity", 1, "logistic", {1: "low", 2: "high"})
FIELD = membership_field("activity", 1)


def updates(n: int, position: int, first: int = 0) -> list[Update]:
    now = 1_700_000_000_000
    return [
        Update(b"m%d" % i, position, now, None, (FIELD,), [(1 + position % 2, now)]) for i in range(first, first + n)
    ]


async def build(projection: Projection) -> None:
    """Make the projection whole: one partition, its models, its beacon."""
    projection.readers.announcement = announcing([MODEL], campaigns=[PublishedCampaign("summer", "activity", (2,))])
    token = await projection.build.begin(0)
    assert await projection.build.finish(0, token, 1, 1_700_000_000_000) == "complete"
    await beat(projection)


async def beat(projection: Projection) -> BeaconReply:
    now_ms = time.time_ns() // 1_000_000
    return await projection.build.beacon({0: Beacon(1, now_ms, now_ms)})


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat an outage away, as the worker does; at most 15 s."""
    give_up_at = time.monotonic() + 15
    while True:
        try:
            return await call()
        except (RedisUnavailable, LookupUnavailable):
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.1)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path)
    yield running
    running.kill()


# -- rules, without a server ------------------------------------------------------------------------------------------

A, B, C = ("a", 1), ("b", 2), ("c", 3)
SLOTS_REPLY = [[0, 8_000, [b"a", 1]], [8_001, 16_383, [b"", 2]]]


def test_slots_are_those_of_the_specification() -> None:
    """The examples of the Redis Cluster specification, hash tags included."""
    assert slot_of(b"123456789") == 0x31C3
    assert slot_of(b"{user1000}.following") == slot_of(b"{user1000}.followers") == slot_of(b"user1000")
    assert slot_of(b"foo{}{bar}") != slot_of(b"bar")
    assert slot_of(b"foo{{bar}}zap") == slot_of(b"{bar")
    assert slot_of(b"foo{bar}{zap}") == slot_of(b"bar")


@given(st.lists(st.binary(max_size=8), max_size=20), st.data())
def test_replies_come_back_in_the_order_of_the_pieces(keys: list[bytes], data: st.DataObject) -> None:
    """Whatever is redirected where, and how often."""
    slots = SlotMap(SLOTS_REPLY, ("b", 2))
    scatter = Scatter([Piece(key, b"p%d" % i) for i, key in enumerate(keys)], slots)
    rounds = 0
    while not scatter.is_done:
        rounds += 1
        for parts in scatter.outgoing().values():
            for i, payload, n_replies in parts:
                is_asked = b"ASKING" in payload
                assert n_replies == 1 + is_asked
                redirect = None
                if rounds < MAX_ROUNDS:
                    redirect = data.draw(st.sampled_from([None, "MOVED 7 c:3", "ASK 7 :2"]))
                reply = ReplyError(redirect) if redirect else b"r%d" % i
                scatter.take(i, [b"OK", reply] if is_asked else [reply])
    assert scatter.replies() == [[b"r%d" % i] for i in range(len(keys))]


def test_endless_redirections_are_an_outage() -> None:
    """Two nodes that send each other's keys away: not a loop without end."""
    scatter = Scatter([Piece(b"k", b"p")], SlotMap(SLOTS_REPLY, B))
    for _ in range(MAX_ROUNDS):
        for parts in scatter.outgoing().values():
            scatter.take(parts[0][0], [ReplyError("MOVED 1 a:1")])
    with pytest.raises(ConnectionLost, match="circles"):
        scatter.outgoing()
    with pytest.raises(ConnectionLost, match="cover all slots"):
        SlotMap(SLOTS_REPLY[:1], A).node_of(b"123456789")


# -- for real ---------------------------------------------------------------------------------------------------------


@pytest.mark.redis_server
async def test_what_is_written_is_looked_up_on_every_node(cluster: Cluster) -> None:
    """Members spread over all nodes; guard, tombstones and both clients behave as on one server."""
    assert slot_of(b"any{thing}") == cluster.nodes[0].client.execute_command("CLUSTER KEYSLOT", "any{thing}")
    async with Projection(cluster.url, KEYS) as projection, AsyncLookup(cluster.url) as members:
        await build(projection)
        assert await projection.members.write(0, updates(300, 5)) == 0
        assert await projection.members.write(0, [*updates(2, 4), Deletion(b"m9", 6, 1_700_000_000_000)]) == 2
        ids = [f"m{i}" for i in range(300)] + ["nobody"]
        everywhere = redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
        await async_believing(members, everywhere)
        found = await members.get_many(ids)
        with Lookup(cluster.url) as blocking:
            await asyncio.to_thread(believing, blocking, everywhere)
            assert [a.status for a in await asyncio.to_thread(blocking.get_many, ids)] == [a.status for a in found]
            assert (await asyncio.to_thread(blocking.get, "m7")).cluster("activity") == 2
            seen = [visible.campaigns for visible in await asyncio.to_thread(blocking.visible_many, ["m7", "m9"])]
            assert (
                seen == [visible.campaigns for visible in await members.visible_many(["m7", "m9"])] == [("summer",), ()]
            )
        assert await projection.rows.enlist(b"tried@1", [(b"m7", b"1:5"), (b"m9", b"1:5"), (b"new", b"1:5")]) == [b"m9"]
        await projection.rows.drop([b"m7", b"new"], [b"tried@1"])
        assert all(not node.client.keys("ms:member:new") for node in cluster.nodes)
        assert [a.cluster("activity") for a in found[:9]] == [2] * 9
        assert {ids[i] for i, a in enumerate(found) if a.status == "unknown member"} == {"m9", "nobody"}
        assert (await asyncio.gather(*[members.get(m) for m in ids[:50]]))[3].status == "current"
    assert all(sum(str(key).startswith("ms:member:") for key in node.client.keys("*")) > 50 for node in cluster.nodes)


@pytest.mark.redis_server
async def test_a_slot_that_moves_while_it_is_written_loses_nothing(cluster: Cluster) -> None:
    """MOVED, ASK and what is asked for in between: every write arrives, every look-up is answered right."""
    tagged = [b"{t}%d" % i for i in range(60)]
    now = 1_700_000_000_000
    async with Projection(cluster.url, KEYS) as projection, AsyncLookup(cluster.url) as members:
        await build(projection)

        def all_of(position: int) -> list[Update]:
            return [Update(m, position, now, None, (FIELD,), [(1, now)]) for m in tagged]

        await projection.members.write(0, all_of(1))
        moving = asyncio.create_task(asyncio.to_thread(cluster.move_slot, slot_of(b"{t}"), pause_s=0.05))
        position = 1
        while not moving.done():
            position += 1
            await projection.members.write(0, all_of(position))
            found = await members.get_many([m.decode() for m in tagged])
            assert {a.offset for a in found} == {position}
        await moving
        assert position > 2
        await projection.members.write(0, all_of(position + 1))
        assert {a.offset for a in await members.get_many([m.decode() for m in tagged])} == {position + 1}
    holders = [node for node in cluster.nodes if any("{t}" in key for key in node.client.scan_iter())]
    assert len(holders) == 1


@pytest.mark.redis_server
async def test_a_node_that_comes_back_is_noticed_although_nothing_is_written_there(cluster: Cluster) -> None:
    """Each node in turn restarts, also while the worker is away: no beacon is taken before readers are told that
    nothing is complete. A broken connection alone is none of that."""
    for is_away in (False, True):
        async with Projection(cluster.url, KEYS) as projection:
            await build(projection)
            for node in cluster.nodes:
                assert not (await beat(projection)).restarted
                node.client.client_kill_filter(_type="normal")
                await asyncio.sleep(0.1)
                reply = await patiently(lambda: beat(projection))
                assert (reply.epoch, reply.restarted) == (True, False)
                node.kill()
                node.start()
                cluster.wait_until_whole()
                await asyncio.sleep(0.1)
                if is_away:
                    async with Projection(cluster.url, KEYS) as another:
                        reply = await patiently(lambda: beat(another))
                else:
                    reply = await patiently(lambda: beat(projection))
                assert (reply.epoch, reply.restarted) == (False, True)
                assert not (await beat(projection)).epoch
                await build(projection)


@pytest.mark.redis_server
async def test_a_node_that_dies_is_an_outage_and_its_return_is_noticed(cluster: Cluster) -> None:
    """Writes wait, look-ups say so; once it is back both go on, and the writer knows that something may be lost."""
    async with Projection(cluster.url, KEYS) as projection, AsyncLookup(cluster.url) as members:
        await build(projection)
        await projection.members.write(0, updates(100, 1))
        victim = cluster.nodes[2]
        victim.kill()
        with pytest.raises(RedisUnavailable, match="Next: "):
            await projection.members.write(0, updates(100, 2))
        with pytest.raises(LookupUnavailable, match="Next: "):
            await members.get_many([f"m{i}" for i in range(100)])
        victim.start()
        cluster.wait_until_whole()
        for _ in range(100):
            try:
                await projection.members.write(0, updates(100, 2))
                break
            except RedisUnavailable:
                await asyncio.sleep(0.1)
        assert (await beat(projection)).restarted
        assert {a.offset for a in await members.get_many([f"m{i}" for i in range(100)])} == {2}
        with Lookup(cluster.url) as blocking:
            assert (await asyncio.to_thread(blocking.get, "m1")).offset == 2
    assert KEYS.member(b"m1").decode() in cluster.names()
