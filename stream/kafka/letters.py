"""Dead letters sent: none is ever too large, and none is given up.

Laws:
- A letter is sent until its topic has it. An outage is waited out. Only what waiting won't cure, such as a missing
  right, is raised.
- A letter that is too large for its topic is compressed, or else cut (stream/kafka/outgoing.py). The broker is asked
  how much the topic takes. If the letter is too large after all, a smaller one follows, whatever the broker answered.
- The producer isn't idempotent. A refusal by the broker would leave a gap in an idempotent producer's numbers, and all
  that follows would be refused. So a letter may come twice, as after a crash; its origin shows it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from memberstream.models.placement import partition_of
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.outgoing import ZSTD, Batch, Outgoing, cut

log = logging.getLogger(__name__)

#: Bytes of letters that travel together: below what brokers take by default, 1 MiB. A larger letter travels alone.
TOGETHER_BYTES = 900_000
#: The largest letter: below what brokers take as a request, socket.request.max.bytes, 100 MiB by default.
MOST_BYTES = 96 << 20
#: The smallest letter: what is added to it, and a little of the record.
LEAST_BYTES = 2_000
_RETRY_S = 1.0
_SAY_EVERY_S = 10.0
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class Letters:
    """Sends letters from one event loop. Connects with the first letter."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def send(self, topic: str, letters: Sequence[Outgoing]) -> None:
        """Return when every in-sync replica has the letters; those of one key are in order. Raises KafkaError."""
        if not letters:
            return
        n_partitions = await self._patiently(topic, lambda producer: producer.partitions_for(topic))
        by_partition: dict[int, list[Outgoing]] = {}
        for letter in letters:
            partition = partition_of(letter.key, len(n_partitions), "murmur2") if letter.key else 0
            by_partition.setdefault(partition, []).append(letter)
        await asyncio.gather(*[self._send(topic, partition, some) for partition, some in by_partition.items()])

    async def _send(self, topic: str, partition: int, letters: Iterable[Outgoing]) -> None:
        together: list[Outgoing] = []
        n_bytes = 0
        for letter in letters:
            if together and n_bytes + letter.n_bytes > TOGETHER_BYTES:
                await self._send_together(topic, partition, together)
                together, n_bytes = [], 0
            together.append(letter)
            n_bytes += letter.n_bytes
        await self._send_together(topic, partition, together)

    async def _send_together(self, topic: str, partition: int, letters: Sequence[Outgoing]) -> None:
        if sum(letter.n_bytes for letter in letters) <= TOGETHER_BYTES and await self._takes(topic, partition, letters):
            return
        for letter in letters:
            await self._send_large(topic, partition, letter)

    async def _send_large(self, topic: str, partition: int, letter: Outgoing) -> None:
        limit = min(await self._limit(topic), MOST_BYTES)
        for compression in (0, ZSTD):
            if (letter.n_bytes <= limit or compression) and await self._takes(
                topic, partition, [letter], compression, limit
            ):
                return
        while limit >= LEAST_BYTES:
            part = await asyncio.to_thread(cut, letter, limit)
            if await self._takes(topic, partition, [part]):
                log.warning(
                    "a dead letter of %d bytes is cut to %d, the most that %s takes. Next: raise its max.message.bytes "
                    "to keep them whole",
                    letter.n_bytes, part.n_bytes, topic,
                )  # fmt: skip
                return
            limit //= 2
        raise MessageSizeTooLargeError(
            f"{topic} takes no dead letter of {LEAST_BYTES} bytes. Next: raise its max.message.bytes"
        )

    async def _takes(
        self, topic: str, partition: int, letters: Sequence[Outgoing], compression: int = 0, limit: int = MOST_BYTES
    ) -> bool:
        """Send letters as one batch; returns whether they weren't too large."""
        is_large = sum(letter.n_bytes for letter in letters) > TOGETHER_BYTES
        now_ms = time.time_ns() // 1_000_000
        batch = await asyncio.to_thread(Batch, letters, now_ms, compression) if is_large else Batch(letters, now_ms)
        if batch.size() > limit:
            return False

        async def send(producer: AIOKafkaProducer) -> None:
            await (await producer.send_batch(batch, topic, partition=partition))

        try:
            await self._patiently(topic, send)
        except _TOO_LARGE:
            return False
        return True

    async def _limit(self, topic: str) -> int:
        """Ask how large a batch the topic takes. If the broker doesn't tell, find out by sending."""
        admin = self._kafka.admin()
        try:
            await admin.start()
            [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
            [(code, _, _, _, entries)] = response.resources
            return MOST_BYTES if code else int({entry[0]: entry[1] for entry in entries}["max.message.bytes"])
        except (KafkaError, KeyError, TypeError, ValueError):
            return MOST_BYTES
        finally:
            await admin.close()

    async def _patiently(self, topic: str, call: Callable[[AIOKafkaProducer], Any]) -> Any:
        """Return what a call gives; an outage of Kafka is waited out."""
        said_at = monotonic() - _SAY_EVERY_S
        while True:
            try:
                return await call(await self._started())
            except KafkaError as error:
                if not (error.retriable or isinstance(error, KafkaTimeoutError)):
                    raise
                if monotonic() - said_at >= _SAY_EVERY_S:
                    said_at = monotonic()
                    log.warning("dead letters wait: %s", self._kafka.said(error, topic))
                await asyncio.sleep(_RETRY_S)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = self._kafka.producer()
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Drop the connection. Nothing is promised about letters that weren't acknowledged."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
