"""Versions of models and lists as pages show them. Values in, values out."""

from __future__ import annotations

from typing import NamedTuple

from memberstream.models.list_version import parse_list
from memberstream.models.log_steps import Publish, PublishList, Switch, Upload, VersionStep
from memberstream.models.problems import ModelFileError
from memberstream.models.registry import Registry, Version


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
    return [shown(registry, entry) for entry in entries]


def shown(registry: Registry, entry: Version) -> Shown:
    """Return one version."""
    steps = [step for step in registry.history if step.label == entry.label]
    is_live = registry.live.get(entry.name) == entry.version
    return Shown(
        entry,
        next((step for step in reversed(steps) if isinstance(step, (Publish, PublishList, Upload))), None),
        *_live(registry, entry),
        _rows(entry),
        sorted(one.id for one in registry.campaigns.values() if is_live and one.terms.model == entry.name),
    )


def _live(registry: Registry, entry: Version) -> tuple[VersionStep | None, VersionStep | None]:
    switched = replaced = None
    for step in registry.history:
        if isinstance(step, Switch) and step.name == entry.name:
            if step.version == entry.version:
                switched, replaced = step, None
            elif switched is not None and replaced is None:
                replaced = step
    return switched, replaced


def _rows(entry: Version) -> int | None:
    if not entry.definition.is_list:
        return None
    try:
        listed = parse_list(entry.definition.body)
    except ModelFileError:  # a newer memberstream wrote it
        return None
    return listed.n_rows if listed.end else None
