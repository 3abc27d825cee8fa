"""Counts of interactions stay exact where a worker dies and another takes over, and in a Redis Cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from e2e.counting import CAMPAIGNS, Counting, counting, expected, load
from e2e.system import Install, Pair
from keys import KEYS
from nodes import Cluster

from memberstream.stream.projection.count_reader import CountsUnavailable, read
from memberstream.stream.wire.cluster import slot_of


def owned(system: Counting) -> int:
    """How many partitions a worker serves; 0 while it doesn't answer."""
    try:
        return len(system.metrics("memberstream_lag_records"))
    except OSError:
        return 0


@pytest.mark.parametrize("standbys", [0, 1])
async def test_another_worker_takes_over(embedded_pair: Pair, install: Install, standbys: int) -> None:
    """Two workers, a partition each. kill -9 of one under load: the other counts on, from the changelog or from its
    standby's copy; then the dead one comes back with a disk that is behind, and the other is killed."""
    one = await counting(embedded_pair, install)
    one.set(standby_replicas=standbys)
    two = one.colleague()
    part = load(16_000, 0, 1)
    pieces = [part.records[i : i + 2_000] for i in range(0, len(part.records), 2_000)]
    try:
        one.start()
        two.start()
        await two.until(lambda: owned(one) == owned(two) == 1, "a partition for each")
        for victim, heir in ((one, two), (two, one)):
            for i in range(4):
                await heir.send(pieces.pop(0))
                if i == 1:
                    await asyncio.sleep(0.3)
                    victim.kill()
            await heir.until(lambda heir=heir: owned(heir) == 2, "all partitions with the heir")  # type: ignore[misc]
            await heir.applied()
            victim.start()
            await heir.until(lambda: owned(one) == owned(two) == 1, "a partition for each again")
        for piece in pieces:
            await one.send(piece)
        await one.applied()
        assert one.counts() == expected(part.shown, one.n_partitions)
    finally:
        await two.close()
        await one.close()


@pytest.mark.redis_server
async def test_counts_in_a_redis_cluster(embedded_pair: Pair, install: Install, tmp_path: Path) -> None:
    """Campaigns' counts lie on all three nodes and are exact, after kill -9, after each node has come back empty, and
    after all of them were emptied at once."""
    cluster = Cluster(tmp_path / "cluster")
    system = await counting(embedded_pair, install, cluster)
    try:
        system.start()
        first, second = (load(3_000, part, 2) for part in (0, 1))
        await system.send(first.records[:1_500])
        system.kill()
        system.start()
        await system.send(first.records[1_500:])
        await system.applied()
        counts = expected(first.shown, system.n_partitions)
        assert system.counts() == counts
        assert len({slot_of(KEYS.cells(name)) * 3 // 16_384 for name in CAMPAIGNS}) > 1

        def are_back() -> bool:
            try:
                return read(cluster.url, KEYS, list(CAMPAIGNS)) == counts
            except CountsUnavailable:
                return False

        for node in cluster.nodes:
            node.client.flushall()
            node.kill()
            node.start()
            cluster.wait_until_whole()
            await system.until(are_back, "the counts that were lost with a node")
        for node in cluster.emptied_in_turn():
            node.client.flushall()
        await system.until(are_back, "all counts again")
        await system.send(second.records)
        await system.applied()
        assert system.counts() == expected([*first.shown, *second.shown], system.n_partitions)
    finally:
        await system.close()
        cluster.kill()
