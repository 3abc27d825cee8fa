"""The local state: one RocksDB per partition, kept as a Faust table store.

The law of this file:
1. A micro-batch and the changelog position that it reaches are ONE WriteBatch: after a crash both are there or neither.
   The position lies under Faust's own key, so Faust's recovery and standbys find it where they look for it.
2. Everything written carries its write position (write_position.py). The highest of a partition is kept beside it.
3. Local state is a cache of the changelog, and nothing is logged twice: RocksDB's own log is off, as in Kafka Streams.
   After a crash the last write buffers are missing, position included, and are read again from the changelog. So no
   write may bypass `write`.

Keys that begin with a zero byte are bookkeeping: they are stored and recovered like others, and left out of a scan.
Some of them change in the same WriteBatch but aren't in the changelog: when each member falls due (timer_index.py), how
many members are in which cluster (partition/census.py), and what a repair has to publish (stale_keys.py).

It is one file because Faust calls one object, and each of its writes must carry all of this.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Mapping, Sequence, Set
from contextlib import closing
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import rocksdict
from faust.stores.rocksdb import Store
from faust.types import TP

from memberstream.models.member import Move
from memberstream.models.timestamps import FOREVER
from memberstream.stream.faust_batch.disk import BLOCK_CACHE_BYTES, check_room, open_or_set_aside, options, refusals
from memberstream.stream.faust_batch.stale_keys import StaleKeys
from memberstream.stream.faust_batch.standing import changes, standing
from memberstream.stream.faust_batch.timer_index import TimerIndex
from memberstream.stream.partition.census import CELLS, CELLS_END, MARKER, Census
from memberstream.stream.partition.state import Timers
from memberstream.stream.partition.write_position import WRITTEN_AT, ChangelogRecord, judge

log = logging.getLogger(__name__)
_NONE: frozenset[bytes] = frozenset()

#: Where the store keeps the highest write position of a partition that it has seen. It isn't in the changelog.
_HIGHEST = b"\0written_at"
#: Members whose timers are noted between two breaths of the event loop: some milliseconds.
INDEX_SLICE = 1_000


class StateStore(Store):  # type: ignore[misc]  # Faust ships no usable types: its classes are Any
    """Faust's RocksDB table store with batches in place of single keys."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cache = rocksdict.Cache(BLOCK_CACHE_BYTES)
        self._unlogged = rocksdict.WriteOptions()
        self._unlogged.disable_wal = True  # law 3
        # A pass over all members (a roll call does one every minute) must not push out of the cache what events read.
        self._passing = rocksdict.ReadOptions()
        self._passing.fill_cache(False)
        self._paths: dict[int, Path] = {}
        self._highest: dict[int, int] = {}  # what is stored, of the open databases
        self._timers: dict[int, TimerIndex] = {}  # of the open databases
        self._census: dict[int, Census] = {}
        self._stale: dict[int, StaleKeys] = {}

    # -- for the pipeline -------------------------------------------------------------------------------------------

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of `keys` in their order; None if a key has none."""
        found: list[bytes | None] = self._db_for_partition(partition).get(list(keys)) if keys else []
        return found

    def write(
        self,
        partition: int,
        items: Sequence[tuple[bytes, bytes | None]],
        changelog_offset: int,
        written_at: int,
        timers: Timers = (),
        moves: Sequence[Move] = (),
        refused: Set[bytes] = _NONE,
    ) -> None:
        """Write atomically: the items (None deletes), and that the changelog is contained up to `changelog_offset`.

        `written_at`: the highest write position up to there. `timers`: of items that now fall due at another time.
        `moves`: of items that are now in other clusters. `refused`: keys whose last record is a stale worker's.
        """
        batch = rocksdict.WriteBatch(raw_mode=True)
        self.census(partition).change(batch, moves, changelog_offset)
        self._stale[partition].change(batch, (key for key, _ in items), refused)
        self._write(batch, partition, items, changelog_offset, written_at, timers)

    def _write(
        self,
        batch: Any,
        partition: int,
        items: Sequence[tuple[bytes, bytes | None]],
        changelog_offset: int,
        written_at: int,
        timers: Timers = (),
    ) -> None:
        database, index = self._db_for_partition(partition), self.timers(partition)
        for key, value in items:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(_HIGHEST, WRITTEN_AT.pack(written_at))
        batch.put(self.offset_key, b"%d" % changelog_offset)
        index.change(batch, timers, changelog_offset)
        path = self.partition_path(partition)
        with refusals(partition, path):
            check_room(path, items, self._dbs.values())
            database.write(batch, self._unlogged)
        self._highest[partition] = written_at

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Do a `write` without items. (Faust's own write would be logged, and survive a crash without the state.)"""
        self.write(tp.partition, [], offset, self.written_at(tp.partition))

    def written_at(self, partition: int) -> int:
        """The highest write position that the partition's state has seen; -1 before the first."""
        self._db_for_partition(partition)
        return self._highest[partition]

    def scan(self, partition: int) -> Generator[tuple[bytes, bytes], None, None]:
        """Yield all members of a partition in the order of their keys, as they are at the first step."""
        snapshot = self._db_for_partition(partition).snapshot()
        for key, value in snapshot.items(from_key=b"\x01", read_opt=self._passing):  # bookkeeping keys sort before
            if key != self.offset_key:
                yield key, value

    def members(self, partition: int, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` members behind `after` in the order of their keys, as of now. b"": from the first on."""
        database, begin = self._db_for_partition(partition), max(after + b"\0", b"\x01")
        found = database.items(from_key=begin, read_opt=self._passing)
        return list(islice(((key, value) for key, value in found if key != self.offset_key), limit))

    def approximate_count(self, partition: int) -> int:
        """RocksDB's own estimate of the number of keys. It costs nothing; until compaction it may count a key twice."""
        database = self._dbs.get(partition)  # not _db_for_partition: a scrape must not open what a rebalance closed
        if database is None:
            return 0
        keys = int(database.property_int_value("rocksdb.estimate-num-keys") or 0)
        return max(0, keys - self.timers_count(partition))

    def timers_count(self, partition: int) -> int:
        """The number of members that will fall due."""
        index = self._timers.get(partition)  # as above
        return 0 if index is None else max(0, index.count)

    def timers(self, partition: int) -> TimerIndex:
        """When the partition's members fall due."""
        self._db_for_partition(partition)
        return self._timers[partition]

    async def index_timers(self, partition: int) -> None:
        """Make the index of timers whole if an older version has written the state. Writes may go on meanwhile."""
        database, index = self._db_for_partition(partition), self.timers(partition)
        if index.is_whole:
            return
        log.info("partition %d: noting when its members fall due, which an older version did not", partition)
        batch = rocksdict.WriteBatch(raw_mode=True)
        index.clear(batch)
        with closing(self.scan(partition)) as members:  # its snapshot would keep a closed database locked
            while keys := [key for key, _ in islice(members, INDEX_SLICE)]:
                values = zip(keys, self.get_many(partition, keys), strict=True)  # as of now, not of the scan
                index.change(batch, [(key, FOREVER, standing(value)[0]) for key, value in values])
                database.write(batch, self._unlogged)
                await asyncio.sleep(0)
                batch = rocksdict.WriteBatch(raw_mode=True)
        index.begin_to_count()
        self.write(partition, [], int(database.get(self.offset_key)), self.written_at(partition))

    def census(self, partition: int) -> Census:
        """How many members are in which cluster."""
        self._db_for_partition(partition)
        return self._census[partition]

    def stale(self, partition: int) -> frozenset[bytes]:
        """Keys whose last record in the changelog is a stale worker's. What this store has of them is right."""
        self._db_for_partition(partition)
        return self._stale[partition].keys

    def end_recount(self, partition: int) -> int:
        """Replace the counts by those that were counted anew. Returns how many counts were wrong."""
        offset, batch = self._db_for_partition(partition).get(self.offset_key), rocksdict.WriteBatch(raw_mode=True)
        n_wrong = self._census[partition].end_recount(batch, int(offset or -1))
        if offset is not None:  # else nothing has been written yet, and an empty database is counted
            self._write(batch, partition, [], int(offset), self.written_at(partition))
        return n_wrong

    def partition_path(self, partition: int) -> Path:
        """Return where a partition's database lies. (Faust makes up the path anew each time.)"""
        if (path := self._paths.get(partition)) is None:
            path = self._paths[partition] = super().partition_path(partition)
        return path

    # -- for recovery and standbys ----------------------------------------------------------------------------------

    def apply(self, partition: int, records: Sequence[ChangelogRecord]) -> None:
        """Apply one fetch of changelog records in one atomic write. A stale worker's are refused and noted."""
        latest, refused, highest = judge(records, self.written_at(partition))
        timers, moves = self._changes_of(partition, latest)
        self.write(partition, list(latest.items()), records[-1].offset, highest, timers, moves, refused)

    def _changes_of(self, partition: int, latest: Mapping[bytes, bytes | None]) -> tuple[Timers, Sequence[Move]]:
        """Return what writing these values changes: when their members fall due, and in which clusters they are."""
        index, census = self.timers(partition), self.census(partition)
        if not index.is_whole and not census.is_whole:
            return (), ()  # they are made anew when the partition is assigned
        keys = [key for key in latest if key[:1] != b"\0"]
        is_empty = not index.count and not census.counts.documents and census.is_whole
        before = [None] * len(keys) if is_empty else self.get_many(partition, keys)
        timers, moves = changes(latest, zip(keys, before, strict=True))
        return timers if index.is_whole else (), moves

    # -- opening and closing ----------------------------------------------------------------------------------------

    def _open_for_partition(self, partition: int) -> Any:
        path = self.partition_path(partition)
        with refusals(partition, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return open_or_set_aside(partition, path, lambda: self._open(partition, path))

    def _open(self, partition: int, path: Path) -> Any:
        database = rocksdict.Rdict(str(path), options=options(self._cache))
        offset, highest = database.get(self.offset_key), database.get(_HIGHEST)
        self._highest[partition] = -1 if highest is None else int(WRITTEN_AT.unpack(highest)[0])
        self._timers[partition] = TimerIndex(database, offset)
        cells = takewhile(lambda cell: cell[0] < CELLS_END, database.items(from_key=CELLS))
        self._census[partition] = Census(database.get(MARKER), cells, offset)
        self._stale[partition] = StaleKeys(database)
        return database

    def revoke_partitions(self, table: Any, tps: set[TP]) -> None:
        """Close at once what another worker owns now: the lock on its files must not wait for the garbage collector."""
        for tp in tps:
            if tp.topic in table.changelog_topic.topics and (db := self._dbs.pop(tp.partition, None)) is not None:
                del self._timers[tp.partition], self._census[tp.partition], self._stale[tp.partition]
                db.close()

    async def stop(self) -> None:
        """Close every partition. Not in the event loop, because flushing may take a moment."""
        databases = list(self._dbs.values())
        self._dbs.clear()
        self._timers.clear()
        self._census.clear()
        self._stale.clear()
        for db in databases:
            await asyncio.to_thread(db.close)
