"""Calls one after another: the next one leaves when the one before is answered, whoever made it.

Redis serves all that a connection has sent before it looks at the next connection. So to everybody else, calls sent
together are one long call. Jobs take turns, call by call. A callback sends the next call, not a task: a task's turn of
the event loop takes longer than the call.

A server far away answers late, not because it is busy. So as many calls may be under way to it as leave one by one,
GAP_S apart, within a round trip: they arrive as far apart, and each is served alone. The round trip is the shortest of
a minute (round_trip.py). A server that is near and busy has still one call under way.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from .aio import AsyncWire, Link
from .replies import WireError

#: Seconds between two calls that are under way together: ten times what the server takes for one. It is the shortest
#: time that uvloop measures, too.
GAP_S = 0.001
#: Calls under way at most. What is lost with a connection is made again.
MOST = 64


class _Job:
    __slots__ = ("calls", "future", "link", "n_sent", "replies")

    def __init__(self, calls: Sequence[bytes], link: Link, future: asyncio.Future[list[Any]]) -> None:
        self.calls = calls
        self.link = link
        self.future = future
        self.n_sent = 0
        self.replies: list[Any] = []


class Paced:
    """Paces the calls on `wire`, over all jobs. `round_trip_s`: tells how far away the server is."""

    def __init__(self, wire: AsyncWire, round_trip_s: Callable[[], float] = lambda: 0.0) -> None:
        self._wire, self._round_trip_s = wire, round_trip_s
        self._jobs: deque[_Job] = deque()  # those with calls that haven't left
        self._under_way = 0
        self._sent_at = 0.0
        self._is_sending = False
        self._timer: asyncio.TimerHandle | None = None

    async def call(self, calls: Sequence[bytes]) -> list[Any]:
        """Send packed commands, one reply each. Raises like AsyncWire.call."""
        link = self._wire.link or await self._wire.connect()
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(calls, link, future))
        self._send_next()
        return await future

    def _send_next(self) -> None:
        if self._is_sending:  # a link that is gone answers while it is called: the loop below goes on
            return
        self._is_sending = True
        try:
            self._send_all_that_may()
        finally:
            self._is_sending = False

    def _send_all_that_may(self) -> None:
        while self._jobs and self._may_send():
            job = self._jobs.popleft()
            if job.future.done():  # its caller was cancelled, or a call of it has failed
                continue
            call = job.calls[job.n_sent]
            job.n_sent += 1
            if job.n_sent < len(job.calls):
                self._jobs.append(job)
            self._under_way += 1
            self._sent_at = perf_counter()
            job.link.send(call, 1, lambda replies, error, job=job: self._done(job, replies, error))  # type: ignore[misc]

    def _may_send(self) -> bool:
        """Return whether a call may leave now. If only the gap is missing, this is asked again after it."""
        if not self._under_way:
            return True
        if self._under_way >= min(MOST, self._round_trip_s() / GAP_S) or self._timer is not None:
            return False
        if perf_counter() - self._sent_at >= GAP_S:
            return True
        self._timer = asyncio.get_running_loop().call_later(GAP_S, self._after_gap)
        return False

    def _after_gap(self) -> None:
        self._timer = None
        self._send_next()

    def _done(self, job: _Job, replies: list[Any] | None, error: WireError | None) -> None:
        self._under_way -= 1
        if not job.future.done():
            if replies is None:
                job.future.set_exception(error or WireError("no reply"))
            else:
                job.replies += replies
                if len(job.replies) == len(job.calls):
                    job.future.set_result(job.replies)
        self._send_next()


def most_per_second(round_trip_s: float) -> float:
    """Return how many calls leave in a second at most."""
    return max(1.0, min(MOST, round_trip_s / GAP_S)) / round_trip_s
