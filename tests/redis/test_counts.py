"""Counts as they are read: nothing that isn't a count becomes one, and whoever reads is told what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from keys import KEYS

from memberstream.models.counts import Cell, Tally
from memberstream.models.old_counts import OldCell, OldTally
from memberstream.stream.keyspace.formats import Beacon
from memberstream.stream.projection.count_reader import CountsUnavailable, read, read_old
from memberstream.stream.projection.projection import CountProjection

CELL = Cell("spring", 1_700_000_000_000, "activity@1", 1, False, "exposed", 20_000)
OLD = OldCell("spring", "activity@1", 1, False, "exposed", 20_000), OldTally(3, 4, 0.1, 0.01, 1)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


async def test_what_is_no_count_is_told_of(redis_url: str, client: redis.Redis) -> None:
    """A foreign field, a damaged value, a partition that isn't a number: an error with its way out, not a traceback."""
    projection = CountProjection(redis_url, KEYS)
    taken_away = CELL._replace(kind="click")
    assert await projection.counts.write(0, 5, {CELL: Tally(3, 4), taken_away: Tally(), OLD[0]: OLD[1]})
    await projection.counts.tell_partitions(1)
    await projection.counts.tell({0: Beacon(1, 1, 1)})
    await projection.calls.close()
    assert read(redis_url, KEYS, ["spring", "autumn"]) == {CELL: Tally(3, 4)}
    assert read_old(redis_url, KEYS, ["spring", "autumn"]) == {OLD[0]: OLD[1]}
    for key, field, value in (
        (KEYS.cells("spring"), b"0 some other field", b"1"),
        (KEYS.cells("spring"), b"0 0 activity@1 1 0 click 20000 0", b"1 2 three 4"),
        (KEYS.cells("spring"), b"\xff \xff", b"1"),
        (KEYS.counted, b"p\xff", b"1:1:1"),
        (KEYS.counted, b"partitions", b"many"),
    ):
        before = client.hget(key, field)
        client.hset(key, field, value)
        with pytest.raises(CountsUnavailable, match=r"isn't a count .* Next: remove the keys ms:cells:\*"):
            read(redis_url, KEYS, ["spring"])
        client.hset(key, field, before) if before else client.hdel(key, field)
    assert read(redis_url, KEYS, ["spring"]) == {CELL: Tally(3, 4)}
