"""Who may reach the console: programs of this machine, asking for it by a name of this machine.

Laws:
- It listens on loopback or not at all. There is no log-in, so whoever reaches it sees everything.
- A page of another site may let its own name point to 127.0.0.1 (DNS rebinding). The browser then names that site as
  the host, and is refused before anything else is looked at.
- Pages load nothing from elsewhere and hold no script or style of their own, so a text of others that got through as
  markup couldn't do anything either.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # what is known of members and campaigns stays out of the browser's files
}


class NotLoopback(ValueError):
    """The console was asked to listen where others could reach it; the text says what to do."""


def check_loopback(host: str, port: int) -> None:
    """Raise NotLoopback if others could reach this address, or would be refused there; OSError: it isn't known."""
    try:
        ip_address(host)
    except ValueError:
        if host.lower() != "localhost":  # pages asked for by another name are refused, wherever it points
            raise NotLoopback(
                f"{host}: the console answers to addresses and to localhost only. Next: leave --host out, or give the "
                "address, as 127.0.0.1"
            ) from None
    if not is_loopback(host) and not all(is_loopback(address) for address in _addresses(host, port)):
        raise NotLoopback(
            f"{host}: the console has no log-in, so it listens on this machine only. Next: leave --host out; from "
            f"another machine: ssh -L {port}:127.0.0.1:{port} THIS-HOST, then open http://127.0.0.1:{port}"
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


def is_own_name(host: str) -> bool:
    """Return whether a Host header names this machine; the port may be that of a tunnel."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower() == "localhost" or is_loopback(name)


def _port(scope: Scope) -> str:
    """Return the port that was reached, as in an address; "" if the server doesn't say."""
    server = scope.get("server")
    return f":{server[1]}" if server and server[1] else ""


class Guard:
    """Lets through what is asked of this machine by its name, and puts HEADERS on each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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

        if not is_own_name(Headers(scope=scope).get("host", "")):
            refused = PlainTextResponse(
                f"The console answers only to names of this machine. Next: open http://127.0.0.1{_port(scope)}\n", 421
            )
            await refused(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)
