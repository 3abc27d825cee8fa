"""A worker's models: those of the models' log, loaded, proven by their examples, handed to the pipeline.

Law: a version that this worker can't load is left out, said aloud and counted, and told of each partition that it owns;
so it can't be promoted by mistake. The others aren't held up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from models.list_version import ListVersion, is_list, parse_list
from models.model import Model
from models.model_file import parse
from models.problems import ModelFileError
from models.registry import Registry, Status, Version
from stream.keyspace import Announcement, membership_field
from stream.models_log import ModelsLog
from stream.publication import Current, Lists, Publication, announce, compile_models

log = logging.getLogger(__name__)


class Registrar:
    """Follows the log.

    Attributes:
        current: what the worker goes by.
        refused: label → why this worker can't load it.
    """

    def __init__(self, models_log: ModelsLog, registry: Registry) -> None:
        self._log, self._registry = models_log, registry
        self._loaded: dict[str, Model] = {}
        self.refused: dict[str, str] = {}
        self.current = Current(self._publication(), announce(registry))

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
            changed_at = self.current.publication.offset
            publication = await asyncio.to_thread(self._publication)  # proving examples takes its time
            if publication.offset == changed_at:
                publication = self.current.publication
            else:
                log.info("models: %s", describe(self._registry))
            await adopt(publication, announce(self._registry))

        await self._log.follow(self._registry, changed)

    def _publication(self) -> Publication:
        registry, models, published = self._registry, [], []
        scored = {f"{entry.name}@{entry.version}": entry for entry in registry.scored()}
        self.refused = {label: why for label, why in self.refused.items() if label in scored}
        for label, entry in scored.items():
            if label not in self.refused:
                try:
                    if is_list(entry.definition):
                        published.append((entry.offset, parse_list(entry.definition)))
                    else:
                        models.append(self._load(label, entry))
                except ModelFileError as error:
                    why = self.refused[label] = "; ".join(map(str, error.problems))
                    log.error("%s can't be used by this worker, it goes on without it: %s", label, why)
        others = [entry for entry in registry.versions.values() if entry.status in (Status.UPLOADING, Status.RETIRED)]
        retired = [
            (entry.retired_at, membership_field(entry.name, entry.version))
            for entry in others
            if entry.retired_at is not None and not is_list(entry.definition)
        ]
        computed = [entry.offset for entry in scored.values() if not is_list(entry.definition)]
        members_offset = max([*computed, *[retired_at for retired_at, _ in retired]], default=-1)
        lists, refused = _lists(published, others), [scored[label].offset for label in self.refused]
        return compile_models(models, registry.changed_at, retired, members_offset, lists, refused)

    def _load(self, label: str, entry: Version) -> Model:
        if label not in self._loaded:
            self._loaded[label] = parse(entry.definition)
        return self._loaded[label]


def _lists(published: Sequence[tuple[int, ListVersion]], others: Iterable[Version]) -> Lists:
    """Return the lists; of those that aren't published, what can't be read is nothing that this worker could do."""
    uploading: list[ListVersion] = []
    withdrawn: list[tuple[int, ListVersion]] = []
    for entry in others:
        if is_list(entry.definition):
            with suppress(ModelFileError):
                version = parse_list(entry.definition)
                if entry.retired_at is None:
                    uploading.append(version)
                else:
                    withdrawn.append((entry.retired_at, version))
    return Lists(tuple(published), tuple(uploading), tuple(withdrawn))


def describe(registry: Registry) -> str:
    """Return the scored versions, each with its status, for the log."""
    return ", ".join(f"{e.name}@{e.version} {e.status}" for e in registry.scored()) or "none yet"
