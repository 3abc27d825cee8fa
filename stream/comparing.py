"""Two published versions compared over all members, from their documents as the workers last scored them.

Laws:
- A model is computed here, both of two from the same documents at the same times, by the code that the workers run; a
  list says what its rows say. So nothing depends on how far a backfill is, and a candidate can be compared the moment
  it is published.
- Two lists are compared without any document; a list and a model over whoever has a document or is on the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from models.list_version import is_list, parse_list

from models.compare import NOTHING, Comparison, Side, Tally
from models.explain import explain_one
from models.member import Member
from models.model import Cluster, Model, label
from models.model_file import parse
from models.plan import Plan
from models.registry import Version
from stream import memberships
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
    """A member that would move.

    Attributes:
        as_of_ms: None between two lists, which know no time.
        reasons: what differs most, first; none against a list, which gives no reasons.
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
        StateUnreadable, ListRowsError: no broker; no worker has run yet; a list's rows are lost.
    """
    registry = await publishing.registry()
    entries = find(registry, old), find(registry, new)
    sides = [await _side(publishing, entry) for entry in entries]
    tally = Tally(sides[0].clusters, sides[1].clusters, n_samples)
    if not all(isinstance(side, _Listed) for side in sides):
        async for members in publishing.members(progress):
            _take(tally, sides, [member_id for member_id, _ in members], [member for _, member in members])
    # Who is on a list without a document; of two lists everybody.
    left = {member_id for side in sides if isinstance(side, _Listed) for member_id in side.rows}
    _take(tally, sides, list(left), None)
    comparison = tally.finish()
    movers = tuple(_mover(sampled, *sides) for sampled in comparison.samples)
    return Compared(
        label(entries[0].name, entries[0].version),
        label(entries[1].name, entries[1].version),
        comparison,
        movers,
        (),
    )


class _Sampled(NamedTuple):
    """What is kept of a member that may be shown. `member` None: its document wasn't asked for, or there is none."""

    member_id: bytes
    member: Member | None
    old_index: int
    new_index: int


class _Computed:
    """A version that is computed from documents."""

    def __init__(self, entry: Version) -> None:
        self.model: Model = parse(entry.definition)
        self.clusters: tuple[Cluster, ...] = self.model.clusters
        self._plan = Plan([self.model])

    def of(self, ids: Sequence[bytes], members: Sequence[Member] | None) -> Side:
        if members is None:
            return Side(np.full(len(ids), NOTHING))
        x, _ = self._plan.evaluate_many([m.document for m in members], [m.as_of_ms for m in members])
        scores = self.model.scorer.score_many(x.take(self._plan.inputs(self.model), axis=1))
        return Side(scores.index, scores.probability)


class _Listed:
    """An uploaded list. `rows`: member id → index of its cluster, of those that weren't asked for yet."""

    def __init__(self, clusters: tuple[Cluster, ...], rows: dict[bytes, int]) -> None:
        self.clusters, self.rows = clusters, rows

    def of(self, ids: Sequence[bytes], members: Sequence[Member] | None) -> Side:
        return Side(np.array([self.rows.pop(member_id, NOTHING) for member_id in ids], dtype=np.intp))


async def _side(publishing: Publishing, entry: Version) -> _Computed | _Listed:
    if not is_list(entry.definition):
        return _Computed(entry)
    clusters = parse_list(entry.definition).clusters
    index = {cluster.id: i for i, cluster in enumerate(clusters)}
    pairs = memberships.memberships(publishing.settings, entry)
    return _Listed(clusters, {member_id: index[cluster] async for part in pairs for member_id, cluster in part})


def _take(
    tally: Tally, sides: Sequence[_Computed | _Listed], ids: Sequence[bytes], members: Sequence[Member] | None
) -> None:
    old, new = (side.of(ids, members) for side in sides)
    states: Sequence[Member | None] = [None] * len(ids) if members is None else members
    about = list(map(_Sampled, ids, states, old.index.tolist(), new.index.tolist()))
    tally.add(ids, about, old, new)


def _mover(sampled: _Sampled, old: _Computed | _Listed, new: _Computed | _Listed) -> Mover:
    """Return a member that would move."""
    member_id, member, i, j = sampled
    reasons: tuple[Reason, ...] = ()
    if member is not None and isinstance(old, _Computed) and isinstance(new, _Computed):
        reasons = _reasons(member, old, new)
    as_of_ms = None if member is None else member.as_of_ms
    return Mover(member_id.decode(), as_of_ms, old.clusters[i].id, new.clusters[j].id, reasons)


def _reasons(member: Member, old: _Computed, new: _Computed) -> tuple[Reason, ...]:
    """Return the predictors whose contributions differ most."""
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
    return tuple(reasons[:N_REASONS])
