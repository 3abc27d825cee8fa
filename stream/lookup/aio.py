"""The asyncio client: one connection, and the look-ups of one turn of the event loop travel together.

Of fifty tasks that each look up a member the first asks at once, as it would alone; the other forty-nine make one
request: two system calls each way instead of fifty. Requests don't wait for each other; the next turn's leaves while
this one's is under way.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from stream.lookup.answer import Answer
from stream.lookup.exchange import NOTHING, Copy, LookupUnavailable, Request, mget
from stream.lookup.values import Visible
from stream.wire import AsyncCluster, AsyncWire, ConnectionLost, Link, ReplyError, WireError, explain, parse_url


class _Batch:
    """The look-ups of one turn: all ids in one list, and for each caller its place there and its future."""

    __slots__ = ("ids", "loop", "many", "retried", "single")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
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

    def resolve(self, found: list[Answer]) -> None:
        for place, single in self.single:
            if not single.done():  # a cancelled caller
                single.set_result(found[place])
        for start, end, many in self.many:
            if not many.done():
                many.set_result(found[start:end])

    def fail(self, error: Exception) -> None:
        for _, single in self.single:
            if not single.done():
                single.set_exception(error)
        for _, _, many in self.many:
            if not many.done():
                many.set_exception(error)


class AsyncLookup:
    """As stream.lookup.Lookup, for one event loop; `timeout_s` bounds a whole round trip."""

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        self._endpoint = parse_url(url)
        self._wire = AsyncWire(self._endpoint, "memberstream-lookup", timeout_s)
        self._copy: Copy | None = None
        self._batch: _Batch | None = None
        is_cluster = self._endpoint.is_cluster
        self._cluster = AsyncCluster(self._endpoint, "memberstream-lookup", timeout_s) if is_cluster else None
        self._under_way: set[asyncio.Task[None]] = set()
        self._closed = False

    async def get(self, member_id: str) -> Answer:
        """One member; shares its round trip with the other look-ups of this turn of the loop."""
        link, copy = self._wire.link, self._copy
        if self._batch is None and link is not None and link.is_idle and copy is not None and copy.lacks() is NOTHING:
            # Nobody to share with: waiting for the turn's end would take longer than making a batch does.
            try:
                [reply] = await self._wire.call(mget((member_id,)), 1)
                if (answer := copy.answer(member_id, reply)) is not None:
                    return answer
            except WireError as error:
                if self._closed or not isinstance(error, ConnectionLost):
                    raise LookupUnavailable(explain(error, self._endpoint)) from error
        if not member_id.isascii():
            member_id.encode()  # raises here, for this caller, not for the whole batch
        return await (self._batch or self._new_batch()).add(member_id)

    async def get_many(self, member_ids: Sequence[str]) -> list[Answer]:
        """Many members, one round trip; answers in the order asked, an id asked twice is answered twice."""
        if not member_ids:
            return []
        "".join(member_ids).encode()  # raises here, as above
        return await (self._batch or self._new_batch()).add_many(member_ids)

    async def visible(self, member_id: str) -> Visible:
        """The campaigns that one member sees, and the status; shares its round trip as `get` does."""
        return (await self.get(member_id)).visible

    async def visible_many(self, member_ids: Sequence[str]) -> list[Visible]:
        """As `visible`, for many members; one round trip."""
        return [answer.visible for answer in await self.get_many(member_ids)]

    async def is_visible(self, campaign: str, member_id: str) -> bool:
        """Whether a member sees a campaign, by the clusters that are known; shares its round trip as `get` does."""
        return campaign in (await self.visible(member_id)).campaigns

    def _new_batch(self) -> _Batch:
        loop = asyncio.get_running_loop()
        batch = self._batch = _Batch(loop)
        loop.call_soon(self._flush)
        return batch

    def _flush(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None or not batch.ids:
            return
        link = self._wire.link
        if self._cluster is not None:
            self._start(self._ask_cluster(self._cluster, batch))
        elif link is not None:
            self._send(link, batch)
        else:
            self._start(self._connect(batch))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _ask_cluster(self, cluster: AsyncCluster, batch: _Batch) -> None:
        found: list[Answer] | None = None
        while found is None:
            request = Request(batch.ids, self._copy)
            try:
                replies = request.gathered(await cluster.call(request.pieces()), self._endpoint)
                newer, found = request.read(replies, self._endpoint)
                if newer is not None:
                    self._copy = newer
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
        batch.resolve(found)

    async def _connect(self, batch: _Batch) -> None:
        try:
            link = await self._wire.connect()
        except (WireError, ReplyError) as error:
            self._fail(batch, error)
        except asyncio.CancelledError:
            self._fail(batch, ConnectionLost("the client was closed"))
            raise
        else:
            self._send(link, batch)

    def _send(self, link: Link, batch: _Batch) -> None:
        request = Request(batch.ids, self._copy)

        def done(replies: list[Any] | None, error: WireError | None) -> None:
            if replies is not None:
                self._receive(link, batch, request, replies)
            elif isinstance(error, ConnectionLost) and not batch.retried and not self._closed:
                # The server restarted or an idle connection was cut. Reading again is harmless; once.
                batch.retried = True
                self._start(self._connect(batch))
            else:
                self._fail(batch, error or ConnectionLost("no reply"))

        link.send(request.payload, request.n_replies, done)

    def _receive(self, link: Link, batch: _Batch, request: Request, replies: list[Any]) -> None:
        try:
            newer, found = request.read(replies, self._endpoint)
            if newer is not None:
                self._copy = newer
        except Exception as fault:  # LookupUnavailable, KeyspaceError: the callers' to see
            batch.fail(fault)
            return
        if found is None:
            self._send(link, batch)
        else:
            batch.resolve(found)

    def _fail(self, batch: _Batch, error: Exception) -> None:
        unavailable = LookupUnavailable(explain(error, self._endpoint))
        unavailable.__cause__ = error
        batch.fail(unavailable)

    async def close(self) -> None:
        """Drops the connection; look-ups under way raise LookupUnavailable. Safe to call twice."""
        self._closed = True  # what the loss of the connection fails is not sent again
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
