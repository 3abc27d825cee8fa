"""What a campaign was meant to be, as far as its readout depends on it. Read from the models' log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memberstream.models.registry import Registry
from memberstream.models.targeting import clusters_of
from memberstream.models.terms import WHOLE, Terms, primary_of
from memberstream.models.timeline import Period, timelines
from memberstream.models.timestamps import DAY_MS


@dataclass(frozen=True, slots=True)
class Setup:
    """A campaign's terms.

    Attributes:
        terms: as they are now, or were last.
        clusters: id → name of the clusters that it is or was for under this model, ascending.
        history: times of unchanged terms, under whichever model, in their order. Each but the last has an end.
        primary: the kind by which it is judged; None: it has none that members held out could do as well.
    """

    id: str
    terms: Terms
    clusters: Mapping[int, str]
    history: tuple[Period, ...]
    primary: str | None = None

    @property
    def name(self) -> str:
        """How people call it."""
        return f"{self.terms.title} ({self.id})" if self.terms.title else self.id

    @property
    def family(self) -> str:
        """What it is judged together with: its split, or itself."""
        return self.terms.split or self.id

    @property
    def periods(self) -> tuple[Period, ...]:
        """Those under the model that it has now: their members are reported."""
        return tuple(period for period in self.history if period.terms.model == self.terms.model)

    def meant(self, period: Period) -> float:
        """Return the share of members that was to be held out in a period."""
        return period.terms.holdout / WHOLE

    def change(self, period: Period) -> Period | None:
        """Return the first later period in which another share is held out, under whichever model."""
        later = self.history[self.history.index(period) + 1 :]
        return next((p for p in later if p.terms.holdout != period.terms.holdout), None)

    def last_day(self, period: Period, kind: str) -> int | None:
        """Return the last day of exposure whose windows were over before others were held out; None: there is no end.

        Who was held out is shown the campaign once fewer are, and the reverse. What they do from then on says nothing
        about the period before.
        """
        change = self.change(period)
        return None if change is None else (change.begin_ms - period.terms.window_of(kind)) // DAY_MS - 1


def setup_of(registry: Registry, campaign_id: str, kinds: Sequence[str]) -> Setup | None:
    """Return a campaign's setup, even if it was deleted; None if there never was one of this id.

    Args:
        kinds: those that are declared, in their order.
    """
    timeline = timelines(registry).get(campaign_id)
    if timeline is None:
        return None
    terms = timeline.moments[-1].terms
    names = clusters_of(registry, terms.model, registry.live.get(terms.model))
    mine = [period.terms for period in timeline.periods if period.terms.model == terms.model]
    meant = sorted({cluster for its in mine for cluster in its.clusters})
    clusters = {cluster: names.get(cluster, "") for cluster in meant}
    return Setup(campaign_id, terms, clusters, timeline.periods, primary_of(terms, kinds))


def family_of(registry: Registry, campaign_ids: Sequence[str]) -> list[str]:
    """Return campaigns with all others of their splits: what is judged together is reported together."""
    last = {campaign: timeline.moments[-1].terms.split for campaign, timeline in timelines(registry).items()}
    found: dict[str, None] = {}
    for campaign in campaign_ids:
        split = last.get(campaign)
        found |= dict.fromkeys(sorted(other for other in last if last[other] == split) if split else [campaign])
    return list(found)
