"""Offsets, as Faust's code for commits, stops and rebalances asks for them: by ranges, not by single events.

Law: an offset advances only when the handler has returned for everything below it, or when reading has passed it
(control records, aborted records) while nothing of the partition is in hand. Faust's own code commits that number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from memberstream.stream.faust_batch.consumer_thread import BatchThread
from memberstream.stream.faust_batch.membership import Membership
from memberstream.stream.faust_batch.positions import Positions
from memberstream.stream.faust_batch.source import Source

#: How long a rebalance or a stop waits for the batch in flight before cancelling it, and for the broker to take the
#: last offsets. Heartbeats go on meanwhile. It is less than the 10 s between SIGTERM and SIGKILL that supervisors often
#: give.
BATCH_GRACE_S = 5.0


class RangeConsumer(driver.Consumer):  # type: ignore[misc]  # Faust's classes are Any to mypy
    """Faust's consumer with acknowledgements by range.

    `source`: what it reads. `may_fetches_wait`: the broker answers a fetch as soon as a record arrives (waiting.py).
    """

    _thread: BatchThread

    def __init__(self, *args: Any, source: Source, may_fetches_wait: bool = True, **kwargs: Any) -> None:
        self._source, self._owned, self._may_fetches_wait = source, source.owned, may_fetches_wait
        self._positions = Positions(source)
        super().__init__(*args, **kwargs)
        self._refused = set[TP]()
        conf = self.app.conf
        is_named = conf.consumer_group_instance_id is not None
        self._membership = Membership(conf.broker_session_timeout, conf.broker_heartbeat_interval if is_named else None)

    def _new_consumer_thread(self) -> BatchThread:
        return BatchThread(
            self,
            source_topic=self._source.name,
            may_fetches_wait=self._may_fetches_wait,
            loop=self.loop,
            beacon=self.beacon,
        )

    # -- what Faust asks --------------------------------------------------------------------------------------------

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return [tp for tp in self._positions.next if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        return self._positions.next.get(tp)

    async def maybe_wait_for_commit_to_finish(self) -> bool:
        """Return whether a commit was under way, and has ended. (Faust's own begins another one when it is cancelled: a
        limit of time then has no effect, and a rebalance waits for as long as a write isn't acknowledged.)
        """
        under_way = self._commit_fut
        if under_way is None:
            return False
        await asyncio.wait({under_way})
        return not under_way.cancelled()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        began = perf_counter()
        is_taken: bool = await super()._commit(offsets)
        if is_taken:
            self._refused -= offsets.keys()
            self._owned.on_commit({tp.partition: offset for tp, offset in offsets.items()}, began, perf_counter())
        else:  # Faust takes them for committed all the same, and doesn't commit them again
            self._refused |= offsets.keys()
        return is_taken

    async def commit_range(self) -> bool:
        """Commit now. Returns whether the broker has taken all offsets of the partitions that this worker has.

        It is done twice, because Faust's commit does nothing if another one is under way.
        """
        try:
            async with asyncio.timeout(BATCH_GRACE_S):
                _ = await self.commit() or await self.commit()
        except TimeoutError:
            self.log.warning("the broker did not take the last offsets in time: these records will be replayed")
            return False
        return self._refused.isdisjoint(self._positions.next)

    # -- what the others ask: they may, at any time -------------------------------------------------------------------

    def lag(self) -> dict[int, int]:
        """Assigned source partition → offsets from which records can still come, as of the last fetch.

        Records of an open transaction, and those behind it, may never come. Offsets that reading has passed don't
        count.
        """
        lags = {}
        for partition in self._owned.partitions:
            tp = TP(self._source.name, partition)
            # A held partition isn't fetched, so only the probe learns its end.
            end = self._source.ends.get(partition) if partition in self._owned.holds else self.end_of(tp)
            if end is not None:
                lags[partition] = max(0, end - (self._positions.next.get(tp) or self._committed_offset[tp] or 0))
        return lags

    def end_of(self, tp: TP) -> int | None:
        """The offset up to which a partition could be read at its last fetch. That is the last stable offset (behind it
        is an open transaction), or the partition's end. None before a fetch, and when it isn't assigned any more.
        """
        ends = self.ends_of(tp)
        return ends and ends[0]

    def ends_of(self, tp: TP) -> tuple[int, int] | None:
        """Return `end_of` and where the partition ended."""
        try:
            end: int | None = self.highwater(tp)
            stable: int | None = self._thread._ensure_consumer().last_stable_offset(tp)
        except (AssertionError, AttributeError, KeyError, IllegalStateError):  # unassigned in aiokafka's thread
            return None
        return None if end is None else (end if stable is None or stable < 0 else stable, end)

    def reading_at(self, tp: TP) -> int | None:
        """Return where reading goes on in a partition; None while that isn't settled. Asks nobody."""
        position: int | None = self._thread.position_of(tp)
        return position

    async def is_member(self, positions: Mapping[TP, int] | None = None) -> bool:
        """Whether the broker still counts this worker as owner. `positions`: first offsets not yet handled."""
        if self._membership.is_sure:
            return True
        assigned = self.assignment()
        known = {**(positions or {}), **{tp: offset for tp, offset in self._positions.next.items() if offset}}
        offsets = {tp: offset for tp, offset in known.items() if tp in assigned}
        if not offsets:
            return positions is None  # nothing to commit, so nothing to ask with: the changelog's own check remains
        return await self._membership.prove(offsets, self._thread.commit)
