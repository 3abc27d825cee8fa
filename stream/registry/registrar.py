"""A worker's models: it loads those of the models' log, proves them by their examples and hands them to the pipeline.

Law: a version that this worker can't load is left out, logged and counted. It is told for each partition that the
worker owns, so it can't be promoted by mistake. It doesn't hold up the other versions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from memberstream.models.list_version import ListVersion, parse_list
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.problems import ModelFileError
from memberstream.models.registry import Registry, Status, Version
from memberstream.stream.keyspace.formats import Announcement, membership_field
from memberstream.stream.registry.follower import Follower
from memberstream.stream.registry.publication import Current, Lists, Publication, announce, compile_models

log = logging.getLogger(__name__)
_POLL_S = 0.05


class Registrar:
    """Follows the log.

    Attributes:
        current: what the worker goes by.
        refused: label → why this worker can't load it.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower, self._registry = follower, follower.registry
        self._loaded: dict[str, Model] = {}
        self.refused: dict[str, str] = {}
        self.current = Current(self._publication(), announce(self._registry))

    def refused_live(self) -> list[str]:
        """Return the problems of live versions that this worker can't load."""
        return [
            f"{label}: {why}"
            for label, why in self.refused.items()
            if self._registry.versions[label].status is Status.LIVE
        ]

    async def run(self, adopt: Callable[[Publication, Announcement], Awaitable[None]]) -> None:
        """Hand on every change of the log. Never returns."""

        async def changed() -> None:
            before = self.current.publication
            publication = await asyncio.to_thread(self._publication)  # proving examples takes its time
            if (publication.offset, publication.fingerprint) == (before.offset, before.fingerprint):
                publication = before
            else:
                log.info("models: %s", describe(self._registry))
            await adopt(publication, announce(self._registry))

        await self._follower.run(changed)

    async def until_known(self, offset: int) -> None:
        """Return when this worker goes by all that the log holds now, and by a step that somebody else has read.

        Usually that is at once. See Follower.until_known.
        """
        await self._follower.until_known(offset)
        offset = self._registry.offset if self._follower.lost is None else offset
        while self.current.announcement.offset < offset:  # noqa: ASYNC110 (its models are being loaded)
            await asyncio.sleep(_POLL_S)

    def _publication(self) -> Publication:
        registry, models, published = self._registry, [], []
        scored = {entry.label: entry for entry in registry.scored()}
        self.refused = {label: why for label, why in self.refused.items() if label in scored}
        for label, entry in scored.items():
            if label not in self.refused:
                try:
                    if entry.definition.is_list:
                        published.append((entry.offset, parse_list(entry.definition.body)))
                    else:
                        models.append(self._load(label, entry))
                except Exception as error:  # even a fault of ours: one version must not stop every worker
                    if isinstance(error, ModelFileError):
                        why = "; ".join(map(str, error.problems))
                    else:
                        why = f"{type(error).__name__}, which is a fault of memberstream"
                    self.refused[label] = why
                    next_ = "update this worker; if it is the newest, report it"
                    log.error("%s can't be used by this worker, it goes on without it: %s. Next: %s", label, why, next_)
        others = [entry for entry in registry.versions.values() if entry.status in (Status.UPLOADING, Status.RETIRED)]
        retired = [
            (entry.retired_at, membership_field(entry.name, entry.version))
            for entry in others
            if entry.retired_at is not None and not entry.definition.is_list
        ]
        computed = [entry.offset for entry in scored.values() if not entry.definition.is_list]
        members_offset = max([*computed, *[retired_at for retired_at, _ in retired]], default=-1)
        lists, refused = _lists(published, others), [scored[label].offset for label in self.refused]
        return compile_models(models, registry.changed_at, retired, members_offset, lists, refused)

    def _load(self, label: str, entry: Version) -> Model:
        if label not in self._loaded:
            self._loaded[label] = parse(entry.definition.body)
        return self._loaded[label]


def _lists(published: Sequence[tuple[int, ListVersion]], others: Iterable[Version]) -> Lists:
    """Return the lists. If one that isn't published can't be read, this worker can do nothing about it."""
    uploading: list[ListVersion] = []
    withdrawn: list[tuple[int, ListVersion]] = []
    for entry in others:
        if entry.definition.is_list:
            with suppress(ModelFileError):
                version = parse_list(entry.definition.body)
                if entry.retired_at is None:
                    uploading.append(version)
                else:
                    withdrawn.append((entry.retired_at, version))
    return Lists(tuple(published), tuple(uploading), tuple(withdrawn))


def describe(registry: Registry) -> str:
    """Return the scored versions, each with its status, for the log."""
    return ", ".join(f"{e.label} {e.status}" for e in registry.scored()) or "none yet"
