"""The asyncio client: one connection, and the look-ups of one turn of the event loop travel together.

Say fifty tasks each look up a member. The first one asks at once, as it would alone. The other forty-nine make one
request together: two system calls each way instead of fifty. Requests don't wait for each other: the request of the
next turn leaves while this one is under way.

Laws:
- A call has one deadline, counted from the call, whatever it waits for: a connection, a second try, a reply.
- A client belongs to one event loop at a time. In another one it begins anew, unless the first is still running.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from ..keyspace.keys import DEFAULT_PREFIX, Keys
from ..wire.aio import AsyncWire, Link
from ..wire.cluster_aio import AsyncCluster
from ..wire.endpoint import parse_url
from ..wire.replies import ConnectionLost, ReplyError, TimedOut, WireError, explain, unconnected
from .answer import Answer
from .exchange import Commands, Copy, LookupUnavailable, Request, check_id, check_ids
from .observing import OnCall, Outages, timed_async
from .values import Visible

_NAME = "memberstream-lookup"


class _Batch:
    """The look-ups of one turn: all ids in one list, and for each caller its place in the list and its future."""

    __slots__ = ("deadline", "ids", "loop", "many", "retried", "single", "timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self.loop, self.deadline = loop, deadline
        self.timer: asyncio.TimerHandle | None = None
        self.ids: list[str] = []
        self.single: list[tuple[int, asyncio.Future[Answer]]] = []
        self.many: list[tuple[int, int, asyncio.Future[list[Answer]]]] = []
        self.retried = False

    def add(self, member_id: str) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = self.loop.create_future()
        self.single.append((len(self.ids), future))
        self.ids.append(member_id)
        return future

    def add_many(self, member_ids: Sequence[str]) -> asyncio.Future[list[Answer]]:
        future: asyncio.Future[list[Answer]] = self.loop.create_future()
        start = len(self.ids)
        self.ids += member_ids
        self.many.append((start, len(self.ids), future))
        return future

    def expire(self, call: Callable[["_Batch"], None]) -> None:
        """Call this with the batch at its deadline. What waits for a reply alone needs no timer: the link has one."""
        if self.timer is None:
            self.timer = self.loop.call_at(self.deadline, call, self)

    def resolve(self, found: list[Answer]) -> None:
        self.end()
        for place, single in self.single:
            if not single.done():  # a cancelled caller
                single.set_result(found[place])
        for start, end, many in self.many:
            if not many.done():
                many.set_result(found[start:end])

    def end(self) -> None:
        """Nothing more is waited for."""
        if self.timer is not None:
            self.timer.cancel()

    def fail(self, error: Exception) -> None:
        self.end()
        for _, single in self.single:
            if not single.done():
                single.set_exception(error)
        for _, _, many in self.many:
            if not many.done():
                many.set_exception(error)


class AsyncLookup:
    """Look-ups in Redis with asyncio, for one event loop. Coroutines share round trips.

    Methods raise LookupUnavailable when Redis can't be reached or can't answer. The next call connects again.

    Args:
        url: as for `Lookup`.
        prefix: as for `Lookup`.
        timeout_s: longest time that a call takes, a connection and a second try included.
        on_call: is told of each call that asks Redis (observing.py).

    Raises TypeError for a member id that isn't a text; ValueError for a prefix that can't be one; RuntimeError if
    another event loop uses the client.
    """

    def __init__(
        self, url: str, *, prefix: str = DEFAULT_PREFIX, timeout_s: float = 1.0, on_call: OnCall | None = None
    ) -> None:
        self._endpoint, self._timeout_s = parse_url(url), timeout_s
        self._commands = Commands(Keys(prefix))
        self._outages = Outages()
        if on_call is not None:
            for name in ("get", "get_many"):
                setattr(self, name, timed_async(name, getattr(self, name), on_call))
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begin()

    def _begin(self) -> None:
        self._wire = AsyncWire(self._endpoint, _NAME, self._timeout_s)
        self._copy: Copy | None = None
        self._batch: _Batch | None = None
        is_cluster = self._endpoint.is_cluster
        self._cluster = AsyncCluster(self._endpoint, _NAME, self._timeout_s) if is_cluster else None
        self._under_way: set[asyncio.Task[None]] = set()

    def _enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to belong to an event loop."""
        before, self._loop = self._loop, loop
        if before is None:
            return
        if before.is_running():
            self._loop = before
            raise RuntimeError(
                "this AsyncLookup is used by another event loop, in another thread. Next: one AsyncLookup for each loop"
            )
        links = [self._wire.link, *(self._cluster.links() if self._cluster else ())]
        for link in [one for one in links if one is not None]:
            with suppress(RuntimeError):  # that loop is closed
                link.abort(ConnectionLost("its event loop has ended"))
        self._begin()

    async def get(self, member_id: str) -> Answer:
        """Look up one member. It shares its round trip with the other look-ups of this turn of the loop."""
        if (loop := asyncio.get_running_loop()) is not self._loop:
            self._enter(loop)
        if type(member_id) is not str or not member_id.isascii():
            check_id(member_id)  # raises here, for this caller, not for the whole batch
        link, copy = self._wire.link, self._copy
        deadline = loop.time() + self._timeout_s
        is_alone = self._batch is None and link is not None and link.is_idle
        if is_alone and copy is not None and not copy.lacks(self._wire.connections):
            # Nobody to share with: waiting for the turn's end would take longer than making a batch does.
            try:
                [reply] = await self._wire.call(self._commands.mget((member_id,)), 1)
                is_same = copy.connections == self._wire.connections
                if is_same and (answer := copy.answer(member_id, reply)) is not None:
                    return answer
            except WireError as error:
                if self._closed or not isinstance(error, ConnectionLost):
                    raise self._unavailable(error) from error
            batch = self._batch or self._new_batch(loop, deadline)
            batch.expire(self._expire)  # some of the time is used up
            return await batch.add(member_id)
        return await (self._batch or self._new_batch(loop, deadline)).add(member_id)

    async def get_many(self, member_ids: Iterable[str]) -> list[Answer]:
        """Look up many members in one round trip. Answers come in the order asked; a repeated id is answered twice."""
        if (loop := asyncio.get_running_loop()) is not self._loop:
            self._enter(loop)
        if not (listed := check_ids(member_ids)):
            return []
        return await (self._batch or self._new_batch(loop, loop.time() + self._timeout_s)).add_many(listed)

    async def visible(self, member_id: str) -> Visible:
        """Return the campaigns that one member sees, and the status. It shares its round trip like `get`."""
        return (await self.get(member_id)).visible

    async def visible_many(self, member_ids: Iterable[str]) -> list[Visible]:
        """Like `visible`, for many members in one round trip."""
        return [answer.visible for answer in await self.get_many(member_ids)]

    async def is_visible(self, campaign: str, member_id: str) -> bool:
        """Whether a member sees a campaign, by the clusters that are known. It shares its round trip like `get`."""
        return campaign in (await self.visible(member_id)).campaigns

    def _new_batch(self, loop: asyncio.AbstractEventLoop, deadline: float) -> _Batch:
        batch = self._batch = _Batch(loop, deadline)
        loop.call_soon(self._flush)
        return batch

    def _expire(self, batch: _Batch) -> None:
        is_connected = self._cluster is not None or self._wire.link is not None or self._wire.is_taken
        what, advice = ("answer", "") if is_connected else ("connection", unconnected(self._endpoint.tls))
        self._fail(batch, TimedOut(f"no {what} within {self._timeout_s} s", advice))

    def _flush(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None or not batch.ids:
            return
        link = self._wire.link
        if self._cluster is not None:
            self._start(self._ask_cluster(self._cluster, batch), batch)
        elif link is not None:
            self._send(link, batch)
        else:
            self._start(self._connect(batch), batch)

    def _start(self, coroutine: Coroutine[Any, Any, None], batch: _Batch) -> None:
        batch.expire(self._expire)
        task = asyncio.get_running_loop().create_task(coroutine)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _ask_cluster(self, cluster: AsyncCluster, batch: _Batch) -> None:
        found: list[Answer] | None = None
        while found is None:
            if batch.loop.time() >= batch.deadline:  # nobody waits for it any more
                return
            request = Request(self._commands, batch.ids, self._copy, cluster.connections, True)
            try:
                replies = request.gathered(await cluster.call(request.pieces()), self._endpoint)
                newer, found = request.read(replies, self._endpoint, cluster.connections)
                if newer is not None:
                    self._copy = newer
                    self._outages.clock(newer.clock_ms)
            except ConnectionLost as error:
                if batch.retried or self._closed:
                    self._fail(batch, error)
                    return
                batch.retried = True
            except (WireError, ReplyError) as error:
                self._fail(batch, error)
                return
            except asyncio.CancelledError:
                self._fail(batch, ConnectionLost("the client was closed"))
                raise
            except Exception as fault:  # LookupUnavailable, KeyspaceError: the callers' to see
                batch.fail(fault)
                return
        self._resolve(batch, found)

    async def _connect(self, batch: _Batch) -> None:
        try:
            link = await self._wire.connect()
        except (WireError, ReplyError) as error:
            self._fail(batch, error)
        except asyncio.CancelledError:
            self._fail(batch, ConnectionLost("the client was closed"))
            raise
        else:
            if batch.loop.time() < batch.deadline:
                self._send(link, batch)

    def _send(self, link: Link, batch: _Batch) -> None:
        request = Request(self._commands, batch.ids, self._copy, self._wire.connections, False)

        def done(replies: list[Any] | None, error: WireError | None) -> None:
            if replies is not None:
                self._receive(link, batch, request, replies)
            elif isinstance(error, ConnectionLost) and not batch.retried and not self._closed:
                # The server restarted or an idle connection was cut. Reading again, once, is harmless.
                batch.retried = True
                self._start(self._connect(batch), batch)
            else:
                self._fail(batch, error or ConnectionLost("no reply"))

        link.send(request.payload, request.n_replies, done)

    def _receive(self, link: Link, batch: _Batch, request: Request, replies: list[Any]) -> None:
        try:
            newer, found = request.read(replies, self._endpoint, self._wire.connections)
            if newer is not None:
                self._copy = newer
                self._outages.clock(newer.clock_ms)
        except Exception as fault:  # LookupUnavailable, KeyspaceError: the callers' to see
            batch.fail(fault)
            return
        if found is None:
            batch.expire(self._expire)
            self._send(link, batch)
        else:
            self._resolve(batch, found)

    def _resolve(self, batch: _Batch, found: list[Answer]) -> None:
        if self._outages.since is not None:
            self._outages.over()
        batch.resolve(found)

    def _fail(self, batch: _Batch, error: Exception) -> None:
        unavailable = self._unavailable(error)
        unavailable.__cause__ = error
        batch.fail(unavailable)

    def _unavailable(self, error: Exception) -> LookupUnavailable:
        unavailable = LookupUnavailable(explain(error, self._endpoint))
        if not self._closed:
            self._outages.failed(unavailable)
        return unavailable

    async def close(self) -> None:
        """Close the connection. Look-ups under way raise LookupUnavailable. Safe to call twice."""
        self._closed = True  # look-ups that fail by the loss of the connection are not sent again
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._wire.close()
        if self._cluster is not None:
            await self._cluster.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
