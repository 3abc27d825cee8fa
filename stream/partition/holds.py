"""Partitions that a worker holds: their records wait until somebody acts, while those of other partitions are handled.

Laws:
- A hold takes nothing away: offsets, state and rows stay. What needs no record goes on: members fall due, models are
  scored, Redis is rebuilt. Only the records aren't fetched.
- A hold is what one owner has found out. When the partition is given away, it is free. Its next owner finds out for
  itself.
- Nothing waits for it: it is no stall, and no rebalance, stop or commit waits for it.
- It is reported as long as it lasts: in `/readyz`, the log and a metric, each with the next action. Readers are told,
  too: the partition's beacon stays as of `since_ms`, so they soon get `stale`, not `current` for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from memberstream.stream.keyspace.formats import BEACON_STALE_MS, Beacon, Behind


class Kind(StrEnum):
    """Why partitions are held, as metrics tell it apart."""

    STUCK = "stuck"  # a record of it ends the worker each time
    GAP = "gap"  # records were removed that its state needs


class Hold(NamedTuple):
    """The hold of one partition. `why`: a clause ("offset 7 …") without personal data. `next`: what the operator does.

    `since_ms`: since when the partition stands, wall clock. `offset`: of the record at which it stands; -1: none.
    """

    kind: Kind
    why: str
    next: str
    since_ms: int
    offset: int = -1


def held_by_now(beacons: Mapping[int, Beacon], behind: Mapping[int, Behind], now_ms: int) -> list[int]:
    """Return the partitions that are held, as Redis tells: their worker lives, and their beacon stands."""
    limit_ms = now_ms - BEACON_STALE_MS
    return sorted(
        partition
        for partition, told in behind.items()
        if told.written_ms >= limit_ms and partition in beacons and beacons[partition].written_ms < limit_ms
    )


class Holds:
    """The partitions that this worker holds.

    Attributes:
        now: partition → its hold. Each change makes a new mapping, so any thread may read it, and compare it with an
            earlier one.
    """

    def __init__(self) -> None:
        self.now: Mapping[int, Hold] = MappingProxyType({})

    def __contains__(self, partition: int) -> bool:
        return partition in self.now

    def hold(self, partition: int, hold: Hold) -> None:
        """Hold a partition from now on. A later hold replaces the one before."""
        self.now = MappingProxyType({**self.now, partition: hold})

    def release(self, partitions: Iterable[int]) -> None:
        """End the holds of partitions: their records are fetched again."""
        released = self.now.keys() & set(partitions)
        if released:
            self.now = MappingProxyType({p: hold for p, hold in self.now.items() if p not in released})

    def told_ms(self, partition: int, now_ms: int) -> int:
        """Return the time that a partition's beacon gives as written: now, or since when the partition is held."""
        hold = self.now.get(partition)
        return now_ms if hold is None else min(now_ms, hold.since_ms)
