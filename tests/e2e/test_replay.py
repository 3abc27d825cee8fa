"""The whole CDNOW history through a worker process: nobody is wrong afterwards, whatever happened to the worker.

Compared are Redis (clusters recomputed by the demo's oracle, which shares no code with the worker; positions) and the
state (documents and offsets in the changelog, against documents made from the purchases).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import pytest
from e2e.definitions import demo_models
from e2e.system import Install, Pair, Place, Sent, System

from memberstream.stream.demo.history import N_MEMBERS, N_PURCHASES, Change, changes, documents, histories
from memberstream.stream.demo.verify import verify

_END_MS = 2_000_000_000_000  # after all purchases


def to_records(events: Sequence[Change]) -> list[Sent]:
    return [Sent(change.member_id.encode(), orjson.dumps(change.envelope)) for change in events]


@dataclass
class Replay:
    """The events of some members, and where they came to lie."""

    events: list[Change]
    places: list[Place]

    def check_redis(self, system: System) -> None:
        """Every member: both clusters as recomputed, and the position of the last event."""
        members = {change.member_id for change in self.events}
        of_members = {member_id: history for member_id, history in histories().items() if member_id in members}
        verification = verify(system.settings.redis_url, of_members)
        assert verification.members == len(members)
        assert verification.wrong == 0
        assert {model: sum(counts.values()) for model, counts in verification.clusters.items()} == {
            "buying_style": len(members),
            "repeat_buyer": len(members),
        }
        last = self.last()
        found = {member_id: position[1:3] for member_id, position in system.positions(list(last)).items()}
        assert found == {member_id: place[:2] for member_id, place in last.items()}

    async def check_state(self, system: System) -> None:
        """Every member in the changelog: the document that the purchases make, the offset of the last event."""
        last, states, expected = self.last(), await system.states(), documents(_END_MS)
        assert {member_id: state.position for member_id, state in states.items()} == {
            member_id: place.offset for member_id, place in last.items()
        }
        wrong = [member_id for member_id, state in states.items() if state.document != expected[member_id]]
        assert wrong == []

    def last(self) -> dict[str, Place]:
        return {change.member_id: place for change, place in zip(self.events, self.places, strict=True)}


async def test_the_whole_history_leaves_no_member_wrong(pair: Pair, install: Install) -> None:
    """69,659 purchases of 23,570 members: every membership and position in Redis is as recomputed, nothing is dead."""
    system = await install(pair, demo_models(), n_partitions=4)
    events = list(changes())
    system.start()
    replay = Replay(events, await system.send(to_records(events)))
    await system.applied()
    replay.check_redis(system)
    assert (len(events), len(replay.last())) == (N_PURCHASES, N_MEMBERS)
    assert system.metrics("memberstream_events_total") == {
        ("applied",): N_PURCHASES,
        ("ignored_version",): 0,
        ("replayed",): 0,
        ("dead_letter",): 0,
    }


KILLS = 5
LOAD_S = 1.0  # how long one sixth of the events takes to be sent; kills come at random moments within


@pytest.mark.long
async def test_five_kills_at_random_moments_leave_no_member_wrong(pair: Pair, install: Install) -> None:
    """kill -9 five times under load, once with the disk lost: Redis and state as recomputed, no position in Redis ever
    went back, nothing became a dead letter."""
    system = await install(pair, demo_models(), n_partitions=4)
    events = list(changes())
    chance = random.Random(19)
    watched = chance.sample(sorted({change.member_id for change in events}), 100)
    watcher = asyncio.create_task(positions_that_went_back(system, watched))
    replay = Replay(events, [])
    parts = [events[len(events) * i // (KILLS + 1) : len(events) * (i + 1) // (KILLS + 1)] for i in range(KILLS + 1)]
    for round_, part in enumerate(parts):
        half = len(part) // 2
        replay.places += await system.send(to_records(part[:half]))  # waits for the worker
        system.start()
        await system.until(lambda: is_at_work(system), "the worker at work")
        load = asyncio.create_task(send_slowly(system, part[half:]))
        if round_ < KILLS:
            await asyncio.sleep(chance.uniform(0, LOAD_S))
            system.kill()
            if round_ == KILLS // 2:
                system.lose_disk()
        replay.places += await load
    await system.applied()
    watcher.cancel()
    [went_back] = await asyncio.gather(watcher, return_exceptions=True)
    assert isinstance(went_back, asyncio.CancelledError), went_back
    replay.check_redis(system)
    await replay.check_state(system)
    assert await system.dead_letters() == []


def is_at_work(system: System) -> bool:
    """Return whether the worker of this start has handled a record."""
    return any(system.metrics("memberstream_events_total").values())


async def send_slowly(system: System, events: Sequence[Change]) -> list[Place]:
    """Send events in 20 portions over LOAD_S seconds."""
    places: list[Place] = []
    start = time.monotonic()
    for i in range(20):
        places += await system.send(to_records(events[len(events) * i // 20 : len(events) * (i + 1) // 20]))
        await asyncio.sleep(max(0.0, start + LOAD_S * (i + 1) / 20 - time.monotonic()))
    return places


async def positions_that_went_back(system: System, member_ids: Sequence[str]) -> None:
    """Look at some members' positions all the time; raises AssertionError when one goes back or vanishes."""
    before: dict[str, tuple[int, int]] = {}
    while True:
        now = {member_id: (p.offset, p.as_of_ms) for member_id, p in system.positions(member_ids).items()}
        back = {m: (before[m], now.get(m)) for m in before if m not in now or now[m] < before[m]}
        assert back == {}
        before = now
        await asyncio.sleep(0.01)
