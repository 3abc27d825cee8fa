"""A campaign's report for its page: the one of `memberstream campaign report`, or why there is none.

It reads what was told before and writes nothing down: a look here isn't remembered as told.

Law: what takes long runs beside the event loop, the first import too. Else pages stand still meanwhile, and the answers
of Kafka and Redis lie unread until they count as late.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import NamedTuple

from markupsafe import Markup

from memberstream.models.registry import Registry
from memberstream.stream.authoring.telling import Findings, FindingsError
from memberstream.stream.console.following import Problem
from memberstream.stream.projection.count_reader import CountsUnavailable
from memberstream.stream.readout.before import lacks
from memberstream.stream.settings import Settings

_OTHERWISE = "memberstream campaign report says more"


class Reported(NamedTuple):
    """The report as HTML, or why there is none; notes beside it."""

    body: Markup | None
    problem: Problem | None
    notes: list[str]


async def report(settings: Settings, registry: Registry, campaign: str) -> Reported:
    """Return the report of a campaign and of all others of its split."""
    try:
        await asyncio.to_thread(import_module, "memberstream.stream.readout.asked")  # seconds, with SciPy
        await asyncio.to_thread(import_module, "memberstream.stream.readout.page")
        from memberstream.stream.readout.asked import ask
        from memberstream.stream.readout.courses import ReadoutError
        from memberstream.stream.readout.page import body
    except ImportError as error:
        if not (lacking := lacks(error)):
            raise
        return Reported(None, Problem.of(lacking, _OTHERWISE), [])
    try:
        found, notes = await asyncio.to_thread(ask, settings, registry, [campaign])
    except (ReadoutError, CountsUnavailable) as error:
        return Reported(None, Problem.of(str(error), _OTHERWISE), [])
    told = []
    try:
        families = {part.name for part in found.parts}
        told = [finding for finding in await Findings(settings).read() if finding.family in families]
    except FindingsError as error:
        notes = [*notes, f"what was told before isn't known: {error}"]
    return Reported(Markup(await asyncio.to_thread(body, found, told)), None, notes)
