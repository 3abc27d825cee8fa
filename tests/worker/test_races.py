"""Races between a fetch, a question or a recovery and a rebalance, forced: each is rare on a real broker.

The consumer has only the parts that the code under test touches; what stands around it runs for real in
test_faust_batch.py and tests/chaos.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from memberstream.stream.faust_batch.consumer import BATCH_GRACE_S, BatchConsumer
from memberstream.stream.faust_batch.consumer_thread import BatchThread
from memberstream.stream.faust_batch.heads import Heads
from memberstream.stream.faust_batch.in_flight import InFlight
from memberstream.stream.faust_batch.membership import Membership
from memberstream.stream.faust_batch.owned import Owned
from memberstream.stream.faust_batch.positions import Positions
from memberstream.stream.faust_batch.source import Source
from memberstream.stream.partition.gaps import Gap
from memberstream.stream.partition.holds import Hold, Kind
from memberstream.stream.partition.stuck import Stuck

TOPIC, CHANGELOG, REVOKED = TP("docs", 0), TP("changelog", 0), TP("changelog", 1)


class Recovery:
    """Takes changelog records."""

    def __init__(self) -> None:
        self.fed: list[Any] = []

    def next_offsets(self) -> dict[TP, int]:
        return {CHANGELOG: 7, REVOKED: 9}

    def feed(self, tp: TP, records: list[Any]) -> None:
        self.fed.append(tp)

    async def after_fetch(self) -> None:
        """Nothing is learnt."""


class Thread:
    """Remembers what is sought."""

    def __init__(self) -> None:
        self.sought: dict[TP, int] = {}
        self.positions: dict[TP, int] = {}
        self.out_of_range: dict[TP, int] = {}
        self.wait_s = 0.01

    def wake(self) -> None:
        """Nobody waits."""

    async def seek_wait(self, offsets: dict[TP, int]) -> None:
        self.sought |= offsets


def source() -> Source:
    """Return the topic of a worker that has just begun."""
    owned = Owned()
    return Source(TOPIC.topic, owned, Stuck(Path("stuck.json"), owned.holds, "", lambda: 0), None, "stop")


class Consumer(BatchConsumer):
    """A consumer whose fetch is the test's."""

    should_stop = False

    def __init__(self, during_the_fetch: Callable[[Consumer], None] = lambda consumer: None) -> None:
        self.app: Any = SimpleNamespace(consumer_generation_id=1, tables=SimpleNamespace(recovery=Recovery()))
        self._source = source()
        self._owned, self._positions = self._source.owned, Positions(self._source)
        self._membership = Membership(10.0)
        self.flow_active, self.can_resume_flow, self.suspend_flow = True, asyncio.Event(), asyncio.Event()
        self._in_flight = InFlight(self._handle)
        self._heads, self._held = Heads(), self._owned.holds.now
        self._parked, self._revoking = asyncio.Event(), False
        self._positions.next[TOPIC] = 5
        self._thread: Any = Thread()
        self._during_the_fetch = during_the_fetch
        self._brings: dict[Any, list[Any]] = {TOPIC: [SimpleNamespace(offset=5)], CHANGELOG: [object()]}
        self.handled: list[TP] = []

    def end_of(self, tp: TP) -> int | None:
        return None

    def ends_of(self, tp: TP) -> tuple[int, int]:
        return 5, 9

    def _get_active_partitions(self) -> set[TP]:
        return {TOPIC, CHANGELOG}

    def assignment(self) -> set[TP]:
        return {TOPIC, CHANGELOG}

    async def _fetch(self, active: frozenset[TP]) -> dict[Any, list[Any]]:
        self._during_the_fetch(self)
        return self._brings

    async def _begin(self, work: list[tuple[TP, list[Any]]]) -> None:
        self.handled += [tp for tp, _ in work]


def new_generation(consumer: Consumer) -> None:
    consumer.app.consumer_generation_id += 1


def stopped_flow(consumer: Consumer) -> None:
    consumer.flow_active = False


@pytest.mark.parametrize("rebalance", [new_generation, stopped_flow])
async def test_a_fetch_that_a_rebalance_overtakes_is_dropped(rebalance: Callable[[Consumer], None]) -> None:
    """Its records may belong to somebody else by now: neither handled nor recovered from, and the positions that the
    fetch has moved are sought again."""
    consumer = Consumer(rebalance)
    await consumer._step()
    assert consumer.handled == consumer.app.tables.recovery.fed == []
    assert consumer._positions.must_seek


@pytest.mark.parametrize("rebalance", [new_generation, stopped_flow])
async def test_what_a_dropped_fetch_has_taken_is_read_again(rebalance: Callable[[Consumer], None]) -> None:
    """Of the topic behind what is durable, of a changelog behind what is applied: a standby that went on behind the
    records dropped would lack them for good, and one day take over without them. What isn't assigned isn't sought."""
    consumer = Consumer(rebalance)
    await consumer._step()
    consumer.flow_active, consumer._during_the_fetch = True, lambda consumer: None
    await consumer._step()
    assert consumer._thread.sought == {TOPIC: 5, CHANGELOG: 7}
    assert consumer.handled == [TOPIC]


@pytest.mark.parametrize("rebalance", [new_generation, stopped_flow])
async def test_what_is_held_is_read_again_after_a_rebalance(rebalance: Callable[[Consumer], None]) -> None:
    """Also if the overtaken fetch brought nothing: the partition may be another worker's by now."""
    consumer = Consumer(rebalance)
    consumer._heads.sift([(TOPIC, [SimpleNamespace(offset=5)])], 10_000, lambda tp: 10_000)
    consumer._brings = {}
    await consumer._step()
    consumer.flow_active, consumer._during_the_fetch = True, lambda consumer: None
    await consumer._step()
    assert consumer._thread.sought == {TOPIC: 5, CHANGELOG: 7}
    assert consumer.handled == []
    assert not consumer._heads


async def test_a_held_partition_is_not_fetched_and_read_again_from_what_is_durable() -> None:
    """What lay ready of it when the hold began is dropped; nothing of it comes until the hold ends; the other
    partitions' positions survive both. A changelog of the same number is no held partition."""
    consumer, asked = Consumer(), list[frozenset[TP]]()

    async def fetch(active: frozenset[TP]) -> dict[Any, list[Any]]:
        asked.append(active)
        return {tp: records for tp, records in consumer._brings.items() if tp in active}

    consumer._fetch = fetch  # type: ignore[method-assign]
    consumer._heads.sift([(TOPIC, [SimpleNamespace(offset=5)])], 10_000, lambda tp: 10_000)
    consumer._owned.holds.hold(0, Hold(Kind.STUCK, "why", "next", 0))
    await consumer._step()
    assert asked == [{CHANGELOG}]
    assert consumer.handled == []
    assert consumer._thread.sought == {TOPIC: 5, CHANGELOG: 7}
    consumer._thread.sought.clear()
    await consumer._step()
    assert consumer._thread.sought == {}
    consumer._owned.holds.release([0])
    await consumer._step()
    assert asked[-1] == {TOPIC, CHANGELOG}
    assert consumer._thread.sought == {TOPIC: 5, CHANGELOG: 7}
    assert consumer.handled == [TOPIC]


async def test_a_fetcher_that_is_cancelled_leaves_positions_to_seek() -> None:
    """Its fetch or batch may have been under way: the next fetcher begins behind what is durable."""
    consumer = Consumer()
    consumer.app.should_stop, consumer.app.rebalancing = False, False
    consumer._fetch = lambda active: asyncio.Event().wait()  # type: ignore[method-assign, assignment, return-value]
    loop = asyncio.create_task(consumer._drain_messages(SimpleNamespace(should_stop=False)))
    await asyncio.sleep(0.01)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert consumer._positions.must_seek


async def test_a_cancellation_that_nobody_asked_for_stops_the_worker() -> None:
    """Faust lets its fetcher end by it without a word, unless a rebalance is under way: the worker would stay a member
    and read nothing."""
    consumer = Consumer()
    consumer.app.should_stop, consumer.app.rebalancing = False, False
    consumer.log = SimpleNamespace(error=lambda *args: None)

    async def fetch(active: frozenset[TP]) -> dict[Any, list[Any]]:
        raise asyncio.CancelledError

    consumer._fetch = fetch  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="CancelledError"):
        await consumer._drain_messages(SimpleNamespace(should_stop=False))
    assert consumer._positions.must_seek
    consumer.app.rebalancing = True
    with pytest.raises(asyncio.CancelledError):
        await consumer._drain_messages(SimpleNamespace(should_stop=False))


async def test_a_fetch_that_nothing_overtakes_is_handled() -> None:
    """The same fetch without a rebalance: what the test above is compared with."""
    consumer = Consumer()
    await consumer._step()
    assert consumer.handled == [TOPIC]
    assert consumer.app.tables.recovery.fed == [CHANGELOG]
    assert not consumer._positions.must_seek


async def test_an_overtaken_recovery_does_not_resume_the_flow() -> None:
    """Faust's recovery resumes the flow when it ends, also if partitions are being revoked just then: a batch of a
    partition that is given away would run. Only the recovery of the next assignment lets it go on."""
    consumer = Consumer()
    consumer.stop_flow()
    consumer._revoking = True
    consumer.resume_flow()
    assert not consumer.flow_active
    consumer.allow_flow()
    consumer.resume_flow()
    assert consumer.flow_active


class Asking(Consumer):
    """A consumer that must prove its membership; the broker's answer waits for the rebalance."""

    is_answered = False

    def __init__(self) -> None:
        super().__init__()
        self._membership._alive_at -= 1e6

    async def is_member(self, positions: Any = None) -> bool:
        if not self.is_answered:
            await asyncio.Event().wait()
        return True


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_question_to_the_broker_does_not_hold_up_the_rebalance_that_it_waits_for(*, is_answered: bool) -> None:
    """A worker that woke up asks before a batch; the rebalance begins meanwhile, and parks this loop first."""
    consumer = Asking()
    consumer.is_answered = is_answered
    asking = asyncio.create_task(consumer._may_begin({TOPIC: 5}))
    if not is_answered:
        await asyncio.sleep(0.05)
        stopped_flow(consumer)
    async with asyncio.timeout(BATCH_GRACE_S):  # so long a rebalance waits before it cancels what is in flight
        assert await asking is is_answered
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


class Ranging(Consumer):
    """A consumer whose fetch finds a position that the broker doesn't have any more; gaps are passed over."""

    def __init__(self, position: int, log_begins: int) -> None:
        super().__init__(lambda consumer: consumer._thread.out_of_range.update({TOPIC: position}))
        self.gaps: list[Gap] = []
        self._source.meet_gap = self.gaps.append  # type: ignore[assignment, method-assign]
        self._brings = {}

        async def earliest_offsets(*partitions: TP) -> dict[TP, int]:
            return dict.fromkeys(partitions, log_begins)

        self._thread.earliest_offsets = earliest_offsets


async def test_what_was_fetched_and_not_begun_is_part_of_a_gap() -> None:
    """The head of a backlog lies ready, offsets 5 to 10, when the log turns out to begin at 20. It won't come again:
    what is said to be lost begins behind what is durable, and nothing of it is handled after that."""
    consumer = Ranging(11, 20)
    consumer._heads.sift([(TOPIC, [SimpleNamespace(offset=5)])], 10_000, lambda tp: 10_000)
    await consumer._step()
    assert [(gap.needed, gap.begins) for gap in consumer.gaps] == [(5, 20)]
    consumer._during_the_fetch = lambda consumer: None
    await consumer._step()
    assert consumer._thread.sought == {TOPIC: 20, CHANGELOG: 7}
    assert consumer.handled == []


async def test_what_the_state_has_already_is_not_lost_with_the_log() -> None:
    """After a crash the committed offset, 5, is below what the state has, up to 99: that is read again, and retention
    removes it meanwhile. What lies above the state would be a gap."""
    for log_begins, gaps in ((50, []), (100, []), (101, [(100, 101)])):
        consumer = Ranging(8, log_begins)
        consumer._positions.trailing.know(TOPIC, 100, 0.0)
        consumer._positions.trailing.know(TOPIC, 8, 0.0)
        await consumer._step()
        assert [(gap.needed, gap.begins) for gap in consumer.gaps] == gaps
        assert consumer._positions.starts == {TOPIC: log_begins}


async def test_a_hold_that_comes_out_of_the_batch_waited_for_counts_at_once() -> None:
    """The loop waits for all batches because of one hold, and the last of them brings another: neither is fetched."""
    consumer, asked = Consumer(), list[frozenset[TP]]()
    other = TP(TOPIC.topic, 1)

    async def settle(return_when: str) -> None:
        if not asked:
            consumer._owned.holds.hold(0, Hold(Kind.STUCK, "why", "next", 0))

    async def fetch(active: frozenset[TP]) -> dict[Any, list[Any]]:
        asked.append(active)
        return {}

    consumer._settle, consumer._fetch = settle, fetch  # type: ignore[method-assign]
    consumer._get_active_partitions = lambda: {TOPIC, other, CHANGELOG}  # type: ignore[method-assign]
    consumer._owned.holds.hold(1, Hold(Kind.STUCK, "why", "next", 0))
    await consumer._step()
    assert asked == [{CHANGELOG}]
    assert not consumer._positions.must_seek


def test_where_reading_goes_on_is_known_without_asking_the_thread() -> None:
    """It may be gone by then: after a crash the probe asks on until the end. What isn't settled is unknown."""
    thread = BatchThread.__new__(BatchThread)
    states = {TOPIC: SimpleNamespace(has_valid_position=True, position=7), CHANGELOG: SimpleNamespace(
        has_valid_position=False)}  # fmt: skip
    subscription = SimpleNamespace(assignment=SimpleNamespace(state_value=states.get))
    thread._consumer = SimpleNamespace(_subscription=SimpleNamespace(subscription=subscription))
    assert [thread.position_of(tp) for tp in (TOPIC, CHANGELOG, REVOKED)] == [7, None, None]
    thread._consumer._subscription.subscription = None
    assert thread.position_of(TOPIC) is None


def test_a_transaction_that_ended_while_its_partition_was_not_fetched_is_not_old() -> None:
    """The partition is held, or its batch waits for Redis: the last fetch, of long ago, saw a transaction; the probe
    has been told since that it is over."""
    docs = source()
    docs.owned.partitions, docs.reading = frozenset({0}), Consumer()
    docs.see_transactions()
    [one] = docs.transactions.now.values()
    assert (one.offset, one.n_behind) == (5, 4)
    docs.ends = {0: 9}
    docs.see_transactions()
    assert not docs.transactions.now
