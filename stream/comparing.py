"""Two published versions compared over all members, from their documents as the workers last scored them.

Law: versions are computed here, from the same documents at the same times, by the code that the workers run. So nothing
depends on how far a backfill is, and a candidate can be compared the moment it is published. An uploaded list is what
its rows say; members on it that have no document are compared after the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.compare import NOTHING, Comparison, Side, Tally
from models.explain import explain_one
from models.list_version import is_list, parse_list
from models.member import Member
from models.model import Cluster, Model, label
from models.model_file import parse
from models.plan import Plan
from models.registry import Version
from stream.publishing import Publishing, find
from stream.state_reader import Progress

#: Predictors that are shown of a member that would move.
N_REASONS = 3


class Reason(NamedTuple):
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
    """A member that would move. `reasons`: what differs most, first; none against a list, which gives no reasons.

    `as_of_ms`: at which its document was computed; None: it has no document, two lists name it.
    """

    member_id: str
    as_of_ms: int | None
    old_cluster: int
    new_cluster: int
    reasons: tuple[Reason, ...]


class Campaign(NamedTuple):
    """A campaign's members before and after a promotion: in its clusters, holdout and dates left aside."""

    campaign: str
    old_reach: int
    new_reach: int


@dataclass(frozen=True, slots=True)
class Compared:
    """`old` and `new`: labels. `movers`: samples of each kind of flip, the most frequent kind first."""

    old: str
    new: str
    comparison: Comparison
    movers: tuple[Mover, ...]
    campaigns: tuple[Campaign, ...]


async def compare(
    publishing: Publishing, new: str, old: str, *, n_samples: int = 2, progress: Progress = lambda done, total: None
) -> Compared:
    """Compare version `new` with `old`, each as NAME@VERSION, or NAME for its live one.

    Raises:
        PublishError: there is no such version.
        TopicUnreadable: no broker, or no worker has run yet.
    """
    registry = await publishing.registry()
    entries = find(registry, old), find(registry, new)
    old_side, new_side = sides = [await _side(publishing, entry) for entry in entries]
    tally = Tally(old_side.clusters, new_side.clusters, n_samples)

    def add(ids: list[bytes], states: list[Member | None]) -> None:
        before, after = old_side.of(ids, states), new_side.of(ids, states)
        about = [
            _Sample(member_id, state, i, j)
            for member_id, state, i, j in zip(ids, states, before.index.tolist(), after.index.tolist(), strict=True)
        ]
        tally.add(ids, about, before, after)

    async for members in publishing.members(progress):
        add([member_id for member_id, _ in members], [member for _, member in members])
    if strangers := list(dict.fromkeys(i for side in sides if isinstance(side, _Listed) for i in side.left)):
        add(strangers, [None] * len(strangers))
    comparison = tally.finish()
    movers = tuple(_mover(sample, old_side, new_side) for sample in comparison.samples)
    return Compared(
        label(entries[0].name, entries[0].version),
        label(entries[1].name, entries[1].version),
        comparison,
        movers,
        tuple(
            Campaign(campaign.id, *_reach(comparison, campaign.terms.clusters))
            for campaign in registry.campaigns.values()
            if campaign.terms.model == entries[0].name
        ),
    )


def _reach(comparison: Comparison, clusters: Sequence[int]) -> tuple[int, int]:
    """Return how many members are in these clusters under the old and under the new version."""
    rows, columns = comparison.matrix, list(zip(*comparison.matrix, strict=True))
    old = sum(sum(row) for cluster, row in zip(comparison.old, rows, strict=False) if cluster.id in clusters)
    new = sum(sum(column) for cluster, column in zip(comparison.new, columns, strict=False) if cluster.id in clusters)
    return old, new


class _Sample(NamedTuple):
    """A member as the tally keeps it: its state, if it has a document, and the indices of its clusters."""

    member_id: bytes
    state: Member | None
    old: int
    new: int


class _Computed:
    """A version that is computed from documents."""

    def __init__(self, entry: Version) -> None:
        self.model: Model = parse(entry.definition)
        self.clusters = self.model.clusters
        self._plan = Plan([self.model])

    def of(self, ids: Sequence[bytes], states: Sequence[Member | None]) -> Side:
        known = [state for state in states if state is not None]
        if len(known) < len(states):  # all or none of them have a document
            return Side(np.full(len(ids), NOTHING))
        x, _ = self._plan.evaluate_many([m.document for m in known], [m.as_of_ms for m in known])
        scores = self.model.scorer.score_many(x.take(self._plan.inputs(self.model), axis=1))
        return Side(scores.index, scores.probability)


class _Listed:
    """An uploaded list. `left`: its members that haven't been asked for, with their clusters' indices."""

    def __init__(self, clusters: tuple[Cluster, ...], rows: dict[bytes, int]) -> None:
        self.clusters = clusters
        index = {cluster.id: i for i, cluster in enumerate(clusters)}
        self.left = {member_id: index[cluster] for member_id, cluster in rows.items()}

    def of(self, ids: Sequence[bytes], states: Sequence[Member | None]) -> Side:
        return Side(np.array([self.left.pop(member_id, NOTHING) for member_id in ids], dtype=np.intp))


async def _side(publishing: Publishing, entry: Version) -> _Computed | _Listed:
    if not is_list(entry.definition):
        return _Computed(entry)
    rows = {member_id: cluster async for part in publishing.memberships(entry) for member_id, cluster in part}
    return _Listed(parse_list(entry.definition).clusters, rows)


def _mover(sample: _Sample, old: _Computed | _Listed, new: _Computed | _Listed) -> Mover:
    """Return a member that would move, with the predictors whose contributions differ most."""
    reasons: list[Reason] = []
    if isinstance(old, _Computed) and isinstance(new, _Computed) and sample.state is not None:
        document, as_of_ms = sample.state.document or {}, sample.state.as_of_ms
        before, after = (explain_one(side.model, document, as_of_ms) for side in (old, new))
        reasons = [
            Reason(
                name,
                before.predictors.get(name),
                after.predictors.get(name),
                before.contributions.get(name, 0.0),
                after.contributions.get(name, 0.0),
            )
            for name in dict.fromkeys([*after.predictors, *before.predictors])
        ]
        reasons.sort(key=lambda reason: -abs(reason.new_contribution - reason.old_contribution))
    return Mover(
        sample.member_id.decode(),
        None if sample.state is None else sample.state.as_of_ms,
        old.clusters[sample.old].id,
        new.clusters[sample.new].id,
        tuple(reasons[:N_REASONS]),
    )
