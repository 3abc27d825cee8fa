"""Evaluate predictors written as in a file: columns, and until when they hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from core import worlds

from memberstream.models.member import Member
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan

NOW = worlds.BASE_MS


def plan_of(*definitions: dict[str, Any]) -> Plan:
    """Return a plan of predictors given as in a file."""
    return Plan([parse(worlds.one_predictor_file(list(definitions)))])


def rows_of(plan: Plan, document: Any, now_ms: int) -> dict[int, bytes]:
    """Return the rows that a fresh evaluation of a document gives: id of a part → its row."""
    found = {}
    for part in Plan(plan.models).parts:
        x, until = part.evaluate_many([document], [now_ms])
        found[part.id] = x.tobytes() + until.tobytes()
    return found


def x_of(plan: Plan, member: Member) -> Any:
    """Return the stored x of a plan of one model, (n_columns,)."""
    return np.frombuffer(member.rows[plan.id][: 8 * plan.n_columns])


def value_of(definition: dict[str, Any], document: Any, now_ms: int = NOW) -> Any:
    """Return the columns of one predictor: a number, or a list of them for a one-hot."""
    x, _ = plan_of({"name": "p", "missing": -7} | definition).evaluate_many([document], [now_ms])
    row = x[0].tolist()
    return row[0] if len(row) == 1 else row


def until_of(definition: dict[str, Any], document: Any, now_ms: int = NOW) -> int:
    """Return until when one moving predictor holds."""
    _, until = plan_of({"name": "p", "missing": -7} | definition).evaluate_many([document], [now_ms])
    return int(until[0, 0])
