"""Which campaigns a member sees. Pure: a client's copy of the key `campaigns` and a member's row in, ids out.

A member sees a campaign, in any language (docs/campaigns.md), if
1. it is enabled, and from ≤ now < until by the reader's clock;
2. the member's cluster under the live version of its model is one of its clusters;
3. the member isn't held out (stream/lookup/holdout.py).

Between two dates of any campaign all members of the same clusters are offered the same. So that is worked out once;
only holdouts differ between members. What a member was told is remembered, because a page asks about one member again
and again, campaign by campaign.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ..keyspace import formats as keyspace
from ..keyspace.formats import PublishedCampaign
from .holdout import Holdouts, Seen
from .values import Visible

#: What a member was told and by which row; the partition on whose clock its status depends, and until when (ms).
Told = tuple[bytes, bytes, float, Visible]

# Combinations of clusters under all models that have campaigns. A combination that was dropped is worked out again.
_OFFERS = 1_024
# Members whose last answer is remembered: 4 MB with a few campaigns, 18 MB if each member is offered 150.
_MEMBERS = 10_000
_EVER = float("inf")


class Period:
    """A time in which no campaign begins or ends."""

    __slots__ = ("_markers", "_offers", "_shown", "begin_ms", "end_ms", "told")

    def __init__(
        self,
        begin_ms: float,
        end_ms: float,
        campaigns: Sequence[PublishedCampaign],
        markers: Mapping[str, bytes],
    ) -> None:
        self.begin_ms, self.end_ms = begin_ms, end_ms
        self.told: dict[str, Told] = {}
        self._shown: defaultdict[tuple[str, int], list[PublishedCampaign]] = defaultdict(list)
        for campaign in campaigns:
            from_ms = -_EVER if campaign.from_ms is None else campaign.from_ms
            until_ms = _EVER if campaign.until_ms is None else campaign.until_ms
            if from_ms <= begin_ms and end_ms <= until_ms:
                for cluster in campaign.clusters:
                    self._shown[campaign.model, cluster].append(campaign)
        models = sorted({model for model, _ in self._shown})
        self._markers = [(model, markers[model]) for model in models if model in markers]
        self._offers: dict[tuple[bytes, ...], Holdouts] = {}

    def seen_by(self, member_id: str, row: bytes) -> Seen:
        """Return what a member sees. Raises KeyspaceError: a membership isn't written as it should be."""
        clusters = tuple([row.partition(marker)[2].partition(b":")[0] for _, marker in self._markers])  # cluster_in
        return (self._offers.get(clusters) or self._offer(clusters, row)).of(member_id)

    def remember(self, member_id: str, told: Told) -> None:
        """Keep an answer, to be found in `told`."""
        if len(self.told) >= _MEMBERS:
            self.told = {}
        self.told[member_id] = told

    def _offer(self, clusters: tuple[bytes, ...], row: bytes) -> Holdouts:
        offered: list[PublishedCampaign] = []
        held = keyspace.parse_row(row)
        for model, marker in self._markers:
            if (value := held.get(marker[1:-1])) is not None:
                offered += self._shown.get((model, keyspace.parse_membership(value)[0]), ())
        offered.sort()
        if len(self._offers) >= _OFFERS:
            self._offers = {}
        offer = Holdouts([campaign.id for campaign in offered], [campaign.holdout for campaign in offered])
        self._offers[clusters] = offer
        return offer


class Campaigns:
    """The campaigns of a client's copy. They are parsed when first asked for: callers that want only clusters don't
    pay.

    Threads may share it: working something out twice does no harm.
    """

    __slots__ = ("_flat", "_markers", "_period", "_periods")

    def __init__(self, flat: Sequence[bytes], markers: Mapping[str, bytes]) -> None:
        """`flat`: of HGETALL; `markers`: model → what its live version's membership follows in a member's row."""
        self._flat, self._markers = flat, markers
        self._periods: tuple[Sequence[float], Sequence[PublishedCampaign]] | None = None
        self._period: Period | None = None

    def at(self, now_ms: int) -> Period:
        """Return the period of a time. Raises KeyspaceError: a campaign isn't written as it should be."""
        period = self._period
        if period is None or not period.begin_ms <= now_ms < period.end_ms:
            dates, enabled = self._periods = self._periods or self._parse()
            place = bisect_right(dates, now_ms)
            period = self._period = Period(dates[place - 1], dates[place], enabled, self._markers)
        return period

    def find(self, campaign_id: str) -> PublishedCampaign | None:
        """Return an enabled campaign. Raises KeyspaceError, as `at`."""
        _, enabled = self._periods = self._periods or self._parse()
        place = bisect_left(enabled, (campaign_id,))
        return enabled[place] if place < len(enabled) and enabled[place].id == campaign_id else None

    def _parse(self) -> tuple[Sequence[float], Sequence[PublishedCampaign]]:
        parsed = [keyspace.parse_campaign(*pair) for pair in zip(self._flat[::2], self._flat[1::2], strict=True)]
        enabled = sorted(campaign for campaign in parsed if not campaign.is_paused)
        dates = {date for campaign in enabled for date in (campaign.from_ms, campaign.until_ms) if date is not None}
        return sorted({-_EVER, _EVER, *dates}), enabled
