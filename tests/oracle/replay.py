"""A topic's records, folded: members' histories and the records that can't be applied. From docs/events.md alone."""

from __future__ import annotations

from typing import NamedTuple

from oracle.events import Change, Faults, Member, read


class Record(NamedTuple):
    """A record as a client reads it that sees only what is committed."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


def home(key: bytes, n_partitions: int) -> int:
    """The partition of a member: murmur2 with Kafka's seed, its sign bit cleared, as Java's client has it."""
    h, m = 0x9747B28C ^ len(key), 0x5BD1E995
    whole = len(key) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & 0xFFFFFFFF
        h = h * m & 0xFFFFFFFF ^ (k ^ k >> 24) * m & 0xFFFFFFFF
    if rest := key[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & 0xFFFFFFFF
    h = (h ^ h >> 13) * m & 0xFFFFFFFF
    return ((h ^ h >> 15) & 0x7FFFFFFF) % n_partitions


class Replay:
    """Attributes:
    members: id → its history, of all whom an event named that could be read.
    dead: (partition, offset) → the reasons that are true of a record that can't be applied.
    """

    def __init__(self, n_partitions: int) -> None:
        self._n_partitions = n_partitions
        self.members: dict[bytes, Member] = {}
        self.dead: dict[tuple[int, int], Faults] = {}

    def take(self, record: Record, now_ms: int) -> None:
        """Take the next record of its partition. `now_ms`: the wall clock, for times that lie ahead."""
        found = read(record.key, record.value, record.timestamp_ms, now_ms)
        if isinstance(found, Change):
            assert record.key is not None
            if record.partition != home(record.key, self._n_partitions):
                found = frozenset({"wrong_partition"})
            else:
                member = self.members.setdefault(record.key, Member(record.partition))
                found = member.take(record.offset, record.timestamp_ms, found)
        if found:
            self.dead[record.partition, record.offset] = found
