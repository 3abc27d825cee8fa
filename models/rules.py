"""What an interaction is judged by: the campaign's terms, the live version and the member's cluster at its time.

Laws:
- Everything is judged by when it happened, never by when it is handled. A token says it exactly, for it is what a
  look-up had told (models/token.py).
- A token that can't have been told refuses the impression. It never falls back to what is known otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from memberstream.models.counts import NO_CLUSTER, NO_VERSION, Cell
from memberstream.models.event import BadEvent
from memberstream.models.interaction import Interaction, Refusal
from memberstream.models.model import label
from memberstream.models.timeline import Lives, Moment, Timeline
from memberstream.models.timestamps import DAY_MS
from memberstream.models.token import Token, read_token

#: Label of a version → since when the member was in which cluster, as far as that is known: (cluster, since_ms), the
#: latest first.
Stood = Callable[[str], Sequence[tuple[int, int]]]


class Rules(msgspec.Struct, frozen=True):
    """What interactions are judged by.

    Attributes:
        lives: model → which version was live when.
        is_held_out: of campaign id, member id and the campaign's holdout.
    """

    campaigns: Mapping[str, Timeline]
    lives: Mapping[str, Lives]
    is_held_out: Callable[[str, str, int], bool]
    horizon_ms: int

    def exposed(self, its: Interaction, member_id: str, stood: Stood) -> tuple[str, int, Moment]:
        """Return version, cluster and terms by which an impression of a known campaign counts.

        Raises:
            BadEvent: it doesn't.
        """
        campaign = its.campaign or ""
        timeline = self.campaigns[campaign]
        token = None if its.token is None else read_token(its.token, campaign, member_id)
        moment = timeline.at(its.at_ms) if its.token is None else token and timeline.as_known(token.known)
        if moment is None:
            raise BadEvent(Refusal.BAD_TOKEN, "token: expected that of this campaign and member, as it was told")
        if not moment.is_running(its.at_ms):
            raise BadEvent(Refusal.NOT_RUNNING, "expected a campaign that had begun and wasn't over or deleted")
        if token is not None:
            if not self._can_be(token, campaign, member_id, moment):
                raise BadEvent(Refusal.BAD_TOKEN, "token: expected a version, a cluster and a group that can be")
            return label(moment.terms.model, token.version), token.cluster, moment
        lives = self.lives.get(moment.terms.model)
        live = None if lives is None else lives.at(its.at_ms)
        cluster = None if live is None else cluster_at(stood(live), its.at_ms)
        if live is None or cluster is None:
            raise BadEvent(Refusal.UNKNOWN_CLUSTER, "expected a member whose cluster at that time is known")
        if cluster not in moment.terms.clusters:
            raise BadEvent(Refusal.NOT_TARGETED, "expected a member of the campaign's clusters, found one in another")
        return live, cluster, moment

    def _can_be(self, token: Token, campaign: str, member_id: str, moment: Moment) -> bool:
        terms, lives = moment.terms, self.lives.get(moment.terms.model)
        is_known = lives is not None and label(terms.model, token.version) in lives.labels
        is_held_out = self.is_held_out(campaign, member_id, terms.holdout)
        return is_known and token.cluster in terms.clusters and token.is_held_out == is_held_out

    def cell_of_health(self, its: Interaction, member_id: str, stood: Stood, kind: str) -> Cell:
        """Return the cell of what doesn't count: by where the member stood then, as far as that is known."""
        campaign = its.campaign or ""
        moment = self.campaigns[campaign].at(its.at_ms)
        lives = self.lives.get(moment.terms.model)
        version = NO_VERSION if lives is None else lives.at(its.at_ms)
        cluster = None if lives is None else cluster_at(stood(version), its.at_ms)
        version, cluster = (NO_VERSION, NO_CLUSTER) if cluster is None else (version, cluster)
        is_held_out = self.is_held_out(campaign, member_id, moment.terms.holdout)
        return Cell(campaign, moment.period_ms, version, cluster, is_held_out, kind, its.at_ms // DAY_MS)

    def ends_ms(self, campaign: str, met_ms: int, period_ms: int, kind: str) -> int:
        """Return when the window of a member's exposure ends; 0 for a campaign of which the models' log says nothing
        any more."""
        timeline = self.campaigns.get(campaign)
        if timeline is None:
            return 0
        terms = timeline.at(period_ms).terms
        return met_ms + terms.windows.get(kind, terms.window_ms)


def cluster_at(course: Sequence[tuple[int, int]], at_ms: int) -> int | None:
    """Return a member's cluster at a time; None: in none, or nobody knows any more. `course`: see Stood."""
    for cluster, since_ms in course:
        if since_ms <= at_ms:
            return cluster
    return None


def was_elsewhere(course: Sequence[tuple[int, int]], cluster: int, at_ms: int) -> bool:
    """Return whether the member is known to have been in another cluster at a time."""
    return cluster_at(course, at_ms) not in (None, cluster)
