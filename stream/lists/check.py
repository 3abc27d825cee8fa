"""The rows of a list, judged: what a member id and a cluster may be, and who stands there twice.

Laws:
- A member id is what the key of a change event may be (models/event.py), judged by the same function. A cluster is a
  whole number from 0 to 2**31 - 1.
- A repeated row is counted and left out. Another cluster for the same member is refused, naming both lines; the first
  row stays.
- Of each member 28 bytes are kept, not the id: 128 bits of hash, the cluster and the line. (In a list of a million, two
  ids have the same hash with a probability of 1 in 10**26.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from memberstream.models.event import MAX_KEY_BYTES, BadEvent, decode_key
from memberstream.models.model_file import MAX_CLUSTER_ID
from memberstream.stream.files.lists import RawChunk, Rejected
from memberstream.stream.files.parquet import key_of

_CLUSTER = f"cluster: expected a whole number from 0 to {MAX_CLUSTER_ID}"
#: UTF-8 needs at most 4 bytes for a character, so an id of this many characters needn't be measured.
_SURELY_SHORT = MAX_KEY_BYTES // 4


class Judged(NamedTuple):
    """Rows that can be taken, and those that can't."""

    ids: list[bytes]
    clusters: list[int]
    rejected: list[Rejected]


class _Run(NamedTuple):
    """Members seen so far, one at least, ascending by the first half of their hash."""

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    clusters: npt.NDArray[np.int32]
    lines: npt.NDArray[np.int64]


@dataclass(slots=True)
class ListCheck:
    """Judges chunk after chunk of one list.

    Attributes:
        sizes: cluster → members.
        repeated: rows that repeat an earlier one, with the same cluster.
    """

    sizes: Counter[int] = field(default_factory=Counter)
    repeated: int = 0
    _runs: list[_Run] = field(default_factory=list)

    def take(self, chunk: RawChunk) -> Judged:
        """Return the chunk's rows that are right and new."""
        rejected = list(chunk.rejected)
        if not _are_right(chunk.ids, chunk.clusters):
            chunk = _right_ones(chunk, rejected)
        ids = [member_id.encode() for member_id in chunk.ids]
        clusters = list(map(int, chunk.clusters))
        if ids:
            ids, clusters = self._new_ones(ids, clusters, chunk.lines, rejected)
        self.sizes.update(clusters)
        return Judged(ids, clusters, sorted(rejected))

    def add(self, ids: Sequence[bytes], clusters: Sequence[int]) -> None:
        """Add rows of another list, one at least. Their members aren't here yet."""
        low, high = _hashes(ids)
        columns = np.array(clusters, dtype=np.int32), np.zeros(len(ids), dtype=np.int64)
        self._keep(np.argsort(low, kind="stable"), low, high, *columns)

    def clusters_of(self, ids: Sequence[bytes]) -> npt.NDArray[np.int32]:
        """Return the cluster of each member, shape (n,); -1 for a member that isn't on the list."""
        low, high = _hashes(ids)
        found = np.full(len(ids), -1, dtype=np.int32)
        for run in self._runs:
            at, is_there = _search(run, low, high)
            found[is_there] = run.clusters[at[is_there]]
        return found

    def _new_ones(
        self, ids: list[bytes], clusters: list[int], lines: list[int], rejected: list[Rejected]
    ) -> tuple[list[bytes], list[int]]:
        low, high = _hashes(ids)
        held, at_line = np.array(clusters, dtype=np.int32), np.array(lines, dtype=np.int64)
        first_line, first_cluster = at_line.copy(), held.copy()
        order = np.lexsort((high, low))  # stable: of the same member the earliest row comes first
        is_again = np.zeros(len(ids), dtype=bool)
        same = (low[order[1:]] == low[order[:-1]]) & (high[order[1:]] == high[order[:-1]])
        starts = np.flatnonzero(np.concatenate(([True], ~same)))
        firsts = order[np.repeat(starts, np.diff(np.append(starts, len(ids))))]
        is_again[order[1:][same]] = True
        first_line[order], first_cluster[order] = at_line[firsts], held[firsts]
        for run in self._runs:
            at, is_there = _search(run, low, high)
            is_again |= is_there
            first_line[is_there], first_cluster[is_there] = run.lines[at[is_there]], run.clusters[at[is_there]]
        if not is_again.all():
            self._keep(order[~is_again[order]], low, high, held, at_line)
        if not is_again.any():
            return ids, clusters
        for i in np.flatnonzero(is_again).tolist():
            if first_cluster[i] == held[i]:
                self.repeated += 1
            else:
                other = f"line {first_line[i]} has the same member in cluster {first_cluster[i]}"
                rejected.append(Rejected(lines[i], f"cluster {held[i]}, but {other}"))
        new = np.flatnonzero(~is_again).tolist()
        return [ids[i] for i in new], [clusters[i] for i in new]

    def _keep(self, order: npt.NDArray[np.intp], *columns: npt.NDArray[Any]) -> None:
        """Add a run. Runs of about equal length are merged, so there are few of them and each row is moved seldom."""
        self._runs.append(_Run(*[column[order] for column in columns]))
        while len(self._runs) > 1 and len(self._runs[-2].low) <= 2 * len(self._runs[-1].low):
            last, before = self._runs.pop(), self._runs.pop()
            merged = [np.concatenate([a, b]) for a, b in zip(before, last, strict=True)]
            order = np.argsort(merged[0], kind="stable")
            self._runs.append(_Run(*[column[order] for column in merged]))


def _hashes(ids: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return 128 bits for each id: Python's hash (SipHash, a new key in each process) of it, plain and prefixed."""
    n = len(ids)
    return np.fromiter(map(hash, ids), np.int64, n), np.fromiter([hash(b"\0" + i) for i in ids], np.int64, n)


def _search(
    run: _Run, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return where each hash stands in a run, and whether it does."""
    last = len(run.low) - 1
    at = np.minimum(np.searchsorted(run.low, low), last)
    is_there = (run.low[at] == low) & (run.high[at] == high)
    behind = np.minimum(at + 1, last)  # another id may share the first half
    is_behind = ~is_there & (run.low[behind] == low) & (run.high[behind] == high)
    return np.where(is_behind, behind, at), is_there | is_behind


def _are_right(ids: Sequence[Any], clusters: Sequence[Any]) -> bool:
    """Return whether all rows are surely right; takes a few passes over all of them."""
    try:
        joined = "".join(ids)
        are_right = joined.isprintable() and all(ids) and max(map(len, ids), default=0) <= _SURELY_SHORT
        if set(map(type, clusters)) <= {int}:
            return are_right and min(clusters, default=0) >= 0 and max(clusters, default=0) <= MAX_CLUSTER_ID
        numbers = "".join(clusters)
        return are_right and numbers.isascii() and numbers.isdigit() and all(clusters) and max(map(len, clusters)) <= 9
    except TypeError:  # some aren't texts
        return False


def _right_ones(chunk: RawChunk, rejected: list[Rejected]) -> RawChunk:
    """Return the rows that are right, judged one by one. Notes why the others aren't."""
    right = RawChunk()
    for line, member_id, cluster in zip(chunk.lines, chunk.ids, chunk.clusters, strict=True):
        reason, text = _judge(member_id, cluster)
        if reason:
            rejected.append(Rejected(line, reason))
        else:
            right.lines.append(line)
            right.ids.append(text)
            right.clusters.append(int(cluster))
    return right


def _judge(member_id: Any, cluster: Any) -> tuple[str, str]:
    """Return why a row can't be taken, "" if it can, and its member id as text."""
    key = b"" if member_id is None else key_of(member_id)
    if key is None:
        return f"member id: expected a text or a whole number, found {type(member_id).__name__}", ""
    if not key:
        return "member id: expected a text, found nothing", ""
    try:
        text = decode_key(key)
    except BadEvent as error:
        return error.detail.replace("key:", "member id:", 1), ""
    if isinstance(cluster, str):
        is_number = cluster.isascii() and cluster.isdigit() and len(cluster) <= 20
    else:
        is_number = isinstance(cluster, (int, np.integer)) and not isinstance(cluster, bool)
    if not is_number or not 0 <= int(cluster) <= MAX_CLUSTER_ID:
        found = repr(cluster) if cluster is not None and cluster != "" else "nothing"
        return f"{_CLUSTER}, found {found[:40]}", ""
    return "", text
