"""Whose keys these are: an installation's id, how it is found out, and how another one's keys are taken over.

Law: the id is made of what Kafka says, never of what Redis holds. So emptying Redis, or an older dump, loses nothing:
whoever finds no id writes its own.
"""

from __future__ import annotations

from time import time
from typing import cast

from memberstream.stream.kafka.cluster_id import cluster_id
from memberstream.stream.keyspace.formats import parse_beacon, parse_behind
from memberstream.stream.projection.calls import Calls, meta
from memberstream.stream.projection.projection import Projection
from memberstream.stream.settings import Settings


async def installation_id(settings: Settings) -> str:
    """Return the id of the installation that these settings name. Raises ClusterUnknown.

    The interactions worker belongs to the installation of its group, though it joins another consumer group.
    """
    return id_of(settings.group, await cluster_id(settings.kafka))


def id_of(group: str, cluster: str) -> str:
    """Return the id as formats.INSTALLATION_FORMAT says."""
    return f"{group}@{cluster}"


async def projection_of(settings: Settings) -> Projection:
    """Return a projection for whoever writes, or must not be misled. Raises ClusterUnknown."""
    return Projection(settings.redis_url, settings.keys, await installation_id(settings))


class TakeOver:
    """The keys of another installation become this one's. `calls`: without an owner, not connected yet."""

    def __init__(self, calls: Calls) -> None:
        self._calls, self._script = calls, calls.script("takeover")

    async def owner(self) -> str | None:
        """Return the id of the installation that has these keys; None: nobody has them."""
        return await owner_of(self._calls)

    async def silent_ms(self) -> int | None:
        """Return how long ago a worker of either kind told how far it is; None: none has told."""
        keys = self._calls.keys
        calls = [meta(b"HGETALL", key) for key in (keys.beacons, keys.counted, keys.behind)]
        beacons, counted, behind = [flat[1::2] for flat in await self._calls.call(calls)]
        told = [parse_beacon(value).written_ms for value in (*beacons, *counted) if b":" in value]
        told += [parse_behind(value).written_ms for value in behind]  # the beacon of a held partition stands
        return int(time() * 1000) - max(told) if told else None

    async def take(self, owner: str, new: str) -> bool:
        """Do it. Returns False if the owner has changed meanwhile.

        What was told of progress is removed. So workers write everything anew, and readers are told `rebuilding` until
        they have.
        """
        keys = self._calls.keys
        told = (
            keys.epoch,
            keys.built,
            keys.known,
            keys.beacons,
            keys.scored,
            keys.behind,
            keys.sizes,
            keys.doors,
            keys.counted,
        )
        [taken] = await self._calls.call(
            [self._script.pack((keys.installation, *told), (owner.encode(), new.encode()))]
        )
        return bool(taken)


async def owner_of(calls: Calls) -> str | None:
    """Return the id of the installation that has these keys; None: nobody has them."""
    [owner] = await calls.call([meta(b"GET", calls.keys.installation)])
    return None if owner is None else cast(bytes, owner).decode("utf-8", "replace")
