"""Counts in messages that people read: the number, its noun and its verb agree.

Law: a number that may be 1 isn't followed by a plural that stands there as text; tests/unit/test_wording.py looks.
"""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 20


def counted(n: int, one: str, many: str = "") -> str:
    """Return a number with what it counts: 1 member, 1,200 members; `many` where an s at the end isn't enough."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def percent_of(n: int, of: int) -> str:
    """Return a share with one decimal, and with as many more as it takes: what isn't none or all isn't 0.0% or 100.0%.

    1 of 23,570 is 0.004%, all but one 99.996%. Of nothing it is 0.0%.
    """
    share, decimals = n / of if of else 0.0, 1
    while 0 < n < of and float(f"{share:.{decimals}%}"[:-1]) in (0.0, 100.0):
        decimals += 1
    return f"{share:.{decimals}%}"


def named(noun: str, numbers: Sequence[int]) -> str:
    """Return which of a kind: partition 3; partitions 3, 4; of many the first."""
    shown = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED:,} more" if len(numbers) > _NAMED else ""
    return f"{noun}{'' if len(numbers) == 1 else 's'} {shown}{more}"
