"""What was done with versions or a campaign, as a table: when, what, by whom and why."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from memberstream.models.log_steps import CampaignStep, VersionStep
from memberstream.models.timestamps import format_ms
from memberstream.stream.authoring.history import action_of
from memberstream.stream.terminal.safe import escape


def table_of_steps(about: str, steps: Iterable[tuple[VersionStep | CampaignStep, str]]) -> Table:
    """Return steps, each with what it is about, as a table."""
    found = Table("when", "what", about, "who", "why", box=None, pad_edge=False, header_style="dim")
    for step, text in steps:
        what = action_of(step) + (" (forced)" if step.forced else "")
        found.add_row(format_ms(step.at_ms), what, *map(escape, (text, step.actor, step.reason)))
    return found
