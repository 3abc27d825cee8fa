"""A position: how far a partition of the topic of change events has been applied, as one number that only grows.

    position = epoch · 2^48 + offset

Offsets start anew when a topic is re-created or its partitions are redistributed. Then the operator raises the epoch,
so that everything read from the new topic comes after everything read from the old one. -1: before the first event.
"""

from __future__ import annotations

NOWHERE = -1
MAX_EPOCH = 2**15 - 1  # so that a position fits into a signed 64-bit integer
_BITS = 48  # 280 billion events a day for a thousand days
MAX_OFFSET = (1 << _BITS) - 1


def position_of(epoch: int, offset: int) -> int:
    """Return the position of an offset; `offset` -1: before the first event of the epoch."""
    return (epoch << _BITS) + offset


def split_position(position: int) -> tuple[int, int]:
    """Return (epoch, offset) of an event's position; it isn't NOWHERE."""
    return position >> _BITS, position & MAX_OFFSET
