"""A real worker that writes into a Redis Cluster, read by both clients."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, event
from nodes import Cluster

from stream.lookup import AsyncLookup, Lookup, Status

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
                        assert {answer.status for answer in found} == {Status.CURRENT}
                        assert [answer.cluster("level") for answer in found] == [1, 2] * 200

        await check()
        pid = system.pid
        victim = cluster.nodes[1]
        victim.client.flushall()
        victim.kill()
        await system.send([Sent(m.encode(), event("patch", patch={"seen": True})) for m in IDS])
        victim.start()
        cluster.wait_until_whole()
        await system.until(lambda: "all members are rewritten" in system.says(), "the loss noticed")
        await system.applied()
        await check()
        assert system.pid == pid
    finally:
        cluster.kill()
