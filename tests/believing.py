"""Beacons that move without a worker, so that look-ups believe that a member doesn't exist (lookup/exchange.py)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from keys import KEYS

from memberstream.stream.keyspace.formats import Beacon, parse_beacon
from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.lookup import AsyncLookup, Lookup

_NOBODY = "nobody at all"


def format_beacon(beacon: Beacon) -> bytes:
    """Return a beacon as stream/lua/beacon.lua writes it."""
    return b"%d:%d:%d" % (beacon.next_offset, beacon.clock_ms, beacon.written_ms)


def beat(redis: Any, keys: Keys = KEYS) -> None:
    """Write each beacon anew, a moment later."""
    for partition, value in redis.hgetall(keys.beacons).items():
        found = parse_beacon(value if isinstance(value, bytes) else value.encode())
        later = Beacon(found.next_offset, found.clock_ms, found.written_ms + 1)
        redis.hset(keys.beacons, partition, format_beacon(later))


def believing(lookup: Lookup, redis: Any, keys: Keys = KEYS) -> None:
    """Return when the client says `unknown member`."""
    give_up_at = time.monotonic() + 10
    while lookup.get(_NOBODY).status != "unknown member":
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
        beat(redis, keys)


async def async_believing(lookup: AsyncLookup, redis: Any) -> None:
    """As `believing`."""
    give_up_at = time.monotonic() + 10
    while (await lookup.get(_NOBODY)).status != "unknown member":
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.02)
        beat(redis)
