"""What must be everywhere, found a second way: the change events read back from the broker and replayed from scratch.

Laws:
1. Nothing of the worker's path is used to find the truth but the parser of envelopes and the full evaluation of
   predictors, which have oracles of their own: documents, versions, deletes and positions are made here, one event at
   a time, from the beginning of the topic.
2. Compared for every member that any record has named: Redis, and the last value of its key in the changelog, bit for
   bit in `x`; on demand RocksDB as well. What nobody has named must be nowhere. Redis alone may look right over a
   state that has lost an update.
3. Every record is accounted for: applied, ignored, or in the dead-letter topic, whole; and beacons say so.

Apache Kafka only: it asks the broker where topics end, which the embedded broker answers wrongly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson
import rocksdict
from aiokafka import AIOKafkaConsumer, TopicPartition
from e2e.system import System
from keys import KEYS

from memberstream.models.event import BadEvent, ChangeEvent, Op, Reason
from memberstream.models.event import decode as decode_event
from memberstream.models.member import decode as decode_state
from memberstream.models.model import Model, key_of
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan
from memberstream.models.position import split_position
from memberstream.models.timestamps import FOREVER
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.keyspace.formats import is_tombstone, parse_beacon, parse_membership, parse_position, parse_row
from memberstream.stream.partition.bookkeeping import APPLIED, decode_progress

_SHOWN = 12  # problems told of one check; the rest is a number
# Faust's and the store's own: not in the changelog.
_OWN_KEYS = (b"__faust\0offset__", b"\0written_at", b"\0timers", b"\0\0", b"\0census", b"\0\1", b"\0\2")


@dataclass
class Truth:
    """A member as the events make it. Offsets are those of its partition; -1: none."""

    partition: int
    document: dict[str, Any] | None = None
    version: int = -1
    offset: int = -1  # of the last event that was applied
    named_at: int = -1  # of the last record that named the member and could be read
    as_of_ms: int = 0  # at least: timers may have brought it up to the partition's clock
    # Made by the evaluation, at the clock.
    clock_ms: int = 0
    plan: Plan = field(default_factory=lambda: Plan([]))
    clusters: dict[str, int] = field(default_factory=dict)
    valid_until_ms: int = FOREVER
    holds: dict[int, bool] = field(default_factory=dict)  # end that somebody has told → whether it is right
    rows: dict[int, bytes] = field(default_factory=dict)  # as of when its state says

    def apply(self, offset: int, event: ChangeEvent) -> Reason | None:
        """Apply one event; returns why it can't be, if so."""
        self.named_at = offset
        if event.version is not None and event.version <= self.version:
            return None
        if event.op is Op.DELETE:
            self.document, self.as_of_ms = None, 0
        else:
            if event.op is Op.REPLACE:
                document = event.body
            elif self.document is None and not event.create:
                return Reason.UNKNOWN_MEMBER
            elif event.op is Op.PATCH:
                document = merged(self.document or {}, event.body)
            else:
                document = appended(self.document or {}, event.path, event.body)
                if document is None:
                    return Reason.NOT_A_LIST
            self.document = document
            self.as_of_ms = max(self.as_of_ms, event.at_ms)
        self.offset = offset
        if event.version is not None:
            self.version = event.version
        return None


def merged(target: Any, patch: Any) -> Any:
    """JSON Merge Patch, written as RFC 7396 writes it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def appended(target: Any, path: Sequence[str], value: Any) -> Any:
    """The document with a value more in the list at `path`; None: something else stands in the way."""
    if not path:
        return [*(target or []), value] if target is None or isinstance(target, list) else None
    if target is not None and not isinstance(target, dict):
        return None
    inner = appended((target or {}).get(path[0]), path[1:], value)
    return None if inner is None else {**(target or {}), path[0]: inner}


def replay(
    records: Iterable[Any],
) -> tuple[dict[bytes, Truth], dict[tuple[int, int], tuple[Any, StrEnum]], dict[int, int]]:
    """Return (member id → truth, not yet evaluated; (partition, offset) → record that can't be applied, reason;
    partition → its clock: the latest time of an event)."""
    clocks: dict[int, int] = {}
    members: dict[bytes, Truth] = {}
    dead: dict[tuple[int, int], tuple[Any, StrEnum]] = {}
    for record in records:
        try:
            event = decode_event(record.key, record.value, record.timestamp, record.timestamp)
        except BadEvent as error:
            dead[record.partition, record.offset] = record, error.reason
            continue
        clocks[record.partition] = max(clocks.get(record.partition, 0), event.at_ms)
        member = members.setdefault(record.key, Truth(record.partition))
        assert member.partition == record.partition, "the test sent one member to two partitions"
        reason = member.apply(record.offset, event)
        if reason is not None:
            dead[record.partition, record.offset] = record, reason
    return members, dead, clocks


def scored(plan: Plan, documents: Sequence[Any], times: Sequence[int]) -> list[tuple[int, dict[str, int]]]:
    """Return of each document when the first predictor changes, and the clusters by the models' labels."""
    x, until = plan.evaluate_many(documents, times)
    ends = until.min(axis=1).tolist() if plan.n_clocks else [FOREVER] * len(documents)
    clusters: list[dict[str, int]] = [{} for _ in documents]
    for model in plan.models:
        index = model.scorer.score_many(x.take(plan.inputs(model), axis=1)).index
        for its, cluster in zip(clusters, model.cluster_ids[index].tolist(), strict=True):
            its[model.label] = cluster
    return list(zip(ends, clusters, strict=True))


def evaluate(members: Iterable[Truth], models: Sequence[Model], clocks: dict[int, int]) -> None:
    """Score the living members from scratch, each at the clock of its partition: none of them is due then."""
    living = [member for member in members if member.document is not None]
    plan = Plan(models)
    if not living:
        return
    found = scored(plan, [m.document for m in living], [clocks[m.partition] for m in living])
    for member, (end_ms, clusters) in zip(living, found, strict=True):
        member.plan, member.clock_ms = plan, clocks[member.partition]
        member.valid_until_ms, member.clusters = end_ms, clusters


def look_ahead(told: Iterable[tuple[Truth, int]]) -> None:
    """Note in `holds` whether a predictor changes at the end that is told of each member, and from the clock until then
    no cluster does. All of them at once, from one change to the next: one at a time takes minutes."""
    left = [(member, end_ms, member.valid_until_ms) for member, end_ms in told if end_ms not in member.holds]
    while left:
        for member, end_ms, changes_ms in left:
            member.holds[end_ms] = changes_ms == end_ms
        left = [one for one in left if one[2] < one[1]]
        found = scored(left[0][0].plan, [m.document for m, _, _ in left], [at for *_, at in left]) if left else []
        left = [
            (member, end_ms, later_ms)
            for (member, end_ms, _), (later_ms, clusters) in zip(left, found, strict=True)
            if clusters == member.clusters
        ]


def note_rows(told: Sequence[tuple[Truth, int]]) -> None:
    """Note in `rows` what the state of each living member holds as of a time, part by part."""
    documents, times = [member.document for member, _ in told], [as_of_ms for _, as_of_ms in told]
    for part in told[0][0].plan.parts if told else ():
        for (member, _), *cells in zip(told, *part.evaluate_many(documents, times), strict=True):
            member.rows[part.id] = b"".join(one.tobytes() for one in cells)


@dataclass(frozen=True)
class Checked:
    """What a check has seen, for the test's own asserts."""

    records: int
    members: int
    living: int
    dead_letters: int


async def check(system: System, *, redis_was_emptied: bool = False) -> Checked:
    """Compare Redis, changelog and dead letters with a replay of everything sent; fails with what is wrong.

    Call it when all is applied, nobody is due (`crew.applied()`) and nothing is being sent.

    Args:
        redis_was_emptied: a deleted member then needs no tombstone: none is made anew.
    """
    settings = system.settings
    records = await read_whole(system, settings.topic)
    members, dead, clocks = replay(records)
    registry = await Publishing(settings, "").registry()
    computed = [entry.definition.body for entry in registry.scored() if not entry.definition.is_list]
    evaluate(members.values(), [parse(definition) for definition in computed], clocks)
    ends: dict[int, int] = {record.partition: record.offset + 1 for record in records}
    letters = await read_whole(system, settings.dead_letter_topic)
    changelog = last_values(await read_whole(system, settings.changelog_topic))
    problems = [
        *wrong_in_redis(system, members, ends, redis_was_emptied),
        *wrong_in_state(changelog, members, ends, settings.topic_epoch),
        *wrong_dead_letters(letters, dead),
    ]
    fail_with(problems, f"{len(records)} records of {len(members)} members")
    living = sum(member.document is not None for member in members.values())
    return Checked(len(records), len(members), living, len(dead))


async def check_disk(system: System, data_dir: Path, partitions: Iterable[int] | None = None) -> int:
    """Compare the local state of a worker that isn't running with the changelog, byte for byte; returns the keys seen.

    `partitions`: those that it owned in the end; None: all.
    """
    changelog = last_values(await read_whole(system, system.settings.changelog_topic))
    problems: list[str] = []
    seen = 0
    for partition in range(system.n_partitions) if partitions is None else partitions:
        expected = {key: value for (number, key), value in changelog.items() if number == partition}
        if not expected:
            continue
        found, timers = on_disk(data_dir, partition), timers_on_disk(data_dir, partition)
        seen += len(found)
        if timers != (due := sorted(dues(found))):
            problems.append(f"RocksDB, partition {partition}: timers {timers[:5]}…, the states say {due[:5]}…")
        census, counted = census_on_disk(data_dir, partition), counts(found)
        if census is not None and census != counted:
            problems.append(f"RocksDB, partition {partition}: census {census}, the states say {counted}")
        for key in sorted(expected.keys() | found.keys()):
            if expected.get(key) != found.get(key):
                problems.append(f"RocksDB, partition {partition}, {key!r}: {_brief(found.get(key))}")
                problems.append(f"  in the changelog: {_brief(expected.get(key))}")
    fail_with(problems, f"{seen} keys on disk")
    return seen


def on_disk(data_dir: Path, partition: int) -> dict[bytes, bytes]:
    """Return what RocksDB holds of a partition, Faust's and the store's own keys left out."""
    with _database(data_dir, partition) as database:
        return {key: value for key, value in database.items() if not key.startswith(_OWN_KEYS)}


def timers_on_disk(data_dir: Path, partition: int) -> list[tuple[int, bytes]]:
    """Return when which member falls due, in order, as RocksDB holds it."""
    with _database(data_dir, partition) as database:
        entries = [key for key in database.keys() if key.startswith(b"\0\0")]  # noqa: SIM118 (no dictionary)
    return [(int.from_bytes(key[2:10], "big") - 2**63, key[10:]) for key in entries]


def census_on_disk(data_dir: Path, partition: int) -> Counter[tuple[int, int]] | None:
    """Return (model's key, cluster) → members, and (-1, -1) → those with a document; None: to be made anew
    (an older version has written since)."""
    with _database(data_dir, partition) as database:
        up_to, documents = database.get(b"\0census", b"-1 0").split()
        if up_to != database.get(b"__faust\0offset__"):
            return None
        cells = [(key, n) for key, n in database.items() if key.startswith(b"\0\1")]
    told = Counter({(-1, -1): int(documents)})
    for key, n in cells:
        told[int.from_bytes(key[2:10], "big"), int.from_bytes(key[10:18], "big", signed=True)] = int(n)
    return told


def counts(states: dict[bytes, bytes]) -> Counter[tuple[int, int]]:
    """Return the same as the members' states say it."""
    found: Counter[tuple[int, int]] = Counter({(-1, -1): 0})
    for member in [decode_state(value) for key, value in states.items() if not key.startswith(b"\0")]:
        if member.document is not None:
            found.update([(-1, -1), *((model, cluster) for model, (cluster, _) in member.memberships.items())])
    return found


def dues(states: dict[bytes, bytes]) -> list[tuple[int, bytes]]:
    """Return the same as the members' states say it."""
    members = [(decode_state(value), key) for key, value in states.items() if not key.startswith(b"\0")]
    return [(member.valid_until_ms, key) for member, key in members if member.valid_until_ms < FOREVER]


@contextmanager
def _database(data_dir: Path, partition: int) -> Iterator[rocksdict.Rdict]:
    [path] = data_dir.glob(f"**/state-{partition}.db")
    options = rocksdict.Options(raw_mode=True)
    database = rocksdict.Rdict(str(path), options=options, access_type=rocksdict.AccessType.read_only())
    try:
        yield database
    finally:
        database.close()


async def read_whole(system: System, topic: str) -> list[Any]:
    """Return all records of a topic, each partition's in order, up to where it ended at the call."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=system.pair.broker.bootstrap,
        auto_offset_reset="earliest",  # in place of a seek, which races with the look for a position to start at
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=16 << 20,
    )
    await consumer.start()
    try:
        parts = [TopicPartition(topic, number) for number in range(system.n_partitions)]
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        left = [part for part in parts if ends[part] > 0]
        found: list[Any] = []
        while left:
            for part, records in (await consumer.getmany(*left, timeout_ms=1_000)).items():
                found += [record for record in records if record.offset < ends[part]]
            left = [part for part in left if await consumer.position(part) < ends[part]]
        return sorted(found, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()


def last_values(records: Iterable[Any]) -> dict[tuple[int, bytes], bytes]:
    """Return the compacted view of a changelog: (partition, key) → last value; deleted keys are left out."""
    newest = {(record.partition, record.key): record.value for record in records}
    return {place: value for place, value in newest.items() if value is not None}


def wrong_in_redis(
    system: System, members: dict[bytes, Truth], ends: dict[int, int], was_emptied: bool
) -> Iterable[str]:
    """Yield what differs between Redis and the truth."""
    client, epoch = system.redis, system.settings.topic_epoch
    if not client.exists(KEYS.epoch):
        yield "Redis: the epoch key is missing: it says that it is being rebuilt"
    beacons = {int(p): parse_beacon(value).next_offset for p, value in client.hgetall(KEYS.beacons).items()}
    for partition, end in ends.items():
        if beacons.get(partition) != end:
            yield f"Redis: beacon of partition {partition} at {beacons.get(partition)}, the topic ends at {end}"
    named = {KEYS.member_prefix + key for key in members}
    for key in client.scan_iter(KEYS.member_prefix + b"*", count=5_000):
        if key not in named:
            yield f"Redis: {key!r}, whom no event named"
    pipeline = client.pipeline(transaction=False)
    for key in members:
        pipeline.get(KEYS.member_prefix + key)
    # What stands behind || is of lists.
    rows = [parse_row((row or b"").partition(b"||")[0]) for row in pipeline.execute()]
    whys = [_wrong_row(row, truth, epoch, was_emptied) for row, truth in zip(rows, members.values(), strict=True)]
    told = list(zip(members.items(), rows, whys, strict=True))
    look_ahead([(t, _end_ms(row)) for (_, t), row, why in told if t.document is not None and not why])
    for (key, truth), row, why in told:
        if why or (truth.document is not None and not truth.holds[_end_ms(row)]):
            yield f"Redis: {key!r}: {why or 'valid_until'}; it holds {row}, expected {_brief_truth(truth)}"


def _end_ms(row: dict[bytes, bytes]) -> int:
    end_ms = parse_position(row[b"pos"]).valid_until_ms
    return FOREVER if end_ms is None else end_ms


def _wrong_row(held: dict[bytes, bytes], truth: Truth, epoch: int, was_emptied: bool) -> str:
    is_forgotten = truth.document is None and truth.version < 0
    if not held:  # a tombstone that Redis has lost isn't made anew
        needs_no_tombstone = truth.document is None and (was_emptied or (is_forgotten and truth.offset < 0))
        return "" if needs_no_tombstone else "absent"
    position = parse_position(held[b"pos"])
    if (position.epoch, position.partition) != (epoch, truth.partition):
        return "epoch or partition"
    if truth.document is None:
        if held.keys() != {b"pos"} or not is_tombstone(held[b"pos"]):
            return "no tombstone"
        # A replay writes a tombstone at the last record it replays, be it one that was not applied.
        return "" if truth.offset <= position.offset <= truth.named_at else "position of the tombstone"
    if held.keys() != {b"pos", *(label.encode() for label in truth.clusters)}:
        return "fields"
    if position.offset != truth.offset:
        return "position"
    if not truth.as_of_ms <= position.as_of_ms <= truth.clock_ms:
        return "as_of"
    for label, expected in truth.clusters.items():
        cluster, since_ms = parse_membership(held[label.encode()])
        if cluster != expected:
            return f"cluster of {label}"
        if since_ms > position.as_of_ms:
            return f"since of {label}"
    return ""


def wrong_in_state(
    changelog: dict[tuple[int, bytes], bytes], members: dict[bytes, Truth], ends: dict[int, int], epoch: int
) -> Iterable[str]:
    """Yield what differs between the compacted changelog and the truth."""
    for partition, end in ends.items():
        progress = decode_progress(changelog.get((partition, APPLIED)))
        if (progress.epoch, progress.next_offset) != (epoch, end):
            yield f"changelog: partition {partition} is applied to {progress}, the topic ends at {end}"
    for partition, key in changelog:
        is_bookkeeping = key.startswith(b"\0")
        if not is_bookkeeping and (key not in members or members[key].partition != partition):
            yield f"changelog: {key!r} in partition {partition}, whom no event named there"
    states = {key: changelog.get((truth.partition, key)) for key, truth in members.items()}
    held = [
        (members[key], member)
        for key, state in states.items()
        if state is not None
        and split_position((member := decode_state(state)).position) == (epoch, members[key].offset)
    ]
    look_ahead([(truth, member.valid_until_ms) for truth, member in held])
    note_rows([(truth, member.as_of_ms) for truth, member in held if truth.document is not None])
    for key, stored in states.items():
        why = _wrong_state(stored, members[key], epoch)
        if why:
            yield f"changelog: {key!r}: {why}; it holds {_brief(stored)}, expected {_brief_truth(members[key])}"


def _wrong_state(stored: bytes | None, truth: Truth, epoch: int) -> str:
    if stored is None:
        return "" if truth.document is None and truth.version < 0 else "absent"
    if truth.document is None and truth.version < 0:
        return "not forgotten"
    member = decode_state(stored)
    if split_position(member.position) != (epoch, truth.offset):
        return "position"
    found = {
        "document": _canonical(member.document),
        "version": member.version,
        "as_of": truth.as_of_ms <= member.as_of_ms <= truth.clock_ms,
        "valid_until": truth.holds[member.valid_until_ms],
        "clusters": {key: cluster for key, (cluster, _) in member.memberships.items()},
        "rows": member.rows,
    }
    expected = {
        "document": _canonical(truth.document),
        "version": truth.version,
        "as_of": True,
        "valid_until": True,
        "clusters": {key_of(label): cluster for label, cluster in truth.clusters.items()},
        "rows": truth.rows,
    }
    return ", ".join(name for name in found if found[name] != expected[name])


def wrong_dead_letters(letters: Iterable[Any], dead: dict[tuple[int, int], tuple[Any, StrEnum]]) -> Iterable[str]:
    """Yield what differs between the dead-letter topic and the records that can't be applied; repeats are allowed."""
    found: set[tuple[int, int]] = set()
    for letter in letters:
        headers = dict(letter.headers)
        origin = int(headers["origin_partition"]), int(headers["origin_offset"])
        found.add(origin)
        if origin not in dead:
            shown = (letter.value or b"")[:200]
            yield f"dead letter of {origin}, which can be applied ({headers['reason']!r}): {shown!r}"
            continue
        record, reason = dead[origin]
        own = list(letter.headers)[: len(record.headers)]
        if (letter.key, letter.value, own) != (record.key, record.value, list(record.headers)):
            yield f"dead letter of {origin} isn't whole"
        if headers["reason"].decode() != reason:
            yield f"dead letter of {origin}: reason {headers['reason']!r}, expected {reason}"
    for origin in sorted(dead.keys() - found):
        yield f"no dead letter of {origin} ({dead[origin][1]}); there are {len(found)}"


def fail_with(problems: Sequence[str], of: str) -> None:
    """Raise AssertionError with the first problems, if there are any."""
    if problems:
        shown = "\n".join(problems[:_SHOWN])
        raise AssertionError(f"{len(problems)} problems in {of}:\n{shown}")


def _canonical(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _brief(stored: bytes | None) -> str:
    if stored is None:
        return "nothing"
    try:
        member = decode_state(stored)
    except ValueError:
        return repr(stored[:60])
    return (
        f"offset {split_position(member.position)[1]}, version {member.version}, as of {member.as_of_ms}, "
        f"{_canonical(member.document)[:200]!r}"
    )


def _brief_truth(truth: Truth) -> str:
    return (
        f"partition {truth.partition}, offset {truth.offset}, version {truth.version}, as of {truth.as_of_ms}, "
        f"clusters {truth.clusters}, {_canonical(truth.document)[:200]!r}"
    )
