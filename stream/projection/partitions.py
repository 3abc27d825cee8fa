"""How far each partition is: its worker tells it, commands ask for it.

Law: the reply to a beacon is the beacon that Redis held before. If it is older than the one that was acknowledged,
Redis has lost what was written since.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from memberstream.stream.keyspace import formats as keyspace
from memberstream.stream.keyspace.formats import Beacon, Behind, Door, Scored, Sizes
from memberstream.stream.projection.calls import Calls, meta
from memberstream.stream.wire.cluster import Piece
from memberstream.stream.wire.script import Script

NO_DOORS: Mapping[int, Door] = MappingProxyType({})


class Look(NamedTuple):
    """`epoch`: whether the projection is complete; `done`: partitions finished by a build under way."""

    epoch: bool
    done: int
    beacons: dict[int, Beacon]


class Partitions:
    """What Redis holds about partitions. Raises like Calls."""

    def __init__(self, calls: Calls) -> None:
        self._calls, self._keys = calls, calls.keys

    async def tell(
        self,
        scored: Mapping[int, Scored],
        behind: Mapping[int, Behind],
        sizes: Mapping[int, Sizes],
        doors: Mapping[int, Door] = NO_DOORS,
    ) -> None:
        """Tell how far own partitions are scored with the published models, and how far they are behind; of some of
        them also how many members are in which cluster; and where questions about their members are answered.

        These are written in the opposite order: if a reader finds that a partition is scored, what it then reads about
        lacking members is as of that moment or later.
        """
        told: list[tuple[bytes, list[bytes | int]]] = [(self._keys.behind, []), (self._keys.scored, [])]
        for partition, how_far in behind.items():
            told[0][1].extend((partition, keyspace.format_behind(how_far)))
        for partition, so_far in scored.items():
            told[1][1].extend((partition, keyspace.format_scored(so_far)))
        told += [(self._keys.sizes, [arg for p, its in sizes.items() for arg in (p, keyspace.format_sizes(its))])]
        told += [(self._keys.doors, [arg for p, door in doors.items() for arg in (p, keyspace.format_door(door))])]
        await self._calls.call([self._calls.write(b"HSET", key, *args) for key, args in told if args])

    async def scored(self) -> dict[int, Scored]:
        """Return how far each partition is scored with the published models."""
        [flat] = await self._calls.call([meta(b"HGETALL", self._keys.scored)])
        return {int(p): keyspace.parse_scored(value) for p, value in zip(flat[::2], flat[1::2], strict=True)}

    async def behind(self) -> dict[int, Behind]:
        """Return how far each partition is behind; nothing for partitions whose worker is an older version."""
        [flat] = await self._calls.call([meta(b"HGETALL", self._keys.behind)])
        return {int(p): keyspace.parse_behind(value) for p, value in zip(flat[::2], flat[1::2], strict=True)}

    async def sizes(self) -> dict[int, Sizes]:
        """Return how many members of each partition are in which cluster; nothing for partitions that don't tell."""
        [flat] = await self._calls.call([meta(b"HGETALL", self._keys.sizes)])
        return {int(p): keyspace.parse_sizes(value) for p, value in zip(flat[::2], flat[1::2], strict=True)}

    async def doors(self) -> dict[int, Door]:
        """Return where the workers of partitions answer questions about members."""
        [flat] = await self._calls.call([meta(b"HGETALL", self._keys.doors)])
        return {int(p): keyspace.parse_door(value) for p, value in zip(flat[::2], flat[1::2], strict=True)}

    async def look(self) -> Look:
        """Return how far a build is, and how far the workers are."""
        keys = self._keys
        calls = ((b"GET", keys.epoch), (b"HGETALL", keys.built), (b"HGETALL", keys.beacons))
        epoch, built, beacons = await self._calls.call([meta(*call) for call in calls])
        marks = dict(zip(built[::2], built[1::2], strict=True))
        return Look(
            epoch is not None,
            sum(mark.startswith(b"done:") for mark in marks.values()),
            {int(p): keyspace.parse_beacon(b) for p, b in zip(beacons[::2], beacons[1::2], strict=True)},
        )


def pack_beacons(calls: Calls, script: Script, key: bytes, beacons: Mapping[int, Beacon]) -> Piece:
    """Return the call of owner.lua and beacon.lua. `key`: of which topic."""
    args: list[int] = []
    for partition, beacon in beacons.items():
        args += (partition, beacon.next_offset, beacon.clock_ms, beacon.written_ms)
    return calls.small(script, (key, calls.keys.epoch, calls.keys.built), args)


def last_of(partitions: Sequence[int], found: Sequence[Any]) -> dict[int, Beacon | None]:
    """Return partition → the beacon that Redis held; None if it held none."""
    return {p: old and keyspace.parse_beacon(old) for p, old in zip(partitions, found, strict=True)}


def is_older(found: Beacon | None, written: Beacon | None) -> bool:
    """Whether Redis holds an older beacon than the acknowledged one. (A later one is another worker's.)"""
    return written is not None and (found is None or found.written_ms < written.written_ms)
