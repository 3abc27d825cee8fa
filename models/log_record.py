"""Steps as the records of the models' log: bytes in, steps out, and back. The only place that knows their form.

Laws:
- Whatever the bytes are, they become a step or a StepError. What is a step can be used: its names, numbers and
  definition are checked, so that keys, labels and dates can be made of them.
- The form is that of the first release and stays: one flat object for all steps. So a campaign's has `version` 0, and
  its `replaces` is an offset; a list's `publish` and `retire` are told from a model's by their `token`. Versions before
  and after read each other's log (docs/upgrades.md).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from memberstream.models.definition import DefinitionError, VersionDefinition, is_name, read_definition
from memberstream.models.log_steps import (
    Action,
    Authorship,
    CampaignStep,
    DeleteCampaign,
    GiveUp,
    PauseCampaign,
    Promote,
    Publish,
    PublishList,
    ResumeCampaign,
    Retire,
    Rollback,
    SetCampaign,
    Step,
    Upload,
)
from memberstream.models.terms import Terms, is_id

#: Values of records of a log that is begun anew, because the one before was lost. The first says nothing: it takes an
#: offset that is known of the lost one. From it on the log isn't complete until the second says so.
NOTHING, COMPLETE = b'{"action":"nothing"}', b'{"action":"complete"}'
_TOKEN = re.compile(r"[ -~]{0,100}")
_VERSIONS = range(1, 2**31)  # as in models/model_file.py, which isn't for us to ask
_CLUSTER_IDS = range(2**31)
_OFFSETS = range(2**62)
_TIMES = range(253_402_300_800_000)  # up to the year 10000, where dates end


class StepRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record's value, as JSON. `name`: of the model, or the campaign's id."""

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
    told = msgspec.structs.asdict(step)
    if isinstance(step, CampaignStep):
        told |= {"name": told.pop("campaign"), "version": 0, "replaces": told.pop("seen")}
    elif isinstance(step, Publish | Upload | PublishList):
        told["definition"] = step.definition.body
    return msgspec.json.encode(StepRecord(action=step.action, **told))


def decode(data: bytes | None) -> Step:
    """Return the step of a record's value. Raises StepError, whatever the value is."""
    if data is None:
        raise StepError("a record without a value, as whoever deletes one writes it")
    try:
        record = msgspec.json.decode(data, type=StepRecord)
    except RecursionError:
        raise StepError("it is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StepError(f"expected a step, found something else ({str(error)[:200]})") from None
    if record.at_ms not in _TIMES:
        raise StepError("at_ms: expected a time in ms")
    if record.replaces is not None and record.replaces not in _OFFSETS:
        raise StepError("replaces: expected a version or an offset")
    return _campaigns(record) if record.action.startswith("campaign_") else _versions(record)


def _campaigns(record: StepRecord) -> Step:
    """Return a campaign's step."""
    if not is_id(record.name):
        raise StepError("name: expected a campaign's id")
    if record.terms is not None:
        _check_terms(record.terms)
    about, done = (record.name, record.replaces), _done(record)
    match record.action:
        case "campaign_pause":
            return PauseCampaign(*about, **done)
        case "campaign_resume":
            return ResumeCampaign(*about, **done)
        case "campaign_delete":
            return DeleteCampaign(*about, **done)
    if record.terms is None:
        raise StepError("terms: expected those of a campaign. Next: update memberstream")
    return SetCampaign(*about, record.terms, **done)


def _versions(record: StepRecord) -> Step:
    """Return a version's step."""
    if not is_name(record.name):
        raise StepError("name: expected at most 64 small letters, digits and _, a letter first")
    if record.version not in _VERSIONS:
        raise StepError("version: expected a number from 1 to 2,147,483,647")
    if not _TOKEN.fullmatch(record.token):
        raise StepError("token: expected at most 100 printable ASCII characters")
    about, done = (record.name, record.version), _done(record)
    match record.action:
        case "promote":
            return Promote(*about, record.replaces, **done)
        case "rollback":
            return Rollback(*about, record.replaces, **done)
        case "retire":
            return GiveUp(*about, record.token, **done) if record.token else Retire(*about, **done)
    definition = _definition(record)
    if record.action == "upload":
        return Upload(*about, definition, record.token, **done)
    if record.token:
        return PublishList(*about, definition, record.token, **done)
    return Publish(*about, definition, **done)


def _done(record: StepRecord) -> Authorship:
    return {"at_ms": record.at_ms, "actor": record.actor, "reason": record.reason, "forced": record.forced}


def _definition(record: StepRecord) -> VersionDefinition:
    body = record.definition
    if body is None:
        raise StepError("definition: expected a model file's object")
    try:
        definition = read_definition(body)
    except DefinitionError as error:
        raise StepError(str(error)) from None
    if body.get("name") != record.name or body.get("version") != record.version:
        raise StepError("definition: expected name and version as the step has them")
    return definition


def _check_terms(terms: Terms) -> None:
    if not is_name(terms.model):
        raise StepError("terms.model: expected a model's name")
    if any(cluster not in _CLUSTER_IDS for cluster in terms.clusters):
        raise StepError("terms.clusters: expected numbers from 0 to 2,147,483,647")
    if any(moment is not None and moment not in _TIMES for moment in (terms.from_ms, terms.until_ms)):
        raise StepError("terms: expected times in ms")
    if any(window_ms not in _TIMES for window_ms in (terms.window_ms, *terms.windows.values())):
        raise StepError("terms: expected windows in ms")
