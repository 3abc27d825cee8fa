"""The console as an ASGI application: its routes, and what a browser is told when something is wrong.

Laws:
- Each page and each action stands here with the right that it takes, and nobody gets further without. What is open to
  everybody says so.
- Only what is sent as a form acts. Before it is looked at, it must be one that the console made for this person.
- What is away is told on the page, as the product's own error with its next action; what is known is shown beside it.
- A fault of ours is a sentence on the page and a traceback in the console's log, never the reverse.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from memberstream.stream.console import campaign_acts, forms, letter_acts, list_acts, model_acts, uploads, views
from memberstream.stream.console.access import Access, admitted
from memberstream.stream.console.acts import Acts
from memberstream.stream.console.asking import Asking
from memberstream.stream.console.campaign_acts import CampaignActs
from memberstream.stream.console.following import Following, Problem
from memberstream.stream.console.guard import Guard
from memberstream.stream.console.letter_acts import DeadLetters
from memberstream.stream.console.list_acts import ListActs
from memberstream.stream.console.live import Live
from memberstream.stream.console.model_acts import ModelActs
from memberstream.stream.console.pages import FOLDER
from memberstream.stream.console.roles import Right
from memberstream.stream.console.signing_in import BACK, BY_PROVIDER, LOG_IN, SigningIn, to_log_in
from memberstream.stream.console.site import Site
from memberstream.stream.console.uploads import Uploads
from memberstream.stream.lookup import Lookup
from memberstream.stream.readout.style import SHEET
from memberstream.stream.settings import Settings

View = Callable[[Site, Request], Awaitable[Response]]
Act = Callable[[Site, Request, FormData], Awaitable[Response]]
Before = Callable[[Site, Request], Awaitable[Response | None]]
_NOT_OURS = Problem(
    "this form isn't of your log-in: nothing was done", "go back, reload the page, and send its form again"
)
_FAULT = Problem("this is a fault of memberstream", "report it with the lines that the console has just logged")


def console(settings: Settings) -> tuple[ASGIApp, Live]:
    """Return the application of one installation, and its streams. It connects when it is started."""
    lookup = Lookup(settings.redis_url, prefix=settings.redis_prefix)
    following = Following(settings)
    site = Site(settings, following, Asking(settings, following), lookup, Access(settings))
    live = Live(site)
    return application(site, live), live


def application(site: Site, live: Live) -> ASGIApp:
    """Return the pages of a site."""
    signing_in, letters, acts = SigningIn(), DeadLetters(site), Acts()
    lists = Uploads(site.settings)
    site.said = acts.said

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await site.begin()
        yield
        await live.close()
        await lists.close()
        await acts.close()
        await letters.close()
        await site.end()

    async def kept_out(request: Request, right: Right) -> Response | None:
        if admitted(request) is None and request.method in ("GET", "HEAD"):
            return to_log_in(request)
        why = forms.missing_right(request, right)
        if why is None:
            return None
        status = 401 if admitted(request) is None else 403
        return await site.page(request, "error.html", status, title="Not allowed", error=why)

    def route(path: str, view: View, right: Right | None = Right.LOOK) -> Route:
        """Return a page. `right` None: it is open to everybody."""

        async def endpoint(request: Request) -> Response:
            if right is not None and (refusal := await kept_out(request, right)) is not None:
                return refusal
            return await view(site, request)

        return Route(path, endpoint)

    def act(path: str, view: Act, right: Right | None, most: int = forms.LARGEST, first: Before | None = None) -> Route:
        """Return an action, sent as a form. `right` None: by those who aren't known yet, so it carries no token.

        Args:
            most: how many bytes a form with a file may have.
            first: asked before the form is read; what it answers is the answer.
        """

        async def endpoint(request: Request) -> Response:
            if right is not None and (refusal := await kept_out(request, right)) is not None:
                return refusal
            if first is not None and (answer := await first(site, request)) is not None:
                return answer
            form = await forms.read_form(request, most)
            try:
                if right is not None and not forms.is_ours(request, form):
                    return await site.page(request, "error.html", 403, title="Not done", error=_NOT_OURS)
                return await view(site, request, form)
            finally:
                await form.close()  # its file

        return Route(path, endpoint, methods=["POST"])

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  (Starlette's type is wider; narrows it)
        told = Problem.of(error.detail, "see the pages above")
        if error.status_code == 405:
            told = Problem("this page takes nothing", "memberstream --help names the commands that act")
        shown = await site.page(request, "error.html", error.status_code, title=told.what, error=told)
        shown.headers.update(error.headers or {})
        return shown

    async def fault(request: Request, _: Exception) -> Response:
        return await site.page(request, "error.html", 500, title="A fault", error=_FAULT)

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=400)  # nobody reads it: the browser went while it sent a form

    pages = Starlette(
        routes=[
            route("/", views.overview_page),
            route("/live", live.stream, None),  # it answers as an event why it tells nothing
            route(LOG_IN, signing_in.page, None),
            act(LOG_IN, signing_in.log_in, None),
            route(BY_PROVIDER, signing_in.to_provider, None),
            route(BACK, signing_in.from_provider, None),
            act("/log-out", signing_in.log_out, Right.LOOK),
            route("/models", views.models_page),
            route("/models/{name}", views.model_page),
            *_uploading(lists, route, act),
            route("/campaigns", views.campaigns_page),
            route("/campaigns/{campaign}", views.campaign_page),
            route("/campaigns/{campaign}/report", views.report_page),
            route("/members", views.members_page),
            route(letter_acts.PAGE, letters.page),
            act(letter_acts.LOOK, letters.look, Right.DEAD_LETTERS),
            act(letter_acts.SEND, letters.send, Right.DEAD_LETTERS),
            route("/history", views.history_page),
            *_acting(acts, route, act),
            *(
                Route(f"/{name}", _file(name, kind))
                for name, kind in (("console.js", "text/javascript"), ("icon.svg", "image/svg+xml"))
            ),
            Route("/style.css", _sheet),
            *(route(f"/history.{form}", views.history_as(form)) for form in ("csv", "json")),
        ],
        exception_handlers={HTTPException: refused, ClientDisconnect: gone, Exception: fault},
        lifespan=lifespan,
    )
    return Guard(
        pages, site.access, site.settings.console_hosts
    )  # around everything: an answer about a fault has its headers, too


def _uploading(uploading: Uploads, route: Callable[..., Route], act: Callable[..., Route]) -> list[Route]:
    """Return the page of lists, and the steps of an upload."""
    lists = ListActs(uploading)
    return [
        route("/lists", views.lists_page(lists.own)),
        route(list_acts.UPLOAD, lists.form, Right.MODELS),
        act(list_acts.UPLOAD, lists.take, Right.MODELS, uploads.LARGEST, lists.full),
        route(list_acts.PROGRESS, lists.progress, Right.MODELS),
        act(list_acts.GO, lists.go, Right.MODELS),
        act(list_acts.DROP, lists.drop, Right.MODELS),
    ]


def _acting(
    acts: Acts, route: Callable[[str, View, Right | None], Route], act: Callable[[str, Act, Right | None], Route]
) -> list[Route]:
    """Return the actions, each with the page that asks for it."""
    campaigns, models = CampaignActs(acts), ModelActs(acts)
    found = [
        route("/acts/{name}", acts.waiting, Right.LOOK),
        route(campaign_acts.NEW, campaigns.new, Right.CAMPAIGNS),
        route(campaign_acts.SPLIT, campaigns.split_form, Right.CAMPAIGNS),
        act(campaign_acts.SPLIT, campaigns.split, Right.CAMPAIGNS),
        route("/campaigns/{campaign}/set", campaigns.form, Right.CAMPAIGNS),
        act("/campaigns/{campaign}/set", campaigns.set, Right.CAMPAIGNS),
        route(model_acts.PUBLISH, models.form, Right.MODELS),
        act(model_acts.PUBLISH, models.publish, Right.MODELS),
    ]
    for verb in campaign_acts.CHANGES:
        path = f"/campaigns/{{campaign}}/{verb}"
        found += [route(path, campaigns.ask(verb), Right.CAMPAIGNS), act(path, campaigns.change(verb), Right.CAMPAIGNS)]
    for verb in model_acts.CHANGES:
        path = f"/models/{{name}}/{verb}"
        found += [route(path, models.ask(verb), Right.MODELS), act(path, models.change(verb), Right.MODELS)]
    return found


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return Response((FOLDER / "static" / name).read_bytes(), media_type=kind)

    return answer


async def _sheet(_: Request) -> Response:
    own = (FOLDER / "static" / "console.css").read_text(encoding="utf-8")
    return Response(SHEET + own, media_type="text/css")
