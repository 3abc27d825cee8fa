"""What a command waits for, and what remains when somebody stops it.

Laws:
- Nobody waits in silence: after 10 s it is said what is waited for, with what to do; again only if that has changed.
- Ctrl-C says what is done, what isn't, and how to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from memberstream.stream.terminal.output import Stopped, err

AFTER_S = 10.0  # shorter waits are no news; a worker that starts takes some seconds


def note(text: str) -> None:
    """Print what is no result, beside the results."""
    err.print(text, markup=False)


def _print(text: str) -> None:
    note(f"waiting: {text}")


class Waiting:
    """Called with what is waited for, again and again; says it when it is time."""

    def __init__(self, say: Callable[[str], None] = _print, clock: Callable[[], float] = monotonic) -> None:
        self._say, self._clock = say, clock
        self._said, self._quiet_until = "", clock() + AFTER_S

    def __call__(self, what: str) -> None:
        """`what`: ends with "Next: …"; "" if nothing is in the way."""
        if what and what != self._said and self._clock() >= self._quiet_until:
            self._say(what)
            self._said, self._quiet_until = what, self._clock() + AFTER_S


@dataclass
class Remains:
    """What is the case if a command is stopped now, with what to do."""

    text: str


@contextmanager
def stoppable(text: str) -> Iterator[Remains]:
    """Say what remains if Ctrl-C is pressed inside; it may change as work goes on. Raises Stopped."""
    remains = Remains(text)
    try:
        yield remains
    except KeyboardInterrupt:
        raise Stopped(f"stopped: {remains.text}") from None
