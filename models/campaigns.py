"""Campaigns as they stand, and what steps do to them. They are told in the models' log.

Laws:
- A campaign is its terms, and whether it is paused. New terms replace the old ones whole; a pause outlives them.
- Whoever changes a campaign names the step that had made it what it was then, so of two who decide at once the first
  counts and the second is told; nothing needs a lock.
- Pausing what is paused, or deleting what isn't there, is an objection: somebody was wrong about what holds.
- Whether model and clusters exist is not judged here: they may come and go while a campaign stands.
"""

from __future__ import annotations

import msgspec

from memberstream.models.log_steps import (
    CampaignStep,
    DeleteCampaign,
    PauseCampaign,
    ResumeCampaign,
    SetCampaign,
)
from memberstream.models.terms import Terms, problem


class Campaign(msgspec.Struct, frozen=True):
    """A campaign as it stands. `offset`: of the step that made it so."""

    id: str
    terms: Terms
    offset: int
    is_paused: bool = False

    def state_at(self, now_ms: int) -> str:
        """Return what it is at a time: enabled, paused, not begun or over."""
        if self.is_paused:
            return "paused"
        if self.terms.from_ms is not None and now_ms < self.terms.from_ms:
            return "not begun"
        return "enabled" if self.terms.until_ms is None or now_ms < self.terms.until_ms else "over"


def objection(step: CampaignStep, found: Campaign | None) -> str:
    """Return why a step wouldn't count, "" if it would; `found`: the campaign as it stands before."""
    if isinstance(step, SetCampaign):
        if wrong := problem(step.campaign, step.terms):
            return wrong
    elif found is None:
        return f"there is no campaign {step.campaign}. Next: memberstream campaign list"
    if step.seen != (None if found is None else found.offset):
        return f"{step.campaign}: somebody else has just changed it. Next: look (campaign show) and try again"
    if found is not None and isinstance(step, PauseCampaign if found.is_paused else ResumeCampaign):
        return f"{step.campaign} is {'paused already' if found.is_paused else 'not paused'}. Next: nothing"
    return ""


def changed(step: CampaignStep, found: Campaign | None, offset: int) -> Campaign | None:
    """Return a campaign after a step that counts, at `offset`; None: it is deleted."""
    if isinstance(step, SetCampaign):
        return Campaign(step.campaign, step.terms, offset, found is not None and found.is_paused)
    if found is None or isinstance(step, DeleteCampaign):
        return None
    return Campaign(step.campaign, found.terms, offset, isinstance(step, PauseCampaign))
