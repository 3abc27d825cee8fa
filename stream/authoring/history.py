"""What people did with versions and campaigns, as JSON: the same in commands, in the console and in exports."""

from __future__ import annotations

from typing import Any

from memberstream.models.log_steps import CampaignStep, SetCampaign, VersionStep
from memberstream.models.terms import Terms
from memberstream.models.timestamps import format_ms


def step_as_json(step: VersionStep | CampaignStep, **about: Any) -> dict[str, Any]:
    """Return a step as a JSON object. `about`: what it says beside that."""
    return {
        "at": format_ms(step.at_ms),
        "action": action_of(step),
        **about,
        "actor": step.actor,
        "reason": step.reason,
        "forced": step.forced,
    }


def action_of(step: VersionStep | CampaignStep) -> str:
    """Return what was done, in a word; what it was done to is told beside it."""
    return step.action.removeprefix("campaign_")


def terms_of(step: CampaignStep) -> Terms | None:
    """Return the terms that a step sets; None: it sets none."""
    return step.terms if isinstance(step, SetCampaign) else None
