"""RocksDB on the worker's disk: how a database is opened, how much it may take, and what a refusal of the disk means.

Laws:
1. A database that is damaged and can't be opened is set aside and made anew from the changelog, never guessed at.
2. Memory is bounded for the process, not for each partition (Faust's default is a 2 GiB block cache for each).
3. A write for which the disk may have no room isn't begun.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rocksdict

from memberstream.stream.partition.state import StateUnusable

log = logging.getLogger(__name__)

#: Bytes of RocksDB's block cache in one worker, all partitions together. Members that are often needed come from the
#: write buffers and the page cache. The block cache mostly holds index and filter blocks.
BLOCK_CACHE_BYTES = 32 << 20
#: Bytes of one write buffer. A partition has two at most: one is filled while the other is flushed. Each is taken from
#: the allocator in one piece, so that a new one takes the place of an old one. In RocksDB's pieces of 1 MB they lay
#: among other allocations, and the heap grew for half an hour. A flush begins when three quarters are used.
WRITE_BUFFER_BYTES = 8 << 20
#: Flushed buffers that are compacted together: about as many bytes as four of 16 MB, RocksDB's usual number.
LEVEL_ZERO_FILES = 8
#: Bytes that must be free beyond what isn't flushed yet. RocksDB waits inside of `write` for a flush that has no room,
#: and the whole process waits with it, health included. So then it isn't asked to write. With plenty of free space
#: nothing needs to be counted.
ROOM_BYTES, PLENTY_BYTES = 4 * WRITE_BUFFER_BYTES, 4 << 30
_UNFLUSHED = "rocksdb.cur-size-all-mem-tables"


def options(cache: Any) -> Any:
    """Return RocksDB's options of one partition's database. `cache`: shared by all of them, of BLOCK_CACHE_BYTES."""
    found = rocksdict.Options(raw_mode=True)
    found.create_if_missing(True)
    found.set_write_buffer_size(WRITE_BUFFER_BYTES)
    found.set_arena_block_size(WRITE_BUFFER_BYTES)
    found.set_max_write_buffer_number(2)
    found.set_level_zero_file_num_compaction_trigger(LEVEL_ZERO_FILES)
    found.set_max_background_jobs(2)  # flush and compaction must not take the cores that score
    found.set_max_open_files(256)  # per partition: many partitions must fit into the usual limit of 1,024
    table = rocksdict.BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_bloom_filter(10, block_based=False)  # 1% false positives: new members don't read the disk
    found.set_block_based_table_factory(table)
    return found


@contextmanager
def refusals(partition: int, path: Path) -> Iterator[None]:
    """Put this around everything that uses the disk: a refusal becomes an error that says what to do."""
    try:
        yield
    except Exception as error:  # rocksdict raises bare Exception
        why = str(error) or type(error).__name__
        raise StateUnusable(
            f"the state of partition {partition} in {path} can't be used: {why}. Next: see whether that disk is "
            "full (df) or broken, make room or take another MEMBERSTREAM_DATA_DIR, and start the worker; nothing "
            "is lost"
        ) from error


def open_or_set_aside(partition: int, path: Path, open_: Callable[[], Any]) -> Any:
    """Return the database that `open_` opens at `path`. A corrupt one is set aside first."""
    try:
        return open_()
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
        return open_()


def check_room(path: Path, items: Sequence[tuple[bytes, bytes | None]], databases: Iterable[Any]) -> None:
    """Raise OSError unless there is room to flush what isn't on disk yet, with these items, and to compact it once."""
    found = os.statvfs(path)
    if (free := found.f_bavail * found.f_frsize) > PLENTY_BYTES:
        return
    pending = sum(len(key) + len(value or b"") for key, value in items)
    pending += sum(int(db.property_int_value(_UNFLUSHED) or 0) for db in databases)
    if free < (needed := ROOM_BYTES + 2 * pending):
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {free >> 20} MiB, {needed >> 20} are needed")
