"""Two published versions compared over all members, from their documents as the workers last scored them.

Law: versions are computed here, from the same documents at the same times, by the code that the workers run. So it
doesn't matter how far a backfill is, and a candidate can be compared as soon as it is published. An uploaded list is
what its rows say. Its members without a document are compared after the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from memberstream.models.compare import NOTHING, Comparison, Side, Tally
from memberstream.models.coverage import Coverage, misfits
from memberstream.models.coverage import Tally as Coverages
from memberstream.models.explain import Explanation, explain_one
from memberstream.models.list_version import parse_list
from memberstream.models.member import Member
from memberstream.models.model import Cluster, Model
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan
from memberstream.models.registry import Version
from memberstream.models.wording import counted
from memberstream.stream.authoring.compared_html import html_of
from memberstream.stream.authoring.fitting import SAMPLE
from memberstream.stream.authoring.memberships import memberships
from memberstream.stream.authoring.state_reader import all_members
from memberstream.stream.authoring.steps import Steps, find
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter, unwatched

#: Predictors that are shown for a member that would move.
N_REASONS = 3


class Contrast(NamedTuple):
    """A predictor that speaks differently for a member under the two versions.

    Attributes:
        x: its value under each version, or None where a version doesn't have it.
        contribution: to the decision, as `explain` gives it; 0 where a version doesn't have it.
    """

    predictor: str
    old_x: float | None
    new_x: float | None
    old_contribution: float
    new_contribution: float


@dataclass(frozen=True, slots=True)
class Mover:
    """A member that would move. `reasons`: the largest difference first; none if both versions are lists.

    `as_of_ms`: the time at which it was computed; None: it has no document, and two lists name it.
    """

    member_id: str
    as_of_ms: int | None
    old_cluster: int
    new_cluster: int
    reasons: tuple[Contrast, ...]


class Reached(NamedTuple):
    """A campaign's members before and after a promotion: all in its clusters, whatever its holdout and dates."""

    campaign: str
    old_reach: int
    new_reach: int


@dataclass(frozen=True, slots=True, repr=False)
class Compared:
    """`old` and `new`: labels. `movers`: samples of each kind of flip, the most frequent kind first.

    `at_ms`: as of when versions were computed; None: each member as of its last scoring.
    `misfits`: (label, place) at which a version reads values that don't fit, of the first members that were compared.
    """

    old: str
    new: str
    comparison: Comparison
    movers: tuple[Mover, ...]
    campaigns: tuple[Reached, ...]
    at_ms: int | None = None
    misfits: tuple[tuple[str, Coverage], ...] = ()

    _repr_html_ = html_of

    def __repr__(self) -> str:
        """Without members and their documents, which a notebook would keep."""
        n, agree = self.comparison.n_both, self.comparison.n_agree
        return f"<Compared {self.new} against {self.old}: {counted(n, 'member')} under both, {agree:,} agree>"


async def compare(
    settings: Settings,
    new: str,
    old: str,
    *,
    at_ms: int | Literal["list"] | None = None,
    n_samples: int = 2,
    progress: Meter = unwatched,
) -> Compared:
    """Compare version `new` with `old`, each as NAME@VERSION, or NAME for its live one.

    Args:
        at_ms: as of when to compute versions, from the documents as they are now; "list": when the list was uploaded.
            None: each member as of its last scoring.

    Raises:
        PublishError: there is no such version, both are the same, or nothing is computed or listed that `at_ms` names.
        TopicUnreadable: no broker, or no worker has run yet.
    """
    registry = await Steps(settings, "").registry()
    entries = find(registry, old), find(registry, new)
    if entries[0] is entries[1]:
        same = entries[0].label
        raise PublishError(f"both are {same}: nothing to compare. Next: name another one; memberstream model list")
    at_ms = _moment(entries, at_ms)
    old_side, new_side = sides = [await _side(settings, entry, at_ms) for entry in entries]
    tally = Tally(old_side.clusters, new_side.clusters, n_samples)

    def add(ids: list[bytes], states: list[Member | None]) -> None:
        before, after = old_side.of(ids, states), new_side.of(ids, states)
        about = [
            _Sample(member_id, state, i, j, at_ms)
            for member_id, state, i, j in zip(ids, states, before.index.tolist(), after.index.tolist(), strict=True)
        ]
        tally.add(ids, about, before, after)

    async for members in all_members(settings.kafka, settings.changelog_topic, progress):
        add([member_id for member_id, _ in members], [member for _, member in members])
        for side in sides:
            side.look([member.document for _, member in members])
    if strangers := list(dict.fromkeys(i for side in sides if isinstance(side, _Listed) for i in side.left)):
        add(strangers, [None] * len(strangers))
    comparison = tally.finish()
    movers = tuple(_mover(sample, old_side, new_side) for sample in comparison.samples)
    return Compared(
        entries[0].label,
        entries[1].label,
        comparison,
        movers,
        tuple(
            Reached(campaign.id, *_reach(comparison, campaign.terms.clusters))
            for campaign in registry.campaigns.values()
            if campaign.terms.model == entries[0].name
        ),
        at_ms,
        tuple((entry.label, one) for entry, side in zip(entries, sides, strict=True) for one in side.misfits()),
    )


def _moment(entries: Sequence[Version], at_ms: int | Literal["list"] | None) -> int | None:
    """Return as of when versions are computed. Raises PublishError."""
    lists = [entry for entry in entries if entry.definition.is_list]
    if at_ms is not None and len(lists) == len(entries):
        raise PublishError("both are uploaded lists: nothing is computed as of a time. Next: leave the time out")
    if at_ms != "list":
        return at_ms
    if not lists:
        raise PublishError("neither is an uploaded list, whose time could be meant. Next: name a time, ISO 8601")
    return parse_list(lists[0].definition.body).since_ms


def _reach(comparison: Comparison, clusters: Sequence[int]) -> tuple[int, int]:
    """Return how many members are in these clusters under the old and under the new version."""
    rows, columns = comparison.matrix, list(zip(*comparison.matrix, strict=True))
    old = sum(sum(row) for cluster, row in zip(comparison.old, rows, strict=False) if cluster.id in clusters)
    new = sum(sum(column) for cluster, column in zip(comparison.new, columns, strict=False) if cluster.id in clusters)
    return old, new


class _Sample(NamedTuple):
    """A member as the tally keeps it: its state, if it has a document, and the indices of its clusters.

    `at_ms`: as of when it is computed; None: of its last scoring.
    """

    member_id: bytes
    state: Member | None
    old: int
    new: int
    at_ms: int | None

    @property
    def as_of_ms(self) -> int | None:
        return None if self.state is None else self.state.as_of_ms if self.at_ms is None else self.at_ms


class _Computed:
    """A version that is computed from documents, as of a time or of their last scoring (None)."""

    def __init__(self, entry: Version, at_ms: int | None) -> None:
        self._at_ms = at_ms
        self.model: Model = parse(entry.definition.body)
        self.clusters = self.model.clusters
        self._plan = Plan([self.model])
        self._read, self._n_read = Coverages(self.model.predictors), 0

    def look(self, documents: Sequence[Any]) -> None:
        """Count what documents hold at the places that the version reads, of SAMPLE members at most."""
        some = documents[: SAMPLE - self._n_read]
        self._n_read += len(some)
        for document in some:
            self._read.add(document)

    def misfits(self) -> list[Coverage]:
        """Return the places at which something doesn't fit."""
        return misfits(self._read.found())

    def of(self, ids: Sequence[bytes], states: Sequence[Member | None]) -> Side:
        known = [state for state in states if state is not None]
        if len(known) < len(states):  # all or none of them have a document
            return Side(np.full(len(ids), NOTHING))
        x, _ = self._plan.evaluate_many(
            [m.document for m in known], [m.as_of_ms if self._at_ms is None else self._at_ms for m in known]
        )
        scores = self.model.scorer.score_many(x.take(self._plan.inputs(self.model), axis=1))
        return Side(scores.index, scores.probability)


class _Listed:
    """An uploaded list. `left`: its members that haven't been asked for, with their clusters' indices."""

    def __init__(self, clusters: tuple[Cluster, ...], rows: dict[bytes, int]) -> None:
        self.clusters = clusters
        index = {cluster.id: i for i, cluster in enumerate(clusters)}
        self.left = {member_id: index[cluster] for member_id, cluster in rows.items()}

    def look(self, documents: Sequence[Any]) -> None:
        """A list reads no documents."""

    def misfits(self) -> list[Coverage]:
        return []

    def of(self, ids: Sequence[bytes], states: Sequence[Member | None]) -> Side:
        return Side(np.array([self.left.pop(member_id, NOTHING) for member_id in ids], dtype=np.intp))


async def _side(settings: Settings, entry: Version, at_ms: int | None) -> _Computed | _Listed:
    if not entry.definition.is_list:
        return _Computed(entry, at_ms)
    rows = {member_id: cluster async for part in memberships(settings, entry) for member_id, cluster in part}
    return _Listed(parse_list(entry.definition.body).clusters, rows)


def _mover(sample: _Sample, old: _Computed | _Listed, new: _Computed | _Listed) -> Mover:
    """Return a member that would move, with the predictors whose contributions differ most.

    Where one version is a list, these are what the other one computes: what speaks for its cluster against the list's.
    """
    ids = old.clusters[sample.old].id, new.clusters[sample.new].id
    before = _explained(sample, old, ids[1] if isinstance(new, _Listed) else None)
    after = _explained(sample, new, ids[0] if isinstance(old, _Listed) else None)
    reasons = [
        Contrast(
            name,
            before.predictors.get(name) if before else None,
            after.predictors.get(name) if after else None,
            before.contributions.get(name, 0.0) if before else 0.0,
            after.contributions.get(name, 0.0) if after else 0.0,
        )
        for name in dict.fromkeys(name for told in (after, before) if told for name in told.predictors)
    ]
    reasons.sort(key=lambda reason: -abs(reason.new_contribution - reason.old_contribution))
    return Mover(sample.member_id.decode(), sample.as_of_ms, *ids, tuple(reasons[:N_REASONS]))


def _explained(sample: _Sample, side: _Computed | _Listed, against: int | None) -> Explanation | None:
    """Return what a version computes for a member; None: it is a list, or the member has no document."""
    if isinstance(side, _Listed) or sample.state is None or sample.as_of_ms is None:
        return None
    return explain_one(side.model, sample.state.document or {}, sample.as_of_ms, against=against)
