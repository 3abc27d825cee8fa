"""Versions of models and lists as pages show them. Values in, values out."""

from __future__ import annotations

from typing import NamedTuple

from memberstream.models.list_version import parse_list
from memberstream.models.log_steps import Publish, PublishList, Switch, Upload, VersionStep
from memberstream.models.problems import ModelFileError
from memberstream.models.registry import Registry, Status, Version

WAS_LIVE = "was live"


class Shown(NamedTuple):
    """A version with the steps that made it what it is.

    Attributes:
        published: the step that published it or began its upload; None: the log doesn't hold it.
        switched: the last step that made it live; None: it never was.
        replaced: the step by which another version took its place after that; None: none did.
        n_rows: of a list, as uploaded; None: it is none, or its upload isn't over.
        campaigns: ids of the campaigns that go by this model's live version, if this is it.
    """

    entry: Version
    published: VersionStep | None
    switched: VersionStep | None
    replaced: VersionStep | None
    n_rows: int | None
    campaigns: list[str]


def versions(registry: Registry, *, are_lists: bool | None = None, name: str | None = None) -> list[Shown]:
    """Return versions by name, the newest of each first. `are_lists` None: lists and computed ones."""
    entries = [
        entry
        for entry in registry.versions.values()
        if (are_lists is None or entry.definition.is_list == are_lists) and name in (None, entry.name)
    ]
    entries.sort(key=lambda entry: (entry.name, -entry.version))
    return shown(registry, entries)


def shown(registry: Registry, entries: list[Version]) -> list[Shown]:
    """Return these versions. The history is gone through once for all of them: there may be thousands of both."""
    published, switched, replaced = dict[str, VersionStep](), dict[str, VersionStep](), dict[str, VersionStep]()
    live = dict[str, str]()  # name → the label that is live after the steps so far
    for step in registry.history:
        if isinstance(step, (Publish, PublishList, Upload)):
            published[step.label] = step
        elif isinstance(step, Switch):
            if (before := live.get(step.name)) is not None:
                replaced[before] = step
            replaced.pop(step.label, None)
            live[step.name], switched[step.label] = step.label, step
    return [
        Shown(
            entry,
            published.get(entry.label),
            switched.get(entry.label),
            replaced.get(entry.label),
            _rows(entry),
            _campaigns(registry, entry),
        )
        for entry in entries
    ]


def told(registry: Registry) -> dict[str, str]:
    """Return label → what a scored version is to a reader of pages: one that was live isn't a fresh candidate."""
    return {
        one.entry.label: WAS_LIVE if one.replaced and one.entry.status is Status.CANDIDATE else one.entry.status.value
        for one in shown(registry, registry.scored())
    }


def _campaigns(registry: Registry, entry: Version) -> list[str]:
    if registry.live.get(entry.name) != entry.version:
        return []
    return sorted(one.id for one in registry.campaigns.values() if one.terms.model == entry.name)


def _rows(entry: Version) -> int | None:
    if not entry.definition.is_list:
        return None
    try:
        listed = parse_list(entry.definition.body)
    except ModelFileError:  # a newer memberstream wrote it
        return None
    return listed.n_rows if listed.end else None
