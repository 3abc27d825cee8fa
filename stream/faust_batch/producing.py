"""What a worker writes beside its changelog: dead letters, and rows to topics of its own.

Law: every write here waits until every in-sync replica has it. An outage is waited out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from memberstream.stream.faust_batch.acks import Acks
from memberstream.stream.faust_batch.changelog import patiently
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.letters import Letters
from memberstream.stream.kafka.outgoing import Outgoing

#: Bytes of a batch of rows: below any limit that somebody would give to a topic of small records. A batch that is
#: refused would leave a gap in the idempotent producer's numbers.
ROWS_BYTES = 65_536


class Producing:
    """Writes to topics.

    Args:
        producer: returns Faust's of aiokafka, started.
    """

    def __init__(self, kafka: Kafka, producer: Callable[[], Any], acks: Acks) -> None:
        self._letters, self._producer, self._acks = Letters(kafka), producer, acks

    async def letters(self, topic: str, letters: Sequence[Outgoing]) -> None:
        """Write dead letters; returns when every in-sync replica has them. Raises KafkaError."""
        with self._acks.awaiting(topic):
            await self._letters.send(topic, letters)

    async def rows(self, topic: str, partition: int, rows: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write (key, value) records to one partition, in batches; returns when every in-sync replica has them.

        Raises KafkaError.
        """
        producer, acks = self._producer(), []
        now_ms = int(time.time() * 1000)
        with self._acks.awaiting(topic):
            batch = BatchBuilder(ROWS_BYTES, 0)
            for key, value in rows:
                if batch.append(timestamp=now_ms, key=key, value=value, headers=[]) is None:  # full
                    acks.append(await patiently(partial(producer.send_batch, batch, topic, partition=partition)))
                    batch = BatchBuilder(ROWS_BYTES, 0)
                    batch.append(timestamp=now_ms, key=key, value=value, headers=[])
            acks.append(await patiently(partial(producer.send_batch, batch, topic, partition=partition)))
            await asyncio.gather(*acks)

    async def partitions_of(self, topic: str) -> int:
        """Return how many partitions a topic has; 0 if there is no such topic. An outage is waited out.

        (It asks for all topics: asking for one may create it.)
        """
        client = self._producer().client
        while True:
            try:
                return len((await client.fetch_all_metadata()).partitions_for_topic(topic) or ())
            except KafkaError:
                await asyncio.sleep(1.0)

    async def close(self) -> None:
        """Close the connection of dead letters; that of Faust's producer is Faust's."""
        await self._letters.close()
