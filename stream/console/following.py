"""The models' log, followed while the console runs: so pages show each step within a second and ask Kafka nothing.

Law: nothing is created. A log that isn't there yet is waited for: asking for it by reading would make the topic.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import NamedTuple

from aiokafka.errors import KafkaError

from memberstream.models.registry import Registry
from memberstream.stream.kafka.topics import count_partitions
from memberstream.stream.registry.follower import Follower
from memberstream.stream.registry.log import ModelsLog
from memberstream.stream.settings import Settings

_AGAIN_S = 2.0
_WAIT = "see the brokers; it is tried again all the time"
_ONCE_WAIT_MS = 20  # of the first reading, as of commands (registry/log.py)


class Problem(NamedTuple):
    """What is wrong, and what to do."""

    what: str
    next: str

    @staticmethod
    def of(text: str, otherwise: str) -> Problem:
        """Return the problem of an error's text; `otherwise`: what to do if it doesn't say so itself."""
        what, _, next_ = text.partition("Next: ")
        return Problem(what.strip().rstrip("."), next_ or otherwise)


_ENDED = Problem(
    "the models' log isn't followed any more: what is shown was read before",
    "restart the console, and report this with the lines that it has logged",
)


class Following:
    """The log of one installation.

    Attributes:
        was_read: whether it was known once what the log holds, or that there is none.
        is_told: set as soon as that is known, or why it can't be.
    """

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._log = ModelsLog(settings.kafka, settings.models_topic, settings.replication_factor)
        self._registry = Registry()
        self._follower: Follower | None = None
        self._unread, self._is_over = "", False
        self.was_read, self.is_told = False, asyncio.Event()

    @property
    def registry(self) -> Registry:
        """What the log says now. A copy: steps that come in meanwhile don't change it."""
        now = self._registry
        return replace(
            now,
            versions={name: replace(entry) for name, entry in now.versions.items()},
            live=dict(now.live),
            campaigns=dict(now.campaigns),
            history=list(now.history),
            campaign_history=list(now.campaign_history),
            campaign_offsets=list(now.campaign_offsets),
            set_aside=now.set_aside.copy(),
        )

    @property
    def offset(self) -> int:
        """The last step that was read."""
        return self._registry.offset

    @property
    def current(self) -> Registry | None:
        """What the log says now; None: that isn't known, or in doubt."""
        return self.registry if self.was_read and self.doubt is None else None

    @property
    def doubt(self) -> Problem | None:
        """Why what is known may not be what the log says now, and be it since a moment; None: it is."""
        follower = self._follower
        if self._is_over:
            return _ENDED
        if follower is not None and follower.lost is not None:
            return Problem(follower.lost[1], 'docs/operations.md, "The models\' log is lost"')
        if follower is not None and follower.unreadable is not None:
            return Problem.of(follower.why_unreadable, _WAIT)
        return Problem.of(self._unread, _WAIT) if self._unread else None

    @property
    def problem(self) -> Problem | None:
        """The same, if somebody should act: one question that wasn't answered in time is no incident."""
        follower = self._follower
        is_short = follower is not None and follower.lost is None and not follower.is_unreadable_for_long
        return None if is_short and not self._is_over else self.doubt

    async def run(self) -> None:
        """Follow the log. Never returns. Outages are waited out; a fault is a problem from then on, and is raised."""
        try:
            while True:
                if await self._begin():
                    break
                await asyncio.sleep(_AGAIN_S)
            self._follower = Follower(self._log, self._registry)
            await self._follower.run(_nothing)
        finally:
            self._is_over = True

    async def _begin(self) -> bool:
        """Read the log once; return whether there is one."""
        try:
            is_there = await count_partitions(self._kafka, self._log.topic) > 0
            if is_there:
                async with self._log.consumer(fetch_max_wait_ms=_ONCE_WAIT_MS) as consumer:
                    await self._log.read_on(consumer, self._registry)
        except (OSError, KafkaError) as error:
            self._unread = str(error) or type(error).__name__
            return False
        else:
            self._unread, self.was_read = "", True
            return is_there
        finally:
            self.is_told.set()


async def _nothing() -> None:
    """Pages look at the registry when they are asked for."""
