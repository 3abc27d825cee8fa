"""Waiting for Redis: a call is repeated until it is taken. An outage is logged at each step, and skips nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import ClassVar, TypeVar

from memberstream.stream.lookup import LookupUnavailable
from memberstream.stream.projection.calls import RedisUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")
Unavailable = (RedisUnavailable, LookupUnavailable)


class Patience:
    """Shared by all calls of a worker.

    Attributes:
        problem: since when (monotonic clock) and why a call waits for Redis; None while none does.
    """

    FIRST_WAIT_S: ClassVar[float] = 0.05  # a fail-over takes seconds, a dropped connection no time
    LONGEST_WAIT_S: ClassVar[float] = 5.0  # how late Redis' return may be noticed

    def __init__(self) -> None:
        self.problem: tuple[float, str] | None = None
        self._waiting = 0  # calls that have been refused at least once

    async def until_available(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a call returns, when Redis takes it."""
        try:
            return await call()
        except Unavailable as error:
            self._waiting += 1
            refusal: Exception = error
        try:
            return await self._until_back(call, refusal)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self.problem = None

    async def _until_back(self, call: Callable[[], Awaitable[T]], refusal: Exception) -> T:
        wait_s = self.FIRST_WAIT_S
        while True:
            since = monotonic() if self.problem is None else self.problem[0]
            self.problem = since, str(refusal)
            log.warning("waiting for Redis, nothing is committed meanwhile: %s (again in %.2f s)", refusal, wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self.LONGEST_WAIT_S)
            try:
                result = await call()
            except Unavailable as error:
                refusal = error
            else:
                if self._waiting == 1:
                    log.info("Redis is back")
                return result
