"""Campaigns: which clusters of a model see something, when, and who is held out. They are told in the models' log.

Laws:
- A campaign is its terms, and whether it is paused. New terms replace the old ones whole; a pause outlives them.
- Whoever changes a campaign names the step that had made it what it was then, so of two who decide at once the first
  counts and the second is told; nothing needs a lock.
- Pausing what is paused, or deleting what isn't there, is an objection: somebody was wrong about what holds.
- Whether model and clusters exist is not judged here: they may come and go while a campaign stands.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

CampaignAction = Literal["campaign_set", "campaign_pause", "campaign_resume", "campaign_delete"]
#: Of 10,000; so a share has two decimals as a percentage, and every language has it as a whole number.
WHOLE = 10_000
_ID = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who sees a campaign, and when.

    Attributes:
        clusters: ids of the model's clusters, ascending.
        from_ms, until_ms: it is visible from the first until before the second; None: no bound.
        holdout: of 10,000 members of these clusters so many don't see it, for comparison.
    """

    model: str
    clusters: tuple[int, ...]
    from_ms: int | None = None
    until_ms: int | None = None
    holdout: int = 0


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


def is_id(text: str) -> bool:
    """Return whether a campaign may be called so."""
    return _ID.fullmatch(text) is not None


def problem(campaign_id: str, terms: Terms) -> str:
    """Return what is wrong with a campaign in itself, "" if nothing is."""
    if not is_id(campaign_id):
        return (
            f"{campaign_id!r} is no campaign id. "
            "Next: begin with a small letter; small letters, digits, _ and - may follow, 64 characters in all"
        )
    if not terms.clusters or list(terms.clusters) != sorted(set(terms.clusters)):
        return f"{campaign_id}: expected clusters, each once, found {list(terms.clusters)}. Next: name at least one"
    if terms.from_ms is not None and terms.until_ms is not None and terms.from_ms >= terms.until_ms:
        return f"{campaign_id}: it would end before it begins. Next: a time for until that is later than that for from"
    if not 0 <= terms.holdout <= WHOLE:
        return f"{campaign_id}: expected a holdout from 0% to 100%, found {terms.holdout / 100:g}%. Next: correct it"
    return ""


def objection(
    action: CampaignAction, campaign_id: str, found: Campaign | None, replaces: int | None, terms: Terms | None
) -> str:
    """Return why a step wouldn't count, "" if it would; `found`: the campaign as it stands before."""
    if action == "campaign_set":
        wrong = f"{campaign_id}: no terms. Next: update memberstream" if terms is None else problem(campaign_id, terms)
        if wrong:
            return wrong
    elif found is None:
        return f"there is no campaign {campaign_id}. Next: memberstream campaign list"
    if replaces != (None if found is None else found.offset):
        return f"{campaign_id}: somebody else has just changed it. Next: look (campaign show) and try again"
    if found is not None and action == ("campaign_pause" if found.is_paused else "campaign_resume"):
        return f"{campaign_id} is {'paused already' if found.is_paused else 'not paused'}. Next: nothing"
    return ""


def changed(
    action: CampaignAction, campaign_id: str, found: Campaign | None, terms: Terms | None, offset: int
) -> Campaign | None:
    """Return a campaign after a step that counts, at `offset`; None: it is deleted."""
    if action == "campaign_delete":
        return None
    if action == "campaign_set":
        holds, is_paused = terms, found is not None and found.is_paused
    else:
        holds, is_paused = None if found is None else found.terms, action == "campaign_pause"
    assert holds is not None  # noqa: S101  (a step that counts; narrows the type)
    return Campaign(campaign_id, holds, offset, is_paused)
