"""Is a model affordable? Its cost, measured on documents, is compared with what a worker can give.

The rule, which the author is told:
- One member takes MEMBER_LIMIT_S at most. An event of that member takes as long, and the events behind it in the
  partition wait as long. A worker could do only 50 such events a second.
- All members, scored once, take DAY_SHARE of a day of one core at most. As windows move, each member falls due about
  once a day, and a worker has other models to score, too.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Any

from memberstream.models.cost import Cost, measure, written
from memberstream.models.model import Model
from memberstream.models.wording import counted

MEMBER_LIMIT_S = 0.02
DAY_SHARE = 0.1
_DAY_S = 86_400
_MEASURED_S = 3.0  # of processor time: enough for 20,000 ordinary members


def cost_on(model: Model, documents: Sequence[dict[str, Any]]) -> Cost:
    """Return what a model costs on documents, at least one, on this machine."""
    was_enabled = gc.isenabled()
    gc.disable()  # a garbage collection would be counted for the predictor during which it happens
    try:
        return measure(model, documents, time.time_ns() // 1_000_000, time.thread_time, _MEASURED_S)
    finally:
        if was_enabled:
            gc.enable()


def described(cost: Cost, n_members: int | None = None) -> str:
    """Return a cost in words."""
    text = f"{written(cost.member_s)} a member, measured here on {counted(cost.n, 'document')}"
    return (
        text
        if n_members is None
        else f"{text}; {written(cost.member_s * n_members)} for about {counted(n_members, 'member')}"
    )


def too_expensive(model: Model, cost: Cost, n_members: int | None = None) -> str:
    """Return why a model asks too much of a worker, with what to do; "" if it doesn't.

    Args:
        n_members: about how many members there are; None: not known.
    """
    if cost.member_s > MEMBER_LIMIT_S:
        why = (
            f"scoring one member takes {written(cost.member_s)}, more than {written(MEMBER_LIMIT_S)}: each event of a "
            "member, and those behind it, would wait as long"
        )
    elif n_members is not None and cost.member_s * n_members > DAY_SHARE * _DAY_S:
        why = (
            f"scoring about {counted(n_members, 'member')} once takes {written(cost.member_s * n_members)} of one "
            f"core, more than {DAY_SHARE:.0%} of a day"
        )
    else:
        return ""
    return (
        f"{model.label} is too expensive: {why} (measured here on {counted(cost.n, 'document')}). Most expensive: "
        f"{cost.most_expensive}. Next: fewer predictors over long lists, shorter lists, or the same path, time and "
        "where in those that differ only in their window; or --force"
    )
