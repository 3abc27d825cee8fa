"""State as the pipeline sees it: what is on the worker's disk, and the changelog behind it.

The law of this file:
1. Changelog before disk: `write` follows the acknowledgement of `publish`. If local state were ahead of the changelog,
   a replay would skip what the changelog never got. The other way round recovery reads the difference again.
2. If a batch fails between `publish` and `write`, what was published is taken back: what the disk has is published
   behind it. So a failed batch has changed nothing, for this process and for the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from memberstream.models.member import MAX_STATE_BYTES, Move
from memberstream.models.position import NOWHERE
from memberstream.stream.faust_batch.changelog import Changelog
from memberstream.stream.faust_batch.errors import Fenced, StateTooLarge
from memberstream.stream.faust_batch.store import StateStore
from memberstream.stream.partition.census import Census
from memberstream.stream.partition.changelog_topic import MESSAGE_BYTES
from memberstream.stream.partition.state import Items, Timer, Timers
from memberstream.stream.partition.write_position import rewritten


class PartitionState:
    """Keyed state of the owned partitions. Use it only while batches are handled, from the event loop.

    Args:
        store: returns the local state; it is there once the app has been prepared.
        is_member: asks whether this worker still owns its partitions.

    Attributes:
        largest: bytes of the largest value that the changelog takes.
    """

    def __init__(
        self, store: Callable[[], StateStore], changelog: Changelog, is_member: Callable[[], Awaitable[bool]]
    ) -> None:
        self._store_of, self._changelog, self._is_member = store, changelog, is_member
        self.largest = MAX_STATE_BYTES
        self._unwritten: dict[int, list[Items]] = {}  # partition → what was published and isn't on disk (law 2)
        self._written_at: dict[int, int] = {}  # partition → the highest write position of what was published

    @property
    def store(self) -> StateStore:
        """The local state."""
        return self._store_of()

    def start(self, partition: int, last_offset: int) -> None:
        """The recovery calls this: the partition's local state contains the changelog up to `last_offset`."""
        self._changelog.start(partition, last_offset)
        self._unwritten.pop(partition, None)
        self._written_at.pop(partition, None)

    def written_at(self, partition: int) -> int:
        """The highest write position in the partition's changelog. The next write must not be below it."""
        return max(self.store.written_at(partition), self._written_at.get(partition, NOWHERE))

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of `keys` in their order; None if a key has none."""
        return self.store.get_many(partition, keys)

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield every (key, value) except bookkeeping, in key order, from a snapshot taken at the first step."""
        return self.store.scan(partition)

    def members(self, partition: int, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return members as they are now, in key order behind `after`: up to `limit` of what `scan` finds."""
        return self.store.members(partition, after, limit)

    def approximate_count(self, partition: int) -> int:
        """RocksDB's estimate of the number of keys, for metrics."""
        return self.store.approximate_count(partition)

    def timers_count(self, partition: int) -> int:
        """The number of members that will fall due."""
        return self.store.timers_count(partition)

    def write(
        self,
        partition: int,
        items: Items,
        changelog_offset: int,
        written_at: int,
        timers: Timers = (),
        moves: Sequence[Move] = (),
    ) -> None:
        """Write to disk, atomically, the items for which `publish` returned `changelog_offset` (None deletes).

        `timers`: of all members that now fall due at another time than before, including members that are gone.
        `moves`: of all members that are in other clusters than before, including members that are new or gone.
        """
        self.store.write(partition, items, changelog_offset, written_at, timers, moves)
        self._unwritten.pop(partition, None)

    def census(self, partition: int) -> Census:
        """How many members are in which cluster."""
        return self.store.census(partition)

    def stale(self, partition: int) -> frozenset[bytes]:
        """Keys whose last record in the changelog is a stale worker's. What is on disk of them is right."""
        return self.store.stale(partition)

    def end_recount(self, partition: int) -> int:
        """Replace the counts by those that were counted anew. Returns how many counts were wrong."""
        return self.store.end_recount(partition)

    def due(self, partition: int, until_ms: int, limit: int, after: Timer | None = None) -> list[Timer]:
        """Return up to `limit` members due at `until_ms`, the longest due first; only those behind `after`."""
        return self.store.timers(partition).due(until_ms, limit, after)

    def next_due_ms(self, partition: int) -> int:
        """A time before which nobody falls due. Usually somebody falls due at that time."""
        return self.store.timers(partition).next_due_ms()

    async def index_timers(self, partition: int) -> None:
        """Make the timers whole if the local state was written by a version that had none."""
        await self.store.index_timers(partition)

    async def publish(self, partition: int, items: Items, written_at: int) -> int:
        """Append one record for each item to the changelog (keys distinct; None deletes). Returns the last one's
        offset.

        `written_at`: the write position of all items, which their values carry, too (write_position.py).

        Returns when every in-sync replica has them. Raises Fenced, ForeignWrite, StateTooLarge (then nothing is sent),
        KafkaError. Without items it returns the offset known so far.
        """
        if not items:
            return self._changelog.last(partition)
        largest = max((len(value) for _, value in items if value is not None), default=0)
        if largest > self.largest:
            raise StateTooLarge(
                f"a state value of {largest} bytes: the limit is {self.largest}. Next: raise max.message.bytes of "
                f"{self._changelog.topic} to {MESSAGE_BYTES}, and start the worker again"
            )
        if not await self._is_member():
            raise Fenced(f"not the owner of partition {partition} any more")
        offset = await self._changelog.append(partition, items, written_at)
        self._unwritten.setdefault(partition, []).append(items)
        self._written_at[partition] = max(written_at, self._written_at.get(partition, NOWHERE))
        return offset

    async def take_back(self, partition: int) -> None:
        """Publish again what the disk has, for keys that were published and not written. Raises like `publish`."""
        if unwritten := self._unwritten.get(partition):
            keys = sorted({key for items in unwritten for key, _ in items})
            written_at = self.written_at(partition)
            found = zip(keys, self.get_many(partition, keys), strict=True)
            items = [(key, None if value is None else rewritten(value, written_at)) for key, value in found]
            self.write(partition, items, await self.publish(partition, items, written_at), written_at)
