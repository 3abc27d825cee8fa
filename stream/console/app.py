"""The console as an ASGI application: its routes, and what a browser is told when something is wrong.

Laws:
- Nothing here changes anything: there are only GET and HEAD, and no step is taken.
- What is away is told on the page, as the product's own error with its next action; what is known is shown beside it.
- A fault of ours is a sentence on the page and a traceback in the console's log, never the reverse.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from memberstream.stream.console import views
from memberstream.stream.console.asking import Asking
from memberstream.stream.console.following import Following, Problem
from memberstream.stream.console.guard import Guard
from memberstream.stream.console.live import Live
from memberstream.stream.console.pages import FOLDER
from memberstream.stream.console.site import Site
from memberstream.stream.lookup import Lookup
from memberstream.stream.readout.style import SHEET
from memberstream.stream.settings import Settings

View = Callable[[Site, Request], Awaitable[Response]]
_FAULT = Problem("this is a fault of memberstream", "report it with the lines that the console has just logged")


def console(settings: Settings) -> tuple[ASGIApp, Live]:
    """Return the application of one installation, and its streams. It connects when it is started."""
    lookup = Lookup(settings.redis_url, prefix=settings.redis_prefix)
    following = Following(settings)
    site = Site(settings, following, Asking(settings, following), lookup)
    live = Live(site)
    return application(site, live), live


def application(site: Site, live: Live) -> ASGIApp:
    """Return the pages of a site."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await site.begin()
        yield
        await live.close()
        await site.end()

    def route(path: str, view: View) -> Route:
        async def endpoint(request: Request) -> Response:
            return await view(site, request)

        return Route(path, endpoint)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  (Starlette's type is wider; narrows it)
        told = Problem.of(error.detail, "see the pages above")
        if error.status_code == 405:
            told = Problem("the console only reads", "memberstream --help names the commands that act")
        shown = await site.page(request, "error.html", error.status_code, title=told.what, error=told)
        shown.headers.update(error.headers or {})
        return shown

    async def fault(request: Request, _: Exception) -> Response:
        return await site.page(request, "error.html", 500, title="A fault", error=_FAULT)

    pages = Starlette(
        routes=[
            route("/", views.overview_page),
            route("/live", live.stream),
            route("/models", views.models_page),
            route("/models/{name}", views.model_page),
            route("/lists", views.lists_page),
            route("/campaigns", views.campaigns_page),
            route("/campaigns/{campaign}", views.campaign_page),
            route("/campaigns/{campaign}/report", views.report_page),
            route("/members", views.members_page),
            route("/history", views.history_page),
            *(
                Route(f"/{name}", _file(name, kind))
                for name, kind in (("console.js", "text/javascript"), ("icon.svg", "image/svg+xml"))
            ),
            Route("/style.css", _sheet),
            *(route(f"/history.{form}", views.history_as(form)) for form in ("csv", "json")),
        ],
        exception_handlers={HTTPException: refused, Exception: fault},
        lifespan=lifespan,
    )
    return Guard(pages)  # around everything: an answer about a fault has its headers, too


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return Response((FOLDER / "static" / name).read_bytes(), media_type=kind)

    return answer


async def _sheet(_: Request) -> Response:
    own = (FOLDER / "static" / "console.css").read_text(encoding="utf-8")
    return Response(SHEET + own, media_type="text/css")
