"""The registry of model versions and campaigns: what became of each, folded from a log of steps.

Laws:
- The same steps in the same order give the same registry, so every worker and every command folds the log for itself.
- A record that isn't a step, whatever its bytes, is set aside with its reason and changes nothing (`take`): the same
  records without it give the same registry.
- The log is the judge: if steps contradict one another, the first counts. A step that doesn't fit what stands before it
  changes nothing, and `add` says why. Its author reads it back and learns whether it counts.
- A version never changes: its label can't be published again with other content, not even after it is retired.
- Each name has at most one live version. Candidates and the live version are scored; a retired one no more.
- Campaigns (models/campaigns.py) stand in the same log, so one offset says what readers know of both.
- A list is announced before its rows are written (`Upload`) and published after the last (`PublishList`, same token).
  Each name has at most one upload under way. Another upload takes its place, and the rows of the first must be removed.
  An uploader that gives up says so even if its upload was ended already (`GiveUp`): it may have written since.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from memberstream.models import campaigns
from memberstream.models.campaigns import Campaign
from memberstream.models.definition import VersionDefinition
from memberstream.models.log_record import COMPLETE, NOTHING, StepError, decode
from memberstream.models.log_steps import (
    CampaignStep,
    GiveUp,
    Publish,
    PublishList,
    Retire,
    Step,
    Switch,
    Upload,
    VersionStep,
)
from memberstream.models.model import label

#: So many of the last records set aside are remembered. All are counted.
REMEMBERED = 100


class Status(StrEnum):
    """What a version is to readers and workers."""

    UPLOADING = "uploading"
    CANDIDATE = "candidate"
    LIVE = "live"
    RETIRED = "retired"


class SetAside(NamedTuple):
    """A record of the log that isn't a step. `why` holds nothing of its content."""

    offset: int
    why: str


@dataclass(slots=True)
class Version:
    """A version.

    Attributes:
        offset: of the step that published it; for an upload under way, of the step that began it.
        retired_at: offset of the step that retired it.
        token: of the upload by which a list came.
    """

    name: str
    version: int
    definition: VersionDefinition
    offset: int
    status: Status = Status.CANDIDATE
    retired_at: int | None = None
    token: str = ""

    @property
    def label(self) -> str:
        """`name@version`."""
        return label(self.name, self.version)


@dataclass(slots=True)
class Registry:
    """All published versions and campaigns, and what became of them.

    Attributes:
        versions: label → version, in the order in which they were published.
        live: model name → its live version.
        campaigns: id → campaign, without deleted ones.
        history: the steps about versions that counted. `campaign_history`: those about campaigns; `campaign_offsets`:
            where each of these lies.
        offset: of the last step that was read, whether it counted or not; -1 before the first.
        changed_at: offset of the last step that changed which versions are scored or uploaded; -1 before the first.
        set_aside: the last records that aren't steps. `n_set_aside`: how many there were.
        is_complete: False while a log that was begun anew isn't yet what the lost one was.
    """

    versions: dict[str, Version] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    history: list[VersionStep] = field(default_factory=list)
    campaign_history: list[CampaignStep] = field(default_factory=list)
    campaign_offsets: list[int] = field(default_factory=list)
    offset: int = -1
    changed_at: int = -1
    set_aside: deque[SetAside] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    n_set_aside: int = 0
    is_complete: bool = True

    def take(self, offset: int, value: bytes | None) -> str:
        """Take the next record of the log. Returns why it doesn't count; "" if it does. Raises nothing."""
        if value in (NOTHING, COMPLETE):
            self.offset, self.is_complete = offset, value == COMPLETE
            return ""
        try:
            return self.add(offset, decode(value))
        except Exception as error:  # even a fault of ours: one record must not stop every worker for ever
            why = str(error) if isinstance(error, StepError) else f"it can't be taken in: {type(error).__name__}"
            self.offset = offset
            self.n_set_aside += 1
            self.set_aside.append(SetAside(offset, why))
            return why

    def become(self, other: Registry) -> None:
        """Take over, in place, what another registry holds."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def add(self, offset: int, step: Step) -> str:
        """Take the next step of the log. Returns why it doesn't count; "" if it does."""
        self.offset = offset
        if why_not := self.objection(step):
            return why_not
        if isinstance(step, CampaignStep):
            after = campaigns.changed(step, self.campaigns.pop(step.campaign, None), offset)
            if after is not None:
                self.campaigns[step.campaign] = after
            self.campaign_history.append(step)
            self.campaign_offsets.append(offset)
            return ""
        found = self.versions.get(step.label)
        match step:
            case Publish() if found is not None and found.status is not Status.UPLOADING:
                return ""  # the same content again
            case Publish():
                self._enter(step, offset, Status.CANDIDATE)
            case PublishList():
                self._enter(step, offset, Status.CANDIDATE, step.token)
            case Upload():
                self._abandon(step.name, offset)
                self._enter(step, offset, Status.UPLOADING, step.token)
            case Retire() | GiveUp():
                self._retire(self.versions[step.label], offset)
            case _:  # Promote, Rollback
                if step.replaces is not None:
                    self.versions[label(step.name, step.replaces)].status = Status.CANDIDATE
                self.versions[step.label].status = Status.LIVE
                self.live[step.name] = step.version
        self.history.append(step)
        return ""

    def _enter(self, step: Publish | PublishList | Upload, offset: int, status: Status, token: str = "") -> None:
        self.versions[step.label] = Version(step.name, step.version, step.definition, offset, status, token=token)
        self.changed_at = offset

    def _retire(self, entry: Version, offset: int) -> None:
        entry.status, entry.retired_at = Status.RETIRED, offset
        self.changed_at = offset

    def _abandon(self, name: str, offset: int) -> None:
        """End the upload of a name that is under way. It was interrupted, or it will notice."""
        for entry in self.versions.values():
            if entry.name == name and entry.status is Status.UPLOADING:
                self._retire(entry, offset)

    def objection(self, step: Step) -> str:
        """Return why a step wouldn't count if it came next, with what to do; "" if it would count."""
        if isinstance(step, CampaignStep):
            return campaigns.objection(step, self.campaigns.get(step.campaign))
        name, live = step.label, self.live.get(step.name)
        found = self.versions.get(name)
        match step:
            case Upload() if not self.is_complete:  # a deleted member leaves the lists that readers know
                next_ = "memberstream model complete-log, then upload"
                return f"the models' log is begun anew, and not complete. Next: {next_}"
            case Upload():
                return f"{name} is taken. Next: leave the version out, to get the next free one" if found else ""
            case PublishList():
                if found is None or found.status is not Status.UPLOADING or found.token != step.token:
                    return (
                        f"the upload of {name} was ended: another one of {step.name} began, or it was retired. "
                        "Next: upload again"
                    )
                return ""
            case GiveUp():
                if found is None or found.token != step.token or found.status in (Status.CANDIDATE, Status.LIVE):
                    return f"{name} isn't being uploaded. Next: memberstream model retire, if it is published"
                return ""
            case Publish():
                if found is not None and found.token:
                    return f"{name} is an uploaded list. Next: publish this one as a new version"
                if found is not None and found.definition.digest != step.definition.digest:
                    return f"{name} is published with other content. Next: publish this one as a new version"
                if found is not None and found.status is Status.RETIRED:
                    return f"{name} is retired. Next: publish it as a new version"
                return ""
        if found is None or (found.status is Status.UPLOADING and not isinstance(step, Retire)):
            known = ", ".join(v for v, e in self.versions.items() if e.name == step.name and v != name) or "no version"
            return f"{name} isn't published; of {step.name}: {known}. Next: memberstream model publish FILE"
        if found.status is Status.RETIRED:
            return f"{name} is retired, its memberships are gone. Next: publish it as a new version"
        if isinstance(step, Retire):
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
        """Return the lowest version of a model above all earlier ones."""
        return max((entry.version for entry in self.versions.values() if entry.name == name), default=0) + 1

    def previous(self, name: str) -> int | None:
        """Return the version that was live before the live one, if it isn't retired; None if there is none."""
        lived = [step.version for step in self._switches(name)]
        for version in reversed(lived):
            if version != self.live.get(name) and self.versions[label(name, version)].status is not Status.RETIRED:
                return version
        return None

    def live_at(self, name: str, at_ms: int) -> int | None:
        """Return the version of a model that was live at a time; None: none was."""
        version = None
        for step in self._switches(name):
            if step.at_ms <= at_ms:
                version = step.version
        return version

    def _switches(self, name: str) -> list[Switch]:
        return [step for step in self.history if isinstance(step, Switch) and step.name == name]
