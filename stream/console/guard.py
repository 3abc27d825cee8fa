"""Who may reach the console, and by which name; what may be sent to it, and from where.

Laws:
- Without a log-in it listens on loopback or not at all: whoever reaches it sees everything.
- A page of another site may let its own name point here (DNS rebinding). The browser then names that site as the host,
  and is refused before anything else is looked at. So it answers to names of this machine, and to declared ones.
- What isn't only looked at names its origin, and that is the console's own: no page of another site can send a form. By
  a declared name it must have come over HTTPS: else passwords would cross the network in clear text.
- Pages load nothing from elsewhere and hold no script or style of their own, so a text of others that got through as
  markup couldn't do anything either.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memberstream.stream.console.access import Access, let_in
from memberstream.stream.settings import Settings, variable

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # "no-referrer" would take the origin away from forms, too
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # what is known of members and campaigns stays out of the browser's files
}


class Unreachable(ValueError):
    """The console was asked to listen where it may not, or couldn't be reached; the text says what to do."""


def check_address(settings: Settings, host: str, port: int) -> None:
    """Raise Unreachable if the console may not listen there, or nobody could ask for it; OSError: it isn't known."""
    has_log_in = Access(settings).has_log_in
    if settings.console_hosts and not has_log_in:
        raise Unreachable(
            f"{variable('console_hosts')} is set, but there is no log-in: everybody who reaches the console would see "
            f"everything. Next: set {variable('console_users')}, {variable('console_oidc_issuer')} or "
            f"{variable('console_proxies')} (docs/console.md)"
        )
    if settings.console_hosts:
        return
    try:
        ip_address(host)
    except ValueError:
        if host.lower() != "localhost":  # pages asked for by another name are refused, wherever it points
            raise Unreachable(
                f"{host}: the console answers to addresses and to localhost only. Next: leave --host out, or give the "
                "address, as 127.0.0.1"
            ) from None
    if is_loopback(host) or all(is_loopback(address) for address in _addresses(host, port)):
        return
    if has_log_in:
        raise Unreachable(
            f"{host}: by which name browsers ask for the console isn't known. Next: set {variable('console_hosts')}"
        )
    raise Unreachable(
        f"{host}: the console has no log-in, so it listens on this machine only. Next: leave --host out; from "
        f"another machine: ssh -L {port}:127.0.0.1:{port} THIS-HOST, then open http://127.0.0.1:{port}; or set up a "
        "log-in (docs/console.md)"
    )


def _addresses(host: str, port: int) -> set[str]:
    try:
        return {str(ip_address(host))}
    except ValueError:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}


def is_loopback(address: str) -> bool:
    """Return whether an IP address is one of this machine alone. A name isn't."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def is_own_name(host: str, declared: Collection[str] = ()) -> bool:
    """Return whether a Host header names this machine, or a declared name; the port may be that of a tunnel."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower() == "localhost" or is_loopback(name) or name.lower() in declared


def is_own_origin(origin: str, host: str, declared: Collection[str]) -> bool:
    """Return whether an Origin header names the console: by a declared name over HTTPS, or as it was asked for here."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme == "https" and (parts.hostname or "") in declared:
        return True
    return parts.scheme in ("http", "https") and is_own_name(parts.netloc) and parts.netloc == host


def _port(scope: Scope) -> str:
    """Return the port that was reached, as in an address; "" if the server doesn't say."""
    server = scope.get("server")
    return f":{server[1]}" if server and server[1] else ""


class Guard:
    """Lets through what is asked of the console by its names, notes who asks, and puts HEADERS on each answer."""

    def __init__(self, app: ASGIApp, access: Access, hosts: Collection[str]) -> None:
        self._app, self._access, self._hosts = app, access, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if (refused := self._refused(scope)) is not None:
            await refused(scope, receive, send_guarded)
            return
        is_here = is_own_name(Headers(scope=scope).get("host", ""))
        let_in(scope, self._access.admit(scope, is_here=is_here))
        await self._app(scope, receive, send_guarded)

    def _refused(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if not is_own_name(host, self._hosts):
            names = " and those that are declared" if self._hosts else ""
            return PlainTextResponse(
                f"The console answers only to names of this machine{names}. Next: open http://127.0.0.1{_port(scope)}\n",
                421,
            )
        if scope["method"] not in ("GET", "HEAD") and not is_own_origin(origin, host, self._hosts):
            by = (
                f"https://{' or '.join(sorted(self._hosts))}" if self._hosts else "the address that the console printed"
            )
            return PlainTextResponse(f"This didn't come from a page of the console. Next: open {by}\n", 403)
        return None
