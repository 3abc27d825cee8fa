"""What was done with versions or a campaign, printed: when, what, by whom and why."""

from __future__ import annotations

from collections.abc import Iterable

from memberstream.models.log_steps import CampaignStep, VersionStep
from memberstream.models.timestamps import format_ms
from memberstream.stream.authoring.history import action_of
from memberstream.stream.terminal.safe import escape
from memberstream.stream.terminal.table import print_table


def print_steps(about: str, steps: Iterable[tuple[VersionStep | CampaignStep, str]]) -> None:
    """Print steps, each with what it is about, as a table."""
    rows = []
    for step, text in steps:
        what = action_of(step) + (" (forced)" if step.forced else "")
        rows.append((format_ms(step.at_ms), what, *map(escape, (text, step.actor, step.reason))))
    print_table(("when", "what", about, "who", "why"), rows, sentences=(2, 4))
