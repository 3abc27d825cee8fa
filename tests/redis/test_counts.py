"""Counts as they are read: nothing that isn't a count becomes one, and whoever reads is told what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from models.counts import Cell, Tally
from stream.count_projection import CountProjection
from stream.counts import CountsUnavailable, read
from stream.keyspace import COUNTED, Beacon, counts_key

CELL = Cell("spring", "activity@1", 1, False, "exposed", 20_000)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


async def test_what_is_no_count_is_told_of(redis_url: str, client: redis.Redis) -> None:
    """A foreign field, a damaged value, a partition that isn't a number: an error with its way out, not a traceback."""
    async with CountProjection(redis_url) as projection:
        assert await projection.write_counts(0, 5, {CELL: Tally(3, 4)})
        await projection.tell_partitions(1)
        await projection.tell_counted({0: Beacon(1, 1, 1)})
    assert read(redis_url, ["spring", "autumn"]) == {CELL: Tally(3, 4)}
    for key, field, value in (
        (counts_key("spring"), b"0 some other field", b"1"),
        (counts_key("spring"), b"0 activity@1 1 0 click 20000", b"1 2 three 4 5"),
        (counts_key("spring"), b"\xff \xff", b"1"),
        (COUNTED, b"p\xff", b"1:1:1"),
        (COUNTED, b"partitions", b"many"),
    ):
        before = client.hget(key, field)
        client.hset(key, field, value)
        with pytest.raises(CountsUnavailable, match=r"isn't a count .* Next: remove the keys ms:counts:\*"):
            read(redis_url, ["spring"])
        client.hset(key, field, before) if before else client.hdel(key, field)
    assert read(redis_url, ["spring"]) == {CELL: Tally(3, 4)}
