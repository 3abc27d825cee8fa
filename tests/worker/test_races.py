"""Races between a fetch, a question or a recovery and a rebalance, forced: each is rare on a real broker.

The consumer has only the parts that the code under test touches; what stands around it runs for real in
test_faust_batch.py and tests/chaos.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from stream.faust_batch.consumer import BATCH_GRACE_S, BatchConsumer
from stream.faust_batch.held import Held
from stream.faust_batch.in_flight import InFlight

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

    async def seek_to_committed(self) -> dict[TP, int]:
        return {TOPIC: 3}

    async def seek_wait(self, offsets: dict[TP, int]) -> None:
        self.sought |= offsets


class Consumer(BatchConsumer):
    """A consumer whose fetch is the test's."""

    should_stop = False

    def __init__(self, during_the_fetch: Callable[[Consumer], None] = lambda consumer: None) -> None:
        self.app: Any = SimpleNamespace(
            consumer_generation_id=1,
            source_topic=TOPIC.topic,
            tables=SimpleNamespace(recovery=Recovery()),
            conf=SimpleNamespace(broker_session_timeout=10.0),
        )
        self.flow_active, self.can_resume_flow, self.suspend_flow = True, asyncio.Event(), asyncio.Event()
        self._in_flight = InFlight(self._handle)
        self._held = Held()
        self._parked, self._must_seek, self._revoking, self._alive_at = asyncio.Event(), False, False, 0.0
        self._next, self._wanted, self._thread = {TOPIC: 5}, {}, Thread()
        self._during_the_fetch = during_the_fetch
        self._brings: dict[Any, list[Any]] = {TOPIC: [SimpleNamespace(offset=5)], CHANGELOG: [object()]}
        self.handled: list[TP] = []

    def end_of(self, tp: TP) -> int | None:
        return None

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
    assert consumer._must_seek


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
    consumer._held.sift([(TOPIC, [SimpleNamespace(offset=5)])], 10_000, lambda tp: 10_000)
    consumer._brings = {}
    await consumer._step()
    consumer.flow_active, consumer._during_the_fetch = True, lambda consumer: None
    await consumer._step()
    assert consumer._thread.sought == {TOPIC: 5, CHANGELOG: 7}
    assert consumer.handled == []
    assert not consumer._held


async def test_a_fetcher_that_is_cancelled_leaves_positions_to_seek() -> None:
    """Its fetch or batch may have been under way: the next fetcher begins behind what is durable."""
    consumer = Consumer()
    consumer.app.should_stop = False
    consumer._fetch = lambda active: asyncio.Event().wait()
    loop = asyncio.create_task(consumer._drain_messages(SimpleNamespace(should_stop=False)))
    await asyncio.sleep(0.01)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert consumer._must_seek


async def test_a_fetch_that_nothing_overtakes_is_handled() -> None:
    """The same fetch without a rebalance: what the test above is compared with."""
    consumer = Consumer()
    await consumer._step()
    assert consumer.handled == [TOPIC]
    assert consumer.app.tables.recovery.fed == [CHANGELOG]
    assert not consumer._must_seek


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
