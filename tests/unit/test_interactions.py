"""The laws of counting: cuts, crashes, replays and stale workers change no count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from recount import DAY_MS, FORGET, Shown, Stretch, World
from recount import recount as recount_in
from unit.counting_shell import CRASH_POINTS, CrashPoint, Disk, Process, Stands
from unit.shell import WALL_MS, Crash, Record

from memberstream.models.count_state import Count, cell_key, encode, encode_count
from memberstream.models.counts import Cell, Changes, Tally, plus
from memberstream.models.engagement import Engagement
from memberstream.models.old_counts import OldCell, OldExposure, OldTally
from memberstream.models.packed import pack
from memberstream.models.rules import Rules, Stood
from memberstream.stream.interactions import pipeline as interactions
from memberstream.stream.interactions.batch import AT_ONCE, begin, counting, decode_many
from memberstream.stream.interactions.pipeline import BEACON_INTERVAL_S
from memberstream.stream.lookup.holdout import is_held_out
from memberstream.stream.partition.bookkeeping import APPLIED, Progress
from memberstream.stream.partition.state import HalfDone
from memberstream.stream.projection.calls import RedisFault

LOW, HIGH = 1, 2
STOOD: dict[str, int | None] = {"a": LOW, "b": HIGH, "c": HIGH, "d": None}
HORIZON_MS = 7 * DAY_MS
WORLD = World(
    {
        "summer": [Stretch(0, 0, "activity", (1, 2), lambda member: is_held_out("summer", member, 5_000))],
        "high": [Stretch(0, 0, "activity", (2,), lambda member: False)],
    },
    {"activity": [(0, "activity@1")]},
    lambda member, label, at_ms: STOOD[member],
    HORIZON_MS,
    frozenset("d"),
)


def recount(shown: Sequence[Shown], world: World = WORLD) -> Changes:
    return cast(Changes, recount_in(shown, world))


def stands(member_id: str) -> Stood | None:
    cluster = STOOD[member_id]
    return None if cluster is None else lambda label: [(cluster, 0)]  # None: a deleted member, say


def wavering() -> Stands:
    """Everybody is in another cluster each time one looks."""
    looks = count()

    def look(member_id: str) -> Stood:
        cluster = (LOW, HIGH)[next(looks) % 2]
        return lambda label: [(cluster, 0)]

    return look


def record(offset: int, shown: Shown) -> Record:
    if shown.kind == FORGET:
        return Record(offset, shown.member.encode(), None)
    envelope = {"kind": shown.kind, "id": shown.id, "at": shown.at_ms, "campaign": shown.campaign, "value": shown.value}
    return Record(offset, shown.member.encode(), orjson.dumps(envelope), shown.at_ms)


@st.composite
def _shown(draw: st.DrawFn) -> Shown:
    kind, campaign = draw(
        st.sampled_from(
            [("impression", "summer"), ("impression", "high"), ("click", "high"), ("purchase", None), (FORGET, None)]
        )
        | st.just(("impression", "winter"))
    )
    member = draw(st.sampled_from("abcd"))
    at_ms = 1_000 * DAY_MS + draw(st.integers(0, 20)) * DAY_MS // 2
    value = draw(st.sampled_from([None, 0.5, 3.0]))
    return Shown(member, kind, draw(st.sampled_from("uvwxyz")), at_ms, campaign, value)


SHOWN = st.lists(_shown(), min_size=1, max_size=24)
SIZES = st.lists(st.integers(1, 8), max_size=8)


def cut(records: Sequence[Record], sizes: Sequence[int]) -> list[list[Record]]:
    """Return the records in batches of these sizes, the rest one by one."""
    batches, at = [], 0
    for size in [*sizes, *[1] * len(records)]:
        batches.append(list(records[at : at + size]))
        at += size
    return [batch for batch in batches if batch]


def totals(counts: Changes) -> Counter[tuple[str, str]]:
    """Return the events of each campaign and kind, in whatever cluster."""
    found: Counter[tuple[str, str]] = Counter()
    for cell, tally in counts.items():
        found[cell.campaign, cell.kind] += tally.events + (tally.members if cell.kind == "exposed" else 0)
    return found


@given(SHOWN, SIZES)
def test_batches_may_be_cut_anywhere(shown: list[Shown], sizes: list[int]) -> None:
    """However they are cut, the counts in state and in Redis are those of a plain recount."""
    records = [record(i, one) for i, one in enumerate(shown)]
    disk = Disk()
    process = Process(disk, stands)
    asyncio.run(process.run(cut(records, sizes)))
    assert process.state.counts() == disk.redis == recount(shown)
    assert not process.state.empty_records()
    assert sum(sum(report.outcomes.values()) for report in disk.reports) == len(records)


@given(SHOWN, SIZES, st.sets(st.integers(0, 23), min_size=1))
def test_what_is_set_aside_is_a_dead_letter_and_nothing_else(
    shown: list[Shown], sizes: list[int], aside: set[int]
) -> None:
    """The counts are as if it had never been sent, and it is one dead letter, also after a replay of everything."""
    records, disk = [record(i, one) for i, one in enumerate(shown)], Disk()
    for _ in range(2):
        process = Process(disk, stands)
        process.topic.aside = dict.fromkeys(aside, "by an operator")
        asyncio.run(process.run(cut(records, sizes)))
        disk.committed = 0
    kept = [one for i, one in enumerate(shown) if i not in aside]
    assert process.state.counts() == disk.redis == recount(kept)
    letters = [dict(letter.added) for letter in disk.dead]
    skipped = [int(letter["origin_offset"] or b"") for letter in letters if letter["reason"] == b"skipped"]
    assert sorted(skipped) == [i for i in range(len(shown)) if i in aside]


def test_counts_that_redis_refuses_end_the_worker_and_are_written_by_the_next() -> None:
    """Handed over again the records would count as done, and Redis would lack their counts without a word."""
    shown = [Shown(member, "impression", "u", 1_000 * DAY_MS, "high", None) for member in "bc"]
    records, disk = [record(i, one) for i, one in enumerate(shown)], Disk()
    process = Process(disk, stands)

    async def refuse(partition: int, term: int, counts: dict[Cell, Tally]) -> bool:
        raise RedisFault("WRONGTYPE")

    process.interactions._projection.counts.write = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(HalfDone, match="WRONGTYPE"):
        asyncio.run(process.run([records]))
    assert disk.redis == {}
    asyncio.run(Process(disk, stands).run([records]))
    assert disk.redis == recount(shown) != {}


def test_a_key_that_is_no_member_touches_no_bookkeeping_however_often_it_comes() -> None:
    """It is a dead letter; replayed, its null value asks for the removal of nobody. Found: the state's own keys were
    looked up as members', and the worker ended at each try."""
    shown, disk = [Shown("b", "impression", "u", 1_000 * DAY_MS, "high")], Disk()
    asyncio.run(Process(disk, stands).run([[record(0, shown[0])]]))
    keys = [one.key for one in disk.changelog]
    assert APPLIED in keys
    records = [record(0, shown[0]), *[Record(1 + i, key, None) for i, key in enumerate([*keys, None, b"\xff"])]]
    for _ in range(2):
        process = Process(disk, stands)
        asyncio.run(process.run([records]))
        disk.committed = 0
        assert process.state.counts() == disk.redis == recount(shown)
        assert APPLIED in process.state._local


@pytest.mark.parametrize("crash_at", CRASH_POINTS)
@given(SHOWN, SIZES, SIZES)
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
    assert process.state.counts() == disk.redis == recount(shown)
    assert not process.state.empty_records()


@given(SHOWN, SIZES, SIZES)
def test_a_stale_worker_changes_nothing(shown: list[Shown], sizes: list[int], later_sizes: list[int]) -> None:
    """A worker stops in the middle of its changelog records; another takes over, counts everything; the rest of the
    first one's records arrives then. Members stand elsewhere each time one looks, so the two don't agree."""
    # For both clusters: who is just then in another than the campaign's isn't targeted.
    shown = [one._replace(campaign="summer") if one.campaign else one for one in shown]
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
    assert totals(counted) == totals(recount(shown, WORLD._replace(stood=lambda *_: LOW, nobody=frozenset())))


@pytest.mark.parametrize("sizes", [[1], [2], [3], [1, 2]])
@pytest.mark.parametrize("then", ["forget", "refused", "impression"])
def test_who_is_forgotten_twice_counts_once(then: str, sizes: list[int]) -> None:
    """A crash leaves the record of a whole batch, empty, ahead of the progress. The next worker meets the first of its
    forgets alone: the record stays until what it knows of is passed, and no longer."""
    seen = [Shown("b", "impression", one, DAY_MS, "high") for one in "uv"]
    forget = Shown("b", FORGET, "", 0, None)
    refused = Shown("b", "click", "w", DAY_MS, "winter")  # there is no such campaign
    last = {"forget": forget, "refused": refused, "impression": seen[0]}[then]
    shown = [seen[0], forget, seen[1], forget, last]
    records, disk = [record(i, one) for i, one in enumerate(shown)], Disk()
    with pytest.raises(Crash):
        asyncio.run(Process(disk, stands).run([records], "half of 2"))
    process = Process(disk, stands)
    asyncio.run(process.run(cut(records, sizes)))
    assert process.state.counts() == disk.redis == recount(shown)
    assert not process.state.empty_records()


def test_the_crash_points_are_reached() -> None:
    """Each numbered side effect does happen in a batch that has all kinds of work; otherwise the laws are empty."""
    shown = [Shown("a", "impression", name, DAY_MS, name) for name in ("summer", "winter")]
    shown.append(Shown("a", FORGET, "", 0, None))
    records = [record(i, one) for i, one in enumerate(shown)]
    for point in CRASH_POINTS:
        with pytest.raises(Crash, match=point):
            asyncio.run(Process(Disk(), stands).run([records], point))


def test_of_who_is_forgotten_nothing_stays_but_the_counts() -> None:
    """Not in the state, not in the changelog; who comes back is somebody new, whose old ids count again."""
    seen = Shown("a", "impression", "u", DAY_MS, "summer")
    forget = Shown("a", FORGET, "", 0, None)
    for batches in ([[seen, forget]], [[seen], [forget]], [[forget, seen], [forget, forget]]):
        disk, offset = Disk(), count()
        process = Process(disk, stands)
        asyncio.run(process.run([[record(next(offset), one) for one in batch] for batch in batches]))
        newest = {one.key: one.value for one in disk.changelog}
        assert newest[b"a"] is None
        assert process.state.get_many(0, [b"a"]) == [None]
        assert disk.redis == recount([seen])
        asyncio.run(process.run([[record(next(offset), one) for one in (seen, seen)]]))
        assert disk.redis == recount([seen, forget, seen])


def test_bad_ones_are_dead_letters() -> None:
    """Whole, with their reasons, in the order of the topic; the rest of the batch is counted."""
    shown = [
        Shown("d", "impression", "u", DAY_MS, "summer"),
        Shown("a", "impression", "u", DAY_MS, "winter"),
        Shown("a", "impression", "v", DAY_MS, "summer"),
        Shown("a", "impression", "v", DAY_MS, "summer"),
    ]
    disk = Disk()
    records = [*[record(i, one) for i, one in enumerate(shown)], Record(4, b"a", b"{")]
    asyncio.run(Process(disk, stands).run([records]))
    letters = [(letter.key, dict(letter.added)) for letter in disk.dead]
    assert [(key, letter["reason"], letter["origin_offset"]) for key, letter in letters] == [
        (b"d", b"unknown_cluster", b"0"),
        (b"a", b"unknown_campaign", b"1"),
        (b"a", b"not_json", b"4"),
    ]
    assert disk.reports[0].outcomes == {"counted": 1, "duplicate": 1, "dead_letter": 3}


async def test_it_waits_for_campaigns_that_readers_know(caplog: pytest.LogCaptureFixture) -> None:
    """Readers may have shown a campaign that this worker hasn't read of yet: nothing is refused for that."""
    disk = Disk(known=2)
    process = Process(disk, stands)
    step = process.registry.campaign_history.pop(0)
    running = asyncio.create_task(process.run([[record(0, Shown("a", "impression", "u", DAY_MS, "summer"))]]))
    await asyncio.sleep(0.1)
    assert not running.done()
    process.registry.campaign_history.append(step)
    process.registry.offset = 2
    await running
    assert (len(disk.redis), disk.dead) == (1, [])


async def test_what_redis_loses_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLUSHALL between two batches: all counts are there again, and only then readers are told so."""
    monkeypatch.setattr(interactions, "BEACON_INTERVAL_S", BEACON_INTERVAL_S / 100)
    disk = Disk()
    process = Process(disk, stands)
    shown = [Shown(m, "impression", "u", DAY_MS, "summer") for m in "abc"]
    await process.run([[record(i, one)] for i, one in enumerate(shown)])
    expected = dict(disk.redis)
    watching = asyncio.create_task(process.interactions.watch_redis())
    await asyncio.sleep(0.05)
    disk.counts, disk.beacons, disk.partitions, disk.is_redis_down = {}, {}, None, True
    await asyncio.sleep(0.1)
    assert disk.beacons == {}
    disk.is_redis_down = False
    async with asyncio.timeout(60):
        while not disk.beacons:
            assert disk.partitions is None or disk.redis == expected
            await asyncio.sleep(0.005)
    assert disk.redis == expected
    assert int(disk.partitions or 0) == 1
    await process.interactions.revoked(frozenset({0}))
    await asyncio.sleep(0.05)
    assert not watching.done()
    watching.cancel()


async def test_a_beacon_tells_of_no_counts_that_are_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told by another task, also between the state's write and Redis'. Found: readers were told that all was
    counted, and the last batch's counts came a moment later; or all counts, when a new owner filled an empty Redis."""
    disk, told = Disk(), list[int | None]()

    def slowed() -> Process:
        process = Process(disk, stands)
        counts = process.interactions._projection.counts
        write = counts.write

        async def slow(partition: int, term: int, changed: Changes) -> bool:
            await process.interactions._tell_counted()
            told.append(disk.beacons[0].next_offset if 0 in disk.beacons else None)
            return await write(partition, term, changed)

        monkeypatch.setattr(counts, "write", slow)
        return process

    process = slowed()
    await process.run([[record(i, Shown("a", "impression", f"u{i}", DAY_MS, "summer"))] for i in range(2)])
    await process.interactions._tell_counted()
    assert (told, disk.beacons[0].next_offset) == ([0, 1], 2)
    disk.counts, disk.beacons = {}, {}
    await slowed().run([])
    assert (told[2:], disk.beacons[0].next_offset) == ([None], 2)


async def test_a_later_owner_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that has lost its partition, and doesn't know yet, writes nothing over the counts of the next."""
    disk = Disk()
    first = Process(disk, stands)
    await first.run([])
    one = record(0, Shown("a", "impression", "u", DAY_MS, "summer"))
    second = Process(disk, stands)
    await second.run([[one]])
    held = dict(disk.counts)
    late: Changes = {Cell("summer", 0, "activity@1", 1, False, "click", 1): Tally(1, 1)}
    await first.interactions._tell(0, first.interactions.owned[0], late)
    assert disk.counts == held
    assert "Redis holds counts of a later owner, they stay" in caplog.text
    assert (first.interactions.refused_writes, second.interactions.refused_writes) == (1, 0)


def test_a_member_that_floods_keeps_nobody_from_the_event_loop() -> None:
    """Interactions of one member come as one step after the other: between them others have their turn."""
    shown = [Shown("a", "impression", f"i{i}", DAY_MS, "winter") for i in range(5 * AT_ONCE)]
    records = [record(i, one) for i, one in enumerate(shown)]
    batch = begin(Progress(-1, 0, b""), records)
    decode_many(batch, records, 2**50, ("impression",))
    rules = Rules({}, {}, lambda *_: False, HORIZON_MS)
    assert len(list(counting(batch, [b"a"], [None], [stands("d")], rules, 0))) == 5
    assert batch.outcomes == {"dead_letter": 5 * AT_ONCE}


def test_what_a_version_before_has_counted_stays_as_it_is() -> None:
    """Its counts, one cut short by a crash; a record that owes what is missing. A member who had met the campaign then
    isn't counted for it now; others are. Redis, emptied, gets both kinds of counts back."""
    cells = [OldCell("summer", "activity@1", 1, False, kind, 3) for kind in ("exposed", "click", "purchase")]
    whole, half, owed = OldTally(5, 6), OldTally(3, 4), OldTally(1, 1, 0.1, 0.01, 1)
    met = {"summer": OldExposure(DAY_MS, "activity@1", 1, False)}
    added = [(cells[1].campaign, "activity@1 1 0 click 3", owed)]
    disk = Disk()
    disk.append(
        [
            (cell_key(cells[0]), encode_count(Count(whole, 1, OldTally()), 1)),
            (cell_key(cells[1]), encode_count(Count(plus(half, owed), 9, half), 1)),
            (cell_key(cells[2]), encode_count(Count(owed, 9, OldTally()), 1)),
            (b"a", encode(Engagement(2, 9, Raw(pack(met)), Raw(pack({"u": DAY_MS})), added), 1)),
            (APPLIED, Progress(1, DAY_MS, b"").encode(1)),
        ],
        1,
    )
    disk.committed = 2
    shown = [Shown("a", "click", "v", DAY_MS, "summer"), Shown("a", "impression", "w", DAY_MS, "summer")]
    shown += [Shown("b", "impression", "u", DAY_MS, "summer")]
    process = Process(disk, stands)
    asyncio.run(process.run([[record(2 + i, one) for i, one in enumerate(shown)]]))
    expected: Changes = {cells[0]: whole, cells[1]: plus(half, owed), **recount(shown[2:])}
    assert process.state.counts() == disk.redis == expected
    disk.counts = {}
    asyncio.run(Process(disk, stands).run([]))
    assert disk.redis == expected
