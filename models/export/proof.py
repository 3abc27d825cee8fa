"""The proof of the conversion: the file against the fitted object.

Laws:
- The fitted object is asked about the matrix that the file's own sources make of the documents. Probabilities must
  agree within 1e-12 and clusters exactly, for each document.
- That matrix is ours. So it says nothing of a wrong path, order, unit or class: only numbers that the author has from
  elsewhere do (models.export.compared).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memberstream.models.examples import TOLERANCE
from memberstream.models.export.bands import passed
from memberstream.models.export.own import Inputs
from memberstream.models.export.raw import Raw
from memberstream.models.export.relations import of_probabilities
from memberstream.models.export.scorers import Fitted
from memberstream.models.model import Model
from memberstream.models.scorer import Indices, Scores
from memberstream.models.wording import counted

SINGLE_TOLERANCE = 1e-5  # of what the author computes in single precision
_MOST_SHOWN = 5
_IF_IT_DIFFERS = {
    "gaussian_mixture": "a larger reg_covar; where variances almost vanish scikit-learn's own rounding exceeds 1e-12",
    "trees": "scikit-learn's own rounding, in one thread: documents without numbers beyond single precision",
    "kmeans": "scikit-learn's own classes; and other documents, if these lie exactly between two centroids",
}

# the columns of Raw (n, n_columns) → (probabilities (n,) or (n, n_clusters) or None; what predict says or None)
Judge = Callable[[Any], tuple[Any, Sequence[Any] | None]]


@dataclass(frozen=True)
class Subject:
    """What is proven.

    Attributes:
        judge: asks the fitted object itself.
        is_here: whether it can be asked about another matrix, too. R's can't: only its probabilities are here.
        raw_scores: asks for the raw scores of trees.
    """

    raw: Raw
    inputs: Inputs
    judge: Judge
    fitted: Fitted
    is_here: bool = True
    raw_scores: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Said:
    """What the fitted object says: probabilities in its own order, or None; the place of each document's cluster in
    that order; raw scores of trees in that order."""

    probabilities: Any
    index: Indices
    raw: Any = None


def check_fitted(
    model: Model, scores: Scores, said: Said, order: Sequence[int], tolerance: float = TOLERANCE
) -> list[str]:
    """Return how the file differs from the fitted object. `tolerance`: of probabilities; raw scores have none."""
    rank = np.argsort(np.array(order, dtype=np.intp))
    wanted, computed, p = rank[said.index], scores.index, in_file_order(said.probabilities, order)
    wrong = wanted != computed
    if p is not None and scores.probability is not None:
        far = np.abs(p - scores.probability) > tolerance
        wrong |= far if far.ndim == 1 else far.any(axis=1)
    raw = None if said.raw is None else raw_in_file_order(said.raw, order)
    if raw is not None:
        differs = raw != scores.raw
        wrong |= differs if differs.ndim == 1 else differs.any(axis=1)
    if not wrong.any():
        return []
    cause = None if p is None or scores.probability is None else of_probabilities(scores.probability, p)
    advice = _IF_IT_DIFFERS.get(model.scorer.type, "scikit-learn's own classes, not ones derived from them")
    problems = [
        f"{int(wrong.sum()):,} of {counted(len(wrong), 'document')}: the file computes other numbers than the fitted "
        f"object. {f'Likely cause: {cause}' if cause else f'Use: {advice}'}"
    ]
    for i in np.flatnonzero(wrong)[:_MOST_SHOWN].tolist():
        if raw is not None and scores.raw is not None and not np.array_equal(raw[i], scores.raw[i]):
            problems.append(f"documents[{i}].raw: {scores.raw[i]} in the file, {raw[i]} by the object")
        elif (
            p is not None
            and scores.probability is not None
            and not np.allclose(p[i], scores.probability[i], 0, tolerance)
        ):
            problems.append(f"documents[{i}].probability: {scores.probability[i]} in the file, {p[i]} by the object")
        else:
            names = model.clusters[computed[i]].name, model.clusters[wanted[i]].name
            problems.append(f"documents[{i}].cluster: {names[0]} in the file, {names[1]} by the object")
    return problems


def in_file_order(probabilities: Any, order: Sequence[int]) -> Any:
    """Return the fitted object's probabilities as the file has them: of its clusters in their order."""
    if probabilities is None or list(order) == sorted(order):
        return probabilities
    return 1.0 - probabilities if probabilities.ndim == 1 else probabilities[:, list(order)]


def raw_in_file_order(raw: Any, order: Sequence[int]) -> Any:
    """Return the fitted object's raw scores as the file has them."""
    if list(order) == sorted(order):
        return raw
    return -raw if raw.ndim == 1 else raw[:, list(order)]


def ask(subject: Subject, x: Any) -> Said:
    """Return what the fitted object says of these rows.

    Raises:
        ValueError, TypeError: it refuses them.
    """
    with np.errstate(all="ignore"):  # what isn't a number in the end is refused
        probabilities, predicted = subject.judge(x)
        raw = None if subject.raw_scores is None else subject.raw_scores(x)
    fitted = subject.fitted
    if predicted is not None and fitted.labels is not None and fitted.by_predict:
        places = {label: i for i, label in enumerate(fitted.labels)}
        return Said(probabilities, np.array([places[label] for label in predicted], dtype=np.intp), raw)
    if fitted.cuts is not None:
        thresholds, rule = fitted.cuts
        return Said(
            probabilities,
            passed(probabilities if fitted.has_probabilities else np.asarray(raw), thresholds, rule, 0.0),
            raw,
        )
    return Said(probabilities, passed(probabilities, fitted.model["thresholds"], fitted.rule))
