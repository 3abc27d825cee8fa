"""How many members are in which cluster: what workers tell in Redis, and what the console makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest
from unit.consoles import NOON_MS, a_shop
from unit.shell import Disk, Process, Record
from unit.test_doctor import WELL

from memberstream.models.campaigns import Campaign
from memberstream.models.terms import Terms
from memberstream.stream.console.sizes import Reach, Size, reach, sizes
from memberstream.stream.keyspace.formats import Sizes
from memberstream.stream.members.redis_watch import RedisWatch

LEVEL, NEXT = b"level@1", b"level@2"


class Counted:
    """A roll call of many partitions and clusters."""

    def __init__(self, n_partitions: int, n_clusters: int) -> None:
        self._n_partitions, self._n_clusters = n_partitions, n_clusters

    def counted(self) -> list[int]:
        """Return the partitions."""
        return list(range(self._n_partitions))

    def cells(self) -> list[tuple[str, list[int]]]:
        """Return the clusters of two versions."""
        return [("a", [1]), ("b", list(range(self._n_clusters - 1)))]

    def sizes(self, partition: int, cells: object) -> dict[bytes, dict[int, int]]:
        """Return something of a partition."""
        return {b"%d" % partition: {}}


@pytest.mark.parametrize(
    ("n_partitions", "n_clusters", "n_turns"),
    [(0, 4, 1), (1, 4, 1), (250, 4, 1), (251, 4, 2), (9, 1_000, 9), (40, 1_000, 10)],
)
def test_sizes_are_told_little_by_little(n_partitions: int, n_clusters: int, n_turns: int) -> None:
    """At most 1,000 counts a second; but however many there are, each partition's turn comes within ten seconds."""
    roll_call = cast(Any, Counted(n_partitions, n_clusters))
    parts = dict.fromkeys(("writer", "background", "rebuild", "backfill", "lag"), cast(Any, None))
    watch = RedisWatch(roll_call=roll_call, wall_ms=lambda: 7, **parts)
    turns = [watch._sizes() for _ in range(n_turns)]
    assert sorted(p for turn in turns for p in turn) == list(range(n_partitions))
    assert max(map(len, turns)) <= max(1_000 // n_clusters, -(-n_partitions // 10))
    assert all(told == Sizes(7, {b"%d" % p: {}}) for turn in turns for p, told in turn.items())


def test_uncounted_members_have_no_sizes() -> None:
    """An older version has written the state: until all are counted, a sum would lack members."""

    async def begun() -> Process:
        process = Process(Disk(), [])
        await process.run([[Record(0, b"a", b'{"v":1,"op":"replace","document":{}}')]])
        return process

    process = asyncio.run(begun())
    assert process.redis_watch._sizes().keys() == {0}
    process.state.census(0).is_whole = False
    assert process.redis_watch._sizes() == {}


def told(clusters: dict[bytes, dict[int, int]], age_ms: int = 0) -> Sizes:
    return Sizes(WELL.now_ms - age_ms, clusters)


def test_sizes_are_added_up_over_the_partitions_that_tell() -> None:
    """By version; what is older than 30 s is of a worker that is gone, and says nothing. What is missing is named."""
    both = {0: told({LEVEL: {1: 5, 2: 7}, NEXT: {1: 12}}), 1: told({LEVEL: {1: 1, 2: 0}}, 900)}
    registry, topic = a_shop(), "docs"
    assert sizes(replace(WELL, sizes=both), topic, registry) == {
        "level@1": Size({1: 6, 2: 7}, 13, WELL.now_ms - 900, ""),
        "level@2": Size({1: 12}, 12, WELL.now_ms, "partition 1"),  # its worker goes by the new version in a second
    }
    gone = both | {0: told({LEVEL: {1: 5, 2: 7}}, 30_001), 7: told({LEVEL: {1: 50}})}  # 7 isn't of this topic
    assert sizes(replace(WELL, sizes=gone), topic, registry) == {
        "level@1": Size({1: 1, 2: 0}, 1, WELL.now_ms - 900, "partition 0")
    }
    assert sizes(WELL, topic, registry) == {}
    untold = replace(WELL, sizes=both, topics={})  # Kafka is away: the beacons say which partitions there are
    assert sizes(untold, topic, registry)["level@1"].members == 13


def campaign(holdout: int, model: str = "level", clusters: tuple[int, ...] = (1, 9)) -> Campaign:
    return Campaign("c", Terms(model, clusters, holdout=holdout), 0)


def test_how_many_members_a_campaign_reaches() -> None:
    """By the live version's clusters. Who is held out is chance, so with a holdout it is an estimate."""
    size = Size({1: 1_001, 2: 500}, 1_501, NOON_MS, "")
    known, registry = {"level@1": size, "level@2": Size({1: 1}, 1, NOON_MS, "")}, a_shop()
    assert reach(registry, campaign(0), known) == Reach(1_001, 0, False, size)
    partly = reach(registry, campaign(1_000), known)
    assert partly == Reach(901, 100, True, size)
    assert partly.members == "about 901 members"
    assert reach(registry, campaign(10_000), known) == Reach(0, 1_001, False, size)
    assert reach(registry, campaign(0, clusters=(9,)), known) == Reach(0, 0, False, size)
    assert reach(registry, campaign(0), {}) is None
    assert reach(registry, campaign(0, "buyers"), known) is None  # a list, and not live
    assert reach(registry, campaign(0, "gone"), known) is None
