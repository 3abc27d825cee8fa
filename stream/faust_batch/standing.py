"""Where a stored member stands: when it falls due, and in which clusters it is. And what a write changes of both.

Law: a value that isn't a member's state is refused by its reader, not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from memberstream.models.member import Memberships, Move, NewerState, StateError, head_of
from memberstream.models.timestamps import FOREVER


def standing(value: bytes | None) -> tuple[int, Memberships | None]:
    """Return when a stored member falls due, and its memberships if it has a document.

    Raises NewerState: an index that leaves a member out would look whole, even to the version that can read the member.
    """
    if value is None:
        return FOREVER, None
    try:
        head = head_of(value)
    except NewerState:
        raise
    except StateError:
        return FOREVER, None
    return head.valid_until_ms, head.held


def changes(
    latest: Mapping[bytes, bytes | None], before: Iterable[tuple[bytes, bytes | None]]
) -> tuple[list[tuple[bytes, int, int]], list[Move]]:
    """Return the timers and moves of members, (key, value so far), that get their latest values."""
    timers: list[tuple[bytes, int, int]] = []
    moves: list[Move] = []
    for key, old in before:
        (was_due_ms, was), (due_ms, now) = standing(old), standing(latest[key])
        if due_ms != was_due_ms:
            timers.append((key, was_due_ms, due_ms))
        if now != was:
            moves.append(Move(key, was, now))
    return timers, moves
