"""Counts by the rules before counting went by event time: kept as they are, beside the others, and read for ever.

A version before may have counted some of them in a batch that a crash cut short. So they can still be completed and
corrected, like all counts (models/count_state.py). Otherwise nothing is added to them
(docs/decisions/0041-counting-by-event-time.md).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class OldCell(NamedTuple):
    """What was counted together. `day`: of the event, days since 1970 in UTC."""

    campaign: str
    version: str
    cluster: int
    is_held_out: bool
    kind: str
    day: int


class OldTally(NamedTuple):
    """Members who had such an event for the first time; events; of the events' values the sum, the sum of squares and
    the number."""

    members: int = 0
    events: int = 0
    value_sum: float = 0.0
    value_sum_sq: float = 0.0
    values: int = 0


class OldExposure(msgspec.Struct, array_like=True, gc=False):
    """How a member had met a campaign. It isn't counted for that campaign any more, in neither group."""

    at_ms: int
    version: str
    cluster: int
    is_held_out: bool
    kinds: list[str] = []
    has_switched: bool = False


def old_cell_of(campaign: str, field: str) -> OldCell:
    """Return the cell of `<version> <cluster> <0|1> <kind> <day>`. Raises ValueError."""
    version, cluster, held_out, kind, day = field.split(" ")
    return OldCell(campaign, version, int(cluster), held_out == "1", kind, int(day))


def old_tally_of(text: str) -> OldTally:
    """Return the tally of five numbers separated by spaces. Raises ValueError."""
    members, events, value_sum, value_sum_sq, values = text.split(" ")
    return OldTally(int(members), int(events), float(value_sum), float(value_sum_sq), int(values))
