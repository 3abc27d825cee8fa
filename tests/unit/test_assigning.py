"""How the assignment of partitions ends: by itself, by a rebalance, by a stop, or by what nobody asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from faust.tables.recovery import Recovery
from faust.types import TP

from memberstream.stream.faust_batch.owned import Owned
from memberstream.stream.faust_batch.recovery import BatchRecovery

CHANGELOG = TP("changelog", 0)


async def nothing(*_: object, **__: object) -> None:
    """Stands in for what isn't asked about here."""


class Owner:
    """Its `assigned` does what the test says."""

    def __init__(self, assigned: Callable[[], Awaitable[None]]) -> None:
        self._assigned, self.began = assigned, asyncio.Event()

    async def assigned(self, committed: Mapping[int, int]) -> Mapping[int, int]:
        self.began.set()
        await self._assigned()
        return committed

    async def revoked(self, partitions: frozenset[int]) -> None:
        raise NotImplementedError


def recovery_of(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Return a recovery whose one changelog is applied, and the app that it belongs to."""

    async def committed_offsets(partitions: frozenset[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 7)

    consumer = SimpleNamespace(
        revocations=0, park=nothing, committed_offsets=committed_offsets, read_from=nothing, end_of=lambda tp: None
    )
    app = SimpleNamespace(
        conf=SimpleNamespace(stream_recovery_delay=0.0), consumer=consumer, consumer_generation_id=1, should_stop=False
    )
    owned = Owned()
    owned.serve(owner, nothing)
    source: Any = SimpleNamespace(name="events", owned=owned, skip_log=None)
    state: Any = SimpleNamespace(start=lambda partition, offset: None, stale=lambda partition: frozenset())
    recovery: Any = BatchRecovery(app, SimpleNamespace(), source=source, state=state)
    recovery.active_tps.add(CHANGELOG)
    recovery._ends[CHANGELOG] = 0
    recovery.active_offsets[CHANGELOG] = -1
    monkeypatch.setattr(Recovery, "on_recovery_completed", nothing)  # of Faust: it opens the flow
    return recovery, app


async def cancelled_by_a_library() -> None:
    """Like aiokafka's consumer that is stopped while it starts: a future that somebody else cancels."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.cancel)
    await future


async def test_an_assignment_is_told_once_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual case."""
    recovery, _ = recovery_of(Owner(nothing), monkeypatch)
    await recovery.on_recovery_completed(1)
    assert recovery._owned.is_settled
    assert recovery._owned.partitions == {0}


async def test_a_cancellation_that_nobody_asked_for_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Returning would leave the flow closed for ever, and nobody would be told."""
    recovery, _ = recovery_of(Owner(cancelled_by_a_library), monkeypatch)
    with pytest.raises(RuntimeError, match=r"a library's CancelledError ended an assignment\. Next: "):
        await recovery.on_recovery_completed(1)
    assert not recovery._owned.is_settled


async def test_a_rebalance_or_a_stop_ends_an_assignment_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another assignment follows, or none."""
    for is_stop in (False, True):
        owner = Owner(asyncio.Event().wait)  # type: ignore[arg-type]  # it never ends
        recovery, app = recovery_of(owner, monkeypatch)
        completing = asyncio.create_task(recovery.on_recovery_completed(1))
        await owner.began.wait()
        if is_stop:
            app.should_stop = True
        else:
            app.consumer.revocations += 1
        await recovery.assigning.cancel()
        await completing
        assert not recovery._owned.is_settled


async def test_what_the_owner_raises_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say a model that this worker can't read."""

    async def refused() -> None:
        raise ValueError("refused")

    recovery, _ = recovery_of(Owner(refused), monkeypatch)
    with pytest.raises(ValueError, match="refused"):
        await recovery.on_recovery_completed(1)
