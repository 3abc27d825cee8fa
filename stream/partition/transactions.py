"""Producers' transactions that haven't ended: records behind the first record of one can't be read yet. No I/O.

Law: a transaction's age is how long this worker has seen the partition end for readers at the same offset, below its
real end.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from memberstream.models.wording import counted

#: A transaction older than this is logged. The limit of producers is a minute by default (transaction.timeout.ms); then
#: the broker aborts it.
LONG_S = 60.0
#: The longest that a broker allows by default (transaction.max.timeout.ms). An older transaction hangs: nobody will end
#: it.
HANGING_S = 900.0


class Open(NamedTuple):
    """It began at `offset`. From there on `n_behind` offsets wait, since `since_s` (monotonic clock)."""

    topic: str
    partition: int
    offset: int
    n_behind: int
    since_s: float

    def problem(self, open_s: float) -> str:
        return (
            f"partition {self.partition} of {self.topic}: a producer's transaction that began at offset {self.offset} "
            f"hasn't ended for {open_s:.0f} s, {counted(self.n_behind, 'offset waits', 'offsets wait')} behind it"
        )

    @property
    def next(self) -> str:
        return (
            "see the producers; if nobody ends it: kafka-transactions.sh --bootstrap-server HOST:9092 abort "
            f"--topic {self.topic} --partition {self.partition} --start-offset {self.offset}"
        )


class Transactions:
    """The open transactions of the owned partitions.

    Attributes:
        now: partition → its open transaction. Each look makes a new mapping, so any thread may read it.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._said: set[tuple[int, int]] = set()
        self.now: Mapping[int, Open] = MappingProxyType({})

    def see(self, ends: Mapping[int, tuple[int, int]], now_s: float) -> list[Open]:
        """Take in where partitions end for readers, and where they really end. Returns those that just became long."""
        seen = {}
        for partition, (stable, end) in ends.items():
            if stable < end:
                before = self.now.get(partition)
                is_same = before is not None and before.offset == stable
                since_s = before.since_s if before is not None and is_same else now_s
                seen[partition] = Open(self._topic, partition, stable, end - stable, since_s)
        self.now = MappingProxyType(seen)
        self._said &= {(one.partition, one.offset) for one in seen.values()}
        long = [one for one in seen.values() if now_s - one.since_s >= LONG_S]
        new = [one for one in long if (one.partition, one.offset) not in self._said]
        self._said |= {(one.partition, one.offset) for one in new}
        return new
