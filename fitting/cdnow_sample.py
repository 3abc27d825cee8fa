"""Samples of CDNOW for fitting and judging: customers seen as of a date, and whether they bought in the 90 days after.

Laws:
- Point in time: predictors come from documents built from the purchases up to and including the as-of date; the label
  looks only after it: a purchase in (as-of, as-of + 90 days].
- A customer belongs to one side for ever: a hash of the member id puts 30% aside, and no fit ever sees those.
- The core of `models/` evaluates the predictors, so what is fitted is what will be served.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from memberstream.models.model_file import parse
from memberstream.models.plan import Plan
from memberstream.stream.demo import history
from memberstream.stream.demo.history import Customer

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

HORIZON_MS = 90 * 86_400_000
HELD_OUT_SHARE = 0.3


@dataclass(frozen=True)
class Sample:
    """Customers as of one or more dates.

    Attributes:
        x: (n, n_inputs) inputs before scaling.
        bought: (n,) whether a purchase followed within 90 days.
    """

    x: Floats
    bought: Booleans


@cache
def all_histories() -> dict[str, Customer]:
    """Return every member's full history, read once."""
    return history.histories()


def is_held_out(member_id: str) -> bool:
    """Return whether a customer is kept from every fit: the first 8 bytes of SHA-256, as a share, lie below 30%."""
    return int.from_bytes(hashlib.sha256(member_id.encode()).digest()[:8]) / 2**64 < HELD_OUT_SHARE


def sample(predictors: Sequence[dict[str, Any]], inputs: Sequence[str], days: Sequence[str], held_out: bool) -> Sample:
    """Return the customers of one side as of each of `days` (ISO dates), one after the other.

    Args:
        predictors: definitions of a model file, still without `scale`.
        inputs: the columns to return.
    """
    plan, columns = _plan(predictors, inputs)
    x: list[Floats] = []
    bought: list[bool] = []
    for day in days:
        as_of_ms = history.day_ms(day)
        made = {i: d for i, d in history.documents(as_of_ms).items() if is_held_out(i) == held_out}
        evaluated, _ = plan.evaluate_many(list(made.values()), [as_of_ms] * len(made))
        x.append(evaluated.take(columns, axis=1))
        bought += [buys_within_horizon(all_histories()[member_id], as_of_ms) for member_id in made]
    return Sample(np.concatenate(x), np.array(bought))


def buys_within_horizon(member: Customer, as_of_ms: int) -> bool:
    """Return whether a purchase lies in (as-of, as-of + 90 days]."""
    return any(as_of_ms < at_ms <= as_of_ms + HORIZON_MS for at_ms, _, _ in member.purchases)


def _plan(predictors: Sequence[dict[str, Any]], inputs: Sequence[str]) -> tuple[Plan, npt.NDArray[np.intp]]:
    """Return a plan of the predictors and the columns of `inputs`; a plan wants a model, so it gets one of zeros."""
    zeros = {"type": "logistic", "inputs": list(inputs), "coef": [0.0] * len(inputs), "intercept": 0.0}
    model = parse(
        {
            "format": 1,
            "name": "unscaled",
            "version": 1,
            "predictors": list(predictors),
            "model": {**zeros, "thresholds": []},
            "clusters": [{"id": 1, "name": "all"}],
        }
    )
    plan = Plan([model])
    return plan, plan.inputs(model)
