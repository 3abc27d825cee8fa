"""What showing a campaign caused: shown against held out, stratum by stratum, added up to one effect.

Laws:
- Inside a stratum (a cluster of a campaign under unchanged terms) chance alone decided who was held out. Members of
  different strata are never compared.
- A stratum's weight is that of Mantel and Haenszel, n·m / (n + m) for n shown and m held out: with one share held out,
  its size. So a stratum in which one of both is missing weighs nothing.
- An outcome is a number of each member: 1 or 0 (did it), or what the member's values add up to (0 without any). Both go
  through the same formulas.
- A small group's variance is drawn towards that of its whole stratum, as if BORROWED more members had that one. Three
  members held out who did all the same aren't proof that all members do. (Without it, simulated campaigns with 1% held
  out were credited with an effect in up to 38%; tests/readout.)
- Nothing is claimed before both groups have AT_LEAST members with the event, and as many without, by what they are
  worth: 20 in a stratum that weighs little aren't 20.
- An effect that a loss of members would look like isn't claimed while such a loss couldn't be seen (ratio.py). If a
  share λ of one group is missing, all of them members who did nothing, its mean is 1/(1 − λ) times as large. (Whoever
  did something was there; who gets lost mostly did nothing. Against a loss of those who did something nothing helps.)
- The ratio of both means comes from the same pivot as their difference (Fieller), so one interval excludes "none" just
  when the other does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memberstream.stream.readout.family import Judgement
from memberstream.stream.readout.sequential import AT_LEAST, Array, always_p, critical
from memberstream.stream.readout.statistics import Interval

BORROWED = 5


class Arm(NamedTuple):
    """One group, up to each look. Arrays of shape (looks, strata).

    Attributes:
        n: members. hits: those with the event.
        mean: of all members' outcomes; `about`: the sum of their squared distances from it. Where n is 0, both are 0.
    """

    n: Array
    hits: Array
    mean: Array
    about: Array

    @classmethod
    def of_hits(cls, n: Array, hits: Array) -> Arm:
        """Return the group by whether members had the event: outcomes are 1 and 0."""
        rate = hits / np.maximum(n, 1)
        return cls(n, hits, rate, n * rate * (1 - rate))

    def strata(self, which: NDArray[np.intp]) -> Arm:
        """Return some of the strata."""
        return Arm(*(part[:, which] for part in self))


class Comparison(NamedTuple):
    """Both groups after each look: the weighted means and the variances of these; arrays of shape (looks,).

    Attributes:
        members: of both groups, in strata that have both.
        is_enough: whether anything may be claimed.
    """

    shown: Array
    held_out: Array
    var_shown: Array
    var_held_out: Array
    members: Array
    is_enough: NDArray[np.bool_]

    @property
    def difference(self) -> Array:
        return self.shown - self.held_out

    @property
    def p(self) -> Array:
        """p values that hold at every look; 1 where it is too early."""
        with np.errstate(invalid="ignore", divide="ignore"):
            z = self.difference / np.sqrt(self.var_shown + self.var_held_out)
        return np.where(self.is_enough, always_p(z, self.members), 1.0)

    def interval(self, level: float, look: int = -1) -> Interval | None:
        """Return the interval of the difference that holds at every look, at a level such as 0.05."""
        if (half := self.half(level, look)) is None:
            return None
        middle = float(self.difference[look])
        return Interval(middle - half, middle + half)

    def half(self, level: float, look: int = -1) -> float | None:
        """Return half of this interval's width; None where it is too early."""
        if not self.is_enough[look]:
            return None
        return float(critical(self.members[look], level) * np.sqrt(self.var_shown[look] + self.var_held_out[look]))

    def ratio_interval(self, level: float, look: int = -1) -> Interval | None:
        """Return the interval of the ratio of the means, minus 1; None if that of those held out may be 0 (Fieller)."""
        if not self.is_enough[look]:
            return None
        above, below = float(self.shown[look]), float(self.held_out[look])
        squared = float(critical(self.members[look], level)) ** 2
        a = below**2 - squared * float(self.var_held_out[look])
        c = above**2 - squared * float(self.var_shown[look])
        if a <= 0 or below <= 0:
            return None
        root = max(0.0, (above * below) ** 2 - a * c) ** 0.5
        return Interval((above * below - root) / a - 1, (above * below + root) / a - 1)


def compare(shown: Arm, held_out: Arm) -> Comparison:
    """Compare both groups after each look."""
    n, m = shown.n, held_out.n
    has_both = (n > 0) & (m > 0)
    weight = np.where(has_both, n * m / np.maximum(n + m, 1), 0.0)
    whole = weight.sum(axis=1, keepdims=True)
    weight = np.divide(weight, whole, out=np.zeros_like(weight), where=whole > 0)
    (shown_mean, shown_var), (held_mean, held_var) = _sides(shown, held_out, weight)
    worth = np.min(
        [_worth(k, arm.n, weight) for arm in (shown, held_out) for k in (arm.hits, arm.n - arm.hits)], axis=0
    )
    members = np.where(has_both, n + m, 0).sum(axis=1)
    return Comparison(shown_mean, held_mean, shown_var, held_var, members, worth > AT_LEAST - 1e-6)


def _sides(shown: Arm, held_out: Arm, weight: Array) -> list[tuple[Array, Array]]:
    """Return the weighted mean of each group, and the variance of it."""
    n, m = shown.n, held_out.n
    apart = n * m / np.maximum(n + m, 1) * (shown.mean - held_out.mean) ** 2
    spread = (shown.about + held_out.about + apart) / np.maximum(n + m - 1, 1)  # of the whole stratum
    found = []
    for arm in (shown, held_out):
        size = np.maximum(arm.n, 1)
        variance = (arm.about + BORROWED * spread) / (size - 1 + BORROWED)
        found.append(((weight * arm.mean).sum(axis=1), (weight**2 * variance / size).sum(axis=1)))
    return found


def _worth(k: Array, n: Array, weight: Array) -> Array:
    """Return how many members k of n are worth in all strata together (Kish's effective number); in one stratum, k."""
    size = np.maximum(n, 1)
    whole, squared = (weight * k / size).sum(axis=1), (weight**2 * k / size**2).sum(axis=1)
    found: Array = np.divide(whole**2, squared, out=np.zeros_like(whole), where=squared > 0)
    return found


@dataclass(frozen=True, slots=True)
class Effect:
    """Shown against held out: what the campaign caused, as it is told everywhere.

    Attributes:
        n_shown, n_held_out: members that are compared. `shown`, `held_out`: means of their outcomes, weighted alike.
        interval: of the difference, at every look and for all that belongs together; None: too early.
        relative: shown over held out, minus 1, with its interval; None where that can't be told.
        p: at every look, adjusted for all that belongs together.
        loss: the share of one group that would have to be missing to look like this.
        may_be_loss: it would be claimed, but a loss of that size couldn't be seen.
        may_be_repeats: it would be claimed, but not if members with it had as many events in both groups.
        is_claimed: whether this is called an effect.
        is_broken: told only because somebody asked for it: the holdout isn't what was meant.
    """

    n_shown: int
    n_held_out: int
    shown: float
    held_out: float
    difference: float
    interval: Interval | None
    relative: float | None
    relative_interval: Interval | None
    p: float
    loss: float
    may_be_loss: bool
    may_be_repeats: bool
    is_claimed: bool
    is_broken: bool


def rests_on_repeats(found: Comparison, times: tuple[float, float], level: float) -> bool:
    """Return whether an effect on values goes when members with the kind have as many events in both groups.

    Args:
        times: events of a member with the kind, of those shown and of those held out.
    """
    if (half := found.half(level)) is None or not min(times):
        return False
    shown, held_out = float(found.shown[-1]), float(found.held_out[-1])
    if shown > held_out:
        return shown * min(1.0, times[1] / times[0]) - held_out <= half
    return held_out * min(1.0, times[0] / times[1]) - shown <= half


def effect(
    found: Comparison,
    judgement: Judgement,
    members: tuple[int, int],
    unseen: float,
    times: tuple[float, float] | None = None,
    *,
    is_broken: bool,
) -> Effect:
    """Return the effect as it stands at the last look.

    Args:
        members: shown and held out. unseen: the largest loss in one of the groups that couldn't be seen.
        times: of an effect on values; see `rests_on_repeats`.
    """
    shown, held_out = float(found.shown[-1]), float(found.held_out[-1])
    less, more = sorted((shown, held_out))
    loss = 1 - less / more if less >= 0 and more > 0 else 1.0
    may_be_loss = judgement.is_claimed and loss <= unseen
    may_be_repeats = judgement.is_claimed and times is not None and rests_on_repeats(found, times, judgement.level)
    relative = found.ratio_interval(judgement.level)
    return Effect(
        *members,
        shown,
        held_out,
        shown - held_out,
        found.interval(judgement.level),
        None if relative is None else shown / held_out - 1,
        relative,
        judgement.p,
        loss,
        may_be_loss,
        may_be_repeats,
        judgement.is_claimed and not may_be_loss and not may_be_repeats,
        is_broken,
    )
