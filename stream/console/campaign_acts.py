"""What campaign managers do: set a campaign, pause it, resume it, delete it. Each by the command's own step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from msgspec import structs
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from memberstream.models.campaigns import Campaign
from memberstream.models.definition import is_name
from memberstream.models.model import label
from memberstream.models.registry import Registry
from memberstream.models.terms import is_id
from memberstream.models.wording import counted
from memberstream.stream.authoring.campaigning import Campaigning, split_ids
from memberstream.stream.console import term_form
from memberstream.stream.console.acts import Act, Acted, Acts, filled, new_number
from memberstream.stream.console.following import Problem
from memberstream.stream.console.site import Site, now_ms
from memberstream.stream.console.sizes import Size
from memberstream.stream.console.views import missing
from memberstream.stream.settings import Settings

NEW, SPLIT = "/campaigns-new", "/campaigns-split"
_NO_ID = Problem(
    "that is no campaign id", "begin with a small letter; small letters, digits, _ and - may follow, 64 in all"
)
_NONE = Problem("nothing was done", "correct the fields that are marked, and send it again")


class Change(NamedTuple):
    """What can be done with a campaign that there is. `past`: as the history's reader is told of it."""

    title: str
    means: str
    past: str


CHANGES = {
    "pause": Change("Pause", "Within a second or two nobody sees it, until it is resumed.", "is paused"),
    "resume": Change("Resume", "It is shown again within a second or two, if its dates allow that.", "is resumed"),
    "delete": Change(
        "Delete", "Nobody sees it any more. Its history stays; set again it holds out the same members.", "is deleted"
    ),
}


class CampaignActs:
    """The actions of one console."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    async def new(self, site: Site, request: Request) -> Response:
        """Ask for the id and the model of a new campaign; then for its terms."""
        registry = await site.registry()
        campaign, model = (request.query_params.get(name, "").strip() for name in ("id", "model"))
        why = None
        if campaign and is_id(campaign) and is_name(model):
            return RedirectResponse(f"/campaigns/{campaign}/set?model={model}", 303)
        if campaign:
            why = _NO_ID
        return await site.page(
            request, "new_campaign.html", 400 if why else 200, place="/campaigns", why=why, campaign=campaign,
            models=sorted(registry.live), model=model,
        )  # fmt: skip

    async def form(self, site: Site, request: Request) -> Response:
        """Show a campaign's terms as a form."""
        registry, campaign, found = await _campaign(site, request)
        if found is None and not is_name(request.query_params.get("model", "")):
            return RedirectResponse(f"{NEW}?id={campaign}", 303)
        kinds = site.settings.interaction_kinds
        terms = None if found is None else found.terms
        chosen = () if terms is None or terms.model != _model(request, found) else terms.clusters
        values = term_form.fields(terms, kinds) | {"seen": "" if found is None else str(found.offset)}
        return await _form(site, request, registry, found, values, set(map(str, chosen)))

    async def set(self, site: Site, request: Request, form: FormData) -> Response:
        """Set a campaign to the terms of the form."""
        registry, campaign, found = await _campaign(site, request)
        model, kinds = _model(request, found), site.settings.interaction_kinds
        base = None if found is None else found.terms
        terms, problems = term_form.read(registry, model, base, form, kinds)
        chosen = {str(one) for one in form.getlist("cluster")}

        async def again(outcome: Acted) -> Response:
            now, _, found = await _campaign(site, request)  # as it is by now
            values = filled(form) | {"seen": "" if found is None else str(found.offset)}
            since = _since(now, campaign, found, form)
            return await _form(site, request, now, found, values, chosen, outcome, problems, since)

        if terms is None:
            return await again(Acted(problem=_NONE, status=400))
        reason, force, seen = str(form.get("reason", "")).strip(), "force" in form, _seen(form)

        async def run(settings: Settings, actor: str) -> tuple[str, str]:
            await Campaigning(settings, actor).set(campaign, terms, reason=reason, force=force, seen=seen)
            return f"{campaign} is set.", f"/campaigns/{campaign}"

        return await self._acts.do(site, request, form, Act(f"set {campaign}", run), again)

    async def split_form(self, site: Site, request: Request) -> Response:
        """Show the terms of a split's campaigns as a form."""
        campaign, model = (request.query_params.get(name, "").strip() for name in ("id", "model"))
        registry = await site.registry()
        if not is_id(campaign) or model not in registry.live:
            return RedirectResponse(f"{NEW}?{urlencode({'id': campaign, 'model': model})}", 303)
        values = term_form.fields(None, site.settings.interaction_kinds)
        return await _split(site, request, registry, campaign, model, values)

    async def split(self, site: Site, request: Request, form: FormData) -> Response:
        """Make a campaign for each cluster."""
        campaign, model = (str(form.get(name, "")) for name in ("id", "model"))
        registry = await site.registry()
        if not is_id(campaign) or not is_name(model):
            raise HTTPException(400, f"{_NO_ID.what}. Next: {_NO_ID.next}")
        terms, problems = term_form.read(registry, model, None, form, site.settings.interaction_kinds, is_split=True)

        async def again(outcome: Acted) -> Response:
            now = await site.registry()  # as it is by now
            return await _split(site, request, now, campaign, model, filled(form), outcome, problems)

        if terms is None:
            return await again(Acted(problem=_NONE, status=400))
        given = {name: value for name, value in structs.asdict(terms).items() if name not in ("clusters", "split")}
        reason, live = str(form.get("reason", "")).strip(), _number(form, "live")

        async def run(settings: Settings, actor: str) -> tuple[str, str]:
            ids, n = await Campaigning(settings, actor).split(campaign, model, given, reason=reason, seen_live=live)
            return f"{n} of {counted(len(ids), 'campaign')} set: {', '.join(ids)}.", "/campaigns"

        return await self._acts.do(site, request, form, Act(f"split {campaign} by {model}", run), again)

    def ask(self, verb: str) -> Callable[[Site, Request], Awaitable[Response]]:
        """Return the page that asks whether this is meant."""

        async def page(site: Site, request: Request) -> Response:
            _, _, found = await _campaign(site, request)
            return await _ask(site, request, verb, found)

        return page

    def change(self, verb: str) -> Callable[[Site, Request, FormData], Awaitable[Response]]:
        """Return the action."""

        async def act(site: Site, request: Request, form: FormData) -> Response:
            _, campaign, _ = await _campaign(site, request)

            async def again(outcome: Acted) -> Response:
                now, _, found = await _campaign(site, request)
                since = _since(now, campaign, found, form)
                return await _ask(site, request, verb, found, outcome, filled(form), since)

            if why := term_form.reason_problem(form):
                return await again(Acted(problem=Problem.of(f"the reason: {why}", "say it shorter"), status=400))
            reason, seen = str(form.get("reason", "")).strip(), _seen(form)

            async def run(settings: Settings, actor: str) -> tuple[str, str]:
                step = getattr(Campaigning(settings, actor), verb)
                await step(campaign, reason=reason, seen=seen)
                return f"{campaign} {CHANGES[verb].past}.", f"/campaigns/{campaign}"

            return await self._acts.do(site, request, form, Act(f"{verb} {campaign}", run), again)

        return act


async def _campaign(site: Site, request: Request) -> tuple[Registry, str, Campaign | None]:
    campaign, registry = request.path_params["campaign"], await site.registry()
    if not is_id(campaign):
        raise HTTPException(404, f"{_NO_ID.what}. Next: {_NO_ID.next}")
    return registry, campaign, registry.campaigns.get(campaign)


async def _size(site: Site, registry: Registry, model: str) -> Size | None:
    """Return how many members are in which cluster of a model's live version; None: workers don't tell."""
    live = registry.live.get(model)
    return None if live is None else (await site.sizes()).get(label(model, live))


def _model(request: Request, found: Campaign | None) -> str:
    """Return the model that is meant: another one may be chosen for a campaign that there is."""
    asked = request.query_params.get("model", "")
    return asked if is_name(asked) else "" if found is None else found.terms.model


def _seen(form: FormData) -> int | None:
    return _number(form, "seen")


def _number(form: FormData, name: str) -> int | None:
    seen = str(form.get(name, ""))
    return int(seen) if seen.isascii() and seen.isdecimal() and len(seen) < 20 else None


def _since(registry: Registry, campaign: str, found: Campaign | None, form: FormData) -> str:
    """Return who has changed a campaign since a form was made, "" if nobody. A form that is shown again goes by now."""
    if _seen(form) == (None if found is None else found.offset):
        return ""
    steps = [step for step in registry.campaign_history if step.campaign == campaign]
    who = steps[-1].actor if steps else "somebody"
    return f"{who} has changed {campaign} since you opened this form. What you send now replaces that."


async def _form(
    site: Site,
    request: Request,
    registry: Registry,
    found: Campaign | None,
    values: dict[str, str],
    chosen: set[str],
    outcome: Acted = Acted(),  # noqa: B008  (a value)
    problems: dict[str, str] | None = None,
    since: str = "",
) -> Response:
    model = _model(request, found)
    shown: dict[str, Any] = {
        "campaign": request.path_params["campaign"], "model": model, "found": found, "registry": registry,
        "choices": term_form.choices(registry, model, None if found is None else found.terms), "chosen": chosen,
        "kinds": site.settings.interaction_kinds, "able": term_form.able(site.settings.interaction_kinds),
        "models": sorted({*registry.live, model}), "size": await _size(site, registry, model),
    }  # fmt: skip
    return await site.page(
        request, "set_campaign.html", outcome.status, why=outcome.problem, values=values, problems=problems or {},
        number=new_number(), since=since, **shown,
    )  # fmt: skip


async def _split(
    site: Site,
    request: Request,
    registry: Registry,
    campaign: str,
    model: str,
    values: dict[str, str],
    outcome: Acted = Acted(),  # noqa: B008  (a value)
    problems: dict[str, str] | None = None,
) -> Response:
    kinds = site.settings.interaction_kinds
    parts = split_ids(registry, campaign, model) if model in registry.live else {}
    return await site.page(
        request, "split_campaign.html", outcome.status, place="/campaigns", why=outcome.problem, values=values,
        problems=problems or {}, number=new_number(), campaign=campaign, model=model, parts=parts,
        names=term_form.choices(registry, model, None), kinds=kinds, able=term_form.able(kinds),
        size=await _size(site, registry, model), live=registry.live.get(model, ""),
    )  # fmt: skip


async def _ask(
    site: Site,
    request: Request,
    verb: str,
    found: Campaign | None,
    outcome: Acted = Acted(),  # noqa: B008  (a value)
    values: dict[str, str] | None = None,
    since: str = "",
) -> Response:
    campaign = request.path_params["campaign"]
    if found is None and outcome.problem is None:
        raise missing(site, f"there is no campaign {campaign}. Next: see Campaigns for those that there are")
    hidden = {"seen": "" if found is None else str(found.offset)}
    now = "" if found is None else f"{campaign} is {found.state_at(now_ms())} now."
    return await site.page(
        request, "ask.html", outcome.status, place="/campaigns", back=f"/campaigns/{campaign}", subject=campaign,
        title=CHANGES[verb].title, means=CHANGES[verb].means, now=now, hidden=hidden, why=outcome.problem,
        values=values or {}, number=new_number(), checks=[], is_final=verb == "delete", since=since,
    )  # fmt: skip
