"""The laws of counting: cuts, crashes, replays and stale workers change no count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import count

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recount import DAY_MS, FORGET, Shown, Target, recount
from unit.counting_shell import CRASH_POINTS, CrashPoint, Disk, Process, Stands
from unit.shell import WALL_MS, Crash, Record

from models.counts import Cell, Tally
from models.engagement import Memberships
from stream import interactions
from stream.interactions import BEACON_INTERVAL_S
from stream.lookup.holdout import is_held_out

LOW, HIGH = {"activity": ("activity@1", 1)}, {"activity": ("activity@1", 2)}
STOOD: dict[str, Memberships] = {"a": LOW, "b": HIGH, "c": HIGH, "d": {}}
TARGETS = {
    "summer": Target("activity", (1, 2), lambda member: is_held_out("summer", member, 5_000)),
    "high": Target("activity", (2,), lambda member: False),
}
HORIZON_MS = 7 * DAY_MS


def stands(member_id: str) -> Memberships:
    return STOOD[member_id]


def wavering() -> Stands:
    """Everybody is in another cluster each time one looks."""
    looks = count()
    return lambda member_id: (LOW, HIGH)[next(looks) % 2]


def record(offset: int, shown: Shown) -> Record:
    if shown.kind == FORGET:
        return Record(offset, shown.member.encode(), None)
    envelope = {"kind": shown.kind, "id": shown.id, "at": shown.at_ms, "campaign": shown.campaign, "value": shown.value}
    return Record(offset, shown.member.encode(), orjson.dumps(envelope))


@st.composite
def _shown(draw: st.DrawFn) -> Shown:
    kind, campaign = draw(
        st.sampled_from(
            [("impression", "summer"), ("impression", "high"), ("click", "high"), ("purchase", None), (FORGET, None)]
        )
        | st.just(("click", "winter"))
    )
    member = draw(st.sampled_from("abcd"))
    at_ms = 1_000 * DAY_MS + draw(st.integers(0, 20)) * DAY_MS // 2
    value = draw(st.sampled_from([None, 0.5, 3.0]))
    return Shown(member, kind, draw(st.sampled_from("uvwxyz")), at_ms, campaign, value, STOOD[member])


SHOWN = st.lists(_shown(), min_size=1, max_size=24)
SIZES = st.lists(st.integers(1, 8), max_size=8)


def cut(records: Sequence[Record], sizes: Sequence[int]) -> list[list[Record]]:
    """Return the records in batches of these sizes, the rest one by one."""
    batches, at = [], 0
    for size in [*sizes, *[1] * len(records)]:
        batches.append(list(records[at : at + size]))
        at += size
    return [batch for batch in batches if batch]


def totals(counts: dict[Cell, Tally]) -> Counter[tuple[str, str]]:
    """Return the events of each campaign and kind, in whatever cluster."""
    found: Counter[tuple[str, str]] = Counter()
    for cell, tally in counts.items():
        found[cell.campaign, cell.kind] += tally.events + (tally.members if cell.kind == "exposed" else 0)
    return found


@given(SHOWN, SIZES)
@settings(max_examples=100, deadline=None)
def test_batches_may_be_cut_anywhere(shown: list[Shown], sizes: list[int]) -> None:
    """However they are cut, the counts in state and in Redis are those of a plain recount."""
    records = [record(i, one) for i, one in enumerate(shown)]
    disk = Disk()
    process = Process(disk, stands)
    asyncio.run(process.run(cut(records, sizes)))
    assert process.state.counts() == disk.redis == recount(shown, TARGETS, HORIZON_MS)
    assert not process.state.empty_records()
    assert sum(sum(report.batch.outcomes.values()) for report in disk.reports) == len(records)


@pytest.mark.parametrize("crash_at", CRASH_POINTS)
@given(SHOWN, SIZES, SIZES)
@settings(max_examples=60, deadline=None)
def test_a_crash_after_any_side_effect_changes_nothing(
    crash_at: CrashPoint, shown: list[Shown], sizes: list[int], later_sizes: list[int]
) -> None:
    """The process dies after a numbered side effect, once in each batch; replays, cut otherwise, count the same."""
    records, disk = [record(i, one) for i, one in enumerate(shown)], Disk()
    for _ in range(3):
        try:
            asyncio.run(Process(disk, stands).run(cut(records, sizes), crash_at))
        except Crash:
            done = disk.committed
            rest = [one for one in records if one.offset >= done]
            asyncio.run(Process(disk, stands).run(cut(rest, later_sizes)[:1]))
            assert disk.committed > done
    disk.committed = 0  # a loss of the committed offsets: everything is delivered once more
    process = Process(disk, stands)
    asyncio.run(process.run([records]))
    assert process.state.counts() == disk.redis == recount(shown, TARGETS, HORIZON_MS)
    assert not process.state.empty_records()


@given(SHOWN, SIZES, SIZES)
@settings(max_examples=100, deadline=None)
def test_a_stale_worker_changes_nothing(shown: list[Shown], sizes: list[int], later_sizes: list[int]) -> None:
    """A worker stops in the middle of its changelog records; another takes over, counts everything; the rest of the
    first one's records arrives then. Members stand elsewhere each time one looks, so the two don't agree."""
    # For both clusters: who is just then in another than the campaign's isn't targeted.
    shown = [one._replace(campaign="summer", stood=LOW) if one.campaign else one._replace(stood=LOW) for one in shown]
    records, disk = [record(i, one) for i, one in enumerate(shown)], Disk()
    with pytest.raises(Crash):
        asyncio.run(Process(disk, wavering()).run(cut(records, sizes), "half of 2"))
    stray = disk.stray
    second = Process(disk, wavering())
    asyncio.run(second.run(cut(records, later_sizes)))
    counted = second.state.counts()
    disk.append(stray, WALL_MS)
    for _ in range(2):
        process = Process(disk, wavering())
        asyncio.run(process.run([records]))
        assert process.state.counts() == disk.redis == counted
    assert totals(counted) == totals(recount(shown, TARGETS, HORIZON_MS))


def test_the_crash_points_are_reached() -> None:
    """Each numbered side effect does happen in a batch that has all kinds of work; otherwise the laws are empty."""
    shown = [Shown("a", "impression", name, DAY_MS, name, None, LOW) for name in ("summer", "winter")]
    shown.append(Shown("a", FORGET, "", 0, None, None, LOW))
    records = [record(i, one) for i, one in enumerate(shown)]
    for point in CRASH_POINTS:
        with pytest.raises(Crash, match=point):
            asyncio.run(Process(Disk(), stands).run([records], point))


def test_of_who_is_forgotten_nothing_stays_but_the_counts() -> None:
    """Not in the state, not in the changelog; who comes back is somebody new, whose old ids count again."""
    seen = Shown("a", "impression", "u", DAY_MS, "summer", None, LOW)
    forget = Shown("a", FORGET, "", 0, None, None, LOW)
    for batches in ([[seen, forget]], [[seen], [forget]], [[forget, seen], [forget, forget]]):
        disk, offset = Disk(), count()
        process = Process(disk, stands)
        asyncio.run(process.run([[record(next(offset), one) for one in batch] for batch in batches]))
        newest = {one.key: one.value for one in disk.changelog}
        assert newest[b"a"] is None
        assert process.state.get_many(0, [b"a"]) == [None]
        assert disk.redis == recount([seen], TARGETS, HORIZON_MS)
        asyncio.run(process.run([[record(next(offset), one) for one in (seen, seen)]]))
        assert disk.redis == recount([seen, forget, seen], TARGETS, HORIZON_MS)


def test_bad_ones_are_dead_letters() -> None:
    """Whole, with their reasons, in the order of the topic; the rest of the batch is counted."""
    shown = [
        Shown("d", "impression", "u", DAY_MS, "summer", None, {}),
        Shown("a", "impression", "u", DAY_MS, "winter", None, LOW),
        Shown("a", "impression", "v", DAY_MS, "summer", None, LOW),
        Shown("a", "impression", "v", DAY_MS, "summer", None, LOW),
    ]
    disk = Disk()
    records = [*[record(i, one) for i, one in enumerate(shown)], Record(4, b"a", b"{")]
    asyncio.run(Process(disk, stands).run([records]))
    letters = [(key, dict(headers)) for key, _, headers in disk.dead]
    assert [(key, letter["reason"], letter["origin_offset"]) for key, letter in letters] == [
        (b"d", b"not_targeted", b"0"),
        (b"a", b"unknown_campaign", b"1"),
        (b"a", b"not_json", b"4"),
    ]
    assert disk.reports[0].batch.outcomes == {"counted": 1, "duplicate": 1, "dead_letter": 3}


async def test_it_waits_for_campaigns_that_readers_know(caplog: pytest.LogCaptureFixture) -> None:
    """Readers may have shown a campaign that this worker hasn't read of yet: nothing is refused for that."""
    disk = Disk(known=2)
    process = Process(disk, stands)
    campaign = process.registry.campaigns.pop("summer")
    running = asyncio.create_task(
        process.run([[record(0, Shown("a", "impression", "u", DAY_MS, "summer", None, LOW))]])
    )
    await asyncio.sleep(0.1)
    assert not running.done()
    process.registry.campaigns["summer"], process.registry.offset = campaign, 2
    await running
    assert (len(disk.redis), disk.dead) == (1, [])


async def test_what_redis_loses_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLUSHALL between two batches: all counts are there again, and only then readers are told so."""
    monkeypatch.setattr(interactions, "BEACON_INTERVAL_S", BEACON_INTERVAL_S / 100)
    disk = Disk()
    process = Process(disk, stands)
    shown = [Shown(m, "impression", "u", DAY_MS, "summer", None, STOOD[m]) for m in "abc"]
    await process.run([[record(i, one)] for i, one in enumerate(shown)])
    expected = dict(disk.redis)
    watching = asyncio.create_task(process.interactions.watch_redis())
    await asyncio.sleep(0.05)
    disk.counts, disk.beacons, disk.partitions, disk.is_redis_down = {}, {}, None, True
    await asyncio.sleep(0.1)
    assert disk.beacons == {}
    disk.is_redis_down = False
    async with asyncio.timeout(5):
        while not disk.beacons:
            assert disk.partitions is None or disk.redis == expected
            await asyncio.sleep(0.005)
    assert (disk.redis, disk.partitions) == (expected, 1)
    await process.interactions.revoked(frozenset({0}))
    await asyncio.sleep(0.05)
    assert not watching.done()
    watching.cancel()


async def test_a_later_owner_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that has lost its partition, and doesn't know yet, writes nothing over the counts of the next."""
    disk = Disk()
    first = Process(disk, stands)
    await first.run([])
    one = record(0, Shown("a", "impression", "u", DAY_MS, "summer", None, LOW))
    second = Process(disk, stands)
    await second.run([[one]])
    held = dict(disk.counts)
    late = {Cell("summer", "activity@1", 1, False, "click", 1): Tally(1, 1)}
    await first.interactions._tell(0, first.interactions.owned[0], late)
    assert disk.counts == held
    assert "Redis holds counts of a later owner, they stay" in caplog.text
    assert (first.interactions.refused_writes, second.interactions.refused_writes) == (1, 0)
