"""Calls one after another: the next one leaves when the one before is answered, whoever made it.

Redis serves all that a connection has sent before it looks at the next connection. So to everybody else, calls sent
together are one long call. Jobs take turns, call by call. A callback sends the next call, not a task: a task's turn of
the event loop takes longer than the call.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from .aio import AsyncWire, Link
from .replies import WireError


class _Job:
    __slots__ = ("calls", "future", "link", "replies")

    def __init__(self, calls: Sequence[bytes], link: Link, future: asyncio.Future[list[Any]]) -> None:
        self.calls = calls
        self.link = link
        self.future = future
        self.replies: list[Any] = []


class Paced:
    """Keeps at most one call under way on `wire`, over all jobs."""

    def __init__(self, wire: AsyncWire) -> None:
        self._wire = wire
        self._jobs: deque[_Job] = deque()
        self._under_way: _Job | None = None

    async def call(self, calls: Sequence[bytes]) -> list[Any]:
        """Send packed commands, one reply each. Raises like AsyncWire.call."""
        link = self._wire.link or await self._wire.connect()
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(calls, link, future))
        if self._under_way is None:
            self._send_next()
        return await future

    def _send_next(self) -> None:
        while self._jobs:
            job = self._jobs.popleft()
            if not job.future.done():  # its caller was cancelled
                self._under_way = job
                job.link.send(job.calls[len(job.replies)], 1, self._done)
                return

    def _done(self, replies: list[Any] | None, error: WireError | None) -> None:
        job, self._under_way = self._under_way, None
        if job is not None and not job.future.done():
            if replies is None:
                job.future.set_exception(error or WireError("no reply"))
            else:
                job.replies += replies
                if len(job.replies) == len(job.calls):
                    job.future.set_result(job.replies)
                else:
                    self._jobs.append(job)
        self._send_next()
