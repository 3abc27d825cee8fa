"""The worker's side: it hands out the bytes of one member's state, as its changelog has them, and works nothing out.

Laws:
- The event loop does one thing for a question: it looks one key up (30 µs for a state of 1 KB). All else is done in
  the port's own thread, one question after the other.
- At most PER_S questions are answered in a second; one more is told to come again. Whoever doesn't know the secret
  never reaches the event loop.
- Only the owner of a partition answers for it: another copy may be older.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from time import monotonic, time_ns
from typing import Any
from urllib.parse import unquote_to_bytes

from memberstream.stream.partition.state import NotOwner
from memberstream.stream.queries.seal import APART_MS, SEAL, asked_at_ms, is_sealed, seal_answer

log = logging.getLogger(__name__)
#: A person looks at a page in some seconds, so this is for many of them.
PER_S = 10
#: Seconds for which the event loop may be busy with a batch before the question is given up.
PATIENCE_S = 2.0
#: Status → what it means for who asks. The body of a 200 is the state; other answers have none.
OK, CLOCK, DENIED, NOT_THERE, NOT_MINE, TOO_MANY, FAULT, BUSY = 200, 401, 403, 404, 421, 429, 500, 503
_SEAL = f"HTTP_{SEAL.upper().replace('-', '_')}"
#: Returns a member's bytes; None: it has none. Raises NotOwner. Called in the event loop.
Read = Callable[[int, bytes], bytes | None]


class Answering:
    """Answers (a WSGI application of stream/process/http_server.py).

    Args:
        loop: asks for the event loop; None: it doesn't run yet.
    """

    def __init__(self, secret: str, read: Read, loop: Callable[[], asyncio.AbstractEventLoop | None]) -> None:
        self._secret, self._read, self._loop = secret, read, loop
        self._latest: deque[float] = deque(maxlen=PER_S)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, question = environ["PATH_INFO"], environ.get(_SEAL, "")
        if environ["REQUEST_METHOD"] != "GET" or not is_sealed(self._secret, path, question):
            start_response(f"{DENIED} Forbidden", [("Cache-Control", "no-store")])
            return [b""]
        status, body = self._answer(path, question)
        headers = [(SEAL, seal_answer(self._secret, question, status, body)), ("Cache-Control", "no-store")]
        start_response(f"{status} {'OK' if status == OK else 'No'}", headers)
        return [body]

    def _answer(self, path: str, question: str) -> tuple[int, bytes]:
        if abs(time_ns() // 1_000_000 - asked_at_ms(question)) > APART_MS:
            return CLOCK, b""
        now = monotonic()
        if len(self._latest) == PER_S and now - self._latest[0] < 1:
            return TOO_MANY, b""
        self._latest.append(now)
        root, _, rest = path.removeprefix("/").partition("/")
        partition, _, quoted = rest.partition("/")
        key = unquote_to_bytes(quoted)
        if root != "members" or not partition.isdecimal() or not key or key.startswith(b"\0"):
            return NOT_THERE, b""
        loop = self._loop()
        if loop is None:
            return BUSY, b""
        looked_up = Future[bytes | None]()
        try:
            loop.call_soon_threadsafe(self._look_up, looked_up, int(partition), key)
        except RuntimeError:  # it is closed: the worker ends
            return BUSY, b""
        try:
            found = looked_up.result(PATIENCE_S)
        except NotOwner:
            return NOT_MINE, b""
        except TimeoutError:
            looked_up.cancel()
            return BUSY, b""
        except Exception:
            log.exception("a member's state can't be read. Next: report it with these lines")
            return FAULT, b""
        return (NOT_THERE, b"") if found is None else (OK, found)

    def _look_up(self, answer: Future[bytes | None], partition: int, key: bytes) -> None:
        if not answer.set_running_or_notify_cancel():
            return  # nobody waits any more
        try:
            answer.set_result(self._read(partition, key))
        except Exception as error:
            answer.set_exception(error)
