"""The worker's HTTP port: /metrics, /healthz, /readyz. It runs in threads, so it answers also when the loop hangs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app

from stream.health import Check

#: The one list of paths; anything else is answered with it.
PATHS = {
    "/metrics": "metrics in Prometheus' text format",
    "/healthz": "200 while the process lives, 503 when it has to be restarted",
    "/readyz": "200 while all is well, 503 with what is wrong and what to do",
}
Checks = Callable[[], Sequence[Check]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a scraper that hangs must not keep a worker from ending


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for each probe would drown the log."""


def serve(host: str, port: int, registry: CollectorRegistry, healthz: Checks, readyz: Checks) -> WSGIServer:
    """Listen and answer in background threads until `shutdown()`. Raises OSError when it can't listen."""
    family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    kind = type("_FamilyServer", (_Server,), {"address_family": family})
    server: WSGIServer = make_server(host, port, router(registry, healthz, readyz), kind, _Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True).start()
    return server


def router(registry: CollectorRegistry, healthz: Checks, readyz: Checks) -> Callable[..., Iterable[bytes]]:
    """Return the WSGI application."""
    metrics: Callable[..., Iterable[bytes]] = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", orjson.dumps({"error": "only GET and HEAD"}) + b"\n"
        elif path == "/metrics":
            found = metrics({**environ, "REQUEST_METHOD": "GET"}, start_response)
            return [b""] if method == "HEAD" else found
        elif path in ("/healthz", "/readyz"):
            checks = healthz() if path == "/healthz" else readyz()
            status = "200 OK" if all(check.ok for check in checks) else "503 Service Unavailable"
            body = to_json(checks)
        else:
            status, body = "404 Not Found", orjson.dumps({"error": "no such path", "paths": PATHS}) + b"\n"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(status, [*headers, ("Cache-Control", "no-store")])
        return [b""] if method == "HEAD" else [body]

    return answer


def to_json(checks: Sequence[Check]) -> bytes:
    """Return a JSON object with one line for each check, so that people can read it, too."""
    lines = [
        orjson.dumps({name: value for name, value in check._asdict().items() if value != ""}).decode()
        for check in checks
    ]
    ok = orjson.dumps(all(check.ok for check in checks)).decode()
    return "\n".join([f'{{"ok":{ok},"checks":[', ",\n".join(f"  {line}" for line in lines), "]}", ""]).encode()
