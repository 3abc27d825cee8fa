"""Document → predictors → scores → clusters: bring members' memberships up to date, many at once.

Laws: afterwards each member's x, until and clusters are those of a from-scratch evaluation of its document at its
as_of_ms, bit for bit, however many members were rescored together; `since_ms` moves only when the cluster does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from models.member import Member
from models.plan import EVERYTHING, Plan, Times
from models.scorer import Floats
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
    x, until = _update(plan, members)
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
    for model in plan.models:
        index = model.scorer.score_many(x.take(plan.inputs(model), axis=1)).index
        key, clusters = model.key, model.cluster_ids[index]
        held = np.array([member.memberships.get(key, _NONE)[0] for member in members])
        changed = np.flatnonzero(held != clusters)
        for i, cluster in zip(changed.tolist(), clusters[changed].tolist(), strict=True):
            members[i].memberships |= {key: (cluster, members[i].as_of_ms)}
        if len(changed):
            changes[model.label] += len(changed)
    return changes


def _update(plan: Plan, members: Sequence[Member]) -> tuple[Floats, Times]:
    """Return x and until of the members at their as_of_ms, from the stored rows where those are this plan's."""
    n = len(members)
    blank_x, blank_until = bytes(8 * plan.n_columns), bytes(8 * plan.n_clocks)
    are_stored = [member.plan_id == plan.id and bool(member.x) for member in members]
    x_rows = [member.x if stored else blank_x for member, stored in zip(members, are_stored, strict=True)]
    until_rows = [member.until if stored else blank_until for member, stored in zip(members, are_stored, strict=True)]
    x = np.frombuffer(bytearray(b"".join(x_rows))).reshape(n, plan.n_columns)
    until = np.frombuffer(bytearray(b"".join(until_rows)), dtype=np.int64).reshape(n, plan.n_clocks)
    plan.update(
        x,
        until,
        [member.document for member in members],
        [member.as_of_ms for member in members],
        [member.touched if stored else EVERYTHING for member, stored in zip(members, are_stored, strict=True)],
    )
    return x, until
