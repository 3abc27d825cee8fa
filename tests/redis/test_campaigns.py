"""Campaigns from what the worker writes to what both clients answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import redis
from announcing import announcing
from believing import async_believing, believing
from hypothesis import given
from hypothesis import strategies as st
from keys import KEYS
from proxy import CountingProxy

from memberstream.stream.keyspace.formats import (
    Announcement,
    Beacon,
    KeyspaceError,
    PublishedCampaign,
    PublishedModel,
    format_campaign,
    membership_field,
    parse_campaign,
)
from memberstream.stream.lookup import AsyncLookup, Lookup, Visible, exchange
from memberstream.stream.lookup.answer import Answer, Reading, parse_meta
from memberstream.stream.lookup.exchange import Commands, Copy, Request
from memberstream.stream.lookup.holdout import is_held_out
from memberstream.stream.projection.members import Update
from memberstream.stream.projection.projection import Projection

MODELS = [PublishedModel("activity", 1, "logistic", {1: "low", 2: "medium", 3: "high"})]
FIELDS = (membership_field("activity", 1),)
THREE = [PublishedCampaign(f"for-{cluster}", "activity", (cluster,)) for cluster in (1, 2, 3)]
MANY = [PublishedCampaign(f"c{i:03}", "activity", (1 + i % 3,), holdout=1_000 * (i % 2)) for i in range(500)]
MEMBERS = [f"m{i}" for i in range(99)]


def announcement(offset: int, campaigns: list[PublishedCampaign]) -> Announcement:
    return announcing(MODELS, offset, campaigns)


async def fill(url: str, offset: int, campaigns: list[PublishedCampaign]) -> None:
    """Member m<i> in cluster 1 + i % 3, as a worker leaves it."""
    now = time.time_ns() // 1_000_000
    async with Projection(url, KEYS) as projection:
        await projection.readers.announce(announcement(offset, campaigns))
        token = await projection.build.begin(0)
        await projection.members.write(
            0, [Update(m.encode(), i, now, None, FIELDS, [(1 + i % 3, now)]) for i, m in enumerate(MEMBERS)]
        )
        await projection.build.beacon({0: Beacon(len(MEMBERS), now, now)})
        await projection.build.finish(0, token, 1, now)


async def announce(url: str, offset: int, campaigns: list[PublishedCampaign]) -> bool:
    async with Projection(url, KEYS) as projection:
        return await projection.readers.announce(announcement(offset, campaigns))


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


# -- the rules, without a server --------------------------------------------------------------------------------------

DATES = st.none() | st.integers(0, 12)


class World(NamedTuple):
    """Campaigns of two models, and members' clusters under them (None: not scored)."""

    campaigns: list[PublishedCampaign]
    members: list[tuple[str, int | None, int | None]]


CLUSTERS = st.sampled_from([1, 2, 3, 1, 2, 3, None])
WORLDS = st.builds(
    World,
    st.lists(
        st.builds(
            PublishedCampaign,
            st.sampled_from([f"c{i}" for i in range(9)]),
            st.sampled_from(["a", "b", "other"]),
            st.sets(st.integers(1, 3), min_size=1).map(lambda clusters: tuple(sorted(clusters))),
            DATES,
            DATES,
            st.sampled_from([0, 0, 5_000, 10_000]),
            st.booleans(),
        ),
        max_size=9,
        unique_by=lambda campaign: campaign.id,
    ),
    st.lists(st.tuples(st.sampled_from([f"m{i}" for i in range(9)]), CLUSTERS, CLUSTERS), min_size=1, max_size=9),
)


MOSTLY = st.sampled_from([True, True, True, False])
ASKED = st.tuples(st.integers(-1, 13), st.sampled_from([b"6", b"6", b"", b"gone"]), MOSTLY, MOSTLY)


@given(WORLDS, st.lists(ASKED, min_size=1, max_size=9))
def test_what_is_seen_is_what_the_rules_say(world: World, asked: list[tuple[int, bytes, bool, bool]]) -> None:
    """Each member at each time, forwards and backwards, by rows that change, with and without epoch and beacon: every
    campaign judged on its own by the rules of docs/campaigns.md, the status by itself, whatever was told before."""
    flat = [part for c in world.campaigns for part in (c.id.encode(), format_campaign(c))]
    meta = parse_meta({b"a": b"1", b"b": b"2"}, {}, {b"0": b"10:4:4"}, flat)
    quiet = meta._replace(beacons={})
    for now_ms, until, complete, beats in asked:
        reading = Reading(meta if beats else quiet, complete, now_ms)
        for member, a, b in world.members:
            held = [b"|%b=%d:7" % (field, n) for field, n in ((b"a@1", a), (b"b@2", b)) if n is not None]
            row = b"".join((b"0:0:1:1:", until, *held))
            offered = sorted(
                c.id
                for c in world.campaigns
                if not c.is_paused
                and (c.from_ms is None or c.from_ms <= now_ms)
                and (c.until_ms is None or now_ms < c.until_ms)
                and {"a": a, "b": b, "other": None}[c.model] in c.clusters
            )
            holdouts = {c.id: c.holdout for c in world.campaigns}
            held_out = tuple(c for c in offered if is_held_out(c, member, holdouts[c]))
            visible = tuple(c for c in offered if c not in held_out)
            answer = Answer(member, row, reading)
            assert answer.visible == (visible, held_out, answer.status)


def test_what_was_told_is_told_again_only_while_it_holds() -> None:
    """Until the row, the epoch, the beacon, a date of the member or of a campaign says otherwise."""
    flat = [part for c in (THREE[0], THREE[1]._replace(until_ms=8)) for part in (c.id.encode(), format_campaign(c))]
    meta = parse_meta({b"activity": b"1"}, {}, {b"0": b"10:0:0"}, flat)
    row, other = b"0:0:1:1:6|activity@1=2:7", b"0:0:2:1:|activity@1=1:7"

    def told(row: bytes, reading: Reading) -> Visible:
        return Answer("m", row, reading).visible

    first = told(row, Reading(meta, True, 0))
    assert first == (("for-2",), (), "current")
    assert told(row, Reading(meta, True, 5)) is first
    assert told(row, Reading(meta, False, 5)) == (("for-2",), (), "rebuilding")
    assert told(row, Reading(meta._replace(beacons={}), True, 5)) == (("for-2",), (), "stale")
    assert told(row, Reading(meta, True, 5)) is first
    assert told(row, Reading(meta, True, 6)) == (("for-2",), (), "stale")
    assert told(row, Reading(meta, True, 8)) == ((), (), "stale")
    assert told(row, Reading(meta, True, 5)) == first
    assert told(other, Reading(meta, True, 5)) == (("for-1",), (), "current")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of combinations of clusters and of members; what is forgotten is worked out again, the same."""
    monkeypatch.setattr("memberstream.stream.lookup.campaigns._OFFERS", 2)
    monkeypatch.setattr("memberstream.stream.lookup.campaigns._MEMBERS", 3)
    flat = [part for c in THREE for part in (c.id.encode(), format_campaign(c))]
    meta = parse_meta({b"activity": b"1"}, {}, {b"0": b"10:0:0"}, flat)
    period = meta.campaigns.at(0)
    for _ in range(2):
        for cluster in (1, 2, 3, 4):
            seen = (f"for-{cluster}",) if cluster < 4 else ()
            for member in ("m", f"m{cluster}", "m"):
                answer = Answer(member, b"0:0:1:1:|activity@1=%d:7" % cluster, Reading(meta, True, 0))
                assert answer.visible == (seen, (), "current")
                assert answer.visible is period.told[member][-1]
    assert len(period._offers) <= 2
    assert len(period.told) <= 3


@pytest.mark.parametrize("campaign", [PublishedCampaign("c", "m", (1, 20), 0, 2**52, 10_000, True), THREE[0]])
def test_a_campaign_is_read_as_it_is_written(campaign: PublishedCampaign) -> None:
    """With and without dates; also if another writer puts spaces and another order."""
    assert parse_campaign(campaign.id.encode(), format_campaign(campaign)) == campaign
    by_hand = b'{ "state": "enabled", "holdout": 5, "until": null, "from": 7, "clusters": [2], "model": "m" }'
    assert parse_campaign(b"c", by_hand) == PublishedCampaign("c", "m", (2,), 7, None, 5)


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b'{"model":"m"}', format_campaign(THREE[0]).replace(b"enabled", b"on"),
     format_campaign(THREE[0]).replace(b"[1]", b"null"), format_campaign(THREE[0]).replace(b"[1]", b'["x"]')],
)  # fmt: skip
def test_a_malformed_campaign_says_what_was_expected_and_found(value: bytes) -> None:
    """Something else wrote to our keys: nothing is guessed."""
    with pytest.raises(KeyspaceError, match=r"campaign b'c': expected .* found"):
        parse_campaign(b"c", value)


ROW = b"1:0:1:1:"


def replies(known: Any, live: Any, campaigns: Any, known_after: Any, epoch: bytes | None = b"1") -> list[Any]:
    """What a whole reading of the small keys and a member without memberships give."""
    return [[b"0", b"0"], epoch, known, live, [], [], campaigns, known_after, [epoch, ROW]]


def test_a_copy_read_across_a_change_is_not_used() -> None:
    """`known` differs on the two sides of what it speaks for: the members are asked again, with all small keys."""
    live = [b"activity", b"1"]
    torn, found = Request(Commands(KEYS), ["m"], None, 0, False).read(replies(b"1", live, [], b"2"), "here", 0)
    assert found is None
    request = Request(Commands(KEYS), ["m"], torn, 0, False)
    assert request.payload.count(b"HGETALL") == 4
    torn, found = request.read(replies(b"2", live, [], b"3"), "here", 0)
    assert found is None
    newer, found = Request(Commands(KEYS), ["m"], torn, 0, False).read(replies(b"3", live, [], b"3"), "here", 0)
    assert newer is not None
    assert found is not None
    assert Request(Commands(KEYS), ["m"], newer, 0, False).payload.count(b"HGETALL") == 0


@pytest.mark.parametrize("known", [b"1", None])
def test_while_redis_is_filled_nothing_is_taken_for_unchanged(
    known: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an epoch, or without `known`, an answer may be given, but next time everything is read again."""
    live = [b"activity", b"1"]
    copy = Copy([known, live, [], [], [], known], None, None if known else b"1", 0, False)
    assert copy.is_settled
    assert Request(Commands(KEYS), ["m"], copy, 0, False).payload.count(b"HGETALL") == 0
    monkeypatch.setattr(exchange, "META_TTL_S", -1.0)
    assert Request(Commands(KEYS), ["m"], copy, 0, False).payload.count(b"HGETALL") == 4


def test_what_was_read_before_the_epoch_is_not_used_under_it() -> None:
    """Redis was empty a moment ago: without live versions every member would look like one in no cluster."""
    empty = Copy([None, [], [], [], [], None], None, None, 0, False)
    request = Request(Commands(KEYS), ["m"], empty, 0, False)
    newer, found = request.read([[None, None]], "here", 0)
    assert newer is None
    assert found is not None
    assert found[0].status == "rebuilding"
    newer, found = request.read([[b"1", ROW]], "here", 0)
    assert found is None
    request = Request(Commands(KEYS), ["m"], newer, 0, False)
    assert request.payload.count(b"HGETALL") == 4
    newer, found = request.read(replies(b"1", [b"activity", b"1"], [], b"1"), "here", 0)
    assert newer is not None
    assert found is not None
    assert found[0].status == "rebuilding"  # its row lacks the live version


@pytest.mark.parametrize("epochs", [(b"1", b"2"), (None, b"1"), (b"1", None)])
def test_two_epochs_are_none(epochs: tuple[bytes | None, bytes | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the small keys and with the members; or with the members of two calls."""
    first, second = epochs
    known = [b"1", [], [], [], [], b"1"]
    newer, found = Request(Commands(KEYS), ["m"], None, 0, False).read(
        [[b"0", b"0"], first, *known, [second, None]], "here", 0
    )
    assert newer is not None
    assert newer.epoch is None
    assert found is not None
    assert found[0].status == "rebuilding"
    monkeypatch.setattr(exchange, "MEMBERS_PER_CALL", 2)
    copy = Copy(known, None, b"1", 0, False)
    copy.is_vouched = True
    request = Request(Commands(KEYS), ["a", "b", "c"], copy, 0, False)
    assert request.n_replies == 2
    _, found = request.read([[first, None, None], [second, ROW]], "here", 0)
    assert found is not None
    assert [answer.status for answer in found] == ["rebuilding"] * 3
    _, found = request.read([[b"1", None, None], [b"1", b"1:0:1:1:gone"]], "here", 0)
    assert found is not None
    assert [answer.member_id for answer in found] == ["a", "b", "c"]
    assert [answer.status for answer in found] == ["unknown member"] * 3


# -- on servers -------------------------------------------------------------------------------------------------------


async def test_campaigns_are_replaced_whole_and_never_by_what_is_older(redis_url: str, admin: redis.Redis) -> None:
    """They follow the offset of the models' log, as the models do; more than one call of a script takes, too."""
    key = KEYS.campaigns.decode()
    assert await announce(redis_url, 5, MANY)
    assert admin.hgetall(key) == {c.id: format_campaign(c).decode() for c in MANY}
    assert not await announce(redis_url, 4, THREE)
    assert admin.hlen(key) == 500
    assert await announce(redis_url, 6, THREE[:1])
    assert admin.hgetall(key) == {
        "for-1": '{"model":"activity","clusters":[1],"from":null,"until":null,"holdout":0,"state":"enabled"}'
    }
    assert admin.hgetall("ms:{meta}:live") == {"activity": "1"}
    assert await announce(redis_url, 7, [])
    assert not admin.exists(key)


async def test_a_reader_of_an_empty_redis_sees_what_is_there_as_soon_as_it_is(redis_url: str) -> None:
    """Its copy is less than a second old, and of a time when nothing was live."""
    with Lookup(redis_url) as lookup:
        async with AsyncLookup(redis_url) as look:
            assert lookup.get(MEMBERS[0]).status is (await look.get(MEMBERS[0])).status == "rebuilding"
            await fill(redis_url, 1, THREE)
            expected = Visible(("for-1",), (), "current")
            assert lookup.visible(MEMBERS[0]) == await look.visible(MEMBERS[0]) == expected


async def test_both_clients_see_the_same(redis_url: str, admin: redis.Redis) -> None:
    """One, many, sync, async: each member exactly the campaign of its cluster, and the status."""
    await fill(redis_url, 1, THREE)
    expected = [Visible((f"for-{1 + i % 3}",), (), "current") for i in range(len(MEMBERS))]
    expected.append(Visible((), (), "unknown member"))
    ids = [*MEMBERS, "nobody"]

    def blocking() -> None:
        with Lookup(redis_url) as lookup:
            believing(lookup, admin)
            assert lookup.visible_many(ids) == expected
            assert [lookup.visible(member) for member in ids] == expected
            assert lookup.get("m1").visible == expected[1]
            assert [lookup.is_visible("for-2", member) for member in ids[:3]] == [False, True, False]
            assert lookup.visible_many([]) == []

    await asyncio.to_thread(blocking)
    async with AsyncLookup(redis_url) as lookup:
        await async_believing(lookup, admin)
        assert await lookup.visible_many(ids) == expected
        assert await asyncio.gather(*[lookup.visible(member) for member in ids]) == expected
        assert [await lookup.is_visible("for-2", member) for member in ids[:3]] == [False, True, False]
        assert not await lookup.is_visible("no-such-campaign", "m1")


async def test_one_round_trip(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 500 campaigns: for one, a hundred, or fifty at once; also when the copy is looked after. A step somebody
    made costs one more, once."""
    await fill(redis_url, 1, MANY)
    async with CountingProxy(urlsplit(redis_url).port or 0) as proxy:
        with Lookup(proxy.url) as lookup:
            for ttl_s in (1e9, -1.0):
                await asyncio.to_thread(lookup.visible, "m1")
                monkeypatch.setattr(exchange, "META_TTL_S", ttl_s)
                proxy.round_trips = 0
                assert len((await asyncio.to_thread(lookup.visible, "m1")).campaigns) > 100
                await asyncio.to_thread(lookup.visible_many, MEMBERS)
                await asyncio.to_thread(lookup.is_visible, "c001", "m1")
                assert proxy.round_trips == 3
            await announce(redis_url, 2, THREE)
            assert (await asyncio.to_thread(lookup.visible, "m1")).campaigns == ("for-2",)
            assert proxy.round_trips == 5
            await asyncio.to_thread(lookup.visible, "m1")
            assert proxy.round_trips == 6
        monkeypatch.setattr(exchange, "META_TTL_S", 1e9)
        async with AsyncLookup(proxy.url) as alookup:
            for ttl_s in (1e9, -1.0):
                await alookup.visible("m1")
                monkeypatch.setattr(exchange, "META_TTL_S", ttl_s)
                proxy.round_trips = proxy.connections = 0
                await asyncio.gather(
                    *[alookup.visible(member) for member in MEMBERS[:50]], alookup.visible_many(MEMBERS)
                )
                await alookup.is_visible("for-1", "m1")
                assert (proxy.round_trips, proxy.connections) == (2, 0)


def test_campaigns_are_read_again_only_when_something_has_changed(
    redis_url: str, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 KB a second for each client would be felt: while nothing happens only the small keys travel, and once in a
    while everything, as `known` may be the same number of another log."""
    asyncio.run(fill(redis_url, 1, MANY))
    monkeypatch.setattr(exchange, "META_TTL_S", -1.0)

    def hashes_read() -> int:
        found = admin.info("commandstats").get("cmdstat_hgetall", {"calls": 0})
        return int(found["calls"])

    with Lookup(redis_url) as lookup:
        first = lookup.visible("m1")
        before = hashes_read()
        assert [lookup.visible("m1") for _ in range(10)] == [first] * 10
        assert hashes_read() == before + 20  # live and beacons
        admin.delete(KEYS.known.decode())  # the log was made anew, and ends where the old one did
        asyncio.run(announce(redis_url, 1, THREE))
        assert lookup.visible("m1") == first
        monkeypatch.setattr(exchange, "WHOLE_TTL_S", -1.0)
        assert lookup.visible("m1").campaigns == ("for-2",)


def test_an_emptied_redis_gets_its_campaigns_back(
    redis_url: str, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that was there all the time sees none while Redis is empty, and all of them as soon as they are back,
    though `known` is what it was."""
    asyncio.run(fill(redis_url, 1, THREE))
    with Lookup(redis_url) as lookup:
        assert lookup.visible("m1").campaigns == ("for-2",)
        admin.flushall()
        assert lookup.visible("m1") == ((), (), "rebuilding")
        monkeypatch.setattr(exchange, "META_TTL_S", -1.0)
        assert lookup.visible("m1") == ((), (), "rebuilding")
        asyncio.run(fill(redis_url, 1, THREE))
        assert lookup.visible("m1") == (("for-2",), (), "current")


def test_a_stale_member_keeps_its_campaigns(redis_url: str) -> None:
    """By the last known cluster; the status tells."""
    asyncio.run(fill(redis_url, 1, THREE))

    async def old_beacon() -> None:
        async with Projection(redis_url, KEYS) as projection:
            await projection.build.reset_beacon(0)

    asyncio.run(old_beacon())
    with Lookup(redis_url) as lookup:
        assert lookup.visible("m1") == (("for-2",), (), "stale")


def test_foreign_text_among_campaigns_is_told(redis_url: str, admin: redis.Redis) -> None:
    """To who asks for campaigns; clusters are answered as ever."""
    asyncio.run(fill(redis_url, 1, THREE))
    admin.hset(KEYS.campaigns.decode(), "for-1", "soon")
    with Lookup(redis_url) as lookup:
        assert lookup.get("m1").cluster("activity") == 2
        with pytest.raises(KeyspaceError, match="found b'soon'"):
            lookup.visible("m1")


async def test_holdouts_through_the_server(redis_url: str) -> None:
    """Half of the members, those that the hash says, for ids of any text."""
    await fill(redis_url, 1, [PublishedCampaign("half", "activity", (1, 2, 3), holdout=5_000)])
    async with AsyncLookup(redis_url) as lookup:
        found = await lookup.visible_many(MEMBERS)
    held = [is_held_out("half", member, 5_000) for member in MEMBERS]
    assert 30 < sum(held) < 70
    assert [seen.held_out for seen in found] == [("half",) if h else () for h in held]
    assert [seen.campaigns for seen in found] == [() if h else ("half",) for h in held]
