"""What all pages of one installation share: whom they ask, and how a template becomes an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

from memberstream.models.registry import Registry
from memberstream.stream.console.access import Access, admitted
from memberstream.stream.console.asking import PATIENCE_S, Asking, Now
from memberstream.stream.console.following import Following, Problem
from memberstream.stream.console.pages import environment
from memberstream.stream.console.reasons import Known, Models, known
from memberstream.stream.console.roles import Right
from memberstream.stream.console.sizes import Size, sizes
from memberstream.stream.keyspace.formats import KeyspaceError
from memberstream.stream.lookup import Lookup
from memberstream.stream.projection.calls import RedisFault, RedisUnavailable
from memberstream.stream.queries.asking import NoAnswer, held_of
from memberstream.stream.settings import Settings

log = logging.getLogger(__name__)
#: Seconds that a page waits for the count of incidents in its navigation.
_GLANCE_S = 0.5
_UNKNOWN = Problem("what Kafka holds isn't known yet", "wait some seconds and reload; if it lasts, see the brokers")
_WHOSE = Problem(
    "whether the keys in Redis are this installation's isn't known: Kafka says which cluster this is",
    "see the overview for what is away, and reload",
)


class Site:
    """See above. `begin` and `end` are called in the event loop that answers."""

    def __init__(
        self, settings: Settings, following: Following, asking: Asking, lookup: Lookup, access: Access
    ) -> None:
        self.settings, self.following, self.asking, self.lookup = settings, following, asking, lookup
        self.access = access
        self.said: Callable[[Request], str] = lambda _: ""  # what whoever asks has just done (acts.py)
        self.one_report = asyncio.Lock()  # a report keeps a core busy for a second
        self._one_member, self._models = asyncio.Lock(), Models()
        self._templates = environment()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Follow the models' log from now on."""
        self._task = asyncio.create_task(self.following.run())
        self._task.add_done_callback(_say_why)
        await self.asking.now(0)  # the first page finds it answered

    async def end(self) -> None:
        """Close everything."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.asking.close()
        self.lookup.close()

    async def registry(self) -> Registry:
        """Return what the models' log says, as far as it is known. What else a page asks is asked meanwhile."""
        await self.asking.now(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self.following.is_told.wait()
        return self.following.registry

    @property
    def problem(self) -> Problem | None:
        """Why what the models' log says isn't known, or may be older than now."""
        return self.following.problem or (None if self.following.was_read else _UNKNOWN)

    @property
    def doubt(self) -> Problem | None:
        """The same, and be it since a moment: for what must not be taken for whole or for missing."""
        return self.following.doubt or self.problem

    async def foreign(self) -> Problem | None:
        """Return why Redis' answers aren't shown as this installation's; None: they are."""
        return foreign(await self.asking.now())

    async def sizes(self) -> dict[str, Size]:
        """Return label → how many members are in which cluster, as far as workers tell."""
        now = await self.asking.now()
        if now.facts is None or foreign(now) is not None:
            return {}
        return sizes(now.facts, self.settings.topic, self.following.registry)

    async def known(self, member_id: str, may_see: bool) -> Known | Problem | None:
        """Return what the member's worker holds of it, or why that isn't known; None: it has no document.

        One member at a time: an explanation keeps a core busy. Whoever calls has made sure of `foreign`.
        """
        if self.settings.query_key is None:
            return Problem(
                "workers aren't asked for documents here", "set MEMBERSTREAM_QUERY_SECRET, here and for them"
            )
        facts = (await self.asking.now()).facts
        described = None if facts is None else facts.topics.get(self.settings.topic)
        if described is None:
            return Problem("in which partition the member is isn't known", "see the overview for what is away")
        async with self._one_member:
            try:
                held = await held_of(self.settings, self.asking.partitions, described.n_partitions, member_id)
            except (NoAnswer, RedisUnavailable, RedisFault, KeyspaceError) as error:
                return Problem.of(str(error), "check Redis, and reload")
            if held is None:
                return None
            return await asyncio.to_thread(known, self.following.registry, held, self._models, may_see)

    async def page(
        self, request: Request, template: str, status: int = 200, *, place: str = "", **values: Any
    ) -> HTMLResponse:
        """Return a page. Whoever isn't known learns nothing of the installation from it.

        Args:
            place: the page of the navigation that it belongs to, if its address doesn't say so.
        """
        admission, incidents, problem, is_untold = admitted(request), 0, None, False
        if admission is not None:
            now = await self.asking.now(_GLANCE_S)
            incidents, problem = len(now.incidents), self.problem
            is_untold = now.facts is None and problem is None  # else pages say already what is away
        shown = self.render(
            template, path=place or request.url.path, n_incidents=incidents, problem=problem, is_untold=is_untold,
            admission=admission, has_log_in=self.access.has_log_in,
            may=lambda right: admission is not None and admission.person.may(right), said=self.said(request),
            action=request.url.path, **values,
        )  # fmt: skip
        return HTMLResponse(shown, status)

    def render(self, template: str, **values: Any) -> str:
        """Return a template with these values, and those that all have."""
        return self._templates.get_template(template).render(
            now_ms=now_ms(), group=self.settings.group, version=version("memberstream"), Right=Right, **values
        )


def foreign(now: Now) -> Problem | None:
    """Return why what Redis holds isn't shown as this installation's; None: it is this installation's.

    It is another's, or nobody can say: Kafka never told its cluster, or Redis doesn't answer.
    """
    told = {check.name: check for check in now.checks}
    check = told.get("installation")
    if check is None and now.facts is not None and now.facts.redis_problem is not None:
        check = told.get("redis")
    if check is None:
        return _WHOSE
    return None if check.ok else Problem(check.problem, check.next)


def now_ms() -> int:
    """Return the wall clock."""
    return time.time_ns() // 1_000_000


def _say_why(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the models' log isn't followed any more. Next: restart the console and report this", exc_info=error)
