"""Records kept back: the head of a partition's backlog waits for the partition's next records.

A fetch is limited by its bytes, so behind one partition's backlog it brings the head of another's. A member costs once
in a batch, and a partition has one batch in flight. Begun alone, the head would cost its members twice, and the rest
would wait for it.

Laws:
- Nothing is lost or reordered: for each partition the records that come out are those that went in, up to the ones kept
  back.
- Records are kept back only of a partition that has at least as many more waiting, and only beside a large batch. All
  of them together are at most a HEADS_SHAREth of that batch. So nothing waits for records that may not come, and live
  events never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from faust.types import TP

from memberstream.stream.faust_batch.in_flight import FEW_RECORDS

HEADS_SHARE = 4

Work = list[tuple[TP, list[Any]]]


class Heads:
    """Records that have been fetched and aren't in flight yet."""

    def __init__(self) -> None:
        self._records: dict[TP, list[Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._records)

    def __contains__(self, tp: TP) -> bool:
        return tp in self._records

    def sift(self, work: Sequence[tuple[TP, list[Any]]], largest: int, end_of: Callable[[TP], int | None]) -> Work:
        """Return the records that begin now, out of those that have come and those that were kept back.

        Args:
            largest: records of the largest batch in flight.
            end_of: where a partition ends; None if that isn't known.
        """
        for tp, records in work:
            self._records[tp] = self._records.get(tp, []) + records
        largest = max([largest, *map(len, self._records.values())])
        room = largest // HEADS_SHARE if largest > FEW_RECORDS else 0
        begun = []
        for tp, records in sorted(self._records.items(), key=lambda item: len(item[1])):
            n = len(records)
            if n <= room and n <= (end_of(tp) or 0) - records[-1].offset - 1:
                room -= n
            else:
                begun.append((tp, self._records.pop(tp)))
        return begun

    def clear(self) -> None:
        """Forget all records: they will be fetched again."""
        self._records.clear()
