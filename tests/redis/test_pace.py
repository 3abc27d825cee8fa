"""The writer's calls reach Redis one at a time, so that a look-up waits for one call, not for a whole batch."""

import asyncio
from urllib.parse import urlsplit

from keys import KEYS
from proxy import CountingProxy

from memberstream.stream.keyspace.formats import membership_field
from memberstream.stream.projection.calls import MEMBERS_PER_CALL
from memberstream.stream.projection.members import Update
from memberstream.stream.projection.projection import Projection

FIELDS = (membership_field("m", 1), membership_field("n", 1))


def updates(prefix: str, n: int) -> list[Update]:
    return [Update(f"{prefix}{i}".encode(), i, 1, None, FIELDS, [(1, 1) for _ in FIELDS]) for i in range(n)]


async def test_one_call_under_way(redis_url: str) -> None:
    """As many round trips as calls, also when two partitions write at once. (Redis is near here, however late this
    machine lets a ping come back: tests/redis/test_paced.py has the other case.)"""
    async with CountingProxy(urlsplit(redis_url).port or 0) as proxy, Projection(proxy.url, KEYS) as projection:
        await projection.calls.ping()
        projection.calls.round_trip.see(0.0)
        proxy.round_trips = 0
        await asyncio.gather(
            projection.members.write(0, updates("a", 5 * MEMBERS_PER_CALL)),
            projection.members.write(1, updates("b", 5 * MEMBERS_PER_CALL)),
        )
        assert proxy.round_trips == 10
