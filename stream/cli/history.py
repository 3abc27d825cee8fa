"""What was done with versions or a campaign, as JSON and as a table: when, what, by whom and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.table import Table

from memberstream.models.log_steps import CampaignStep, VersionStep
from memberstream.models.timestamps import format_ms
from memberstream.stream.terminal.safe import escape


def step_as_json(step: VersionStep | CampaignStep, **about: Any) -> dict[str, Any]:
    """Return a step as a JSON object. `about`: what it says beside that."""
    return {
        "at": format_ms(step.at_ms),
        "action": _action(step),
        **about,
        "actor": step.actor,
        "reason": step.reason,
        "forced": step.forced,
    }


def table_of_steps(about: str, steps: Iterable[tuple[VersionStep | CampaignStep, str]]) -> Table:
    """Return steps, each with what it is about, as a table."""
    found = Table("when", "what", about, "who", "why", box=None, pad_edge=False, header_style="dim")
    for step, text in steps:
        what = _action(step) + (" (forced)" if step.forced else "")
        found.add_row(format_ms(step.at_ms), what, *map(escape, (text, step.actor, step.reason)))
    return found


def _action(step: VersionStep | CampaignStep) -> str:
    return step.action.removeprefix("campaign_")
