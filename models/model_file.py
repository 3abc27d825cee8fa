"""Model files: JSON (or TOML) ↔ `Model`, with every problem reported at once (format: docs/model-file.md).

Laws: `parse` returns a model whose examples reproduce, or raises with the whole list of problems. Nothing in a file is
ever executed.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

import orjson

from memberstream.models.definition import is_name
from memberstream.models.document import MAX_DEPTH, depth
from memberstream.models.examples import parse_examples, verify
from memberstream.models.model import Cluster, Example, Model
from memberstream.models.predictor_file import parse_predictors
from memberstream.models.problems import ModelFileError, Node, Problem
from memberstream.models.scorer_file import parse_scorer

FORMAT = 1
MAX_CLUSTER_ID = 2**31 - 1
MAX_VERSION = 2**31 - 1
MAX_BYTES = 8 << 20  # a record of the models' log; a file of 4,096 columns and ten classes has about 1 MB
MAX_TOML_BYTES = 1 << 20  # for writing by hand; its reader takes ten times as long as JSON's
MAX_CLUSTERS = 1_000
MAX_NAME_CHARACTERS, MAX_DESCRIPTION_CHARACTERS = 1_000, 100_000
_TOKEN = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\S""")
_REQUIRED = {"format", "name", "version", "predictors", "model", "clusters"}
_OPTIONAL = {"description", "examples", "$schema"}


def load(data: bytes, *, is_toml: bool = False) -> Model:
    """Return the model of a file's bytes.

    Raises:
        ModelFileError: not JSON or TOML, or with problems; lists all of them.
    """
    most = MAX_TOML_BYTES if is_toml else MAX_BYTES
    if len(data) > most:
        raise ModelFileError([Problem("", f"at most {most} bytes", str(len(data)))])
    try:
        # TOML goes through JSON: dates become texts, and there is nothing in a definition that JSON can't carry.
        definition = orjson.loads(orjson.dumps(_read_toml(data.decode())) if is_toml else data)
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelFileError([Problem("", "TOML" if is_toml else "JSON", str(error))]) from None
    return parse(definition)


def _read_toml(text: str) -> Any:
    """Return what a TOML text says. Raises ValueError.

    A dotted key of n parts takes tomllib n² steps: minutes for one of 100 KB. So long chains are looked for first.
    """
    parts, before = 0, ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        parts = parts + 1 if token == "." or before == "." else 0
        if parts > 2 * MAX_DEPTH:
            raise ValueError(f"expected keys of at most {MAX_DEPTH} parts")
        before = token
    return tomllib.loads(text)


def parse(definition: Any) -> Model:
    """Return the model of a decoded file.

    Raises:
        ModelFileError: with all problems of the file. Examples are looked at once the rest is right.
    """
    problems: list[Problem] = []
    root = Node(definition, "", problems)
    if depth(definition) > MAX_DEPTH:
        root.problem(f"at most {MAX_DEPTH} levels of nesting", str(depth(definition)))
        raise ModelFileError(problems)
    if not root.object(_REQUIRED, _OPTIONAL):
        raise ModelFileError(problems)
    _format(root.get("format"))
    name = parse_name(root.get("name"))
    version = _integer(root.get("version"), 1, MAX_VERSION, "a version")
    description_node = root.get("description")
    description = description_node.text(most=MAX_DESCRIPTION_CHARACTERS) if description_node else ""
    predictors_node = root.get("predictors")
    before = len(problems)
    predictors = parse_predictors(predictors_node) if predictors_node else ()
    columns = [column for predictor in predictors for column in predictor.columns]
    are_complete = len(problems) == before  # otherwise a column that seems to be missing is only another problem's echo
    before = len(problems)
    clusters_node = root.get("clusters")
    clusters = parse_clusters(clusters_node, is_bounded=True) if clusters_node else ()
    cluster_ids = [c.id for c in clusters] if clusters_node and len(problems) == before else None
    model_node = root.get("model")
    n_clusters = len(clusters) or None
    inputs, scorer = parse_scorer(model_node, predictors, n_clusters, are_complete) if model_node else ((), None)
    if predictors_node and are_complete and scorer is not None:
        _check_unused(predictors_node, inputs, definition)
    examples_node = root.get("examples")
    examples: tuple[Example, ...] = ()
    if examples_node is not None:
        examples = parse_examples(examples_node, set(columns) if are_complete else None, cluster_ids)
    if problems or name is None or version is None or scorer is None:
        raise ModelFileError(problems)
    model = Model(name, version, description or "", predictors, inputs, scorer, clusters, examples, definition)
    if problems := verify(model):
        raise ModelFileError(problems)
    return model


def _format(node: Node | None) -> None:
    if node and (type(node.value) is not int or node.value != FORMAT):
        node.problem(f"the format number {FORMAT}")


def parse_name(node: Node | None) -> str | None:
    """Return the name of a model, or None after noting what is wrong with it."""
    name = node.text() if node else None
    if node and name is not None and not is_name(name):
        node.problem("a name of at most 64 small letters, digits and _ that starts with a letter")
    return name


def _integer(node: Node | None, low: int, high: int, expected: str) -> int | None:
    return node.integer(low, high, expected) if node else None


def parse_clusters(node: Node, *, is_bounded: bool = False) -> tuple[Cluster, ...]:
    """Return as many clusters as the list has elements. Problems are noted.

    Args:
        is_bounded: whether to bound their number and names. For a list the command that uploaded it has done so.
    """
    clusters: list[Cluster] = []
    names: set[str] = set()
    for element in node.array("a list of clusters", most=MAX_CLUSTERS if is_bounded else None):
        element.object({"id", "name"})
        cluster_id = _integer(element.get("id"), 0, MAX_CLUSTER_ID, "a cluster id")
        name_node = element.get("name")
        name = name_node.text(most=MAX_NAME_CHARACTERS if is_bounded else None) if name_node else None
        if clusters and cluster_id is not None and cluster_id <= clusters[-1].id:
            element.child("id").problem("ids that ascend")
        if name_node and name is not None and (not name or name in names):
            name_node.problem("a name, not empty, that no other cluster has")
        names.add(name or "")
        clusters.append(Cluster(-1 if cluster_id is None else cluster_id, name or ""))
    return tuple(clusters)


def _check_unused(predictors: Node, inputs: tuple[str, ...], definition: dict[str, Any]) -> None:
    """Note predictors that reach neither the scorer nor another predictor: nearly always a forgotten input."""
    elements = definition["predictors"]
    used = {name for element in elements for kind in ("ratio", "product") for name in element.get(kind, ())}
    used |= {column.partition("=")[0] for column in inputs}  # no name has a `=`, a category may
    for index, element in enumerate(elements):
        name = element["name"]
        if name not in used:
            predictors.child(index).problem("a predictor that inputs, a ratio or a product use", f"unused {name!r}")
