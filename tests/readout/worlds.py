"""Campaigns whose truth is known: drawn day by day, counted as the workers count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.counts import EXPOSED, SWITCHED, Cell, Tally
from stream.readout.setup import Setup

FIRST_DAY = 20_000  # 2024-10-04
NAMES = {1: "low", 2: "medium", 3: "high"}


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

    def setup(self, name: str = "spring") -> Setup:
        return Setup(name, "activity", dict(zip(NAMES, NAMES.values(), strict=True)), self.holdout)

    def counts(self, rng: np.random.Generator, name: str = "spring") -> dict[Cell, Tally]:
        """Draw the campaign: members, in their groups, on their days; clicks, switches and values of each."""
        counts: dict[Cell, Tally] = {}

        def add(cluster: int, is_held_out: bool, kind: str, day: int, members: int, values: np.ndarray | None = None):
            sums = (0.0, 0.0, 0) if values is None else (float(values.sum()), float(values @ values), len(values))
            cell = Cell(name, "activity@1", cluster, is_held_out, kind, FIRST_DAY + day)
            counts[cell] = Tally(members, members, *sums)

        for place, cluster in enumerate(NAMES):
            for is_held_out, rates in ((False, self.shown), (True, self.held_out)):
                share = self.holdout if is_held_out else 1 - self.holdout
                for day, n in enumerate(rng.poisson(self.members * share / self.days, self.days)):
                    hits = rng.binomial(n, rates[place])
                    add(cluster, is_held_out, EXPOSED, day, int(n))
                    add(cluster, is_held_out, "click", day, hits, rng.gamma(4.0, self.values[place] / 4, hits))
                    add(cluster, is_held_out, SWITCHED, day, int(rng.binomial(n, self.switched)))
        return counts


def counted(campaign: str, rows: Mapping[tuple[int, bool], tuple[int, int]], kind: str = "click") -> dict[Cell, Tally]:
    """Cells of one day: (cluster, is held out) → (members exposed, members with the event)."""
    counts = {}
    for (cluster, is_held_out), (n, hits) in rows.items():
        for name, members in ((EXPOSED, n), (kind, hits)):
            counts[Cell(campaign, "activity@1", cluster, is_held_out, name, FIRST_DAY)] = Tally(members, members)
    return counts
