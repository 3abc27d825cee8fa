"""Counts of interactions into Redis: a copy of what the state holds. A worker that has lost its partition is refused.

Law: values are whole, so a call may be repeated. What Redis holds of a partition comes from the latest *term* that
wrote there (stream/interactions/pipeline.py). Terms are compared inside Redis (stream/lua/counts.lua).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from memberstream.models.counts import AnyCell, AnyTally, Cell, field_of, text_of
from memberstream.stream.keyspace import formats as keyspace
from memberstream.stream.keyspace.formats import Beacon
from memberstream.stream.projection.calls import COUNTS_PER_CALL, Calls, meta
from memberstream.stream.projection.partitions import is_older, last_of, pack_beacons


class Counts:
    """Writes counts, and how far they are. Raises like Calls."""

    def __init__(self, calls: Calls) -> None:
        self._calls, self._keys = calls, calls.keys
        self._counts, self._beacon = calls.script("counts"), calls.script("owner", "beacon")
        self._acknowledged: dict[int, Beacon] = {}

    async def write(self, partition: int, term: int, counts: Mapping[AnyCell, AnyTally]) -> bool:
        """Write some counts of a partition. Returns False if a later owner has written there."""
        pairs: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for cell, tally in counts.items():
            key = self._keys.cells if isinstance(cell, Cell) else self._keys.counts
            pairs[key(cell.campaign)] += (f"{partition} {field_of(cell)}".encode(), text_of(tally).encode())
        size = 2 * COUNTS_PER_CALL
        calls = [
            self._counts.pack([key], [b"%d" % partition, b"%d" % term, *some[at : at + size]])
            for key, some in pairs.items()
            for at in range(0, len(some), size)
        ]
        return all(await self._calls.call(calls))

    async def lost(self, partitions: Sequence[int]) -> list[int]:
        """Return own partitions whose counts Redis has lost, by a restart or a fail-over.

        Write all their counts again, and only then `tell`.
        """
        [found] = await self._calls.call([meta(b"HMGET", self._keys.counted, *partitions)])
        lost = list(partitions) if self._calls.reconnected() else self._older(last_of(partitions, found))
        for partition in lost:
            self._acknowledged.pop(partition, None)
        return lost

    async def tell(self, beacons: Mapping[int, Beacon]) -> list[int]:
        """Tell how far the counts of own partitions are. Returns those that were lost since `lost` was asked."""
        [[_, *found]] = await self._calls.call([pack_beacons(self._calls, self._beacon, self._keys.counted, beacons)])
        lost = self._older(last_of(list(beacons), found[1::2]))
        if self._calls.reconnected():
            lost = list(beacons)
        self._acknowledged = dict(beacons)
        return lost

    def _older(self, last: Mapping[int, Beacon | None]) -> list[int]:
        return [p for p, found in last.items() if is_older(found, self._acknowledged.get(p))]

    async def tell_partitions(self, n_partitions: int) -> None:
        """Tell how many partitions there are, so that readers notice missing counts."""
        await self._calls.call([self._calls.write(b"HSET", self._keys.counted, keyspace.PARTITIONS, n_partitions)])

    async def reset(self, partition: int) -> None:
        """Forget how far a partition was: in a new epoch its offsets begin at 0."""
        await self._calls.call([self._calls.write(b"HDEL", self._keys.counted, partition)])
