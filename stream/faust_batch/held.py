"""Records held back: the head of a partition's backlog waits for what comes next of it.

A fetch is limited by its bytes, so behind one partition's backlog it brings the head of another's. A member costs once
in a batch, and a partition has one batch in flight: begun alone, the head would cost its members twice and keep the
rest waiting.

Laws:
- Order and whole: of each partition what comes out is what went in, up to what is held.
- Held are only partitions that are behind by at least as much again, only beside a large batch, and all together at
  most a HELD_SHAREth of it. So nothing waits for what may not come, and live events never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from faust.types import TP

from stream.faust_batch.in_flight import FEW_RECORDS

HELD_SHARE = 4

Work = list[tuple[TP, list[Any]]]


class Held:
    """What has been fetched and isn't in flight yet."""

    def __init__(self) -> None:
        self._records: dict[TP, list[Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._records)

    def sift(self, work: Sequence[tuple[TP, list[Any]]], largest: int, end_of: Callable[[TP], int | None]) -> Work:
        """Return what is to begin now, of what has come and of what was held.

        Args:
            largest: records of the largest batch in flight.
            end_of: where a partition ends, None if that isn't known.
        """
        for tp, records in work:
            self._records[tp] = self._records.get(tp, []) + records
        largest = max([largest, *map(len, self._records.values())])
        room = largest // HELD_SHARE if largest > FEW_RECORDS else 0
        begun = []
        for tp, records in sorted(self._records.items(), key=lambda item: len(item[1])):
            n = len(records)
            if n <= room and n <= (end_of(tp) or 0) - records[-1].offset - 1:
                room -= n
            else:
                begun.append((tp, self._records.pop(tp)))
        return begun

    def clear(self) -> None:
        """Forget all: it will be fetched again."""
        self._records.clear()
