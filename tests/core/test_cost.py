"""What a model costs, by a clock that moves as it is told."""

from __future__ import annotations

from typing import Any

import pytest
from core.test_worst_cases import file_of

from memberstream.models.cost import measure, written
from memberstream.models.model_file import parse


class Clock:
    """A clock that moves by a step with each look."""

    def __init__(self, step_s: float) -> None:
        self.now_s, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def model(**more: Any) -> Any:
    windows = [
        {"name": f"w{i}", "path": "seen", "time": "at", "aggregate": "count", "window_days": i + 1} for i in range(3)
    ]
    same = {"name": "same", "path": "seen", "time": "at", "aggregate": "count", "window_days": 1}
    scorer = {"type": "logistic", "coef": [0] * 4, "intercept": 0, "thresholds": [0.5]}
    return parse(file_of(predictors=[*windows, same], model=scorer) | more)


DOCUMENTS: list[dict[str, Any]] = [{"seen": [{"at": i}]} for i in range(100)]


def test_each_predictor_and_the_scorer_are_timed() -> None:
    """Three distinct predictors and a scorer, a look at the clock before and after each; equal ones count once."""
    cost = measure(model(), DOCUMENTS[:1], 5, Clock(0.001), 1e9)
    assert cost.n == 1
    assert cost.member_s == pytest.approx(0.004)
    assert cost.scorer_s == pytest.approx(0.001)
    assert [name for name, _ in cost.predictors] == ["w0", "w1", "w2"]
    assert cost.most_expensive == "w0 (1 ms), w1 (1 ms), w2 (1 ms)"


def test_what_is_cheap_is_measured_on_all_documents() -> None:
    cost = measure(model(), DOCUMENTS, 5, Clock(1e-6), 1.0)
    assert cost.n == 100
    assert cost.member_s == pytest.approx(4e-6 * 6 / 100)  # one alone, then five times some together


def test_what_is_expensive_is_measured_on_some() -> None:
    """One at a time, and no more when the time is over."""
    cost = measure(model(), DOCUMENTS, 5, Clock(0.1), 2.0)
    assert cost.n == 2
    assert cost.member_s == pytest.approx(0.4)


def test_a_scorer_may_cost_most() -> None:
    cost = measure(model(), DOCUMENTS[:1], 5, Clock(0.001), 1.0)
    heavy = type(cost)(1, 1.0, 0.9, cost.predictors)
    assert heavy.most_expensive == "the scorer (900 ms)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5e-5, "25 µs"), (0.0031, "3.1 ms"), (4.0, "4 s"), (1_200, "20 minutes"), (36_000, "10 hours")],
)
def test_durations(seconds: float, text: str) -> None:
    assert written(seconds) == text
