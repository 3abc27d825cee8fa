"""What several callers wait for is done once, and goes on when one of them gives up."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from .replies import ConnectionLost

T = TypeVar("T")


class Once(Generic[T]):
    """One piece of work at a time. Whoever asks for it meanwhile waits for the same, and meets the same error.

    A caller whose time is over goes without ending it: otherwise work that takes longer than any caller's time, such as
    going through the nodes of a broken cluster, would never come to an end.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None

    async def done(self) -> T:
        """Return what the work returns. Raises what it raises, and ConnectionLost if somebody else has ended it."""
        if (task := self._task) is None:
            task = self._task = asyncio.get_running_loop().create_task(self._work())
            task.add_done_callback(self._forget)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and not (caller is not None and caller.cancelling()):
                raise ConnectionLost("the connection was closed meanwhile") from None  # nobody has cancelled the caller
            raise

    def _forget(self, task: "asyncio.Task[T]") -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # perhaps nobody waits for it any more

    def cancel(self) -> None:
        """End it, for all who wait for it."""
        if self._task is not None:
            self._task.cancel()
