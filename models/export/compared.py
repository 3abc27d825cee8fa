"""The author's own numbers of the documents against those of the file: where they differ, and why.

Laws:
- Numbers that the author has from elsewhere are compared cell by cell, within a tolerance; of trees, also by what the
  fitted object says of them (models.export.last_bits).
- Behind a difference stands a cause, several that explain it alike, or that there is none (models.export.causes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from memberstream.models.examples import TOLERANCE
from memberstream.models.export import relations
from memberstream.models.export.bands import passed
from memberstream.models.export.causes import Cause, Hypothesis, explaining, named, told
from memberstream.models.export.edits import gap
from memberstream.models.export.last_bits import other_leaves
from memberstream.models.export.naming import label_text
from memberstream.models.export.own import Own, own_clusters, own_columns, own_probabilities
from memberstream.models.export.proof import SINGLE_TOLERANCE, Said, Subject, ask
from memberstream.models.export.reading import Reading
from memberstream.models.export.rereadings import of_order, rereadings, times_of_scoring, written_otherwise
from memberstream.models.model import Cluster, Model
from memberstream.models.scorer import Indices, Logistic, Scorer, Scores, Trees, expit
from memberstream.models.timestamps import DAY_MS
from memberstream.models.wording import counted

OWN_TOLERANCE = 1e-9  # of sums in another order; any mistake is larger
_EQUAL_IN_SINGLE = 1e-6  # probabilities, of which one was computed in single precision
_MOST_SHOWN = 5
_MOST_COLUMNS = 60  # of which another order is looked for
_TELLS_MORE = "Use: x=…, your own matrix: it shows the predictor that differs"


class OwnNumbers:
    """Compares the author's own numbers with those of the file. Each check returns problems."""

    def __init__(
        self, own: Own, subject: Subject, documents: Sequence[Any], at_ms: Sequence[int], x: Any, order: Sequence[int]
    ) -> None:
        self._own, self._subject, self._documents, self._order = own, subject, documents, order
        known: dict[str, list[str]] = {}
        for column in subject.fitted.columns:
            if column.definition is not None and isinstance(column.category, str):
                known.setdefault(column.definition.hint, []).append(column.category)
        self._reading = Reading(subject.raw, subject.inputs, documents, at_ms, x, known)
        self._n = len(documents)
        self._p: Any = None  # the author's probabilities, read
        self._index: Any = None  # the author's clusters: their places among the file's

    def read(self, clusters: Sequence[Cluster]) -> list[str]:
        """Read probabilities and clusters. Returns what can't be read."""
        problems: list[str] = []
        if self._own.probabilities is not None:
            self._p = own_probabilities(self._own.probabilities, self._subject.fitted, self._n, problems)
        if self._own.clusters_of is not None:
            self._index = own_clusters(
                self._own.clusters_of, self._subject.fitted, clusters, self._order, self._n, problems
            )
        return problems

    @property
    def is_single(self) -> bool:
        """Whether the object was fitted in single precision, or any of the author's own numbers are."""
        return self._subject.fitted.is_single or _is_single(self._own.x) or _is_single(self._own.probabilities)

    def settled(self, said: Said) -> Said:
        """Return what the fitted object says, cut as the author cuts it: by the author's own probabilities, which may
        be of single precision, or within that precision."""
        fitted = self._subject.fitted
        if fitted.by_predict or fitted.model["type"] != "logistic":
            return said
        p, tolerance = (said.probabilities, _EQUAL_IN_SINGLE) if self.is_single else (said.probabilities, TOLERANCE)
        if self._p is not None and len(self._p) == len(said.probabilities):
            p, tolerance = self._p, TOLERANCE
        return Said(said.probabilities, passed(p, fitted.model["thresholds"], fitted.rule, tolerance))

    # --- the matrix

    def check_x(self) -> list[str]:
        """Compare the author's matrix, cell by cell."""
        problems: list[str] = []
        if self._own.x is None:
            return []
        theirs = own_columns(self._own.x, self._subject.inputs, self._n, problems)
        if theirs is None:
            return problems
        tolerance = SINGLE_TOLERANCE if _is_single(self._own.x) else OWN_TOLERANCE
        reading = self._reading
        ours = {name: reading.values(name, reading.x) for name in theirs}
        wrong = {name: ~relations.same(ours[name], theirs[name], tolerance) for name in theirs}
        wrong = {name: where for name, where in wrong.items() if where.any()}
        if not wrong:
            return []
        head, lines = self._why_x(ours, theirs, wrong, tolerance)
        n = int(np.any(list(wrong.values()), axis=0).sum())
        problems.append(
            f"x: {n:,} of {counted(self._n, 'document')} have other numbers than the file computes: "
            f"{', '.join(wrong)}{head}"
        )
        cells = [(i, name) for name, where in wrong.items() for i in np.flatnonzero(where)[:_MOST_SHOWN].tolist()]
        shown = [
            f"{self._member(i)}.{name}: {_shown(ours[name][i])} in the file, {_shown(theirs[name][i])} in yours"
            for i, name in sorted(cells)[:_MOST_SHOWN]
        ]
        return problems + lines + shown

    def _why_x(
        self, ours: dict[str, Any], theirs: dict[str, Any], wrong: dict[str, Any], tolerance: float
    ) -> tuple[str, list[str]]:
        """Return the cause of all differences, if there is one; otherwise a line for each column."""
        n_differ = int(np.any(list(wrong.values()), axis=0).sum())
        ours_wrong, theirs_wrong = ({name: of[name] for name in wrong} for of in (ours, theirs))
        if 1 < len(wrong) <= _MOST_COLUMNS and (found := relations.column_order(ours_wrong, theirs_wrong, tolerance)):
            moved = dict(zip(wrong, found, strict=True))
            return told(self._of_order([moved.get(name, name) for name in ours]), self._n, n_differ), []
        if relations.row_order(list(ours.values()), list(theirs.values())) is not None:
            return told([Cause(relations.ROWS)], self._n, n_differ), []
        groups = self._groups(ours, theirs, wrong, tolerance)
        explained = {name for names in groups for name in names}
        if len(groups) == 1 and len(explained) == len(wrong):
            return told(next(iter(groups.values())), self._n, n_differ), []
        lines = [f"x: {', '.join(names)}{told(these, self._n, n_differ)}" for names, these in groups.items()]
        for name in wrong:
            if name not in explained:
                empty = self._reading.is_empty(name)
                reason = relations.of_column(ours[name], theirs[name], empty, tolerance)
                lines.append(f"x: {name}: {reason or 'no single cause found'}")
        return "", lines

    def _of_order(self, order: list[str]) -> list[Cause]:
        """Return what it means that the author's columns stand in another order. Probabilities and clusters tell
        whether it is the file's order that is wrong, or the matrix's."""
        hypothesis = of_order(self._reading, order)
        file, own = Cause(hypothesis.sentence), Cause("x has its columns in another order. Use: x as fit got it")
        rows = np.arange(self._n)
        if self._p is None and self._index is None:
            return [file, own]
        if self._outputs_agree(self._ask(self._reading.x), rows):
            return [own]
        is_file = self._outputs_agree(self._ask(hypothesis.recompute(rows)), rows)
        return [file] if is_file else [file, own]

    def _groups(
        self, ours: dict[str, Any], theirs: dict[str, Any], wrong: dict[str, Any], tolerance: float
    ) -> dict[tuple[str, ...], list[Cause]]:
        """Return which columns are explained together, and by what: most columns by one cause come first."""
        explained: dict[Hypothesis, tuple[str, ...]] = {}

        def agrees(hypothesis: Hypothesis, rows: Indices) -> bool:
            """Return whether it explains some columns wholly, and spoils none."""
            x = hypothesis.recompute(rows)
            columns = {name: self._reading.values(name, x) for name in theirs}
            touched = [name for name in theirs if not relations.same(columns[name], ours[name][rows], 0.0).all()]
            right = [n for n in touched if relations.same(columns[n], theirs[n][rows], tolerance).all()]
            explained[hypothesis] = tuple(name for name in right if name in wrong)
            return bool(explained[hypothesis]) and {*touched} - {*right} <= wrong.keys()

        hypotheses = self._of_differences(ours, theirs, wrong), written_otherwise(self._reading, wrong)
        found = explaining(
            (h for these in hypotheses for h in these),
            list(wrong.values()),
            lambda these, rows: [agrees(hypothesis, rows) for hypothesis in these],
            explained.__getitem__,
        )
        groups: dict[tuple[str, ...], list[Cause]] = {}
        taken: set[str] = set()
        for names in sorted(dict.fromkeys(explained[h] for h in found), key=len, reverse=True):
            if taken.isdisjoint(names):
                taken.update(names)
                groups[names] = named([h for h in found if explained[h] == names])
        return groups

    def _of_differences(
        self, ours: dict[str, Any], theirs: dict[str, Any], wrong: dict[str, Any]
    ) -> Iterator[Hypothesis]:
        """Yield what the differences themselves suggest: a time of scoring, a value for what is missing."""
        for name, where in wrong.items():
            values = theirs[name][where]
            if len(set(values.tolist())) == 1 and values[0] == values[0]:
                yield from gap(self._reading, name, values[0])
            if self._reading.counts_days(name):
                days = np.median(theirs[name][where] - ours[name][where])
                if np.isfinite(days) and 0 < abs(days) < 36_500:
                    yield from times_of_scoring(self._reading, [round(days * DAY_MS)])

    def check_leaves(self, said: Said) -> list[str]:
        """Compare what trees say of the author's matrix with what they say of the file's. The two agree by now."""
        theirs = None
        if self._own.x is not None and said.raw is not None:
            theirs = own_columns(self._own.x, self._subject.inputs, self._n, [])
        if theirs is None:
            return []
        reading, own = self._reading, self._reading.x.copy()
        for name, values in theirs.items():
            own[:, reading.place(name)] = values
        ours = {name: reading.values(name, reading.x) for name in theirs}

        def asked(rows: Indices) -> Said:
            return ask(self._subject, own[rows])

        return other_leaves(ours, theirs, said, asked, self._member, _is_single(self._own.x))

    # --- what the fitted object says

    def check_probabilities(self, said: Said) -> list[str]:
        """Compare the author's probabilities with those of the fitted object."""
        if self._p is None:
            return []
        own = self._p
        far = self._far(said.probabilities, np.arange(self._n))
        if not far.any():
            return []
        cause = relations.of_probabilities(said.probabilities, own)
        if cause == relations.OTHER:
            classes = self._subject.fitted.classes  # of the second one the probability is
            cause = (
                f"yours are those of {classes[0]!r}, not of {classes[1]!r}. If that is what you mean: "
                f"probabilities={{{classes[0]!r}: …}}"
            )
        is_single = relations.differ_in_single_precision(said.probabilities, own)
        hint = "They differ as little as in single precision. " if is_single else ""
        why = f". Likely cause: {cause}" if cause else self._why(far, self._probabilities_agree, "predict_proba", hint)
        return [
            f"probabilities: {int(far.sum()):,} of {counted(self._n, 'document')} have others than the fitted "
            f"object says of what the file reads{why}",
            *(
                f"{self._member(i)}.probability: {_shown(said.probabilities[i])} in the file, {_shown(own[i])} in yours"
                for i in np.flatnonzero(far)[:_MOST_SHOWN].tolist()
            ),
        ]

    def check_clusters(self, model: Model, scores: Scores) -> list[str]:
        """Compare the author's clusters with what the file computes."""
        computed = scores.index
        if self._index is None or not (wrong := self._index != computed).any():
            return []
        own = self._index
        names = [cluster.name for cluster in model.clusters]
        facts = [relations.renamed(computed, own, names), _other_cuts(model.scorer, scores, own)]
        known = [Cause(fact) for fact in facts if fact]
        why = self._why(wrong, self._outputs_agree, "predict", self._shares(computed, own), known)
        return [
            f"clusters_of: {int(wrong.sum()):,} of {counted(self._n, 'document')} have another cluster{why}",
            *(
                f"{self._member(i)}.cluster: {names[computed[i]]} in the file, {names[own[i]]} in yours"
                for i in np.flatnonzero(wrong)[:_MOST_SHOWN].tolist()
            ),
        ]

    def notes(self, model: Model) -> list[str]:
        """Return what the author's clusters don't prove."""
        if self._index is None:
            return []
        labels = [label_text(value) for value in np.asarray(self._own.clusters_of).ravel().tolist()]
        if all(label == model.clusters[i].name for label, i in zip(labels, self._index.tolist(), strict=True)):
            return []
        shown = ", ".join(sorted(set(labels))[:_MOST_SHOWN])
        return [f"clusters_of says {shown}, no names: it proves the clusters, not how they are called"]

    def _shares(self, computed: Indices, own: Indices) -> str:
        """Return that each cluster has as many documents in both. Rows in another order do that."""
        alike = np.array_equal(np.bincount(computed, minlength=99), np.bincount(own, minlength=99))
        return "Each cluster has as many documents in both: compare the order of rows. " if alike else ""

    def _why(
        self,
        differ: Any,
        agrees: Callable[[Said, Indices], bool],
        method: str,
        hint: str = "",
        known: Sequence[Cause] = (),
    ) -> str:
        """Return what would make the fitted object say what the author has.

        Args:
            method: what says it, to ask again. hint: what to look at if nothing is found.
            known: what explains all of it already, besides what is found here.
        """
        n_differ = int(differ.sum())
        if self._own.x is not None:
            otherwise = f"x agrees, so it isn't the predictors. Use: what {method} says of this x, anew"
            return told(known, self._n, n_differ, hint + otherwise)
        if not self._subject.is_here:
            return told(known, self._n, n_differ, hint + _TELLS_MORE)

        def agree(these: Sequence[Hypothesis], rows: Indices) -> list[bool]:
            try:
                said = self._ask(np.concatenate([hypothesis.recompute(rows) for hypothesis in these]))
            except Exception:  # it takes no such values: whose? Libraries have errors of their own for that
                half = len(these) // 2
                return [*agree(these[:half], rows), *agree(these[half:], rows)] if half else [False]
            parts = [slice(i * len(rows), (i + 1) * len(rows)) for i in range(len(these))]
            p = said.probabilities
            return [agrees(Said(None if p is None else p[part], said.index[part]), rows) for part in parts]

        hypotheses = (h for these in (rereadings(self._reading), self._rows()) for h in these)
        found = named(explaining(hypotheses, [differ], agree))
        return told([*known, *found], self._n, n_differ, hint + _TELLS_MORE)

    def _rows(self) -> Iterator[Hypothesis]:
        """Yield other orders of rows."""
        ids = [str(document.get("member_id", "")) for document in self._documents]
        orders = {"backwards": np.arange(self._n)[::-1], "by member_id": np.argsort(np.array(ids), kind="stable")}
        for words, order in orders.items():
            yield Hypothesis(self._reading.in_rows(order), f"{relations.ROWS}: yours are {{}}", words)

    def _probabilities_agree(self, said: Said, rows: Indices) -> bool:
        return not self._far(said.probabilities, rows).any()

    def _outputs_agree(self, said: Said, rows: Indices) -> bool:
        """Return whether what the fitted object says of these rows is what the author has."""
        if self._p is not None and self._far(said.probabilities, rows).any():
            return False
        rank = np.argsort(np.array(self._order, dtype=np.intp))
        return self._index is None or bool((rank[said.index] == self._index[rows]).all())

    def _ask(self, x: Any) -> Said:
        said = ask(self._subject, x)
        return said if self._p is not None else self.settled(said)

    def _far(self, said: Any, rows: Indices) -> Any:
        """Return where the author's probabilities aren't these, (n_rows,)."""
        tolerance = SINGLE_TOLERANCE if self.is_single else OWN_TOLERANCE
        far = ~(np.abs(self._p[rows] - said) <= tolerance)
        return far if far.ndim == 1 else far.any(axis=1)

    def _member(self, i: int) -> str:
        member_id = self._documents[i].get("member_id")
        return f"documents[{i}]" if member_id is None else f"documents[{i}] ({member_id})"


def _other_cuts(scorer: Scorer, scores: Scores, own: Indices) -> str | None:
    """Return where the author's clusters are cut, if other thresholds make all of them. Trees are cut by raw scores;
    of those that are logits the text says probabilities, which are what authors cut."""
    probability: Any = scores.probability
    raw: Any = scores.raw
    if isinstance(scorer, Logistic):
        return relations.cuts(probability, own, scorer.thresholds.tolist())
    if not isinstance(scorer, Trees) or scorer.thresholds is None:
        return None
    thresholds = scorer.thresholds.tolist()
    if scorer.scale == "logit":
        return relations.cuts(raw, own, thresholds, lambda eta: float(expit(np.array(eta))))
    return relations.cuts(raw, own, thresholds, of="" if scorer.scale == "probability" else " of the raw score")


def _is_single(values: Any) -> bool:
    """Return whether any of the author's numbers are of single precision or less."""
    kinds = list(getattr(values, "dtypes", [])) if hasattr(values, "columns") else [getattr(values, "dtype", None)]
    return any(str(kind).lower() in ("float32", "float16") for kind in kinds)


def _shown(value: Any) -> str:
    return repr(value.tolist()) if isinstance(value, (np.ndarray, np.generic)) else repr(value)
