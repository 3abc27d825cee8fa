"""What a member did about campaigns: one interaction applied to one member's record, and what it adds to the counts.

Laws:
- Only impressions expose: to the campaign or, those held out, to nothing. The earliest one, by its own time, fixes the
  period, version, cluster, group and day under which the member is counted for the campaign, for good.
- Everything is judged by when it happened (models/rules.py). So the order of arrival within the horizon changes no
  count.
- What a member does counts for each campaign that it had met by then, if the campaign's window for that kind isn't
  over. An interaction with a campaign counts for that one only.
- An id counts once within the horizon, by the partition's clock (the latest time of any interaction). An interaction
  older than the horizon is refused. So two with the same id and time never both count.
- What names a campaign and doesn't count for lack of an impression is counted as such, as long as that is so. What is
  refused is counted, too, if the campaign is known. Its id is remembered like any: a corrected one needs a new id.
- Of a member that is deleted, and forgotten, nothing is remembered again, whatever a token says. What is refused is
  counted all the same.
- A forgotten member begins anew. Its record stays, empty, until its batch is valid. Removed at once, a crash before
  that would count the batch's interactions of the member again. (stream/interactions/pipeline.py removes the record.)

models/engagement.py is the record, models/contribution.py what it is counted as. models/count_state.py says how records
and counts are stored, and what makes them valid after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from memberstream.models.contribution import cell_of, contribution, more, take_act, take_impression
from memberstream.models.counts import HEALTH, ONE_EVENT, SWITCHED, UNATTRIBUTED, UNIT, Cell, Changes, Tally, add, minus
from memberstream.models.engagement import Act, Engagement, Met
from memberstream.models.event import BadEvent
from memberstream.models.interaction import IMPRESSION, Interaction, Refusal
from memberstream.models.rules import Rules, Stood, was_elsewhere

#: Ids kept of one member. A member with more within the horizon is no person; and all are written with each record.
MAX_IDS = 10_000
#: An impression that was sent so long after it happened is late.
LATE_MS = 3_600_000


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


#: Those of nearly all interactions: to find a member of an enum takes a tenth of a microsecond in Python 3.11.
COUNTED, DUPLICATE, NOT_EXPOSED = Verdict.COUNTED, Verdict.DUPLICATE, Verdict.NOT_EXPOSED


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
    one = _One(record, member_id, stood or _nowhere, interaction, rules, changes)
    try:
        if at_ms < since_ms:
            raise BadEvent(
                Refusal.TOO_LATE, f"at: expected a time within {rules.horizon_ms} ms of the latest, found older"
            )
        if not record.has_room(MAX_IDS) and not record.has_id(interaction.id, since_ms):
            record.forget_old(since_ms)
            if not record.has_room(MAX_IDS):
                raise BadEvent(
                    Refusal.TOO_MANY, f"expected at most {MAX_IDS} interactions of a member within the horizon"
                )
        is_nobody = stood is None and record.is_empty
        if not is_nobody and not record.note_id(interaction.id, at_ms, since_ms):
            return DUPLICATE
        try:
            counts = one.met(is_nobody) if interaction.kind == IMPRESSION else one.done(is_nobody)
        finally:  # also what is refused was done by somebody who stood somewhere
            one.note_switches()
    except BadEvent as error:
        if name is not None:
            add(changes, one.cell_of_health(HEALTH + error.reason), ONE_EVENT)
        raise
    return COUNTED if counts else NOT_EXPOSED


class _One(msgspec.Struct, gc=False):
    """One interaction on its way into a record and the counts."""

    record: Engagement
    member_id: str
    stood: Stood
    its: Interaction
    rules: Rules
    changes: Changes

    def cell_of_health(self, kind: str) -> Cell:
        """Return the cell of what doesn't count."""
        return self.rules.cell_of_health(self.its, self.member_id, self.stood, kind)

    def met(self, is_nobody: bool) -> bool:
        """Take an impression. Returns whether it counts. `is_nobody`: it is refused, whatever its token says."""
        its, record, changes = self.its, self.record, self.changes
        campaign = its.campaign or ""
        version, cluster, moment = self.rules.exposed(its, self.member_id, self.stood)
        if is_nobody:
            raise BadEvent(Refusal.UNKNOWN_CLUSTER, "expected a member that exists")
        if record.was_met_before(campaign):
            return False
        is_late = its.sent_ms - its.at_ms > LATE_MS
        then = moment if its.token is None else self.rules.campaigns[campaign].at(its.at_ms)
        old = record.met.get(campaign)
        n, late, paused = 0, 0, 0
        if old is not None:
            if (old.at_ms, old.id) <= (its.at_ms, its.id):
                take_impression(campaign, old, is_late, then.is_paused, changes)
                return True
            n, late, paused = old.impressions, old.late, old.paused
            for cell, tally in contribution(campaign, old).items():
                add(changes, cell, minus(tally))
        is_held_out = self.rules.is_held_out(campaign, self.member_id, moment.terms.holdout)
        told = (its.at_ms, its.id, moment.period_ms, version, cluster, is_held_out)
        met = Met(*told, n + 1, late + is_late, paused + then.is_paused)
        record.meets(campaign, met)
        self._join(campaign, met)
        for cell, tally in contribution(campaign, met).items():
            add(changes, cell, tally)
        return True

    def done(self, is_nobody: bool) -> bool:
        """Take anything but an impression. Returns whether it counts for a campaign.

        `is_nobody`: it isn't remembered.
        """
        its, record, name = self.its, self.record, self.its.campaign
        act = Act(its.at_ms, its.kind, name, "" if its.value is None else str(round(its.value * UNIT)))
        counts = False
        for campaign in record.met if name is None else (name,):
            met = record.met.get(campaign)
            if met is not None and self._is_in_window(campaign, met, act):
                counts = True
                take_act(campaign, met, act, self.changes)
        if name is not None and not counts and not record.was_met_before(name):
            met = record.met.get(name)
            if met is None or its.at_ms < met.at_ms:
                act.filed = self.cell_of_health(UNATTRIBUTED)
                add(self.changes, act.filed, ONE_EVENT)
        if not is_nobody:
            record.note_act(act)
        return counts

    def note_switches(self) -> None:
        """Count for which campaigns the member was now active in another cluster."""
        at_ms, stood = self.its.at_ms, self.stood
        for campaign, met in self.record.met.items():
            course = stood(met.version)
            if len(course) == 1 and course[0][0] == met.cluster:  # the usual case
                continue
            if not met.has_switched and met.at_ms <= at_ms and was_elsewhere(course, met.cluster, at_ms):
                met.has_switched = True
                add(self.changes, cell_of(campaign, met, SWITCHED), Tally(members=1))

    def _join(self, campaign: str, met: Met) -> None:
        """Count for a new exposure what the member has done since. All of it is within the horizon."""
        record, is_refiled = self.record, False
        acts = record.read_acts()
        for act in acts:
            if act.at_ms < met.at_ms or act.campaign not in (None, campaign):
                continue
            if act.filed is not None:
                add(self.changes, act.filed, minus(ONE_EVENT))
                act.filed, is_refiled = None, True
            if self._is_in_window(campaign, met, act):
                more(met.done, act)
        if is_refiled:
            record.keep_acts(acts)
        course = self.stood(met.version)
        if any(cluster != met.cluster for cluster, _ in course):
            times = record.read_ids().values()
            met.has_switched = any(was_elsewhere(course, met.cluster, at_ms) for at_ms in times if at_ms >= met.at_ms)

    def _is_in_window(self, campaign: str, met: Met, act: Act) -> bool:
        return met.at_ms <= act.at_ms < self.rules.ends_ms(campaign, met.at_ms, met.period_ms, act.kind)


def _nowhere(label: str) -> Sequence[tuple[int, int]]:
    return ()
