"""Where reading goes on in the partitions of the source topic, and up to where it may be committed.

Laws:
1. One number for each partition is the whole book-keeping: everything below it is durable, or never comes.
2. Positions move only while the loop is parked (no fetch, no batch in flight). When records were dropped, every
   position is sought again, those of changelogs, too: dropping without seeking would skip records.
3. Records that are gone unread are never passed over in silence (stream/partition/gaps.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from time import monotonic

from faust.types import TP

from memberstream.stream.faust_batch.consumer_thread import BatchThread
from memberstream.stream.faust_batch.source import Source
from memberstream.stream.faust_batch.trailing import Trailing
from memberstream.stream.partition.gaps import find_gap
from memberstream.stream.partition.source_topic import ends_below

log = logging.getLogger(__name__)


class Positions:
    """The positions of the partitions that this worker has.

    Attributes:
        next: everything below is durable, or never comes.
        starts: where reading begins, or began anew.
        trailing: how far each partition's state knows that it is.
        must_seek: whether records were dropped or positions moved. Then positions are sought before the next fetch.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.next: dict[TP, int] = {}
        self.starts: dict[TP, int] = {}
        self.trailing = Trailing()
        self.must_seek = False

    async def begin(self, thread: BatchThread, offsets: Mapping[int, int], committed: Mapping[int, int]) -> None:
        """Begin to read newly assigned partitions where their state lacks something, or at the committed offset if
        lower.

        (The committed offset may be higher: it may belong to another topic of the same name, or the changelog may have
        lost records.)
        """
        needed = {TP(self._source.name, partition): offset for partition, offset in offsets.items()}
        log_begins = await thread.earliest_offsets(*needed)
        self.starts, now_s = {}, monotonic()
        for tp, offset in needed.items():
            begins, durable = log_begins[tp], committed[tp.partition]
            if gap := find_gap(tp.topic, tp.partition, offset, begins):
                self._source.meet_gap(gap)
            elif durable > offset:
                log.info("partition %d: reading from %d, before what is committed", tp.partition, offset)
            self.starts[tp] = max(begins, min(durable, offset))
            self.trailing.know(tp, offset, now_s, is_told=durable >= offset)
        self.must_seek = True

    async def look_at_range(self, thread: BatchThread, assigned: set[TP]) -> None:
        """Act on positions that the broker no longer has: unread records are gone, or the log ends before them.

        Records that were fetched and aren't in flight are fetched again, also those of other partitions.
        """
        lost, thread.out_of_range = thread.out_of_range, {}
        lost = {tp: offset for tp, offset in lost.items() if tp in assigned}
        if not lost:
            return
        log_begins = await thread.earliest_offsets(*lost)
        for tp, offset in lost.items():
            begins = log_begins[tp]
            # Nothing is lacking that the state has and that is only read again, or that was passed and isn't to be
            # applied.
            if gap := find_gap(tp.topic, tp.partition, max(self.trailing.known(tp), self.next.get(tp, 0)), begins):
                self._source.meet_gap(gap)
            elif offset > begins:
                raise ends_below(tp.partition, offset)
            self.next.pop(tp, None)
            self.starts[tp] = begins
            self.must_seek = True

    async def seek(self, thread: BatchThread, assigned: set[TP], changelogs: Mapping[TP, int]) -> None:
        """Read on behind what is durable. `changelogs`: where reading goes on in changelogs.

        Changelogs are sought, too: a standby that misses dropped records would one day take over without them.
        """
        sought = {**changelogs, **self.starts, **self.next}
        await thread.seek_wait({tp: offset for tp, offset in sought.items() if tp in assigned})
        self.must_seek = False

    def forget(self, revoked: Iterable[TP]) -> None:
        """Forget partitions that are no longer owned."""
        for tp in revoked:
            self.next.pop(tp, None)
            self.starts.pop(tp, None)
        self.trailing.forget(revoked)
