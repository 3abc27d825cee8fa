"""What Redis must show when the job is done, and how a run is checked against it: every member, every field.

A peer's member is right with the clusters of its final document and `pos` = <partition>:<offset>:<time of the change>
of its last record. memberstream's says more in its own format (stream/keyspace/formats.py): the same is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
import redis
from aiokafka.partitioner import murmur2

from bench.job import ACTIVITY, PARTITIONS, STYLE, change, score_many
from memberstream.stream.keyspace.formats import POS, membership_field, parse_membership, parse_position, parse_row
from memberstream.stream.keyspace.keys import Keys

KEYS = Keys()

Event = tuple[bytes, bytes]
Fields = Sequence[bytes | None]  # both clusters and the position, as Redis holds them
FIELDS = (membership_field(ACTIVITY, 1), membership_field(STYLE, 1), POS)
TAIL = 50
READ = 2_000  # members in one MGET of the check


def partition_of(member: bytes) -> int:
    """Where Kafka's own producers send a key."""
    return int(murmur2(member) & 0x7FFFFFFF) % PARTITIONS


class End(NamedTuple):
    """A member at the end of the job."""

    activity: int
    style: int
    partition: int
    offset: int
    at_ms: int


def ends_of(events: Iterable[Event]) -> dict[bytes, End]:
    """Every member's end, when the events are the only records of their topic."""
    documents: dict[bytes, dict[str, Any]] = {}
    last: dict[bytes, tuple[int, int, int]] = {}
    next_offset = [0] * PARTITIONS
    for member, value in events:
        event = orjson.loads(value)
        documents[member] = change(documents.get(member), event)
        partition = partition_of(member)
        last[member] = (partition, next_offset[partition], event["at"])
        next_offset[partition] += 1
    activity, style = score_many(list(documents.values()))
    return {m: End(a, s, *last[m]) for m, a, s in zip(documents, activity, style, strict=True)}


def is_right_peer(fields: Fields, end: End) -> bool:
    """Whether a peer's member is right."""
    pos = b"%d:%d:%d" % (end.partition, end.offset, end.at_ms)
    return list(fields) == [b"%d" % end.activity, b"%d" % end.style, pos]


def is_right_ours(fields: Fields, end: End) -> bool:
    """Whether memberstream's member is right; it scored at a time of its own, not before the change."""
    activity, style, pos = fields
    if activity is None or style is None or pos is None:
        return False
    position = parse_position(pos)
    clusters = parse_membership(activity)[0], parse_membership(style)[0]
    return (*clusters, position.partition, position.offset) == end[:4] and position.as_of_ms >= end.at_ms


@dataclass
class Check:
    """Compares Redis with the ends."""

    client: redis.Redis
    ends: dict[bytes, End]

    def __post_init__(self) -> None:
        self.latest: list[bytes] = []  # the member of each partition's last record: looked at again and again
        self.tail: list[bytes] = []  # the last 50 of each: looked at before the end is believed
        for partition in range(PARTITIONS):
            ranked = sorted(
                (m for m, e in self.ends.items() if e.partition == partition), key=lambda m: self.ends[m].offset
            )
            self.latest += ranked[-1:]
            self.tail += ranked[-TAIL:]

    def wrong(self, members: Iterable[bytes], is_ours: bool) -> list[bytes]:
        """Those of the members that aren't right."""
        is_right = is_right_ours if is_ours else is_right_peer
        members, wrong = list(members), []
        for start in range(0, len(members), READ):
            part = members[start : start + READ]
            held: Any = self.client.mget([KEYS.member(member) for member in part])
            rows = map(parse_row, held)
            found = [[row.get(field) for field in FIELDS] for row in rows]
            wrong += [m for m, fields in zip(part, found, strict=True) if not is_right(fields, self.ends[m])]
        return wrong
