"""What a look-up answers. Pure: replies of Redis in, values out; the time enters as an argument.

The status, first rule that applies:
1. `rebuilding`: the epoch is absent, or changed between the reads. What is found is right; something may be missing.
2. `unknown member`: no row, or a tombstone. Said only when the epoch was there when the member was read, so never
   because Redis had been emptied. (No `pos`, but a live list: the member has no document and is on that list. Nothing
   about it can grow old: `current`.)
3. `rebuilding`, too: a computed model's live version isn't in the member's row; it is still being computed. (Who isn't
   on a list has none of it.)
4. `stale`: the member's partition has no beacon, or one written more than 30 s ago (its worker is dead or cut off);
   or `valid_until` has passed by the system's own clock = beacon.clock_ms + (now − beacon.written_ms).
5. `current`.

An Answer keeps the row and reads them when asked: a caller wants one cluster of a hundred members, and
making all values for all of them costs more than the round trip.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from stream import keyspace
from stream.keyspace import Beacon, Position, cluster_in
from stream.lookup.campaigns import Campaigns
from stream.lookup.values import LiveModel, Membership, Status, Visible

# Python 3.11 takes a tenth of a microsecond to find a member of an enum.
_CURRENT, _STALE, _REBUILDING, _UNKNOWN = Status
_EVER = float("inf")


class Meta(NamedTuple):
    """The small keys, as read at one moment. `scored`, `listed`: markers of the computed versions and of the lists."""

    scored: tuple[bytes, ...]
    listed: tuple[bytes, ...]
    models: Mapping[str, LiveModel]
    beacons: Mapping[bytes, Beacon]
    campaigns: Campaigns


class Reading(msgspec.Struct, frozen=True, eq=False):
    """What the answers of one round trip share. `complete`: the epoch was there, the same one, all the time."""

    meta: Meta
    complete: bool
    now_ms: int

    def by_clock(self, partition: bytes, until_ms: float) -> Status:
        """Rules 4 and 5: of a member of a partition (as `pos` has it) whose clusters hold until a time."""
        beacon = self.meta.beacons.get(partition)
        if beacon is None:
            return _STALE
        # A reader's clock that is behind the worker's makes the beacon look as if from the future: age 0.
        age_ms = max(0, self.now_ms - beacon.written_ms)
        is_current = age_ms <= keyspace.BEACON_STALE_MS and beacon.clock_ms + age_ms < until_ms
        return _CURRENT if is_current else _STALE


# A live version that nobody has described: as if computed, without names.
_UNDESCRIBED = b'{"type":"","clusters":{}}'


def parse_meta(
    live: Mapping[bytes, bytes],
    models: Mapping[bytes, bytes],
    beacons: Mapping[bytes, bytes],
    campaigns: Sequence[bytes] = (),
) -> Meta:
    """From the hashes `live`, `models`, `beacons`, `campaigns` (as HGETALL gives it). Raises KeyspaceError."""
    scored: list[bytes] = []
    listed: list[bytes] = []
    parsed: dict[str, LiveModel] = {}
    for raw_name in sorted(live):
        field = raw_name + b"@" + live[raw_name]
        kind, names = keyspace.parse_model(models.get(field, _UNDESCRIBED))
        name, version = keyspace.split_field(field)
        parsed[name] = LiveModel(name, version, keyspace.marker(field), names)
        (listed if kind == keyspace.LIST else scored).append(parsed[name].marker)
    markers = {name: model.marker for name, model in parsed.items()}
    return Meta(tuple(scored), tuple(listed), parsed, parse_beacons(beacons), Campaigns(campaigns, markers))


def parse_beacons(beacons: Mapping[bytes, bytes]) -> Mapping[bytes, Beacon]:
    """From the hash; by partition, as `pos` has it. Raises KeyspaceError."""
    return {partition: keyspace.parse_beacon(value) for partition, value in beacons.items()}


class Answer(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A member's memberships and how far they can be relied on. Reading a malformed value raises KeyspaceError.

    (A struct: a hundred are made in a third of the time.)
    """

    member_id: str
    _row: bytes | None
    _reading: Reading

    def cluster(self, model: str) -> int | None:
        """The member's cluster under the model's live version; None if the member or the model is unknown."""
        live, row = self._reading.meta.models.get(model), self._row
        if live is None or row is None:
            return None
        try:
            cluster = cluster_in(row, live.marker)
            return int(cluster) if cluster else None
        except ValueError:
            keyspace.parse_membership(keyspace.parse_row(row)[live.marker[1:-1]])  # says what is wrong
            raise

    def version(self, model: str) -> int | None:
        """The model's live version, which `cluster` goes by; None if the model is unknown."""
        live = self._reading.meta.models.get(model)
        return None if live is None else live.version

    @property
    def memberships(self) -> Mapping[str, Membership]:
        """Model name → membership, live versions only, ordered by name."""
        found: dict[str, Membership] = {}
        held = keyspace.parse_row(self._row)
        for name, (model, version, marker, names) in self._reading.meta.models.items():
            value = held.get(marker[1:-1])
            if value is not None:
                cluster, since_ms = keyspace.parse_membership(value)
                found[name] = Membership(model, version, cluster, names.get(cluster), since_ms)
        return MappingProxyType(found)

    @property
    def visible(self) -> Visible:
        """The campaigns that the member sees, by the clusters that are known and the reader's clock."""
        reading, row = self._reading, self._row
        period = reading.meta.campaigns.at(reading.now_ms)
        told = period.told.get(self.member_id)
        if told is not None and told[0] == row and reading.complete:
            _, partition, until_ms, visible = told
            status = reading.by_clock(partition, until_ms)
            return visible if status is visible.status else visible._replace(status=status)
        status, partition, until_ms = self._standing()
        visible = Visible(*period.seen_by(self.member_id, row or b""), status)
        if row and partition:
            period.remember(self.member_id, (row, partition, until_ms, visible))
        return visible

    @property
    def status(self) -> Status:
        """See the rules at the top of this file."""
        return self._standing()[0]

    def _standing(self) -> tuple[Status, bytes, float]:
        """The status, and on what it hangs if it is `current` or `stale`: which partition's clock, and until when."""
        reading, row = self._reading, self._row
        if not reading.complete:
            return _REBUILDING, b"", 0
        if row is None:
            return _UNKNOWN, b"", 0
        pos = row.partition(b"|")[0]
        if not pos:
            return (_CURRENT if any(marker in row for marker in reading.meta.listed) else _UNKNOWN), b"", 0
        try:
            _, partition, _, _, until = pos.split(b":")
            if until == b"gone":
                return _UNKNOWN, b"", 0
            for marker in reading.meta.scored:
                if row.find(marker) < 0:  # `in` takes twice as long: it tries bytes as a number first
                    return _REBUILDING, b"", 0
            until_ms = int(until) if until else _EVER
        except ValueError:
            keyspace.parse_position(pos)  # says what is wrong
            raise
        return reading.by_clock(partition, until_ms), partition, until_ms

    @property
    def _position(self) -> Position | None:
        pos = (self._row or b"").partition(b"|")[0]
        return keyspace.parse_position(pos) if pos and not keyspace.is_tombstone(pos) else None

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
