"""The page of dead letters, and sending them again: looked at first, then sent, by the steps of `dead-letters resend`.

Laws:
- What is sent was shown before: the second form means the letters that had failed when the first one was looked at.
- One run at a time, at most MOST letters in one: whoever waits for a page waits some seconds. More is for the command.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from memberstream.models.wording import counted
from memberstream.stream.console import audit, dead_letters
from memberstream.stream.console.access import admitted
from memberstream.stream.console.asking import PATIENCE_S
from memberstream.stream.console.dead_letters import Letters
from memberstream.stream.console.following import Problem
from memberstream.stream.console.fresh import Fresh
from memberstream.stream.console.roles import Right
from memberstream.stream.console.site import Site, now_ms
from memberstream.stream.kafka.producer import SendError
from memberstream.stream.kafka.topic_reader import TopicUnreadable
from memberstream.stream.kafka.topics import TopicsUnreadable
from memberstream.stream.resending.letter import Choice
from memberstream.stream.resending.sending import RATE, Resending, Topic

PAGE, LOOK, SEND = "/dead-letters", "/dead-letters/look", "/dead-letters/send"
MOST = 1_000
#: Seconds for a look at the topics. The command has no such bound.
LOOK_S = 60.0
_READ_S, _KEPT_S = 10.0, 60.0
#: Seconds that the page waits for the topics, which are read while Kafka answers.
_PATIENCE_S = 8.0
SHOWN = 50  # letters that aren't sent, each with its reason
_BUSY = Problem("dead letters are being sent again by somebody", "wait until that is done, and look again")


class DeadLetters:
    """The views of one site."""

    def __init__(self, site: Site) -> None:
        def of(interactions: bool) -> Fresh[Letters]:
            topic, kafka = Topic.of(site.settings, interactions), site.settings.kafka
            return Fresh(lambda: dead_letters.read(kafka, topic), _READ_S, _KEPT_S)

        self._read = {False: of(False), True: of(True)}
        self._one_run = asyncio.Lock()

    async def page(self, site: Site, request: Request) -> Response:
        """What failed, and why."""
        patience_s = _PATIENCE_S if site.doubt is None else PATIENCE_S
        found = await asyncio.gather(*(fresh.get(patience_s) for fresh in self._read.values()))
        reason = request.query_params.get("reason", "")
        return await site.page(
            request, "dead_letters.html", found=found, reason=reason, right=Right.DEAD_LETTERS, n_most=MOST
        )

    async def look(self, site: Site, request: Request, form: FormData) -> Response:
        """What would be sent."""
        return await self._run(site, request, form, now_ms(), is_sent=False)

    async def send(self, site: Site, request: Request, form: FormData) -> Response:
        """Send what was looked at."""
        until = form.get("until", "")
        until_ms = int(until) if isinstance(until, str) and until.isdecimal() and len(until) < 16 else 0
        return await self._run(site, request, form, until_ms, is_sent=True)

    async def _run(self, site: Site, request: Request, form: FormData, until_ms: int, *, is_sent: bool) -> Response:
        is_of_interactions, reason = form.get("of") == "interactions", str(form.get("reason", ""))
        topic, named = Topic.of(site.settings, is_of_interactions), (reason,) if reason else ()
        choice = Choice(reasons=named or None, until_ms=until_ms)
        admission = admitted(request)
        assert admission is not None  # noqa: S101  (the route has asked for the right; narrows it)
        run = Resending(site.settings, topic, choice, admission.person.actor, named=named)
        values: dict[str, Any] = {"topic": topic, "reason": reason, "until_ms": until_ms, "run": run, "why": None}
        if self._one_run.locked():
            return await self._shown(site, request, values | {"why": _BUSY}, 409)
        async with self._one_run:
            try:
                would_be = await _planned_or_sent(run, is_sent)
            except (TopicUnreadable, TopicsUnreadable, SendError) as error:
                return await self._failed(site, request, values, Problem.of(str(error), "check the brokers"))
            except TimeoutError:
                many = Problem(f"the topics couldn't be read within {LOOK_S:g} s", "memberstream dead-letters resend")
                return await self._failed(site, request, values, many)
        if is_sent:
            audit.done(request, f"sent {counted(run.outcome.sent.total(), 'dead letter')} again to {topic.name}")
            self._read[is_of_interactions].expire()
        return await self._shown(site, request, values | {"would_be": would_be, "is_sent": is_sent})

    async def _failed(self, site: Site, request: Request, values: Mapping[str, Any], why: Problem) -> Response:
        topic: Topic = values["topic"]
        audit.failed(request, f"dead letters of {topic.name}", why.what)
        return await self._shown(site, request, {**values, "why": why}, 503)

    async def _shown(self, site: Site, request: Request, values: Mapping[str, Any], status: int = 200) -> Response:
        defaults = {"would_be": Counter[str](), "is_sent": False, "n_shown": SHOWN, "n_most": MOST}
        return await site.page(request, "resend.html", status, **{**defaults, **values})

    async def close(self) -> None:
        """End a look under way."""
        for fresh in self._read.values():
            await fresh.close()


async def _planned_or_sent(run: Resending, is_sent: bool) -> Counter[str]:
    """Return how many of each reason may be sent; if `is_sent`, the first MOST of them are."""
    async with asyncio.timeout(LOOK_S) as limit, run.planned() as letters:
        if is_sent and letters:
            limit.reschedule(None)  # what is sent isn't cut short: whoever looks then couldn't tell what was
            await run.send(letters[:MOST], RATE)
        return Counter(letter.reason for letter in letters)
