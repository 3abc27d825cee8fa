"""Two races between a fetch or a recovery and a rebalance, forced: each is a few microseconds wide on a real broker.

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

from stream.faust_batch.consumer import BatchConsumer
from stream.faust_batch.in_flight import InFlight

TOPIC = TP("docs", 0)


class Recovery:
    """Takes changelog records."""

    def __init__(self) -> None:
        self.fed: list[Any] = []

    def feed(self, tp: TP, records: list[Any]) -> None:
        self.fed.append(tp)

    async def after_fetch(self) -> None:
        """Nothing is learnt."""


class Consumer(BatchConsumer):
    """A consumer whose fetch is the test's."""

    def __init__(self, during_the_fetch: Callable[[Consumer], None] = lambda consumer: None) -> None:
        self.app: Any = SimpleNamespace(
            consumer_generation_id=1,
            source_topic=TOPIC.topic,
            tables=SimpleNamespace(recovery=Recovery()),
            conf=SimpleNamespace(broker_session_timeout=10.0),
        )
        self.flow_active, self.can_resume_flow, self.suspend_flow = True, asyncio.Event(), asyncio.Event()
        self._in_flight = InFlight(self._handle)
        self._parked, self._must_seek, self._revoking, self._alive_at = asyncio.Event(), False, False, 0.0
        self._during_the_fetch = during_the_fetch
        self.handled: list[TP] = []

    def _get_active_partitions(self) -> set[TP]:
        return {TOPIC}

    async def _fetch(self, active: frozenset[TP]) -> dict[Any, list[Any]]:
        self._during_the_fetch(self)
        return {TOPIC: [object()], TP("changelog", 0): [object()]}

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


async def test_a_fetch_that_nothing_overtakes_is_handled() -> None:
    """The same fetch without a rebalance: what the test above is compared with."""
    consumer = Consumer()
    await consumer._step()
    assert consumer.handled == [TOPIC]
    assert consumer.app.tables.recovery.fed == [TP("changelog", 0)]
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
