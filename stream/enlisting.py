"""Uploaded lists on their way from the lists' topic to Redis, and out of both again. What a worker does with lists.

Laws:
- The owner of a partition writes its rows. A row never changes and has no position, so it may be written again at any
  time: after a loss of Redis, in a restart, side by side with a stale worker.
- A deleted member is on no list. The worker that deletes it withdraws its rows from every list (`forget`), before the
  delete counts as applied. What is written meanwhile is refused by the tombstone in Redis, and withdrawn for that here;
  of a member that is back by then the withdrawal is read after the row was written (`_patiently`).
- A list that has ended goes from Redis first, then its rows are withdrawn; a crash between repeats both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Any

from aiokafka.errors import KafkaError

from models.list_version import ListVersion
from stream.keyspace import membership_field
from stream.list_rows import Chunk, ListRowsError, RowsLost, withdrawals
from stream.publication import Current
from stream.writer import Writer

log = logging.getLogger(__name__)
_RETRY_S = 2.0
#: topic's id, partition, first, end → its chunks; stream.list_rows.read.
Read = Callable[[str, int, int, int], AsyncGenerator[Chunk, None]]
#: partition of the lists' topic, (key, value) of each record → acknowledged.
Produce = Callable[[int, Sequence[tuple[bytes, bytes | None]]], Coroutine[Any, Any, None]]
#: Called with (records done, records in all) after each chunk; it may take its time.
Progress = Callable[[int, int], Coroutine[Any, Any, None]]
Take = Callable[[dict[bytes, "_Target"], Chunk], Coroutine[Any, Any, None]]


class Enlisting:
    """Keeps the lists of the owned partitions.

    Attributes:
        written: rows written to Redis since the start.
        withdrawn: rows withdrawn since the start, because their member or their list is gone.
    """

    def __init__(
        self, current: Current, writer: Writer, n_partitions: Callable[[], int], read: Read, produce: Produce
    ) -> None:
        self._current, self._writer, self._n_partitions = current, writer, n_partitions
        self._read, self._produce = read, produce
        self.written = self.withdrawn = 0

    async def enlist(self, partition: int, lists: Sequence[ListVersion], progress: Progress) -> dict[str, str]:
        """Write the partition's rows of lists to Redis; returns label → why of those whose rows are lost.

        An outage of Kafka is waited out.
        """
        lost: dict[str, str] = {}
        for topic_id, some in _by_topic(lists, partition).items():
            end = max(version.end[partition] for version in some)
            try:
                await self._patiently(topic_id, partition, some, end, progress, self._write)
            except RowsLost as error:
                lost |= dict.fromkeys([version.label for version in some], str(error))
        return lost

    async def withdraw(self, partition: int, lists: Sequence[ListVersion], progress: Progress) -> None:
        """Remove the partition's rows of lists that have ended, from Redis and from the topic."""
        for topic_id, some in _by_topic(lists, partition).items():
            with suppress(RowsLost):
                await self._patiently(topic_id, partition, some, 0, progress, self._remove)

    async def forget(self, member_ids: Sequence[bytes]) -> None:
        """Take deleted members off all lists that there are: they may be back before Redis is written."""
        lists = self._current.publication.lists
        await self._withdraw(lists.prefixes, member_ids)
        await self._writer.drop(member_ids, lists.fields)

    async def _patiently(
        self,
        topic_id: str,
        partition: int,
        lists: Sequence[ListVersion],
        end: int,
        progress: Progress,
        take: Take,
    ) -> None:
        """Take a partition's chunks in their order; the next one is read while one is taken.

        The last one is empty (stream.list_rows.read): when it is done all are taken, and what came meanwhile follows.
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
                        await progress(chunk.position - first, chunk.end - first)
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

    async def _write(self, targets: dict[bytes, _Target], chunk: Chunk) -> None:
        for prefix, target in targets.items():
            newest = chunk.rows_of(prefix)
            rows = [(member_id, target.value(cluster)) for member_id, cluster in newest.items() if cluster is not None]
            deleted = await self._writer.enlist(target.field, rows)
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
    """Return the lists with rows in a partition, by the id of the topic that these lie in."""
    found: dict[str, list[ListVersion]] = {}
    for version in lists:
        if version.has_rows_in(partition):
            found.setdefault(version.topic_id, []).append(version)
    return found


class _Target:
    """Where a list's rows go in Redis; those of an upload that was never published have gone nowhere."""

    def __init__(self, version: ListVersion) -> None:
        self.was_published = bool(version.end)
        self.field = membership_field(version.name, version.version)
        self._since = b":%d" % version.since_ms
        self._values: dict[bytes, bytes] = {}

    def value(self, cluster: bytes) -> bytes:
        """Return the field's value for a cluster; one object for all members of it."""
        found = self._values.get(cluster)
        if found is None:
            found = self._values[cluster] = cluster + self._since
        return found
