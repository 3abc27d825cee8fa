"""No task ends unnoticed: whatever one ends by, it is begun again, counted and told of; and what must stop, stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from memberstream.stream.partition.state import NotOwner
from memberstream.stream.process.health import ready
from memberstream.stream.process.vitals import Vitals
from memberstream.stream.tasks.supervisor import Supervisor


class Patient(RuntimeError):
    """Of a failure that the next start of the process cures."""


class Kept:
    """A supervisor with one standing task and what became of it."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(("task", "job"), cured_by_restart=(Patient,), over=(NotOwner,))
        self.begun = 0
        self.fail: Callable[[], Awaitable[None]] | None = None
        self.running = asyncio.Event()

    async def work(self) -> None:
        self.begun += 1
        self.running.set()
        if self.fail is not None:
            await self.fail()
        await asyncio.Event().wait()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():  # noqa: ASYNC110 (nobody announces it)
                await asyncio.sleep(0.005)

    @property
    def wrong(self) -> list[str]:
        """Return the checks of /readyz that aren't ok."""
        vitals = Vitals(partitions=frozenset({0}), tasks_down=self.supervisor.down())
        return [check.name for check in ready(vitals, 0.0, 120.0) if not check.ok]


@pytest.fixture
async def kept(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    """A running supervisor that waits for milliseconds where a worker's waits for seconds."""
    monkeypatch.setattr(Supervisor, "FIRST_WAIT_S", 0.1)
    monkeypatch.setattr(Supervisor, "PROVEN_S", 0.2)
    made = Kept()
    made.supervisor.keep("task", made.work)
    running = asyncio.create_task(made.supervisor.run())
    await asyncio.wait_for(made.running.wait(), 10)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.sleep(0)
    assert not made.supervisor.tasks()


async def test_a_cancelled_task_is_begun_again(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """Of a cancel that isn't ours nobody hears otherwise: asyncio drops it in silence."""
    assert kept.wrong == []
    kept.supervisor.tasks()["task"].cancel()
    await kept.until(lambda: kept.wrong == ["tasks"])
    await kept.until(lambda: kept.begun == 2)
    assert kept.wrong == ["tasks"], "it has not proven itself yet"
    await kept.until(lambda: kept.wrong == [])
    assert kept.supervisor.restarts == {"task": 1, "job": 0}
    assert "cancelled from outside" in caplog.text
    assert "Next:" in caplog.text


async def test_a_task_that_raises_a_cancelled_error_is_begun_again(kept: Kept) -> None:
    """A client of aiokafka does so when it is stopped in the turn of its start."""

    async def raises() -> None:
        raise asyncio.CancelledError

    kept.fail = raises
    kept.supervisor.tasks()["task"].cancel()
    await kept.until(lambda: kept.begun > 2)
    kept.fail = None
    await kept.until(lambda: kept.wrong == [])


async def test_what_fails_again_and_again_is_never_well(kept: Kept) -> None:
    """The waits grow, and /readyz stays red between two attempts and while the next is under way."""

    async def raises() -> None:
        await asyncio.sleep(0.02)
        raise ValueError("a bug")

    kept.fail = raises
    kept.supervisor.tasks()["task"].cancel()
    await kept.until(lambda: kept.wrong == ["tasks"])
    while kept.supervisor.restarts["task"] < 4:
        assert kept.wrong == ["tasks"]
        await asyncio.sleep(0.01)
    [down] = kept.supervisor.down()
    assert down.down_s > 0.1 + 0.2 + 0.4
    assert down.why == "ValueError: a bug"


async def test_a_standing_task_that_returns_is_begun_again(kept: Kept) -> None:
    """It has nothing that it could have finished."""

    async def returns() -> None:
        return None

    kept.supervisor.keep("task", returns)
    await kept.until(lambda: kept.supervisor.restarts["task"] == 1)


async def test_a_job_is_done_once_whatever_fails_before(kept: Kept) -> None:
    """It is begun again until it returns; what is asked for meanwhile is the same job."""
    begun = 0

    async def job() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise ValueError("not yet")

    kept.supervisor.do("job", job, 3)
    kept.supervisor.do("job", job, 3)
    await kept.until(lambda: not kept.supervisor.is_doing("job", 3))
    assert begun == 2
    assert kept.wrong == [], "what is done is no longer down"


async def test_work_that_now_belongs_to_another_ends(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """The rebalance that is under way gives the partition's work to its owner, and it is said."""

    async def lost() -> None:
        raise NotOwner("another's")

    kept.supervisor.keep("task", lost, 1)
    await kept.until(lambda: not kept.supervisor.is_doing("task", 1))
    assert kept.supervisor.restarts["task"] == 0
    assert "its owner goes on with it" in caplog.text


async def test_what_is_ended_stays_ended(kept: Kept) -> None:
    """A cancel of ours isn't counted, and what is kept anew under the same name is another one."""
    first = kept.supervisor.tasks()["task"]
    kept.supervisor.keep("task", kept.work)
    await kept.until(lambda: kept.begun == 2 and first.done())
    assert first.cancelled()
    kept.supervisor.end("task")
    await asyncio.sleep(0.2)
    assert (kept.begun, kept.supervisor.restarts["task"]) == (2, 0)


async def test_what_only_a_restart_cures_stops_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` raises it, and no task outlives it."""
    supervisor = Supervisor(("task", "job"), cured_by_restart=(Patient,))

    async def foreign() -> None:
        await asyncio.sleep(0.01)
        raise Patient("a restart")

    supervisor.keep("job", asyncio.Event().wait)  # type: ignore[arg-type]
    supervisor.keep("task", foreign)
    with pytest.raises(Patient):
        await asyncio.wait_for(supervisor.run(), 10)
    await asyncio.sleep(0)
    assert not supervisor.tasks()


def test_only_declared_kinds_exist() -> None:
    """A metric that first appears with its first failure can't be alerted on."""
    with pytest.raises(KeyError):
        Supervisor(("task",)).keep("other", asyncio.sleep)  # type: ignore[arg-type]
