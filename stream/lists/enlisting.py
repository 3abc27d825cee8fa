"""What a worker does with uploaded lists: from the lists' topic into Redis, and out of both again.

Laws:
- The owner of a partition writes its rows. A row never changes and has no position, so it may be written again at any
  time: after a loss of Redis, in a restart, side by side with a stale worker.
- A deleted member is on no list. The worker that deletes it withdraws its rows from every list (`forget`), before the
  delete counts as applied. The tombstone in Redis refuses rows that are written meanwhile, and they are withdrawn here.
  If the member is back by then, its withdrawal is read after the row was written (`_patiently`).
- No list has a row of a deleted member without the deleting worker knowing of the list. A list's first row is written
  only when readers know of the upload, and nobody is deleted before the worker knows what readers know.
- A list that has ended is removed from Redis first. Then its rows are withdrawn. A crash in between repeats both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError

from memberstream.models.list_version import ListVersion
from memberstream.stream.keyspace.formats import membership_field
from memberstream.stream.lists.rows import Chunk, ListRowsError, RowsLost, withdrawals
from memberstream.stream.projection.writer import Writer
from memberstream.stream.registry.publication import Current

log = logging.getLogger(__name__)
_RETRY_S = 2.0
#: topic's id, partition, first, end → its chunks; `read` in stream/lists/rows.py.
Read = Callable[[str, int, int, int], AsyncGenerator[Chunk, None]]
#: partition of the lists' topic, (key, value) of each record → acknowledged.
Produce = Callable[[int, Sequence[tuple[bytes, bytes | None]]], Coroutine[Any, Any, None]]
#: Called with (records done, records in all) after each chunk; it may take its time.
Pacing = Callable[[int, int], Coroutine[Any, Any, None]]
Take = Callable[[dict[bytes, "_Target"], Chunk], Coroutine[Any, Any, None]]


class Enlisting:
    """Keeps the lists of the owned partitions.

    Args:
        until_known: returns once this worker goes by all that the models' log holds, and by a step that readers know.

    Attributes:
        written: rows written to Redis since the start.
        withdrawn: rows withdrawn since the start, because their member or their list is gone.
    """

    def __init__(
        self,
        current: Current,
        writer: Writer,
        n_partitions: Callable[[], int],
        until_known: Callable[[int], Awaitable[None]],
        read: Read,
        produce: Produce,
    ) -> None:
        self._current, self._writer, self._n_partitions = current, writer, n_partitions
        self._until_known, self._read, self._produce = until_known, read, produce
        self.written = self.withdrawn = 0

    async def enlist(
        self, partition: int, lists: Sequence[ListVersion], pacing: Pacing, *, over_tombstones: bool = False
    ) -> dict[str, str]:
        """Write the partition's rows of lists to Redis. Returns, for lists whose rows are lost, label → why.

        An outage of Kafka is waited out.

        Args:
            over_tombstones: the lists were written before, and members deleted since have no row any more.
        """
        lost: dict[str, str] = {}
        write = partial(self._write, over_tombstones)
        for topic_id, some in _by_topic(lists, partition).items():
            end = max(version.end[partition] for version in some)
            try:
                await self._patiently(topic_id, partition, some, end, pacing, write)
            except RowsLost as error:
                lost |= dict.fromkeys([version.label for version in some], str(error))
        return lost

    async def withdraw(self, partition: int, lists: Sequence[ListVersion], pacing: Pacing) -> None:
        """Remove the partition's rows of lists that have ended, from Redis and from the topic."""
        for topic_id, some in _by_topic(lists, partition).items():
            with suppress(RowsLost):
                await self._patiently(topic_id, partition, some, 0, pacing, self._remove)

    async def forget(self, member_ids: Sequence[bytes]) -> None:
        """Take deleted members off all lists: the members may be back before Redis is written.

        All lists are known once this worker goes by all steps that there are; usually it does. It waits while the
        models' log ends before what readers know, which is reported (registry/follower.py). A new step becomes known
        without any partition's lock.
        """
        await self._until_known(await self._writer.known())
        lists = self._current.publication.lists
        await self._withdraw(lists.prefixes, member_ids)
        await self._writer.drop(member_ids, lists.fields)

    async def _patiently(
        self,
        topic_id: str,
        partition: int,
        lists: Sequence[ListVersion],
        end: int,
        pacing: Pacing,
        take: Take,
    ) -> None:
        """Take a partition's chunks in their order. The next one is read while one is taken.

        The last one is empty (`read` in stream/lists/rows.py). When it comes, all others are taken; what has come
        meanwhile follows.
        """
        targets = {version.prefix: _Target(version) for version in lists}
        first = min(version.first[partition] for version in lists)
        while True:
            taking: asyncio.Task[None] | None = None
            try:
                async with aclosing(self._read(topic_id, partition, first, end)) as chunks:
                    async for chunk in chunks:
                        if taking is not None:
                            await taking
                        taking = asyncio.create_task(take(targets, chunk))
                        await asyncio.sleep(0)
                        await pacing(chunk.position - first, chunk.end - first)
                if taking is not None:
                    await taking
                return
            except RowsLost:
                raise
            except (ListRowsError, KafkaError) as error:
                log.warning("partition %d: the rows of lists can't be read, trying again: %s", partition, error)
                await asyncio.sleep(_RETRY_S)
            finally:
                if taking is not None:
                    taking.cancel()

    async def _write(self, over_tombstones: bool, targets: dict[bytes, _Target], chunk: Chunk) -> None:
        for prefix, target in targets.items():
            newest = chunk.rows_of(prefix)
            rows = [(member_id, target.value(cluster)) for member_id, cluster in newest.items() if cluster is not None]
            deleted = await self._writer.enlist(target.field, rows, over_tombstones)
            await self._withdraw([prefix], deleted)
            left = [member_id for member_id, cluster in newest.items() if cluster is None]
            await self._writer.drop(left, [target.field])
            self.written += len(rows) - len(deleted)

    async def _remove(self, targets: dict[bytes, _Target], chunk: Chunk) -> None:
        for prefix, target in targets.items():
            newest = chunk.rows_of(prefix)
            left = [member_id for member_id, cluster in newest.items() if cluster is not None]
            if target.was_published:
                await self._writer.drop(left, [target.field])
            await self._withdraw([prefix], left)

    async def _withdraw(self, prefixes: Iterable[bytes], member_ids: Sequence[bytes]) -> None:
        found = withdrawals(prefixes, member_ids, self._n_partitions())
        await asyncio.gather(*[self._produce(partition, records) for partition, records in found.items()])
        self.withdrawn += sum(map(len, found.values()))


def _by_topic(lists: Sequence[ListVersion], partition: int) -> dict[str, list[ListVersion]]:
    """Return the lists with rows in a partition, by the id of the topic in which the rows lie."""
    found: dict[str, list[ListVersion]] = {}
    for version in lists:
        if version.has_rows_in(partition):
            found.setdefault(version.topic_id, []).append(version)
    return found


class _Target:
    """Where a list's rows go in Redis. Rows of an upload that was never published have gone nowhere."""

    def __init__(self, version: ListVersion) -> None:
        self.was_published = bool(version.end)
        self.field = membership_field(version.name, version.version)
        self._since = b":%d" % version.since_ms
        self._values: dict[bytes, bytes] = {}

    def value(self, cluster: bytes) -> bytes:
        """Return the field's value for a cluster: one object for all its members."""
        found = self._values.get(cluster)
        if found is None:
            found = self._values[cluster] = cluster + self._since
        return found
