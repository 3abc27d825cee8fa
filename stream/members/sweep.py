"""What Redis holds and should not: rows of members that state doesn't hold, fields of lists that no longer exist.

An old dump brings back members who were deleted since, and members who left a list since. A rebuild writes what exists,
so it never meets them. Therefore all rows are looked at, once for all partitions that this worker rebuilds together.

Laws:
- The part of a row before its lists is judged by the owner of the partition that `pos` names. It is removed if that
  partition's state holds no document of the member, but never if the state hasn't reached the row's position. If the
  partition no longer exists, the owner of its number modulo the number of partitions judges.
- The row's lists are judged by the owner of the member's rows of lists (stream/lists/rows.py). They are removed in any
  case; what the lists' topic says is written afterwards.
- A part is removed only if it still stands there as it was read: whoever writes the member meanwhile wins. No tombstone
  is left.
- If the user in Redis lacks the rights, that is no outage: it is reported, and the rebuild goes on without the removal.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from zlib import crc32

from memberstream.models.member import head_of
from memberstream.models.position import split_position
from memberstream.models.wording import counted
from memberstream.stream.keyspace.formats import KeyspaceError, is_tombstone, parse_position
from memberstream.stream.partition.state import State
from memberstream.stream.projection.calls import NotPermitted
from memberstream.stream.projection.writer import Writer

log = logging.getLogger(__name__)
_LISTS = b"||"


class Sweep:
    """Removes what no longer belongs there from the rows of partitions that are rebuilt.

    Attributes:
        looked_at: rows, since the start.
        removed: parts of rows, since the start.
        problem: why Redis doesn't permit it; None while it does.
    """

    def __init__(self, state: State, writer: Writer, n_partitions: Callable[[], int]) -> None:
        self._state, self._writer, self._n_partitions = state, writer, n_partitions
        self._asked: dict[int, asyncio.Future[None]] = {}  # partition → its sweep to come
        self._swept: dict[int, asyncio.Future[None]] = {}  # under way
        self._task: asyncio.Task[None] | None = None
        self.looked_at = self.removed = 0
        self.problem: str | None = None

    async def run(self, partition: int) -> None:
        """Return when Redis holds only what state holds of an owned partition, and nothing of its lists.

        The caller keeps batches of the partition from running meanwhile, and writes the lists afterwards.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[partition] = done
        if self._task is None or self._task.done() or self._task.cancelling():
            self._task = asyncio.create_task(self._run())
        try:
            await done
        finally:
            for waiting in (self._asked, self._swept):
                if waiting.get(partition) is done:
                    del waiting[partition]
            if not self._asked and not self._swept:
                self._task.cancel()  # nobody waits for it any more

    async def probe(self) -> None:
        """Look at some rows, to tell at once whether Redis permits it, and not only when it is needed."""
        try:
            async with aclosing(self._writer.rows()) as pages:
                async for _ in pages:
                    break
            self.problem = None
        except NotPermitted as error:
            self._refuse(error)

    async def _run(self) -> None:
        while self._asked:
            fault: Exception | None = None
            try:
                await self._pass()
                answered, self._swept = self._swept, {}
            except asyncio.CancelledError:
                for done in (*self._asked.values(), *self._swept.values()):
                    if not done.done():  # somebody waits, so it wasn't we who cancelled
                        done.set_exception(RuntimeError("the look at Redis' rows was cancelled from outside"))
                raise
            except Exception as error:
                answered, self._swept, self._asked = self._asked | self._swept, {}, {}
                if isinstance(error, NotPermitted):
                    self._refuse(error)
                else:
                    fault = error  # the callers' to see
            for done in [done for done in answered.values() if not done.done()]:
                if fault is None:
                    done.set_result(None)
                else:
                    done.set_exception(fault)

    async def _pass(self) -> None:
        looked_at, removed = self.looked_at, self.removed
        async with aclosing(self._writer.rows()) as pages:
            rows = await anext(pages, None)
            self._swept, self._asked = self._asked, {}  # requests from now on wait for the next pass
            while rows is not None:
                self.looked_at += len(rows)
                self.removed += await self._writer.cut(self._surplus(rows))
                rows = await anext(pages, None)
        self.problem = None
        if self.removed > removed:
            log.info(
                "removed what is no member's and no list's any more: %s of rows; %s looked at",
                counted(self.removed - removed, "part"), counted(self.looked_at - looked_at, "row"),
            )  # fmt: skip

    def _refuse(self, error: NotPermitted) -> None:
        if self.problem is None:
            log.error(
                "Redis doesn't let this worker look for rows that no member has any more: after a restart with an "
                "older dump, members deleted since stay. %s Next: give the worker's user the rights `scan` and `mget` "
                "(ACL SETUSER … +scan +mget; docs/operations.md), then run `memberstream rebuild`", error,
            )  # fmt: skip
        self.problem = str(error)

    def _surplus(self, rows: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return what must be removed from some rows: (member id, part of its row) each."""
        n, surplus = self._n_partitions(), []
        documents: defaultdict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        for member_id, row in rows:
            document, bar, lists = row.partition(_LISTS)
            if bar and crc32(member_id) % n in self._swept:
                surplus.append((member_id, bar + lists))
            if not document or is_tombstone(document):
                continue
            try:
                epoch, partition, offset, *_ = parse_position(document.partition(b"|")[0])
            except KeyspaceError:  # no worker has written such a row
                surplus.append((member_id, document))
                continue
            judge = partition % n
            if judge in self._swept and (epoch, offset) <= self._reached(judge):
                documents[judge].append((member_id, document))
        for partition, some in documents.items():
            states = self._state.get_many(partition, [member_id for member_id, _ in some])
            surplus += [
                part
                for part, state in zip(some, states, strict=True)
                if state is None or not head_of(state).has_document
            ]
        return surplus

    def _reached(self, partition: int) -> tuple[int, int]:
        """Return the (epoch, offset) up to which the state of a partition knows everything."""
        return split_position(self._writer.progress[partition].position)
