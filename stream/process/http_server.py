"""A worker's HTTP port, such as that of /metrics, /healthz and /readyz. It has a thread and a loop of its own, so that
a worker that hangs answers.

Laws:
- Within LIMIT_S each connection has an answer or is closed, whatever a client sends, and however slowly it sends or
  reads.
- At most CONNECTIONS are open: with one more, the oldest is closed. Proper requests are answered in milliseconds, so
  the oldest connections are those that hang. They hold up no probe, and take no more file descriptors or threads.
- A request is one line and some headers, HEAD_BYTES in all. Each connection takes one request.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from threading import Thread
from typing import Any, ClassVar

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app

from memberstream.stream.process.health import Check
from memberstream.stream.terminal.safe import escape_json

log = logging.getLogger(__name__)

#: The one list of paths. Any other path is answered with this list.
PATHS = {
    "/metrics": "metrics in Prometheus' text format",
    "/healthz": "200 while the process lives, 503 when it has to be restarted",
    "/readyz": "200 while all is well, 503 with what is wrong and what to do",
}
Checks = Callable[[], Sequence[Check]]
Application = Callable[..., Iterable[bytes]]  # of WSGI, with the path as it was sent


class HttpServer:
    """Listens and answers in a background thread until `close()`. Raises OSError if it can't listen."""

    LIMIT_S: ClassVar[float] = 10.0  # a scrape of a busy worker takes a second; Prometheus gives up after 10
    CONNECTIONS: ClassVar[int] = 64  # probes, some Prometheus servers, a person
    HEAD_BYTES: ClassVar[int] = 16_384

    def __init__(self, host: str, port: int, answer: Application, name: str = "http") -> None:
        self._answer = answer
        self._open: dict[asyncio.StreamWriter, None] = {}  # the oldest first
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self._socket = socket.create_server((host, port), family=family, backlog=self.CONNECTIONS)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.SelectorEventLoop()  # not the worker's kind of loop: nothing is shared with the worker
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop. Answers under way are cut off."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, sock=self._socket, limit=self.HEAD_BYTES)
        )
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._loop.run_until_complete(self._cut_off())
            self._loop.close()

    async def _cut_off(self) -> None:
        for task in (tasks := asyncio.all_tasks() - {asyncio.current_task()}):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # each task aborts its connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > self.CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        try:
            async with asyncio.timeout(self.LIMIT_S):
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    head = b""
                writer.write(self._reply(head))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # they hang, or have gone
        except Exception:
            log.exception("a request to a worker's port can't be answered. Next: report it with these lines")
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    def _reply(self, head: bytes) -> bytes:
        line, *fields = head.decode("latin-1").split("\r\n")
        method, _, rest = line.partition(" ")
        path, _, query = rest.partition(" ")[0].partition("?")
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
        for field in fields:
            name, _, value = field.partition(":")
            environ[f"HTTP_{name.strip().upper().replace('-', '_')}"] = value.strip()
        sent: list[str] = []

        def start_response(status: str, headers: Sequence[tuple[str, str]], *_: Any) -> None:
            sent.append(f"HTTP/1.1 {status}")
            sent.extend(f"{name}: {value}" for name, value in headers)

        if not path:
            return b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        body = b"".join(self._answer(environ, start_response))
        if not any(one.lower().startswith("content-length:") for one in sent):
            sent.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*sent, "Connection: close", "", ""]).encode("latin-1") + body


def router(registry: CollectorRegistry, healthz: Checks, readyz: Checks) -> Application:
    """Return what answers about metrics and health."""
    metrics: Application = make_wsgi_app(registry)

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
    """Return a JSON object with a line for each check, so that people can read it, too."""
    lines = [
        orjson.dumps({name: value for name, value in check._asdict().items() if value != ""}).decode()
        for check in checks
    ]
    ok = orjson.dumps(all(check.ok for check in checks)).decode()
    shown = ",\n".join(f"  {escape_json(line)}" for line in lines)  # somebody looks at it by curl
    return "\n".join([f'{{"ok":{ok},"checks":[', shown, "]}", ""]).encode()
