"""The local state: one RocksDB per partition, kept as a Faust table store.

The law of this file:
1. A micro-batch and the changelog position it reaches are ONE WriteBatch: after a crash both are there or neither.
   The position lies under Faust's own key, so Faust's recovery and standbys find it where they look for it.
2. Everything written carries its *write position*: how far its partition had been applied when it was written. An
   owner's write positions never go down, and compaction keeps their order; so a changelog record with a lower one than
   a record before it comes from a worker that had lost its partition (paused, then woken). It is refused and reported.
3. Local state is a cache of the changelog. What can't be opened is set aside and rebuilt, never guessed at. And nothing
   is logged twice: RocksDB's own log is off, as in Kafka Streams. After a crash the last write buffers are missing,
   position included, and are read again from the changelog; so no write may bypass `write`.
4. Memory is bounded for the process, not per partition (Faust's default is a 2 GiB block cache per partition).

Value: byte 0 = schema number, bytes 1..8 = write position (little-endian int64), the rest belongs to the pipeline. A
record that deletes has it in its header `written_at`, eight bytes alike. Values of schema 1 had another number there,
and deletions had none: such records are taken as they come.
Keys that begin with a zero byte are bookkeeping: stored and recovered like others, left out of a scan.
Among them, but not in the changelog: when each member falls due, changed in the same WriteBatch (timer_index.py).
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from struct import Struct
from typing import Any, Protocol

import rocksdict
from faust.stores.rocksdb import Store
from faust.types import TP

from models.member import StateError, valid_until_of
from models.timestamps import FOREVER
from stream.state import Timers
from stream.timer_index import TimerIndex

log = logging.getLogger(__name__)

_WRITTEN_AT = Struct("<q")
_PREFIX_BYTES = 9
#: Header of a changelog record that deletes.
WRITTEN_AT_HEADER = "written_at"
#: Where the store keeps the highest write position it has seen of a partition; not in the changelog.
_HIGHEST = b"\0written_at"
#: Bytes of RocksDB block cache of one worker, all partitions together: hot members come from the write buffers and the
#: page cache; the block cache mostly holds index and filter blocks.
BLOCK_CACHE_BYTES = 64 << 20
#: Bytes of one write buffer; at most two per partition (one is filled while the other is flushed).
WRITE_BUFFER_BYTES = 16 << 20
#: Members whose timers are noted between two breaths of the event loop: some milliseconds.
INDEX_SLICE = 1_000


class DataDirInUse(RuntimeError):
    """Another worker process uses this data directory. Give each worker its own."""


class ChangelogRecord(Protocol):
    """The part of aiokafka's ConsumerRecord that recovery reads."""

    key: bytes
    value: bytes | None
    offset: int
    headers: Sequence[tuple[str, bytes]]


def write_position(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> int | None:
    """Return the write position of a changelog record; None: written before there were any.

    Raises ValueError when the value is too short for one.
    """
    if value is None:
        return next((int(_WRITTEN_AT.unpack(data)[0]) for name, data in headers if name == WRITTEN_AT_HEADER), None)
    if len(value) < _PREFIX_BYTES:
        raise ValueError(f"a state value has at least {_PREFIX_BYTES} bytes, this one has {len(value)}")
    return None if value[0] == 1 else int(_WRITTEN_AT.unpack_from(value, 1)[0])


def deletion_headers(written_at: int) -> list[tuple[str, bytes]]:
    """Return the headers of a changelog record that deletes."""
    return [(WRITTEN_AT_HEADER, _WRITTEN_AT.pack(written_at))]


def rewritten(value: bytes, written_at: int) -> bytes:
    """Return a stored value as written at another position."""
    return value[:1] + _WRITTEN_AT.pack(written_at) + value[_PREFIX_BYTES:]


def judge(records: Sequence[ChangelogRecord], highest: int) -> tuple[dict[bytes, bytes | None], set[bytes], int]:
    """Return (key → its last value among records that an owner wrote, keys whose last record isn't one, new highest).

    `highest`: the highest write position before these records.
    """
    latest: dict[bytes, bytes | None] = {}
    refused: set[bytes] = set()
    for record in records:
        position = write_position(record.value, record.headers)
        if position is not None:
            if position < highest:
                refused.add(record.key)
                continue
            highest = position
        latest[record.key] = record.value
        refused.discard(record.key)
    return latest, refused, highest


def _due_ms(key: bytes, value: bytes | None) -> int:
    """Return when a stored member falls due; what isn't a member's state is for its reader to refuse, not for us."""
    if value is None or key[:1] == b"\0":
        return FOREVER
    try:
        return valid_until_of(value)
    except StateError:
        return FOREVER


class DataDir:
    """A worker's own directory, made with its parents and held by a lock until `release` or the process' end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def acquire(self) -> None:
        """Raises DataDirInUse when another process holds it. May be called again by the holder."""
        if self._lock is not None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / "worker.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go when the process dies, also by -9
        except OSError as error:
            holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise DataDirInUse(
                f"the data directory {self.path} is in use by another worker (process {holder}). "
                "Next: stop that worker, or give this one its own data directory."
            ) from error
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def release(self) -> None:
        """Let go of the directory. Does nothing when it isn't held."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class StateStore(Store):  # type: ignore[misc]  # Faust ships no usable types: its classes are Any
    """Faust's RocksDB table store with batches in place of single keys."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cache = rocksdict.Cache(BLOCK_CACHE_BYTES)
        self._unlogged = rocksdict.WriteOptions()
        self._unlogged.disable_wal = True  # law 3
        self._timers: dict[int, TimerIndex] = {}  # of the open databases

    # -- for the pipeline -------------------------------------------------------------------------------------------

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of `keys` in their order, None where there is none."""
        found: list[bytes | None] = self._db_for_partition(partition).get(list(keys)) if keys else []
        return found

    def write(
        self,
        partition: int,
        items: Sequence[tuple[bytes, bytes | None]],
        changelog_offset: int,
        written_at: int,
        timers: Timers = (),
    ) -> None:
        """One atomic write: the items (None deletes), and that the changelog is contained up to `changelog_offset`.

        `written_at`: the highest write position up to there. `timers`: of the items that fall due at another time now.
        """
        database, index = self._db_for_partition(partition), self.timers(partition)
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in items:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(_HIGHEST, _WRITTEN_AT.pack(written_at))
        batch.put(self.offset_key, b"%d" % changelog_offset)
        index.change(batch, timers, changelog_offset)
        database.write(batch, self._unlogged)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """As `write` without items: Faust's own would be logged, and outlive a crash without what it stands for."""
        self.write(tp.partition, [], offset, self.written_at(tp.partition))

    def written_at(self, partition: int) -> int:
        """The highest write position that the partition's state has seen; -1 before the first."""
        stored = self._db_for_partition(partition).get(_HIGHEST)
        return -1 if stored is None else int(_WRITTEN_AT.unpack(stored)[0])

    def scan(self, partition: int) -> Generator[tuple[bytes, bytes], None, None]:
        """All members of a partition in the order of their keys, as they are at the moment of the first step."""
        snapshot = self._db_for_partition(partition).snapshot()
        for key, value in snapshot.items(from_key=b"\x01"):  # bookkeeping keys sort before
            if key != self.offset_key:
                yield key, value

    def approximate_count(self, partition: int) -> int:
        """RocksDB's own estimate of the number of keys; costs nothing, may count a key twice until compaction."""
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
        """Make the index of timers whole if an older version has written the state; writes may go on beside it."""
        database, index = self._db_for_partition(partition), self.timers(partition)
        if index.is_whole:
            return
        log.info("partition %d: noting when its members fall due, which an older version did not", partition)
        batch = rocksdict.WriteBatch(raw_mode=True)
        index.clear(batch)
        with closing(self.scan(partition)) as members:  # its snapshot would keep a closed database locked
            while keys := [key for key, _ in islice(members, INDEX_SLICE)]:
                values = zip(keys, self.get_many(partition, keys), strict=True)  # as of now, not of the scan
                index.change(batch, [(key, FOREVER, _due_ms(key, value)) for key, value in values])
                database.write(batch, self._unlogged)
                await asyncio.sleep(0)
                batch = rocksdict.WriteBatch(raw_mode=True)
        index.begin_to_count()
        self.write(partition, [], int(database.get(self.offset_key)), self.written_at(partition))

    # -- for recovery and standbys ----------------------------------------------------------------------------------

    def apply(self, partition: int, records: Sequence[ChangelogRecord]) -> tuple[set[bytes], set[bytes]]:
        """Apply one fetch of changelog records in one atomic write.

        Returns (keys whose last record here was refused as a stale worker's, keys set right by this fetch).
        """
        latest, refused, highest = judge(records, self.written_at(partition))
        timers = self._timers_of(partition, latest)
        self.write(partition, list(latest.items()), records[-1].offset, highest, timers)
        return refused, set(latest) - refused

    def _timers_of(self, partition: int, latest: Mapping[bytes, bytes | None]) -> Timers:
        """Return how writing these values changes when their members fall due."""
        index = self.timers(partition)
        if not index.is_whole:
            return ()  # it is made anew when the partition is assigned
        keys = list(latest)
        before = (
            self.get_many(partition, keys) if index.count else [None] * len(keys)
        )  # nobody waited: nothing to look for
        return [
            (key, was_due_ms, due_ms)
            for key, old in zip(keys, before, strict=True)
            if (due_ms := _due_ms(key, latest[key])) != (was_due_ms := _due_ms(key, old))
        ]

    # -- opening and closing ----------------------------------------------------------------------------------------

    def _open_for_partition(self, partition: int) -> Any:
        path = self.partition_path(partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._open(partition, path)
        except Exception as error:  # rocksdict raises bare Exception
            if "lock" in str(error).lower() or "corrupt" not in str(error).lower():
                raise
            aside = path.with_name(f"{path.name}.corrupt-{int(time.time())}")
            path.rename(aside)
            log.error(
                "local state of partition %d is corrupt (%s): set aside as %s, rebuilding it from the changelog. "
                "Next: check the disk; remove that directory when you no longer need it.",
                partition, error, aside,
            )  # fmt: skip
            return self._open(partition, path)

    def _open(self, partition: int, path: Path) -> Any:
        database = rocksdict.Rdict(str(path), options=self._rocksdb_options())
        self._timers[partition] = TimerIndex(database, database.get(self.offset_key))
        return database

    def _rocksdb_options(self) -> Any:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(2)
        options.set_max_background_jobs(2)  # flush and compaction must not take the cores that score
        options.set_max_open_files(256)  # per partition: many partitions must fit into the usual limit of 1,024
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_bloom_filter(10, block_based=False)  # 1% false positives: new members don't read the disk
        options.set_block_based_table_factory(table)
        return options

    def revoke_partitions(self, table: Any, tps: set[TP]) -> None:
        """Close what another worker owns now, at once: its lock on the files must not wait for the collector."""
        for tp in tps:
            if tp.topic in table.changelog_topic.topics and (db := self._dbs.pop(tp.partition, None)) is not None:
                del self._timers[tp.partition]
                db.close()

    async def stop(self) -> None:
        """Close every partition; flushing may take a moment, so not in the event loop."""
        databases = list(self._dbs.values())
        self._dbs.clear()
        self._timers.clear()
        for db in databases:
            await asyncio.to_thread(db.close)
