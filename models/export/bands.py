"""Where the probability of a binary model is cut into clusters.

Laws:
- Whose probability is cut is never assumed: numbers and booleans have an order, so it is that of the higher class; of
  other classes the author names the one that is meant.
- A rule says what equality means. predict cuts with p > 1/2. All of scikit-learn's thresholds (roc_curve,
  FixedThresholdClassifier …) and numpy.digitize mean p >= t.
- Where a document's probability equals a threshold, the threshold is moved into the gap beside it, on the side where
  every document keeps its cluster, by REACH at most. So the last bit of a probability decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from memberstream.models.examples import TOLERANCE
from memberstream.models.scorer import Floats, Indices, ThresholdRule

Thresholds = float | Sequence[float] | Mapping[Any, float | Sequence[float]]
#: How far a threshold is moved at most: far enough for the last bits. A larger gap between the documents at hand may
#: have members of whom no document speaks.
REACH = 1e-9


@dataclass(frozen=True)
class Asked:
    """The thresholds as the author gives them; None: one half, as predict does."""

    thresholds: Thresholds | None = None
    rule: ThresholdRule = ">="


@dataclass(frozen=True)
class Bands:
    """Thresholds of a probability, ascending.

    Attributes:
        of: the class whose probability it is.
        by_predict: whether the fitted object's own predict says which of the two bands it is.
        raw: the only threshold on the raw score, if the fitted object cuts that one.
    """

    thresholds: list[float]
    rule: ThresholdRule
    of: Any
    by_predict: bool = True
    raw: float | None = None


def find_class(value: Any, classes: Sequence[Any]) -> int | None:
    """Return the place of a class that is named by its value or by the value's text; None if there is none."""
    for same in (lambda c: type(c) is type(value) and c == value, lambda c: c == value, lambda c: str(c) == str(value)):
        if found := [i for i, c in enumerate(classes) if same(c)]:
            return found[0]
    return None


def have_order(classes: Sequence[Any]) -> bool:
    """Return whether classes are numbers or booleans: their order is nobody's choice."""
    return all(isinstance(c, (int, float)) for c in classes)


def read_bands(asked: Asked, classes: Sequence[Any], problems: list[str]) -> Bands | None:
    """Return the bands that the author asks for; None, and the problem is noted, if something is wrong with them."""
    if asked.rule not in get_args(ThresholdRule):
        problems.append(f'threshold_rule: expected ">" or ">=", found {asked.rule!r}')
        return None
    if asked.thresholds is None:
        return Bands([0.5], ">", classes[1])
    given, of = asked.thresholds, classes[1]
    shown = " and ".join(map(repr, classes))
    if isinstance(given, Mapping):
        place = find_class(next(iter(given)), classes) if len(given) == 1 else None
        if place is None:
            problems.append(f"thresholds: expected one of the classes {shown} with its thresholds, found {list(given)}")
            return None
        given, of = next(iter(given.values())), classes[place]
    elif not have_order(classes):
        problems.append(
            f"thresholds: whose probability do they cut? The classes are {shown}. Use: thresholds={{{of!r}: […]}}"
        )
        return None
    try:
        numbers = [float(t) for t in (given if isinstance(given, (Sequence, np.ndarray)) else [given])]
    except (TypeError, ValueError):
        problems.append(f"thresholds: expected probabilities, found {given!r}")
        return None
    if any(not a < b for a, b in zip([0.0, *numbers], [*numbers, 1.0], strict=True)):
        problems.append(f"thresholds: expected probabilities above 0 and below 1 that ascend, found {numbers}")
        return None
    return Bands(numbers, asked.rule, of, by_predict=False)


def turned(thresholds: Sequence[float], rule: ThresholdRule) -> tuple[list[float], ThresholdRule]:
    """Return thresholds and rule for the other class's probability: p >= t is not 1 - p > 1 - t."""
    return [1.0 - t for t in reversed(thresholds)], ">" if rule == ">=" else ">="


def passed(probabilities: Floats, thresholds: Sequence[float], rule: str, tolerance: float = TOLERANCE) -> Indices:
    """Return how many thresholds each probability has passed. What differs by rounding alone counts as equal."""
    index = np.zeros(len(probabilities), dtype=np.intp)
    for t in thresholds:
        index += probabilities >= t - t * tolerance if rule == ">=" else probabilities > t + t * tolerance
    return index


def moved(
    thresholds: Sequence[float], probabilities: Floats, index: Indices, tolerance: float = TOLERANCE
) -> list[float]:
    """Return the thresholds, each that equals a document's probability moved into the gap beside it: to its middle, but
    no farther than REACH.

    Args:
        index: how many thresholds each document has passed: that stays as it is.
        tolerance: relative, below which they count as equal.
    """
    result: list[float] = []
    for i, t in enumerate(thresholds):
        low = max(probabilities[index <= i].max(initial=0.0), result[-1] if result else 0.0)
        high = probabilities[index > i].min(initial=1.0)
        is_equal = bool((np.abs(probabilities - t) <= t * tolerance).any())
        reach = max(REACH, 10 * t * tolerance)
        result.append(min(max(float((low + high) / 2), t - reach), t + reach) if is_equal and low < high else t)
    return result
