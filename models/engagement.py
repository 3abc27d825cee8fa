"""What a member did about campaigns: one interaction applied to one member's record, and what it adds to the counts.

Laws:
- The first interaction with a campaign exposes the member to it (or, held out, to nothing): it fixes the version, the
  cluster and the group that all its later ones are counted under. Once seen in another cluster it counts as switched.
  One that arrives after it and is of an earlier time moves the time of the exposure back, nothing else.
- An id counts once within the horizon, by the partition's clock (the latest time of any interaction); what is older
  than the horizon is refused. So of two with the same id and time never both count.
- An interaction without a campaign counts for each campaign that the member was exposed to by then.
- Who is forgotten begins anew. The record stays, empty, until its batch is valid: removed at once, a crash before that
  would count what the batch counted of the member again (stream/interactions.py removes it then).
- A batch's records and counts are written one by one, then how far the partition is counted: only with that they hold.
  So that a crash in between counts nothing twice and loses nothing, each says at which position its batch ends. A
  record beyond what is counted carries what is still to be added: the replay does it (`outstanding`). A count beyond
  that isn't valid yet: the one before it, which it carries, is (`counts_at`).

Format: u8 "E" · i64 written_at (all state values have it, see stream/state_store.py) · the attributes of `Engagement`
in their order as a MessagePack array. Of a count: u8 "T" · i64 written_at · i64 position at which its batch ended · the
tally as text · line feed · the tally before that batch as text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from models.campaigns import Campaign
from models.counts import EXPOSED, SWITCHED, Cell, Tally, cell_of, field_of, plus, tally_of, text_of
from models.event import BadEvent
from models.interaction import IMPRESSION, Interaction, Refusal
from models.member import StateError
from models.position import NOWHERE
from models.timestamps import DAY_MS

#: Ids kept of one member: more within the horizon is no person, and each is written again with the record.
MAX_IDS = 10_000
_PREFIX = struct.Struct("<cq")
_CELL_PREFIX = struct.Struct("<cqq")
_RECORD, _TALLY = b"E", b"T"
#: A cell's key: no member id begins so (it is printable), and the cells stand before the members.
CELL_PREFIX = b"\x01"

NOTHING = Tally()
Memberships = Mapping[str, tuple[str, int]]  # model → label of its live version, the member's cluster


class Outcome(StrEnum):
    """What became of a good interaction; FORGOTTEN: of a record that says to forget the member."""

    COUNTED = "counted"
    DUPLICATE = "duplicate"
    NOT_EXPOSED = "not_exposed"
    REPLAYED = "replayed"
    FORGOTTEN = "forgotten"


class Exposure(msgspec.Struct, array_like=True, gc=False):
    """How a member met a campaign. `version`: label; `kinds`: seen since."""

    at_ms: int
    version: str
    cluster: int
    is_held_out: bool
    kinds: list[str] = []
    has_switched: bool = False


class Engagement(msgspec.Struct, array_like=True, gc=False):
    """A member's record; owned by the batch that is applied to it and changed in place.

    Attributes:
        position: of the last applied record.
        counted_at: position at which the batch ended that wrote this.
        exposures: campaign → how it was met.
        ids: of interactions within the horizon → their times, ms.
        added: what that batch added to the counts: campaign, `field_of` the cell, tally.
    """

    position: int = NOWHERE
    counted_at: int = NOWHERE
    exposures: dict[str, Exposure] = {}
    ids: dict[str, int] = {}
    added: list[tuple[str, str, Tally]] = []

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing of the member: it was forgotten, and has met no campaign since."""
        return not self.exposures and not self.ids

    def forget(self) -> None:
        """Empty it. What was counted stays counted."""
        self.exposures, self.ids = {}, {}


class Rules(NamedTuple):
    """What interactions are judged by. `is_held_out`: of campaign id, member id and the campaign's holdout."""

    campaigns: Mapping[str, Campaign]
    is_held_out: Callable[[str, str, int], bool]
    horizon_ms: int


Changes = dict[Cell, Tally]


def apply(
    record: Engagement,
    member_id: str,
    memberships: Memberships,
    interaction: Interaction,
    rules: Rules,
    clock_ms: int,
    changes: Changes,
) -> Outcome:
    """Apply one interaction; what it adds to the counts is added to `changes`.

    Args:
        memberships: the member's, under live versions, at this moment.
        clock_ms: the partition's clock, this interaction's time included.

    Raises:
        BadEvent: it can't be counted; nothing is changed.
    """
    since_ms = clock_ms - rules.horizon_ms
    if interaction.at_ms < since_ms:
        raise BadEvent(Refusal.TOO_LATE, f"at: expected a time within {rules.horizon_ms} ms of the latest, found older")
    if record.ids.get(interaction.id, since_ms - 1) >= since_ms:
        return Outcome.DUPLICATE
    met = _met(record, member_id, memberships, interaction, rules)
    if not met:
        return Outcome.NOT_EXPOSED
    if len(record.ids) >= MAX_IDS:
        forget_old(record, since_ms)
        if len(record.ids) >= MAX_IDS:
            raise BadEvent(Refusal.TOO_MANY, f"expected at most {MAX_IDS} interactions of a member within the horizon")
    record.ids[interaction.id] = interaction.at_ms
    for campaign, exposure in met.items():
        if campaign not in record.exposures:
            record.exposures[campaign] = exposure
            _add(changes, campaign, exposure, EXPOSED, interaction, Tally(members=1))
        exposure.at_ms = min(exposure.at_ms, interaction.at_ms)
        _count(changes, campaign, exposure, interaction)
    for campaign, exposure in record.exposures.items():
        if exposure.has_switched or campaign not in rules.campaigns:
            continue
        now = memberships.get(exposure.version.rpartition("@")[0])
        if now is not None and now[1] != exposure.cluster:
            exposure.has_switched = True
            _add(changes, campaign, exposure, SWITCHED, interaction, Tally(members=1))
    return Outcome.COUNTED


def forget_old(record: Engagement, since_ms: int) -> None:
    """Drop the ids of interactions before a time: they would be refused as too late."""
    if any(at_ms < since_ms for at_ms in record.ids.values()):
        record.ids = {name: at_ms for name, at_ms in record.ids.items() if at_ms >= since_ms}


def outstanding(record: Engagement, counted_to: int) -> Changes:
    """Return what a record has added that the counts, written up to a position, lack; otherwise forget it."""
    if record.counted_at <= counted_to:
        record.added = []
    return {cell_of(campaign, field): tally for campaign, field, tally in record.added}


def _met(
    record: Engagement, member_id: str, memberships: Memberships, interaction: Interaction, rules: Rules
) -> dict[str, Exposure]:
    """Return the campaigns that an interaction counts for. Raises BadEvent."""
    name = interaction.campaign
    if name is None:
        return {
            campaign: exposure
            for campaign, exposure in record.exposures.items()
            if campaign in rules.campaigns and exposure.at_ms <= interaction.at_ms
        }
    campaign = rules.campaigns.get(name)
    if campaign is None:
        raise BadEvent(Refusal.UNKNOWN_CAMPAIGN, "campaign: expected one that exists, found another id")
    if name in record.exposures:
        return {name: record.exposures[name]}
    version, cluster = memberships.get(campaign.terms.model, ("", None))
    if cluster not in campaign.terms.clusters:
        where = "in none" if cluster is None else "in another"
        raise BadEvent(Refusal.NOT_TARGETED, f"expected a member of the campaign's clusters, found one {where}")
    is_held_out = rules.is_held_out(name, member_id, campaign.terms.holdout)
    return {name: Exposure(interaction.at_ms, version, cluster, is_held_out)}


def _count(changes: Changes, campaign: str, exposure: Exposure, interaction: Interaction) -> None:
    kind, value = interaction.kind, interaction.value
    n_values, number = (0, 0.0) if value is None else (1, value)
    if kind == IMPRESSION:
        kind, is_first = EXPOSED, False
    elif is_first := kind not in exposure.kinds:
        exposure.kinds = [*exposure.kinds, kind]
    _add(changes, campaign, exposure, kind, interaction, Tally(int(is_first), 1, number, number * number, n_values))


def _add(
    changes: Changes, campaign: str, exposure: Exposure, kind: str, interaction: Interaction, tally: Tally
) -> None:
    day = interaction.at_ms // DAY_MS
    cell = Cell(campaign, exposure.version, exposure.cluster, exposure.is_held_out, kind, day)
    merge(changes, cell, tally)


def merge(changes: Changes, cell: Cell, tally: Tally) -> None:
    """Add a tally to a cell."""
    before = changes.get(cell)
    changes[cell] = tally if before is None else plus(before, tally)


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Engagement).decode


def encode(record: Engagement, written_at: int) -> bytes:
    """Return a record's bytes."""
    return _PREFIX.pack(_RECORD, written_at) + _pack(record)


def decode(data: bytes) -> Engagement:
    """Return the record of `encode`'s bytes.

    Raises:
        StateError: other or damaged bytes.
    """
    try:
        if data[:1] != _RECORD:
            raise StateError(f"a member's interactions: expected a record of kind {_RECORD!r}, found {data[:1]!r}")
        return _unpack(data[_PREFIX.size :])
    except msgspec.MsgspecError as error:
        raise StateError(f"a member's interactions: damaged bytes ({error})") from None


class Count(NamedTuple):
    """A count in the state: the tally, at which position the batch ended that made it, the tally before that batch."""

    tally: Tally
    counted_at: int
    before: Tally


def counts_at(counts: Mapping[Cell, Count], counted_to: int) -> tuple[dict[Cell, Tally], dict[Cell, Tally | None]]:
    """Return the counts that hold when a partition is counted up to a position; and those of them to be put right.

    None: that cell is to be removed. Until they are written, nothing more may be counted: once the partition has come
    by the end of the batch that was cut short, what it left behind would be taken for valid.
    """
    valid: dict[Cell, Tally] = {}
    wrong: dict[Cell, Tally | None] = {}
    for cell, (tally, counted_at, before) in counts.items():
        if counted_at <= counted_to:
            valid[cell] = tally
        elif before == NOTHING:
            wrong[cell] = None
        else:
            wrong[cell] = valid[cell] = before
    return valid, wrong


def cell_key(cell: Cell) -> bytes:
    """Return the key of a count in the state."""
    return CELL_PREFIX + f"{cell.campaign} {field_of(cell)}".encode()


def encode_count(count: Count, written_at: int) -> bytes:
    """Return the bytes of a count."""
    texts = f"{text_of(count.tally)}\n{text_of(count.before)}"
    return _CELL_PREFIX.pack(_TALLY, written_at, count.counted_at) + texts.encode()


def decode_count(key: bytes, value: bytes) -> tuple[Cell, Count]:
    """Return the count of a cell's key and value. Raises StateError."""
    try:
        campaign, _, field = key[len(CELL_PREFIX) :].decode().partition(" ")
        kind, _, counted_at = _CELL_PREFIX.unpack_from(value)
        if kind != _TALLY:
            raise ValueError(f"found kind {kind!r}")
        tally, before = value[_CELL_PREFIX.size :].decode().split("\n")
        return cell_of(campaign, field), Count(tally_of(tally), counted_at, tally_of(before))
    except (ValueError, struct.error) as error:
        raise StateError(f"a count in the state: damaged bytes ({error})") from None
