"""Uploading a list: who is in which cluster, from a file or a program, as a model version of its own.

In this order, and why an interruption just after each step is safe:

    1  `upload` in the models' log    a version that nobody scores, reads or counts; the next upload of the name ends it
    2  all rows acknowledged          they lie under a token that is published nowhere. When 1 is ended, they are
                                      removed; and again when this upload, which looks every few seconds, notices that
    3  `publish` in the models' log   it is a candidate like any other: workers write its fields to Redis and tell when
                                      that is done (`model wait`); readers use it, whole, from `model promote` on

Laws:
- One wrong row and nothing is published, unless wrong rows may be left out.
- A list that is refused uses up no version number, and ends nobody else's upload: `examine` reads all rows before 1.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from memberstream.models.list_version import ListVersion, name_clusters, parse_list
from memberstream.models.model import Cluster
from memberstream.models.registry import Registry, Version
from memberstream.models.wording import counted
from memberstream.stream.authoring.memberships import memberships
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.authoring.state_reader import ids_of_members
from memberstream.stream.authoring.steps import Steps, find
from memberstream.stream.authoring.upload_steps import UploadSteps
from memberstream.stream.files.lists import RawChunk, Rejected
from memberstream.stream.kafka.topic_reader import TopicUnreadable
from memberstream.stream.lists.check import ListCheck
from memberstream.stream.lists.rows import Appender, Ready, prepare
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter, unwatched

#: How often the upload looks whether somebody else has ended it. A look reads the models' log: some 50 ms.
LOOK_EVERY_S = 5.0
#: Rejected rows that are kept to be shown. All of them go to `on_rejected`.
SHOWN = 20
#: Every reader holds the clusters' names. If there are more, the column is a wrong one: an amount or an id.
MAX_CLUSTERS = 1_000
_NOWHERE = Ready((0,), "")

Append = Callable[[list[bytes], list[int]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Options:
    """What becomes of the rows.

    Attributes:
        version: None: the next free one.
        names: cluster → name, all different. A cluster without a name is called by its number.
        merge: label or name of a list: its rows are kept for members whom the new rows don't name.
        skip_bad: publish although rows were left out.
    """

    name: str
    version: int | None = None
    description: str = ""
    names: Mapping[int, str] = field(default_factory=dict)
    merge: str | None = None
    skip_bad: bool = False
    reason: str = ""


@dataclass(slots=True)
class Uploaded:
    """What was found in a list, and the result of uploading it.

    Attributes:
        label: of the published version; after a dry run, what it would be.
        sizes: cluster → members.
        kept: members of `sizes` that come from the merged list.
        repeated: rows that repeat an earlier one, with the same cluster.
        n_rejected: how many rows can't be taken. `rejected`: the first of them.
        moved, held: of a dry run. `held` members have a cluster by the live version; `moved` of them would change it.
        known: of a dry run that was asked for it: how many of the new rows' members have a document. None: not known.
    """

    label: str
    sizes: dict[int, int] = field(default_factory=dict)
    kept: int = 0
    repeated: int = 0
    n_rejected: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    moved: int = 0
    held: int = 0
    known: int | None = None

    @property
    def n_rows(self) -> int:
        return sum(self.sizes.values())


class RowsRejected(PublishError):
    """Some rows can't be taken, so nothing was published. The author corrects them, or leaves them out on purpose."""

    def __init__(self, outcome: Uploaded) -> None:
        shown = "\n".join(f"  line {line}: {reason}" for line, reason in outcome.rejected)
        more = f"\n  … and {outcome.n_rejected - len(outcome.rejected):,} more" * (outcome.n_rejected > SHOWN)
        super().__init__(
            f"{counted(outcome.n_rejected, 'row')} can't be taken, nothing was published\n{shown}{more}\n"
            "Next: correct them and upload again; or leave them out (--skip-bad), all are listed by --rejected FILE"
        )
        self.outcome = outcome


def cluster_names(text: str) -> dict[int, str]:
    """Return cluster → name of 1=low,2=high. Raises PublishError: it is something else."""
    names: dict[int, str] = {}
    for part in filter(None, text.split(",")):
        cluster, _, name = (word.strip() for word in part.partition("="))
        is_number = cluster.isascii() and cluster.isdigit() and len(cluster) <= 20
        if not is_number or not name or int(cluster) in names or name in names.values():
            raise PublishError(f"{text}: expected the clusters' names. Next: write them like 1=low,2=medium,3=high")
        names[int(cluster)] = name
    return names


class Uploading:
    """Uploads of one installation.

    Args:
        on_rejected: called with each row that can't be taken.
        on_progress: called as the source is read.
    """

    def __init__(
        self,
        settings: Settings,
        actor: str,
        on_rejected: Callable[[Rejected], None] = lambda row: None,
        on_progress: Meter = unwatched,
    ) -> None:
        self._settings, self.publishing = settings, Publishing(settings, actor)
        self._steps = UploadSteps(Steps(settings, actor))
        self._on_rejected, self._on_progress = on_rejected, on_progress

    async def check(self, source: Iterable[RawChunk], options: Options, on_known: Meter | None = None) -> Uploaded:
        """Return what an upload would find and do; writes nothing. Raises like `upload`, except for rejected rows.

        Args:
            on_known: if it is there, `known` is counted, which reads the changelog; called with how far that is.
        """
        registry = await self.publishing.registry()
        base, checked, outcome = await self._judge_all(registry, source, options)
        if on_known is not None:
            outcome.known = await self._known(checked, on_known)
        if not outcome.n_rejected or options.skip_bad:
            _refuse_none(outcome)
        async for ids, kept in self._kept(base, checked):
            checked.add(ids, kept)
            _count(outcome, kept)
        if not outcome.n_rejected or options.skip_bad:
            _clusters(outcome, options, base)
        if (live := registry.live.get(options.name)) is not None:
            await self._compare(registry.versions[f"{options.name}@{live}"], checked, outcome)
        return outcome

    async def examine(self, source: Iterable[RawChunk], options: Options) -> Uploaded:
        """Judge all rows, before anything is written. Returns what is found; `sizes` without a merged list's members.

        Raises:
            RowsRejected, PublishError, ModelFileError: as `upload` would.
        """
        registry = await self.publishing.registry()
        base, _, outcome = await self._judge_all(registry, source, options)
        if outcome.n_rejected and not options.skip_bad:
            raise RowsRejected(outcome)
        _refuse_none(outcome)
        _clusters(outcome, options, base)
        return outcome

    async def _judge_all(
        self, registry: Registry, source: Iterable[RawChunk], options: Options
    ) -> tuple[Version | None, ListCheck, Uploaded]:
        """Return the list to merge with, the rows that can be taken, and what was found."""
        base, listed, checked = _base(registry, options), _begun(registry, options), ListCheck()
        self._steps.check(registry, listed)
        outcome = Uploaded(listed.label)
        for chunk in source:
            self._judge(checked, chunk, outcome)
            await asyncio.sleep(0)  # an interruption is noticed
        outcome.sizes, outcome.repeated = dict(checked.sizes), checked.repeated
        return base, checked, outcome

    async def refuse_stranding(self, outcome: Uploaded, options: Options) -> None:
        """Refuse what `promote` would refuse for campaigns, before anything is uploaded.

        Args:
            outcome: what `examine` has found.

        Raises:
            PublishError: campaigns name clusters that the list won't have. Those of a merged list count as the list's.
        """
        base = _base(await self.publishing.registry(), options)
        merged = {} if base is None else base.definition.clusters
        await self.publishing.refuse_stranding(options.name, {*outcome.sizes, *options.names, *merged})

    async def upload(self, source: Iterable[RawChunk], options: Options) -> Uploaded:
        """Upload rows and publish them as a candidate.

        Raises:
            RowsRejected: some rows can't be taken.
            PublishError: there are no rows, far too many clusters, or two clusters of one name; the version is taken;
                another upload of the name began meanwhile; or the list to merge with was retired.
            ModelFileError: the name can't be a model's.
            ListRowsError, ModelsLogError: Kafka doesn't take them.
        """
        publishing, settings = self.publishing, self._settings
        registry = await publishing.registry()
        base = _base(registry, options)
        ready = await prepare(settings.kafka, settings.lists_topic, settings.topic, settings.replication_factor)
        listed = _begun(registry, options, ready)
        outcome, checked, looked_at = Uploaded(listed.label), ListCheck(), time.monotonic()

        async def append(ids: list[bytes], clusters: list[int]) -> None:
            nonlocal looked_at
            if time.monotonic() - looked_at >= LOOK_EVERY_S:
                await self._steps.check_goes_on(listed)
                looked_at = time.monotonic()
            await appender.append(ids, clusters)

        await self._steps.begin(listed)  # 1
        try:
            topic = settings.kafka, settings.lists_topic
            async with Appender(*topic, listed.prefix, listed.first) as appender:
                await self._append(append, source, checked, outcome, options)
                if outcome.n_rejected and not options.skip_bad:
                    raise RowsRejected(outcome)
                outcome.sizes, outcome.repeated = dict(checked.sizes), checked.repeated
                _refuse_none(outcome)
                async for ids, kept in self._kept(base, checked):
                    await append(ids, kept)
                    _count(outcome, kept)
                if (
                    base is not None
                ):  # if it was retired meanwhile, it has lost rows, and nobody knows which were read before
                    find(await publishing.registry(), f"{base.name}@{base.version}")
                clusters = _clusters(outcome, options, base)
                await appender.flush()  # 2
            listed = replace(listed, end=tuple(appender.end), n_rows=outcome.n_rows, clusters=clusters)
            await self._steps.end(listed, reason=options.reason)  # 3
        except BaseException as error:
            with suppress(
                Exception
            ):  # if this can't be told now, the next upload tells it; if it is refused, the list is published
                await self._steps.give_up(listed)
                error.add_note(
                    f"{listed.label} is used up, its rows are withdrawn; the next upload gets another version"
                )
            raise
        return outcome

    async def promote(self, entry: Version, *, reason: str, max_flips: float) -> None:
        """Make an uploaded list live. Raises PublishError: that is refused; the list stays a candidate."""
        try:
            await self.publishing.promote(entry.name, entry.version, reason=reason, max_flips=max_flips)
        except PublishError as error:  # it may name options that an upload hasn't
            command = f"memberstream model promote {entry.label}"
            raise PublishError(f"{entry.label} is uploaded, but `{command}` is refused: {error}") from None

    async def _append(
        self, append: Append, source: Iterable[RawChunk], checked: ListCheck, outcome: Uploaded, options: Options
    ) -> None:
        for chunk in source:
            ids, clusters = self._judge(checked, chunk, outcome)
            if not outcome.n_rejected or options.skip_bad:
                await append(ids, clusters)
            await asyncio.sleep(0)  # the producer sends meanwhile

    def _judge(self, checked: ListCheck, chunk: RawChunk, outcome: Uploaded) -> tuple[list[bytes], list[int]]:
        ids, clusters, rejected = checked.take(chunk)
        outcome.n_rejected += len(rejected)
        outcome.rejected += rejected[: SHOWN - len(outcome.rejected)]
        for row in rejected:
            self._on_rejected(row)
        if len(checked.sizes) > MAX_CLUSTERS:
            raise PublishError(
                f"more than {MAX_CLUSTERS:,} clusters, nothing was published. Next: is it the right column?"
            )
        self._on_progress(chunk.done, chunk.total)
        return ids, clusters

    async def _known(self, checked: ListCheck, on_known: Meter) -> int | None:
        """Return how many of the rows' members have a document; None: no worker has run, or nobody can say."""
        known = 0
        try:
            async for ids in ids_of_members(self._settings.kafka, self._settings.changelog_topic, on_known):
                known += int((checked.clusters_of(ids) >= 0).sum())
        except TopicUnreadable:
            return None
        return known

    async def _kept(self, base: Version | None, checked: ListCheck) -> AsyncIterator[tuple[list[bytes], list[int]]]:
        """Yield the rows of the list to merge with, without the members that the new rows name."""
        if base is None:
            return
        async for part in memberships(self._settings, base):
            if part:
                new = checked.clusters_of([member_id for member_id, _ in part]).tolist()
                kept = [pair for pair, cluster in zip(part, new, strict=True) if cluster < 0]
                if kept:
                    yield [member_id for member_id, _ in kept], [cluster for _, cluster in kept]

    async def _compare(self, live: Version, checked: ListCheck, outcome: Uploaded) -> None:
        """Count the members with a cluster under the live version, and those who would get another cluster or none."""
        async for part in memberships(self._settings, live):
            new = checked.clusters_of([member_id for member_id, _ in part]).tolist()
            outcome.held += len(part)
            outcome.moved += sum(a != b for (_, a), b in zip(part, new, strict=True))


def _begun(registry: Registry, options: Options, ready: Ready = _NOWHERE) -> ListVersion:
    """Return the list, without rows yet. Raises ModelFileError: the name can't be a model's."""
    version = registry.next_version(options.name) if options.version is None else options.version
    token, since_ms = secrets.token_hex(8), time.time_ns() // 1_000_000
    listed = ListVersion(
        options.name, version, options.description, token, since_ms, ready.first, topic_id=ready.topic_id
    )
    parse_list(listed.definition())
    return listed


def _base(registry: Registry, options: Options) -> Version | None:
    """Return the list to merge with. Raises PublishError: there is none, or it is computed."""
    if options.merge is None:
        return None
    base = find(registry, options.merge)
    if not base.definition.is_list:
        raise PublishError(f"{options.merge} isn't a list, it is computed. Next: upload all rows, without --merge")
    return base


def _refuse_none(outcome: Uploaded) -> None:
    """Raise PublishError: no new rows. Merged with a list they would make a copy of it."""
    if not outcome.n_rows:
        raise PublishError("no rows, nothing was published. Next: is it the right file?")


def _clusters(outcome: Uploaded, options: Options, base: Version | None) -> tuple[Cluster, ...]:
    """Return the list's clusters: those that occur and those that were named. Names may come from the merged list, too.

    Raises:
        PublishError: two clusters have one name.
    """
    known = {} if base is None else base.definition.clusters
    clusters = name_clusters(sorted(outcome.sizes.keys() | options.names.keys()), {**known, **options.names})
    ids_of: dict[str, list[int]] = {}
    for cluster in clusters:
        ids_of.setdefault(cluster.name, []).append(cluster.id)
    if shared := [f"{name} ({' and '.join(map(str, ids))})" for name, ids in ids_of.items() if len(ids) > 1]:
        raise PublishError(
            f"clusters of one name: {', '.join(shared)}; nothing was published. Next: --names, each another"
        )
    return clusters


def _count(outcome: Uploaded, clusters: list[int]) -> None:
    for cluster in clusters:
        outcome.sizes[cluster] = outcome.sizes.get(cluster, 0) + 1
    outcome.kept += len(clusters)
