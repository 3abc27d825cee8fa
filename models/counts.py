"""What a campaign's readout counts: cells of members and events, and how they are written as text.

Laws:
- A member is counted where and when it was exposed: all its cells of a campaign have the period, version, cluster,
  group and day of its exposure. models/counting.py says what exposes.
- Sums are whole numbers, of millionths and of their squares. So they are exact, in whatever order they are made.
- Tallies of one cell add up over the partitions that count them. Whatever moves to another cell is taken from the one
  before, so a tally may fall back to nothing.

Sizes. Of each member's sum, beside its square, the order of magnitude is kept: four buckets for each doubling, each a
cell of its own. So a few extreme members can be cut to a bound after the fact, and exactly: whoever is in a larger
bucket counts as the bound. A bound that is chosen by a quantile isn't known before everybody is counted; nor would one
that moves be incremental.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import add as _add
from typing import NamedTuple, TypeVar

from memberstream.models.old_counts import OldCell, OldTally

#: Reserved kinds. `exposed`: members exposed to the campaign or, held out, to nothing; its events are impressions.
#: `switched`: exposed members who were later active in another cluster.
EXPOSED, SWITCHED = "exposed", "switched"
#: Begins the kinds that say how far the counts can be relied on. No producer can declare such a kind.
HEALTH = "!"
#: Impressions that were sent long after they happened; while the campaign was paused. Both count.
LATE, PAUSED = "!late", "!paused"
#: What names the campaign, but has no impression at its time or before. `day` is that of the event.
UNATTRIBUTED = "!unattributed"
#: Where a member's version or cluster isn't known.
NO_VERSION, NO_CLUSTER = "-", -1
#: How many of the units in which sums are counted make one.
UNIT = 1_000_000


class Cell(NamedTuple):
    """What is counted together.

    Attributes:
        period: when the terms began under which the member was exposed, ms (models/timeline.py).
        version: label of the model version at the exposure; cluster: of that version.
        is_held_out: whether the campaign was kept from the member.
        kind: of interaction, a reserved one, or one that begins with HEALTH.
        day: of the exposure; days since 1970 in UTC.
        size: `size_of` the member's sum.
    """

    campaign: str
    period: int
    version: str
    cluster: int
    is_held_out: bool
    kind: str
    day: int
    size: int = 0


class Tally(NamedTuple):
    """Members with at least one such event in the window; these events; over the members, the sum of each one's sum of
    values, and of its square. Both in millionths. Of the kinds of health only the events."""

    members: int = 0
    events: int = 0
    value_sum: int = 0
    value_sum_sq: int = 0


NOTHING, ONE_EVENT = Tally(), Tally(events=1)
#: Make them of a tuple of all of their attributes, in less than half the time of their constructors.
new_cell: Callable[[tuple[str, int, str, int, bool, str, int, int]], Cell] = partial(tuple.__new__, Cell)
new_tally: Callable[[tuple[int, int, int, int]], Tally] = partial(tuple.__new__, Tally)
#: Cells of both kinds: as they are counted now, and as they were before.
AnyCell = Cell | OldCell
AnyTally = Tally | OldTally
T = TypeVar("T", Tally, OldTally, AnyTally)
Changes = dict[AnyCell, AnyTally]
#: Tallies of a batch, to be added up at its end: all at once takes a quarter of the time.
Gathered = dict[AnyCell, list[AnyTally]]


def is_health(kind: str) -> bool:
    """Return whether a kind says how far the counts can be relied on."""
    return kind.startswith(HEALTH)


def size_of(value_sum: int) -> int:
    """Return the bucket of a member's sum, in millionths; 0 for none and for all that aren't above 0."""
    if value_sum <= 0:
        return 0
    n_bits = value_sum.bit_length()
    return 4 * n_bits + ((value_sum << 3 >> n_bits) & 3)


def size_top(size: int) -> int:
    """Return the largest sum of a bucket that isn't 0, in millionths."""
    n_bits, quarter = divmod(size, 4)
    return (((4 + quarter + 1) << n_bits) - 1) >> 3


def field_of(cell: AnyCell) -> str:
    """Return a cell without its campaign as text: its other attributes in their order, separated by spaces."""
    return " ".join([str(int(part)) if isinstance(part, bool) else str(part) for part in cell[1:]])


def cell_of(campaign: str, field: str) -> Cell:
    """Return the cell that `field_of` has written. Raises ValueError."""
    period, version, cluster, held_out, kind, day, size = field.split(" ")
    return Cell(campaign, int(period), version, int(cluster), held_out == "1", kind, int(day), int(size))


def text_of(tally: AnyTally) -> str:
    """Return a tally as text, its numbers separated by spaces; floats as they read back exactly."""
    return " ".join(map(repr, tally))


def tally_of(text: str) -> Tally:
    """Return the tally that `text_of` has written. Raises ValueError."""
    members, events, value_sum, value_sum_sq = map(int, text.split(" "))
    return Tally(members, events, value_sum, value_sum_sq)


def add(changes: Changes, cell: AnyCell, tally: AnyTally) -> None:
    """Add a tally to a cell."""
    n = len(changes)
    before = changes.setdefault(cell, tally)  # a cell takes its time to be found, and most are new: it is found once
    if len(changes) == n:
        changes[cell] = plus(before, tally)


def gather(gathered: Gathered, changes: Changes) -> None:
    """Put changes beside those that are there."""
    for cell, tally in changes.items():
        tallies = gathered.get(cell)
        if tallies is None:
            gathered[cell] = [tally]
        else:
            tallies.append(tally)


def total(tallies: Sequence[AnyTally]) -> Sequence[float]:
    """Return the numbers of all, which are of one kind."""
    return tuple(map(sum, zip(*tallies, strict=True)))


def plus(a: T, b: Sequence[float]) -> T:
    """Return the tally of both, which are of one kind."""
    return tuple.__new__(type(a), map(_add, a, b))  # half the time of its constructor


def minus(a: Tally) -> Tally:
    """Return what takes a tally away."""
    return Tally(-a.members, -a.events, -a.value_sum, -a.value_sum_sq)
