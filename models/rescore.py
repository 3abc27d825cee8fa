"""Document → predictors → scores → clusters: bring members' memberships up to date, many at once.

Laws:
- Afterwards each member's rows and clusters are those of a from-scratch evaluation of its document at its as_of_ms, bit
  for bit, however many members were rescored together.
- `since_ms` moves only when the cluster does. What was before is remembered for a while (models/past.py).
- Until `valid_until_ms` the clusters hold if no event comes. That is the moment at which the first predictor changes.
  If the worker has looked ahead, it is later.

- A predictor that crosses no threshold of its column changes nothing that trees say. So they aren't asked then, neither
  after an event nor when looking ahead.

Cost: a part of the plan that no change touches and no time moves isn't looked at. With many models its row isn't even
kept, because each byte of a member's state goes to changelog and disk with every write.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memberstream.models import past
from memberstream.models.member import Member
from memberstream.models.model import Model
from memberstream.models.path import Path
from memberstream.models.plan import EVERYTHING, Plan, Times
from memberstream.models.scorer import Floats, Indices, Trees
from memberstream.models.steps import Steps, finish
from memberstream.models.timestamps import FOREVER

#: Bytes of a member's rows, all parts together, that are kept although the latest changes didn't need them.
KEPT_BYTES = 512
_NONE = (-1,)  # no cluster: ids begin at 0


def rescore_many(plan: Plan, members: Sequence[Member], now_ms: Sequence[int]) -> Counter[str]:
    """Rescore members that have a document, in place, each at the later of `now_ms` and its own as_of_ms.

    Returns:
        Model label → how many of the members changed their cluster under it (a first membership counts).
    """
    return finish(rescoring(plan, members, now_ms))


def rescoring(plan: Plan, members: Sequence[Member], now_ms: Sequence[int]) -> Steps[Counter[str]]:
    """Do what `rescore_many` does, some predictors or a model at a time."""
    changes: Counter[str] = Counter()
    needed: defaultdict[Plan, list[Member]] = defaultdict(list)
    concerned, scoring_id = plan.concerned, plan.scoring_id
    for member, now in zip(members, now_ms, strict=True):
        if now > member.as_of_ms:
            member.as_of_ms = now
        member.valid_until_ms = FOREVER
        parts = concerned(frozenset(member.touched))
        if member.plan_id != scoring_id:
            _adopt(plan, member)
            parts = tuple([part for part in plan.parts if part in parts or not _is_scored(part, member)])
        for part in parts:
            needed[part].append(member)
    for part, some in needed.items():
        changes += yield from _rescoring_part(part, some)
    if sum(part.row_bytes for part in plan.parts) > KEPT_BYTES:
        for member in members:
            _trim(plan, member)
    for member in members:
        member.touched.clear()
        if member.past:
            member.past = past.kept(member.past, member.memberships, member.as_of_ms)
    return changes


def _adopt(plan: Plan, member: Member) -> None:
    """Keep of an earlier plan's memberships and rows those that this plan has, too."""
    member.plan_id = plan.scoring_id
    member.memberships = {key: held for key, held in member.memberships.items() if key in plan.keys}
    parts = {part.id for part in plan.parts}
    member.rows = {part_id: row for part_id, row in member.rows.items() if part_id in parts}


def _is_scored(part: Plan, member: Member) -> bool:
    return part.id in member.rows and part.keys <= member.memberships.keys()


def _rescoring_part(part: Plan, members: Sequence[Member]) -> Steps[Counter[str]]:
    rows = [member.rows.pop(part.id, b"") for member in members]  # it comes back as the last
    table = _Table.of(part, rows)
    before, is_new = table.x.copy() if part.has_trees else table.x, np.array([not row for row in rows])
    touched = [member.touched if row else EVERYTHING for member, row in zip(members, rows, strict=True)]
    yield from table.advancing(
        [member.document for member in members], [member.as_of_ms for member in members], touched
    )
    for member, row in zip(members, table.rows(), strict=True):
        member.rows[part.id] = row
    if part.n_clocks:
        for member, end_ms in zip(members, table.until.min(axis=1).tolist(), strict=True):
            member.valid_until_ms = min(member.valid_until_ms, end_ms)
    changes: Counter[str] = Counter()
    for model in part.models:
        key = model.key
        held = np.array([member.memberships.get(key, _NONE)[0] for member in members])
        if isinstance(model.scorer, Trees):
            clusters, asked = held.copy(), np.flatnonzero(is_new | (held < 0) | ~table.are_alike(model, before))
            clusters[asked] = model.cluster_ids[table.take(asked).index(model)]
        else:
            clusters = model.cluster_ids[table.index(model)]
        changed = np.flatnonzero(held != clusters)
        for i, cluster in zip(changed.tolist(), clusters[changed].tolist(), strict=True):
            member = members[i]
            if key in member.memberships:
                member.past = past.moved(member.past, key, member.memberships[key])
            member.memberships |= {key: (cluster, member.as_of_ms)}
        if len(changed):
            changes[model.label] += len(changed)
        yield
    return changes


def _trim(plan: Plan, member: Member) -> None:
    """Drop rows, the longest unused first. Rows that changes have just needed, or that time moves, stay."""
    n_bytes = sum(map(len, member.rows.values()))
    if n_bytes <= KEPT_BYTES:
        return
    touched = frozenset(member.touched)
    kept = {part.id for part in (plan.moving if () in touched else plan.concerned(touched))}
    for part_id in list(member.rows):
        if part_id not in kept and n_bytes > KEPT_BYTES:
            n_bytes -= len(member.rows.pop(part_id))


def look_ahead(plan: Plan, members: Sequence[Member], n_moments: Sequence[int]) -> None:
    """Extend the validity of members that were just rescored, past moments at which no cluster changes.

    Args:
        n_moments: per member, how many of the next moments at which predictors change are looked at, at most. Validity
            ends at the first at which a cluster changes, or else at the first that wasn't looked at.
    """
    finish(looking_ahead(plan, members, n_moments))


def looking_ahead(plan: Plan, members: Sequence[Member], n_moments: Sequence[int]) -> Steps[None]:
    """Do what `look_ahead` does, some predictors or a model at a time."""
    moving = [i for i, member in enumerate(members) if member.valid_until_ms < FOREVER]
    ahead, left = [members[i] for i in moving], np.array([n_moments[i] for i in moving])
    tables = [_Table.of(part, [member.rows[part.id] for member in ahead]) for part in plan.moving]
    held, places = _held(tables, ahead), np.arange(len(ahead))
    while len(places):
        ends_ms = np.min([table.until[places].min(axis=1) for table in tables], axis=0)
        goes_on = (ends_ms < FOREVER) & (left[places] > 0)
        for i, end_ms in zip(places[~goes_on].tolist(), ends_ms[~goes_on].tolist(), strict=True):
            ahead[i].valid_until_ms = end_ms
        places, times = places[goes_on], ends_ms[goes_on].tolist()
        later = [table.take(places) for table in tables]
        for table in later:
            yield from table.advancing([ahead[i].document for i in places], times, [()] * len(places))
        stays = yield from _staying(tables, later, places, held[places])
        for k in np.flatnonzero(~stays).tolist():
            ahead[places[k]].valid_until_ms = times[k]
        places = places[stays]
        for table, moved in zip(tables, later, strict=True):
            table.cells[places] = moved.cells[stays]
        left[places] -= 1


def _held(tables: Sequence[_Table], members: Sequence[Member]) -> Indices:
    """Return each member's cluster under each of the tables' models, (n, n_models), as an index into the model's list:
    what it was just rescored to."""
    models = [model for table in tables for model in table.part.models]
    ids = [[member.memberships[model.key][0] for member in members] for model in models]
    found = [model.cluster_ids.searchsorted(of) for model, of in zip(models, ids, strict=True)]
    return np.stack(found, axis=1) if found else np.zeros((len(members), 0), dtype=np.intp)


def _staying(
    tables: Sequence[_Table], later: Sequence[_Table], places: npt.NDArray[np.intp], held: Indices
) -> Steps[npt.NDArray[np.bool_]]:
    """Return for each row, (n,), whether it has the held clusters, (n, n_models), at a later moment, too.

    Args:
        tables: the rows now; `later`: some of them, `places`, at that moment.
    """
    stays, column = np.ones(len(places), dtype=bool), 0
    for table, moved in zip(tables, later, strict=True):
        before = table.x[places] if table.part.has_trees else table.x
        for model in table.part.models:
            if isinstance(model.scorer, Trees):
                asked = np.flatnonzero(stays & ~moved.are_alike(model, before))
                stays[asked] = moved.take(asked).index(model) == held[asked, column]
            else:
                stays &= moved.index(model) == held[:, column]
            column += 1
            yield
    return stays


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of one part for several members. `cells`: (n, n_columns + n_clocks), x and the bits of until."""

    part: Plan
    cells: Floats

    @staticmethod
    def of(part: Plan, rows: Sequence[bytes]) -> _Table:
        """Return stored rows as a new table. An empty row isn't evaluated yet."""
        blank = bytes(part.row_bytes)
        cells = np.frombuffer(bytearray(b"".join([row or blank for row in rows])))
        return _Table(part, cells.reshape(len(rows), part.n_columns + part.n_clocks))

    @property
    def x(self) -> Floats:
        return self.cells[:, : self.part.n_columns]

    @property
    def until(self) -> Times:
        return self.cells.view(np.int64)[:, self.part.n_columns :]

    def take(self, places: npt.NDArray[np.intp]) -> _Table:
        """Return some of the rows, as a copy."""
        return _Table(self.part, self.cells[places])

    def advancing(
        self, documents: Sequence[Any], now_ms: Sequence[int], touched: Sequence[Iterable[Path]]
    ) -> Steps[None]:
        """As Plan.updating."""
        return self.part.updating(self.x, self.until, documents, now_ms, touched)

    def rows(self) -> list[bytes]:
        """Return the rows as they are stored."""
        data, width = self.cells.tobytes(), self.part.row_bytes
        return [data[i * width : (i + 1) * width] for i in range(len(self.cells))]

    def are_alike(self, model: Model, before: Floats) -> npt.NDArray[np.bool_]:
        """Return for each row, (n,), whether it surely has the cluster under trees that `before`, (n, n_columns), has:
        between the two it crosses none of their thresholds."""
        assert isinstance(model.scorer, Trees)  # noqa: S101 (others cost no more than to ask; narrows the type)
        inputs = self.part.inputs(model)
        return model.scorer.forest.are_alike(before.take(inputs, axis=1), self.x.take(inputs, axis=1))

    def index(self, model: Model) -> Indices:
        """Return each row's cluster under a model of the part, (n,), as an index into the model's list."""
        return model.scorer.score_many(self.x.take(self.part.inputs(model), axis=1)).index
