"""What is done with campaigns: set, pause, resume, delete, each a step in the models' log; and how many see one.

Laws:
- The log decides, as with models (publishing.py). If somebody else was faster, the author is told.
- A campaign that nobody could see is refused unless forced: its model must have a live version with all its clusters.
- Readers learn about a step by one write to Redis. It is made here and by every worker that reads the step.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import msgspec

from memberstream.models.campaigns import Campaign
from memberstream.models.log_steps import DeleteCampaign, PauseCampaign, ResumeCampaign, SetCampaign, Step
from memberstream.models.model import label
from memberstream.models.registry import Registry
from memberstream.models.targeting import clusters_of, listed, misfit
from memberstream.models.terms import Terms, problem
from memberstream.models.wording import counted
from memberstream.stream.authoring.memberships import memberships
from memberstream.stream.authoring.steps import Steps, refuse_if
from memberstream.stream.lookup.holdout import is_held_out
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter, unwatched

#: What somebody goes by; `...`: what holds now.
Seen = int | None | EllipsisType


@dataclass(frozen=True, slots=True)
class Reach:
    """How many members a campaign reaches. `clusters`: cluster id → (members who see it, members held out).

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

    Each takes `seen`: the offset of the campaign's step that its author goes by, None if there was no campaign. A form
    was made a while ago, so it says that. Commands don't: they go by what holds now.

    Args:
        actor: who does it, for the history.
    """

    def __init__(self, settings: Settings, actor: str) -> None:
        self._settings, self._steps = settings, Steps(settings, actor)

    async def registry(self) -> Registry:
        """Return the registry as it is now."""
        return await self._steps.registry()

    async def set(
        self, campaign_id: str, terms: Terms, *, reason: str = "", force: bool = False, seen: Seen = ...
    ) -> Campaign:
        """Make a campaign, or give it other terms.

        Raises:
            PublishError: it makes no sense, or (unless forced) nobody could see it.
        """
        registry = await self.registry()
        if not force:
            why = misfit(registry, campaign_id, terms)
            refuse_if(why and f"{why}; or --force, if that is to come")
        done = self._steps.by(reason, force)
        taken = await self._take(registry, SetCampaign(campaign_id, _seen(registry, campaign_id, seen), terms, **done))
        return taken.campaigns[campaign_id]

    async def split(
        self,
        campaign_id: str,
        model: str,
        given: Mapping[str, Any],
        *,
        reason: str = "",
        seen_live: int | None = None,
        next_is: Callable[[int, int, str], None] = lambda done, total, name: None,
    ) -> tuple[list[str], int]:
        """Make a campaign for each cluster of a model's live version, ID-low, ID-high …; again: only the missing ones.

        Args:
            given: the terms that all of them have, `model` among them.
            seen_live: the live version that its author goes by; None: the one that is live now.
            next_is: called before each one with how many are set, of how many, and which is next.

        Returns:
            The ids of all, and how many were set now.

        Raises:
            PublishError: the model has no live version, or another one than was seen; one is there with other terms; or
                one can't be set. All are judged before the first is set; an error after it says how many are.
        """
        registry = await self.registry()
        if seen_live is not None and registry.live.get(model) != seen_live:
            now = f"{label(model, registry.live[model])} is" if model in registry.live else "none is"
            raise PublishError(
                f"{label(model, seen_live)} isn't live any more, {now}: nothing was set. Next: look at its clusters"
            )
        terms = {
            name: Terms(clusters=(cluster,), split=campaign_id, **given)
            for name, cluster in split_ids(registry, campaign_id, model).items()
        }
        found = {name: its.terms for name, its in registry.campaigns.items()}
        for name, wanted in terms.items():
            if found.get(name, wanted) not in (wanted, msgspec.structs.replace(wanted, split="")):
                raise PublishError(f"{name} is there with other terms. Next: campaign delete {name}, or another ID")
        # A version before didn't write down whose split they are: such ones are set again.
        missing = [name for name, wanted in terms.items() if found.get(name) != wanted]
        for name in missing:
            refuse_if(problem(name, terms[name]))
        for n, name in enumerate(missing):
            next_is(n, len(missing), name)
            try:
                await self.set(name, terms[name], reason=reason)
            except Exception as error:
                so_far = f"{n} of {counted(len(missing), 'campaign')}"
                error.add_note(f"set so far: {so_far}; {name} isn't. Next: again: it sets the rest")
                raise
        return list(terms), len(missing)

    async def pause(self, campaign_id: str, *, reason: str = "", seen: Seen = ...) -> None:
        """Hide a campaign from everybody until it is resumed."""
        await self._change(PauseCampaign, campaign_id, reason, seen)

    async def resume(self, campaign_id: str, *, reason: str = "", seen: Seen = ...) -> None:
        """Show a campaign that was paused."""
        await self._change(ResumeCampaign, campaign_id, reason, seen)

    async def delete(self, campaign_id: str, *, reason: str = "", seen: Seen = ...) -> None:
        """Remove a campaign; its history stays, and its id may be set again."""
        await self._change(DeleteCampaign, campaign_id, reason, seen)

    async def reach(self, registry: Registry, campaign: Campaign, progress: Meter = unwatched) -> Reach:
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

    async def _change(
        self,
        kind: type[PauseCampaign] | type[ResumeCampaign] | type[DeleteCampaign],
        campaign_id: str,
        reason: str,
        seen: Seen,
    ) -> None:
        registry = await self.registry()
        await self._take(registry, kind(campaign_id, _seen(registry, campaign_id, seen), **self._steps.by(reason)))

    async def _take(self, registry: Registry, step: Step) -> Registry:
        refuse_if(registry.objection(step))
        return await self._steps.take(step)


def _seen(registry: Registry, campaign_id: str, seen: Seen) -> int | None:
    """Return what was seen, or the offset of the latest step of a campaign; None if there is no such campaign."""
    if not isinstance(seen, EllipsisType):
        return seen
    found = registry.campaigns.get(campaign_id)
    return None if found is None else found.offset


def cluster_ids(registry: Registry, model: str, texts: Sequence[str]) -> tuple[int, ...]:
    """Return the ids of clusters, ascending. They are given as ids, or as names in the model's live version.

    Raises:
        PublishError: one is neither. The text names the clusters that exist.
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
    """Return the ids of a campaign's parts, by cluster: one for each cluster of a model's live version.

    A part is named after its cluster, in the letters that ids may have. If two names become equal, numbers are used.

    Raises:
        PublishError: the model has no live version.
    """
    clusters = clusters_of(registry, model, registry.live.get(model))
    if not clusters:
        raise PublishError(misfit(registry, campaign_id, Terms(model, ())))
    names = {cluster: re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-") for cluster, name in clusters.items()}
    are_told_apart = all(names.values()) and len(set(names.values())) == len(names)
    return {f"{campaign_id}-{names[c] if are_told_apart else c}": c for c in sorted(clusters)}
