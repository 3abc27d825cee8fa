"""Estimators around an estimator: searches, thresholds, frozen ones. Each says what is inside, and what it adds."""

from __future__ import annotations

from typing import Any

from scipy.special import expit
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)

from memberstream.models.export.bands import Asked, Bands, find_class

_SEARCHES = (GridSearchCV, RandomizedSearchCV)
_THRESHOLDS = (FixedThresholdClassifier, TunedThresholdClassifierCV)


def unwrap(fitted: Any, asked: Asked | Bands, problems: list[str]) -> tuple[Any, Asked | Bands] | None:
    """Return the estimator inside, and where its probability is cut. None if it isn't a wrapper, or (then a problem is
    noted) if there is no estimator inside."""
    name = type(fitted).__name__
    if isinstance(fitted, FrozenEstimator):
        return fitted.estimator, asked
    if hasattr(fitted, "best_estimator_"):  # scikit-learn's searches, and others of the same form
        return fitted.best_estimator_, asked
    if isinstance(fitted, _SEARCHES):
        problems.append(f"{name}: refit=False, so nothing is fitted on all rows. Use: refit=True")
        return None
    if isinstance(fitted, _THRESHOLDS):
        inner = getattr(fitted, "estimator_", fitted.estimator)
        if asked.thresholds is not None:
            problems.append(
                f"{name}: has a threshold of its own. Use: no thresholds, or its estimator_ with thresholds"
            )
            return None
        bands = _bands(fitted, inner, name, problems)
        return None if bands is None else (inner, bands)
    return None


def _bands(fitted: Any, inner: Any, name: str, problems: list[str]) -> Bands | None:
    """Return the band of a threshold classifier: it says its class where the score is at least the threshold."""
    by_decision = fitted.response_method == "decision_function"
    if isinstance(fitted, TunedThresholdClassifierCV):
        # The class that its score is of, which has no public name. The proof compares what predict says.
        threshold, positive = fitted.best_threshold_, fitted._curve_scorer._get_pos_label()
    else:
        threshold, positive = fitted.threshold, fitted.pos_label
    classes = list(inner.classes_)
    place = 1 if positive is None else find_class(positive, classes)
    if threshold == "auto":
        threshold = 0.0 if by_decision else 0.5
    p = float(expit(threshold)) if by_decision else float(threshold)
    if place is None or not 0.0 < p < 1.0:
        if by_decision and place is not None:
            problems.append(
                f"{name}: its threshold {threshold} of the decision function is a probability that is written as "
                f"{p:g}, so nothing could lie beyond it. Use: one from -708 to 36"
            )
            return None
        problems.append(f"{name}: its threshold {threshold} puts everybody into one class. Use: one between 0 and 1")
        return None
    return Bands([p], ">=", classes[place], raw=float(threshold) if by_decision else None)
