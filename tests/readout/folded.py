"""Campaigns of thousands of members through the real fold of interactions (models/counting.py), quickly.

The fold counts each member by itself, and tallies add up. So one member of each fate is folded, and its counts are
taken as often as the draw has such members: that is exact, and NumPy does it. A fate is a cluster, a group, a day of
exposure, and what is done, sent late, or lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from readout.worlds import BEGIN_MS, KINDS

from memberstream.models.counting import apply
from memberstream.models.counts import EXPOSED, Cell, Changes, Tally
from memberstream.models.engagement import Engagement
from memberstream.models.interaction import Interaction
from memberstream.models.log_steps import SetCampaign
from memberstream.models.rules import Rules
from memberstream.models.terms import WHOLE, Terms, primary_of
from memberstream.models.timeline import Lives, Timeline
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.readout.setup import Setup

DAYS = 30
CHANGE = 15  # the day from which on other terms hold, where they change
WINDOW = 3  # days
HOUR_MS = DAY_MS // 24
_LATE_MS = 2 * DAY_MS


class Fate(NamedTuple):
    """What becomes of a member. `day`: of its impression, from the beginning."""

    cluster: int
    is_held_out: bool
    day: int
    has_bought: bool
    has_clicked: bool
    is_late: bool
    is_lost: bool


class Act(NamedTuple):
    """An interaction, and the day by whose end it has arrived."""

    arrived: int
    interaction: Interaction


@dataclass(frozen=True)
class Campaign:
    """A campaign that begins on the first day.

    Attributes:
        later: the share held out from the day CHANGE on; None: the same.
    """

    clusters: int
    holdout: float
    later: float | None = None

    @property
    def steps(self) -> tuple[SetCampaign, ...]:
        shares = [(0, self.holdout)] + ([] if self.later is None else [(CHANGE, self.later)])
        ids = tuple(range(1, self.clusters + 1))
        return tuple(
            SetCampaign(
                "spring",
                None,
                Terms("activity", ids, holdout=round(share * WHOLE), primary="purchase", window_ms=WINDOW * DAY_MS),
                at_ms=BEGIN_MS + day * DAY_MS,
                actor="me",
            )
            for day, share in shares
        )

    def share(self, day: int) -> float:
        return self.holdout if self.later is None or day < CHANGE else self.later

    def setup(self) -> Setup:
        timeline = Timeline.of(self.steps)
        terms = timeline.moments[-1].terms
        return Setup(
            "spring",
            terms,
            {cluster: f"c{cluster}" for cluster in terms.clusters},
            timeline.periods,
            primary_of(terms, KINDS),
        )


def acts(fate: Fate) -> Iterator[Act]:
    """What is sent of a member: the impression at noon, a click an hour later, a purchase after two hours."""
    at_ms = BEGIN_MS + fate.day * DAY_MS + 12 * HOUR_MS
    if not fate.is_lost:
        late_ms = _LATE_MS if fate.is_late else 0
        yield Act(fate.day + late_ms // DAY_MS, Interaction("impression", "i", at_ms, "spring", None, at_ms + late_ms))
    if fate.has_clicked:
        yield Act(fate.day, Interaction("click", "c", at_ms + HOUR_MS, "spring", None, at_ms + HOUR_MS))
    if fate.has_bought:
        yield Act(fate.day, Interaction("purchase", "p", at_ms + 2 * HOUR_MS, None, None, at_ms + 2 * HOUR_MS))


def fates(campaign: Campaign, late: bool, lost: bool) -> list[Fate]:
    """All fates that a member of a campaign can have."""
    options = (False, True)
    return [
        Fate(cluster, is_held_out, day, has_bought, has_clicked, is_late, is_lost)
        for cluster in range(1, campaign.clusters + 1)
        for is_held_out in options
        for day in range(DAYS)
        for has_bought in options
        for has_clicked in (options if not is_held_out else (False,))
        for is_late in (options if late else (False,))
        for is_lost in (options if lost else (False,))
    ]


class Folded(NamedTuple):
    """The fates of a campaign, each folded.

    Attributes:
        fates: in the order of the last axis of all arrays.
        cells: (fate, look, cell, tally): from this look on, one member of the fate adds that tally.
    """

    fates: list[Fate]
    cells: list[tuple[int, int, Cell, Tally]]

    def counts(self, members: np.ndarray, look: int) -> dict[Cell, Tally]:
        """The counts at a look, of so many members of each fate."""
        found: dict[Cell, list[int]] = defaultdict(lambda: [0, 0])
        for fate, since, cell, tally in self.cells:
            if since <= look and members[fate]:
                its = found[cell]
                its[0] += int(members[fate]) * tally.members
                its[1] += int(members[fate]) * tally.events
        return {cell: Tally(*sums) for cell, sums in found.items() if any(sums)}

    def arrays(self, strata: Sequence[tuple[int, int]]) -> dict[tuple[str, bool], np.ndarray]:
        """For (kind, is held out): what a member of each fate adds, by look and stratum (cluster, period)."""
        place = {stratum: i for i, stratum in enumerate(strata)}
        found = {
            (kind, held): np.zeros((len(self.fates), DAYS, len(strata)), np.float32)
            for kind in (EXPOSED, "purchase")
            for held in (False, True)
        }
        for fate, since, cell, tally in self.cells:
            if (cell.kind, cell.is_held_out) in found and (cell.cluster, cell.period) in place:
                found[cell.kind, cell.is_held_out][fate, since:, place[cell.cluster, cell.period]] += tally.members
        return found


def folded(campaign: Campaign, *, late: bool = False, lost: bool = False) -> Folded:
    """Fold one member of each fate. Whoever clicks is in the highest cluster from then on."""
    timeline, all_fates = Timeline.of(campaign.steps), fates(campaign, late, lost)
    cells = []
    for number, fate in enumerate(all_fates):
        clicked_ms = BEGIN_MS + fate.day * DAY_MS + 13 * HOUR_MS if fate.has_clicked else None

        def stood(label: str, fate: Fate = fate, clicked_ms: int | None = clicked_ms) -> Sequence[tuple[int, int]]:
            return [*([] if clicked_ms is None else [(campaign.clusters, clicked_ms)]), (fate.cluster, 0)]

        def is_held_out(campaign_id: str, member_id: str, share: int, fate: Fate = fate) -> bool:
            return fate.is_held_out and share > 0

        rules = Rules({"spring": timeline}, {"activity": Lives((0,), ("activity@1",))}, is_held_out, 7 * DAY_MS)
        record, clock_ms = Engagement(), 0
        for act in sorted(acts(fate), key=lambda act: (act.arrived, act.interaction.at_ms)):
            changes: Changes = {}
            clock_ms = max(clock_ms, act.interaction.sent_ms)
            apply(record, "m", stood, act.interaction, rules, clock_ms, changes)
            for cell, tally in changes.items():
                assert isinstance(cell, Cell)
                assert isinstance(tally, Tally)
                cells.append((number, act.arrived, cell, tally))
    return Folded(all_fates, cells)


def drawn(
    folds: Folded,
    campaign: Campaign,
    rng: np.random.Generator,
    worlds: int,
    members: int,
    rates: np.ndarray,
    late: float = 0.0,
    lost: float = 0.0,
    lost_held_out: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """How many members have each fate; an array (worlds, fates).

    Args:
        members: of all clusters, days and groups.
        rates: of purchase; (clusters, 2): of those shown and held out. After a roll-out those held out are as good as
            shown: what they do in windows that aren't over by then is what those shown do.
        late: share of impressions that are late. lost: that are lost, of all; and of those held out who don't and who
            do buy.
    """
    chances = np.empty(len(folds.fates))
    for i, fate in enumerate(folds.fates):
        share = campaign.share(fate.day)
        chance = (share if fate.is_held_out else 1 - share) / (campaign.clusters * DAYS)
        sees_it_soon = campaign.later == 0 and CHANGE - WINDOW <= fate.day < CHANGE
        rate = rates[fate.cluster - 1, int(fate.is_held_out and not sees_it_soon)]
        chance *= rate if fate.has_bought else 1 - rate
        if not fate.is_held_out:  # whoever buys clicks more often
            click = 0.4 if fate.has_bought else 0.1
            chance *= click if fate.has_clicked else 1 - click
        losing = lost + (lost_held_out[int(fate.has_bought)] if fate.is_held_out else 0.0)
        chance *= (late if fate.is_late else 1 - late) * (losing if fate.is_lost else 1 - losing)
        chances[i] = chance
    assert abs(chances.sum() - 1) < 1e-9
    return rng.multinomial(members, chances, worlds)
