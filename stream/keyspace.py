"""The Redis contract with readers, declared once: every key, its fields, formats, writers, readers, life time.

Laws:
- `KEYSPACE` is the one list; docs/redis.md holds the same table and a test compares the two.
- Everything is readable text in UTF-8; numbers are decimal integers, times are Unix milliseconds.
- Offsets and times stay below 2**53: the guard compares them inside Redis, where numbers are doubles.
- The small keys share the hash tag `{meta}`, so that a Redis Cluster keeps them in one slot.
- Pure: bytes in, frozen values out. No Redis client is imported here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

MEMBER_PREFIX = b"ms:member:"
LIVE = b"ms:{meta}:live"
MODELS = b"ms:{meta}:models"
EPOCH = b"ms:{meta}:epoch"
BUILT = b"ms:{meta}:built"
BEACONS = b"ms:{meta}:beacons"
KNOWN = b"ms:{meta}:known"
SCORED = b"ms:{meta}:scored"

POS = b"pos"
GONE = b":gone"  # the end of a tombstone's `pos`

# A day: longer than any paused worker is left unnoticed, so its late write meets the tombstone; short
# enough that an erased member's id does not stay in Redis.
TOMBSTONE_TTL_S = 86_400
# Ten times and more the interval at which workers write beacons: a rebalance or a restart is not an alarm.
BEACON_STALE_MS = 30_000


class KeyspaceError(ValueError):
    """A value in Redis does not have its declared format: something else writes to `ms:` keys.

    Operator: give memberstream its own database or ACL key pattern, empty it (FLUSHDB), and the worker rebuilds it.
    """


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a hash (or the whole value of a string, then `name` is empty)."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of the contract."""

    key: str
    kind: str
    fields: tuple[Field, ...]
    writer: str
    readers: str
    lifetime: str


KEYSPACE: tuple[Entry, ...] = (
    Entry(
        "ms:member:<member_id>",
        "hash",
        (
            Field("<model>@<version>", "<cluster>:<since_ms>", "cluster id, and when it last changed"),
            Field(
                "pos",
                "<epoch>:<partition>:<offset>:<as_of_ms>:<valid_until_ms>",
                "last applied event (of which epoch of the topic); the time scoring used; until when the clusters hold "
                "(empty: for ever; `gone`: a tombstone, the member was deleted)",
            ),
        ),
        "worker (write.lua, forget.lua)",
        "look-ups",
        "for ever; a tombstone 24 h",
    ),
    Entry(
        "ms:{meta}:live",
        "hash",
        (Field("<model>", "<version>", "the version readers use; a model without one isn't there"),),
        "worker, `model promote` (models.lua)",
        "look-ups",
        "for ever",
    ),
    Entry(
        "ms:{meta}:models",
        "hash",
        (
            Field(
                "<model>@<version>",
                '{"type":…,"clusters":{"<cluster>":"<name>",…}}',
                "names for readers; also of candidates",
            ),
        ),
        "worker, `model promote` (models.lua)",
        "look-ups",
        "until retired",
    ),
    Entry(
        "ms:{meta}:known",
        "string",
        (Field("", "<offset>", "of the models' log: what `live` and `models` contain; an older writer is refused"),),
        "worker, `model promote` (models.lua)",
        "worker",
        "for ever",
    ),
    Entry(
        "ms:{meta}:scored",
        "hash",
        (
            Field(
                "<partition>",
                "<offset>:<remaining>",
                "all members are scored with the models' log up to offset; members still to be looked at, about",
            ),
        ),
        "worker",
        "`model publish --wait`, `model promote`",
        "for ever",
    ),
    Entry(
        "ms:{meta}:epoch",
        "string",
        (Field("", "<completed_ms>", "when the projection was complete; absent: it is being rebuilt"),),
        "worker (finish.lua)",
        "look-ups, worker",
        "for ever",
    ),
    Entry(
        "ms:{meta}:built",
        "hash",
        (Field("<partition>", "<token> or done:<token>", "who builds the partition, and whether it is done"),),
        "worker (begin, finish.lua)",
        "worker",
        "only while building",
    ),
    Entry(
        "ms:{meta}:beacons",
        "hash",
        (
            Field(
                "<partition>",
                "<next_offset>:<clock_ms>:<written_ms>",
                "all below next_offset (of this epoch) is applied; the worker's own time; wall clock of the write",
            ),
        ),
        "worker (beacon.lua)",
        "look-ups, worker",
        "for ever",
    ),
)


def markdown_table() -> str:
    """The contract as the table that docs/redis.md shows."""
    lines = [
        "| key | type | field | value | meaning | written by | read by | life time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in KEYSPACE:
        for i, field in enumerate(entry.fields):
            first = i == 0
            cells = (
                f"`{entry.key}`" if first else "",
                entry.kind if first else "",
                f"`{field.name}`" if field.name else "",
                f"`{field.value}`",
                field.meaning,
                entry.writer if first else "",
                entry.readers if first else "",
                entry.lifetime if first else "",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


class Position(NamedTuple):
    """`pos` of a member. Times in ms; `valid_until_ms` None: holds until the next event, or it is a tombstone's."""

    epoch: int
    partition: int
    offset: int
    as_of_ms: int
    valid_until_ms: int | None


@dataclass(frozen=True, slots=True)
class Beacon:
    """What a worker says about a partition. `clock_ms` is its `now`: wall clock, or event time in a replay."""

    next_offset: int
    clock_ms: int
    written_ms: int


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """What readers may know of a published model version. `clusters`: cluster id → name."""

    name: str
    version: int
    type: str
    clusters: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Announcement:
    """What readers are told of the models. `offset`: of the models' log, up to where it is contained; -1: nothing is.

    `live`: model name → the version readers use.
    """

    offset: int
    models: tuple[PublishedModel, ...]
    live: Mapping[str, int]


class Scored(NamedTuple):
    """How far a partition is scored: all its members with what the models' log says up to `offset`.

    `remaining`: members that a backfill under way still has to look at, about.
    """

    offset: int
    remaining: int


def member_key(member_id: bytes) -> bytes:
    """The key of a member's hash; any bytes are allowed in an id, memberstream's own are UTF-8."""
    return MEMBER_PREFIX + member_id


def membership_field(model: str, version: int) -> bytes:
    """`<model>@<version>`."""
    return f"{model}@{version}".encode()


def split_field(field: bytes) -> tuple[str, int]:
    """(model, version) of a membership field. Raises KeyspaceError."""
    model, at, version = field.decode("utf-8", "replace").rpartition("@")
    if not at or not model or not version.isdigit():
        raise KeyspaceError(f"membership field: expected <model>@<version>, found {field!r}")
    return model, int(version)


def parse_membership(value: bytes) -> tuple[int, int]:
    """(cluster, since_ms). Raises KeyspaceError."""
    try:
        cluster, since_ms = value.split(b":")
        return int(cluster), int(since_ms)
    except ValueError:
        raise KeyspaceError(f"membership: expected <cluster>:<since_ms>, found {value!r}") from None


def format_position(position: Position) -> bytes:
    """`<epoch>:<partition>:<offset>:<as_of_ms>:<valid_until_ms>`."""
    epoch, partition, offset, as_of_ms, valid_until_ms = position
    if valid_until_ms is None:
        return b"%d:%d:%d:%d:" % (epoch, partition, offset, as_of_ms)
    return b"%d:%d:%d:%d:%d" % (epoch, partition, offset, as_of_ms, valid_until_ms)


def format_tombstone(position: Position) -> bytes:
    """`<epoch>:<partition>:<offset>:<as_of_ms>:gone`."""
    return b"%d:%d:%d:%d:gone" % position[:4]


def is_tombstone(pos: bytes) -> bool:
    """Whether `pos` says that the member was deleted."""
    return pos.endswith(GONE)


def parse_position(value: bytes) -> Position:
    """Of a member or a tombstone. Raises KeyspaceError."""
    try:
        epoch, partition, offset, as_of_ms, until = value.split(b":")
        valid_until_ms = None if until in (b"", b"gone") else int(until)
        return Position(int(epoch), int(partition), int(offset), int(as_of_ms), valid_until_ms)
    except ValueError:
        raise KeyspaceError(
            f"pos: expected <epoch>:<partition>:<offset>:<as_of_ms>:<valid_until_ms>, found {value!r}"
        ) from None


def format_beacon(beacon: Beacon) -> bytes:
    """`<next_offset>:<clock_ms>:<written_ms>`."""
    return b"%d:%d:%d" % (beacon.next_offset, beacon.clock_ms, beacon.written_ms)


def parse_beacon(value: bytes) -> Beacon:
    """Raises KeyspaceError."""
    try:
        next_offset, clock_ms, written_ms = value.split(b":")
        return Beacon(int(next_offset), int(clock_ms), int(written_ms))
    except ValueError:
        raise KeyspaceError(f"beacon: expected <next_offset>:<clock_ms>:<written_ms>, found {value!r}") from None


def format_model(model: PublishedModel) -> bytes:
    """The JSON kept in `ms:{meta}:models`."""
    clusters = {str(cluster): name for cluster, name in sorted(model.clusters.items())}
    return json.dumps({"type": model.type, "clusters": clusters}, ensure_ascii=False, separators=(",", ":")).encode()


def parse_cluster_names(value: bytes) -> dict[int, str]:
    """Cluster id → name of a model's JSON. Raises KeyspaceError."""
    try:
        return {int(cluster): str(name) for cluster, name in json.loads(value)["clusters"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KeyspaceError(f"model: expected JSON with type and clusters, found {value!r}") from None


def format_scored(scored: Scored) -> bytes:
    """`<offset>:<remaining>`."""
    return b"%d:%d" % scored


def parse_scored(value: bytes) -> Scored:
    """Raises KeyspaceError."""
    try:
        offset, remaining = value.split(b":")
        return Scored(int(offset), int(remaining))
    except ValueError:
        raise KeyspaceError(f"scored: expected <offset>:<remaining>, found {value!r}") from None
