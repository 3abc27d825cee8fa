"""A real worker that writes into a Redis Cluster, read by both clients."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
import redis
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, event
from nodes import Cluster, Sentinel

from memberstream.stream.lookup import AsyncLookup, Lookup

pytestmark = pytest.mark.redis_server
IDS = [f"m{i}" for i in range(400)]


async def test_members_are_right_also_after_a_node_has_come_back_empty(
    embedded_pair: Pair, install: Install, tmp_path: Path
) -> None:
    """A third of the members lie on each node. One dies and comes back without data: the worker waits, then writes all
    members again, and nobody reads anything wrong."""
    cluster = Cluster(tmp_path / "cluster")
    try:
        system = await install(embedded_pair, [level()])
        system.set(redis_url=cluster.url)
        system.redis = redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
        await system.send([Sent(m.encode(), event("replace", document={"x": i % 2})) for i, m in enumerate(IDS)])
        system.start()
        await system.applied()

        async def check() -> None:
            with Lookup(cluster.url) as blocking:
                async with AsyncLookup(cluster.url) as members:
                    for found in (await members.get_many(IDS), await asyncio.to_thread(blocking.get_many, IDS)):
                        assert {answer.status for answer in found} == {"current"}
                        assert [answer.cluster("level") for answer in found] == [1, 2] * 200

        await check()
        pid = system.pid
        victim = cluster.nodes[1]
        victim.client.flushall()
        victim.kill()
        await system.send([Sent(m.encode(), event("patch", patch={"seen": True})) for m in IDS])
        victim.start()
        cluster.wait_until_whole()
        await system.until(lambda: "as Redis lacked them" in system.says(), "the loss noticed")
        await system.applied()
        await check()
        assert system.pid == pid
    finally:
        cluster.kill()


async def test_a_node_with_older_data_is_found_out_while_no_worker_was_there(
    embedded_pair: Pair, install: Install, tmp_path: Path
) -> None:
    """A node that holds none of the small keys comes back with members that were deleted since: the worker that starts
    after it removes them."""
    cluster = Cluster(tmp_path / "cluster")
    try:
        system = await install(embedded_pair, [level()])
        system.set(redis_url=cluster.url)
        system.redis = redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
        await system.send([Sent(m.encode(), event("replace", document={"x": 1})) for m in IDS])
        system.start()
        await system.applied()
        victim = cluster.emptied_in_turn()[0]
        old = tmp_path / "old"
        shutil.copytree(victim.directory / "appendonlydir", old)
        await system.send([Sent(m.encode(), event("delete")) for m in IDS[:200]])
        await system.applied()
        system.stop()
        for node in cluster.nodes:
            for key in node.client.scan_iter("ms:member:*"):  # as if a day had passed
                if str(node.client.get(key)).endswith(":gone"):
                    node.client.delete(key)
        right = cluster.names()
        victim.kill()
        shutil.rmtree(victim.directory / "appendonlydir")
        shutil.copytree(old, victim.directory / "appendonlydir")
        victim.start()
        cluster.wait_until_whole()
        assert len(cluster.names()) > len(right)
        system.start()
        await system.until(lambda: cluster.names() == right and system.is_applied(), "the deleted gone")
    finally:
        cluster.kill()


async def test_a_fail_over_to_an_older_replica_is_found_out(
    embedded_pair: Pair, install: Install, tmp_path: Path
) -> None:
    """The replica missed deletions and new members; it takes over, and all is right without any further event."""
    sentinel = Sentinel(tmp_path / "sentinel")
    try:
        system = await install(embedded_pair, [level()])
        system.set(redis_url=sentinel.url)
        primary, replica = sentinel.servers
        system.redis = redis.Redis(port=primary.port)
        await system.send([Sent(m.encode(), event("replace", document={"x": 1})) for m in IDS[:300]])
        system.start()
        await system.applied()
        sentinel.client.execute_command("SENTINEL", "SET", "main", "down-after-milliseconds", "2000")
        primary.client.config_set("requirepass", "x")  # for new connections: the replica's next one
        system.redis.client_kill_filter(_type="replica")
        await system.send([Sent(m.encode(), event("delete")) for m in IDS[:100]])
        await system.send([Sent(m.encode(), event("replace", document={"x": 1})) for m in IDS[300:]])
        await system.applied()
        primary.kill()
        system.redis = redis.Redis(port=replica.port)
        right = {f"ms:member:{m}".encode() for m in IDS[100:]}
        await system.until(lambda: set(system.redis.keys("ms:member:*")) == right and system.is_applied(), "all right")
    finally:
        sentinel.kill()
