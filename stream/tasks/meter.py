"""How far something long is and what it waits for, told to whoever watches while it runs."""

from __future__ import annotations

from collections.abc import Callable

#: Called again and again with what is waited for, which ends with what to do; "" if nothing is in the way.
Waits = Callable[[str], None]
#: Called with what is done and of which total, in a unit of its own; a total of 0 isn't known.
Meter = Callable[[int, int], None]


def unwatched(done: int, total: int) -> None:
    """Tell nobody."""


def unheard(what: str) -> None:
    """Tell nobody."""
