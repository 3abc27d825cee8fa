"""The model file of a fitted object's parts, with the object's own outputs as examples. Proven before it is written.

Laws:
- Every document that the author gives is verified: the fitted object's output is compared with what the file computes.
- A file counts as verified only against numbers that the author has from elsewhere (models.export.proof). Otherwise it
  says that it is unproven.
- Examples hold what the fitted object says, never what the file computes.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from memberstream.models.examples import TOLERANCE
from memberstream.models.export.bands import moved
from memberstream.models.export.columns import ExportError, emit
from memberstream.models.export.compared import OwnNumbers
from memberstream.models.export.html import html_of
from memberstream.models.export.naming import Clusters, label_text, name_clusters
from memberstream.models.export.own import Own
from memberstream.models.export.plausible import check_allowed, check_documents, check_imputers
from memberstream.models.export.proof import (
    SINGLE_TOLERANCE,
    Said,
    Subject,
    ask,
    check_fitted,
    in_file_order,
    raw_in_file_order,
)
from memberstream.models.export.raw import Raw
from memberstream.models.export.scorers import Fitted
from memberstream.models.model import Model
from memberstream.models.model_file import FORMAT, parse
from memberstream.models.predictor_file import LACKS_MISSING
from memberstream.models.problems import ModelFileError
from memberstream.models.timestamps import format_ms
from memberstream.models.training.columns import compile_columns
from memberstream.models.training.matrix import evaluate
from memberstream.models.training.rows import At, read_times
from memberstream.models.wording import counted

Times = At | Sequence[At]
MAX_EXAMPLES = 100  # every worker proves them at each load, and the file is one record in Kafka


@dataclass(frozen=True)
class Request:
    """What the author gives beside the fitted object: the arguments of `from_estimator`."""

    name: str
    version: int
    predictors: Sequence[Mapping[str, Any]]
    documents: Sequence[Mapping[str, Any]]
    own: Own
    at: Times | None = None
    clusters: Clusters | None = None
    inputs: Sequence[str] | None = None
    allow: Sequence[str] = ()
    description: str = ""


class Became(NamedTuple):
    """A class, component or band of the fitted object, the cluster that it became, and how many documents are in it."""

    label: str
    cluster_id: int
    name: str
    n_documents: int


@dataclass(frozen=True, repr=False)
class ModelFile:
    """A model file, proven to reproduce what the fitted object says. `print` shows which class became which cluster.

    Attributes:
        definition: the file's JSON object.
        model: as a worker loads it.
        n_verified: documents for which both said the same.
        proven_by: the author's own numbers that the file reproduces: x, probabilities, clusters_of. Empty: unproven.
        classes: what became of the fitted object's classes, in the order of the file's clusters.
        notes: what was done that the author may not expect.
    """

    definition: dict[str, Any]
    model: Model
    n_verified: int
    proven_by: tuple[str, ...] = ()
    classes: tuple[Became, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        model, n = self.model, counted(self.n_verified, "document")
        proof = f"verified on {n} against your {', '.join(self.proven_by)}"
        return (
            f"<ModelFile {model.label}: {model.scorer.type} over {counted(len(model.inputs), 'column')}, "
            f"{counted(len(model.clusters), 'cluster')}, {counted(len(model.examples), 'example')}, "
            f"{proof if self.proven_by else f'{n}, unproven against your own numbers'}>"
        )

    def __str__(self) -> str:
        rows = [(became.label, f"{became.cluster_id} {became.name}", became.n_documents) for became in self.classes]
        label_width = max((len(label) for label, _, _ in rows), default=0)
        width = max((len(cluster) for _, cluster, _ in rows), default=0)
        lines = [
            f"  {label:<{label_width}} → {cluster:<{width}}  {n:>9,}  {n / self.n_verified:6.1%}"
            for label, cluster, n in rows
        ]
        return "\n".join([repr(self), *lines, *(f"  {note}" for note in self.notes)])

    _repr_html_ = html_of

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all. Returns the path. Raises OSError."""
        target = Path(path)
        # Nobody reads trees, and with a number on each line they would soon be too large for a file.
        is_for_people = self.model.scorer.type != "trees"
        data = orjson.dumps(self.definition, option=orjson.OPT_APPEND_NEWLINE | is_for_people * orjson.OPT_INDENT_2)
        descriptor, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)  # mkstemp's 0600 would hide it from others
        os.replace(name, target)
        return target


def as_json(value: Any, where: str, problems: list[str]) -> Any:
    """Return a value as it will stand in a file: tuples are lists, NumPy's numbers are numbers, NaN is null, times are
    ISO 8601."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATETIME
    try:
        return orjson.loads(orjson.dumps(value, _time, options))
    except (TypeError, ValueError) as error:
        problems.append(f"{where}: expected what JSON can hold, found something else: {error.__cause__ or error}")
        return None


def _time(value: Any) -> str:
    """Return a datetime (a pandas Timestamp is one) with its zone, or a date. Raises TypeError: it is something else,
    or has no zone."""
    if not isinstance(value, date):
        raise TypeError(f"{type(value).__name__} {value}")
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise TypeError(
            f"the datetime {value} has no zone. Use: one with a zone, or ISO 8601, which is UTC without one"
        )
    return value.isoformat()


def build(request: Request, subject: Subject | None, raw: Raw | None, problems: list[str]) -> ModelFile:
    """Return the model file.

    Args:
        subject: None if problems already noted rule it out. The rest is checked all the same.
        raw: the predictors; None if something is wrong with them.

    Raises:
        ExportError: with the problems noted and all that are found here.
    """
    n_before = len(problems)
    documents = as_json(request.documents, "documents", problems) or []
    problems += [f"documents[{i}]: expected an object" for i, one in enumerate(documents) if not isinstance(one, dict)]
    if not request.documents and not any(problem.startswith("documents: ") for problem in problems):
        problems.append("documents: expected some, found none. Use: a dozen members of each cluster, if you can")
    problems += check_allowed(request.allow, raw) if raw else []
    at_ms = _times(request.at, len(request.documents), raw.moving if raw else (), problems)
    are_readable = len(problems) == n_before and bool(documents)
    definition: dict[str, Any] = {"format": FORMAT, "name": request.name, "version": request.version}
    definition["description"] = request.description
    order: list[int] = []
    if subject is not None:
        fitted = subject.fitted
        definition["predictors"], inputs = emit(fitted.columns)
        clusters, order = name_clusters(request.clusters, fitted, problems)
        definition["model"] = {**fitted.in_order(order), "inputs": inputs}
        if clusters:
            definition["clusters"] = clusters
    definition = as_json(definition, "name, version, description, clusters", problems) or {}
    model = _parse(definition, problems, subject.fitted.refuses_missing if subject else "")
    numbers = None
    if subject is not None and are_readable:
        x = subject.raw.evaluate(documents, at_ms)
        numbers = OwnNumbers(request.own, subject, documents, at_ms, x, order)
    is_shown = request.own.x is not None or request.own.probabilities is not None
    # Raised with whatever else is found; what is found first hides nothing.
    unfilled = [] if subject is None or is_shown else check_imputers(subject.fitted.columns, request.allow)
    if numbers is None or problems or model is None or subject is None:
        raise ExportError(problems + unfilled + (numbers.check_x() if numbers else []))
    inputs_x = evaluate(compile_columns(model), documents, at_ms)
    problems += check_documents(subject.raw, subject.fitted.columns, inputs_x, documents, at_ms, request.allow)
    problems += numbers.read(model.clusters)
    _raise_if(problems + numbers.check_x(), unfilled)
    said = _said(subject, x)
    _raise_if(numbers.check_leaves(said), unfilled)
    _raise_if(numbers.check_probabilities(said))
    said = numbers.settled(said)
    notes = _move_thresholds(definition, subject.fitted, said, order, numbers.is_single)
    model = parse(definition)
    scores = model.scorer.score_many(inputs_x)
    _raise_if(check_fitted(model, scores, said, order, subject.fitted.tolerance), unfilled)
    _raise_if(numbers.check_clusters(model, scores), unfilled)
    _raise_if(unfilled)
    notes += numbers.notes(model)
    clusters_of = [model.clusters[i].id for i in scores.index.tolist()]
    # What the fitted object says in single precision is no example of what a worker computes.
    is_exact = scores.probability is not None and subject.fitted.tolerance <= TOLERANCE
    p = in_file_order(said.probabilities, order) if is_exact else None
    raw = None if said.raw is None else raw_in_file_order(said.raw, order)
    definition["examples"] = [
        {"document": documents[i], "at": format_ms(at_ms[i])}
        | ({} if p is None else {"probability": p[i].tolist()})
        | ({} if raw is None else {"raw": raw[i].tolist()})
        | {"cluster": clusters_of[i]}
        for i in _chosen(clusters_of)
    ]
    model = _parse(definition, problems)
    if model is None:
        raise ExportError(problems)
    became = _became(model, subject.fitted, order, Counter(clusters_of))
    return ModelFile(definition, model, len(documents), request.own.given, became, tuple(notes))


def _raise_if(problems: list[str], others: Sequence[str] = ()) -> None:
    if problems:
        raise ExportError([*problems, *others])


def _said(subject: Subject, x: Any) -> Said:
    """Return what the fitted object says of the documents. Raises ExportError: nothing, of one of them."""
    try:
        said = ask(subject, x)
    except (ValueError, TypeError) as error:
        first_line = str(error).split("\n")[0]
        raise ExportError([f"documents: the fitted object refuses them: {first_line}"]) from error
    if said.probabilities is not None and not (finite := np.isfinite(said.probabilities)).all():
        row = int(np.argwhere(~finite)[0][0])
        raise ExportError(
            [
                f"documents[{row}]: the fitted object says nothing of it. Use: `missing` for each predictor that it "
                "lacks, as the notebook fills it; or a document that has them all"
            ]
        )
    return said


def _move_thresholds(
    definition: dict[str, Any], fitted: Fitted, said: Said, order: Sequence[int], is_single: bool
) -> list[str]:
    """Move thresholds that are a document's probability into the gap beside it. Returns a note for each."""
    if fitted.model["type"] != "logistic":
        return []
    model = definition["model"]
    index = said.index if list(order) == sorted(order) else 1 - said.index
    before = model["thresholds"]
    tolerance = SINGLE_TOLERANCE if is_single else TOLERANCE
    model["thresholds"] = moved(before, in_file_order(said.probabilities, order), index, tolerance)
    return [
        f"threshold {t} is the probability of a document: moved to {new}, into the gap beside it"
        for t, new in zip(before, model["thresholds"], strict=True)
        if t != new
    ]


def _became(model: Model, fitted: Fitted, order: Sequence[int], n_of: Mapping[int, int]) -> tuple[Became, ...]:
    """Return what became of the classes, components or bands."""
    labels = _bands(model, fitted) if fitted.labels is None else [label_text(fitted.labels[i]) for i in order]
    return tuple(
        Became(label, cluster.id, cluster.name, n_of.get(cluster.id, 0))
        for label, cluster in zip(labels, model.clusters, strict=True)
    )


def _bands(model: Model, fitted: Fitted) -> list[str]:
    """Return bands as their author cuts them. Of trees that say a logit, with the raw scores that the file has."""
    of_file = model.definition["model"]["thresholds"]
    if fitted.cuts is None:
        return _ranges("p", of_file, fitted.rule)
    as_meant = _ranges("p" if fitted.has_probabilities else "prediction", *fitted.cuts)
    if fitted.model["scale"] != "logit":
        return as_meant
    return [f"{p} ({raw})" for p, raw in zip(as_meant, _ranges("raw", of_file, fitted.rule), strict=True)]


def _ranges(what: str, thresholds: Sequence[float], rule: str) -> list[str]:
    """Return the ranges between thresholds: p < 0.3, 0.3 ≤ p < 0.7, 0.7 ≤ p."""
    inside = [f"{t:.4g}" for t in thresholds]
    below, above = ("≤", "<") if rule == ">" else ("<", "≤")
    edges = [f"{what} {below} {t}" for t in inside]
    return [f"{t} {above} {edge}" if t else edge for t, edge in zip(["", *inside], [*edges, what], strict=True)]


def _parse(definition: dict[str, Any], problems: list[str], refuses_missing: str = "") -> Model | None:
    """Return the model of a file. Problems of what isn't in it yet only echo others, so they are left out.

    Args:
        refuses_missing: an estimator of scikit-learn that takes no missing values; "": it isn't known to be one.
    """
    try:
        return parse(definition)
    except ModelFileError as error:
        for problem in error.problems:
            top = re.split(r"[.\[]", problem.path)[0]
            if top in definition or not top:
                place = re.match(r"predictors\[(\d+)\]", problem.path)
                name = definition["predictors"][int(place[1])]["name"] if place else ""
                if refuses_missing and problem.expected.startswith(LACKS_MISSING):
                    are_trees = definition["model"]["type"] == "trees"
                    problems.append(
                        f"{name}, {problem.path}: has no `missing`, and {refuses_missing} takes no missing values"
                        f"{' (RandomForest and HistGradientBoosting do)' if are_trees else ''}. Use: `missing` in its "
                        "predictor, what stands there in training; or a SimpleImputer in front of it"
                    )
                else:
                    problems.append(f"{name}, {problem}" if place else str(problem))
        return None


def _times(at: Times | None, n: int, moving: Sequence[str], problems: list[str]) -> list[int]:
    if at is None and not moving:
        return [0] * n  # nothing depends on it
    if at is None:
        problems.append(f"at: {', '.join(moving)} depend on time. Use: at=…, the time of scoring, ISO 8601 or ms")
        return [0] * n
    return read_times(at, n, problems)


def _chosen(clusters: Sequence[int]) -> list[int]:
    """Return the examples that travel in the file: the first ones of each cluster, in turn."""
    seen: Counter[int] = Counter()
    ranks = []
    for i, cluster in enumerate(clusters):
        ranks.append((seen[cluster], i))
        seen[cluster] += 1
    return sorted(i for _, i in sorted(ranks)[:MAX_EXAMPLES])
