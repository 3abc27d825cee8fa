"""The models' log begun anew, after it was lost.

Law: offsets never go back. State and Redis know up to which step all members are scored and readers were told. So the
steps of the new log must have offsets that nobody knows yet: empty records take the offsets of the lost log. Until the
log says that it is complete, workers and readers go by what they knew.
"""

from __future__ import annotations

from typing import NamedTuple

from memberstream.models.log_record import COMPLETE, NOTHING
from memberstream.models.registry import Registry
from memberstream.stream.projection.installation import projection_of
from memberstream.stream.registry.log import ModelsLog
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings

_AT_ONCE = 10_000  # records written together; the lost log may have had a million


class Ends(NamedTuple):
    """The last step of the log as it is, and the last that readers know of; -1: none."""

    here: int
    known: int


class Renewal:
    """The two steps, for one installation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = ModelsLog(settings.kafka, settings.models_topic, settings.replication_factor)

    async def ends(self) -> Ends:
        """Return how far the log reaches, and the last step that is known of it."""
        registry = await self._log.read()
        async with await projection_of(self._settings) as projection:
            return Ends(registry.offset, await projection.readers.known())

    async def begin(self, last_known: int) -> int:
        """Fill all offsets up to that of the last step known. Returns how many.

        Raises:
            PublishError: the log has these offsets already.
        """
        offset, n = (await self._log.read()).offset, 0
        if offset >= last_known:
            raise PublishError(
                f"the models' log ends at step {offset}, and no more than step {last_known} is known: nothing is "
                "lost. Next: if a worker says that it knows more, say so: --known STEP"
            )
        while (missing := min(last_known - offset, _AT_ONCE)) > 0:
            offset = await self._log.append_value(b"nothing", NOTHING, missing)  # one key: compaction keeps the last
            n += missing
        return n

    async def complete(self) -> Registry:
        """Declare the log complete: it is what the lost one was. Returns what it holds.

        Raises:
            PublishError: it isn't being begun anew.
        """
        registry = await self.refuse_if_complete()
        await self._log.append_value(b"complete", COMPLETE)
        return registry

    async def refuse_if_complete(self) -> Registry:
        """Return what a log holds that is being begun anew. Raises PublishError: it isn't being begun anew."""
        if (registry := await self._log.read()).is_complete:
            raise PublishError("the models' log is complete. Next: nothing; memberstream model list shows it")
        return registry
