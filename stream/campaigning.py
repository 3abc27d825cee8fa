"""What is done with campaigns: set, pause, resume, delete, each a step in the models' log; and how many see one.

Laws:
- The log decides, as with models (stream/publishing.py): who was overtaken is told.
- What nobody could see is refused unless forced: a campaign's model has a live version with all its clusters.
- Readers learn of a step by one write to Redis, made here and by every worker that reads the step.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from models.campaigns import Campaign, CampaignAction, Terms
from models.model import label
from models.registry import Registry, Step
from models.targeting import clusters_of, listed, misfit
from stream.lookup.holdout import is_held_out
from stream.memberships import memberships
from stream.model_source import PublishError
from stream.models_log import ModelsLog
from stream.projection import Projection
from stream.publication import announce
from stream.settings import Settings
from stream.state_reader import Progress


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a campaign reaches. `clusters`: cluster id → (members who see it, members held out).

    Attributes:
        members: all that have a cluster by the model's live version.
    """

    model: str
    members: int
    clusters: dict[int, tuple[int, int]]

    @property
    def visible(self) -> int:
        return sum(visible for visible, _ in self.clusters.values())

    @property
    def held_out(self) -> int:
        return sum(held_out for _, held_out in self.clusters.values())


class Campaigning:
    """The steps, for one installation.

    Args:
        actor: who does it, for the history.
    """

    def __init__(self, settings: Settings, actor: str) -> None:
        self._settings, self._actor = settings, actor
        self._log = ModelsLog(settings.kafka_bootstrap, settings.models_topic, settings.replication_factor)

    async def registry(self) -> Registry:
        """Return the registry as it is now."""
        return await self._log.read()

    async def set(self, campaign_id: str, terms: Terms, *, reason: str = "", force: bool = False) -> Campaign:
        """Make a campaign, or give it other terms.

        Raises:
            PublishError: it makes no sense, or (unless forced) nobody could see it.
        """
        registry = await self.registry()
        if not force:
            _refuse_if(misfit(registry, campaign_id, terms))
        taken = await self._take(registry, "campaign_set", campaign_id, reason, force, terms)
        return taken.campaigns[campaign_id]

    async def pause(self, campaign_id: str, *, reason: str = "") -> None:
        """Hide a campaign from everybody until it is resumed."""
        await self._take(await self.registry(), "campaign_pause", campaign_id, reason)

    async def resume(self, campaign_id: str, *, reason: str = "") -> None:
        """Show a campaign that was paused."""
        await self._take(await self.registry(), "campaign_resume", campaign_id, reason)

    async def delete(self, campaign_id: str, *, reason: str = "") -> None:
        """Remove a campaign; its history stays, and its id may be set again."""
        await self._take(await self.registry(), "campaign_delete", campaign_id, reason)

    async def reach(
        self, registry: Registry, campaign: Campaign, progress: Progress = lambda done, total: None
    ) -> Reach:
        """Count the members in a campaign's clusters by the model's live version, as scored by the workers or listed.

        Raises:
            PublishError: the model has no live version.
            StateUnreadable, ListRowsError: members can't be read; the text says what to do.
        """
        terms = campaign.terms
        if terms.model not in registry.live:
            raise PublishError(misfit(registry, campaign.id, terms))
        version = label(terms.model, registry.live[terms.model])
        counts: Counter[tuple[int, bool]] = Counter()
        members = 0
        async for part in memberships(self._settings, registry.versions[version], progress):
            members += len(part)
            for member_id, cluster in part:
                if cluster in terms.clusters:
                    counts[cluster, is_held_out(campaign.id, member_id.decode(), terms.holdout)] += 1
        return Reach(version, members, {c: (counts[c, False], counts[c, True]) for c in terms.clusters})

    async def _take(
        self,
        registry: Registry,
        action: CampaignAction,
        campaign_id: str,
        reason: str,
        forced: bool = False,
        terms: Terms | None = None,
    ) -> Registry:
        found = registry.campaigns.get(campaign_id)
        step = Step(
            action,
            campaign_id,
            0,
            time.time_ns() // 1_000_000,
            self._actor,
            reason,
            replaces=None if found is None else found.offset,
            forced=forced,
            terms=terms,
        )
        _refuse_if(registry.objection(step))
        taken, why_not = await self._log.append(step)
        _refuse_if(why_not)
        async with Projection(self._settings.redis_url) as projection:
            await projection.announce(announce(taken))
        return taken


def cluster_ids(registry: Registry, model: str, texts: Sequence[str]) -> tuple[int, ...]:
    """Return the ids of clusters that are named by id, or by their name in the model's live version, ascending.

    Raises:
        PublishError: one is neither; the text names those there are.
    """
    clusters = clusters_of(registry, model, registry.live.get(model))
    found: set[int] = set()
    for text in texts:
        named = {cluster for cluster, name in clusters.items() if name == text}
        if not named and not (text.isascii() and text.isdecimal()):
            known = listed(clusters) or "none, for no version is live"
            raise PublishError(f"{model} has no cluster {text!r}. Next: an id or a name of {known}")
        found |= named or {int(text)}
    return tuple(sorted(found))


def split_ids(registry: Registry, campaign_id: str, model: str) -> dict[str, int]:
    """Return the ids of a campaign's parts, one for each cluster of a model's live version, by cluster.

    A part is named after its cluster, in the letters that ids have; where names are alike in these, after its number.

    Raises:
        PublishError: the model has no live version.
    """
    clusters = clusters_of(registry, model, registry.live.get(model))
    if not clusters:
        raise PublishError(misfit(registry, campaign_id, Terms(model, ())))
    names = {cluster: re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-") for cluster, name in clusters.items()}
    are_told_apart = all(names.values()) and len(set(names.values())) == len(names)
    return {f"{campaign_id}-{names[c] if are_told_apart else c}": c for c in sorted(clusters)}


def _refuse_if(why_not: str) -> None:
    if why_not:
        raise PublishError(why_not)
