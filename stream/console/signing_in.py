"""Log in and log out.

Laws:
- One password is looked at at a time, and only after the failures of late were counted: guesses sent side by side
  don't slip past the limit, and don't take the machine's memory.
- An unknown name and a wrong password are answered alike, after the same work.
- After a log-in one goes on to where one wanted to, on this console and nowhere else.
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from memberstream.stream.console import audit
from memberstream.stream.console.access import COOKIE, SECURE_COOKIE, address_of, admitted
from memberstream.stream.console.attempts import Attempts
from memberstream.stream.console.following import Problem
from memberstream.stream.console.roles import may_be_called
from memberstream.stream.console.sessions import LASTS_S
from memberstream.stream.console.site import Site
from memberstream.stream.console.users import Users, UsersError

LOG_IN = "/log-in"
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
        return await _form(site, request, 200 if site.access.users else 401, None if site.access.users else _BY_PROXY)

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
        if (before := admitted(request)) is not None:
            site.access.sessions.end(before.session)  # nobody can log out of it any more
        audit.came(request, name)
        reply = RedirectResponse(_wanted(request), 303)
        is_secure = request.headers.get("origin", "").startswith("https://")
        reply.set_cookie(
            SECURE_COOKIE if is_secure else COOKIE, site.access.sessions.begin(name, found.password), max_age=LASTS_S,
            secure=is_secure, httponly=True, samesite="lax",
        )  # fmt: skip
        return reply

    async def log_out(self, site: Site, request: Request, _: FormData) -> Response:
        """End the session."""
        if (admission := admitted(request)) is not None and admission.session:
            site.access.sessions.end(admission.session)
            audit.went(request, admission.person.name)
        reply = RedirectResponse(LOG_IN, 303)
        for name in (SECURE_COOKIE, COOKIE):
            reply.delete_cookie(name, secure=name == SECURE_COOKIE, httponly=True, samesite="lax")
        return reply


def to_log_in(request: Request) -> Response:
    """Return the way to the log-in, and from there back here."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{LOG_IN}?next={quote(wanted, safe='')}" if wanted != "/" else LOG_IN, 303)


def _wanted(request: Request) -> str:
    """Return where to go after the log-in: on this console, else the overview."""
    wanted = request.query_params.get("next", "")
    return wanted if _INSIDE.fullmatch(wanted) and wanted.partition("?")[0] != LOG_IN else "/"


async def _form(site: Site, request: Request, status: int, why: Problem | None) -> Response:
    return await site.page(
        request, "log_in.html", status, why=why, wanted=_wanted(request), has_password=site.access.users is not None
    )


def _told(users: Users, name: str) -> str:
    """Return a name for the log: what isn't one may be a password that was typed into the wrong field."""
    try:
        return name if name in users.all else "an unknown name"
    except UsersError:
        return "somebody"
