"""What changes without an event: the set of models, and the time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from e2e.definitions import level, recent
from e2e.system import Install, Pair, Sent, event

from memberstream.stream.lookup import Lookup

DONE = "all members are scored with the models as of now"
IDS = [f"m{i}" for i in range(700)]  # more than one slice of a rebuild


async def test_new_models_reach_all_members_without_an_event(embedded_pair: Pair, install: Install) -> None:
    """A new version and a new model while the worker is away: every member has memberships of all of them, in Redis and
    in the state; the old version's keep their `since`; a restart without a change rescores nobody."""
    system = await install(embedded_pair, [level()])
    system.start()
    at = {m: f"2020-01-{1 + i % 28:02}" for i, m in enumerate(IDS)}
    await system.send([Sent(m.encode(), event("replace", at=at[m], document={"x": i % 4})) for i, m in enumerate(IDS)])
    await system.send([Sent(m.encode(), event("patch", at="2020-02-01", patch={"y": 1})) for m in IDS[::2]])
    await system.applied()
    before = {m: system.held(m) for m in IDS}
    system.stop()
    await system.publish(level(version=2, threshold=0.9), level(name="other"))
    system.start()
    with Lookup(system.settings.redis_url) as lookup:

        def is_switched() -> bool:
            answers = lookup.get_many(IDS)
            # Forced to be live before they are there: until then nobody is told that a known member has no cluster.
            assert all(a.cluster("level") is not None for a in answers if a.status == "current")
            return all("other" in a.memberships and a.cluster("level") for a in answers)

        await system.until(is_switched, "both models live")
    await system.until(lambda: system.says().count(DONE) == 4, "the backfill's end")
    for i, m in enumerate(IDS):
        held, x = system.held(m), i % 4
        as_of_ms = before[m]["pos"].split(":")[3]
        assert held["pos"] == before[m]["pos"]
        assert held["level@1"] == before[m]["level@1"]
        assert held["level@2"] == f"{2 if x > 2 else 1}:{as_of_ms}"  # logit(0.9) is 2.2
        assert held["other@1"] == f"{2 if x > 0 else 1}:{as_of_ms}"
    with Lookup(system.settings.redis_url) as lookup:
        answers = lookup.get_many(IDS)
        assert {(a.memberships["level"].version, a.memberships["other"].version) for a in answers} == {(2, 1)}
        assert {a.status for a in answers} == {"current"}
    assert {len(state.memberships) for state in (await system.states()).values()} == {3}
    assert set(system.metrics("memberstream_events_total").values()) == {0}
    system.stop()
    system.start()
    await system.applied()
    await system.send([Sent(b"m0", event("patch", patch={"x": 3}))])
    await system.applied()
    assert system.held("m0")["level@2"].startswith("2:")
    assert system.says().count(DONE) == 4


async def test_the_wall_clock_is_now_when_it_is_chosen(embedded_pair: Pair, install: Install) -> None:
    """clock=wall: an event of long ago is scored at today's time, and each later event at its own arrival."""
    system = await install(embedded_pair, [recent(days=3)])
    system.set(clock="wall")
    now = datetime.now(UTC)
    seen = {b"new": now - timedelta(days=1), b"old": now - timedelta(days=5)}
    started_ms = time.time_ns() // 1_000_000
    system.start()
    for _ in range(2):
        await system.send(
            [Sent(k, event("replace", at="2001-01-01", document={"seen": v.isoformat()})) for k, v in seen.items()]
        )
        await system.applied()
        finished_ms = time.time_ns() // 1_000_000
        for name, cluster in (("new", 1), ("old", 2)):
            held = system.held(name)
            as_of_ms, valid_until_ms = map(int, held["pos"].split(":")[3:])
            assert held["recent@1"].startswith(f"{cluster}:")
            assert started_ms <= as_of_ms <= finished_ms
            assert as_of_ms < valid_until_ms <= as_of_ms + 86_400_000  # midnight
        started_ms = finished_ms
    beacons = [value.split(b":") for value in system.redis.hvals("ms:{meta}:beacons")]
    assert [abs(int(clock_ms) - int(written_ms)) <= 5 for _, clock_ms, written_ms in beacons] == [True, True]
