"""The Redis contract with readers in code: formats both ways. keys.py has the names of keys; table.py is its table.

Laws:
- Everything is readable text in UTF-8; numbers are decimal integers, times are Unix milliseconds.
- Offsets and times stay below 2**53: the guard compares them inside Redis, where numbers are doubles.
- A member's row is one string: `pos`, then `|<model>@<version>=<cluster>:<since_ms>` for each computed version. Where
  the member has moved, `|<model>@<version>~=` and its clusters before follow, the latest first. If the member is on
  uploaded lists, another `|` and the same for each list follow. So a writer of computed versions replaces what stands
  before `||` and needn't read it. A reader finds a version by the text from `|` to `=` (`marker`). Neither character is
  allowed in a model's name.
- Pure: bytes in, frozen values out. No Redis client is imported here.

The file is long because each format stands beside its counterpart, and whoever reads the contract reads all of them.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec import MsgspecError
from msgspec.json import decode, encode

#: The field of `counted` that says how many partitions there are; each other field is a partition.
PARTITIONS = b"partitions"

# What a partition tells, as readers' docs and messages show it.
BEACON_FORMAT = "<next_offset>:<clock_ms>:<written_ms>"
BEHIND_FORMAT = "<waiting>:<members>:<unscored>:<written_ms>"
SIZES_FORMAT = "<written_ms>|<model>@<version>=<cluster>:<members>,…|…"
DOOR_FORMAT = "<written_ms>|<host>:<port>"

#: An installation's id.
INSTALLATION_FORMAT = "<group>@<Kafka's cluster id>"

#: The type of a model that is an uploaded list: a member that isn't on it has no field of it.
LIST = "list"

#: The name that `parse_row` gives a row's head.
POS = b"pos"
_PAST = b"~"  # ends a field that says what was before
GONE = b":gone"  # the end of a tombstone, which is nothing but `pos`

# A day. Nobody leaves a paused worker unnoticed for longer, so its late write meets the tombstone. And it is short
# enough that an erased member's id doesn't stay in Redis.
TOMBSTONE_TTL_S = 86_400
# More than ten times the interval at which workers write beacons: a rebalance or a restart is no alarm.
BEACON_STALE_MS = 30_000


_FOREIGN = (
    "find what else writes to these keys, keep it away by a prefix or a database of memberstream's own; the workers "
    'write all again (docs/operations.md, "Remove an installation\'s keys")'
)


class KeyspaceError(ValueError):
    """A value in Redis does not have its declared format: something else writes to memberstream's keys.

    Operator: keep it away by a prefix, a database or an ACL key pattern of memberstream's own, and remove its keys: the
    worker rebuilds them.
    """

    def __str__(self) -> str:
        return f"{super().__str__()}. Next: {_FOREIGN}"


class Position(NamedTuple):
    """`pos` of a member. Times in ms. `valid_until_ms` None: it holds until the next event, or it is a tombstone's."""

    epoch: int
    partition: int
    offset: int
    as_of_ms: int
    valid_until_ms: int | None


class Beacon(NamedTuple):
    """What a worker says about a partition. `clock_ms` is its `now`: wall clock, or event time in a replay."""

    next_offset: int
    clock_ms: int
    written_ms: int


class PublishedModel(NamedTuple):
    """What readers may know about a published model version. `clusters`: cluster id → name."""

    name: str
    version: int
    type: str
    clusters: Mapping[int, str]


class PublishedCampaign(NamedTuple):
    """What readers know about a campaign. Visible from `from_ms` until just before `until_ms`; None: no bound.

    `holdout`: how many of 10,000 members are held out.
    """

    id: str
    model: str
    clusters: tuple[int, ...]
    from_ms: int | None = None
    until_ms: int | None = None
    holdout: int = 0
    is_paused: bool = False

    def is_shown_at(self, now_ms: int) -> bool:
        """Whether members in its clusters see it at a time."""
        has_begun = self.from_ms is None or self.from_ms <= now_ms
        return has_begun and (self.until_ms is None or now_ms < self.until_ms) and not self.is_paused


class Announcement(NamedTuple):
    """What readers are told about models and campaigns.

    `offset`: up to which offset of the models' log this goes; -1: nothing is contained. `live`: model name → the
    version that readers use.
    """

    offset: int
    models: tuple[PublishedModel, ...]
    live: Mapping[str, int]
    campaigns: tuple[PublishedCampaign, ...] = ()


class Scored(NamedTuple):
    """How far a partition is scored: all its members have the versions of the models' log up to `offset`.

    `remaining`: about how many members a backfill still has to look at. `refused`: offsets of the steps whose version
    the partition's worker can't use; these versions aren't scored.
    """

    offset: int
    remaining: int
    refused: tuple[int, ...] = ()


class Behind(NamedTuple):
    """How far a partition's worker is behind, as it knows itself; None: not known yet. Times in ms.

    `waiting`: events that have arrived and aren't applied. `members`: members with a document. `unscored`: those of
    them that lack a version although the partition says that it is scored (`Scored`).
    """

    waiting: int | None
    members: int | None
    unscored: int | None
    written_ms: int


class Sizes(NamedTuple):
    """How many members of a partition are in which cluster.

    `clusters`: field of a computed version (`<model>@<version>`) → cluster id → members. A version that isn't there
    isn't told of.
    """

    written_ms: int
    clusters: Mapping[bytes, Mapping[int, int]]


class Door(NamedTuple):
    """Where a partition's worker answers questions about its members (stream/queries). Told at `written_ms`."""

    written_ms: int
    host: str
    port: int


def membership_field(model: str, version: int) -> bytes:
    """`<model>@<version>`."""
    return f"{model}@{version}".encode()


def marker(field: bytes) -> bytes:
    """The text in a member's row before a membership: `|<model>@<version>=`."""
    return b"|" + field + b"="


def past_marker(field: bytes) -> bytes:
    """The text in a member's row before the clusters that a version gave the member earlier: `|<model>@<version>~=`."""
    return b"|" + field + _PAST + b"="


@lru_cache(maxsize=256)
def _markers(field: bytes) -> tuple[bytes, bytes]:
    return marker(field), past_marker(field)


def course_in(row: bytes, field: bytes) -> tuple[tuple[int, int], ...]:
    """Since when a version had the member in which cluster: (cluster, since_ms), the latest first; as far as is known.

    Raises KeyspaceError.
    """
    its, before = _markers(field)
    _, found, rest = row.partition(its)
    if not found:
        return ()
    now = parse_membership(rest.partition(b"|")[0])
    past = b"" if (at := row.rfind(before)) < 0 else row[at + len(before) :].partition(b"|")[0]
    return (now, *map(parse_membership, past.split(b","))) if past else (now,)


def cluster_in(row: bytes, after: bytes) -> bytes:
    """The cluster that follows a marker in a member's row; empty if the marker isn't there."""
    return row.partition(after)[2].partition(b":")[0]


def row_format(fields: Sequence[bytes]) -> bytes:
    """A member's row for `%`: the five parts of `pos`, the last as bytes; then cluster and since_ms of each field."""
    return b"%d:%d:%d:%d:%b" + b"".join([marker(field) + b"%d:%d" for field in fields])


def format_past(past: Sequence[tuple[bytes, Sequence[tuple[int, int]]]]) -> bytes:
    """The end of a row of computed versions: for each of some fields, the clusters before."""
    return b"".join([past_marker(field) + b",".join([b"%d:%d" % entry for entry in its]) for field, its in past])


def parse_row(row: bytes | None) -> dict[bytes, bytes]:
    """Return `pos`, if there is one, and each membership of now by its field; nothing for a member without a row.

    Raises KeyspaceError.
    """
    pos, *memberships = (row or b"").split(b"|")
    found = {POS: pos} if pos else {}
    for membership in memberships:
        field, equals, value = membership.partition(b"=")
        if equals:
            if not field.endswith(_PAST):
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


def format_tombstone(position: Position) -> bytes:
    """`<epoch>:<partition>:<offset>:<as_of_ms>:gone`."""
    return b"%d:%d:%d:%d:gone" % position[:4]


def is_tombstone(row: bytes) -> bool:
    """Whether a row, or its `pos`, says that the member was deleted."""
    return row.endswith(GONE)


def parse_position(value: bytes) -> Position:
    """Parse the `pos` of a member or a tombstone. Raises KeyspaceError."""
    try:
        epoch, partition, offset, as_of_ms, until = value.split(b":")
        valid_until_ms = None if until in (b"", b"gone") else int(until)
        return Position(int(epoch), int(partition), int(offset), int(as_of_ms), valid_until_ms)
    except ValueError:
        raise KeyspaceError(
            f"pos: expected <epoch>:<partition>:<offset>:<as_of_ms>:<valid_until_ms>, found {value!r}"
        ) from None


def parse_beacon(value: bytes) -> Beacon:
    """Raises KeyspaceError."""
    try:
        next_offset, clock_ms, written_ms = value.split(b":")
        return Beacon(int(next_offset), int(clock_ms), int(written_ms))
    except ValueError:
        raise KeyspaceError(f"beacon: expected {BEACON_FORMAT}, found {value!r}") from None


def format_model(model: PublishedModel) -> bytes:
    """The JSON kept in `models`."""
    clusters = {str(cluster): name for cluster, name in sorted(model.clusters.items())}
    return encode({"type": model.type, "clusters": clusters})


def parse_model(value: bytes) -> tuple[str, dict[int, str]]:
    """Type, and cluster id → name, of a model's JSON. Raises KeyspaceError."""
    try:
        found = decode(value)
        return str(found["type"]), {int(cluster): str(name) for cluster, name in found["clusters"].items()}
    except (MsgspecError, ValueError, KeyError, TypeError, AttributeError):
        raise KeyspaceError(f"model: expected JSON with type and clusters, found {value!r}") from None


def format_campaign(campaign: PublishedCampaign) -> bytes:
    """The JSON kept in `campaigns`."""
    told = {
        "model": campaign.model,
        "clusters": campaign.clusters,
        "from": campaign.from_ms,
        "until": campaign.until_ms,
        "holdout": campaign.holdout,
        "state": "paused" if campaign.is_paused else "enabled",
    }
    return encode(told)


def parse_campaign(campaign_id: bytes, value: bytes) -> PublishedCampaign:
    """Raises KeyspaceError."""
    try:
        told = decode(value)
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
    except (MsgspecError, ValueError, KeyError, TypeError):
        raise KeyspaceError(
            f"campaign {campaign_id!r}: expected model, clusters, from, until, holdout and state, found {value!r}"
        ) from None


_PAUSED = {"enabled": False, "paused": True}


def format_scored(scored: Scored) -> bytes:
    """`<offset>:<remaining>`, and `:<offset>,…` of the steps that are refused."""
    told = b"%d:%d" % scored[:2]
    return told + b":" + b",".join(b"%d" % offset for offset in scored.refused) if scored.refused else told


def parse_scored(value: bytes) -> Scored:
    """Raises KeyspaceError."""
    try:
        offset, remaining, *refused = value.split(b":")
        return Scored(int(offset), int(remaining), tuple(int(step) for part in refused for step in part.split(b",")))
    except ValueError:
        raise KeyspaceError(f"scored: expected <offset>:<remaining>[:<offset>,…], found {value!r}") from None


def format_behind(behind: Behind) -> bytes:
    """As BEHIND_FORMAT says; what isn't known yet is empty."""
    return b":".join(b"" if n is None else b"%d" % n for n in behind)


def parse_behind(value: bytes) -> Behind:
    """Raises KeyspaceError."""
    try:
        waiting, members, unscored, written_ms = value.split(b":")
        return Behind(_known(waiting), _known(members), _known(unscored), int(written_ms))
    except ValueError:
        raise KeyspaceError(f"behind: expected {BEHIND_FORMAT}, found {value!r}") from None


def format_sizes(sizes: Sizes) -> bytes:
    """As SIZES_FORMAT says."""
    versions = [
        field + b"=" + b",".join([b"%d:%d" % each for each in clusters.items()])
        for field, clusters in sizes.clusters.items()
    ]
    return b"|".join([b"%d" % sizes.written_ms, *versions])


def parse_sizes(value: bytes) -> Sizes:
    """Raises KeyspaceError."""
    try:
        written_ms, *versions = value.split(b"|")
        parts = [version.split(b"=") for version in versions]
        return Sizes(int(written_ms), {field: _counts(clusters) for field, clusters in parts})
    except ValueError:
        raise KeyspaceError(f"sizes: expected {SIZES_FORMAT}, found {value!r}") from None


def _counts(clusters: bytes) -> dict[int, int]:
    """Raises ValueError."""
    parts = [each.split(b":") for each in clusters.split(b",") if each]
    return {int(cluster): int(members) for cluster, members in parts}


def format_door(door: Door) -> bytes:
    """As DOOR_FORMAT says."""
    return f"{door.written_ms}|{door.host}:{door.port}".encode()


def parse_door(value: bytes) -> Door:
    """Raises KeyspaceError."""
    try:
        written_ms, address = value.decode().split("|")
        host, _, port = address.rpartition(":")
        return Door(int(written_ms), host, int(port))
    except ValueError:
        raise KeyspaceError(f"door: expected {DOOR_FORMAT}, found {value!r}") from None


def _known(number: bytes) -> int | None:
    return int(number) if number else None
