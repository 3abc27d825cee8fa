"""What the consumer has in hand at once: behind a backlog two batches, without one all partitions' together.

The consumer has only the parts that the code under test touches, a broker that always has records, and a handler that
waits to be let go. With a real broker it runs in test_faust_batch.py and tests/chaos.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from memberstream.stream.faust_batch.consumer import BatchConsumer
from memberstream.stream.faust_batch.heads import Heads
from memberstream.stream.faust_batch.in_flight import FEW_RECORDS, InFlight
from memberstream.stream.faust_batch.membership import Membership
from memberstream.stream.faust_batch.owned import Owned
from memberstream.stream.faust_batch.positions import Positions
from memberstream.stream.faust_batch.source import Source
from memberstream.stream.partition.holds import Holds
from memberstream.stream.partition.stuck import Stuck

N_PARTITIONS = 4
LARGE = FEW_RECORDS + 1


class Recovery:
    """Has nothing to recover."""

    async def after_fetch(self) -> None:
        """Nothing is learnt."""


class Handler:
    """Holds each batch until it is let go; `open` are those in hand, in the order of their coming."""

    def __init__(self) -> None:
        self.open: dict[int, asyncio.Future[None]] = {}
        self.cancelled: list[int] = []

    async def handle(self, partition: int, records: Sequence[Any], next_offset: int) -> None:
        self.open[partition] = asyncio.get_running_loop().create_future()
        try:
            await self.open[partition]
        except asyncio.CancelledError:
            self.cancelled.append(partition)
            raise
        finally:
            del self.open[partition]

    def let_go(self, partition: int) -> None:
        self.open[partition].set_result(None)


class Consumer(BatchConsumer):
    """A consumer whose fetches bring `n_records` of each of `n_at_once` partitions that have none in hand."""

    def __init__(self, n_records: int, n_at_once: int) -> None:
        self.handler = Handler()
        self._owned = Owned()
        self._owned.handle = self.handler.handle
        self._source = Source("docs", self._owned, Stuck(Path("stuck.json"), Holds(), "", lambda: 0), None, "stop")
        self._positions, self._membership = Positions(self._source), Membership(1e9)
        self.app: Any = SimpleNamespace(
            consumer_generation_id=1,
            tables=SimpleNamespace(recovery=Recovery()),
            monitor=SimpleNamespace(stream_inbound_time={}),
            should_stop=False,
        )
        self.log: Any = SimpleNamespace(error=lambda *args: None, warning=lambda *args: None)
        self.flow_active, self.can_resume_flow, self.suspend_flow = True, asyncio.Event(), asyncio.Event()
        self._in_flight, self._read_offset = InFlight(self._handle), dict[TP, int | None]()
        self._heads, self._held = Heads(), self._owned.holds.now
        self._thread: Any = SimpleNamespace(positions={}, out_of_range={}, wait_s=0.01, wake=lambda: None)
        self._parked, self._revoking = asyncio.Event(), False
        self._n_records, self._n_at_once = n_records, n_at_once
        self._offset = 0

    should_stop = False

    async def wait(self, event: asyncio.Event) -> None:
        await event.wait()

    def end_of(self, tp: TP) -> int | None:
        return None

    def _get_active_partitions(self) -> set[TP]:
        return {TP("docs", partition) for partition in range(N_PARTITIONS)}

    async def _fetch(self, active: frozenset[TP]) -> dict[Any, list[Any]]:
        await asyncio.sleep(0)
        brought = sorted(active)[: self._n_at_once]
        self._offset += 1
        return {tp: [SimpleNamespace(offset=self._offset)] * self._n_records for tp in brought}


@asynccontextmanager
async def running(consumer: Consumer) -> AsyncIterator[asyncio.Task[None]]:
    """The consumer's loop, ended afterwards."""
    loop = asyncio.create_task(consumer._drain_messages(SimpleNamespace(should_stop=False)))
    try:
        yield loop
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def settled() -> None:
    """Return when nothing moves any more."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_behind_a_backlog_two_batches_are_in_hand() -> None:
    """One is computed while the other is written out, and no third: each may be large. When one is done the next comes,
    whatever the other does."""
    consumer = Consumer(LARGE, 1)
    async with running(consumer):
        await settled()
        assert list(consumer.handler.open) == [0, 1]
        consumer.handler.let_go(1)
        await settled()
        assert list(consumer.handler.open) == [0, 1]  # 1 anew: it is the first that is free
        assert set(consumer._positions.next) == {TP("docs", 1)}


async def test_without_a_backlog_the_next_fetch_waits_for_all() -> None:
    """Small batches end together: a fetch for each of them would cost more than the batch."""
    consumer = Consumer(1, N_PARTITIONS)
    async with running(consumer):
        await settled()
        for partition in range(N_PARTITIONS):
            assert consumer._offset == 1
            consumer.handler.let_go(partition)
            await settled()
        assert consumer._offset == 2
        assert len(consumer.handler.open) == N_PARTITIONS


async def test_parked_means_that_no_batch_is_in_hand() -> None:
    """A rebalance waits for both batches, and none begins meanwhile."""
    consumer = Consumer(LARGE, 1)
    async with running(consumer):
        await settled()
        parking = asyncio.create_task(consumer.park())
        for partition in (0, 1):
            await settled()
            assert not parking.done()
            consumer.handler.let_go(partition)
        await settled()
        assert parking.done()
        assert not consumer.handler.open
        assert set(consumer._positions.next) == {TP("docs", 0), TP("docs", 1)}


async def test_a_failure_ends_the_other_batch_too() -> None:
    """The worker stops: what is in hand must not run on beside the stop, and moves no offset."""
    consumer = Consumer(LARGE, 1)
    async with running(consumer) as loop:
        await settled()
        consumer.handler.open[0].set_exception(OSError("disk full"))
        with pytest.raises(OSError, match="disk full"):
            await loop
        assert consumer.handler.cancelled == [1]
        assert consumer._positions.next == {}
        assert consumer._parked.is_set()


async def test_a_stop_of_the_loop_leaves_no_batch_behind() -> None:
    """Faust cancels its fetcher and starts another: a batch of the old one would run beside the new one's."""
    consumer = Consumer(LARGE, 1)
    async with running(consumer):
        await settled()
    assert sorted(consumer.handler.cancelled) == [0, 1]
    assert not consumer._in_flight


async def test_a_batch_that_something_else_cancels_comes_again() -> None:
    """A library's CancelledError is no sign of a rebalance: nobody would let the flow go on again."""
    consumer, sought = Consumer(1, 1), list[dict[TP, int]]()

    async def seek_wait(offsets: dict[TP, int]) -> None:
        sought.append(offsets)

    consumer._positions.starts, consumer._thread.seek_wait = {TP("docs", 0): 3}, seek_wait
    consumer.assignment = consumer._get_active_partitions
    consumer.app.tables.recovery.next_offsets = dict
    async with running(consumer) as loop:
        await settled()
        consumer.handler.open[0].cancel()
        await settled()
        assert consumer.flow_active
        assert sought == [{TP("docs", 0): 3}]
        assert list(consumer.handler.open) == [0]
        assert not loop.done()


@pytest.mark.parametrize("is_ending", [True, False])
async def test_what_fails_while_the_worker_ends_blames_no_record(is_ending: bool, tmp_path: Path) -> None:
    """The thread of its clients may have ended before the batch. Counted as failures of the record, three such ends
    would hold its partition."""
    consumer = Consumer(1, 1)
    consumer._source.stuck._path = tmp_path / "stuck.json"
    async with running(consumer) as loop:
        await settled()
        consumer.app.should_stop = is_ending
        consumer.handler.open[0].set_exception(RuntimeError("Event loop is closed"))
        await settled()
        assert loop.done() is not is_ending
    assert bool(consumer._source.stuck._failures) is not is_ending
    assert consumer._positions.must_seek
