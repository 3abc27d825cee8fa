"""Cells → tables: who was exposed and what they did, by stratum and day of exposure.

Laws:
- A stratum is a cluster of a campaign in a period of unchanged terms. In each, chance alone decided who was held out.
- A table has a row for each day of exposure, never for a day on which something was done. So what a member does counts
  beside its exposure, and a rate never has more hits than members.
- Sums are whole numbers until the last division. So values of 1,000,000,000 that differ by 4 do differ.
- Cells in clusters or under a model that the campaign isn't for are strays: in no stratum, but told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memberstream.models.counts import EXPOSED, SWITCHED, UNIT, Cell, Tally, is_health, size_top
from memberstream.models.interaction import IMPRESSION
from memberstream.models.wording import counted
from memberstream.stream.readout.effect import Arm
from memberstream.stream.readout.sequential import Array
from memberstream.stream.readout.setup import Setup

#: Not kinds of which rates are asked.
RESERVED = (EXPOSED, SWITCHED, IMPRESSION)


class ReadoutError(ValueError):
    """No report can be made of these counts; the text names the next action."""


class Stratum(NamedTuple):
    """A cluster of a campaign in a period, by the time at which the period began, ms."""

    campaign: str
    cluster: int
    period: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What members of one group did of one kind; arrays of shape (days, strata).

    Attributes:
        sizes: size of a member's sum → members, sum and sum of squares as whole numbers; without sizes that have none.
    """

    hits: Array
    events: Array
    sizes: dict[int, tuple[Array, np.ndarray, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Table:
    """The counts of some campaigns.

    Attributes:
        days: of exposure, since 1970, ascending.
        exposed: is held out → members; arrays of shape (days, strata).
        kinds: kind → is held out → counts. Kinds of which nothing is counted aren't in it.
        switched: members shown who were later seen in another cluster, by stratum.
        strays: campaign → members exposed in clusters that it isn't for, or under another model.
    """

    days: tuple[int, ...]
    strata: tuple[Stratum, ...]
    versions: tuple[str, ...]
    exposed: Mapping[bool, Array]
    kinds: Mapping[str, Mapping[bool, Counts]]
    switched: Array
    strays: Mapping[str, int]

    def which(self, keep: Iterable[bool]) -> NDArray[np.intp]:
        """Return the places of the strata that are kept."""
        return np.flatnonzero(np.fromiter(keep, bool, len(self.strata)))

    def has_values(self, kind: str) -> bool:
        """Return whether any event of a kind carries a value."""
        return any(counts.sizes for counts in self.kinds.get(kind, {}).values())

    def hits(self, kind: str, is_held_out: bool) -> Array:
        """Return the members with an event of a kind."""
        found = self.kinds.get(kind)
        return np.zeros_like(self.exposed[is_held_out]) if found is None else found[is_held_out].hits

    def arm(self, kind: str, is_held_out: bool, mask: Array | None = None) -> Arm:
        """Return a group by whether members had a kind, up to each day. `mask`: 1 where a day of a stratum counts."""
        n, hits = self.exposed[is_held_out], self.hits(kind, is_held_out)
        if mask is not None:
            n, hits = n * mask, hits * mask
        return Arm.of_hits(n.cumsum(axis=0), hits.cumsum(axis=0))

    def value_arm(self, kind: str, is_held_out: bool, mask: Array, cap: int | None) -> Arm:
        """Return a group by what members' values add up to, 0 without any, up to each day. `cap`: see `cap`."""
        n = (self.exposed[is_held_out] * mask).cumsum(axis=0)
        keep = _whole(mask)
        total, squares = (np.cumsum(keep * sums, axis=0) for sums in self._sums(kind, is_held_out, cap))
        size = _whole(np.maximum(n, 1))
        mean = (total / (size * UNIT)).astype(float)
        about = ((size * squares - total * total) / (size * UNIT * UNIT)).astype(float)
        return Arm(n, (self.kinds[kind][is_held_out].hits * mask).cumsum(axis=0), mean, about)

    def value_sums(self, kind: str, which: NDArray[np.intp], cap: int | None) -> tuple[int, int, int]:
        """Return of the members shown in some strata: how many, the sum and the sum of squares, in millionths."""
        total, squares = (int(sums[:, which].sum()) for sums in self._sums(kind, False, cap))
        return int(self.exposed[False][:, which].sum()), total, squares

    def _sums(self, kind: str, is_held_out: bool, cap: int | None) -> tuple[np.ndarray, np.ndarray]:
        total, squares = (np.zeros(self.exposed[is_held_out].shape, object) for _ in range(2))
        for size, (members, its_total, its_squares) in self.kinds[kind][is_held_out].sizes.items():
            if cap is not None and size > cap:
                most = size_top(cap) if cap else 0
                its_total, its_squares = _whole(members) * most, _whole(members) * most**2
            total, squares = total + its_total, squares + its_squares
        return total, squares

    def cap(self, kind: str, quantile: float, mask: Array) -> int | None:
        """Return the size above which a share 1 − quantile of all members is at most; None: of all sizes."""
        members = sum(float((n * mask).sum()) for n in self.exposed.values())
        above = members * (1 - quantile)
        found: dict[int, float] = defaultdict(float)
        for counts in self.kinds[kind].values():
            for size, (n, _, _) in counts.sizes.items():
                found[size] += float((n * mask).sum())
        larger = 0.0
        for size in sorted(found, reverse=True):
            if larger + found[size] > above:
                return size if larger else None
            larger += found[size]
        return 0


def _whole(numbers: Array) -> np.ndarray:
    """Return whole numbers without bounds."""
    found: np.ndarray = numbers.astype(int).astype(object)
    return found


def table(counts: Mapping[Cell, Tally], setups: Sequence[Setup], until: int | None = None) -> Table:
    """Return the table of campaigns; `until`: of members exposed until the end of that day. Raises ReadoutError."""
    strata = [
        Stratum(setup.id, cluster, period.begin_ms)
        for setup in setups
        for cluster in setup.clusters
        for period in setup.periods
        if cluster in period.terms.clusters
    ]
    place = {stratum: i for i, stratum in enumerate(strata)}
    ids = {setup.id for setup in setups}
    mine = [
        (cell, tally)
        for cell, tally in counts.items()
        if cell.campaign in ids and not is_health(cell.kind) and (until is None or cell.day <= until)
    ]
    cells = sorted(mine, key=lambda found: (found[0].kind != EXPOSED, found[0]))  # those exposed come first
    days = sorted({cell.day for cell, _ in cells if cell.kind == EXPOSED})
    row = {day: i for i, day in enumerate(days)}
    shape = len(days), len(strata)
    exposed = {False: np.zeros(shape), True: np.zeros(shape)}
    kinds: dict[str, dict[bool, Counts]] = {}
    switched, versions, strays = np.zeros(len(strata)), set(), defaultdict[str, int](int)
    for cell, tally in cells:
        i = place.get(Stratum(cell.campaign, cell.cluster, cell.period))
        if i is None:
            strays[cell.campaign] += tally.members if cell.kind == EXPOSED else 0
            continue
        versions.add(cell.version)
        if cell.kind == SWITCHED:
            switched[i] += 0 if cell.is_held_out else tally.members
            continue
        if cell.day not in row:
            raise _mixed(cell, tally.members, 0)
        at = row[cell.day], i
        if cell.kind == EXPOSED:
            exposed[cell.is_held_out][at] += tally.members
            continue
        if cell.kind not in kinds:
            kinds[cell.kind] = {held: Counts(np.zeros(shape), np.zeros(shape), {}) for held in (False, True)}
        its = kinds[cell.kind][cell.is_held_out]
        its.hits[at] += tally.members
        its.events[at] += tally.events
        if its.hits[at] > exposed[cell.is_held_out][at]:
            raise _mixed(cell, int(its.hits[at]), int(exposed[cell.is_held_out][at]))
        if tally.value_sum_sq:
            if cell.size not in its.sizes:
                its.sizes[cell.size] = (np.zeros(shape), np.zeros(shape, object), np.zeros(shape, object))
            members, total, squares = its.sizes[cell.size]
            members[at] += tally.members
            total[at] += tally.value_sum
            squares[at] += tally.value_sum_sq
    found = {campaign: n for campaign, n in sorted(strays.items()) if n}
    return Table(tuple(days), tuple(strata), tuple(sorted(versions)), exposed, kinds, switched, found)


def _mixed(cell: Cell, hits: int, n: int) -> ReadoutError:
    return ReadoutError(
        f"{cell.campaign}, cluster {cell.cluster}: {counted(hits, 'member')} with {cell.kind}, of {n:,} exposed. "
        "Next: counts were lost or mixed; count anew"
    )
