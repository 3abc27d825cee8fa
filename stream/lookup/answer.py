"""What a look-up answers. Pure: replies of Redis in, values out; the time enters as an argument.

The status, first rule that applies:
1. `rebuilding`: the epoch is absent, or changed between the reads. What is found is right; something may be missing.
2. `unknown member`: no hash, or a tombstone. Said only when the epoch was the same before and after the
   member was read, so never because Redis had been emptied. (No `pos`, but a field of a live list: the member has no
   document and is on that list. Nothing about it can grow old: `current`.)
3. `rebuilding`, too: a computed model's live version has no field in the member's hash; it is still being computed.
   (Who has no field of a list isn't on it.)
4. `stale`: the member's partition has no beacon, or one written more than 30 s ago (its worker is dead or cut off);
   or `valid_until` has passed by the system's own clock = beacon.clock_ms + (now − beacon.written_ms).
5. `current`.

An Answer keeps Redis' bytes and reads them when asked: a caller wants one cluster of a hundred members, and
making all values for all of them costs more than the round trip.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from stream import keyspace
from stream.keyspace import Beacon, Position
from stream.lookup.campaigns import Campaigns, Row


class Status(StrEnum):
    """How far an answer can be relied on; equal to its text."""

    CURRENT = "current"
    STALE = "stale"
    REBUILDING = "rebuilding"
    UNKNOWN = "unknown member"


# Python 3.11 takes a tenth of a microsecond to find a member of an enum.
_CURRENT, _STALE, _REBUILDING, _UNKNOWN = Status


class Membership(NamedTuple):
    """A member's cluster under a model's live version, since when (ms). `name` is None if the model names none."""

    model: str
    version: int
    cluster: int
    name: str | None
    since_ms: int


class LiveModel(NamedTuple):
    """A model as readers see it: its live version, where its value stands in a member's row, its clusters' names."""

    model: str
    version: int
    slot: int
    names: Mapping[int, str]


class Visible(NamedTuple):
    """The campaigns that a member sees, and those from which it is held out; ids in order.

    They go by the clusters that are known, whatever the status: `stale` by the last ones, `rebuilding` by those that
    are there already (what is told is right, something may be missing), `unknown member` by none.
    """

    campaigns: tuple[str, ...]
    held_out: tuple[str, ...]
    status: Status


class Meta(NamedTuple):
    """The small keys, as read at one moment.

    `fields`: what to ask of a member, in the order of its row: `pos`, computed versions, lists. `n_scored`: how many
    come before the lists.
    """

    fields: tuple[bytes, ...]
    n_scored: int
    models: Mapping[str, LiveModel]
    beacons: Mapping[int, Beacon]
    campaigns: Campaigns


class _Clocks(dict[bytes, int | None]):
    """Partition, as `pos` has it → the system's own clock there, ms; None: its worker is dead or cut off."""

    def __init__(self, beacons: Mapping[int, Beacon], now_ms: int) -> None:
        self._beacons = beacons
        self._now_ms = now_ms

    def __missing__(self, partition: bytes) -> int | None:
        clock_ms: int | None = None
        if (beacon := self._beacons.get(int(partition))) is not None:
            # A reader's clock that is behind the worker's makes the beacon look as if from the future: age 0.
            age_ms = max(0, self._now_ms - beacon.written_ms)
            if age_ms <= keyspace.BEACON_STALE_MS:
                clock_ms = beacon.clock_ms + age_ms
        self[partition] = clock_ms
        return clock_ms


class Reading:
    """What the answers of one round trip share. `complete`: the epoch was there, and the same, before and after."""

    __slots__ = ("campaigns", "clocks", "complete", "models", "n_scored", "now_ms")

    def __init__(self, meta: Meta, complete: bool, now_ms: int) -> None:
        self.models, self.n_scored = meta.models, meta.n_scored
        self.campaigns = meta.campaigns
        self.complete = complete
        self.now_ms = now_ms
        self.clocks = _Clocks(meta.beacons, now_ms)


# A live version that nobody has described: as if computed, without names.
_UNDESCRIBED = b'{"type":"","clusters":{}}'
# A member's row: the values of these fields, then one for each live model; None where the field is absent.
_POS = 0


def parse_meta(
    live: Mapping[bytes, bytes],
    models: Mapping[bytes, bytes],
    beacons: Mapping[bytes, bytes],
    campaigns: Sequence[bytes] = (),
) -> Meta:
    """From the hashes `live`, `models`, `beacons`, `campaigns` (as HGETALL gives it). Raises KeyspaceError."""
    found: list[tuple[bool, bytes, dict[int, str]]] = []
    for raw_name in sorted(live):
        field = raw_name + b"@" + live[raw_name]
        kind, names = keyspace.parse_model(models.get(field, _UNDESCRIBED))
        found.append((kind == keyspace.LIST, field, names))
    fields = [keyspace.POS, *[field for is_list, field, _ in sorted(found, key=lambda entry: entry[0])]]
    parsed: dict[str, LiveModel] = {}
    for _, field, names in found:
        name, version = keyspace.split_field(field)
        parsed[name] = LiveModel(name, version, fields.index(field), names)
    n_scored = len(fields) - sum(is_list for is_list, _, _ in found)
    slots = {model.model: model.slot for model in parsed.values()}
    return Meta(tuple(fields), n_scored, parsed, parse_beacons(beacons), Campaigns(campaigns, slots))


def parse_beacons(beacons: Mapping[bytes, bytes]) -> Mapping[int, Beacon]:
    """From the hash. Raises KeyspaceError."""
    return {int(p): keyspace.parse_beacon(value) for p, value in beacons.items()}


class Answer(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A member's memberships and how far they can be relied on. Reading a malformed value raises KeyspaceError.

    (A struct: a hundred are made in a third of the time.)
    """

    member_id: str
    _row: Row
    _reading: Reading

    def cluster(self, model: str) -> int | None:
        """The member's cluster under the model's live version; None if the member or the model is unknown."""
        live = self._reading.models.get(model)
        value = None if live is None else self._row[live.slot]
        if value is None:
            return None
        try:
            cluster, _ = value.split(b":")
            return int(cluster)
        except ValueError:
            keyspace.parse_membership(value)  # says what is wrong
            raise

    def version(self, model: str) -> int | None:
        """The model's live version, which `cluster` goes by; None if the model is unknown."""
        live = self._reading.models.get(model)
        return None if live is None else live.version

    @property
    def memberships(self) -> Mapping[str, Membership]:
        """Model name → membership, live versions only, ordered by name."""
        found: dict[str, Membership] = {}
        for name, (model, version, slot, names) in self._reading.models.items():
            value = self._row[slot]
            if value is not None:
                cluster, since_ms = keyspace.parse_membership(value)
                found[name] = Membership(model, version, cluster, names.get(cluster), since_ms)
        return MappingProxyType(found)

    @property
    def visible(self) -> Visible:
        """The campaigns that the member sees, by the clusters that are known and the reader's clock."""
        reading = self._reading
        campaigns, held_out = reading.campaigns.seen_by(self.member_id, self._row, reading.now_ms)
        return Visible(campaigns, held_out, self.status)

    @property
    def status(self) -> Status:
        """See the rules at the top of this file."""
        reading, row = self._reading, self._row
        if not reading.complete:
            return _REBUILDING
        value = row[_POS]
        if value is None:
            is_listed = any(found is not None for found in row[reading.n_scored :])
            return _CURRENT if is_listed else _UNKNOWN
        if keyspace.is_tombstone(value):
            return _UNKNOWN
        if None in row and None in row[: reading.n_scored]:
            return _REBUILDING
        try:
            _, partition, _, _, valid_until_ms = value.split(b":")
            clock_ms = reading.clocks[partition]
            is_valid = clock_ms is not None and (not valid_until_ms or int(valid_until_ms) > clock_ms)
        except ValueError:
            keyspace.parse_position(value)  # says what is wrong
            raise
        return _CURRENT if is_valid else _STALE

    @property
    def _position(self) -> Position | None:
        value = self._row[_POS]
        return None if value is None or keyspace.is_tombstone(value) else keyspace.parse_position(value)

    @property
    def partition(self) -> int | None:
        """The topic partition of the last applied event."""
        position = self._position
        return None if position is None else position.partition

    @property
    def offset(self) -> int | None:
        """The offset of the last applied event."""
        position = self._position
        return None if position is None else position.offset

    @property
    def as_of_ms(self) -> int | None:
        """The time that scoring took for now."""
        position = self._position
        return None if position is None else position.as_of_ms

    @property
    def valid_until_ms(self) -> int | None:
        """Until when the clusters hold without an event; None: for ever."""
        position = self._position
        return None if position is None else position.valid_until_ms

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        position = self._position
        return {
            "member_id": self.member_id,
            "status": str(self.status),
            "memberships": {name: m._asdict() for name, m in self.memberships.items()},
            **(position or _NOWHERE)._asdict(),
        }

    def __repr__(self) -> str:
        clusters = ", ".join(f"{m.model}@{m.version}={m.cluster}" for m in self.memberships.values())
        return f"<Answer {self.member_id!r} {self.status}: {clusters or 'no membership'}>"


class _Nowhere(NamedTuple):
    partition: None = None
    offset: None = None
    as_of_ms: None = None
    valid_until_ms: None = None


_NOWHERE = _Nowhere()
