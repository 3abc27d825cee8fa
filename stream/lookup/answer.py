"""What a look-up answers. Pure: replies of Redis in, values out; the time enters as an argument.

The status is that of the first rule that applies:
1. `rebuilding`: the epoch is absent, or changed between the reads. What is found is right; something may be missing.
   Or Redis has older beacons than this client has seen: it went back in time, and no worker has noticed yet.
2. `unknown member`: there is no row, or it is a tombstone. Two conditions must hold; until then it is `rebuilding`.
   The epoch was there when the member was read: so the reason isn't that Redis was emptied. And a worker has written a
   beacon since the client's connection was made (exchange.py): so the reason isn't that Redis came back with an older
   dump. (A row with a live list but no `pos`: the member has no document and is on that list. Nothing about that can
   grow old, so it is `current`.)
3. `rebuilding`: a computed model's live version isn't in the member's row, because it is still being computed. (A list
   that is missing from the row is no reason: the member isn't on it.)
4. `stale`: the member's partition has no beacon, or its beacon was written more than 30 s ago (its worker is dead or
   cut off). A beacon is at least as old as this client has seen it, even if a clock is wrong. Or `valid_until` has
   passed by the system's own clock, beacon.clock_ms + (now − beacon.written_ms).
5. `current`.

An Answer keeps the row and reads values from it when it is asked. A caller wants one cluster of a hundred members, and
making all values for all of them costs more than the round trip.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ..keyspace import formats as keyspace
from ..keyspace.formats import Beacon, Position, cluster_in
from .campaigns import Campaigns
from .token import make_token
from .values import LiveModel, Membership, Status, Visible

_EVER = float("inf")
_MAX_SHOWN = 60  # characters of an id in a text for a log


class Meta(NamedTuple):
    """The small keys, as read at one moment. `scored`, `listed`: markers of the computed versions and of the lists.

    `known`: up to which step of the models' log they go; -1: nobody says.
    """

    scored: tuple[bytes, ...]
    listed: tuple[bytes, ...]
    models: Mapping[str, LiveModel]
    beacons: Mapping[bytes, Beacon]
    campaigns: Campaigns
    known: int = -1


class Reading(msgspec.Struct, frozen=True, eq=False):
    """What the answers of one round trip share. `complete`: the epoch was there all the time, and was the same.

    `vouched`: a member that isn't there doesn't exist: see rule 2. `seen`: partition → since when the client has seen
    its beacon; `at_s`: now; both by the monotonic clock. `clock_ms`: see `Answer.clock_difference_ms`.
    """

    meta: Meta
    complete: bool
    now_ms: int
    vouched: bool = True
    seen: Mapping[bytes, float] = {}
    at_s: float = 0.0
    clock_ms: int | None = None

    def age_ms(self, partition: bytes, beacon: Beacon) -> int:
        """How old a beacon is at least. If the reader's clock is behind the worker's, it comes from the future."""
        seen_s = self.at_s - self.seen.get(partition, self.at_s)
        return max(0, self.now_ms - beacon.written_ms, int(1_000 * seen_s))

    def by_clock(self, partition: bytes, until_ms: float) -> Status:
        """Rules 4 and 5, for a member whose clusters hold until a time. `partition`: as it stands in `pos`."""
        beacon = self.meta.beacons.get(partition)
        if beacon is None:
            return "stale"
        age_ms = self.age_ms(partition, beacon)
        is_current = age_ms <= keyspace.BEACON_STALE_MS and beacon.clock_ms + age_ms < until_ms
        return "current" if is_current else "stale"


# Status, and on which partition's clock it depends: on none.
_Found = tuple[Status, bytes, float]
_REBUILDING: _Found = ("rebuilding", b"", 0)
_UNKNOWN: _Found = ("unknown member", b"", 0)
_LISTED: _Found = ("current", b"", 0)

# Nobody has described this live version: it is treated as computed, without names.
_UNDESCRIBED = b'{"type":"","clusters":{}}'


def parse_meta(
    live: Mapping[bytes, bytes],
    models: Mapping[bytes, bytes],
    beacons: Mapping[bytes, bytes],
    campaigns: Sequence[bytes] = (),
) -> Meta:
    """Parse the hashes `live`, `models`, `beacons`, `campaigns` (as HGETALL gives it). Raises KeyspaceError."""
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
    """Parse the hash, by partition as it stands in `pos`. Raises KeyspaceError."""
    return {partition: keyspace.parse_beacon(value) for partition, value in beacons.items()}


class Answer(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A member's memberships and how far they can be relied on. Reading a malformed value raises KeyspaceError.

    Two are equal if `as_dict` of both is. A pickled one says for ever what it said when it was pickled. (A struct: a
    hundred are made in a third of the time.)
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

    def course(self, label: str) -> Sequence[tuple[int, int]]:
        """The member's clusters under a version, `<model>@<version>`: (cluster, since when in ms), the latest first.

        It goes back by some changes, and thirty days at most. What was before that isn't known.
        """
        return keyspace.course_in(self._row, label.encode()) if self._row else ()

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
        return found

    @property
    def visible(self) -> Visible:
        """The campaigns that the member sees, by the clusters that are known and the reader's clock."""
        reading, row = self._reading, self._row
        period = reading.meta.campaigns.at(reading.now_ms)
        told = period.told.get(self.member_id)
        if told is not None and told[0] == row and reading.complete:
            _, partition, until_ms, visible = told
            status = reading.by_clock(partition, until_ms)
            return visible if status == visible.status else visible._replace(status=status)
        status, partition, until_ms = self._standing()
        visible = Visible(*period.seen_by(self.member_id, row or b""), status)
        if row and partition:
            period.remember(self.member_id, (row, partition, until_ms, visible))
        return visible

    def token(self, campaign: str) -> str | None:
        """What is told here about a campaign that the member sees or from which it is held out, for its impression.

        None: it is neither, or Redis is being filled. Then send the impression, if there is one, without a token.
        """
        seen, meta = self.visible, self._reading.meta
        found = meta.campaigns.find(campaign) if campaign in seen.campaigns or campaign in seen.held_out else None
        cluster = None if found is None else self.cluster(found.model)
        if found is None or cluster is None or meta.known < 0:
            return None
        position = self._position
        where = "-" if position is None else f"{position.partition}-{position.offset}"
        version, is_held_out = meta.models[found.model].version, campaign in seen.held_out
        return make_token(campaign, self.member_id, version, cluster, is_held_out, meta.known, where)

    @property
    def status(self) -> Status:
        """See the rules at the top of this file."""
        return self._standing()[0]

    @property
    def doubt(self) -> Status | None:
        """Why the clusters aren't those of a member that exists: `rebuilding` or `unknown member`. None: they are.

        The status without its last two rules, for whoever doesn't ask how old the clusters are.
        """
        doubt = self._found()[0]
        return None if doubt == "current" else doubt

    def _standing(self) -> tuple[Status, bytes, float]:
        """The status; if it is `current` or `stale`, also the partition on whose clock it depends, and until when."""
        found = self._found()
        _, partition, until_ms = found
        return (self._reading.by_clock(partition, until_ms), partition, until_ms) if partition else found

    def _found(self) -> tuple[Status, bytes, float]:
        """The status by the first three rules. If it depends on a clock: `current`, whose clock, and until when."""
        reading, row = self._reading, self._row
        if not reading.complete:
            return _REBUILDING
        missing = _UNKNOWN if reading.vouched else _REBUILDING
        if row is None:
            return missing
        pos = row.partition(b"|")[0]
        if not pos:
            return _LISTED if any(marker in row for marker in reading.meta.listed) else missing
        try:
            _, partition, _, _, until = pos.split(b":")
            if until == b"gone":
                return missing
            for marker in reading.meta.scored:
                if row.rfind(marker) < 0:  # `find` takes longer; so does `in`, which tries bytes as a number first
                    return _REBUILDING
            until_ms = int(until) if until else _EVER
        except ValueError:
            keyspace.parse_position(pos)  # says what is wrong
            raise
        return "current", partition, until_ms

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

    @property
    def beacon_age_ms(self) -> int | None:
        """How long ago the member's worker told that it lives, at least. None: no document, or no worker told yet."""
        pos = (self._row or b"").split(b":", 3)
        beacon = self._reading.meta.beacons.get(pos[1]) if self._position is not None else None
        return None if beacon is None else self._reading.age_ms(pos[1], beacon)

    @property
    def clock_difference_ms(self) -> int | None:
        """How far this host's clock was ahead of Redis' (behind: negative), when it was asked last, up to a second ago.

        None: the user in Redis lacks the right to `time`.
        """
        return self._reading.clock_ms

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(self.member_id)

    def as_dict(self) -> dict[str, Any]:
        """Everything but campaigns and clocks, ready for JSON."""
        position = self._position
        return {
            "member_id": self.member_id,
            "status": self.status,
            "memberships": {name: m._asdict() for name, m in self.memberships.items()},
            **(position or _NOWHERE)._asdict(),
        }

    def __repr__(self) -> str:
        clusters = ", ".join(f"{m.model}@{m.version}={m.cluster}" for m in self.memberships.values())
        shown = self.member_id if len(self.member_id) <= _MAX_SHOWN else f"{self.member_id[:_MAX_SHOWN]}…"
        return f"<Answer {shown!r} {self.status}: {clusters or 'no membership'}>"


class _Nowhere(NamedTuple):
    partition: None = None
    offset: None = None
    as_of_ms: None = None
    valid_until_ms: None = None


_NOWHERE = _Nowhere()
