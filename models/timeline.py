"""What held when: a campaign's terms, and models' live versions, at any time. Folded from the models' log.

Laws:
- What counts is what held when something happened, not when it is handled. So a campaign that was changed, paused or
  deleted since, or a version that was promoted since, changes nothing of what was counted before.
- Authors' clocks may differ. A step holds from a millisecond after the one before it in the log, at the earliest.
- Before the first step the first one holds: readers can't have seen anything earlier, so the clock of one of the two is
  wrong.
- A period is a time of unchanged terms, as far as members exposed in it can be counted together. Another one begins
  with another model, other clusters, another holdout, or other windows, and when a deleted campaign is set again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from memberstream.models.log_steps import (
    CampaignStep,
    DeleteCampaign,
    PauseCampaign,
    SetCampaign,
    Switch,
)
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms


class Moment(NamedTuple):
    """How a campaign stands from a time on. `period_ms`: when its period began."""

    from_ms: int
    terms: Terms
    period_ms: int
    is_paused: bool = False
    is_deleted: bool = False

    def is_running(self, at_ms: int) -> bool:
        """Return whether members can be exposed at a time, from `from_ms` on. A pause is no reason why not."""
        begins, ends = self.terms.from_ms, self.terms.until_ms
        return not self.is_deleted and (begins is None or begins <= at_ms) and (ends is None or at_ms < ends)


class Period(NamedTuple):
    """A time of unchanged terms, ms. `terms`: as they stood last. `end_ms` None: it goes on."""

    begin_ms: int
    end_ms: int | None
    terms: Terms


@dataclass(frozen=True, slots=True)
class Timeline:
    """A campaign from its first step on. `moments` in the order of their times, at least one."""

    moments: tuple[Moment, ...]
    _from_ms: tuple[int, ...]
    _offsets: tuple[int, ...]

    @staticmethod
    def of(steps: Sequence[CampaignStep], offsets: Sequence[int] = ()) -> Timeline:
        """Return the timeline of a campaign's steps, in the order of the log. The first one sets it.

        `offsets`: where they lie in the log.
        """
        moments: list[Moment] = []
        for step in steps:
            last = moments[-1] if moments else None
            at_ms = step.at_ms if last is None else max(step.at_ms, last.from_ms + 1)
            if isinstance(step, SetCampaign):
                goes_on = last is not None and not last.is_deleted and step.terms.counts_alike(last.terms)
                is_paused = last is not None and not last.is_deleted and last.is_paused
                moments.append(Moment(at_ms, step.terms, last.period_ms if last and goes_on else at_ms, is_paused))
                continue
            assert last is not None  # noqa: S101  (nothing else is done to a campaign that isn't set; narrows the type)
            if isinstance(step, DeleteCampaign):
                moments.append(last._replace(from_ms=at_ms, is_deleted=True))
            else:
                moments.append(last._replace(from_ms=at_ms, is_paused=isinstance(step, PauseCampaign)))
        return Timeline(tuple(moments), tuple([moment.from_ms for moment in moments]), tuple(offsets))

    def at(self, at_ms: int) -> Moment:
        """Return how the campaign stood at a time."""
        if len(self.moments) == 1:
            return self.moments[0]
        return self.moments[max(0, bisect_right(self._from_ms, at_ms) - 1)]

    def as_known(self, offset: int) -> Moment | None:
        """Return how the campaign stood by the log up to an offset, for whoever knew no more; None: not yet at all."""
        place = bisect_right(self._offsets, offset) - 1
        return None if place < 0 else self.moments[place]

    @property
    def periods(self) -> tuple[Period, ...]:
        """The periods of unchanged terms."""
        found: dict[int, Period] = {}
        for i, moment in enumerate(self.moments):
            is_last = i + 1 == len(self.moments)
            end_ms = moment.from_ms if moment.is_deleted else None if is_last else self.moments[i + 1].from_ms
            found[moment.period_ms] = Period(moment.period_ms, end_ms, moment.terms)
        return tuple(found.values())


class Lives(NamedTuple):
    """Which version of a model was live when: from each time on, its label."""

    from_ms: tuple[int, ...]
    labels: tuple[str, ...]

    def at(self, at_ms: int) -> str:
        """Return the label of the version that was live at a time."""
        if len(self.labels) == 1:
            return self.labels[0]
        return self.labels[max(0, bisect_right(self.from_ms, at_ms) - 1)]


def timelines(registry: Registry) -> dict[str, Timeline]:
    """Return the timeline of each campaign that there ever was."""
    steps: defaultdict[str, list[tuple[CampaignStep, int]]] = defaultdict(list)
    for step, offset in zip(registry.campaign_history, registry.campaign_offsets, strict=True):
        steps[step.campaign].append((step, offset))
    return {campaign: Timeline.of(*zip(*its, strict=True)) for campaign, its in steps.items()}


def lives(registry: Registry) -> Mapping[str, Lives]:
    """Return for each model that ever had a live version, which one was live when."""
    found: dict[str, list[tuple[int, str]]] = {}
    for step in registry.history:
        if isinstance(step, Switch):
            its = found.setdefault(step.name, [])
            its.append((max(step.at_ms, its[-1][0] + 1) if its else step.at_ms, step.label))
    return {name: Lives(*zip(*its, strict=True)) for name, its in found.items()}
