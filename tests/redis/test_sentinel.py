"""The same writer and look-ups through a sentinel, over a fail-over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keys import KEYS
from nodes import Sentinel
from test_cluster import build, patiently, updates

from memberstream.stream.lookup import AsyncLookup, Lookup
from memberstream.stream.projection.calls import RedisUnavailable
from memberstream.stream.projection.projection import Projection

pytestmark = pytest.mark.redis_server


def primary(sentinel: Sentinel) -> int:
    """Return the port of the primary that the sentinel names."""
    named: Any = sentinel.client.sentinel_get_master_addr_by_name("main")
    return int(named[1])


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Sentinel]:
    running = Sentinel(tmp_path)
    yield running
    running.kill()


@pytest.mark.parametrize("is_killed", [False, True])
async def test_writer_and_look_ups_follow_the_primary(sentinel: Sentinel, is_killed: bool) -> None:
    """Ordered by an operator, or because the primary was killed: both go on with the new one, by the same URL."""
    old = sentinel.servers[0]
    with Lookup(sentinel.url) as blocking:
        async with Projection(sentinel.url, KEYS) as projection, AsyncLookup(sentinel.url) as members:
            await build(projection)
            await projection.members.write(0, updates(20, 1))
            assert (await members.get("m3")).offset == 1
            assert (await asyncio.to_thread(blocking.get, "m3")).offset == 1
            if is_killed:
                old.kill()
            else:
                sentinel.client.sentinel_failover("main")
            give_up_at = time.monotonic() + 15
            while primary(sentinel) == old.port:
                assert time.monotonic() < give_up_at
                await patiently(lambda: projection.members.write(0, updates(20, 2)))
                await asyncio.sleep(0.05)
            while not str(sentinel.servers[1].client.get("ms:member:m3")).startswith("0:0:3:1700000000000:|"):
                # What the old primary still took is lost with it: the worker notices by its beacon, and writes again.
                assert time.monotonic() < give_up_at
                await patiently(lambda: projection.members.write(0, updates(20, 3)))
            assert (await patiently(lambda: members.get("m3"))).offset == 3
            assert (await patiently(lambda: asyncio.to_thread(blocking.get, "m3"))).offset == 3


async def test_an_unknown_service_is_said(sentinel: Sentinel) -> None:
    """A misspelt name is no silent wait."""
    async with Projection(sentinel.url.replace("/main", "/mian"), KEYS) as projection:
        with pytest.raises(RedisUnavailable, match="no service mian"):
            await projection.calls.ping()
