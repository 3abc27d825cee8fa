"""What Redis holds of a member never goes back, whoever writes, in whatever order."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keys import KEYS

from memberstream.models.position import position_of, split_position
from memberstream.stream.keyspace.formats import POS, TOMBSTONE_TTL_S, membership_field, parse_position, parse_row
from memberstream.stream.projection.calls import MEMBERS_PER_CALL
from memberstream.stream.projection.members import Deletion, PartitionMismatch, Release, Update
from memberstream.stream.projection.projection import Projection

FIELDS = (membership_field("repeat_buyer", 1), membership_field("buying_style", 2))


def update(member: bytes, offset: int, as_of_ms: int = 1_000, valid_until_ms: int | None = None) -> Update:
    """The content follows from the position, as it does in the pipeline. `offset`: or a position of a later epoch."""
    cluster = (offset * 7 + as_of_ms) % 5
    return Update(member, offset, as_of_ms, valid_until_ms, FIELDS, [(cluster, as_of_ms) for _ in FIELDS])


def expected(change: Update | Deletion) -> dict[bytes, bytes]:
    epoch, offset = split_position(change.position)
    if isinstance(change, Deletion):
        return {b"pos": b"%d:3:%d:%d:gone" % (epoch, offset, change.as_of_ms)}
    until = b"" if change.valid_until_ms is None else b"%d" % change.valid_until_ms
    pos = b"%d:3:%d:%d:%b" % (epoch, offset, change.as_of_ms, until)
    return {b"pos": pos, **dict(zip(change.fields, [b"%d:%d" % held for held in change.memberships], strict=True))}


def held(client: redis.Redis, member: bytes) -> dict[bytes, bytes]:
    row: Any = client.get(KEYS.member(member))
    return parse_row(row)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        yield client


_POSITIONS = st.tuples(
    st.builds(position_of, st.sampled_from([0, 9, 10]), st.integers(0, 6)), st.integers(1_000, 1_003)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(st.tuples(st.integers(0, 2), _POSITIONS), max_size=6), min_size=1, max_size=12),
    deleted=st.sets(_POSITIONS, max_size=30),
    n_writers=st.integers(1, 4),
)
def test_the_highest_position_wins_and_no_reader_sees_it_fall(
    redis_url: str,
    client: redis.Redis,
    batches: list[list[tuple[int, tuple[int, int]]]],
    deleted: set[tuple[int, int]],
    n_writers: int,
) -> None:
    """Writers that know nothing of each other, positions in any order, a reader watching all the time."""
    run = uuid.uuid4().hex.encode()
    members = [b"%b-%d" % (run, i) for i in range(3)]

    def change(member: int, position: tuple[int, int]) -> Update | Deletion:
        made = update(members[member], *position)
        return Deletion(made.member_id, *position) if position in deleted else made

    changes = [[change(member, position) for member, position in batch] for batch in batches]

    async def main() -> None:
        writers = [Projection(redis_url, KEYS) for _ in range(n_writers)]
        watching = asyncio.create_task(asyncio.to_thread(watch))
        await asyncio.gather(*[writers[i % n_writers].members.write(3, batch) for i, batch in enumerate(changes)])
        stop.set()
        await watching
        for writer in writers:
            await writer.calls.close()

    stop = asyncio.Event()

    def watch() -> None:
        last = dict.fromkeys(members, (-1, -1, -1))
        with redis.Redis.from_url(redis_url) as sampler:
            while not stop.is_set():
                for member in members:
                    if (row := sampler.get(KEYS.member(member))) is not None:
                        epoch, _, offset, as_of_ms, _ = parse_position(parse_row(row)[POS])
                        assert (epoch, offset, as_of_ms) >= last[member]
                        last[member] = (epoch, offset, as_of_ms)

    asyncio.run(main())
    for member in members:
        made = [c for batch in changes for c in batch if c.member_id == member]
        found = held(client, member)
        assert found == (expected(max(made, key=lambda c: (c.position, c.as_of_ms))) if made else {})


async def test_lower_positions_are_refused_and_counted_and_equal_ones_repeat(
    redis_url: str, client: redis.Redis
) -> None:
    """By offset first, then by as-of; an equal position is written again."""
    async with Projection(redis_url, KEYS) as projection:
        assert await projection.members.write(3, [update(b"m", 9, 50)]) == 0
        assert await projection.members.write(3, [update(b"m", 9, 49), update(b"m", 8, 99), update(b"n", 1)]) == 2
        client.append(KEYS.member(b"m"), "damaged")
        assert await projection.members.write(3, [update(b"m", 9, 50)]) == 0
        assert held(client, b"m") == expected(update(b"m", 9, 50))
        assert await projection.members.write(3, [update(b"m", 9, 51, 77), update(b"m", 10, 1)]) == 0
        assert held(client, b"m") == expected(update(b"m", 10, 1))


async def test_offsets_of_many_digits_compare_as_numbers(redis_url: str, client: redis.Redis) -> None:
    """Neither as text ("9" > "10") nor rounded, up to the documented 2**48."""
    top = 2**48 - 1
    async with Projection(redis_url, KEYS) as projection:
        for offset in (9, 10, 99_999_999_999, top - 1, top):
            assert await projection.members.write(3, [update(b"m", offset)]) == 0
        assert await projection.members.write(3, [update(b"m", top - 1), update(b"m", 10)]) == 2
    assert held(client, b"m") == expected(update(b"m", top))


async def test_a_higher_epoch_wins_whatever_the_partition(redis_url: str, client: redis.Redis) -> None:
    """A topic made anew begins at offset 0, and with other partitions members move: its events are the later ones."""
    later = update(b"m", position_of(1, 0))
    async with Projection(redis_url, KEYS) as projection:
        await projection.members.write(1, [update(b"m", 500)])
        assert await projection.members.write(3, [later]) == 0
        assert await projection.members.write(1, [update(b"m", 501), Deletion(b"m", 502, 9_000)]) == 2
    assert held(client, b"m") == expected(later)


async def test_a_tombstone_keeps_a_stale_writer_out_and_ends(redis_url: str, client: redis.Redis) -> None:
    """Deleted: only pos stays and says so, for a day; an older event can't bring the member back."""
    async with Projection(redis_url, KEYS) as projection:
        await projection.members.write(3, [update(b"m", 5)])
        assert await projection.members.write(3, [Deletion(b"m", 6, 2_000)]) == 0
        assert held(client, b"m") == {b"pos": b"0:3:6:2000:gone"}
        assert TOMBSTONE_TTL_S - 5 <= client.ttl(KEYS.member(b"m")) <= TOMBSTONE_TTL_S
        assert await projection.members.write(3, [update(b"m", 5, 9_999)]) == 1
        assert await projection.members.write(3, [Deletion(b"m", 4, 9_999)]) == 1
        assert held(client, b"m") == {b"pos": b"0:3:6:2000:gone"}


async def test_a_delete_of_long_ago_removes_who_is_held_and_leaves_lists_and_no_tombstone(
    redis_url: str, client: redis.Redis
) -> None:
    """As a rebuild writes it: nothing of who isn't there, is only on a list, or has a tombstone already."""
    deleted, listed = Deletion(b"m", 6, 0, only_if_held=True), {b"buyers@1": b"2:9"}
    async with Projection(redis_url, KEYS) as projection:
        assert await projection.members.write(3, [deleted]) == 0
        assert held(client, b"m") == {}
        await projection.rows.enlist(b"buyers@1", [(b"m", b"2:9")])
        assert await projection.members.write(3, [deleted]) == 0
        assert held(client, b"m") == listed
        assert (
            await projection.members.write(3, [update(b"m", 5), deleted, update(b"n", 7)._replace(member_id=b"n")]) == 0
        )
        assert held(client, b"m") == listed
        assert (
            await projection.members.write(3, [update(b"o", 5), deleted._replace(member_id=b"o"), Deletion(b"m", 6, 0)])
            == 0
        )
        assert not client.exists(KEYS.member(b"o"))
        client.expire(KEYS.member(b"m"), 100)
        assert await projection.members.write(3, [deleted]) == 0
        assert client.ttl(KEYS.member(b"m")) <= 100
        assert await projection.members.write(3, [update(b"n", 7), Deletion(b"n", 6, 0, only_if_held=True)]) == 1


@pytest.mark.parametrize("fields", [FIELDS, ()])
async def test_a_member_that_comes_back_replaces_its_tombstone_whole(
    redis_url: str, client: redis.Redis, fields: tuple[bytes, ...]
) -> None:
    """Nothing of the tombstone stays, least of all its time to live; also when no model is published."""
    again = update(b"m", 7)._replace(fields=fields, memberships=[(1, 2) for _ in fields])
    async with Projection(redis_url, KEYS) as projection:
        await projection.members.write(3, [update(b"m", 5)])
        await projection.members.write(3, [Deletion(b"m", 6, 2_000)])
        assert await projection.members.write(3, [again]) == 0
    assert held(client, b"m") == expected(again)
    assert client.ttl(KEYS.member(b"m")) == -1


async def test_deletion_and_update_of_one_member_in_one_write(redis_url: str, client: redis.Redis) -> None:
    """The later position wins whatever the order in the list."""
    async with Projection(redis_url, KEYS) as projection:
        await projection.members.write(
            3, [Deletion(b"m", 6, 1), update(b"m", 7), update(b"n", 7), Deletion(b"n", 8, 1)]
        )
    assert held(client, b"m") == expected(update(b"m", 7))
    assert held(client, b"n") == expected(Deletion(b"n", 8, 1))


async def test_another_partitions_member_is_left_alone_and_stops_the_writer(
    redis_url: str, client: redis.Redis
) -> None:
    """After a change of the partition count offsets can't be compared: no silent nonsense."""
    async with Projection(redis_url, KEYS) as projection:
        await projection.members.write(3, [update(b"m", 5)])
        first = "SHA-256 62c66a7a5dd70c31…, is at partition 3, offset 5 there, and at offset 500 here"  # sha256sum of m
        with pytest.raises(PartitionMismatch, match=rf"1 of 2 members .*{first}.* docs/operations.md"):
            await projection.members.write(1, [update(b"n", 400), update(b"m", 500)])
        with pytest.raises(PartitionMismatch, match=first):
            await projection.members.write(1, [Deletion(b"m", 500, 1)])
    assert held(client, b"m") == expected(update(b"m", 5))
    assert held(client, b"n")[POS] == b"0:1:400:1000:"


async def test_a_release_takes_away_what_is_a_partitions_own(redis_url: str, client: redis.Redis) -> None:
    """Its row goes, also a tombstone, and leaves none, so that another partition may write; lists stay, what another
    partition wrote stays, and so does who is only on lists."""
    async with Projection(redis_url, KEYS) as projection:
        await projection.members.write(3, [update(b"m", 5), update(b"listed", 5), Deletion(b"gone", 5, 1)])
        await projection.members.write(1, [update(b"other", 5)])
        await projection.rows.enlist(b"vip@1", [(b"listed", b"1:2"), (b"only", b"1:2")])
        ids = [b"m", b"listed", b"gone", b"other", b"only", b"nobody"]
        assert await projection.members.write(3, [Release(member_id) for member_id in ids]) == 0
        assert [held(client, member_id) for member_id in (b"m", b"gone", b"nobody")] == [{}, {}, {}]
        assert held(client, b"listed") == held(client, b"only") == {b"vip@1": b"1:2"}
        assert held(client, b"other")[POS] == b"0:1:5:1000:"
        await projection.members.write(1, [update(b"m", 1), update(b"gone", 1), update(b"listed", 1)])
        assert held(client, b"m")[POS] == held(client, b"gone")[POS] == b"0:1:1:1000:"
        assert held(client, b"listed")[b"vip@1"] == b"1:2"
        await projection.members.write(3, [update(b"n", 5), Deletion(b"n", 6, 1), Release(b"n")])  # in this order
    assert held(client, b"n") == {}


async def test_large_writes_travel_in_short_calls(redis_url: str, client: redis.Redis) -> None:
    """No call holds more members than the measured bound; all arrive, with however many fields."""
    client.config_resetstat()
    async with Projection(redis_url, KEYS) as projection:
        updates = [update(b"m%d" % i, i) for i in range(1_000)]
        assert await projection.members.write(3, updates) == 0
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == -(-1_000 // MEMBERS_PER_CALL)
        many = tuple([membership_field("m", version) for version in range(1, 401)])
        wide = [Update(b"w%d" % i, i, 1, None, many, [(1, 2)] * 400) for i in range(3)]
        assert await projection.members.write(3, wide) == 0
        assert await projection.members.write(3, [Deletion(b"m%d" % i, 2_000, 1) for i in range(50)]) == 0
        assert await projection.members.write(3, []) == 0
    assert client.dbsize() == 1_003
    assert len(held(client, b"w2")) == 401


async def test_each_member_of_a_write_has_its_own_fields(redis_url: str, client: redis.Redis) -> None:
    """Nothing is stored under another's names; what a row held of other versions before is gone with the write."""
    other = update(b"n", 2)._replace(fields=FIELDS[1:], memberships=[(1, 2)])
    async with Projection(redis_url, KEYS) as projection:
        await projection.members.write(3, [update(b"n", 1)])
        await projection.members.write(3, [update(b"m", 1), other, update(b"o", 2)])
    assert held(client, b"m") == expected(update(b"m", 1))
    assert held(client, b"n") == expected(other)
    assert held(client, b"o") == expected(update(b"o", 2))


_LISTED = st.tuples(st.just("list"), st.integers(0, 3), st.integers(0, 9))
_DROPPED = st.tuples(st.just("drop"), st.integers(0, 3), st.just(0))
_WRITTEN = st.tuples(st.just("write"), st.just(0), st.integers(0, 9))
_DELETED = st.tuples(st.just("delete"), st.just(0), st.integers(0, 9))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(_LISTED, _DROPPED, _WRITTEN, _DELETED), max_size=12))
def test_lists_and_scores_share_a_row_and_leave_each_other_alone(
    redis_url: str, client: redis.Redis, steps: list[tuple[str, int, int]]
) -> None:
    """Against a model of the row: position and scores from the highest position, and each list's own value.

    A tombstone takes all lists along and lets none in; names that begin alike aren't mixed up.
    """
    lists = [b"a@1", b"a@11", b"aa@1", b"b@1"]
    member = uuid.uuid4().hex.encode()
    scores: dict[bytes, bytes] = {}
    listed: dict[bytes, bytes] = {}
    last = -1

    async def main() -> None:
        nonlocal scores, last
        async with Projection(redis_url, KEYS) as projection:
            for action, which, value in steps:
                is_tombstone = scores.get(POS, b"").endswith(b":gone")
                change = Deletion(member, value, 1) if action == "delete" else update(member, value, 1)
                if action == "list":
                    refused = await projection.rows.enlist(lists[which], [(member, b"%d:7" % value)])
                    assert refused == ([member] if is_tombstone else [])
                    if not is_tombstone:
                        listed[lists[which]] = b"%d:7" % value
                elif action == "drop":
                    await projection.rows.drop([member], [lists[which]])
                    listed.pop(lists[which], None)
                else:
                    refused_writes = await projection.members.write(3, [change])
                    assert refused_writes == (value < last)
                    if value >= last:
                        scores, last = expected(change), value
                        if action == "delete":
                            listed.clear()
                assert held(client, member) == scores | listed
                assert client.exists(KEYS.member(member)) == bool(scores or listed)

    asyncio.run(main())


async def test_partitions_written_at_once_share_a_connection(redis_url: str, client: redis.Redis) -> None:
    """Concurrent calls of one writer don't mix up their replies."""
    async with Projection(redis_url, KEYS) as projection:
        await asyncio.gather(*[projection.members.write(p, [update(b"p%d" % p, 10)]) for p in range(20)])
        refused = await asyncio.gather(
            *[projection.members.write(p, [update(b"p%d" % p, 9)] * (p % 3)) for p in range(20)]
        )
        names = [c["name"] for c in client.client_list() if c["name"] == "memberstream-worker"]
    assert refused == [p % 3 for p in range(20)]
    assert len(names) == 1
