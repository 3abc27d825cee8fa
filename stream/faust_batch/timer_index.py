"""The members of one partition in the order in which they fall due, beside their states in the same database.

Laws:
1. There is one entry for each member with a document and an end to its validity, at exactly that time, and no other
   entry. A write that changes a member's state changes its entry, so this holds after a crash, too. The marker shows if
   an older version has written the state without an index.
2. It is local only: nothing of it is in the changelog, because the states say the same. In memory is only where the
   first entry can be. Everything before that has been deleted, and RocksDB would step over each of those entries.

Key of an entry: two zero bytes, the time in ms plus 2^63 as eight bytes big-endian, the member's key. No value.
"""

from __future__ import annotations

import sys
from struct import Struct
from typing import Any

from memberstream.models.timestamps import FOREVER
from memberstream.stream.partition.state import Timer, Timers

#: Up to which changelog offset the index is whole, and how many entries it has. If the state has another offset, a
#: version without an index has written the state.
MARKER = b"\0timers"
_PREFIX, _PREFIX_END = b"\0\0", b"\0\1"
_DUE = Struct(">2sQ")
_SHIFT = 1 << 63
_UNKNOWN = -FOREVER


class TimerIndex:
    """The index in one open database.

    Attributes:
        is_whole: whether all of the state is in it.
        count: entries, once it is whole.
    """

    def __init__(self, database: Any, offset: bytes | None) -> None:
        """`offset`: the state's, as stored; None for a new database."""
        self._database = database
        self._first = _entry(_UNKNOWN, b"")  # no entry lies before this
        up_to, count = (database.get(MARKER) or b"-1 0").split()
        self.is_whole = up_to == (offset or b"-1")
        self.count = int(count)

    def change(self, batch: Any, timers: Timers, offset: int | None = None) -> None:
        """Add changes to a RocksDB WriteBatch. With `offset`, also that the state has reached that changelog offset."""
        for key, was_due_ms, due_ms in timers:
            if was_due_ms < FOREVER:
                batch.delete(_entry(was_due_ms, key))
                self.count -= 1
            if due_ms < FOREVER:
                entry = _entry(due_ms, key)
                batch.put(entry, b"")
                self.count += 1
                self._first = min(self._first, entry)
        if self.is_whole and offset is not None:
            batch.put(MARKER, b"%d %d" % (offset, self.count))

    def clear(self, batch: Any) -> None:
        """Add the removal of all entries to a RocksDB WriteBatch."""
        batch.delete_range(_PREFIX, _PREFIX_END)

    def begin_to_count(self) -> None:
        """The index is empty: from now on all of the state goes into it."""
        self.count = len(self.due(FOREVER - 1, sys.maxsize))
        self.is_whole = True

    def due(self, until_ms: int, limit: int, after: Timer | None = None) -> list[Timer]:
        """Return up to `limit` members due at `until_ms`, the longest due first; only those behind `after`."""
        begin = self._first if after is None else _entry(*after) + b"\0"
        end = _entry(until_ms + 1, b"")
        found: list[Timer] = []
        if begin >= end:
            return found
        first = _entry(FOREVER, b"")
        for entry in self._database.keys(from_key=begin):
            first = min(first, entry)
            if entry >= end or len(found) == limit:
                break
            found.append(Timer(_due_ms(entry), entry[_DUE.size :]))
        if after is None:
            self._first = first
        return found

    def next_due_ms(self) -> int:
        """Return a time before which nobody falls due. Usually somebody falls due at that time."""
        return _due_ms(self._first)


def _entry(due_ms: int, key: bytes) -> bytes:
    return _DUE.pack(_PREFIX, due_ms + _SHIFT) + key


def _due_ms(entry: bytes) -> int:
    return int(_DUE.unpack_from(entry)[1]) - _SHIFT
