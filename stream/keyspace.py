"""The Redis contract with readers in code: names of keys, and formats both ways. As a table: contract.py.

Laws:
- Everything is readable text in UTF-8; numbers are decimal integers, times are Unix milliseconds.
- Offsets and times stay below 2**53: the guard compares them inside Redis, where numbers are doubles.
- The small keys share the hash tag `{meta}`, so that a Redis Cluster keeps them in one slot.
- A member's row is one string: `pos`, then `|<model>@<version>=<cluster>:<since_ms>` of each computed version, then, of
  a member that is on uploaded lists, another `|` and the same of these. So a writer of computed versions replaces what
  stands before `||` and needn't read it, and a reader finds a version by the text from `|` to `=` (`marker`). Neither
  is allowed in a model's name.
- Pure: bytes in, frozen values out. No Redis client is imported here.
"""

import json
from collections.abc import Mapping, Sequence
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
CAMPAIGNS = b"ms:{meta}:campaigns"
COUNTED = b"ms:{meta}:counted"
COUNTS_PREFIX = b"ms:counts:"
#: The field of `counted` that says how many partitions there are; the others are partitions.
PARTITIONS = b"partitions"

#: The type of a model that is an uploaded list: who isn't on it has no field of it.
LIST = "list"

#: What `parse_row` calls a row's head.
POS = b"pos"
GONE = b":gone"  # the end of a tombstone, which is nothing but `pos`

# A day: longer than any paused worker is left unnoticed, so its late write meets the tombstone; short
# enough that an erased member's id does not stay in Redis.
TOMBSTONE_TTL_S = 86_400
# Ten times and more the interval at which workers write beacons: a rebalance or a restart is not an alarm.
BEACON_STALE_MS = 30_000


class KeyspaceError(ValueError):
    """A value in Redis does not have its declared format: something else writes to `ms:` keys.

    Operator: give memberstream its own database or ACL key pattern, empty it (FLUSHDB), and the worker rebuilds it.
    """


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


class PublishedCampaign(NamedTuple):
    """What readers know of a campaign. Visible from `from_ms` until before `until_ms`; None: no bound.

    `holdout`: of 10,000 members so many are held out.
    """

    id: str
    model: str
    clusters: tuple[int, ...]
    from_ms: int | None = None
    until_ms: int | None = None
    holdout: int = 0
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Announcement:
    """What readers are told of models and campaigns.

    `offset`: of the models' log, up to where it is contained; -1: nothing is. `live`: model name → the version readers
    use.
    """

    offset: int
    models: tuple[PublishedModel, ...]
    live: Mapping[str, int]
    campaigns: tuple[PublishedCampaign, ...] = ()


class Scored(NamedTuple):
    """How far a partition is scored: all its members with what the models' log says up to `offset`.

    `remaining`: members that a backfill under way still has to look at, about. `refused`: offsets of the steps that
    published what the partition's worker can't use: all but that is scored.
    """

    offset: int
    remaining: int
    refused: tuple[int, ...] = ()


def member_key(member_id: bytes) -> bytes:
    """The key of a member's row; any bytes are allowed in an id, memberstream's own are UTF-8."""
    return MEMBER_PREFIX + member_id


def counts_key(campaign: str) -> bytes:
    """The key of a campaign's counts."""
    return COUNTS_PREFIX + campaign.encode()


def membership_field(model: str, version: int) -> bytes:
    """`<model>@<version>`."""
    return f"{model}@{version}".encode()


def marker(field: bytes) -> bytes:
    """What a membership follows in a member's row: `|<model>@<version>=`."""
    return b"|" + field + b"="


def cluster_in(row: bytes, after: bytes) -> bytes:
    """The cluster that follows a marker in a member's row; empty if the marker isn't there."""
    return row.partition(after)[2].partition(b":")[0]


def row_format(fields: Sequence[bytes]) -> bytes:
    """A member's row for `%`: the five parts of `pos`, the last as bytes, then cluster and since_ms of each field."""
    return b"%d:%d:%d:%d:%b" + b"".join([marker(field) + b"%d:%d" for field in fields])


def parse_row(row: bytes | None) -> dict[bytes, bytes]:
    """`pos`, if there is one, and each membership by its field; nothing of a member without a row.

    Raises KeyspaceError.
    """
    pos, *memberships = (row or b"").split(b"|")
    found = {POS: pos} if pos else {}
    for membership in memberships:
        field, equals, value = membership.partition(b"=")
        if equals:
            found[field] = value
        elif field:
            raise KeyspaceError(f"row: expected <pos>|<model>@<version>=<cluster>:<since_ms>…, found {row!r}")
    return found


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
    until = b"" if valid_until_ms is None else b"%d" % valid_until_ms
    return b"%d:%d:%d:%d:%b" % (epoch, partition, offset, as_of_ms, until)


def format_tombstone(position: Position) -> bytes:
    """`<epoch>:<partition>:<offset>:<as_of_ms>:gone`."""
    return b"%d:%d:%d:%d:gone" % position[:4]


def is_tombstone(row: bytes) -> bool:
    """Whether a row, or its `pos`, says that the member was deleted."""
    return row.endswith(GONE)


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


def parse_model(value: bytes) -> tuple[str, dict[int, str]]:
    """Type, and cluster id → name, of a model's JSON. Raises KeyspaceError."""
    try:
        found = json.loads(value)
        return str(found["type"]), {int(cluster): str(name) for cluster, name in found["clusters"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KeyspaceError(f"model: expected JSON with type and clusters, found {value!r}") from None


def format_campaign(campaign: PublishedCampaign) -> bytes:
    """The JSON kept in `ms:{meta}:campaigns`."""
    told = {
        "model": campaign.model,
        "clusters": campaign.clusters,
        "from": campaign.from_ms,
        "until": campaign.until_ms,
        "holdout": campaign.holdout,
        "state": "paused" if campaign.is_paused else "enabled",
    }
    return json.dumps(told, separators=(",", ":")).encode()


def parse_campaign(campaign_id: bytes, value: bytes) -> PublishedCampaign:
    """Raises KeyspaceError."""
    try:
        told = json.loads(value)
        from_ms, until_ms = told["from"], told["until"]
        return PublishedCampaign(
            campaign_id.decode(),
            str(told["model"]),
            tuple(map(int, told["clusters"])),
            from_ms if from_ms is None else int(from_ms),
            until_ms if until_ms is None else int(until_ms),
            int(told["holdout"]),
            _PAUSED[told["state"]],
        )
    except (ValueError, KeyError, TypeError):
        raise KeyspaceError(
            f"campaign {campaign_id!r}: expected model, clusters, from, until, holdout and state, found {value!r}"
        ) from None


_PAUSED = {"enabled": False, "paused": True}


def format_scored(scored: Scored) -> bytes:
    """`<offset>:<remaining>`, and `:<offset>,…` of what is refused."""
    told = b"%d:%d" % scored[:2]
    return told + b":" + b",".join(b"%d" % offset for offset in scored.refused) if scored.refused else told


def parse_scored(value: bytes) -> Scored:
    """Raises KeyspaceError."""
    try:
        offset, remaining, *refused = value.split(b":")
        return Scored(int(offset), int(remaining), tuple(int(step) for part in refused for step in part.split(b",")))
    except ValueError:
        raise KeyspaceError(f"scored: expected <offset>:<remaining>[:<offset>,…], found {value!r}") from None
