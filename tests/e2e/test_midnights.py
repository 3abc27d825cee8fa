"""The CDNOW history with day-counting predictors: at midnight, while nobody buys, everybody is what they are then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
import pytest
from aiokafka.partitioner import DefaultPartitioner
from e2e.definitions import demo_models
from e2e.system import Install, Pair, Sent, System, event

from models.timestamps import DAY_MS, format_ms
from stream.demo.history import N_MEMBERS, Change, changes, day_ms, histories
from stream.demo.oracle import recompute_all
from stream.keyspace import member_key, parse_position

#: After everybody has joined, within the history and long after its end; and whether the worker is killed on the way.
MIDNIGHTS = (
    ("1997-04-02", False),
    ("1997-04-03", True),
    ("1998-03-01", False),
    ("1998-07-02", True),
    ("2000-02-29", True),
)
#: Every fourth week from the day on which the last customer has joined, killed each third time.
FOURTH_WEEKS = tuple((format_ms(day_ms("1997-04-02") + n * 28 * DAY_MS)[:10], n % 3 == 1) for n in range(17))


async def test_at_midnight_all_members_are_as_recomputed(embedded_pair: Pair, install: Install) -> None:
    """At some midnights of a replay all 23,570 members in Redis have the clusters that a second implementation gives
    for that moment, also when the worker is killed with -9 while members are due (once with its local state lost)."""
    await replay(await install(embedded_pair, demo_models()), MIDNIGHTS)


@pytest.mark.long
async def test_every_fourth_week_all_members_are_as_recomputed(embedded_pair: Pair, install: Install) -> None:
    """The same through the whole history."""
    await replay(await install(embedded_pair, demo_models()), FOURTH_WEEKS)


async def replay(system: System, midnights: Sequence[tuple[str, bool]]) -> None:
    """Send the history up to each midnight, kill the worker if asked to, and compare everybody once nobody is due."""
    system.start()
    everybody, events, clocks = histories(), list(changes()), clock_members(system.n_partitions)
    assert len(everybody) == N_MEMBERS
    for i, (midnight, is_killed) in enumerate(midnights):
        now_ms = day_ms(midnight)
        upto = [change for change in events if change.at_ms <= now_ms]
        await system.send([to_record(change) for change in upto])
        del events[: len(upto)]
        await system.send([Sent(c, event("replace", at=now_ms, document={})) for c in clocks])
        await system.applied()
        if is_killed:
            await asyncio.sleep(0.3)
            system.kill()
            if i == len(midnights) - 1:
                system.lose_disk()
            assert n_due(system, list(everybody), now_ms) > 0, "killed too late to show anything"
            system.start()
        await system.until(lambda now_ms=now_ms: not n_due(system, list(everybody), now_ms), f"{midnight}, everybody")
        assert held(system, list(everybody)) == recompute_all(everybody, dict.fromkeys(everybody, now_ms))


def to_record(change: Change) -> Sent:
    return Sent(change.member_id.encode(), orjson.dumps(change.envelope))


def clock_members(n_partitions: int) -> list[bytes]:
    """Return a member in each partition whose events only move the clock."""
    partitions, choose, found = list(range(n_partitions)), DefaultPartitioner(), {}
    for i in range(100):
        found.setdefault(choose(b"clock%d" % i, partitions, partitions), b"clock%d" % i)
    return list(found.values())


def read(system: System, member_ids: Sequence[str]) -> list[dict[str, str]]:
    """Return members' hashes."""
    pipeline = system.redis.pipeline(transaction=False)
    for member_id in member_ids:
        pipeline.hgetall(member_key(member_id.encode()))
    return [{k.decode(): v.decode() for k, v in fields.items()} for fields in pipeline.execute()]


def n_due(system: System, member_ids: Sequence[str], now_ms: int) -> int:
    """Return how many members' memberships have ended at that time."""
    ends = [parse_position(fields["pos"].encode()).valid_until_ms for fields in read(system, member_ids)]
    return sum(end is not None and end <= now_ms for end in ends)


def held(system: System, member_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return member → model → cluster."""
    return {
        member_id: {name.split("@")[0]: int(value.split(":")[0]) for name, value in fields.items() if name != "pos"}
        for member_id, fields in zip(member_ids, read(system, member_ids), strict=True)
    }
