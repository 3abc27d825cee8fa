"""The source topic as this worker sees it: its identity, how far reading is, what is missing, open or set aside.

Law: nothing here asks a broker. It puts together what fetches and the probe have brought, and may be read at any time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from time import monotonic
from typing import Protocol

from faust.types import TP

from memberstream.stream.faust_batch.owned import Owned
from memberstream.stream.partition.gaps import Gap, OnGap
from memberstream.stream.partition.skip_log import SkipLog
from memberstream.stream.partition.stuck import Stuck
from memberstream.stream.partition.transactions import Transactions

log = logging.getLogger(__name__)


class Reading(Protocol):
    """What the reader of the topic must answer: BatchConsumer, or that of a test."""

    is_handling: bool

    def lag(self) -> dict[int, int]: ...
    def ends_of(self, tp: TP) -> tuple[int, int] | None: ...
    def highwater(self, tp: TP) -> int | None: ...
    def reading_at(self, tp: TP) -> int | None: ...


class Source:
    """The source topic (a stream.partition.source_topic.SourceTopic).

    Attributes:
        topic_id: given by the broker when the topic was created; b"" if the broker doesn't tell.
        partition_count: how many partitions it has; 0 before the start.
        reading: its reader; None before the start.
        ends: where each owned partition ended when the probe asked last.
        behind: records of the owned partitions that aren't fetched yet; held partitions have none.
        lost_offsets: offsets passed over since the start because their records were gone, as the operator wished.
        stuck: records that end the worker each time.
        transactions: producers' transactions that haven't ended.
    """

    def __init__(self, name: str, owned: Owned, stuck: Stuck, skip_log: SkipLog | None, on_gap: OnGap) -> None:
        self.name, self.owned, self.stuck, self.skip_log, self._on_gap = name, owned, stuck, skip_log, on_gap
        self.topic_id, self.partition_count = b"", 0
        self.reading: Reading | None = None
        self.ends: dict[int, int] = {}
        self.behind = self.lost_offsets = 0
        self.transactions = Transactions(name)

    @property
    def is_busy(self) -> bool:
        """True while a batch is in flight or records wait to be fetched."""
        return self.reading is not None and (self.reading.is_handling or self.behind > 0)

    def lag(self) -> dict[int, int]:
        """Owned partition → offsets from which records can still come (see offsets.py)."""
        return {} if self.reading is None else self.reading.lag()

    def end_offset(self, partition: int) -> int | None:
        """Where a partition ended at the last fetch, open transactions included; None before the first."""
        return None if self.reading is None else self.reading.highwater(TP(self.name, partition))

    def position(self, partition: int) -> int | None:
        """Where reading goes on in a partition; None while that isn't settled."""
        return None if self.reading is None else self.reading.reading_at(TP(self.name, partition))

    def skipped(self, partition: int) -> Mapping[int, str]:
        """Return the offsets of a partition that are set aside, each with the text of its dead letter."""
        return {} if self.skip_log is None else self.skip_log.skips.of(self.name, self.topic_id, partition)

    async def follow_skips(self) -> None:
        """Follow what is set aside, and release partitions that are held for such a record. Never returns."""
        assert self.skip_log is not None  # noqa: S101  (narrows the type)
        await self.skip_log.follow(lambda: self.stuck.release(lambda p, offset: offset in self.skipped(p)))

    def meet_gap(self, gap: Gap) -> None:
        """Do what the operator wants if records are gone: hold the partition, or go on where its log begins."""
        if self._on_gap == "stop":
            self.owned.holds.hold(gap.partition, gap.hold(time.time_ns() // 1_000_000))
            return
        self.lost_offsets += gap.n_offsets
        log.error("%s; going on at offset %d, because MEMBERSTREAM_ON_GAP=continue says so", gap, gap.begins)

    def see_transactions(self) -> None:
        """Look whether producers' transactions hold partitions back, as of the last fetches. The probe calls this.

        If a partition isn't fetched for a while, because it is held or in hand, its transaction may have ended: the
        probe knows that.
        """
        if (reading := self.reading) is None:
            return
        found = {p: reading.ends_of(TP(self.name, p)) for p in self.owned.partitions}
        ends = {p: (max(its[0], self.ends.get(p, 0)), its[1]) for p, its in found.items() if its}
        now_s = monotonic()
        for one in self.transactions.see(ends, now_s):
            log.warning("%s. Next: %s", one.problem(now_s - one.since_s), one.next)
