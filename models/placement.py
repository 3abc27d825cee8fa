"""In which partition of its topic a member's records lie: how Kafka's clients choose it by the key.

Laws: each partitioner gives exactly what the client's partitioner of that name gives, for keys of one byte and more.
Many keys at once give what each alone gives.

- murmur2: the Java client's default, and that of kafka-python, aiokafka, franz-go, KafkaJS 2; of librdkafka
  `murmur2_random`. Source: org.apache.kafka.common.utils.Utils.murmur2, `toPositive(hash) % n`.
- crc32: librdkafka's default, `consistent_random`; kafka-go's CRC32Balancer. Source: rdkafka_msg.c.
- fnv1a: Sarama's NewHashPartitioner, kafka-go's Hash; of librdkafka `fnv1a_random`. Source: rdfnv1a.c: the hash is
  signed, and its absolute value is taken.
- any: a partitioner of the producers' own. Only they know where a member's records lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import unpack_from
from typing import Literal
from zlib import crc32

import numpy as np

Partitioner = Literal["murmur2", "crc32", "fnv1a", "any"]
PARTITIONERS: tuple[Partitioner, ...] = ("murmur2", "crc32", "fnv1a", "any")
_32 = 0xFFFFFFFF
_SEED, _M = 0x9747B28C, 0x5BD1E995
_FEW = 18  # keys; NumPy takes as long for one as for twenty, so up to here a loop in Python is faster


@dataclass(frozen=True, slots=True)
class Placement:
    """How producers spread members over a topic's partitions."""

    partitioner: Partitioner
    n_partitions: int

    def partition_of(self, key: bytes) -> int:
        """Return the partition of a member's records. Raises PartitionUnknown: the partitioner is `any`."""
        return partition_of(key, self.n_partitions, self.partitioner)

    def misplaced(self, keys: Sequence[bytes], partition: int) -> list[bytes]:
        """Return the keys whose records lie in another partition than this one. With `any` nobody knows: none."""
        return misplaced(keys, partition, self.n_partitions, self.partitioner)


class PartitionUnknown(ValueError):
    """A member's partition can't be computed. Operator: the text says what to do."""


def partition_of(key: bytes, n_partitions: int, partitioner: Partitioner) -> int:
    """Return the partition of a member's records. Raises PartitionUnknown: the partitioner is `any`."""
    return (_hash_of(partitioner)(key)) % n_partitions


def misplaced(keys: Sequence[bytes], partition: int, n_partitions: int, partitioner: Partitioner) -> list[bytes]:
    """Return the keys whose records lie in another partition than this one. With `any` nobody knows: none."""
    if partitioner == "any" or n_partitions == 1 or not keys:
        return []
    if partitioner == "murmur2" and len(keys) > _FEW:
        found = (_murmur2_many(keys) & 0x7FFFFFFF) % np.uint32(n_partitions)
        return [keys[i] for i in np.flatnonzero(found != partition).tolist()]
    hash_of = _hash_of(partitioner)
    return [key for key in keys if hash_of(key) % n_partitions != partition]


def _hash_of(partitioner: Partitioner) -> Callable[[bytes], int]:
    if partitioner == "any":
        raise PartitionUnknown(
            "MEMBERSTREAM_PARTITIONER is any: in which partition a member's events lie is known to their producers "
            "alone. Next: name the partition, or send with the producers' own client"
        )
    return _HASHES[partitioner]


def _positive_murmur2(key: bytes) -> int:
    n_words = len(key) // 4
    h = _SEED ^ len(key)
    for word in unpack_from(f"<{n_words}I", key):
        k = word * _M & _32
        k = (k ^ k >> 24) * _M & _32
        h = h * _M & _32 ^ k
    if tail := key[4 * n_words :]:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _32
    h = (h ^ h >> 13) * _M & _32
    return (h ^ h >> 15) & 0x7FFFFFFF


def _murmur2_many(keys: Sequence[bytes]) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """Return the hashes of keys, (n,). It goes word by word over all keys that are long enough."""
    lengths = np.array([len(key) for key in keys], dtype=np.uint32)
    width = (int(lengths.max()) // 4 + 1) * 4
    padded = np.frombuffer(b"".join([key.ljust(width, b"\0") for key in keys]), dtype="<u4")
    words = padded.reshape(len(keys), width // 4)
    n_words, m = lengths // np.uint32(4), np.uint32(_M)
    h = np.uint32(_SEED) ^ lengths
    for i in range(int(n_words.max())):
        k = words[:, i] * m
        k = (k ^ (k >> np.uint32(24))) * m
        h = np.where(n_words > i, (h * m) ^ k, h)
    tail = words[np.arange(len(keys)), n_words]  # what the padding adds to it is zero
    h = np.where(lengths % np.uint32(4) > 0, (h ^ tail) * m, h)
    h = (h ^ (h >> np.uint32(13))) * m
    hashes: np.ndarray[tuple[int], np.dtype[np.uint32]] = h ^ (h >> np.uint32(15))
    return hashes


def _fnv1a(key: bytes) -> int:
    h = 0x811C9DC5
    for byte in key:
        h = (h ^ byte) * 0x01000193 & _32
    return h if h < 1 << 31 else (1 << 32) - h


_HASHES: dict[Partitioner, Callable[[bytes], int]] = {"murmur2": _positive_murmur2, "crc32": crc32, "fnv1a": _fnv1a}
