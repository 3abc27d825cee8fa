"""The CDNOW history with day-counting predictors: at midnight, while nobody buys, everybody is what they are then.

MIDNIGHTS_EACH (20) takes each so-manieth member, for nobody's timers hang on another's; 1 takes all 23,570.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

import orjson
import pytest
from aiokafka.partitioner import DefaultPartitioner
from e2e.definitions import demo_models
from e2e.system import Install, Pair, Sent, System, event
from keys import KEYS

from memberstream.models.timestamps import DAY_MS, format_ms
from memberstream.stream.demo.history import N_MEMBERS, Change, changes, day_ms, histories
from memberstream.stream.demo.oracle import BOOSTED, MODELS, recompute_all
from memberstream.stream.keyspace.formats import parse_position, parse_row

FIRST, LAST = "1997-01-02", "1998-07-01"
ALL = (*MODELS, BOOSTED)
AFTER = ("1998-07-02", "2000-02-29")  # when nobody buys any more


@pytest.mark.long
async def test_at_every_midnight_all_members_are_as_recomputed(embedded_pair: Pair, install: Install) -> None:
    """At each of the 546 midnights of a replay, and long after its end, all members in Redis, 1,179 from April on, have
    the clusters of a second implementation for that moment, also where kill -9 met the worker meanwhile."""
    midnights = [*range(day_ms(FIRST), day_ms(LAST) + 1, DAY_MS), *map(day_ms, AFTER)]
    await replay(await install(embedded_pair, demo_models(boosted=True)), midnights, kill_each=12)


async def replay(system: System, midnights: Sequence[int], kill_each: int) -> None:
    """Send the history up to each midnight and compare everybody once nobody is due; kill the worker with -9 each
    so-manieth time, a moment after it was told of midnight, and each third time take its local state away."""
    system.start()
    each = int(os.environ.get("MIDNIGHTS_EACH", "20"))
    everybody = dict(islice(histories().items(), 0, None, each))
    events = deque(change for change in changes() if change.member_id in everybody)
    clocks = clock_members(system.n_partitions)
    assert len(everybody) == -(-N_MEMBERS // each)
    dice, n_kills, n_killed_while_due = random.Random(len(midnights)), 0, 0
    for i, now_ms in enumerate(midnights):
        records = []
        while events and events[0].at_ms <= now_ms:
            records.append(to_record(events.popleft()))
        await system.send([*records, *[Sent(c, event("replace", at=now_ms, document={})) for c in clocks]])
        joined = [member_id for member_id, history in everybody.items() if history.joined_ms <= now_ms]
        if i % kill_each == kill_each - 1:
            await asyncio.sleep(0.3 * dice.random())
            system.kill()
            n_kills += 1
            n_killed_while_due += are_due(read(system, joined), now_ms)
            if n_kills % 3 == 0:
                system.lose_disk()
            system.start()
        await system.applied()
        held: list[dict[str, str]] = []

        def is_nobody_due(joined: list[str] = joined, now_ms: int = now_ms, held: list[dict[str, str]] = held) -> bool:
            held[:] = read(system, joined)
            return not are_due(held, now_ms)

        await system.until(is_nobody_due, f"{format_ms(now_ms)}, everybody", timeout_s=120)
        assert clusters(joined, held) == recompute_all(everybody, dict.fromkeys(joined, now_ms), ALL), format_ms(now_ms)
    assert len(joined) == len(everybody)
    assert n_killed_while_due > 0, "always killed too late to show anything"


def to_record(change: Change) -> Sent:
    return Sent(change.member_id.encode(), orjson.dumps(change.envelope))


def clock_members(n_partitions: int) -> list[bytes]:
    """Return a member in each partition whose events only move the clock."""
    partitions, choose, found = list(range(n_partitions)), DefaultPartitioner(), dict[int, Any]()
    for i in range(100):
        found.setdefault(choose(b"clock%d" % i, partitions, partitions), b"clock%d" % i)
    return list(found.values())


def read(system: System, member_ids: Sequence[str]) -> list[dict[str, str]]:
    """Return members' rows."""
    rows = system.redis.mget([KEYS.member(member_id.encode()) for member_id in member_ids])
    return [{k.decode(): v.decode() for k, v in parse_row(row).items()} for row in rows]


def are_due(held: Sequence[dict[str, str]], now_ms: int) -> bool:
    """Return whether the memberships of one of these have ended at that time; who isn't there yet has none."""
    ends = [parse_position(fields["pos"].encode()).valid_until_ms for fields in held if fields]
    return any(end is not None and end <= now_ms for end in ends)


def clusters(member_ids: Sequence[str], held: Sequence[dict[str, str]]) -> dict[str, dict[str, int]]:
    """Return member → model → cluster."""
    return {
        member_id: {name.split("@")[0]: int(value.split(":")[0]) for name, value in fields.items() if name != "pos"}
        for member_id, fields in zip(member_ids, held, strict=True)
    }
