"""Each page: what it asks, and what its template is handed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from memberstream.models.registry import Registry, Version
from memberstream.models.targeting import misfit
from memberstream.stream.authoring.coverage import Coverage, coverage_of
from memberstream.stream.console import audit, history, overview, sizes, standing, versions
from memberstream.stream.console.access import admitted
from memberstream.stream.console.following import Problem
from memberstream.stream.console.reasons import Known
from memberstream.stream.console.reporting import report
from memberstream.stream.console.roles import Right
from memberstream.stream.console.site import Site, foreign, now_ms
from memberstream.stream.console.uploads import Upload
from memberstream.stream.keyspace.formats import KeyspaceError
from memberstream.stream.lookup import LookupUnavailable
from memberstream.stream.projection.calls import RedisFault, RedisUnavailable
from memberstream.stream.readout.setup import family_of
from memberstream.stream.registry.refused import PublishError

STEPS = 100  # on a page of the history
LONGEST_ID = 1_000  # characters of a member id: longer ones may be, but nobody looks them up by hand
_AWAY = "check Redis, and reload"


async def overview_page(site: Site, request: Request) -> Response:
    """How it is now. The parts come anew by live.py."""
    return await site.page(request, "overview.html", parts=await overview_parts(site))


async def overview_parts(site: Site) -> dict[str, str]:
    """Return the overview's parts as HTML, by the ids of their places."""
    registry, now = await site.registry(), await site.asking.now()
    facts = now.facts
    other = foreign(now)
    figures = overview.figures(facts, site.settings.topic) if facts is not None and other is None else None
    values = {
        "now": now, "facts": facts, "figures": figures, "other": other, "problem": site.problem,
        "n_campaigns": len(registry.campaigns) if site.following.was_read else None,
        "versions": versions.shown(registry, overview.scored_versions(registry)),
        "topic": site.settings.topic, "sizes": await site.sizes(),
        "has_log_in": site.access.has_log_in,
    }  # fmt: skip
    return {name: site.render(f"parts/{name}.html", **values) for name in ("incidents", "figures", "partitions")}


async def models_page(site: Site, request: Request) -> Response:
    """All versions of computed models."""
    registry = await site.registry()
    shown = versions.versions(registry, are_lists=False)
    return await site.page(request, "models.html", shown=shown, sizes=await site.sizes())


async def model_page(site: Site, request: Request) -> Response:
    """One model or list: its versions, how far candidates are scored, and what was done."""
    name, registry = request.path_params["name"], await site.registry()
    shown = versions.versions(registry, name=name)
    if not shown:
        raise missing(site, f"nothing called {name} was ever published. Next: see Models and Lists for what was")
    scored = [one.entry for one in shown if one.entry in registry.scored()]
    coverages, away = await _coverages(site, scored)
    steps = [one for one in history.done(registry) if one.kind != "campaign" and one.step.label.startswith(f"{name}@")]
    return await site.page(
        request, "model.html", name=name, shown=shown, coverages=coverages, away=away, steps=steps,
        back_to=registry.previous(name),
        is_renewed=any(isinstance(one, Coverage) and not one.is_complete for one in coverages.values()),
        sizes=await site.sizes(),
    )  # fmt: skip


async def _coverages(site: Site, entries: list[Version]) -> tuple[dict[str, Coverage | Problem], Problem | None]:
    """Return how far versions are scored, by their labels; and why that isn't known."""
    facts = (await site.asking.now()).facts
    described = None if facts is None else facts.topics.get(site.settings.topic)
    if described is None:
        return {}, Problem("how far members are scored isn't known", "see the overview for what is away")
    if (other := await site.foreign()) is not None:
        return {}, other
    found: dict[str, Coverage | Problem] = {}
    try:
        for entry in entries:
            try:
                found[entry.label] = await coverage_of(site.asking.partitions, entry, described.n_partitions)
            except PublishError as error:
                found[entry.label] = Problem.of(str(error), "see the workers' logs")
    except (RedisUnavailable, RedisFault, KeyspaceError) as error:
        return {}, Problem.of(str(error), _AWAY)
    return found, None


def lists_page(own: Callable[[Request], list[Upload]]) -> Callable[[Site, Request], Awaitable[Response]]:
    """Return the page of all uploaded lists. `own`: returns the uploads of whoever asks."""

    async def view(site: Site, request: Request) -> Response:
        registry = await site.registry()
        shown = versions.versions(registry, are_lists=True)
        return await site.page(request, "lists.html", shown=shown, uploads=own(request))

    return view


async def campaigns_page(site: Site, request: Request) -> Response:
    """All campaigns."""
    registry = await site.registry()
    campaigns = sorted(registry.campaigns.values(), key=lambda one: one.id)
    misfits = [why for one in campaigns if (why := misfit(registry, one.id, one.terms))]
    known = await site.sizes()
    reached = {one.id: sizes.reach(registry, one, known) for one in campaigns}
    return await site.page(
        request, "campaigns.html", registry=registry, campaigns=campaigns, misfits=misfits, reached=reached
    )


async def campaign_page(site: Site, request: Request) -> Response:
    """One campaign: its terms, and what was done with it."""
    registry = await site.registry()
    campaign, steps = _campaign(site, request, registry)
    found = registry.campaigns.get(campaign)
    why = "" if found is None else misfit(registry, campaign, found.terms)
    return await site.page(
        request, "campaign.html", registry=registry, campaign=campaign, found=found, misfit=why, steps=steps,
        family=[one for one in family_of(registry, [campaign]) if one != campaign],
        reached=None if found is None else sizes.reach(registry, found, await site.sizes()),
    )  # fmt: skip


def _campaign(site: Site, request: Request, registry: Registry) -> tuple[str, list[history.Done]]:
    campaign = request.path_params["campaign"]
    steps = [one for one in history.done(registry, "campaign") if one.step.label == campaign]
    if not steps:
        raise missing(site, f"there is no campaign {campaign}. Next: see Campaigns for those that there are")
    return campaign, steps


def missing(site: Site, why: str) -> HTTPException:
    """Return the answer about what the models' log doesn't hold, as far as is known."""
    if site.doubt is None:
        return HTTPException(404, why)
    return HTTPException(503, "whether that exists isn't known now. Next: reload when the models' log is read again")


async def report_page(site: Site, request: Request) -> Response:
    """What a campaign caused."""
    registry = await site.registry()
    campaign, _ = _campaign(site, request, registry)
    if (other := await site.foreign()) is not None:
        return await site.page(request, "report.html", campaign=campaign, body=None, why=other, notes=[])
    async with site.one_report:
        found = await report(site.settings, registry, campaign)
    return await site.page(
        request, "report.html", campaign=campaign, body=found.body, why=found.problem, notes=found.notes
    )


async def members_page(site: Site, request: Request) -> Response:
    """One member, as look-ups see it."""
    member_id = request.query_params.get("id", "").strip()
    values: dict[str, Any] = {"member_id": member_id, "answer": None, "why": None, "standings": [], "seen": [],
                              "known": None}  # fmt: skip
    if len(member_id) > LONGEST_ID:
        problem = Problem(
            f"a member id of {len(member_id):,} characters isn't looked up here", f"one of at most {LONGEST_ID:,}"
        )
        return await site.page(request, "members.html", 400, **(values | {"member_id": "", "why": problem}))
    if member_id and (other := await site.foreign()) is not None:
        values["why"] = other
    elif member_id:
        registry = await site.registry()
        try:
            answer = await asyncio.to_thread(site.lookup.get_patiently, member_id)
            values |= {
                "answer": answer, "standings": standing.standings(registry, answer),
                "seen": standing.seen(registry, answer, now_ms()),
                "known": await _known(site, request, member_id),
            }  # fmt: skip
        except (LookupUnavailable, KeyspaceError) as error:
            values["why"] = Problem.of(str(error), _AWAY)
    return await site.page(request, "members.html", **values)


async def _known(site: Site, request: Request, member_id: str) -> Known | Problem | None:
    admission = admitted(request)
    may_see = admission is not None and admission.person.may(Right.DOCUMENTS)
    found = await site.known(member_id, may_see)
    if isinstance(found, Known) and found.document is not None:
        audit.done(request, "saw a member's document, unmasked")
    return found


async def history_page(site: Site, request: Request) -> Response:
    """What people did, the latest first."""
    kind, text = _filter(request)
    steps = history.done(await site.registry(), kind, text)
    n_pages = max(1, -(-len(steps) // STEPS))
    asked = request.query_params.get("page", "1")
    page = min(max(1, int(asked)), n_pages) if asked.isascii() and asked.isdecimal() and len(asked) < 8 else 1
    return await site.page(
        request, "history.html", kind=kind, text=text, kinds=history.KINDS, n_steps=len(steps), page_number=page,
        n_pages=n_pages, steps=steps[(page - 1) * STEPS : page * STEPS],
    )  # fmt: skip


def history_as(form: str) -> Callable[[Site, Request], Awaitable[Response]]:
    """Return the view of all steps of a filter as a file, `csv` or `json`.

    While the log can't be read there is no file: it might lack steps, and nobody would see that later.
    """

    async def view(site: Site, request: Request) -> Response:
        registry = await site.registry()
        if (problem := site.doubt) is not None:
            return await site.page(request, "error.html", 503, title="There is no file now", error=problem)
        steps = history.done(registry, *_filter(request))
        named = {"Content-Disposition": f'attachment; filename="memberstream-history.{form}"'}
        if form == "csv":
            return Response(history.to_csv(steps), media_type="text/csv", headers=named)
        body = orjson.dumps(history.to_json(steps), option=orjson.OPT_INDENT_2)
        return Response(body, media_type="application/json", headers=named)

    return view


def _filter(request: Request) -> tuple[str, str]:
    kind = request.query_params.get("kind", "")
    return kind if kind in history.KINDS else "", request.query_params.get("text", "").strip()
