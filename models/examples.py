"""Examples: what the trainer saw travels in the model file, and whoever loads the file must reproduce it.

Law: a model is refused if this code doesn't reproduce its examples: predictors and probability within 1e-12, the
cluster exactly. So a conversion that isn't the trained model never reaches a worker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from memberstream.models.model import Example, Model
from memberstream.models.plan import Plan
from memberstream.models.problems import MAX_PROBLEMS, Node, Problem
from memberstream.models.timestamps import parse_ms

TOLERANCE = 1e-12
#: Of one file. A few dozen prove a conversion; each is evaluated by every worker that loads the model.
MAX_EXAMPLES = 10_000
_TOGETHER = 100  # evaluated at a time: memory


def parse_examples(
    node: Node, columns: set[str] | None, cluster_ids: Sequence[int] | None, most: int | None = MAX_EXAMPLES
) -> tuple[Example, ...]:
    """Return the examples that could be read. `columns` and `cluster_ids` are None if they aren't known for sure.

    `most`: None if the examples are the author's own documents, which don't travel in a file.
    """
    examples = []
    elements = node.array("a list of examples", most=most) if node.value != [] else ()
    for element in elements:
        if not element.object({"document", "at", "cluster"}, {"predictors", "probability", "raw"}):
            continue
        document, at, cluster = element.get("document"), element.get("at"), element.get("cluster")
        if document and not isinstance(document.value, dict):
            document.problem("a member document, an object")
        at_ms = parse_ms(at.value) if at else None
        if at and at_ms is None:
            at.problem("a time: ISO 8601 or milliseconds since 1970")
        if cluster and (type(cluster.value) is not int or cluster.value not in (cluster_ids or [cluster.value])):
            cluster.problem("the id of a cluster of this file")
        predictors = _predictors(element.get("predictors"), columns)
        probability = _one_or_many(element.get("probability"))
        raw = _one_or_many(element.get("raw"))
        if document and cluster and at_ms is not None:
            examples.append(Example(document.value, at_ms, cluster.value, predictors, probability, raw))
    return tuple(examples)


def _predictors(node: Node | None, columns: set[str] | None) -> dict[str, float] | None:
    if node is None or not node.object(set(), set(node.value) if isinstance(node.value, dict) else set()):
        return None
    for name in node.value:
        if columns is not None and name not in columns:
            node.child(name).problem("a column of the predictors", "an unknown name")
    return {name: value for name in node.value if (value := node.child(name).number()) is not None}


def _one_or_many(node: Node | None) -> float | tuple[float, ...] | None:
    if node is None:
        return None
    if isinstance(node.value, list):
        numbers = node.numbers()
        return None if numbers is None else tuple(numbers)
    return node.number()


def verify(model: Model) -> list[Problem]:
    """Return how the examples differ from what this code computes for them; empty if all are reproduced."""
    plan, problems = Plan([model]), list[Problem]()
    for start in range(0, len(model.examples), _TOGETHER):
        _verify(problems, plan, model, start)
        if len(problems) >= MAX_PROBLEMS:
            break
    return problems


def _verify(problems: list[Problem], plan: Plan, model: Model, start: int) -> None:
    examples = model.examples[start : start + _TOGETHER]
    documents = [example.document for example in examples]
    x, _ = plan.evaluate_many(documents, [example.at_ms for example in examples])
    scores = model.scorer.score_many(x.take(plan.inputs(model), axis=1))
    positions = plan.positions(model)
    for i, example in enumerate(examples):
        path = f"examples[{start + i}]"
        for name, expected in (example.predictors or {}).items():
            _compare(problems, f"{path}.predictors.{name}", float(x[i, positions[name]]), expected)
        if example.probability is not None:
            computed: Any = None if scores.probability is None else scores.probability[i].tolist()
            _compare(problems, f"{path}.probability", computed, example.probability)
        if example.raw is not None:
            computed = None if scores.raw is None else scores.raw[i].tolist()
            _compare(problems, f"{path}.raw", computed, example.raw, 0.0)
        cluster = model.clusters[int(scores.index[i])].id
        if cluster != example.cluster:
            problems.append(Problem(f"{path}.cluster", f"cluster {cluster}, as computed here", str(example.cluster)))


def _compare(problems: list[Problem], path: str, computed: Any, stated: Any, tolerance: float = TOLERANCE) -> None:
    ours = computed if isinstance(computed, list) else [computed]
    theirs = list(stated) if isinstance(stated, tuple) else [stated]
    same = len(ours) == len(theirs) and all(
        a is not None and math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
        for a, b in zip(ours, theirs, strict=True)
    )
    if not same:
        shown = "nothing: this type of model has none" if computed is None else f"{computed}, as computed here"
        problems.append(Problem(path, shown, str(stated if not isinstance(stated, tuple) else theirs)))
