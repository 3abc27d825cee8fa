"""Log in and log out.

Laws:
- One password is looked at at a time, and only after the failures of late were counted: guesses sent side by side
  don't slip past the limit, and don't take the machine's memory.
- An unknown name and a wrong password are answered alike, after the same work.
- After a log-in one goes on to where one wanted to, on this console and nowhere else.
- Nobody is led to a provider without pressing for it: else nobody could log out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from memberstream.stream.console import audit
from memberstream.stream.console.access import COOKIE, SECURE_COOKIE, address_of, admitted
from memberstream.stream.console.attempts import Attempts
from memberstream.stream.console.following import Problem
from memberstream.stream.console.guard import is_own_name
from memberstream.stream.console.provider import BEGUN_LASTS_S, NotLetIn
from memberstream.stream.console.roles import Person, may_be_called
from memberstream.stream.console.sessions import LASTS_S
from memberstream.stream.console.site import Site
from memberstream.stream.console.users import Users, UsersError

LOG_IN = "/log-in"
BY_PROVIDER, BACK = f"{LOG_IN}/provider", f"{LOG_IN}/provider/back"
#: What a browser keeps while it is at the provider.
_BEGUN = "-log-in"
_LONGEST_WANTED = 1_000  # bytes: it is kept in a cookie
_INSIDE = re.compile(r"/(?![/\\])[^\\\s]*")  # a path; "//host" and "/\host" are addresses of others
_WRONG = Problem(
    "name or password is wrong", "try again; whoever runs the console can give you a new one (console-users add)"
)
_BY_PROXY = Problem(
    "nobody is known who asks", "open the console by the address at which you log in, or ask for a role in it"
)


class SigningIn:
    """The log-in of one console."""

    def __init__(self) -> None:
        self._attempts = Attempts()
        self._one = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "log-in")  # its own: look-ups in a Redis that hangs keep the others

    async def page(self, site: Site, request: Request) -> Response:
        """Ask for name and password."""
        if admitted(request) is not None:
            return RedirectResponse(_wanted(request), 303)
        if site.access.users or site.access.provider:
            return await _form(site, request, 200, None)
        return await _form(site, request, 401, _BY_PROXY)

    async def log_in(self, site: Site, request: Request, form: FormData) -> Response:
        """Begin a session, or say why not."""
        name, password = str(form.get("name", "")).strip(), str(form.get("password", ""))
        users = site.access.users
        if users is None or not may_be_called(name):
            return await _form(site, request, 403, _WRONG)
        address = address_of(request.scope)
        async with self._one:
            if (wait_s := self._attempts.wait_s(name, address)) > 0:
                audit.kept_out(request, _told(users, name), "too many attempts failed")
                wait = Problem("too many attempts have failed", f"wait {wait_s / 60:.0f} min, then try again")
                refused = await _form(site, request, 429, wait)
                refused.headers["Retry-After"] = f"{wait_s:.0f}"
                return refused
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._thread, users.check, name, password)
            except UsersError as error:
                audit.kept_out(request, "somebody", str(error))
                away = Problem("nobody can log in now", "whoever runs the console finds the reason in its log")
                return await _form(site, request, 503, away)
            if found is None:
                self._attempts.failed(name, address)
        if found is None:
            audit.kept_out(request, _told(users, name), "the password is wrong")
            return await _form(site, request, 403, _WRONG)
        audit.came(request, name)
        is_secure = request.headers.get("origin", "").startswith("https://")
        return _let_in(site, request, _wanted(request), is_secure, name, found.password)

    async def to_provider(self, site: Site, request: Request) -> Response:
        """Lead to the provider."""
        provider, wanted = site.access.provider, _wanted(request)
        if provider is None or admitted(request) is not None:
            return RedirectResponse(wanted if provider else LOG_IN, 303)
        is_secure = _is_secure(request)
        back = f"{'https' if is_secure else 'http'}://{request.headers['host']}{BACK}"
        wanted = wanted if len(wanted.encode()) <= _LONGEST_WANTED else "/"
        try:
            address, kept = await provider.begin(request, back, wanted, _signed(site))
        except NotLetIn as error:
            return await _not_let_in(site, request, error)
        reply = RedirectResponse(address, 303)
        reply.set_cookie(
            _cookie(is_secure) + _BEGUN, kept, max_age=BEGUN_LASTS_S, secure=is_secure, httponly=True, samesite="lax"
        )
        return reply

    async def from_provider(self, site: Site, request: Request) -> Response:
        """Begin a session for whom the provider knows, or say why not."""
        provider, is_secure = site.access.provider, _is_secure(request)
        if provider is None:
            return RedirectResponse(LOG_IN, 303)
        name = _cookie(is_secure) + _BEGUN
        try:
            found = await provider.end(request, request.cookies.get(name, ""), _signed(site))
        except NotLetIn as error:
            reply = await _not_let_in(site, request, error)
        else:
            person = found.person
            audit.came(request, f"{person.told}, {found.subject} at {provider.issuer},")
            reply = _let_in(site, request, found.wanted, is_secure, person.name, provider.issuer, person)
        reply.delete_cookie(name, secure=is_secure, httponly=True, samesite="lax")  # a log-in ends once
        return reply

    async def log_out(self, site: Site, request: Request, _: FormData) -> Response:
        """End the session."""
        if (admission := admitted(request)) is not None and admission.session:
            site.access.sessions.end(admission.session)
            audit.went(request)
        reply = RedirectResponse(LOG_IN, 303)
        for name in (SECURE_COOKIE, COOKIE):
            reply.delete_cookie(name, secure=name == SECURE_COOKIE, httponly=True, samesite="lax")
        return reply


def _let_in(
    site: Site,
    request: Request,
    wanted: str,
    is_secure: bool,
    name: str,
    proof: str,
    told: Person | None = None,
) -> Response:
    """Begin a session, in place of the one that the browser has: nobody could log out of that any more.

    Args:
        told: as a provider has told of the person.
    """
    if (before := admitted(request)) is not None:
        site.access.sessions.end(before.session)
    reply = RedirectResponse(wanted, 303)
    number = site.access.sessions.begin(name, proof, *((told.roles, told.subject) if told else ()))
    reply.set_cookie(_cookie(is_secure), number, max_age=LASTS_S, secure=is_secure, httponly=True, samesite="lax")
    return reply


async def _not_let_in(site: Site, request: Request, error: NotLetIn) -> Response:
    audit.kept_out(request, "somebody", error.why)
    return await _form(site, request, error.status, error.problem)


def _signed(site: Site) -> Callable[[str], str]:
    return lambda text: site.access.sessions.token(f"log-in {text}")


def _cookie(is_secure: bool) -> str:
    return SECURE_COOKIE if is_secure else COOKIE


def _is_secure(request: Request) -> bool:
    """Return whether the browser asked by HTTPS: by a declared name it must have."""
    return not is_own_name(request.headers.get("host", ""))


def to_log_in(request: Request) -> Response:
    """Return the way to the log-in, and from there back here."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{LOG_IN}?next={quote(wanted, safe='')}" if wanted != "/" else LOG_IN, 303)


def _wanted(request: Request) -> str:
    """Return where to go after the log-in: on this console, else the overview."""
    wanted = request.query_params.get("next", "")
    return wanted if _INSIDE.fullmatch(wanted) and not wanted.startswith(LOG_IN) else "/"


async def _form(site: Site, request: Request, status: int, why: Problem | None) -> Response:
    provider = site.access.provider
    return await site.page(
        request, "log_in.html", status, why=why, wanted=_wanted(request), has_password=site.access.users is not None,
        by_provider=None if provider is None else BY_PROVIDER, provider="" if provider is None else provider.name,
    )  # fmt: skip


def _told(users: Users, name: str) -> str:
    """Return a name for the log: what isn't one may be a password that was typed into the wrong field."""
    try:
        return name if name in users.all else "an unknown name"
    except UsersError:
        return "somebody"
