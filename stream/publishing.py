"""What a model author does with published models: publish, promote, roll back, retire; each a step in the models' log.

Laws:
- The log decides: a step that somebody else's has made wrong doesn't count, and its author is told.
- Promoting is safe unless forced: every partition has scored all its members with the version, and no more members
  change their cluster than was allowed.
- Readers switch by one write to Redis. It is made here, at once, and by every worker that reads the step.
"""

from __future__ import annotations

import asyncio
import getpass
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from models.coverage import unseen_paths
from models.list_version import ListVersion
from models.member import Member
from models.model import Model, label
from models.registry import Action, Registry, Status, Step, Version
from models.targeting import stranded
from stream.memberships import memberships, pairs
from stream.model_source import PublishError
from stream.models_log import ModelsLog
from stream.projection import Projection
from stream.publication import announce
from stream.settings import Settings
from stream.state_reader import Progress, all_members
from stream.topic_reader import TopicUnreadable
from stream.topics import count_partitions

#: Members whose documents are searched for a model's paths. A path that is rarer than this may be forced.
PATHS_SAMPLE = 20_000
#: Share of the members that may change their cluster by a promotion before it must be forced or allowed.
MAX_FLIPS = 0.2
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a version is scored. `waiting`: partitions that aren't done; `remaining`: their members left, about."""

    n_partitions: int
    waiting: tuple[int, ...]
    remaining: int


class Publishing:
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

    async def publish(self, model: Model, *, reason: str = "", force: bool = False) -> bool:
        """Publish a model as a candidate; returns whether it is new. The same content again changes nothing.

        Raises:
            PublishError: the version has other content, or (unless forced) paths that no member has.
        """
        registry = await self.registry()
        step = self._step("publish", model.name, model.version, reason, force, definition=model.definition)
        _refuse_if(registry.objection(step))
        if model.label in registry.versions:
            return False
        unseen = [] if force else await self._unseen_paths(model)
        if unseen:
            raise PublishError(
                f"{model.label} reads what no member's document has: {', '.join(unseen)}. "
                "Next: correct these paths, or --force if such documents are still to come"
            )
        await self._take(step)
        return True

    def check_upload(self, registry: Registry, listed: ListVersion) -> None:
        """Return if `begin_upload` would take a list. Raises PublishError: the version is taken."""
        _refuse_if(registry.objection(self._upload_step("upload", listed)))

    async def begin_upload(self, listed: ListVersion) -> None:
        """Announce a list whose rows are about to be written; ends an upload of its name that was interrupted.

        Raises:
            PublishError: the version is taken.
        """
        await self._take(self._upload_step("upload", listed))

    async def end_upload(self, listed: ListVersion, *, reason: str = "") -> None:
        """Publish a list whose rows are all written as a candidate.

        Raises:
            PublishError: another upload of its name has begun meanwhile.
        """
        await self._take(self._upload_step("publish", listed, reason))

    async def check_upload_goes_on(self, listed: ListVersion) -> None:
        """Return if `end_upload` would take a list now. Raises PublishError: its upload was ended."""
        _refuse_if((await self.registry()).objection(self._upload_step("publish", listed)))

    async def give_up_upload(self, listed: ListVersion) -> None:
        """End an upload: what was written, also since somebody else ended it, is withdrawn by the workers.

        Raises:
            PublishError: it is published.
        """
        reason = "the upload was given up"
        await self._take(self._step("retire", listed.name, listed.version, reason, token=listed.token))

    async def install(self, models: Iterable[Model]) -> None:
        """Publish models and make them live at once, unchecked: for an installation that has no members yet."""
        for model in models:
            live = (await self.registry()).live.get(model.name)
            await self._take(self._step("publish", model.name, model.version, "", True, definition=model.definition))
            await self._take(self._step("promote", model.name, model.version, "", True, replaces=live))

    async def promote(
        self, name: str, version: int, *, reason: str = "", max_flips: float = MAX_FLIPS, force: bool = False
    ) -> None:
        """Make a version the one that readers use.

        Raises:
            PublishError: (unless forced) its backfill isn't complete, more than the share `max_flips` of the members
                would change their cluster, or it lacks clusters that campaigns name.
        """
        registry = await self.registry()
        live = registry.live.get(name)
        step = self._step("promote", name, version, reason, force, replaces=live)
        _refuse_if(registry.objection(step))
        if not force:
            _check_campaigns(registry, name, version)
            entry = registry.versions[label(name, version)]
            await self._check_coverage(entry)
            if live is not None:
                await self._check_flips(registry.versions[label(name, live)], entry, max_flips)
        await self._take(step)

    async def rollback(self, name: str, *, reason: str = "") -> int:
        """Make the version live that was so before; returns it. Both are current, so nothing has to be waited for.

        Raises:
            PublishError: there is none.
        """
        registry = await self.registry()
        version = registry.previous(name)
        if version is None:
            raise PublishError(f"{name}: no version was live before. Next: memberstream model history {name}")
        await self._take(self._step("rollback", name, version, reason, replaces=registry.live.get(name)))
        return version

    async def retire(self, name: str, version: int, *, reason: str = "") -> None:
        """End the scoring of a version; the workers remove its memberships from Redis in the background."""
        registry = await self.registry()
        step = self._step("retire", name, version, reason)
        _refuse_if(registry.objection(step))
        await self._take(step)

    async def wait(self, entry: Version) -> AsyncIterator[Coverage]:
        """Yield how far a version is scored, as the workers tell in Redis: at once, then a few times a second until all
        partitions are done.

        Raises:
            PublishError: a worker can't use it.
        """
        n = await count_partitions(self._settings.kafka_bootstrap, self._settings.topic)
        async with Projection(self._settings.redis_url) as projection:
            while True:
                told = await projection.scored()
                if refusing := [p for p in range(n) if p in told and entry.offset in told[p].refused]:
                    raise PublishError(
                        f"{label(entry.name, entry.version)} can't be used by the workers of {len(refusing)} of {n} "
                        f"partitions; the log of partition {refusing[0]}'s says why. Next: update these workers; of a "
                        "list whose rows are lost: upload it again and retire this one"
                    )
                waiting = tuple(p for p in range(n) if p not in told or told[p].offset < entry.offset)
                yield Coverage(n, waiting, sum(told[p].remaining for p in waiting if p in told))
                if not waiting:
                    return
                await asyncio.sleep(_POLL_S)

    async def sizes(self, entry: Version) -> dict[int, int]:
        """Return cluster id → members, as the workers have scored them, or as the list's rows say."""
        counts: Counter[int] = Counter()
        async for part in self.memberships(entry):
            counts.update([cluster for _, cluster in part])
        return {cluster["id"]: counts[cluster["id"]] for cluster in entry.definition["clusters"]}

    def _step(self, action: Action, name: str, version: int, reason: str, forced: bool = False, **more: Any) -> Step:
        return Step(action, name, version, time.time_ns() // 1_000_000, self._actor, reason, forced=forced, **more)

    def _upload_step(self, action: Action, listed: ListVersion, reason: str = "") -> Step:
        name, version, token = listed.name, listed.version, listed.token
        return self._step(action, name, version, reason, definition=listed.definition(), token=token)

    async def _take(self, step: Step) -> None:
        registry, why_not = await self._log.append(step)
        _refuse_if(why_not)
        async with Projection(self._settings.redis_url) as projection:
            await projection.announce(announce(registry))

    async def _unseen_paths(self, model: Model) -> list[str]:
        documents: list[Any] = []
        try:
            async for members in self.members():
                documents += [member.document for _, member in members]
                if len(documents) >= PATHS_SAMPLE:
                    break
        except TopicUnreadable:
            return []  # no worker has run yet: there is nothing to compare with
        return unseen_paths(model, documents) if documents else []

    async def _check_coverage(self, entry: Version) -> None:
        coverage = await anext(self.wait(entry))
        if coverage.waiting:
            raise PublishError(
                f"{label(entry.name, entry.version)} isn't scored for all members yet: {len(coverage.waiting)} of "
                f"{coverage.n_partitions} partitions wait, about {coverage.remaining} members. "
                "Next: memberstream model wait, and see that workers run; or --force"
            )

    async def _check_flips(self, live: Version, entry: Version, max_flips: float) -> None:
        """A member that has a cluster now and would have none counts as one that changes it."""
        n = flips = 0
        async for part in pairs(self._settings, live, entry):
            held = [(old, new) for _, old, new in part if old is not None]
            n += len(held)
            flips += sum(old != new for old, new in held)
        if n and flips / n > max_flips:
            old, new = label(live.name, live.version), label(entry.name, entry.version)
            raise PublishError(
                f"{flips:,} of {n:,} members ({flips / n:.1%}) would change their cluster, more than {max_flips:.0%}. "
                f"Next: memberstream model compare {new} {old}; then --max-flips, or --force"
            )

    def memberships(self, entry: Version) -> AsyncIterator[list[tuple[bytes, int]]]:
        """Yield (member id, cluster) of all who have a cluster under a version: stream.memberships."""
        return memberships(self._settings, entry)

    def members(self, progress: Progress = lambda done, total: None) -> AsyncIterator[list[tuple[bytes, Member]]]:
        """Yield (id, state) of the members that have a document, a thousand at a time. Raises TopicUnreadable."""
        return all_members(self._settings.kafka_bootstrap, self._settings.changelog_topic, progress)


def _check_campaigns(registry: Registry, name: str, version: int) -> None:
    campaigns = stranded(registry, name, version)
    if campaigns:
        raise PublishError(
            f"{label(name, version)} lacks clusters that campaigns name: {', '.join(campaigns)}. "
            "Next: memberstream campaign set or delete them, or --force: nobody sees them there then"
        )


def this_user() -> str:
    """Return who runs this process, for the history."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def find(registry: Registry, text: str) -> Version:
    """Return the version that `name@version` or, for the live one, `name` means.

    Raises:
        PublishError: there is none; the text names those there are.
    """
    name, _, version = text.partition("@")
    if not version and name in registry.live:
        version = str(registry.live[name])
    entry = registry.versions.get(f"{name}@{version}")
    if entry is None or entry.status in (Status.RETIRED, Status.UPLOADING):
        known = ", ".join(f"{e.name}@{e.version}" for e in registry.scored()) or "none"
        raise PublishError(f"no model {text} is published. Next: one of {known}")
    return entry


def _refuse_if(why_not: str) -> None:
    if why_not:
        raise PublishError(why_not)
