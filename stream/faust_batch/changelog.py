"""State as the pipeline sees it, and the changelog behind it.

The law of this file:
1. Changelog before disk: `write` follows the ack of `publish`. Local state ahead of the changelog would skip, after a
   replay, what the changelog never got; the other way round recovery reads the difference again.
2. One worker writes a changelog partition at a time, so its offsets leave no gap: an ack that doesn't continue where
   this worker stopped is proof of a foreign write, and nothing is built on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaTimeoutError

from stream.faust_batch.errors import Fenced, ForeignWrite, StateTooLarge
from stream.state import Items, Timer, Timers
from stream.state_store import deletion_headers

if TYPE_CHECKING:
    from stream.faust_batch.app import BatchApp

#: Bytes of one changelog batch: below the 1 MiB (minus overhead) that brokers take by default (message.max.bytes), so
#: that a changelog made by hand works too.
BATCH_BYTES = 900_000
#: Bytes of the largest key plus value. The source topic takes 1 MiB a record by default, and a document grows by
#: appends: room for eight, and an end to growth. The changelog is created to take it.
MAX_STATE_BYTES = 8 << 20
#: max.message.bytes of the changelog: the largest value and the framing of its batch.
CHANGELOG_MESSAGE_BYTES = MAX_STATE_BYTES + 65_536


async def patiently(send: Callable[[], Awaitable[Any]]) -> Any:
    """Hand something to the producer, waiting for room behind a broker that is away for longer than its time-out.

    A time-out there means that nothing was taken, so this can't write twice. What was taken is sent until it is
    acknowledged, by the idempotent producer itself.
    """
    while True:
        try:
            return await send()
        except KafkaTimeoutError:
            continue


class PartitionState:
    """Keyed state of the assigned partitions. Use it inside handler calls only, from the event loop."""

    def __init__(self, app: BatchApp) -> None:
        self._app = app
        self._last: dict[int, int] = {}  # partition → offset of the newest changelog record known
        self._writing: set[int] = set()  # partitions whose changelog is being written

    def start(self, partition: int, last_offset: int) -> None:
        """Called by the recovery: local state of the partition contains the changelog up to `last_offset`."""
        self._last[partition] = last_offset

    def written_at(self, partition: int) -> int:
        """The highest write position in the partition's changelog: what is written next must not lie below it."""
        return self._app.store.written_at(partition)

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of `keys` in their order, None where there is none."""
        return self._app.store.get_many(partition, keys)

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value) except bookkeeping, in key order, from a snapshot taken at the first step."""
        return self._app.store.scan(partition)

    def approximate_count(self, partition: int) -> int:
        """RocksDB's estimate of the number of keys, for metrics."""
        return self._app.store.approximate_count(partition)

    def timers_count(self, partition: int) -> int:
        """The number of members that will fall due."""
        return self._app.store.timers_count(partition)

    def write(self, partition: int, items: Items, changelog_offset: int, written_at: int, timers: Timers = ()) -> None:
        """One atomic write to disk of what `publish` returned `changelog_offset` for (None deletes).

        `timers`: of all members that now fall due at another time than before, those that are gone included.
        """
        self._app.store.write(partition, items, changelog_offset, written_at, timers)

    def due(self, partition: int, until_ms: int, limit: int, after: Timer | None = None) -> list[Timer]:
        """Up to `limit` members due at `until_ms`, those due longest first; `after`: behind this one."""
        return self._app.store.timers(partition).due(until_ms, limit, after)

    def next_due_ms(self, partition: int) -> int:
        """A time before which nobody falls due, and mostly the one at which somebody does."""
        return self._app.store.timers(partition).next_due_ms()

    async def index_timers(self, partition: int) -> None:
        """Make the timers whole if the local state was written by a version that had none."""
        await self._app.store.index_timers(partition)

    async def publish(self, partition: int, items: Items, written_at: int) -> int:
        """Append one record per item to the changelog (keys distinct; None deletes); returns the last one's offset.

        `written_at`: the write position of all items, which their values carry as well (stream/state_store.py).

        Returns when every in-sync replica has them. Raises Fenced, ForeignWrite, StateTooLarge (nothing is sent
        then), KafkaError. With no items it returns the offset known so far.
        """
        if not items:
            return self._last[partition]
        largest = max((len(key) + len(value) for key, value in items if value is not None), default=0)
        if largest > MAX_STATE_BYTES:
            raise StateTooLarge(f"a state value of {largest} bytes: the limit is {MAX_STATE_BYTES}")
        if not await self._app.consumer.is_member():
            raise Fenced(f"not the owner of partition {partition} any more")
        return await self._send(partition, items, written_at)

    def ends(self) -> dict[int, int]:
        """Return where the changelog ends of the assigned partitions that aren't being written."""
        quiet = self._app.assigned_partitions - self._writing if self._app.is_settled else ()
        return {partition: self._last[partition] + 1 for partition in quiet}

    async def _send(self, partition: int, items: Items, written_at: int) -> int:
        self._writing.add(partition)
        try:
            with self._app.probe.awaiting_ack(self._app.changelog_topic):
                return await self._send_and_wait(partition, items, written_at)
        finally:
            self._writing.discard(partition)

    async def _send_and_wait(self, partition: int, items: Items, written_at: int) -> int:
        producer = self._app.producer._ensure_producer()
        topic = self._app.changelog_topic
        now_ms = int(time.time() * 1000)
        sent = []

        async def enqueue(batch: Any) -> Any:
            return await patiently(partial(producer.send_batch, batch, topic, partition=partition))

        batch, deleted = producer.create_batch(), deletion_headers(written_at)
        for key, value in items:
            headers = deleted if value is None else []
            if batch.append(timestamp=now_ms, key=key, value=value, headers=headers) is None:  # full
                sent.append((await enqueue(batch), batch.record_count()))
                batch = producer.create_batch()
                batch.append(timestamp=now_ms, key=key, value=value, headers=headers)  # the first record always fits
        sent.append((await enqueue(batch), batch.record_count()))
        expected = self._last[partition] + 1
        for acked, count in sent:
            found = (await asyncio.shield(acked)).offset  # a cancelled wait must not touch the producer's own future
            if found != expected:
                raise foreign_write(partition, topic, expected, found)
            expected += count
        self._last[partition] = expected - 1
        return expected - 1


def foreign_write(partition: int, topic: str, expected: int, found: int) -> ForeignWrite:
    """Return the error of a changelog that goes on elsewhere than where its owner left it."""
    return ForeignWrite(
        f"partition {partition} of {topic}: expected to write at offset {expected}, got {found}: a stale worker wrote "
        "in between. Next: nothing, the restart of this worker puts it right."
    )
