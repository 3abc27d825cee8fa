"""How many members of one partition are in which cluster, beside their states in the same database.

Laws:
1. At any moment it counts the members with a document, and the members in each cluster of each model version. A change
   of a member's state and the change of the counts are one write, so they agree after a crash, too. The marker shows if
   a version without a census has written the state, as for the timer index.
2. It is local only: nothing of it is in the changelog, because the states say the same.
3. A recount goes on beside writes: a member that was counted already, up to a key, is moved in the recount as well. The
   result takes the place of the counts. If the counts were whole and differed, that was a mistake of ours.

Keys, one for each count that isn't 0: a zero byte and a one, the model's key (u64) and the cluster (i64), big-endian.
Value: the number. The marker: the changelog offset up to which the census is whole, and the number of members with a
document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Any

from memberstream.models.member import Memberships, Move

MARKER = b"\0census"
#: The keys of the counts lie from here to there.
CELLS, CELLS_END = b"\0\1", b"\0\2"
_CELL = Struct(">2sQq")
_NOBODY: Memberships = {}
_NONE = (-1, 0)  # no cluster: ids begin at 0
Cell = tuple[int, int]  # model key, cluster


class Counts:
    """Members with a document, and model key → cluster → members. No count is 0."""

    def __init__(self) -> None:
        self.documents = 0
        self.models: dict[int, Counter[int]] = {}

    def move(self, was: Memberships | None, now: Memberships | None) -> Iterator[Cell]:
        """Yield the changes of counts for a member's change; None: it has no document."""
        self.documents += (now is not None) - (was is not None)
        before, after = was or _NOBODY, now or _NOBODY
        for key, (cluster, _) in before.items():
            if after.get(key, _NONE)[0] != cluster:
                yield self._add(key, cluster, -1)
        for key, (cluster, _) in after.items():
            if before.get(key, _NONE)[0] != cluster:
                yield self._add(key, cluster, 1)

    def _add(self, key: int, cluster: int, n: int) -> Cell:
        clusters = self.models.setdefault(key, Counter())
        clusters[cluster] += n
        if not clusters[cluster]:
            del clusters[cluster]
            if not clusters:
                del self.models[key]
        return key, cluster

    def of(self, cell: Cell) -> int:
        """Return the members of a model's cluster."""
        key, cluster = cell
        return self.models.get(key, _EMPTY).get(cluster, 0)

    def cells(self) -> dict[Cell, int]:
        """Return all counts."""
        return {(key, cluster): n for key, clusters in self.models.items() for cluster, n in clusters.items()}

    def lacking(self, keys: Iterable[int]) -> int:
        """Return how many members lack the version that is lacked by most, among these versions."""
        return max([self.documents - sum(self.models.get(key, _EMPTY).values()) for key in keys], default=0)


_EMPTY: Mapping[int, int] = {}


class Census:
    """The census of one open database.

    Attributes:
        counts: of all members, while `is_whole`.
    """

    def __init__(self, marker: bytes | None, cells: Iterable[tuple[bytes, bytes]], offset: bytes | None) -> None:
        """`marker`, `cells`: as stored. `offset`: the state's, as stored. A new database has none of them."""
        up_to, documents = (marker or b"-1 0").split()
        self.is_whole = up_to == (offset or b"-1")
        self.counts = Counts()
        self._recount: Counts | None = None
        self._counted_to = b""
        if self.is_whole:
            self.counts.documents = int(documents)
            for key, value in cells:
                _, model, cluster = _CELL.unpack(key)
                self.counts.models.setdefault(model, Counter())[cluster] = int(value)

    def change(self, batch: Any, moves: Sequence[Move], offset: int) -> None:
        """Add changes to a RocksDB WriteBatch, and the changelog offset that the state has reached."""
        changed: set[Cell] = set()
        for key, was, now in moves:
            if self._recount is not None and key <= self._counted_to:
                _exhaust(self._recount.move(was, now))
            if self.is_whole:
                changed.update(self.counts.move(was, now))
        if self.is_whole:
            self._put(batch, changed, offset)

    def begin_recount(self) -> None:
        """Begin to count anew. A recount under way is given up."""
        self._recount, self._counted_to = Counts(), b""

    def recount(self, members: Iterable[tuple[bytes, Memberships | None]]) -> None:
        """Count the next members, in the order of their keys, as they are at this moment."""
        assert self._recount is not None  # noqa: S101  (begin_recount)
        for key, memberships in members:
            _exhaust(self._recount.move(None, memberships))
            self._counted_to = key

    def end_recount(self, batch: Any, offset: int) -> int:
        """All members are counted: add the counts to a RocksDB WriteBatch. Returns how many counts were wrong."""
        assert self._recount is not None  # noqa: S101  (begin_recount)
        before, found = self.counts.cells() | {_DOCUMENTS: self.counts.documents}, self._recount
        after = found.cells() | {_DOCUMENTS: found.documents}
        n_wrong = sum(before.get(cell) != after.get(cell) for cell in before | after) if self.is_whole else 0
        self.counts, self._recount, self.is_whole = found, None, True
        batch.delete_range(CELLS, CELLS_END)
        self._put(batch, found.cells(), offset)
        return n_wrong

    def _put(self, batch: Any, cells: Iterable[Cell], offset: int) -> None:
        for cell in cells:
            key, n = _CELL.pack(CELLS, *cell), self.counts.of(cell)
            if n:
                batch.put(key, b"%d" % n)
            else:
                batch.delete(key)
        batch.put(MARKER, b"%d %d" % (offset, self.counts.documents))


_DOCUMENTS: Cell = (-1, -1)


def _exhaust(cells: Iterator[Cell]) -> None:
    for _ in cells:
        pass
