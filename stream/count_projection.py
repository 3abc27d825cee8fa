"""Counts of interactions into Redis: a copy of what the state holds, refused of a worker that has lost its partition.

Law: values are whole, so a call may be repeated; and what Redis holds of a partition is of the latest *term* that wrote
there (stream/interactions.py), compared inside Redis (stream/lua/counts.lua).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from models.counts import Cell, Tally, field_of, text_of
from stream import keyspace
from stream.keyspace import Beacon
from stream.projection import Projection, Script, meta

# Of one call: as many fields as keep it under 200 µs (stream/projection.py).
FIELDS_PER_CALL = 50


class CountProjection(Projection):
    """The writer of counts, and of how far they are. Raises as Projection does."""

    def __init__(self, url: str) -> None:
        self._counts = Script("counts")
        super().__init__(url, self._counts)
        self._acknowledged: dict[int, Beacon] = {}

    async def write_counts(self, partition: int, term: int, counts: Mapping[Cell, Tally]) -> bool:
        """Write some counts of a partition; returns False if a later owner has written there."""
        pairs: defaultdict[str, list[bytes]] = defaultdict(list)
        for cell, tally in counts.items():
            pairs[cell.campaign] += (f"{partition} {field_of(cell)}".encode(), text_of(tally).encode())
        size = 2 * FIELDS_PER_CALL
        calls = [
            self._counts.pack([keyspace.counts_key(campaign)], [b"%d" % partition, b"%d" % term, *some[at : at + size]])
            for campaign, some in pairs.items()
            for at in range(0, len(some), size)
        ]
        return all(await self._call(calls))

    async def lost(self, partitions: Sequence[int]) -> list[int]:
        """Return those of the own partitions of which Redis has lost what was written, a restart or fail-over ago.

        Write all their counts again, and only then tell of them.
        """
        [found] = await self._call([meta(b"HMGET", keyspace.COUNTED, *partitions)])
        last = {p: old and keyspace.parse_beacon(old) for p, old in zip(partitions, found, strict=True)}
        lost = list(partitions) if self.reconnected() else [p for p, old in last.items() if self._is_lost(p, old)]
        for partition in lost:
            self._acknowledged.pop(partition, None)
        return lost

    async def tell_counted(self, beacons: Mapping[int, Beacon]) -> list[int]:
        """Say how far the counts of own partitions are; returns those that were lost since `lost` was asked."""
        reply = await self.beacon(beacons, keyspace.COUNTED)
        lost = [partition for partition, last in reply.last.items() if self._is_lost(partition, last)]
        self._acknowledged = dict(beacons)
        return lost

    def _is_lost(self, partition: int, found: Beacon | None) -> bool:
        written = self._acknowledged.get(partition)
        return written is not None and (found is None or found.written_ms < written.written_ms)

    async def tell_partitions(self, n_partitions: int) -> None:
        """Say how many partitions there are, so that readers know when counts are missing."""
        await self._call([meta(b"HSET", keyspace.COUNTED, keyspace.PARTITIONS, n_partitions)])

    async def known(self) -> int:
        """Return up to which offset of the models' log readers know of campaigns; -1: of none."""
        [offset] = await self._call([meta(b"GET", keyspace.KNOWN)])
        return -1 if offset is None else int(offset)
