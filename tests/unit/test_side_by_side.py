"""Publishing and writing go on side by side, and none of them is left running, whichever fails or is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from memberstream.stream.tasks.side_by_side import together


class Work:
    """A coroutine that ends when it is told to, and says how it ended."""

    def __init__(self) -> None:
        self.begun, self.end = asyncio.Event(), asyncio.Event()
        self.ended = ""
        self.error: Exception | None = None

    async def run(self) -> str:
        self.begun.set()
        try:
            await self.end.wait()
            if self.error is not None:
                raise self.error
        except BaseException as error:
            self.ended = type(error).__name__
            raise
        self.ended = "done"
        return "done"

    def fail(self) -> None:
        self.error = ValueError("on purpose")
        self.end.set()


async def begun() -> tuple[Work, Work, asyncio.Task[tuple[str, str]]]:
    """Both under way."""
    publishing, writing = Work(), Work()
    task = asyncio.create_task(together(publishing.run(), writing.run()))
    await asyncio.gather(publishing.begun.wait(), writing.begun.wait())
    return publishing, writing, task


@pytest.mark.parametrize("first", [0, 1])
async def test_both_are_waited_for(first: int) -> None:
    *works, task = await begun()
    works[first].end.set()
    await asyncio.sleep(0.01)
    assert not task.done()
    works[1 - first].end.set()
    assert await task == ("done", "done")


async def test_if_publishing_fails_writing_is_ended() -> None:
    publishing, writing, task = await begun()
    publishing.fail()
    with pytest.raises(ValueError, match="on purpose"):
        await task
    assert writing.ended == "CancelledError"


async def test_if_writing_fails_publishing_is_waited_for() -> None:
    publishing, writing, task = await begun()
    writing.fail()
    await asyncio.sleep(0.01)
    assert (writing.ended, task.done()) == ("ValueError", False)
    publishing.end.set()
    with pytest.raises(ValueError, match="on purpose"):
        await task
    assert publishing.ended == "done"


@pytest.mark.parametrize("both", [False, True])
async def test_if_both_fail_none_is_forgotten(both: bool) -> None:
    """The failure of publishing is told. The other is looked at, or asyncio would complain when its task is freed."""
    publishing, writing, task = await begun()
    [beside] = asyncio.all_tasks() - {task, asyncio.current_task()}
    works: list[Callable[[], None]] = [writing.fail, publishing.fail]
    for fail in works if both else works[::-1]:
        fail()
        await asyncio.sleep(0.01)
    with pytest.raises(ValueError, match="on purpose"):
        await task
    assert publishing.ended == "ValueError"
    assert not beside._log_traceback


async def test_a_cancel_ends_both() -> None:
    publishing, writing, task = await begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (publishing.ended, writing.ended) == ("CancelledError", "CancelledError")
