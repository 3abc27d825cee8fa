"""Who asks: by a session, by a proxy that says so, or nobody in particular where no log-in is set up.

Laws:
- A proxy's word counts only from its declared addresses, and only if it says it once: two headers of one name may be
  the browser's own beside the proxy's.
- What the file of users says now is what counts: roles, a new password and a removal hold at the next request. Of an
  OpenID provider, it is what it said at the log-in.
- Off this machine only the cookie counts that no other site of the same domain can set.
- Without any log-in everybody may look, and nobody more; server.py then lets only this machine in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.types import Scope

from memberstream.stream.console.provider import Provider
from memberstream.stream.console.roles import ANYBODY, BY_PROXY, Person, Role, may_be_called
from memberstream.stream.console.sessions import Sessions
from memberstream.stream.console.users import Users, UsersError
from memberstream.stream.settings import Settings

log = logging.getLogger(__name__)
#: By HTTPS the browser itself keeps others from setting the cookie; by HTTP, on this machine, it refuses that name.
SECURE_COOKIE, COOKIE = "__Host-memberstream", "memberstream"
#: What proxies call it, oauth2-proxy among them. Groups are joined by commas; those of others don't matter.
USER_HEADER, GROUPS_HEADER, GROUP = "x-forwarded-user", "x-forwarded-groups", "memberstream-"
_KEY = "memberstream.admission"


class Admission(NamedTuple):
    """Who asks, as far as one request goes.

    Attributes:
        token: what this person's forms carry.
        session: the number of the session; "": it isn't by one, so there is nothing to log out of.
        holds: whether it still does: for an answer that goes on.
    """

    person: Person
    token: str
    session: str
    holds: Callable[[], bool]


class Access:
    """How people are known in one installation."""

    def __init__(self, settings: Settings) -> None:
        self.users = None if settings.console_users is None else Users(settings.console_users)
        self.provider = None if settings.console_oidc_issuer is None else Provider(settings)
        self.sessions = Sessions()
        self._proxies = [ip_network(one, strict=False) for one in settings.console_proxies]

    @property
    def has_log_in(self) -> bool:
        """Whether anybody can be known."""
        return self.users is not None or self.provider is not None or bool(self._proxies)

    def admit(self, scope: Scope, *, is_here: bool) -> Admission | None:
        """Return who asks; None: nobody who is known. `is_here`: the console is asked for by a name of this machine."""
        if not self.has_log_in:
            return Admission(ANYBODY, self.sessions.token("anybody"), "", lambda: True)
        headers = Headers(scope=scope)
        if headers.get(USER_HEADER) and self._is_proxy(address_of(scope)):
            return self._by_proxy(headers)
        cookies = cookie_parser(headers.get("cookie", ""))
        plain = cookies.get(COOKIE) if is_here else None
        return self._by_session(cookies.get(SECURE_COOKIE) or plain or "")

    def _by_proxy(self, headers: Headers) -> Admission | None:
        names, groups = headers.getlist(USER_HEADER), headers.getlist(GROUPS_HEADER)
        if len(names) > 1 or len(groups) > 1 or not may_be_called(name := _decoded(names[0])):
            log.warning(
                "a proxy names nobody clearly: %d user headers, %d of groups. Next: let it set each once, and take "
                "away the browser's (docs/console.md)", len(names), len(groups),
            )  # fmt: skip
            return None
        told = {group.strip() for group in (groups[0] if groups else "").split(",")}
        person = Person(name, frozenset(role for role in Role if f"{GROUP}{role}" in told), BY_PROXY)
        return Admission(person, self.sessions.token(f"proxy {name}"), "", lambda: True)

    def _by_session(self, number: str) -> Admission | None:
        person = self._person(number)
        if person is None:
            return None
        token = self.sessions.token(f"session {number}")
        return Admission(person, token, number, lambda: self._person(number) is not None)

    def _person(self, number: str) -> Person | None:
        if (session := self.sessions.get(number)) is None:
            return None
        if session.roles is not None:
            return Person(session.name, session.roles, *session.identity)
        if self.users is None:
            return None
        try:
            found = self.users.all.get(session.name)
        except UsersError as error:
            log.error("nobody can use the console: %s", error)
            return None
        return Person(session.name, found.roles) if found is not None and found.password == session.proof else None

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._proxies)


def let_in(scope: Scope, admission: Admission | None) -> None:
    """Note in a request who makes it."""
    scope[_KEY] = admission


def admitted(request: Request) -> Admission | None:
    """Return who makes a request; None: nobody who is known."""
    found: Admission | None = request.scope[_KEY]
    return found


def address_of(scope: Scope) -> str:
    """Return where a request comes from; "" if the server doesn't say."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _decoded(header: str) -> str:
    """Return a header's text: proxies write UTF-8, and it is read as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return ""
