"""What a member did about campaigns: one interaction applied to one member's record, and what it adds to the counts.

Laws:
- Only impressions expose: to the campaign or, those held out, to nothing. The earliest one, by its own time, fixes the
  period, version, cluster, group and day under which the member is counted for the campaign, for good.
- Everything is judged by when it happened, never by when it is handled: the campaign's terms, the live version, and
  the member's cluster. A token says them exactly, for it is what a look-up had told (models/token.py). So the order of
  arrival within the horizon changes no count.
- What a member does counts for each campaign that it had met by then, if the campaign's window for that kind isn't
  over. An interaction with a campaign counts for that one only.
- What can still change is kept whole, for the horizon: an impression of an earlier time may come. What can't is summed
  up. (If the exposure is within the horizon, so is all that counts. If it isn't, no earlier impression is taken.)
- An id counts once within the horizon, by the partition's clock (the latest time of any interaction). An interaction
  older than the horizon is refused. So two with the same id and time never both count.
- What names a campaign and doesn't count for lack of an impression is counted as such, as long as that is so. What is
  refused is counted, too, if the campaign is known. Its id is remembered like any: a corrected one needs a new id.
- Of a member that is deleted, and forgotten, nothing is remembered again, whatever a token says. What is refused is
  counted all the same.
- A forgotten member begins anew. Its record stays, empty, until its batch is valid. Removed at once, a crash before
  that would count the batch's interactions of the member again. (stream/interactions/pipeline.py removes the record.)

models/count_state.py says how records and counts are stored, and what makes them valid after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from memberstream.models.counts import (
    EXPOSED,
    HEALTH,
    LATE,
    NO_CLUSTER,
    NO_VERSION,
    PAUSED,
    SWITCHED,
    UNATTRIBUTED,
    UNIT,
    Cell,
    Changes,
    Tally,
    add,
    minus,
    size_of,
)
from memberstream.models.event import BadEvent
from memberstream.models.interaction import IMPRESSION, Interaction, Refusal
from memberstream.models.model import label
from memberstream.models.old_counts import OldExposure, OldTally
from memberstream.models.position import NOWHERE
from memberstream.models.timeline import Lives, Moment, Timeline
from memberstream.models.timestamps import DAY_MS
from memberstream.models.token import read_token

#: Ids kept of one member. A member with more within the horizon is no person; and all are written with each record.
MAX_IDS = 10_000
#: An impression that was sent so long after it happened is late.
LATE_MS = 3_600_000

#: What stands at a mark in `Engagement.exposures`: it has the form of an exposure, and says nothing more.
_MET = OldExposure(0, NO_VERSION, NO_CLUSTER, False)

#: Label of a version → since when the member was in which cluster, as far as that is known: (cluster, since_ms), the
#: latest first.
Stood = Callable[[str], Sequence[tuple[int, int]]]


class Verdict(StrEnum):
    """What became of a good interaction.

    NOT_EXPOSED: it counts for no campaign, unless an impression of an earlier time comes. FORGOTTEN: the record said to
    forget the member.
    """

    COUNTED = "counted"
    DUPLICATE = "duplicate"
    NOT_EXPOSED = "not_exposed"
    REPLAYED = "replayed"
    FORGOTTEN = "forgotten"


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
            in `met` a mark (`_mark_of`): the version before carries it along, and drops `met`. Then it says the same.
        ids: of interactions within the horizon → their times, ms.
        added: what that batch added to counts by the rules before: campaign, `field_of` the cell, tally.
        met: campaign → how it was met.
        acts: within the horizon.
        owed: what that batch added to the counts, packed: it is hardly ever looked at (models/count_state.py).
    """

    position: int = NOWHERE
    counted_at: int = NOWHERE
    exposures: dict[str, OldExposure] = {}
    ids: dict[str, int] = {}
    added: list[tuple[str, str, OldTally]] = []
    met: dict[str, Met] = {}
    acts: list[Act] = []
    owed: bytes = b""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is recorded: the member was forgotten and has done nothing since."""
        return not self.exposures and not self.ids and not self.met

    def forget(self) -> None:
        """Empty it. What was counted stays counted."""
        self.exposures, self.ids, self.met, self.acts = {}, {}, {}, []


class Rules(NamedTuple):
    """What interactions are judged by.

    Attributes:
        lives: model → which version was live when.
        is_held_out: of campaign id, member id and the campaign's holdout.
    """

    campaigns: Mapping[str, Timeline]
    lives: Mapping[str, Lives]
    is_held_out: Callable[[str, str, int], bool]
    horizon_ms: int


def apply(
    record: Engagement,
    member_id: str,
    stood: Stood | None,
    interaction: Interaction,
    rules: Rules,
    clock_ms: int,
    changes: Changes,
) -> Verdict:
    """Apply one interaction; what it adds to the counts is added to `changes`.

    Args:
        stood: None: there is no such member.
        clock_ms: the partition's clock, this interaction's time included.

    Raises:
        BadEvent: it can't be counted. `changes` says so if the campaign is known; otherwise nothing is changed. Of a
            refused impression the id is kept: sent twice, it is refused once, and where the member stood is known. So
            a corrected one needs another id, or it is a duplicate.
    """
    since_ms, at_ms, name = clock_ms - rules.horizon_ms, interaction.at_ms, interaction.campaign
    if name is not None and name not in rules.campaigns:
        raise BadEvent(Refusal.UNKNOWN_CAMPAIGN, "campaign: expected a known campaign's id, found another id")
    one = _One(record, member_id, stood, interaction, rules, changes)
    if at_ms < since_ms:
        raise one.refused(
            Refusal.TOO_LATE, f"at: expected a time within {rules.horizon_ms} ms of the latest, found older"
        )
    if record.ids.get(interaction.id, since_ms - 1) >= since_ms:
        return Verdict.DUPLICATE
    if len(record.ids) >= MAX_IDS:
        forget_old(record, since_ms)
        if len(record.ids) >= MAX_IDS:
            raise one.refused(
                Refusal.TOO_MANY, f"expected at most {MAX_IDS} interactions of a member within the horizon"
            )
    is_nobody = stood is None and record.is_empty
    if not is_nobody:
        record.ids[interaction.id] = at_ms
    try:
        counts = one.met(is_nobody) if interaction.kind == IMPRESSION else one.done(is_nobody)
    finally:  # also what is refused was done by somebody who stood somewhere
        one.note_switches()
    return Verdict.COUNTED if counts else Verdict.NOT_EXPOSED


def forget_old(record: Engagement, since_ms: int) -> None:
    """Drop the ids of interactions before a time: they would be refused as too late. And what was done before it."""
    if any(at_ms < since_ms for at_ms in record.ids.values()):
        record.ids = {name: at_ms for name, at_ms in record.ids.items() if at_ms >= since_ms}
        record.acts = [act for act in record.acts if act.at_ms >= since_ms]


def cluster_at(course: Sequence[tuple[int, int]], at_ms: int) -> int | None:
    """Return a member's cluster at a time; None: in none, or nobody knows any more. `course`: see Stood."""
    for cluster, since_ms in course:
        if since_ms <= at_ms:
            return cluster
    return None


def cell_of_met(campaign: str, met: Met, kind: str, size: int = 0) -> Cell:
    """Return the cell in which a member that met a campaign is counted for a kind."""
    day = met.at_ms // DAY_MS
    return Cell(campaign, met.period_ms, met.version, met.cluster, met.is_held_out, kind, day, size)


def contribution(campaign: str, met: Met) -> dict[Cell, Tally]:
    """Return what a member that met a campaign is counted as."""
    cells = {cell_of_met(campaign, met, EXPOSED): Tally(1, met.impressions)}
    for kind, n in ((LATE, met.late), (PAUSED, met.paused)):
        if n:
            cells[cell_of_met(campaign, met, kind)] = Tally(events=n)
    if met.has_switched:
        cells[cell_of_met(campaign, met, SWITCHED)] = Tally(members=1)
    for kind, done in met.done.items():
        total = int(done.value_sum)
        cells[cell_of_met(campaign, met, kind, size_of(total))] = Tally(1, done.n, total, total * total)
    return cells


class _One:
    """One interaction on its way into a record and the counts."""

    __slots__ = ("_changes", "_its", "_member_id", "_record", "_rules", "_stood")

    def __init__(
        self,
        record: Engagement,
        member_id: str,
        stood: Stood | None,
        interaction: Interaction,
        rules: Rules,
        changes: Changes,
    ) -> None:
        self._record, self._member_id, self._stood = record, member_id, stood or _nowhere
        self._its, self._rules, self._changes = interaction, rules, changes

    def refused(self, reason: Refusal, text: str) -> BadEvent:
        """Count a refusal, if it has a campaign. Returns the error to raise."""
        if self._its.campaign is not None:
            add(self._changes, self._cell_of_health(HEALTH + reason), Tally(events=1))
        return BadEvent(reason, text)

    def met(self, is_nobody: bool) -> bool:
        """Take an impression. Returns whether it counts. `is_nobody`: it is refused, whatever its token says."""
        its, record = self._its, self._record
        campaign = its.campaign or ""
        version, cluster, moment = self._exposed(campaign)
        if is_nobody:
            raise self.refused(Refusal.UNKNOWN_CLUSTER, "expected a member that exists")
        if self._was_met_before(campaign):
            return False
        is_paused = self._rules.campaigns[campaign].at(its.at_ms).is_paused
        met, is_late = record.met.get(campaign), its.sent_ms - its.at_ms > LATE_MS
        if met is not None and (met.at_ms, met.id) <= (its.at_ms, its.id):
            met.impressions += 1
            add(self._changes, cell_of_met(campaign, met, EXPOSED), Tally(events=1))
            for kind, holds in ((LATE, is_late), (PAUSED, is_paused)):
                if holds:
                    add(self._changes, cell_of_met(campaign, met, kind), Tally(events=1))
            met.late, met.paused = met.late + is_late, met.paused + is_paused
            return True
        if met is not None:
            for cell, tally in contribution(campaign, met).items():
                add(self._changes, cell, minus(tally))
        before = (0, 0, 0) if met is None else (met.impressions, met.late, met.paused)
        n = (before[0] + 1, before[1] + is_late, before[2] + is_paused)
        is_held_out = self._rules.is_held_out(campaign, self._member_id, moment.terms.holdout)
        met = Met(its.at_ms, its.id, moment.period_ms, version, cluster, is_held_out, *n)
        record.met[campaign] = met
        record.exposures[_mark_of(campaign)] = _MET
        self._join(campaign, met)
        for cell, tally in contribution(campaign, met).items():
            add(self._changes, cell, tally)
        return True

    def done(self, is_nobody: bool) -> bool:
        """Take anything but an impression. Returns whether it counts for a campaign.

        `is_nobody`: it isn't remembered.
        """
        its, record, name = self._its, self._record, self._its.campaign
        act = Act(its.at_ms, its.kind, name, "" if its.value is None else str(round(its.value * UNIT)))
        counts = False
        for campaign in record.met if name is None else (name,):
            met = record.met.get(campaign)
            if met is None or its.at_ms < met.at_ms:
                continue
            if self._is_in_window(campaign, met, act):
                counts = True
                self._count(campaign, met, act)
        if name is not None and not self._was_met_before(name):
            met = record.met.get(name)
            if met is None or its.at_ms < met.at_ms:
                act.filed = self._cell_of_health(UNATTRIBUTED)
                add(self._changes, act.filed, Tally(events=1))
        if not is_nobody:
            record.acts.append(act)
        return counts

    def note_switches(self) -> None:
        """Count for which campaigns the member was now active in another cluster."""
        at_ms = self._its.at_ms
        for campaign, met in self._record.met.items():
            if not met.has_switched and met.at_ms <= at_ms and self._was_elsewhere(met, (at_ms,)):
                met.has_switched = True
                add(self._changes, cell_of_met(campaign, met, SWITCHED), Tally(members=1))

    def _was_met_before(self, campaign: str) -> bool:
        """Return whether the member met a campaign by the rules before, or the version before has dropped how."""
        exposures = self._record.exposures
        return campaign in exposures or (_mark_of(campaign) in exposures and campaign not in self._record.met)

    def _was_elsewhere(self, met: Met, times: Iterable[int]) -> bool:
        """Return whether the member was, at one of some times, in another cluster than where it is counted."""
        course = self._stood(met.version)
        if len(course) == 1 and course[0][0] == met.cluster:  # the usual case
            return False
        return any(cluster_at(course, at_ms) not in (None, met.cluster) for at_ms in times if at_ms >= met.at_ms)

    def _exposed(self, campaign: str) -> tuple[str, int, Moment]:
        """Return version, cluster and terms by which an impression counts. Raises BadEvent."""
        its, timeline = self._its, self._rules.campaigns[campaign]
        token = None if its.token is None else read_token(its.token, campaign, self._member_id)
        moment = timeline.at(its.at_ms) if its.token is None else token and timeline.as_known(token.known)
        if moment is None:
            raise self.refused(Refusal.BAD_TOKEN, "token: expected that of this campaign and member, as it was told")
        if not moment.is_running(its.at_ms):
            raise self.refused(Refusal.NOT_RUNNING, "expected a campaign that had begun and wasn't over or deleted")
        terms, lives = moment.terms, self._rules.lives.get(moment.terms.model)
        if token is not None:
            is_held_out = self._rules.is_held_out(campaign, self._member_id, terms.holdout)
            version = label(terms.model, token.version)
            is_known = lives is not None and version in lives.labels
            if not is_known or token.cluster not in terms.clusters or token.is_held_out != is_held_out:
                raise self.refused(Refusal.BAD_TOKEN, "token: expected a version, a cluster and a group that can be")
            return version, token.cluster, moment
        live = None if lives is None else lives.at(its.at_ms)
        cluster = None if live is None else cluster_at(self._stood(live), its.at_ms)
        if live is None or cluster is None:
            raise self.refused(Refusal.UNKNOWN_CLUSTER, "expected a member whose cluster at that time is known")
        if cluster not in terms.clusters:
            raise self.refused(
                Refusal.NOT_TARGETED, "expected a member of the campaign's clusters, found one in another"
            )
        return live, cluster, moment

    def _join(self, campaign: str, met: Met) -> None:
        """Count for a new exposure what the member has done since. All of it is within the horizon."""
        for act in self._record.acts:
            if act.at_ms < met.at_ms or act.campaign not in (None, campaign):
                continue
            if act.filed is not None:
                add(self._changes, act.filed, Tally(events=-1))
                act.filed = None
            if self._is_in_window(campaign, met, act):
                done = met.done.get(act.kind)
                met.done[act.kind] = _more(done, act)
        met.has_switched = self._was_elsewhere(met, self._record.ids.values())

    def _is_in_window(self, campaign: str, met: Met, act: Act) -> bool:
        timeline = self._rules.campaigns.get(campaign)  # none: the models' log was lost
        if timeline is None:
            return False
        return act.at_ms < met.at_ms + timeline.at(met.period_ms).terms.window_of(act.kind)

    def _count(self, campaign: str, met: Met, act: Act) -> None:
        """Count one more act of a member that had met the campaign."""
        before = met.done.get(act.kind)
        after = _more(before, act)
        met.done[act.kind] = after
        total = int(after.value_sum)
        size = size_of(total)
        if before is not None:
            old = int(before.value_sum)
            if size_of(old) == size:
                more = Tally(0, 1, total - old, total * total - old * old)
                add(self._changes, cell_of_met(campaign, met, act.kind, size), more)
                return
            less = Tally(-1, -before.n, -old, -old * old)
            add(self._changes, cell_of_met(campaign, met, act.kind, size_of(old)), less)
        add(self._changes, cell_of_met(campaign, met, act.kind, size), Tally(1, after.n, total, total * total))

    def _cell_of_health(self, kind: str) -> Cell:
        """Return the cell of what doesn't count: by where the member stood then, as far as that is known."""
        its, rules, campaign = self._its, self._rules, self._its.campaign or ""
        moment = rules.campaigns[campaign].at(its.at_ms)
        lives = rules.lives.get(moment.terms.model)
        version = NO_VERSION if lives is None else lives.at(its.at_ms)
        cluster = None if lives is None else cluster_at(self._stood(version), its.at_ms)
        version, cluster = (NO_VERSION, NO_CLUSTER) if cluster is None else (version, cluster)
        is_held_out = rules.is_held_out(campaign, self._member_id, moment.terms.holdout)
        return Cell(campaign, moment.period_ms, version, cluster, is_held_out, kind, its.at_ms // DAY_MS)


def _mark_of(campaign: str) -> str:
    """Return the mark of a campaign that was met. No campaign has such an id, so the version before counts nothing."""
    return "!" + campaign


def _nowhere(label: str) -> Sequence[tuple[int, int]]:
    return ()


def _more(done: Done | None, act: Act) -> Done:
    """Return what was done, with one more."""
    if done is None:
        return Done(1, act.at_ms, act.at_ms, act.value or "0")
    total = str(int(done.value_sum) + int(act.value)) if act.value else done.value_sum
    return Done(done.n + 1, min(done.first_ms, act.at_ms), max(done.last_ms, act.at_ms), total)
