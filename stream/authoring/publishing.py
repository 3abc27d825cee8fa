"""What a model author does with published models: publish, promote, roll back, retire. Each is a step in the models'
log.

Laws:
- The log decides: if somebody else's step has made a step wrong, it doesn't count, and its author is told.
- Promoting is safe unless forced: every partition has scored all its members with the version, few events wait, and no
  more members change their cluster than is allowed.
- Readers switch by one write to Redis. It is made here at once, and by every worker that reads the step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from types import EllipsisType

from memberstream.models.coverage import Coverage as Reading
from memberstream.models.definition import read_definition
from memberstream.models.log_steps import Promote, Publish, Retire, Rollback
from memberstream.models.model import Model, label
from memberstream.models.model_file import parse
from memberstream.models.registry import Registry, Version
from memberstream.models.targeting import stranded, stranded_by
from memberstream.models.wording import counted, percent_of
from memberstream.stream.authoring import coverage, memberships
from memberstream.stream.authoring.coverage import Coverage
from memberstream.stream.authoring.steps import Steps, refuse_if
from memberstream.stream.authoring.trying import Tried, members_coverage, try_on_members
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings

#: The live version that somebody goes by; `...`: the one that holds now.
Replaced = int | None | EllipsisType
#: Share of the members that may change their cluster by a promotion before it must be forced or allowed.
MAX_FLIPS = 0.2


@dataclass(frozen=True, slots=True)
class Published:
    """The result of publishing a model.

    Attributes:
        is_new: False if it was published already, with the same content.
        cost: what it costs a worker, in words; "" if that wasn't measured.
    """

    version: Version
    is_new: bool
    cost: str = ""


class Publishing:
    """The steps, for one installation.

    Args:
        actor: who does it, for the history.
    """

    def __init__(self, settings: Settings, actor: str) -> None:
        self._settings, self._steps = settings, Steps(settings, actor)

    async def registry(self) -> Registry:
        """Return the registry as it is now."""
        return await self._steps.registry()

    async def publish(self, model: Model, *, reason: str = "", force: bool = False) -> Published:
        """Publish a model as a candidate. The same content again changes nothing.

        Raises:
            PublishError: the version has other content, or (unless forced) paths that no member has, or reads values
                that often don't fit, or costs too much.
        """
        registry, step = await self.registry(), self._publish(model, reason, force)
        refuse_if(registry.objection(step))
        if (found := registry.versions.get(model.label)) is not None:
            return Published(found, is_new=False)
        tried = Tried() if force else await try_on_members(self._settings, model)
        return Published((await self._steps.take(step)).versions[model.label], True, tried.cost)

    async def install(self, models: Iterable[Model]) -> None:
        """Publish models and make them live at once, unchecked: for an installation that has no members yet."""
        for model in models:
            live = (await self.registry()).live.get(model.name)  # the first look makes the topic
            await self._steps.take(self._publish(model, "", True))
            await self._steps.take(Promote(model.name, model.version, live, **self._steps.by(forced=True)))

    async def promote(
        self,
        name: str,
        version: int,
        *,
        reason: str = "",
        max_flips: float = MAX_FLIPS,
        force: bool = False,
        replaces: Replaced = ...,
    ) -> Coverage | None:
        """Make a version the one that readers use. Returns how far the workers were with it; None if it was forced.

        Args:
            replaces: the version that was live when its author decided, None: none was; `...`: the one that is now.

        Raises:
            PublishError: (unless forced) its backfill isn't complete; too many events wait; a larger share of members
                than `max_flips` would change their cluster; or it lacks clusters that campaigns name.
        """
        registry = await self.registry()
        live = registry.live.get(name)
        step = Promote(name, version, _replaced(live, replaces), **self._steps.by(reason, force))
        refuse_if(registry.objection(step))
        told: Coverage | None = None
        if not force:
            _check_campaigns(label(name, version), stranded(registry, name, version))
            entry = registry.versions[step.label]
            told = await anext(self.wait(entry))
            coverage.check_coverage(entry, told)
            if live is not None:
                await self._check_flips(registry.versions[label(name, live)], entry, max_flips)
        await self._steps.take(step)
        return told

    async def refuse_stranding(self, name: str, clusters: Collection[int]) -> None:
        """Raise the PublishError of `promote` before anything is published, if campaigns name other clusters."""
        _check_campaigns(name, stranded_by(await self.registry(), name, clusters))

    async def rollback(self, name: str, *, reason: str = "", replaces: Replaced = ...) -> int:
        """Make the version live again that was live before. Returns it. Both are current, so there is nothing to wait
        for. `replaces`: as of `promote`.

        Raises:
            PublishError: there is none.
        """
        registry = await self.registry()
        version = registry.previous(name)
        if version is None:
            raise PublishError(f"{name}: no version was live before. Next: memberstream model history {name}")
        step = Rollback(name, version, _replaced(registry.live.get(name), replaces), **self._steps.by(reason))
        refuse_if(registry.objection(step))
        await self._steps.take(step)
        return version

    async def retire(self, name: str, version: int, *, reason: str = "") -> None:
        """End the scoring of a version; the workers remove its memberships from Redis in the background."""
        step = Retire(name, version, **self._steps.by(reason))
        refuse_if((await self.registry()).objection(step))
        await self._steps.take(step)

    def wait(self, entry: Version) -> AsyncIterator[Coverage]:
        """Yield how far a version is scored, until it is: coverage.follow."""
        return coverage.follow(self._settings, entry)

    async def coverage(self, entry: Version) -> list[Reading]:
        """Return what members' documents hold at the places that a version reads; of a list: nothing."""
        if entry.definition.is_list:
            return []
        return await members_coverage(self._settings, parse(entry.definition.body))

    async def sizes(self, entry: Version) -> dict[int, int]:
        """Return cluster id → members: memberships.sizes."""
        return await memberships.sizes(self._settings, entry)

    def _publish(self, model: Model, reason: str, forced: bool) -> Publish:
        definition = read_definition(model.definition)
        return Publish(model.name, model.version, definition, **self._steps.by(reason, forced))

    async def _check_flips(self, live: Version, entry: Version, max_flips: float) -> None:
        """Check how many members would change their cluster. A member that would lose its cluster counts, too."""
        n = flips = 0
        async for part in memberships.pairs(self._settings, live, entry):
            held = [(old, new) for _, old, new in part if old is not None]
            n += len(held)
            flips += sum(old != new for old, new in held)
        if n and flips / n > max_flips:
            raise PublishError(
                f"{flips:,} of {counted(n, 'member')} ({percent_of(flips, n)}) would change their cluster, more than "
                f"{max_flips:.0%}. Next: memberstream model compare {entry.label} {live.label}; then --max-flips, or "
                "--force"
            )


def _replaced(live: int | None, replaces: Replaced) -> int | None:
    return live if isinstance(replaces, EllipsisType) else replaces


def _check_campaigns(what: str, campaigns: Sequence[str]) -> None:
    if campaigns:
        raise PublishError(
            f"{what} lacks clusters that campaigns name: {', '.join(campaigns)}. "
            "Next: memberstream campaign set or delete them, or --force: nobody sees them there then"
        )
