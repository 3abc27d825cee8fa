"""How long an idle worker waits, at the broker and for it: nobody may be kept waiting by that."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from memberstream.stream.faust_batch import waiting
from memberstream.stream.faust_batch.consumer_thread import BatchThread
from memberstream.stream.faust_batch.waiting import (
    BESIDE_OTHERS_MS,
    OF_ALL_MS,
    SETTLED_WAIT_S,
    SETTLING_WAIT_S,
    FetchWait,
)

DOCS, OTHER, CHANGELOG = TP("docs", 0), TP("docs", 1), TP("changelog", 0)


class Fetcher:
    """Of aiokafka, with what it has fetched and nobody has taken yet."""

    _closed = False

    def __init__(self) -> None:
        self._records: dict[TP, object] = {}
        self._fetch_max_wait_ms = 500
        self._subscriptions = SimpleNamespace(fetch_context=nullcontext)
        self.waiters: list[asyncio.Future[None]] = []

    def _get_actions_per_node(self, assignment: object) -> object:
        return assignment, self._fetch_max_wait_ms

    def _create_fetch_waiter(self) -> asyncio.Future[None]:
        self.waiters.append(asyncio.get_running_loop().create_future())
        return self.waiters[-1]

    async def fetched_records(self, *_: Any, **__: Any) -> dict[TP, list[Any]]:
        return {}


def test_only_a_fetch_that_leaves_nobody_out_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffered partition that is read is left out; a changelog that is recovered and buffered doesn't matter. After
    a change of what is read, or of positions, it waits shortly for a while."""
    now = 100.0
    monkeypatch.setattr(waiting, "monotonic", lambda: now)
    fetcher = Fetcher()
    wait = FetchWait(fetcher)

    def waits() -> tuple[int, float]:
        return fetcher._get_actions_per_node("assignment")[1], wait.seconds  # type: ignore[index]

    assert waits() == (BESIDE_OTHERS_MS, SETTLING_WAIT_S)
    wait.reads({DOCS, OTHER})
    assert waits() == (BESIDE_OTHERS_MS, SETTLING_WAIT_S)
    now += 1.1
    assert waits() == (OF_ALL_MS, SETTLED_WAIT_S)
    wait.reads({OTHER, DOCS})
    fetcher._records = {CHANGELOG: "records"}
    assert waits() == (OF_ALL_MS, SETTLED_WAIT_S)
    fetcher._records[DOCS] = "records"
    assert waits() == (BESIDE_OTHERS_MS, SETTLED_WAIT_S)
    fetcher._records = {}
    wait.reads({DOCS, CHANGELOG})
    assert waits() == (BESIDE_OTHERS_MS, SETTLING_WAIT_S)
    now += 1.1
    wait.unsettle()
    assert waits() == (BESIDE_OTHERS_MS, SETTLING_WAIT_S)
    assert fetcher._get_actions_per_node("assignment") == ("assignment", BESIDE_OTHERS_MS)
    now += 1.1
    assert waits() == (OF_ALL_MS, SETTLED_WAIT_S)
    assert fetcher._get_actions_per_node("the next") == ("the next", BESIDE_OTHERS_MS)
    assert wait.seconds == SETTLING_WAIT_S


def test_a_broker_that_looks_only_now_and_then_is_not_made_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tansu: with fetches that waited for 100 ms an event that comes alone took 18 ms in place of 6."""
    monkeypatch.setattr(waiting, "monotonic", lambda: 100.0)
    fetcher = Fetcher()
    FetchWait(fetcher, may_wait=False)
    assert fetcher._get_actions_per_node("assignment")[1] == BESIDE_OTHERS_MS  # type: ignore[index]


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_stop_of_the_flow_ends_the_wait(is_late: bool) -> None:
    """Whenever it comes: while the fetch waits, or between its look at the flow and its wait."""
    fetcher = Fetcher()
    consumer: Any = SimpleNamespace(
        _fetcher=fetcher, _closed=False, _subscription=SimpleNamespace(reassignment_in_progress=False)
    )
    thread = BatchThread.__new__(BatchThread)
    thread.consumer = SimpleNamespace(flow_active=True, _active_partitions={DOCS})
    thread.thread_loop, thread._waiter, thread._wait = asyncio.get_running_loop(), None, FetchWait(fetcher)
    if not is_late:
        create = fetcher._create_fetch_waiter

        def stopped_just_before() -> asyncio.Future[None]:
            thread.consumer.flow_active = False
            thread.wake()
            return create()

        fetcher._create_fetch_waiter = stopped_just_before  # type: ignore[method-assign]
    fetching = asyncio.create_task(thread._fetch_records(consumer, frozenset(), timeout=600))
    if is_late:
        await asyncio.sleep(0.01)
        assert len(fetcher.waiters) == 1
        thread.consumer.flow_active = False
        thread.wake()
    async with asyncio.timeout(60):
        assert await fetching == {}
    assert thread.wait_s == SETTLING_WAIT_S


def test_whoever_is_gone_needs_no_waking() -> None:
    thread = BatchThread.__new__(BatchThread)
    thread.thread_loop = asyncio.new_event_loop()
    thread.thread_loop.close()
    thread.wake()
