"""Document → predictors → scores → clusters: bring members' memberships up to date, many at once.

Laws: afterwards each member's x, until and clusters are those of a from-scratch evaluation of its document at its
as_of_ms, bit for bit, however many members were rescored together; `since_ms` moves only when the cluster does. Until
`valid_until_ms` the clusters hold if no event comes; that is when the first predictor changes or, looked ahead, later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from models.member import Member
from models.plan import EVERYTHING, Plan, Times
from models.scorer import Floats, Indices
from models.timestamps import FOREVER

_NONE = (-1,)  # no cluster: ids begin at 0


def rescore_many(plan: Plan, members: Sequence[Member], now_ms: Sequence[int]) -> Counter[str]:
    """Rescore members that have a document, in place, each at the later of `now_ms` and its own as_of_ms.

    Returns:
        Model label → how many of the members changed their cluster under it (a first membership counts).
    """
    changes: Counter[str] = Counter()
    if not members:
        return changes
    for member, now in zip(members, now_ms, strict=True):
        member.as_of_ms = max(member.as_of_ms, now)
    x, until, evaluated = _update(plan, members)
    valid_until = until.min(axis=1).tolist() if plan.n_clocks else [FOREVER] * len(members)
    x_bytes, until_bytes = x.tobytes(), until.tobytes()
    width, until_width = 8 * plan.n_columns, 8 * plan.n_clocks
    for i, member in enumerate(members):
        member.x = x_bytes[i * width : (i + 1) * width]
        member.until = until_bytes[i * until_width : (i + 1) * until_width]
        member.valid_until_ms = valid_until[i]
        member.plan_id = plan.id
        member.touched = set()
    keys = {model.key for model in plan.models}
    for member in members:
        if not member.memberships.keys() <= keys:  # a model that is no longer published
            member.memberships = {key: held for key, held in member.memberships.items() if key in keys}
    are_scored = all(len(member.memberships) == len(keys) for member in members)
    for model in plan.models:
        if are_scored and not plan.is_fed(model, evaluated):
            continue  # what it was scored by is what it was
        index = model.scorer.score_many(x.take(plan.inputs(model), axis=1)).index
        key, clusters = model.key, model.cluster_ids[index]
        held = np.array([member.memberships.get(key, _NONE)[0] for member in members])
        changed = np.flatnonzero(held != clusters)
        for i, cluster in zip(changed.tolist(), clusters[changed].tolist(), strict=True):
            members[i].memberships |= {key: (cluster, members[i].as_of_ms)}
        if len(changed):
            changes[model.label] += len(changed)
    return changes


def look_ahead(plan: Plan, members: Sequence[Member], n_moments: Sequence[int]) -> None:
    """Move the end of validity of members that were just rescored behind moments at which no cluster changes.

    Args:
        n_moments: per member, at how many of the next moments at which predictors change it is looked at, at most.
            Its validity ends at the first at which a cluster changes, else at the one that wasn't looked at.
    """
    moving = [i for i, member in enumerate(members) if member.valid_until_ms < FOREVER]
    ahead, left = [members[i] for i in moving], np.array([n_moments[i] for i in moving])
    x, until = _rows(plan, [member.x for member in ahead], [member.until for member in ahead])
    held, rows = _clusters(plan, x), np.arange(len(ahead))
    while len(rows):
        ends_ms = until[rows].min(axis=1)
        goes_on = (ends_ms < FOREVER) & (left[rows] > 0)
        for i, end_ms in zip(rows[~goes_on].tolist(), ends_ms[~goes_on].tolist(), strict=True):
            ahead[i].valid_until_ms = end_ms
        rows, times = rows[goes_on], ends_ms[goes_on].tolist()
        later_x, later_until = x[rows], until[rows]
        plan.update(later_x, later_until, [ahead[i].document for i in rows], times, [()] * len(rows))
        stays = (_clusters(plan, later_x) == held[rows]).all(axis=1)
        for k in np.flatnonzero(~stays).tolist():
            ahead[rows[k]].valid_until_ms = times[k]
        rows = rows[stays]
        x[rows], until[rows] = later_x[stays], later_until[stays]
        left[rows] -= 1


def _clusters(plan: Plan, x: Floats) -> Indices:
    """Return, (n, n_models), each row's cluster under each model, as the index in the model's list."""
    scores = [model.scorer.score_many(x.take(plan.inputs(model), axis=1)).index for model in plan.models]
    return np.stack(scores, axis=1) if scores else np.zeros((len(x), 0), dtype=np.intp)


def _rows(plan: Plan, x_rows: Sequence[bytes], until_rows: Sequence[bytes]) -> tuple[Floats, Times]:
    """Return stored rows as arrays of their own."""
    n = len(x_rows)
    x = np.frombuffer(bytearray(b"".join(x_rows))).reshape(n, plan.n_columns)
    return x, np.frombuffer(bytearray(b"".join(until_rows)), dtype=np.int64).reshape(n, plan.n_clocks)


def _update(plan: Plan, members: Sequence[Member]) -> tuple[Floats, Times, Collection[int]]:
    """Return x and until of the members at their as_of_ms, from the stored rows where those are this plan's.

    Also the steps that were evaluated.
    """
    blank_x, blank_until = bytes(8 * plan.n_columns), bytes(8 * plan.n_clocks)
    are_stored = [member.plan_id == plan.id and bool(member.x) for member in members]
    x_rows = [member.x if stored else blank_x for member, stored in zip(members, are_stored, strict=True)]
    until_rows = [member.until if stored else blank_until for member, stored in zip(members, are_stored, strict=True)]
    x, until = _rows(plan, x_rows, until_rows)
    evaluated = plan.update(
        x,
        until,
        [member.document for member in members],
        [member.as_of_ms for member in members],
        [member.touched if stored else EVERYTHING for member, stored in zip(members, are_stored, strict=True)],
    )
    return x, until, evaluated
