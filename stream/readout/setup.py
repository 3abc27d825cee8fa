"""What a campaign was meant to be, as far as its readout depends on it: from the models' log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.campaigns import WHOLE
from models.registry import Registry
from models.targeting import clusters_of

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Setup:
    """A campaign's terms.

    Attributes:
        clusters: id → name of those it is for, ascending.
        holdout: the share that is held out, from 0 to 1.
        holdout_day: the first whole day (since 1970, UTC) with this holdout; None: it never had another.
            Of members exposed before, other shares were held out: who was shown it and who wasn't came at other times.
    """

    id: str
    model: str
    clusters: Mapping[int, str]
    holdout: float = 0.0
    holdout_day: int | None = None


def setup_of(registry: Registry, campaign_id: str) -> Setup | None:
    """Return a campaign's setup, also a deleted one's; None if there never was one of this id."""
    found: Setup | None = None
    for step in registry.campaign_history:
        terms = step.terms
        if step.name != campaign_id or terms is None:
            continue
        day = None if found is None else found.holdout_day
        if found is not None and found.holdout != terms.holdout / WHOLE:
            day = step.at_ms // _DAY_MS + 1
        names = clusters_of(registry, terms.model, registry.live.get(terms.model))
        clusters = {cluster: names.get(cluster, "") for cluster in terms.clusters}
        found = Setup(campaign_id, terms.model, clusters, terms.holdout / WHOLE, day)
    return found
