"""Everything that people did with models, lists and campaigns: filtered, and as CSV. Values in, values out."""

from __future__ import annotations

import csv
import re
from io import StringIO
from typing import Any, NamedTuple

from memberstream.models.log_steps import CampaignStep, VersionStep
from memberstream.models.registry import Registry
from memberstream.models.timestamps import format_ms
from memberstream.stream.authoring.history import action_of, step_as_json, terms_of
from memberstream.stream.authoring.terms_told import as_json, as_text

KINDS = ("model", "list", "campaign")
_CSV = ("at", "kind", "name", "action", "actor", "reason", "forced", "terms")
#: Spreadsheets take what begins so for a formula, and some begin a cell at each semicolon, tab or line.
_FORMULA = re.compile(r"(^|[;\t\r\n])([\s\"']*)(?=[=+\-@])|^(?=[\t\r])")


class Done(NamedTuple):
    """A step. `kind`: of what it was done to, one of KINDS; `terms`: those that a campaign got, as a text."""

    step: VersionStep | CampaignStep
    kind: str
    action: str
    terms: str

    @property
    def page(self) -> str:
        """Where the console shows what it was done to."""
        if isinstance(self.step, CampaignStep):
            return f"/campaigns/{self.step.campaign}"
        return f"/models/{self.step.name}"


def done(registry: Registry, kind: str = "", text: str = "") -> list[Done]:
    """Return the steps, the latest first, by the times that their authors' clocks gave them.

    Args:
        kind: only those about this; "": all.
        text: only those that hold it, in any letter case; "": all.
    """
    steps = [_of_version(registry, step) for step in registry.history]
    steps += [_of_campaign(registry, step) for step in registry.campaign_history]
    steps.reverse()  # of one time, the later in the log stands first
    steps.sort(key=lambda one: -one.step.at_ms)
    wanted = text.casefold()
    return [one for one in steps if kind in ("", one.kind) and wanted in _searched(one)]


def _of_version(registry: Registry, step: VersionStep) -> Done:
    is_list = (entry := registry.versions.get(step.label)) is not None and entry.definition.is_list
    return Done(step, "list" if is_list else "model", action_of(step), "")


def _of_campaign(registry: Registry, step: CampaignStep) -> Done:
    terms = terms_of(step)
    return Done(step, "campaign", action_of(step), "" if terms is None else as_text(registry, terms))


def _searched(one: Done) -> str:
    said = (one.step.label, one.action, one.step.actor, one.step.reason, one.terms)
    return "\n".join([*said, "forced" if one.step.forced else ""]).casefold()


def to_json(steps: list[Done]) -> list[dict[str, Any]]:
    """Return the steps as commands print them, each with what it is about."""
    found = []
    for one in steps:
        if isinstance(one.step, CampaignStep):
            terms = terms_of(one.step)
            about: dict[str, Any] = {"terms": None if terms is None else as_json(terms)}
        else:
            about = {"version": one.step.version}
        name = one.step.name if isinstance(one.step, VersionStep) else one.step.campaign
        found.append(step_as_json(one.step, kind=one.kind, name=name, **about))
    return found


def to_csv(steps: list[Done]) -> str:
    """Return the steps as CSV with a line of names."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(_CSV)
    for one in steps:
        step = one.step
        row = (format_ms(step.at_ms), one.kind, step.label, one.action, step.actor, step.reason)
        table.writerow(map(_as_text, (*row, str(step.forced).lower(), one.terms)))
    return text.getvalue()


def _as_text(cell: str) -> str:
    """Return a cell in which nothing is taken for a formula: an apostrophe stands before each that might be."""
    return _FORMULA.sub(lambda found: f"{found[0]}'", cell)
