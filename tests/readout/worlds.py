"""Campaigns whose truth is known: drawn day by day, counted as the workers count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memberstream.models.counts import EXPOSED, SWITCHED, UNIT, Cell, Tally, size_of
from memberstream.models.terms import WHOLE, Terms, primary_of
from memberstream.models.timeline import Period
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.readout.report import Report, report
from memberstream.stream.readout.setup import Setup

FIRST_DAY = 20_000  # 2024-10-04
BEGIN_MS = FIRST_DAY * DAY_MS
NAMES = {1: "low", 2: "medium", 3: "high"}
KINDS = ("impression", "click", "install", "purchase")


def setup(
    name: str = "spring",
    clusters: Mapping[int, str] = NAMES,
    holdout: float = 0.2,
    changes: Sequence[tuple[float, float]] = (),
    **terms: Any,
) -> Setup:
    """A campaign that began on the first day. `changes`: day and share from which on another share is held out.

    Its primary kind is purchase.
    """
    model = terms.pop("model", "activity")
    told = {"primary": "purchase"} | terms
    shares = [(0, holdout), *changes]
    each = [Terms(model, tuple(sorted(clusters)), holdout=round(share * WHOLE), **told) for _, share in shares]
    begins = [BEGIN_MS + int(day * DAY_MS) for day, _ in shares]
    ends = [*begins[1:], None]
    periods = tuple(Period(*period) for period in zip(begins, ends, each, strict=True))
    return Setup(name, each[-1], dict(clusters), periods, primary_of(each[-1], KINDS))


def counted(
    campaign: str,
    rows: Mapping[tuple[int, bool], tuple[int, int]],
    kind: str = "purchase",
    day: int = 0,
    period: int = BEGIN_MS,
) -> dict[Cell, Tally]:
    """Cells of one day of exposure: (cluster, is held out) → (members exposed, members with the event)."""
    counts = {}
    for (cluster, is_held_out), (n, hits) in rows.items():
        for name, members in ((EXPOSED, n), (kind, hits)):
            if members:
                cell = Cell(campaign, period, "activity@1", cluster, is_held_out, name, FIRST_DAY + day)
                counts[cell] = Tally(members, members)
    return counts


def reported(counts: Mapping[Cell, Tally], *setups: Setup, **how: Any) -> Report:
    """The report, with the kinds that these tests declare."""
    return report(counts, setups or (setup(),), KINDS, **how)


def with_values(counts: dict[Cell, Tally], cell: Cell, sums: Sequence[float]) -> None:
    """Add members of a cell by what each one's values add up to."""
    for value in sums:
        whole = round(value * UNIT)
        mine = cell._replace(size=size_of(whole))
        before = counts.get(mine, Tally())
        counts[mine] = Tally(
            before.members + 1, before.events + 1, before.value_sum + whole, before.value_sum_sq + whole * whole
        )


@dataclass(frozen=True)
class World:
    """The truth of a campaign, per cluster: rates of those shown and held out, share that switch, mean of values."""

    shown: Sequence[float] = (0.03, 0.05, 0.08)
    held_out: Sequence[float] = (0.02, 0.05, 0.04)
    switched: float = 0.04
    values: Sequence[float] = (10.0, 12.0, 15.0)
    members: int = 5_000  # of each cluster, both groups
    holdout: float = 0.2
    days: int = 14

    def setup(self, name: str = "spring", **terms: Any) -> Setup:
        return setup(name, NAMES, self.holdout, **terms)

    def counts(self, rng: np.random.Generator, name: str = "spring", *, values: bool = True) -> dict[Cell, Tally]:
        """Draw the campaign: members, in their groups, on their days; purchases, switches and values of each."""
        counts: dict[Cell, Tally] = {}
        for place, cluster in enumerate(NAMES):
            for is_held_out, rates in ((False, self.shown), (True, self.held_out)):
                share = self.holdout if is_held_out else 1 - self.holdout
                for day, n in enumerate(rng.poisson(self.members * share / self.days, self.days).tolist()):
                    hits = int(rng.binomial(n, rates[place]))
                    counts |= counted(name, {(cluster, is_held_out): (n, 0 if values else hits)}, day=day)
                    cell = Cell(name, BEGIN_MS, "activity@1", cluster, is_held_out, "purchase", FIRST_DAY + day)
                    if values:
                        with_values(counts, cell, rng.gamma(4.0, self.values[place] / 4, hits).tolist())
                    counts[cell._replace(kind=SWITCHED)] = Tally(int(rng.binomial(n, self.switched)))
        return counts
