"""Two published versions compared over all members, from their documents as the workers last scored them.

Law: both versions are computed here, from the same documents at the same times, by the code that the workers run. So
nothing depends on how far a backfill is, and a candidate can be compared the moment it is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.compare import Comparison, Side, Tally
from models.explain import explain_one
from models.member import Member
from models.model import Model, label
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
    """A member that would move. `reasons`: what differs most, first; none against a list, which gives no reasons."""

    member_id: str
    as_of_ms: int
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
        StateUnreadable: no broker, or no worker has run yet.
    """
    registry = await publishing.registry()
    entries = find(registry, old), find(registry, new)
    sides = [_Computed(entry) for entry in entries]
    tally = Tally(sides[0].model.clusters, sides[1].model.clusters, n_samples)
    async for members in publishing.members(progress):
        ids = [member_id for member_id, _ in members]
        states = [member for _, member in members]
        tally.add(ids, list(members), *[side.of(states) for side in sides])
    comparison = tally.finish()
    movers = tuple(_mover(member_id, member, *sides) for member_id, member in comparison.samples)
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


class _Computed:
    """A version that is computed from documents."""

    def __init__(self, entry: Version) -> None:
        self.model: Model = parse(entry.definition)
        self._plan = Plan([self.model])

    def of(self, members: Sequence[Member]) -> Side:
        x, _ = self._plan.evaluate_many([m.document for m in members], [m.as_of_ms for m in members])
        scores = self.model.scorer.score_many(x.take(self._plan.inputs(self.model), axis=1))
        return Side(scores.index, scores.probability)


def _mover(member_id: bytes, member: Member, old: _Computed, new: _Computed) -> Mover:
    """Return a member that would move, with the predictors whose contributions differ most."""
    before, after = (explain_one(side.model, member.document or {}, member.as_of_ms) for side in (old, new))
    names = dict.fromkeys([*after.predictors, *before.predictors])
    reasons = [
        Reason(
            name,
            before.predictors.get(name),
            after.predictors.get(name),
            before.contributions.get(name, 0.0),
            after.contributions.get(name, 0.0),
        )
        for name in names
    ]
    reasons.sort(key=lambda reason: -abs(reason.new_contribution - reason.old_contribution))
    return Mover(member_id.decode(), member.as_of_ms, before.cluster.id, after.cluster.id, tuple(reasons[:N_REASONS]))
