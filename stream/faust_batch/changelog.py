"""The changelog behind the state: records appended to one of its partitions by that partition's owner.

Law: one worker at a time writes a changelog partition, so its offsets leave no gap. If an acknowledged offset doesn't
continue where this worker stopped, that proves a foreign write, and nothing is built on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from aiokafka.errors import KafkaTimeoutError

from memberstream.stream.faust_batch.acks import Acks
from memberstream.stream.faust_batch.errors import ForeignWrite
from memberstream.stream.partition.state import Items
from memberstream.stream.partition.write_position import deletion_headers

#: Bytes of one changelog batch. That is below the 1 MiB (minus overhead) that brokers take by default
#: (message.max.bytes), so a changelog made by hand works, too.
BATCH_BYTES = 900_000


async def patiently(send: Callable[[], Awaitable[Any]]) -> Any:
    """Hand something to the producer. Waits for room in it, even if the broker is away for longer than its time-out.

    A time-out there means that nothing was taken, so this can't write twice. What was taken the idempotent producer
    itself sends until it is acknowledged.
    """
    while True:
        try:
            return await send()
        except KafkaTimeoutError:
            continue


class Changelog:
    """The partitions of the changelog that this worker owns.

    Args:
        producer: returns aiokafka's, started.
    """

    def __init__(self, topic: str, producer: Callable[[], Any], acks: Acks) -> None:
        self.topic, self._producer, self._acks = topic, producer, acks
        self._last: dict[int, int] = {}  # partition → offset of the newest record known
        self._writing: set[int] = set()  # partitions that are being written

    def start(self, partition: int, last_offset: int) -> None:
        """Go on behind `last_offset`."""
        self._last[partition] = last_offset

    def last(self, partition: int) -> int:
        """The offset of the newest record known; -1: there is none."""
        return self._last[partition]

    def quiet_ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return where those of the partitions end that aren't being written."""
        return {partition: self._last[partition] + 1 for partition in partitions if partition not in self._writing}

    async def append(self, partition: int, items: Items, written_at: int) -> int:
        """Append one record per item (None deletes); returns the last one's offset when all replicas in sync have it.

        Raises ForeignWrite, KafkaError.
        """
        self._writing.add(partition)
        try:
            with self._acks.awaiting(self.topic):
                return await self._send(partition, items, written_at)
        finally:
            self._writing.discard(partition)

    async def _send(self, partition: int, items: Items, written_at: int) -> int:
        producer = self._producer()
        now_ms = int(time.time() * 1000)
        sent = []

        async def enqueue(batch: Any) -> Any:
            return await patiently(partial(producer.send_batch, batch, self.topic, partition=partition))

        batch, deleted = producer.create_batch(), deletion_headers(written_at)
        for key, value in items:
            headers = deleted if value is None else []
            if batch.append(timestamp=now_ms, key=key, value=value, headers=headers) is None:  # full
                sent.append((await enqueue(batch), batch.record_count()))
                batch = producer.create_batch()
                batch.append(
                    timestamp=now_ms, key=key, value=value, headers=headers
                )  # the first record of a batch always fits
        sent.append((await enqueue(batch), batch.record_count()))
        expected = self._last[partition] + 1
        for acked, count in sent:
            found = (await asyncio.shield(acked)).offset  # a cancelled wait must not touch the producer's own future
            if found != expected:
                raise foreign_write(partition, self.topic, expected, found)
            expected += count
        self._last[partition] = expected - 1
        return expected - 1


def foreign_write(partition: int, topic: str, expected: int, found: int) -> ForeignWrite:
    """Return the error about a changelog that continues elsewhere than where its owner left it."""
    if found < expected:
        return ForeignWrite(
            f"partition {partition} of {topic}: expected to write at offset {expected}, got {found}: the topic was "
            "emptied, or deleted and made anew. Next: the restart of this worker says what to decide (StateAhead, "
            'docs/operations.md, "Messages and what to do")'
        )
    return ForeignWrite(
        f"partition {partition} of {topic}: expected to write at offset {expected}, got {found}: a stale worker wrote "
        "in between. Next: nothing, the restart of this worker puts it right."
    )
