"""What a campaign's readout counts: cells of members and events, and how they are written as text.

Laws:
- Tallies of one cell add up: over the partitions that count them, and over days. A member is in the `members` of one
  day only: of the first event of that kind.
- Exposure fixes a member's version, cluster and group for a campaign; all its later events are counted there.
"""

from __future__ import annotations

from typing import NamedTuple

#: Reserved kinds. `exposed`: members on the day of their exposure, to the campaign or, held out, to nothing; its events
#: are impressions. `switched`: exposed members on the day on which they were first seen in another cluster.
EXPOSED, SWITCHED = "exposed", "switched"


class Cell(NamedTuple):
    """What is counted together.

    Attributes:
        version: label of the model version at the exposure; cluster: of that version.
        is_held_out: whether the campaign was kept from the member.
        kind: of interaction, or a reserved one.
        day: days since 1970 in UTC, of the event's time.
    """

    campaign: str
    version: str
    cluster: int
    is_held_out: bool
    kind: str
    day: int


class Tally(NamedTuple):
    """Members with such an event for the first time, events, and of the events' values the sum, the sum of the squares
    and their number (events without a value aren't in it)."""

    members: int = 0
    events: int = 0
    value_sum: float = 0.0
    value_sum_sq: float = 0.0
    values: int = 0


def field_of(cell: Cell) -> str:
    """Return a cell without its campaign as text: `<version> <cluster> <0|1> <kind> <day>`."""
    return f"{cell.version} {cell.cluster} {int(cell.is_held_out)} {cell.kind} {cell.day}"


def cell_of(campaign: str, field: str) -> Cell:
    """Return the cell that `field_of` has written. Raises ValueError."""
    version, cluster, held_out, kind, day = field.split(" ")
    return Cell(campaign, version, int(cluster), held_out == "1", kind, int(day))


def text_of(tally: Tally) -> str:
    """Return a tally as text, its numbers separated by spaces; floats as they read back exactly."""
    return " ".join(map(repr, tally))


def tally_of(text: str) -> Tally:
    """Return the tally that `text_of` has written. Raises ValueError."""
    members, events, value_sum, value_sum_sq, values = text.split(" ")
    return Tally(int(members), int(events), float(value_sum), float(value_sum_sq), int(values))


def plus(a: Tally, b: Tally) -> Tally:
    """Return the tally of both."""
    return Tally(
        a.members + b.members,
        a.events + b.events,
        a.value_sum + b.value_sum,
        a.value_sum_sq + b.value_sum_sq,
        a.values + b.values,
    )
