"""What a model costs: the time that it takes to score a member from scratch, measured on documents.

Law: what is measured is what a worker does after a change of models, or when all predictors of a member move. It
evaluates all predictors and the scorer, for some members at once. An event that touches few paths costs less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from memberstream.models.elements import Scratch
from memberstream.models.model import Model
from memberstream.models.plan import Documents, Plan
from memberstream.models.scorer import Floats

SIDE_BY_SIDE = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds a member, as means over the documents.

    Attributes:
        n: documents that were measured.
        scorer_s: the scorer's part of it.
        predictors: (name, seconds), the most expensive first. Work that several share counts for the first of them.
    """

    n: int
    member_s: float
    scorer_s: float
    predictors: tuple[tuple[str, float], ...]

    @property
    def most_expensive(self) -> str:
        """Return the predictors that cost most, in words."""
        shown = [f"{name} ({written(seconds)})" for name, seconds in self.predictors[:3]]
        return ", ".join(shown if self.scorer_s < self.member_s / 2 else [f"the scorer ({written(self.scorer_s)})"])


def written(seconds: float) -> str:
    """Return a duration for people."""
    for factor, unit, below in ((1e6, "µs", 1_000), (1e3, "ms", 1_000), (1.0, "s", 120), (1 / 60, "minutes", 120)):
        if seconds * factor < below:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 3600:,.3g} hours"


def measure(
    model: Model, documents: Sequence[dict[str, Any]], now_ms: int, clock: Callable[[], float], limit_s: float
) -> Cost:
    """Return what a model costs on documents. Stops after `limit_s`, but measures one document at least.

    Args:
        documents: at least one.
        clock: seconds of this thread's processor time.
    """
    plan = Plan([model])
    positions = plan.positions(model)
    names = {positions[predictor.columns[0]]: predictor.name for predictor in reversed(model.predictors)}
    spent = [0.0] * len(plan.steps)
    scorer_s, done, began, size = 0.0, 0, clock(), 1
    while done < len(documents) and (not done or clock() - began < limit_s):
        some = documents[done : done + size]
        x, until = plan.empty(len(some))
        scratches: list[Scratch] = [{} for _ in some]
        rows = Documents(slice(None), some, [now_ms] * len(some), scratches, x, until)
        for i, step in enumerate(plan.steps):
            at = clock()
            step.evaluate(rows)
            spent[i] += clock() - at
        scorer_s += _scored(model, plan, x, clock)
        done += len(some)
        size = SIDE_BY_SIDE if clock() - began < done * limit_s / 100 else 1
    by_cost = [(names[step.start], seconds / done) for step, seconds in zip(plan.steps, spent, strict=True)]
    by_cost.sort(key=lambda one: -one[1])
    return Cost(done, (sum(spent) + scorer_s) / done, scorer_s / done, tuple(by_cost))


def _scored(model: Model, plan: Plan, x: Floats, clock: Callable[[], float]) -> float:
    began = clock()
    model.scorer.score_many(x.take(plan.inputs(model), axis=1))
    return clock() - began
