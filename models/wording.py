"""Counts in messages that people read: the number, its noun and its verb agree.

Law: a number that may be 1 isn't followed by a plural that stands there as text; tests/unit/test_wording.py looks.
"""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 20


def counted(n: int, one: str, many: str = "") -> str:
    """Return a number with what it counts: 1 member, 1,200 members; `many` where an s at the end isn't enough."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def named(noun: str, numbers: Sequence[int]) -> str:
    """Return which of a kind: partition 3; partitions 3, 4; of many the first."""
    shown = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED:,} more" if len(numbers) > _NAMED else ""
    return f"{noun}{'' if len(numbers) == 1 else 's'} {shown}{more}"
