"""What all steps of people have in common: the way of one step from its author to readers.

0  whose keys are in Redis?              another installation's: the step isn't taken at all
1  it is appended to the models' log     the log decides: a step that somebody else's has made wrong doesn't count
2  the log is read up to it              so its author learns whether it counts
3  readers are told by one write         every worker that reads the step tells them, too: a crash before does no harm
"""

from __future__ import annotations

import getpass
import socket
import time

from memberstream.models.log_steps import Authorship, Step
from memberstream.models.registry import Registry, Status, Version
from memberstream.stream.projection.calls import NotOurs, RedisUnavailable
from memberstream.stream.projection.installation import installation_id
from memberstream.stream.projection.projection import Projection
from memberstream.stream.registry.log import ModelsLog
from memberstream.stream.registry.publication import announce
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings

_TAKEN = "The step is taken all the same, don't repeat it: workers tell readers of it once they can."


class Steps:
    """The steps of one author in one installation.

    Args:
        actor: who does it, for the history.
    """

    def __init__(self, settings: Settings, actor: str) -> None:
        self._settings, self._actor, self._owner = settings, actor, ""
        self._log = ModelsLog(settings.kafka, settings.models_topic, settings.replication_factor)

    async def registry(self) -> Registry:
        """Return the registry as it is now."""
        return await self._log.read()

    def by(self, reason: str = "", forced: bool = False) -> Authorship:
        """Return when, by whom and why a step is done: now, by this author."""
        return {"at_ms": time.time_ns() // 1_000_000, "actor": self._actor, "reason": reason, "forced": forced}

    async def take(self, step: Step) -> Registry:
        """Take a step. Returns the registry after it.

        Raises:
            PublishError: the step doesn't count, or readers know more steps than there are.
            RedisUnavailable: it is taken, but readers couldn't be told; a note says so.
            NotOurs: what readers would be told is another installation's.
        """
        self._owner = self._owner or await installation_id(self._settings)
        async with Projection(self._settings.redis_url, self._settings.keys, self._owner) as projection:
            return await self._take(step, projection)

    async def _take(self, step: Step, projection: Projection) -> Registry:
        try:
            await projection.calls.admit()  # 0
        except RedisUnavailable as error:  # away: the step counts without it, and workers tell readers
            if isinstance(error, NotOurs):
                raise
        registry, why_not = await self._log.append(step)  # 1, 2
        refuse_if(why_not)
        if registry.is_complete:  # readers are told nothing about a log that is being begun anew
            try:
                await self._tell_readers(registry, projection)  # 3
            except RedisUnavailable as error:
                error.add_note(_TAKEN)
                raise
        return registry

    async def _tell_readers(self, registry: Registry, projection: Projection) -> None:
        if await projection.readers.announce(announce(registry)):
            return
        known = await projection.readers.known()
        if known > (end := (await self._log.read()).offset):  # otherwise somebody was faster
            raise PublishError(
                f"the step is in the models' log, but that ends at step {end}, and readers know of step {known}: the "
                'log was lost, and no worker goes by this one. Next: see docs/operations.md, "The models\' log is lost"'
            )


def refuse_if(why_not: str) -> None:
    """Raise PublishError if there is a reason."""
    if why_not:
        raise PublishError(why_not)


def this_user() -> str:
    """Return who runs this process, for the history."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def find(registry: Registry, text: str) -> Version:
    """Return the version that `name@version` or, for the live one, `name` means.

    Raises:
        PublishError: there is none. The text names the versions that exist.
    """
    name, _, version = text.partition("@")
    if not version and name in registry.live:
        version = str(registry.live[name])
    entry = registry.versions.get(f"{name}@{version}")
    if entry is None or entry.status in (Status.RETIRED, Status.UPLOADING):
        known = ", ".join(e.label for e in registry.scored())
        next_ = f"one of {known}" if known else "publish it: memberstream model publish FILE"
        raise PublishError(f"no model {text} is published. Next: {next_}")
    return entry
