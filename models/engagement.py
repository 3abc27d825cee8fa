"""A member's record: how it met campaigns, what it did since, and ids and acts of the horizon.

Laws:
- What can still change is kept whole, for the horizon: an impression of an earlier time may come. What can't is summed
  up. (If the exposure is within the horizon, so is all that counts. If it isn't, no earlier impression is taken.)
- An id counts once within the horizon. What is older is dropped, with the acts, when the record is written again.
- What is rarely looked at stays packed: exposures, ids and acts (models/packed.py).

models/counting.py says what changes a record, models/count_state.py how it is stored.
"""

from __future__ import annotations

import msgspec

from memberstream.models.counts import NO_CLUSTER, NO_VERSION, Cell
from memberstream.models.old_counts import OldExposure, OldTally
from memberstream.models.packed import NO_LIST, NO_MAP, length, pack, plus
from memberstream.models.position import NOWHERE


class Done(msgspec.Struct, array_like=True, gc=False):
    """What a member did of one kind within the window. `value_sum`: in millionths, as text, for it has no bound."""

    n: int
    first_ms: int
    last_ms: int
    value_sum: str


class Met(msgspec.Struct, array_like=True, gc=False):
    """How a member met a campaign: its earliest impression, and what counts since.

    Attributes:
        at_ms, id: of that impression.
        period_ms: when the period of the campaign's terms began.
        impressions, late, paused: how many; so many late; so many while the campaign was paused.
        done: kind → what counts of it.
    """

    at_ms: int
    id: str
    period_ms: int
    version: str
    cluster: int
    is_held_out: bool
    impressions: int = 0
    late: int = 0
    paused: int = 0
    has_switched: bool = False
    done: dict[str, Done] = {}


class Act(msgspec.Struct, array_like=True, gc=False):
    """What a member did within the horizon, impressions left out.

    Attributes:
        value: in millionths, as text; "": none.
        filed: the cell where it is counted as unattributed.
    """

    at_ms: int
    kind: str
    campaign: str | None
    value: str
    filed: Cell | None = None


class Engagement(msgspec.Struct, array_like=True, gc=False):
    """A member's record; owned by the batch that is applied to it and changed in place.

    Attributes:
        position: of the last applied record.
        counted_at: position at which the batch ended that wrote this.
        exposures: campaigns that the member had met by the rules before; they don't count for it any more. And for each
            in `met` a mark (`mark_of`): the version before carries it along, and drops `met`. Then it says the same.
            A packed map of OldExposure.
        ids: of interactions within the horizon → their times, ms. Packed.
        added: what that batch added to counts by the rules before: campaign, `field_of` the cell, tally.
        met: campaign → how it was met.
        acts: within the horizon. A packed list of Act.
        owed: what that batch added to the counts, packed: it is hardly ever looked at (models/count_state.py).
        oldest_ms: no id has an earlier time. 0: nobody has noted it.
    """

    position: int = NOWHERE
    counted_at: int = NOWHERE
    exposures: msgspec.Raw = NO_MAP
    ids: msgspec.Raw = NO_MAP
    added: list[tuple[str, str, OldTally]] = []
    met: dict[str, Met] = {}
    acts: msgspec.Raw = NO_LIST
    owed: bytes = b""
    oldest_ms: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is recorded: the member was forgotten and has done nothing since."""
        return not self.met and self.ids == NO_MAP == self.exposures

    def forget(self) -> None:
        """Empty it. What was counted stays counted."""
        self.exposures, self.ids, self.met, self.acts, self.oldest_ms = NO_MAP, NO_MAP, {}, NO_LIST, 0

    def forget_old(self, since_ms: int) -> None:
        """Drop the ids of interactions before a time: they would be refused as too late. And what was done before."""
        if self.oldest_ms >= since_ms or self.ids == NO_MAP:
            return
        ids = self.read_ids()
        left = {name: at_ms for name, at_ms in ids.items() if at_ms >= since_ms}
        self.oldest_ms = min(left.values(), default=0)
        if len(left) < len(ids):
            self.ids = msgspec.Raw(pack(left))
            self.keep_acts([act for act in self.read_acts() if act.at_ms >= since_ms])

    def has_id(self, name: str, since_ms: int) -> bool:
        """Return whether an id is of an interaction from a time on."""
        return self.read_ids().get(name, since_ms - 1) >= since_ms

    def has_room(self, n: int) -> bool:
        """Return whether there are less than n ids."""
        return len(self.ids) < n or length(self.ids) < n  # each takes some bytes

    def note_id(self, name: str, at_ms: int, since_ms: int) -> bool:
        """Add the id of an interaction; one of an earlier time than `since_ms` is dropped for it.

        Returns False if it is there: nothing is added.
        """
        packed = pack(name)
        # If its bytes aren't there, it isn't. They are looked for from the end: that takes half the time.
        if bytes(self.ids).rfind(packed) >= 0 and name in (ids := self.read_ids()):
            if ids[name] >= since_ms:
                return False
            self.forget_old(since_ms)
        if at_ms < self.oldest_ms or len(self.ids) == 1:  # the first one
            self.oldest_ms = at_ms
        self.ids = plus(self.ids, packed + pack(at_ms))
        return True

    def note_act(self, act: Act) -> None:
        """Add something that was done."""
        self.acts = plus(self.acts, pack(act))

    def keep_acts(self, acts: list[Act]) -> None:
        """Put other acts in the place of those that are there."""
        self.acts = msgspec.Raw(pack(acts))

    def meets(self, campaign: str, met: Met) -> None:
        """Note how the member met a campaign; again, if it was earlier than known."""
        if campaign not in self.met:
            self.exposures = plus(self.exposures, pack(mark_of(campaign)) + _MET)
        self.met[campaign] = met

    def was_met_before(self, campaign: str) -> bool:
        """Return whether the member met a campaign by the rules before, or the version before has dropped how."""
        if campaign in self.met or self.exposures == NO_MAP:
            return False
        exposures = self.read_exposures()
        return campaign in exposures or mark_of(campaign) in exposures

    def read_exposures(self) -> dict[str, OldExposure]:
        """Read `exposures`."""
        return _read_exposures(self.exposures)

    def read_ids(self) -> dict[str, int]:
        """Read `ids`."""
        return _read_ids(self.ids)

    def read_acts(self) -> list[Act]:
        """Read `acts`."""
        return [] if self.acts == NO_LIST else _read_acts(self.acts)


def mark_of(campaign: str) -> str:
    """Return the mark of a campaign that was met. No campaign has such an id, so the version before counts nothing."""
    return "!" + campaign


#: What stands at a mark in `Engagement.exposures`: it has the form of an exposure, and says nothing more.
_MET = pack(OldExposure(0, NO_VERSION, NO_CLUSTER, False))
_read_exposures = msgspec.msgpack.Decoder(dict[str, OldExposure]).decode
_read_ids = msgspec.msgpack.Decoder(dict[str, int]).decode
_read_acts = msgspec.msgpack.Decoder(list[Act]).decode
