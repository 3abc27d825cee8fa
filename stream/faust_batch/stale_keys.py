"""Keys whose last changelog record is a stale worker's, until what is right has been published behind it.

Laws:
1. A note and the changelog position that passes over the stale record are one write. Otherwise a worker that ends
   between recovery and repair would go on behind the record. Nobody would repair it, and compaction could one day keep
   only the stale one.
2. A later record of an owner takes the note away. A repair is one.

The notes are local only, beside the state. Key: a zero byte, a two, and the key itself; the value is empty. They are
held in memory as well, because there are hardly ever any.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from itertools import takewhile
from typing import Any

#: The keys of the notes lie from here to there.
NOTES, NOTES_END = b"\0\2", b"\0\3"


class StaleKeys:
    """The notes of one partition's database.

    Attributes:
        keys: that were noted.
    """

    def __init__(self, database: Any) -> None:
        found = takewhile(lambda key: key < NOTES_END, database.keys(from_key=NOTES))
        self.keys: frozenset[bytes] = frozenset(key[len(NOTES) :] for key in found)

    def change(self, batch: Any, written: Iterable[bytes], refused: Set[bytes]) -> None:
        """Put into `batch`: these keys get an owner's record; the last record of those is refused."""
        if not self.keys and not refused:
            return
        right = self.keys.intersection(written) - refused
        for key in right:
            batch.delete(NOTES + key)
        for key in refused - self.keys:
            batch.put(NOTES + key, b"")
        self.keys = self.keys - right | refused
