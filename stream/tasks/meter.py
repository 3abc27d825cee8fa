"""How far something long is, told to whoever watches while it runs."""

from __future__ import annotations

from collections.abc import Callable

#: Called with what is done and of which total, in a unit of its own; a total of 0 isn't known.
Meter = Callable[[int, int], None]


def unwatched(done: int, total: int) -> None:
    """Tell nobody."""
