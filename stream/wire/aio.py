"""One asyncio connection shared by many callers: calls are pipelined, replies come in the order of the calls.

Laws:
- A call is packed commands plus the number of replies to expect. Its `done` is called exactly once, with all replies or
  with one WireError.
- A call that exceeds its time takes the connection down, and every call behind it: a late reply must never be taken for
  the reply to another call.
- The next call after a loss connects anew. Nobody reconnects in the background. One attempt serves all who wait.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

from .endpoint import Endpoint
from .once import Once
from .replies import FOREIGN, NOTHING, ConnectionLost, ReplyError, TimedOut, WireError, new_reader, unconnected

# Takes the replies of a hundred members (about 160 bytes each) at once.
_RECV_BYTES = 65_536

Done = Callable[[list[Any] | None, WireError | None], None]


class _Call:
    __slots__ = ("deadline", "done", "n_replies", "replies")

    def __init__(self, n_replies: int, done: Done, deadline: float) -> None:
        self.n_replies = n_replies
        self.done = done
        self.deadline = deadline
        self.replies: list[Any] = []


class Link(asyncio.BufferedProtocol):
    """A live connection. Made by AsyncWire.

    It reads into a buffer of its own. For a plain protocol asyncio asks the allocator for 256 KiB each time, which can
    cost more than a look-up does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.alive = False
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._timeout_s = timeout_s
        self._reader, self._buffer = new_reader(), bytearray(_RECV_BYTES)
        self._view = memoryview(self._buffer)
        self._pending: deque[_Call] = deque()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._why: WireError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # asyncio promises it; uvloop's is no instance of it
        self.alive = True

    @property
    def is_idle(self) -> bool:
        """Whether no reply is awaited."""
        return not self._pending

    def send(self, payload: bytes, n_replies: int, done: Done) -> None:
        """Queues a call. `done` may run before this returns only when the connection is already gone."""
        if self._transport is None or not self.alive:
            done(None, self._why or ConnectionLost("the connection is closed"))
            return
        deadline = self._loop.time() + self._timeout_s
        self._pending.append(_Call(n_replies, done, deadline))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._check_time)
        self._transport.write(payload)

    def get_buffer(self, sizehint: int) -> memoryview:
        # asyncio's TLS writes record after record into slices of it, and a slice of a bytearray is a copy: with that,
        # replies of an earlier read would be told as this one's.
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        try:
            self._reader.feed(self._buffer, 0, nbytes)
            self._deliver()
        except hiredis.ProtocolError as error:
            self.abort(ConnectionLost(f"not a Redis reply ({error})", FOREIGN))

    def _deliver(self) -> None:
        gets, pending = self._reader.gets, self._pending
        while pending:
            call = pending[0]
            replies, n_replies = call.replies, call.n_replies
            while len(replies) < n_replies:
                if (reply := gets()) is NOTHING:
                    return
                replies.append(reply)
            pending.popleft()
            call.done(replies, None)

    def _check_time(self) -> None:
        # One timer for the connection, not one for each call. It looks at the oldest call and sleeps until that is due.
        self._timer = None
        if not self._pending:
            return
        deadline = self._pending[0].deadline
        if self._loop.time() >= deadline:
            self.abort(TimedOut(f"no answer within {self._timeout_s} s"))
        else:
            self._timer = self._loop.call_at(deadline, self._check_time)

    def abort(self, why: WireError) -> None:
        """Drops the connection now; every waiting call gets `why`."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(why)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionLost(f"the connection broke ({exc or 'closed by the server'})"))
        if not self.closed.done():
            self.closed.set_result(None)

    def _fail(self, why: WireError) -> None:
        self.alive = False
        self._why = self._why or why
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._pending = self._pending, deque()
        for call in waiting:
            call.done(None, self._why)


class AsyncWire:
    """Connects on first use, and again after a loss. `prepare`: commands that each new connection sends after its
    log-in.

    Attributes:
        connections: made so far.
        is_taken: the server has taken the connection that is being made; its log-in isn't answered yet.
    """

    def __init__(
        self, endpoint: Endpoint, client_name: str, timeout_s: float, prepare: tuple[bytes, int] = (b"", 0)
    ) -> None:
        self._endpoint = endpoint
        self._client_name = client_name
        self._timeout_s = timeout_s
        self._prepare = prepare
        self._connecting = Once(self._connect)
        self._link: Link | None = None
        self.connections = 0
        self.is_taken = False

    @property
    def link(self) -> Link | None:
        """Return the live connection, if there is one."""
        link = self._link
        return link if link is not None and link.alive else None

    async def call(self, payload: bytes, n_replies: int) -> list[Any]:
        """Make one round trip. Raises WireError, or ReplyError if the log-in is refused."""
        link = self.link or await self.connect()
        return await _ask(link, payload, n_replies)

    async def connect(self) -> Link:
        """Return the live connection, made if necessary. Concurrent callers wait for the same. Raises like `call`."""
        return self.link or await self._connecting.done()

    async def _connect(self) -> Link:
        loop = asyncio.get_running_loop()
        endpoint = self._endpoint
        if endpoint.service is not None:
            endpoint = await _primary(endpoint, self._client_name, self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                _, link = await loop.create_connection(
                    lambda: Link(loop, self._timeout_s), endpoint.host, endpoint.port, ssl=endpoint.tls
                )
        except TimeoutError:
            raise TimedOut(f"no connection within {self._timeout_s} s", unconnected(endpoint.tls)) from None
        except OSError as error:  # an ssl.SSLError is one, too
            raise ConnectionLost(f"no connection ({error})", unconnected(endpoint.tls)) from error
        self.is_taken = True
        try:
            payload, n_replies = endpoint.handshake(self._client_name)
            extra, n_extra = self._prepare
            endpoint.check_handshake(await _ask(link, payload + extra, n_replies + n_extra))
        except BaseException:
            link.abort(ConnectionLost("the log-in failed"))
            await link.closed
            raise
        finally:
            self.is_taken = False
        self._link = link
        self.connections += 1
        return link

    def drop(self) -> None:
        """Give the connection up. The next call connects anew, through the sentinels if there are any."""
        if (link := self.link) is not None:
            link.abort(ConnectionLost("given up"))

    async def close(self) -> None:
        """Close the connection; waiting calls fail. A later call would connect again."""
        self._connecting.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.abort(ConnectionLost("the client was closed"))
            await link.closed


async def _primary(endpoint: Endpoint, client_name: str, timeout_s: float) -> Endpoint:
    """Return the primary, as named by the first sentinel that answers."""
    problem: WireError = ConnectionLost("no sentinel is named in the URL")
    for sentinel in endpoint.sentinels():
        wire = AsyncWire(sentinel, client_name, timeout_s)
        try:
            [reply] = await wire.call(endpoint.ask_primary(), 1)
            return endpoint.primary(reply)
        except WireError as error:
            problem = error
        except ReplyError as error:  # to the log-in
            problem = endpoint.refused(error)
        finally:
            await wire.close()
    raise problem


async def _ask(link: Link, payload: bytes, n_replies: int) -> list[Any]:
    future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    def done(replies: list[Any] | None, error: WireError | None) -> None:
        if future.done():  # the caller was cancelled
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(replies or [])

    link.send(payload, n_replies, done)
    return await future
