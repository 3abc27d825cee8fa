"""What belongs together is judged together, so that chance credits a campaign with anything in 5% at most.

Laws:
- A family is all that can be claimed of one campaign, or of the campaigns of one split: the overall effect on the
  primary kind, the same by cluster, the overall effects on other kinds and on values. It is the same family whichever
  part of it a report is asked for.
- The overall effect comes first. Four fifths of the level are its own. The last fifth is for all the rest, which gets
  the whole level once the overall effect is claimed (the fallback procedure of Wiens 2003).
- The rest shares what it gets by Holm. The intervals shown are at the level at which Holm ends, so an interval excludes
  "none" just when the effect is claimed.
- With p values that hold at every look, all this holds at every look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from memberstream.stream.readout.statistics import ALPHA

FIRST = 0.8


class Judgement(NamedTuple):
    """`p`: adjusted, to be compared with ALPHA. `level`: that of the interval which says the same."""

    p: float
    level: float

    @property
    def is_claimed(self) -> bool:
        return self.p <= ALPHA


def judge(first: float, rest: Sequence[float]) -> tuple[Judgement, list[Judgement]]:
    """Judge a family by its p values: that of the overall effect, and those of all else."""
    head = Judgement(min(1.0, first / FIRST), FIRST * ALPHA)
    share = 1.0 if head.is_claimed else 1 - FIRST
    adjusted = [min(1.0, p / share) for p in holm(rest)]
    n_claimed = sum(p <= ALPHA for p in adjusted)
    level = share * ALPHA / max(1, len(rest) - n_claimed)
    return head, [Judgement(p, level) for p in adjusted]


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values after Holm's correction: each may be read as if it were the only one."""
    found, worst = [1.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[place]))
        found[place] = worst
    return found
