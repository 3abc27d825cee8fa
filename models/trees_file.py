"""Trees in a model file: parsing and checking (format: docs/model-file.md, "Trees").

Law: nobody sees a forest that isn't one. Each tree is proven to be a tree, its columns to be inputs and its numbers to
be finite, in time proportional to its nodes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from memberstream.models.forest import LEAF, Forest, NotATree, Sums, Tree, shape
from memberstream.models.problems import Node
from memberstream.models.scorer import Scale, ThresholdRule, Trees

MAX_TREES = 10_000
MAX_NODES = 500_000  # of all trees; a file of 8 MiB has room for some 300,000
MAX_NUMBERS = 2_000_000  # nodes × raw scores, and of each input codes × sets: memory
MAX_CODES = 10_000  # a code is below
_MOST_SINGLE = 1e34  # of a leaf: 10,001 of them are far from overflowing in single precision
_MOST_COVER = 1e15
_LAST_BITS = 1e-12  # relative: what the mathematics of two machines may differ by
_PRECISIONS = ("double", "single")
_OPTIONAL = {
    "inputs", "thresholds", "threshold_rule", "ties", "base", "divisor", "missing", "input_precision", "sum_precision",
}  # fmt: skip


def parse_trees(node: Node, n_inputs: int | None, n_clusters: int | None, empty: Sequence[float]) -> Trees | None:
    """Return the scorer; None after noting a problem, or if inputs or clusters aren't known.

    Args:
        empty: what each input is without a usable value, as this machine computes it; empty if inputs aren't known.
    """
    before = len(node.problems)
    node.object({"type", "scale", "trees"}, _OPTIONAL)
    scale = _one_of(node.get("scale"), get_args(Scale))
    rule = _one_of(node.get("threshold_rule"), get_args(ThresholdRule), ">")
    is_single_sum = _one_of(node.get("sum_precision"), _PRECISIONS, "double") == "single"
    is_single_input = _one_of(node.get("input_precision"), _PRECISIONS, "double") == "single"
    thresholds = _thresholds(node.get("thresholds"), n_clusters)
    n_outputs = n_clusters if thresholds is None else 1
    ties = _ties(node, n_clusters)
    base = _base(node.get("base"), n_outputs, is_single_sum)
    divisor_node = node.get("divisor")
    divisor = divisor_node.integer(1, MAX_TREES, "a number of trees") if divisor_node else 1
    missing = _missing(node.get("missing"), n_inputs, empty)
    if n_inputs is None or n_outputs is None:
        return None
    trees = _trees(node.get("trees"), n_inputs, n_outputs, is_single_sum)
    if len(node.problems) > before or scale is None or divisor is None or missing is None or not trees:
        return None
    forest = Forest(trees, missing, Sums(base, divisor, is_single_sum), is_single=is_single_input)
    cuts = None if thresholds is None else np.array(thresholds)
    return Trees(forest, scale, cuts, rule, np.array(ties, dtype=np.intp))


def _one_of(node: Node | None, choices: Sequence[str], otherwise: Any = None) -> Any:
    """Return a text that is one of some; `otherwise` if it isn't there. None after noting a problem."""
    if node is None:
        return otherwise
    if node.value in choices:
        return node.value
    node.problem(f"one of {', '.join(choices)}")
    return None


def _thresholds(node: Node | None, n_clusters: int | None) -> list[float] | None:
    """Return the thresholds; None: there are none, so each cluster has a raw score."""
    if node is None:
        return None
    if node.value == [] and n_clusters == 1:
        return []
    n = None if n_clusters is None else n_clusters - 1
    thresholds = node.numbers(n, "one raw score between each two clusters") or []
    for index in range(1, len(thresholds)):
        if not thresholds[index - 1] < thresholds[index]:
            node.child(index).problem(f"a number above {thresholds[index - 1]}")
    return thresholds


def _ties(node: Node, n_clusters: int | None) -> list[int]:
    places = list(range(n_clusters or 0))
    ties_node = node.get("ties")
    if ties_node is None or n_clusters is None:
        return places
    given: Any = ties_node.value
    if "thresholds" in node.value:
        ties_node.problem("nothing: with thresholds there are no ties", "a list")
    elif not (isinstance(given, list) and all(type(one) is int for one in given) and sorted(given) == places):
        ties_node.problem(f"each of the numbers 0 to {n_clusters - 1} once")
    else:
        return given
    return places


def _base(node: Node | None, n_outputs: int | None, is_single: bool) -> list[float]:
    if node is None:
        return [0.0] * (n_outputs or 0)
    base = node.numbers(n_outputs, "one number for each raw score") or []
    _check_single(node, base, is_single)
    return base


def _check_single(node: Node, numbers: Sequence[float], is_single: bool) -> None:
    for index, number in enumerate(numbers if is_single else ()):
        if abs(number) > _MOST_SINGLE:
            node.child(index).problem("a number from -1e34 to 1e34, for sums in single precision")


def _missing(node: Node | None, n_inputs: int | None, empty: Sequence[float]) -> list[float | None] | None:
    """Return for each input the number that means missing, or None.

    It is compared by its bits. One that was computed where the file was written, by a logarithm with another last bit,
    is taken as this machine computes it.
    """
    if node is None:
        return [None] * (n_inputs or 0)
    before = len(node.problems)
    numbers = [
        None if element.value is None else element.number("a number or null")
        for element in node.array("one number or null for each input", n_inputs)
    ]
    if len(node.problems) > before:
        return None
    return [
        here if number is not None and here is not None and math.isclose(number, here, rel_tol=_LAST_BITS) else number
        for number, here in zip(numbers, empty or numbers, strict=True)
    ]


def _trees(node: Node | None, n_inputs: int, n_outputs: int, is_single: bool) -> list[Tree]:
    trees: list[Tree] = []
    n_nodes = 0
    for element in node.array("a list of trees", most=MAX_TREES) if node else ():
        columns = element.value.get("columns") if isinstance(element.value, dict) else None
        n_nodes += len(columns) if isinstance(columns, list) else 0
        if n_nodes > MAX_NODES or n_nodes * n_outputs > MAX_NUMBERS:
            most = min(MAX_NODES, MAX_NUMBERS // n_outputs)
            element.problem(f"at most {most} nodes in all trees", "more: the rest wasn't read")
            break
        tree = _tree(element, n_inputs, n_outputs, is_single)
        if tree is not None:
            trees.append(tree)
    if node is None:
        return []
    if len({isinstance(tree.values[0], list) for tree in trees}) > 1:
        node.problem("leaves of all trees alike: numbers, or lists of numbers", "both")
    _check_codes(node, trees)
    return trees


def _tree(node: Node, n_inputs: int, n_outputs: int, is_single: bool) -> Tree | None:
    """Return one tree; None after noting a problem."""
    if not node.object({"columns", "thresholds", "values"}, {"missing_left", "covers", "output"}):
        return None
    before = len(node.problems)
    columns = _columns(node.get("columns"), n_inputs)
    if columns is None:
        return None
    try:
        right, depths = shape(columns)
    except NotATree as error:
        node.child("columns").problem(str(error), f"{len(columns)} nodes")
        return None
    n_asking = sum(column != LEAF for column in columns)
    n_leaves = len(columns) - n_asking
    thresholds = _questions(node.get("thresholds"), n_asking)
    values = _values(node.get("values"), n_leaves, n_outputs, is_single)
    covers = _covers(node.get("covers"), n_leaves)
    missing_left = _flags(node.get("missing_left"), n_asking)
    output = _output(node, n_outputs, has_rows=values is not None and isinstance(values[0], list))
    if len(node.problems) > before or thresholds is None or values is None or output is None:
        return None
    return Tree(columns, right, depths, thresholds, values, missing_left, covers, output)


def _output(node: Node, n_outputs: int, *, has_rows: bool) -> int | None:
    output = node.get("output")
    if has_rows:
        if output is not None:
            output.problem("nothing: each leaf has a number for each raw score")
        return 0
    if output is None and n_outputs > 1:
        node.problem("an output, the place of the raw score to which the tree adds", "none")
        return None
    return output.integer(0, n_outputs - 1, "the place of a raw score") if output else 0


def _columns(node: Node | None, n_inputs: int) -> list[int] | None:
    if node is None:
        return None
    before = len(node.problems)
    given: Any = node.value
    known = range(LEAF, n_inputs)
    if type(given) is list and given and all(type(one) is int and one in known for one in given):
        return given
    for element in node.array("a list of nodes"):
        element.integer(LEAF, n_inputs - 1, "the place of an input, or -1 for a leaf,")
    return None if len(node.problems) > before else given


def _numbers(node: Node, length: int, expected: str) -> list[float] | None:
    if not _is_as_long(node, length, expected):
        return None
    return node.numbers(length, expected) if length else []


def _questions(node: Node | None, n_asking: int) -> list[Any] | None:
    """Return of each node that asks its threshold, or the codes that go left."""
    expected = "one number or list of codes for each node that asks"
    if node is None or not _is_as_long(node, n_asking, expected):
        return None
    if list not in set(map(type, node.value)):
        return node.numbers(n_asking, expected) if n_asking else []
    before = len(node.problems)
    found = [_codes(one) if isinstance(one.value, list) else one.number() for one in node.array(expected)]
    return found if len(node.problems) == before else None


def _codes(node: Node) -> tuple[int, ...]:
    codes: Any = node.value
    are_codes = all(type(one) is int and 0 <= one < MAX_CODES for one in codes)
    if not (are_codes and all(map(operator.lt, codes, codes[1:]))):
        node.problem(f"whole numbers from 0 to {MAX_CODES - 1} that ascend")
        return ()
    return tuple(codes)


def _check_codes(node: Node, trees: Sequence[Tree]) -> None:
    """Note if the table of all answers has no room, and inputs that are asked for codes and for numbers."""
    sets: dict[int, set[tuple[int, ...]]] = {}
    numbers: set[int] = set()
    for tree in trees:
        for column, one in zip((c for c in tree.columns if c != LEAF), tree.thresholds, strict=True):
            if isinstance(one, tuple):
                sets.setdefault(column, set()).add(one)
            else:
                numbers.add(column)
    n = sum(2 * len(some) * (len(set().union(*some)) + 2) for some in sets.values())
    if n > MAX_NUMBERS:
        node.problem(f"at most {MAX_NUMBERS} codes × sets", str(n))
    for column in sorted(sets.keys() & numbers):
        node.problem("inputs that are asked for codes alone, or for numbers alone", f"both of input {column}")


def _is_as_long(node: Node, length: int, expected: str) -> bool:
    """Return whether it is a list of this length. One of another length isn't looked at further: it may be millions."""
    is_so = isinstance(node.value, list) and len(node.value) == length
    if not is_so:
        node.problem(f"{expected}, {length} in all", str(len(node.value)) if isinstance(node.value, list) else None)
    return is_so


def _values(node: Node | None, n_leaves: int, n_outputs: int, is_single: bool) -> list[Any] | None:
    if node is None or not _is_as_long(node, n_leaves, "one value for each leaf"):
        return None
    if isinstance(node.value[0], list):
        before = len(node.problems)
        leaves = list(node.array())
        rows = [leaf.numbers(n_outputs, "one number for each raw score") for leaf in leaves]
        for leaf, row in zip(leaves, rows, strict=True):
            _check_single(leaf, row or (), is_single)
        return rows if len(node.problems) == before else None
    values = node.numbers(n_leaves, "one number for each leaf")
    _check_single(node, values or (), is_single)
    return values


def _covers(node: Node | None, n_leaves: int) -> Sequence[float]:
    if node is None:
        return ()
    covers = _numbers(node, n_leaves, "one number for each leaf") or []
    for index, cover in enumerate(covers):
        if not 0 <= cover <= _MOST_COVER:
            node.child(index).problem("a number from 0 to 1e15")
    return covers


def _flags(node: Node | None, length: int) -> Sequence[bool]:
    if node is None:
        return ()
    given: Any = node.value
    if not (isinstance(given, list) and len(given) == length and all(type(f) is int and f in (0, 1) for f in given)):
        node.problem(f"a list of 0 and 1, {length} in all")
        return ()
    return list(map(bool, given))
