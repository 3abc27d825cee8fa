"""Random records for a topic: good envelopes, damaged ones, and bytes of no meaning; sent as producers may send them.

Laws:
1. All of it comes from one seed. (When records arrive, and so their offsets, is the broker's.)
2. What is expected is folded in plain Python from what librdkafka reads back: committed records, in their order.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from aiokafka import AIOKafkaProducer
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from e2e.system import System

from memberstream.models.apply import apply_one
from memberstream.models.event import BadEvent, Reason, decode
from memberstream.models.member import Member
from memberstream.models.placement import Partitioner, partition_of
from memberstream.stream.kafka.outgoing import NONE, ZSTD, Batch, Outgoing

CODECS = (NONE, NONE, 1, 2, 3, ZSTD)  # as aiokafka numbers them: gzip, snappy, lz4
_DAY_MS = 86_400_000


class Fuzz:
    """Makes records. `base(dice, i)`: a good value, as an object, or None; `n_members`: how many ids they are about."""

    def __init__(self, seed: int, base: Callable[[random.Random, int], object], n_members: int = 400) -> None:
        self.dice, self._base, self._n_members = random.Random(seed), base, n_members
        self._i = 0

    def record(self) -> Outgoing:
        """Return one."""
        dice = self.dice
        self._i += 1
        good = self._base(dice, self._i)
        if isinstance(good, dict) and dice.random() < 0.15:
            good |= {dice.choice([*good, *_FIELDS]): dice.choice(_ODD)}
        value = None if good is None else orjson.dumps(good)
        kind = dice.random()
        if kind < 0.35 and value is not None:
            value = self._damaged(value)
        elif kind < 0.40:
            value = dice.randbytes(dice.choice((0, 1, 10, 100, 2_000)))
        elif kind < 0.401:
            value = b'{"op":"replace","document":{"x":"%b"}}' % (b"y" * dice.choice((899_990, 950_000)))
        return Outgoing(self._key(), value, self._headers(), ())

    def _key(self) -> bytes | None:
        dice = self.dice
        key = b"member-%d" % dice.randrange(self._n_members)
        kind = dice.random()
        if kind < 0.90:
            return key
        if kind < 0.93:
            return dice.choice((None, b"", b"\0", b"x" * 600, b"\xff\xfe", b"a\nb", "ü\u00a0".encode()))
        return self._damaged(key)

    def _damaged(self, data: bytes) -> bytes:
        dice, damaged = self.dice, bytearray(data)
        for _ in range(dice.choice((1, 1, 1, 2, 5))):
            at = dice.randrange(len(damaged) + 1)
            kind = dice.randrange(6)
            if kind == 0:
                del damaged[at:]
            elif kind == 1:
                damaged[at:at] = dice.choice(_PIECES)
            elif kind == 2 and damaged:
                damaged[min(at, len(damaged) - 1)] = dice.randrange(256)
            elif kind == 3:
                del damaged[at : at + dice.randrange(1, 6)]
            elif kind == 4:
                damaged[at:at] = damaged[at : at + dice.randrange(1, 30)]
            else:
                damaged[at : at + 1] = dice.choice(_PIECES)
        return bytes(damaged)

    def _headers(self) -> list[tuple[str, bytes | None]]:
        dice = self.dice
        n = dice.choices((0, 1, 3, 40), (80, 12, 7, 1))[0]
        return [
            (
                dice.randbytes(dice.randrange(6)).decode(errors="surrogateescape"),
                dice.choice((None, b"", dice.randbytes(8))),
            )
            for _ in range(n)
        ]


_FIELDS = ("member_id", "meta", "at", "version", "path", "create", "op", "document", "patch", "id", "kind", "campaign")
_ODD: tuple[object, ...] = (
    *(None, True, -1, 2**60, 1e308, "", "a..b", "member-1", "é" * 70, [], [1], {}, {"": 1}, "9999-12-31"),
    *(int(time.time() * 1000) + 3_600_000, 0.5),
)
_PIECES = (
    *(b"{", b"}", b"[", b'"', b",", b":", b"\\", b"\\u0000", b"\\ud800", b"\xff", b"\0", b"null", b"true", b"-0"),
    *(b"1e400", b"9007199254740993", b"18446744073709551616", b'"op":"delete",', b'"version":-1,', b'"create":true,'),
    *(b"." * 40, b'"at":"0000-00-00",', b'"at":99999999999999,', b'{"a":' * 70, b"[" * 300, b'"":1,', b"NaN"),
    *(b"Infinity", b"\xef\xbb\xbf"),
)


def change(dice: random.Random, i: int) -> object:
    """Return a good envelope of a change event, or None: a tombstone."""
    kind, number = dice.random(), dice.choice((i, -1.5, 0, 2**53, 1e300, "text", None, [1], {"y": True}))
    more: dict[str, object] = {"version": dice.randrange(1_000)} if dice.random() < 0.2 else {}
    if dice.random() < 0.4:
        more["at"] = dice.choice((i, "2026-01-01", "2026-03-01T09:30:00+02:00", 0, None))
    if kind < 0.01:
        return None
    if kind < 0.03:
        return {"op": "delete", **more}
    if kind < 0.25:
        return {"op": "replace", "document": {"x": number, "l": [], "o": {"y": i}}, **more}
    if kind < 0.65:
        return {"op": "patch", "patch": {"x": number, "o": {"z": i}}, "create": dice.random() < 0.7, **more}
    path = dice.choice(("l", "o.l", "x", "o.y.z", r"a\.b", "new"))
    return {"op": "append", "path": path, "value": number, "create": dice.random() < 0.7, **more}


async def alter(system: System, topic: str, **settings: str) -> None:
    """Set settings of a topic, by their names with _ for dots."""
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": system.pair.broker.bootstrap})
    for future in admin.incremental_alter_configs([resource]).values():
        await asyncio.to_thread(future.result, 20)


async def send(
    system: System, fuzz: Fuzz, n: int, wrong: float, *, transactions: bool
) -> dict[tuple[int, int], Outgoing]:
    """Send n records and more, in batches of any codec, some in transactions of another client.

    Returns which lie where, without those of transactions. `wrong`: the share of them that goes to any partition.
    """
    dice, sent = fuzz.dice, {}
    parts = range(system.n_partitions)
    producer = AIOKafkaProducer(bootstrap_servers=system.pair.broker.bootstrap, request_timeout_ms=60_000)
    await producer.start()
    other = None
    await alter(system, system.settings.topic, message_timestamp_after_max_ms=str(1 << 62))  # an hour, else
    try:
        if transactions:
            servers = system.pair.broker.bootstrap
            other = Producer(
                {"bootstrap.servers": servers, "transactional.id": f"{system.settings.topic}-{dice.random()}"}
            )
            await asyncio.to_thread(other.init_transactions, 30)
        n_sent = 0
        while n_sent < n:
            queues: dict[int, list[Outgoing]] = {part: [] for part in parts}
            for _ in range(dice.choice((1, 20, 400, 400))):
                record = fuzz.record()
                key, is_wrong = record.key, dice.random() < wrong
                part = dice.choice(parts) if not key or is_wrong else partition_of(key, len(parts), "murmur2")
                queues[part].append(record)
                n_sent += 1
            acks = []
            for part, records in queues.items():
                for some in _cut(records, dice):
                    at_ms = time.time_ns() // 1_000_000 + dice.choice((0, 0, 0, 0, -_DAY_MS, _DAY_MS))
                    at_ms = dice.choices((at_ms, -1, 0), (95, 4, 1))[0]
                    batch = Batch(some, at_ms, dice.choice(CODECS))
                    acks.append((part, some, await producer.send_batch(batch, system.settings.topic, partition=part)))
            for part, some, acked in acks:
                first = (await acked).offset
                sent.update({(part, first + i): record for i, record in enumerate(some)})
            if other is not None and dice.random() < 0.3:
                await asyncio.to_thread(_in_transaction, other, system.settings.topic, fuzz, len(parts))
    finally:
        await producer.stop()
    return sent


def _cut(records: list[Outgoing], dice: random.Random) -> list[list[Outgoing]]:
    """Return them as batches of any size that a topic of default settings takes."""
    batches: list[list[Outgoing]] = [[]]
    n_bytes = 0
    for record in records:
        if batches[-1] and (n_bytes + record.n_bytes > 1_000_000 or dice.random() < 0.05):
            batches.append([])
            n_bytes = 0
        batches[-1].append(record)
        n_bytes += record.n_bytes
    return [batch for batch in batches if batch]


def _in_transaction(producer: Producer, topic: str, fuzz: Fuzz, n_partitions: int) -> None:
    dice = fuzz.dice
    producer.begin_transaction()
    for _ in range(dice.randrange(1, 30)):
        key, value, *_ = fuzz.record()
        part = partition_of(key, n_partitions, "murmur2") if key else dice.randrange(n_partitions)
        producer.produce(topic, value, key, partition=part)
    if dice.random() < 0.5:
        producer.commit_transaction(30)
    else:
        producer.flush(30)
        producer.abort_transaction(30)


@dataclass
class Found:
    """What librdkafka reads of a topic: per partition (offset, key, value, timestamp), and where each ends."""

    records: dict[int, list[tuple[int, bytes | None, bytes | None, int]]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return sum(map(len, self.records.values()))

    def next_offsets(self) -> dict[int, int]:
        """Return the offset behind the last record of each partition."""
        return {part: records[-1][0] + 1 if records else 0 for part, records in self.records.items()}


def read_back(bootstrap: str, topic: str, n_partitions: int) -> Found:
    """Read all committed records of a topic."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "fuzz", "enable.auto.commit": False,
        "enable.partition.eof": False, "isolation.level": "read_committed", "auto.offset.reset": "earliest",
    })  # fmt: skip
    found = Found({part: [] for part in range(n_partitions)})
    consumer.assign([TopicPartition(topic, part, OFFSET_BEGINNING) for part in range(n_partitions)])
    try:
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 3.0:
            for message in consumer.consume(10_000, 0.2):
                assert message.error() is None, message.error()
                kind, timestamp = message.timestamp()
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                place = (offset, message.key(), message.value(), timestamp if kind else -1)
                found.records[partition].append(place)
                quiet_since = time.monotonic()
    finally:
        consumer.close()
    return found


@dataclass
class Expected:
    """What becomes of records: the members' documents, dead letters' reasons by place, other outcomes counted."""

    documents: dict[tuple[int, bytes], object] = field(default_factory=dict)
    reasons: dict[tuple[int, int], Reason] = field(default_factory=dict)
    n_applied: int = 0
    n_ignored: int = 0


def expected(found: Found, partitioner: Partitioner, now_ms: int) -> Expected:
    """Fold the records of each partition in their order, one at a time."""
    expectation, n_partitions = Expected(), len(found.records)
    for part, records in found.records.items():
        members: dict[bytes, Member] = {}
        for offset, key, value, timestamp in records:
            try:
                event = decode(key, value, timestamp, now_ms, may_be_json=False)
                assert key is not None
                if key not in members and partition_of(key, n_partitions, partitioner) != part:
                    raise BadEvent(Reason.WRONG_PARTITION, "")
                member = members.get(key) or Member()
                outcome = apply_one(member, offset, event, len(value or b""))
                member.touched = set()
            except BadEvent as error:
                expectation.reasons[part, offset] = Reason(error.reason)
                continue
            if outcome == "applied":
                expectation.n_applied += 1
                if member.document is not None or member.version >= 0:
                    members[key] = member
                else:
                    members.pop(key, None)
            else:
                expectation.n_ignored += 1
        expectation.documents |= {(part, key): member.document for key, member in members.items()}
    return expectation
