"""What is found of a family of campaigns. The sentence, the table, the plots, CSV and JSON all say this one thing.

Laws:
- Whatever can't be believed is withheld here, and nowhere else: what isn't in a finding can't be rendered.
- A status that tells no effect says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from memberstream.models.told import Told
from memberstream.stream.readout.effect import Effect


class Status(StrEnum):
    """The headline."""

    WORKED = "worked"
    LOWERED = "worked the other way"
    NONE_YET = "no effect shown yet"
    BROKEN = "can't be trusted"
    UNTOLD = "can't be told"

    @property
    def is_effect(self) -> bool:
        """Whether an effect is claimed."""
        return self in (Status.WORKED, Status.LOWERED)


@dataclass(frozen=True, slots=True)
class Finding:
    """The headline of a family, and what it rests on.

    Attributes:
        kind: the primary one; None: there is none.
        why: the reason, a sentence; "" if an effect is claimed.
        effect: the overall one; None: withheld, or there is nobody to compare.
        first_day, last_day: of exposure, of the members who are compared; None: there are none.
        holdouts: the shares that were to be held out, in the order of the periods.
        detectable: the difference that would be claimed by now four times in five, if it is there.
    """

    status: Status
    kind: str | None
    why: str
    effect: Effect | None = None
    first_day: int | None = None
    last_day: int | None = None
    holdouts: tuple[float, ...] = ()
    detectable: float | None = None


class Guard(StrEnum):
    """What is known of a kind that must not rise."""

    HELD = "held"
    BROKEN = "broken"
    OPEN = "not known yet"


@dataclass(frozen=True, slots=True)
class Other:
    """The overall effect on another kind, or on values.

    Attributes:
        kind: of interaction. is_value: it is what a member's values add up to, not whether the member had the kind.
        effect: None: withheld, or there is nobody to compare.
        cap: members' sums count at most as this; None: as they are.
        margin: a guardrail; the share of members by which it may rise. None: it is none.
        guard: what is known of the guardrail; None: it is none, or that is withheld.
        times: of values: events of a member with the kind, of those shown and of those held out; None: it is no value,
            or nobody in a group has it.
    """

    kind: str
    is_value: bool
    effect: Effect | None
    cap: float | None = None
    margin: float | None = None
    guard: Guard | None = None
    times: tuple[float, float] | None = None


def guard_of(effect: Effect, margin: float) -> Guard:
    """Return what an effect says of a guardrail: an interval below the margin holds it, one above breaks it."""
    interval = effect.interval
    if interval is None:
        return Guard.OPEN
    if interval.high <= margin:
        return Guard.HELD
    return Guard.BROKEN if interval.low > margin else Guard.OPEN


def told_of(family: str, finding: Finding, at_ms: int, actor: str) -> Told:
    """Return a finding as it is remembered."""
    effect = finding.effect
    interval = None if effect is None else effect.interval
    return Told(
        family,
        finding.kind or "",
        finding.status.value,
        at_ms,
        actor,
        None if effect is None or interval is None else effect.difference,
        None if interval is None else interval.low,
        None if interval is None else interval.high,
    )
