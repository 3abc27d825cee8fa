"""Other people's producers and consumers: librdkafka, every codec, transactions that commit or
abort, and one that lacks a setting.

All but that one choose a key's partition as docs/operations.md asks of a producer (`partitioner=murmur2_random`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from oracle.replay import Record
from oracle.worlds import Sending

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_TIMEOUT_S = 30.0
_IN_TRANSACTIONS, _ABORTED = 0.3, 0.3  # of what is sent, and of these
_ASTRAY = 0.1  # of what is sent: by librdkafka's own partitioner
_QUIET = 0  # what fails, raises here; a broker that is stopped at the end is no news


class Producers:
    """One idempotent producer for each codec, one of transactions, one astray.

    Attributes:
        aborted: records that were sent and then given up.
    """

    def __init__(self, bootstrap: str, topic: str, seed: int) -> None:
        self._topic, self._chance = topic, random.Random(seed)
        self._plain = [self._made(bootstrap, codec) for codec in CODECS]
        self._astray = self._made(bootstrap, "snappy", {"partitioner": "consistent_random"})
        self._transactional = self._made(bootstrap, "zstd", {"transactional.id": f"{topic}-{seed}"})
        self._transactional.init_transactions(_TIMEOUT_S)
        self.aborted = 0

    def _made(self, bootstrap: str, codec: str, more: dict[str, Any] | None = None) -> Producer:
        return Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "compression.type": codec,
                "enable.idempotence": True,
                "linger.ms": 5,
                "log_level": _QUIET,
                **(more or {}),
            }
        )

    def send(self, records: Sequence[Sending]) -> None:
        """Send records by one of the producers; returns once they are acknowledged, committed or aborted."""
        roll = self._chance.random()
        if roll < _IN_TRANSACTIONS:
            self._in_a_transaction(records)
        else:
            producer = self._astray if roll > 1 - _ASTRAY else self._chance.choice(self._plain)
            self._put(producer, records)
            assert producer.flush(_TIMEOUT_S) == 0

    def _put(self, producer: Producer, records: Sequence[Sending]) -> None:
        for key, value in records:
            producer.produce(self._topic, value=value, key=key, on_delivery=_raise)

    def _in_a_transaction(self, records: Sequence[Sending]) -> None:
        producer = self._transactional
        producer.begin_transaction()
        self._put(producer, records)
        assert producer.flush(_TIMEOUT_S) == 0
        if self._chance.random() < _ABORTED:
            producer.abort_transaction(_TIMEOUT_S)
            self.aborted += len(records)
        else:
            producer.commit_transaction(_TIMEOUT_S)


def _raise(error: KafkaError | None, message: Any) -> None:
    if error is not None:
        raise KafkaException(error)


class Reader:
    """Reads a topic's committed records from its beginning on; `more()` goes on where the last call ended."""

    def __init__(self, bootstrap: str, topic: str, n_partitions: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"{topic}-reader",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 50,
                "log_level": _QUIET,
            }
        )
        self._topic, self._next = topic, dict.fromkeys(range(n_partitions), 0)

    def more(self, each: Callable[[Record, list[tuple[str, bytes]]], None]) -> None:
        """Give every record that has come since, with its headers; returns at the end of each partition."""
        self._consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in self._next.items()])
        left = set(self._next)
        while left:
            message = self._consumer.poll(_TIMEOUT_S)
            assert message is not None, f"{self._topic}: the broker is silent"
            if (error := message.error()) is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                left.discard(message.partition())
                continue
            partition, offset, (_, timestamp_ms) = message.partition(), message.offset(), message.timestamp()
            assert partition is not None
            assert offset is not None
            headers: Any = message.headers() or []
            self._next[partition] = offset + 1
            each(Record(partition, offset, timestamp_ms, message.key(), message.value()), headers)

    @property
    def ends(self) -> dict[int, int]:
        """Partition → the offset after its last committed record."""
        return dict(self._next)

    def close(self) -> None:
        self._consumer.close()
