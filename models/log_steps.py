"""The steps of people: what can be done to a version of a model and to a campaign, one type for each.

A step says what its author had seen when it was decided (`replaces`, `seen`). So if two people decide at once, the
second is told (models/registry.py). models/log_record.py writes steps into the models' log.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypedDict

import msgspec

from memberstream.models.definition import VersionDefinition
from memberstream.models.model import label
from memberstream.models.terms import Terms

Action = Literal[
    "publish", "promote", "rollback", "retire", "upload",
    "campaign_set", "campaign_pause", "campaign_resume", "campaign_delete",
]  # fmt: skip


class Authorship(TypedDict):
    """When, by whom and why a step was done; any step takes it."""

    at_ms: int
    actor: str
    reason: str
    forced: bool


class _Done(msgspec.Struct, frozen=True, kw_only=True):
    """What each step says: when and by whom it was done, and why. `forced`: although a check had warned."""

    action: ClassVar[Action]  # its name for people

    at_ms: int
    actor: str
    reason: str = ""
    forced: bool = False


class VersionStep(_Done, frozen=True):
    """A step about a version of a model."""

    name: str
    version: int

    @property
    def label(self) -> str:
        """What it is about, `name@version`."""
        return label(self.name, self.version)


class Publish(VersionStep, frozen=True):
    """A model becomes a candidate."""

    action = "publish"
    definition: VersionDefinition


class Upload(VersionStep, frozen=True):
    """A list's rows will be written now. `token`: distinguishes this upload from all others. Its rows have it, too."""

    action = "upload"
    definition: VersionDefinition
    token: str


class PublishList(VersionStep, frozen=True):
    """All rows of an upload are written: the list becomes a candidate."""

    action = "publish"
    definition: VersionDefinition
    token: str


class GiveUp(VersionStep, frozen=True):
    """The uploader gives up, even if somebody else has ended the upload already: it may have written rows since."""

    action = "retire"
    token: str


class Retire(VersionStep, frozen=True):
    """A version isn't scored any more, for ever."""

    action = "retire"


class Switch(VersionStep, frozen=True):
    """Readers switch to a version. `replaces`: the one that was live when this was decided; None: none was."""

    replaces: int | None


class Promote(Switch, frozen=True):
    """A version becomes live."""

    action = "promote"


class Rollback(Switch, frozen=True):
    """A version becomes live again."""

    action = "rollback"


class CampaignStep(_Done, frozen=True):
    """A step about a campaign.

    Attributes:
        seen: offset of the campaign's latest step that its author saw; None: there was no campaign.
    """

    campaign: str
    seen: int | None

    @property
    def label(self) -> str:
        """What it is about, the campaign's id."""
        return self.campaign


class SetCampaign(CampaignStep, frozen=True):
    """A campaign has these terms from now on."""

    action = "campaign_set"
    terms: Terms


class PauseCampaign(CampaignStep, frozen=True):
    """Nobody sees a campaign until it is resumed."""

    action = "campaign_pause"


class ResumeCampaign(CampaignStep, frozen=True):
    """A paused campaign is seen again."""

    action = "campaign_resume"


class DeleteCampaign(CampaignStep, frozen=True):
    """A campaign is gone. Its id may be set again."""

    action = "campaign_delete"


Step = (
    Publish
    | Upload
    | PublishList
    | GiveUp
    | Retire
    | Promote
    | Rollback
    | SetCampaign
    | PauseCampaign
    | ResumeCampaign
    | DeleteCampaign
)
