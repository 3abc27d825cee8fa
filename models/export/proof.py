"""The proof of a file: against the fitted object, and against the author's own numbers of the same documents.

Laws:
- The fitted object is asked about the matrix that the file's own sources make of the documents. Probabilities must
  agree within 1e-12 and clusters exactly, for each document.
- That matrix is ours. So it says nothing of a wrong path, order, unit or class: only numbers that the author has from
  elsewhere do. They are compared cell by cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memberstream.models.examples import TOLERANCE
from memberstream.models.export import causes
from memberstream.models.export.bands import passed
from memberstream.models.export.own import Inputs, Own, own_clusters, own_columns, own_probabilities
from memberstream.models.export.raw import Raw
from memberstream.models.export.scorers import Fitted
from memberstream.models.model import Model
from memberstream.models.scorer import Indices, Scores
from memberstream.models.wording import counted

OWN_TOLERANCE = 1e-9  # of sums in another order; any mistake is larger
SINGLE_TOLERANCE = 1e-5  # of what the author computes in single precision
_EQUAL_IN_SINGLE = 1e-6  # probabilities, of which one was computed in single precision
_MOST_SHOWN = 5
_ASKED_ABOUT = 300  # documents on which likely causes are tried
_IF_IT_DIFFERS = {
    "gaussian_mixture": "a larger reg_covar; where variances almost vanish scikit-learn's own rounding exceeds 1e-12",
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
    """

    raw: Raw
    inputs: Inputs
    judge: Judge
    fitted: Fitted
    is_here: bool = True


@dataclass(frozen=True)
class Said:
    """What the fitted object says: probabilities in its own order, or None; the place of each document's cluster in
    that order."""

    probabilities: Any
    index: Indices


def check_fitted(model: Model, scores: Scores, said: Said, order: Sequence[int]) -> list[str]:
    """Return how the file differs from the fitted object."""
    rank = np.argsort(np.array(order, dtype=np.intp))
    wanted, computed, p = rank[said.index], scores.index, in_file_order(said.probabilities, order)
    wrong = wanted != computed
    if p is not None and scores.probability is not None:
        far = np.abs(p - scores.probability) > TOLERANCE
        wrong |= far if far.ndim == 1 else far.any(axis=1)
    if not wrong.any():
        return []
    cause = None if p is None or scores.probability is None else causes.of_probabilities(scores.probability, p)
    advice = _IF_IT_DIFFERS.get(model.scorer.type, "scikit-learn's own classes, not ones derived from them")
    problems = [
        f"{int(wrong.sum()):,} of {counted(len(wrong), 'document')}: the file computes other numbers than the fitted "
        f"object. {f'Likely cause: {cause}' if cause else f'Use: {advice}'}"
    ]
    for i in np.flatnonzero(wrong)[:_MOST_SHOWN].tolist():
        if (
            p is not None
            and scores.probability is not None
            and not np.allclose(p[i], scores.probability[i], 0, TOLERANCE)
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


class OwnNumbers:
    """Compares the author's own numbers with those of the file. Each check returns problems."""

    def __init__(self, own: Own, subject: Subject, documents: Sequence[Any], at_ms: Sequence[int], x: Any) -> None:
        self._own, self._subject, self._documents, self._at_ms, self._x = own, subject, documents, at_ms, x
        self._p: Any = None  # the author's probabilities, read

    def check_x(self) -> list[str]:
        """Compare the author's matrix, cell by cell."""
        problems: list[str] = []
        if self._own.x is None:
            return []
        theirs = own_columns(self._own.x, self._subject.inputs, len(self._documents), problems)
        if theirs is None:
            return problems
        tolerance = SINGLE_TOLERANCE if _is_single(self._own.x) else OWN_TOLERANCE
        ours = {name: self._column(name, self._x) for name in theirs}
        wrong = {name: ~causes.same(ours[name], theirs[name], tolerance) for name in theirs}
        wrong = {name: where for name, where in wrong.items() if where.any()}
        if not wrong:
            return []
        cause = causes.of_order(ours, theirs) or self._of_time(
            {name: theirs[name] for name in wrong}, lambda x: {name: self._column(name, x) for name in wrong}
        )
        n = int(np.any(list(wrong.values()), axis=0).sum())
        problems.append(
            f"x: {n:,} of {counted(len(self._documents), 'document')} have other numbers than the file computes: "
            f"{', '.join(wrong)}{f'. Likely cause: {cause}' if cause else ''}"
        )
        for name in wrong:
            reason = None if cause else causes.of_column(ours[name], theirs[name], tolerance)
            if reason:
                problems.append(f"x: {name}: {reason}")
        cells = [(i, name) for name, where in wrong.items() for i in np.flatnonzero(where)[:_MOST_SHOWN].tolist()]
        return problems + [
            f"{self._member(i)}.{name}: {_shown(ours[name][i])} in the file, {_shown(theirs[name][i])} in yours"
            for i, name in sorted(cells)[:_MOST_SHOWN]
        ]

    def check_probabilities(self, said: Said) -> list[str]:
        """Compare the author's probabilities with those of the fitted object."""
        problems: list[str] = []
        if self._own.probabilities is None:
            return []
        self._p = own_probabilities(self._own.probabilities, self._subject.fitted, len(self._documents), problems)
        return problems if self._p is None else self._check_probabilities(self._p, said.probabilities)

    def settled(self, said: Said) -> Said:
        """Return what the fitted object says, cut as the author cuts it: by the author's own probabilities, which may
        be of single precision, or within that precision."""
        fitted = self._subject.fitted
        if fitted.by_predict or fitted.model["type"] != "logistic":
            return said
        p, tolerance = (said.probabilities, _EQUAL_IN_SINGLE) if self.is_single else (said.probabilities, TOLERANCE)
        if self._p is not None:
            p, tolerance = self._p, TOLERANCE
        return Said(said.probabilities, passed(p, fitted.model["thresholds"], fitted.rule, tolerance))

    @property
    def is_single(self) -> bool:
        """Whether the object was fitted in single precision, or any of the author's own numbers are."""
        return self._subject.fitted.is_single or _is_single(self._own.x) or _is_single(self._own.probabilities)

    def check_clusters(self, model: Model, computed: Indices, order: Sequence[int]) -> list[str]:
        """Compare the author's clusters."""
        problems: list[str] = []
        if self._own.clusters_of is None:
            return []
        clusters = [{"id": c.id, "name": c.name} for c in model.clusters]
        fitted, n = self._subject.fitted, len(self._documents)
        index = own_clusters(self._own.clusters_of, fitted, clusters, order, n, problems)
        if index is not None and (index != computed).any():
            problems += self._clusters_differ(model, index, computed, order)
        return problems

    def _check_probabilities(self, own: Any, said: Any) -> list[str]:
        tolerance = SINGLE_TOLERANCE if _is_single(self._own.probabilities) else OWN_TOLERANCE
        far = ~(np.abs(own - said) <= tolerance)
        rows = far if far.ndim == 1 else far.any(axis=1)
        if not rows.any():
            return []
        classes = self._subject.fitted.classes  # of the second one the probability is
        cause = causes.of_probabilities(said, own)
        if cause == causes.OTHER:
            cause = (
                f"yours are those of {classes[0]!r}, not of {classes[1]!r}. If that is what you mean: "
                f"probabilities={{{classes[0]!r}: …}}"
            )
        cause = cause or self._of_inputs(lambda p, _: np.abs(p - own[: len(p)]) <= tolerance)
        return [
            f"probabilities: {int(rows.sum()):,} of {counted(len(rows), 'document')} have others than the fitted "
            f"object says of what the file reads{f'. Likely cause: {cause}' if cause else ''}",
            *(
                f"{self._member(i)}.probability: {_shown(said[i])} in the file, {_shown(own[i])} in yours"
                for i in np.flatnonzero(rows)[:_MOST_SHOWN].tolist()
            ),
        ]

    def _clusters_differ(self, model: Model, own: Indices, computed: Indices, order: Sequence[int]) -> list[str]:
        names = [cluster.name for cluster in model.clusters]
        pairs = set(zip(computed.tolist(), own.tolist(), strict=True))
        wrong = own != computed
        cause = None
        if len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
            cause = "the same groups under other names: " + ", ".join(
                f"the file's {names[a]} is {names[b]} in yours" for a, b in sorted(pairs)
            )
        rank = np.argsort(np.array(order, dtype=np.intp))
        cause = cause or self._of_inputs(lambda _, index: rank[index] == own[: len(index)])
        return [
            f"clusters_of: {int(wrong.sum()):,} of {counted(len(wrong), 'document')} have another cluster"
            f"{f'. Likely cause: {cause}' if cause else ''}",
            *(
                f"{self._member(i)}.cluster: {names[computed[i]]} in the file, {names[own[i]]} in yours"
                for i in np.flatnonzero(wrong)[:_MOST_SHOWN].tolist()
            ),
        ]

    def _of_inputs(self, agrees: Callable[[Any, Any], Any]) -> str | None:
        """Return which change of the matrix would make the fitted object say what the author has."""
        inputs, x = self._subject.inputs, self._x[:_ASKED_ABOUT]
        if self._own.x is not None:
            return "x agrees: was the object fitted again, or are these of other rows?"
        if not self._subject.is_here or x.dtype == object:
            return None
        places = [self._subject.raw.training.names.index(name) for name in inputs.predictors]
        shifted = ((f"at is {causes.days(shift)}", x) for shift, x in self._shifted(bool(self._subject.raw.moving)))
        for words, changed in itertools.chain(causes.candidates(x, places, inputs.predictors), shifted):
            try:
                said = ask(self._subject, changed)
            except ValueError:
                continue  # it takes no such numbers
            if np.all(agrees(said.probabilities, said.index)):
                return words
        return None

    def _of_time(self, theirs: dict[str, Any], columns_of: Callable[[Any], dict[str, Any]]) -> str | None:
        """Return which other time of scoring explains all differences."""
        if not set(theirs) & set(self._subject.raw.moving):
            return None
        for shift, x in self._shifted(True):
            if all(causes.same(v, theirs[name][:_ASKED_ABOUT]).all() for name, v in columns_of(x).items()):
                return f"another time of scoring: yours are as of {causes.days(shift)} than at"
        return None

    def _shifted(self, is_moving: bool) -> Any:
        documents, at_ms = self._documents[:_ASKED_ABOUT], self._at_ms[:_ASKED_ABOUT]
        for shift in causes.SHIFTS_MS if is_moving else ():
            yield shift, self._subject.raw.evaluate(documents, [at + shift for at in at_ms])

    def _column(self, name: str, x: Any) -> Any:
        raw = self._subject.raw
        column = x[:, raw.training.names.index(name)]
        return column if name in raw.training.texts else column.astype(np.float64)

    def _member(self, i: int) -> str:
        member_id = self._documents[i].get("member_id")
        return f"documents[{i}]" if member_id is None else f"documents[{i}] ({member_id})"


def ask(subject: Subject, x: Any) -> Said:
    """Return what the fitted object says of these rows.

    Raises:
        ValueError, TypeError: it refuses them.
    """
    with np.errstate(all="ignore"):  # what isn't a number in the end is refused
        probabilities, predicted = subject.judge(x)
    fitted = subject.fitted
    if predicted is not None and fitted.labels is not None and fitted.by_predict:
        places = {label: i for i, label in enumerate(fitted.labels)}
        return Said(probabilities, np.array([places[label] for label in predicted], dtype=np.intp))
    return Said(probabilities, passed(probabilities, fitted.model["thresholds"], fitted.rule))


def _is_single(values: Any) -> bool:
    """Return whether any of the author's numbers are of single precision or less."""
    kinds = list(getattr(values, "dtypes", [])) if hasattr(values, "columns") else [getattr(values, "dtype", None)]
    return any(str(kind).lower() in ("float32", "float16") for kind in kinds)


def _shown(value: Any) -> str:
    return repr(value.tolist()) if isinstance(value, (np.ndarray, np.generic)) else repr(value)
