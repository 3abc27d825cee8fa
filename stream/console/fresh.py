"""Something that takes a while to find out, asked for by many pages at once.

Laws:
- It is asked at most once in `every_s`, however many ask. Who isn't looked at asks nothing.
- Nobody waits longer than the patience given: then the last answer has to do, or None. It is counted from when the
  question was asked: whoever comes later, or again, doesn't wait anew for one that isn't answered.
- An answer older than `keep_s` isn't handed out: nobody has looked for a while, and what it says may be over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """The answers to one question. `find` raises nothing that is expected: a failure is an answer, too.

    Attributes:
        last: the last answer, however old; None: there is none yet.
    """

    def __init__(self, find: Callable[[], Awaitable[T]], every_s: float, keep_s: float) -> None:
        self._find, self._every_s, self._keep_s = find, every_s, keep_s
        self._task: asyncio.Task[None] | None = None
        self._asked_at = self._answered_at = float("-inf")
        self.last: T | None = None

    @property
    def waiting_s(self) -> float:
        """For how long an answer has been waited for; 0: none is."""
        return 0.0 if self._task is None else monotonic() - self._asked_at

    @property
    def age_s(self) -> float:
        """How old the last answer is."""
        return monotonic() - self._answered_at

    async def get(self, patience_s: float) -> T | None:
        """Return an answer of now, or the last one; None: there is none, or an old one. Raises what `find` raised."""
        if self._task is None and monotonic() - self._asked_at >= self._every_s:
            self._asked_at = monotonic()
            self._task = asyncio.create_task(self._ask())
        if self._task is not None:
            task = self._task
            await asyncio.wait([task], timeout=max(0.0, patience_s - self.waiting_s))
            if task.done() and not task.cancelled():
                task.result()
        return self.last if self.age_s <= self._keep_s else None

    def expire(self) -> None:
        """Ask anew when it is asked for next, however young the last answer is; a question under way will do."""
        if self._task is None:
            self._asked_at = float("-inf")

    async def _ask(self) -> None:
        try:
            self.last = await self._find()
            self._answered_at = monotonic()
        finally:
            self._task = None

    async def close(self) -> None:
        """End a question under way."""
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])
