"""The registry of model versions and campaigns: what became of each, folded from a log of steps.

Laws:
- The same steps in the same order give the same registry, so every worker and every command folds the log for itself.
- The log is the judge: of steps that contradict one another the one that stands first counts. A step that doesn't fit
  what stands before it changes nothing, and `add` says why; who appended it reads it back and learns what came of it.
- A version is immutable for ever: its label can't be published again with other content, not even once it is retired.
- Of each name at most one version is live. Candidates and the live version are scored; a retired one no more.
- Campaigns (models/campaigns.py) are told in the same log, so one offset says what readers know of both.
- A list is announced before its rows are written (`upload`) and published after the last (`publish`, same token). Of
  each name at most one upload is under way: another takes its place, and what the first has written is to be removed.
  Whoever gives an upload up says so even if it was ended already (`retire` with its token): it may have written since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeGuard

import msgspec
import orjson

from models import campaigns
from models.campaigns import Campaign, CampaignAction, Terms
from models.model import label

ModelAction = Literal["publish", "promote", "rollback", "retire", "upload"]
Action = ModelAction | CampaignAction


class Status(StrEnum):
    """What a version is to readers and workers."""

    UPLOADING = "uploading"
    CANDIDATE = "candidate"
    LIVE = "live"
    RETIRED = "retired"


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that somebody did to a model or a campaign; a record of the log.

    Attributes:
        name: of the model, or the campaign's id.
        version: of the model; 0 where it is a campaign.
        replaces: promote, rollback: the version that was live when it was decided; None: none was. Of a campaign: the
            offset of the step that had made it what it was then; None: there was none.
        definition: publish: the model file's JSON object; upload: what is known of the list before its rows.
        terms: campaign_set: who is to see it.
        token: upload, and publish of a list: tells this upload from all others. Of a retire: who uploads gives it up.
        forced: a check had warned.
    """

    action: Action
    name: str
    version: int
    at_ms: int
    actor: str
    reason: str = ""
    replaces: int | None = None
    definition: dict[str, Any] | None = None
    forced: bool = False
    terms: Terms | None = None
    token: str = ""


class StepError(ValueError):
    """A record of the log that isn't a step. Operator: was it written by a newer memberstream? Then update this one."""


def encode(step: Step) -> bytes:
    """Return a step as JSON."""
    return msgspec.json.encode(step)


def decode(data: bytes) -> Step:
    """Return the step of a record's value. Raises StepError."""
    try:
        return msgspec.json.decode(data, type=Step)
    except msgspec.MsgspecError as error:
        raise StepError(f"the models' log: expected a step, found {data[:80]!r} ({error})") from None


def digest(definition: Mapping[str, Any]) -> str:
    """Return 16 hex digits that two definitions share only if their content is equal."""
    return hashlib.blake2b(orjson.dumps(definition, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


@dataclass(slots=True)
class Version:
    """A version.

    Attributes:
        offset: of the step that published it; of an upload under way, of the step that began it.
        retired_at: offset of the step that retired it.
        token: of the upload that a list came by.
    """

    name: str
    version: int
    definition: dict[str, Any]
    digest: str
    offset: int
    status: Status = Status.CANDIDATE
    retired_at: int | None = None
    token: str = ""


@dataclass(slots=True)
class Registry:
    """All published versions and campaigns, and what became of them.

    Attributes:
        versions: label → version, in the order in which they were published.
        live: model name → its live version.
        campaigns: id → campaign, those that aren't deleted.
        history: the steps that counted, without the definitions; `campaign_history`: those of campaigns.
        offset: of the last step read, counted or not; -1 before the first.
        changed_at: offset of the last step that changed which versions are scored or uploaded; -1 before the first.
    """

    versions: dict[str, Version] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    history: list[Step] = field(default_factory=list)
    campaign_history: list[Step] = field(default_factory=list)
    offset: int = -1
    changed_at: int = -1

    def add(self, offset: int, step: Step) -> str:
        """Take the next step of the log; returns why it doesn't count, "" if it does."""
        self.offset = offset
        why_not = self.objection(step)
        if why_not:
            return why_not
        if _is_campaigns(step.action):
            after = campaigns.changed(step.action, step.name, self.campaigns.pop(step.name, None), step.terms, offset)
            if after is not None:
                self.campaigns[step.name] = after
            self.campaign_history.append(step)
            return ""
        name = label(step.name, step.version)
        found = self.versions.get(name)
        if step.action == "publish" and found is not None and found.status is not Status.UPLOADING:
            return ""  # the same content again
        if step.action in ("publish", "upload"):
            if step.action == "upload":
                self._abandon(step.name, offset)
            definition = step.definition or {}
            status = Status.UPLOADING if step.action == "upload" else Status.CANDIDATE
            self.versions[name] = Version(
                step.name, step.version, definition, digest(definition), offset, status, token=step.token
            )
            self.changed_at = offset
        elif step.action == "retire":
            self._retire(self.versions[name], offset)
        else:
            if step.replaces is not None:
                self.versions[label(step.name, step.replaces)].status = Status.CANDIDATE
            self.versions[name].status = Status.LIVE
            self.live[step.name] = step.version
        self.history.append(msgspec.structs.replace(step, definition=None))
        return ""

    def _retire(self, entry: Version, offset: int) -> None:
        entry.status, entry.retired_at = Status.RETIRED, offset
        self.changed_at = offset

    def _abandon(self, name: str, offset: int) -> None:
        """End the upload of a name that is under way: it was interrupted, or is about to find out."""
        for entry in self.versions.values():
            if entry.name == name and entry.status is Status.UPLOADING:
                self._retire(entry, offset)

    def objection(self, step: Step) -> str:
        """Return why a step wouldn't count if it came next, "" if it would; ends with what to do."""
        if _is_campaigns(step.action):
            return campaigns.objection(step.action, step.name, self.campaigns.get(step.name), step.replaces, step.terms)
        name, live = label(step.name, step.version), self.live.get(step.name)
        found = self.versions.get(name)
        if step.action == "upload":
            return f"{name} is taken. Next: leave the version out, to get the next free one" if found else ""
        if step.action == "publish" and step.token:
            if found is None or found.status is not Status.UPLOADING or found.token != step.token:
                return (
                    f"the upload of {name} was ended: another one of {step.name} began, or it was retired. "
                    "Next: upload again"
                )
            return ""
        if step.action == "retire" and step.token:
            if found is None or found.token != step.token or found.status in (Status.CANDIDATE, Status.LIVE):
                return f"{name} isn't being uploaded. Next: memberstream model retire, if it is published"
            return ""
        if step.action == "publish":
            if found is not None and found.token:
                return f"{name} is an uploaded list. Next: publish this one as a new version"
            if found is not None and found.digest != digest(step.definition or {}):
                return f"{name} is published with other content. Next: publish this one as a new version"
            if found is not None and found.status is Status.RETIRED:
                return f"{name} is retired. Next: publish it as a new version"
            return ""
        if found is None or (found.status is Status.UPLOADING and step.action != "retire"):
            known = ", ".join(v for v, e in self.versions.items() if e.name == step.name and v != name) or "no version"
            return f"{name} isn't published; of {step.name}: {known}. Next: memberstream model publish FILE"
        if found.status is Status.RETIRED:
            return f"{name} is retired, its memberships are gone. Next: publish it as a new version"
        if step.action == "retire":
            return f"{name} is live. Next: promote another version first" if live == step.version else ""
        if live == step.version:
            return f"{name} is live already. Next: nothing"
        if live != step.replaces:
            was = "none" if step.replaces is None else f"version {step.replaces}"
            return f"{step.name}: {was} was live when this was decided, now version {live} is. Next: look and try again"
        return ""

    def scored(self) -> list[Version]:
        """Return candidates and live versions by name and version."""
        scored = [entry for entry in self.versions.values() if entry.status in (Status.CANDIDATE, Status.LIVE)]
        return sorted(scored, key=lambda entry: (entry.name, entry.version))

    def next_version(self, name: str) -> int:
        """Return the lowest version of a model above all that there ever were."""
        return max((entry.version for entry in self.versions.values() if entry.name == name), default=0) + 1

    def previous(self, name: str) -> int | None:
        """Return the version that was live before the live one and isn't retired; None if there is none."""
        lived = [step.version for step in self.history if step.name == name and step.action in ("promote", "rollback")]
        for version in reversed(lived):
            if version != self.live.get(name) and self.versions[label(name, version)].status is not Status.RETIRED:
                return version
        return None

    def live_at(self, name: str, at_ms: int) -> int | None:
        """Return the version of a model that was live at a time; None: none was."""
        version = None
        for step in self.history:
            if step.name == name and step.action in ("promote", "rollback") and step.at_ms <= at_ms:
                version = step.version
        return version


def _is_campaigns(action: Action) -> TypeGuard[CampaignAction]:
    return action.startswith("campaign_")
