"""Who is logged in: kept here and nowhere else, behind a number that can't be guessed.

Laws:
- The cookie holds that number alone. To log out ends the session itself, also for who has copied the cookie.
- A session ends after a working day, however busy. When the console starts anew, all have ended.
- Each form carries a token of its session, which a page of another site can't know.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from memberstream.stream.console.roles import BY_PASSWORD, Role

#: A working day with its breaks. Whoever is away for the night logs in again.
LASTS_S = 12 * 3_600
#: More people than an installation has, and more browsers than a person has. One more ends the oldest: of the person
#: first, so that nobody logs the others out by logging in again and again.
_MOST, _MOST_OF_ONE = 1_000, 20


class Session(NamedTuple):
    """One log-in.

    Attributes:
        proof: with what; a new password ends the session (access.py compares).
        roles: as the provider told them at the log-in; None: as the file of users says now.
        ends_at: by the clock of the sessions.
        identity: the person's source and its id there, whatever the name.
    """

    name: str
    proof: str
    roles: frozenset[Role] | None
    ends_at: float
    identity: tuple[str, str]


class Sessions:
    """All sessions of a console."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._found: dict[str, Session] = {}
        self._key = secrets.token_bytes(32)

    def begin(self, name: str, proof: str, roles: frozenset[Role] | None = None, subject: str = "") -> str:
        """Begin a session; return its number. `roles`, `subject`: of a provider, whose issuer is the proof."""
        identity = (BY_PASSWORD, name) if roles is None else (proof, subject or name)
        now = self._clock()
        self._found = {number: one for number, one in self._found.items() if one.ends_at > now}
        own = [number for number, one in self._found.items() if one.identity == identity]
        for oldest in own[: max(0, len(own) - _MOST_OF_ONE + 1)]:
            del self._found[oldest]
        while len(self._found) >= _MOST:
            del self._found[next(iter(self._found))]
        number = secrets.token_urlsafe(32)
        self._found[number] = Session(name, proof, roles, now + LASTS_S, identity)
        return number

    def get(self, number: str) -> Session | None:
        """Return a session; None: there is none, or it is over."""
        found = self._found.get(number)
        return None if found is None or found.ends_at <= self._clock() else found

    def end(self, number: str) -> None:
        """End a session, if there is one."""
        self._found.pop(number, None)

    def token(self, of: str) -> str:
        """Return the token of a session's forms, or of whatever else stands for a person."""
        return hmac.new(self._key, of.encode(), hashlib.sha256).hexdigest()
