"""Trees: forests and boosted trees, as plain arrays, and the walk that defines what they say.

Laws:
- A row's raw score has the trainer's bits. Leaf values are added one after the other, in the order of the trees, in the
  trainer's precision, from the base on; a mean is divided once, at the end. (NumPy's own sums add in pairs.)
- A value goes left if it is at most the threshold, or if it is one of the codes; otherwise right. A value that is an
  input's number for missing goes where the node sends it: beside a threshold it counts as -∞, or as +∞.
- A row depends on itself alone, bit for bit, as with all scorers. Rows that lie in the same cell of the grid of all
  thresholds have the same leaves, so the same score.
- Rounding is monotone, so the sums of the lowest and of the highest leaves that can be reached enclose the raw score.

Source of the layout: a tree is its nodes in preorder (Knuth, The Art of Computer Programming, 2.3.1). A left child
stands right behind its parent. So such a list can't have a cycle; it can only end too early, or too late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
LEAF = -1
MAX_DEPTH = 256  # each step down is work for all rows; trees that are fully grown on a million rows have 50 or so
_AT_ONCE = 1 << 16  # numbers of leaves, one for each row and tree or several: they stay in the processor's cache


class NotATree(ValueError):
    """A list of nodes that is no tree; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree, its nodes in preorder.

    Attributes:
        columns: (n_nodes,) the input that a node asks, or LEAF.
        right: (n_nodes,) their right children; of a leaf itself. depths: (n_nodes,). Both as `shape` finds them.
        thresholds: of the nodes that ask, in their order. Or the codes that go left, ascending.
        values: of the leaves, in their order: a number, or one for each raw score.
        missing_left: of the nodes that ask, whether a missing value goes left.
        covers: of the leaves, how much of the training data each got.
        output: the raw score that the numbers belong to; of leaves with one for each it says nothing.
    """

    columns: Sequence[int]
    right: Sequence[int]
    depths: Sequence[int]
    thresholds: Sequence[float | tuple[int, ...]]
    values: Sequence[Any]
    missing_left: Sequence[bool] = ()
    covers: Sequence[float] = ()
    output: int = 0


def shape(columns: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return for each node its right child (of a leaf itself) and its depth. Takes time in proportion to the nodes.

    Raises:
        NotATree: the nodes end too early or too late, or lie too deep.
    """
    right, depths = list(range(len(columns))), []
    waiting: list[int] = []  # nodes whose right child hasn't come yet
    depth, is_open = 0, True
    for i, column in enumerate(columns):
        if not is_open:
            raise NotATree(f"the end of the tree behind node {i - 1}, a leaf: no node waits for a child")
        if depth > MAX_DEPTH:
            raise NotATree(f"a depth of at most {MAX_DEPTH}")
        depths.append(depth)
        if column != LEAF:
            waiting.append(i)
            depth += 1
        elif waiting:
            parent = waiting.pop()
            right[parent] = i + 1
            depth = depths[parent] + 1
        else:
            is_open = False
    if is_open:
        raise NotATree("more nodes: one still waits for a child")
    return right, depths


@dataclass(frozen=True, slots=True)
class Sums:
    """How leaf values become raw scores.

    Attributes:
        base: what each sum begins with; as many as there are raw scores.
        divisor: what the sums are divided by at the end; 1: nothing is divided.
        is_single: whether all of this is in single precision.
    """

    base: Sequence[float]
    divisor: float = 1.0
    is_single: bool = False


@dataclass(frozen=True, slots=True)
class _Sets:
    """All sets of codes that are asked of an input.

    Attributes:
        codes: (n_codes + 1,) that stand in a set, ascending; +∞ behind them.
        goes_right: (n_codes + 2, n_sets) 0 or 1, of each code, of any other value, of a missing one.
        missing: the number that means missing, or None.
    """

    column: int
    codes: Floats
    goes_right: Floats
    missing: float | None

    def rows(self, values: Floats) -> Indices:
        """Return the row of `goes_right` for each value, (n,)."""
        row, other = self.codes.searchsorted(values), len(self.codes) - 1
        row = np.where(self.codes[row] == values, row, other)
        return row if self.missing is None else np.where(values == self.missing, other + 1, row)

    def possible(self, low: float, high: float) -> Indices:
        """Return the rows for all values from `low` to `high`."""
        if low == high:
            return self.rows(np.array([low]))
        first, other = int(self.codes.searchsorted(low)), len(self.codes) - 1
        last = int(self.codes.searchsorted(high, side="right"))
        may_be_missing = self.missing is not None and low <= self.missing <= high
        return np.array([*range(first, last), other, *([other + 1] if may_be_missing else [])])


class Forest:
    """Trees over the same inputs, packed: their nodes stand behind one another.

    A column that can be missing has two places in a spread row: in one a missing value is +∞, in the other -∞. Each
    node reads the place that sends it the right way. So walking asks nothing about missing values. Each different set
    of codes has a place, too: 0 if the value goes left, 1 if right. So walking asks nothing about sets either.

    Args:
        missing: for each input, the number that means missing, or None.
        is_single: whether inputs are rounded to single precision before they are compared.

    Attributes:
        n_inputs, n_outputs: of x, and of raw scores. base: (n_outputs,) and divisor: as in Sums.
        column: (n_nodes,) the input that a node asks, or LEAF. depth: (n_nodes,).
        place: (n_nodes,) of a spread row, that a node reads. split: (n_nodes,) thresholds. Both say nothing of a leaf.
        child: (2 n_nodes,) left and right child; of a leaf itself.
        value: (n_nodes,) or (n_nodes, n_outputs) of leaves. cover: (n_nodes,) of leaves.
        cuts: of each place of a spread row all thresholds there, ascending.
        roots: (n_trees,). output: (n_trees,) the raw score that each tree adds to, if its leaves have one number.
    """

    def __init__(
        self,
        trees: Sequence[Tree],
        missing: Sequence[float | None],
        sums: Sums,
        *,
        is_single: bool = False,
    ) -> None:
        self.n_inputs, self.n_outputs = len(missing), len(sums.base)
        self.base, self.divisor = np.array(sums.base), sums.divisor
        self._sums, self._is_single = sums, is_single
        sizes = [len(tree.columns) for tree in trees]
        self.roots = np.cumsum([0, *sizes[:-1]], dtype=np.intp)
        self.output = np.array([tree.output for tree in trees], dtype=np.intp)
        self.depth = _chained([tree.depths for tree in trees], np.intp)
        self.column = _chained([tree.columns for tree in trees], np.intp)
        self.is_leaf = self.column == LEAF
        nodes = np.arange(len(self.column))
        right = _chained([tree.right for tree in trees], np.intp) + self.roots.repeat(sizes)
        self.child = np.stack([np.where(self.is_leaf, nodes, nodes + 1), right], axis=1).ravel()
        asked = [one for tree in trees for one in tree.thresholds]
        self.split = np.zeros(len(nodes))
        self.split[~self.is_leaf] = [0.5 if isinstance(one, tuple) else one for one in asked]
        values = np.concatenate([np.asarray(tree.values, dtype=np.float64) for tree in trees])
        self.value = np.zeros((len(nodes), *values.shape[1:]))
        self.value[self.is_leaf] = values
        self.cover = np.zeros(len(nodes))
        self.cover[self.is_leaf] = _chained([tree.covers or [1.0] * len(tree.values) for tree in trees], np.float64)
        goes_left = np.zeros(len(nodes), dtype=bool)
        given = [tree.missing_left or [False] * len(tree.thresholds) for tree in trees]
        goes_left[~self.is_leaf] = _chained(given, np.bool_)
        self._missing = [(i, number) for i, number in enumerate(missing) if number is not None]
        second = np.arange(self.n_inputs)  # of each input the place where a missing value is -∞
        for n, (i, _) in enumerate(self._missing):
            second[i] = self.n_inputs + n
        self.place = np.where(goes_left, second[self.column], self.column)
        self.place[self.is_leaf] = 0
        self._sets, self.n_places = self._place_sets(asked)
        deepest = np.maximum.reduceat(self.depth, self.roots)
        self._deepest_first = np.argsort(-deepest, kind="stable")
        self._back = np.argsort(self._deepest_first, kind="stable")
        # How many trees go on at each step, the deepest of them first.
        self._going = [int((deepest > step).sum()) for step in range(int(deepest.max()))]
        n_numbers = len(trees) * (self.n_outputs if self.value.ndim == 2 else 1)
        self._at_once = max(1, _AT_ONCE // max(n_numbers, self.n_places))
        self.cuts = self._all_cuts()
        # Where there are many thresholds most rows cross one: then the other places needn't be looked at.
        self._most_cut_first = sorted(range(len(self.cuts)), key=lambda place: -len(self.cuts[place]))

    def _place_sets(self, asked: Sequence[float | tuple[int, ...]]) -> tuple[list[_Sets], int]:
        """Give each different set a place. Return the sets of each input that has any, and the number of places."""
        numbers, n_places = dict(self._missing), self.n_inputs + len(self._missing)
        asking = np.flatnonzero(~self.is_leaf)
        nodes: dict[int, dict[tuple[tuple[int, ...], bool], list[int]]] = {}  # of each input, of each set
        for node, codes in zip(asking.tolist(), asked, strict=True):
            if isinstance(codes, tuple):
                column = int(self.column[node])
                is_left = bool(self.place[node] >= self.n_inputs)
                nodes.setdefault(column, {}).setdefault((codes, is_left), []).append(node)
        found = []
        for column, of_sets in sorted(nodes.items()):
            known = np.array([*sorted({code for codes, _ in of_sets for code in codes}), np.inf])
            goes_right = np.ones((len(known) + 1, len(of_sets)))  # behind the codes: any other value, a missing one
            for k, ((codes, is_left), those) in enumerate(of_sets.items()):
                goes_right[known.searchsorted(codes), k] = 0.0
                goes_right[-1, k] = 0.0 if is_left else 1.0
                self.place[those] = n_places + k
            found.append(_Sets(column, known, goes_right, numbers.get(column)))
            n_places += len(of_sets)
        return found, n_places

    def spread(self, x: Floats) -> Floats:
        """Return x (n, n_inputs) as the nodes read it, (n, n_places)."""
        spread = self._spread_numbers(x)
        if self._sets:
            spread = np.concatenate(
                [spread, *(sets.goes_right[sets.rows(x[:, sets.column])] for sets in self._sets)], 1
            )
        return spread

    def _spread_numbers(self, x: Floats) -> Floats:
        spread = self._rounded(np.concatenate([x, x[:, [i for i, _ in self._missing]]], axis=1))
        for n, (i, number) in enumerate(self._missing):
            is_missing = x[:, i] == number
            spread[is_missing, i] = np.inf
            spread[is_missing, self.n_inputs + n] = -np.inf
        return spread

    def _rounded(self, x: Floats) -> Floats:
        if not self._is_single:
            return x
        with np.errstate(over="ignore"):  # what lies beyond single precision is infinite there
            return x.astype(np.float32).astype(np.float64)

    def leaves(self, spread: Floats) -> Indices:
        """Return the leaf of each row in each tree, as a node, (n_trees, n)."""
        n, width = spread.shape
        values, begin = spread.ravel(), np.arange(n) * width
        at = self.roots[self._deepest_first].repeat(n).reshape(-1, n)
        for going in self._going:
            node = at[:going]
            is_right = values.take(self.place.take(node) + begin) > self.split.take(node)
            at[:going] = self.child.take(2 * node + is_right)
        return at[self._back]

    def raw_many(self, x: Floats) -> Floats:
        """Return the raw scores of x (n, n_inputs), (n, n_outputs)."""
        size = self._at_once
        parts = [self._raw(self.spread(x[i : i + size])) for i in range(0, len(x), size)]
        return np.concatenate(parts) if parts else np.zeros((0, self.n_outputs))

    def _raw(self, spread: Floats) -> Floats:
        return self._summed(self.value[self.leaves(spread)])

    def _summed(self, values: Floats) -> Floats:
        """Return the raw scores of leaf values (n_trees, n) or (n_trees, n, n_outputs), as (n, n_outputs). They may be
        overwritten."""
        dtype = np.float32 if self._sums.is_single else np.float64
        terms, base = values.astype(dtype, copy=False), np.array(self._sums.base, dtype=dtype)
        if values.ndim == 3:
            sums = _added(base, terms)
        else:
            sums = np.stack([_added(b, terms[self.output == k]) for k, b in enumerate(base)], axis=1)
        if self._sums.divisor != 1:
            sums = sums / dtype(self._sums.divisor)
        raw: Floats = sums.astype(np.float64)
        return raw

    def are_alike(self, before: Floats, after: Floats) -> npt.NDArray[np.bool_]:
        """Return for each row whether it lies in the same cell before and after; both (n, n_inputs), → (n,)."""
        alike: npt.NDArray[np.bool_] = (before == after).all(axis=1)
        moved = np.flatnonzero(~alike)
        if len(moved):
            a, b = self.spread(before[moved]), self.spread(after[moved])
            differ = (a != b).any(axis=0)
            rows = np.arange(len(moved))  # those that cross no threshold so far
            for place in self._most_cut_first:
                if differ[place] and len(rows):
                    cuts = self.cuts[place]
                    rows = rows[cuts.searchsorted(a[rows, place]) == cuts.searchsorted(b[rows, place])]
            alike[moved[rows]] = True
        return alike

    def bounds(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Return bounds of the raw scores while the inputs lie between two; (n_inputs,) → (n_outputs,) each."""
        least, most = self.spread(low[None, :])[0], self.spread(high[None, :])[0]
        for n, (i, number) in enumerate(self._missing):
            if low[i] <= number <= high[i] and low[i] < high[i]:  # missing, or a number
                least[i], most[i] = self._rounded(low[i : i + 1])[0], np.inf
                least[self.n_inputs + n], most[self.n_inputs + n] = -np.inf, self._rounded(high[i : i + 1])[0]
        start = self.n_inputs + len(self._missing)
        for sets in self._sets:
            stop = start + sets.goes_right.shape[1]
            possible = sets.goes_right[sets.possible(float(low[sets.column]), float(high[sets.column]))]
            least[start:stop], most[start:stop] = possible.min(axis=0), possible.max(axis=0)
            start = stop
        is_reached = np.zeros(len(self.place), dtype=bool)
        is_reached[self.roots] = True
        for level in self.levels:
            node = level[is_reached[level]]
            place, split = self.place[node], self.split[node]
            is_reached[self.child[2 * node]] = least[place] <= split
            is_reached[self.child[2 * node + 1]] = most[place] > split
        leaves = np.flatnonzero(self.is_leaf)
        starts, value = np.searchsorted(leaves, self.roots), self.value[leaves]
        is_open = is_reached[leaves].reshape(-1, *[1] * (value.ndim - 1))
        lowest = np.minimum.reduceat(np.where(is_open, value, np.inf), starts, axis=0)
        highest = np.maximum.reduceat(np.where(is_open, value, -np.inf), starts, axis=0)
        return self._summed(lowest[:, None])[0], self._summed(highest[:, None])[0]

    @cached_property
    def levels(self) -> list[Indices]:
        """The nodes that ask, by their depth."""
        asking = np.flatnonzero(~self.is_leaf)
        depth = self.depth[asking]
        return [asking[depth == d] for d in range(int(depth.max(initial=-1)) + 1)]

    @cached_property
    def parent(self) -> Indices:
        """(n_nodes,) the parent of each node; of a root itself."""
        parent = np.arange(len(self.column))
        asking = np.flatnonzero(~self.is_leaf)
        parent[self.child[2 * asking]] = parent[self.child[2 * asking + 1]] = asking
        return parent

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self.column)

    def leaf_values(self) -> Floats:
        """Return what each leaf adds to each raw score, (n_leaves, n_outputs), in the order of the nodes."""
        values: Floats = self.value[self.is_leaf]
        if values.ndim == 2:
            return values
        tree = np.searchsorted(self.roots, np.flatnonzero(self.is_leaf), side="right") - 1
        spread: Floats = np.zeros((len(values), self.n_outputs))
        spread[np.arange(len(values)), self.output[tree]] = values
        return spread

    def _all_cuts(self) -> list[Floats]:
        """Return all thresholds at each place of a spread row, ascending."""
        asking = ~self.is_leaf
        place, split = self.place[asking], self.split[asking]
        order = np.lexsort((split, place))
        ends = place[order].searchsorted(np.arange(1, self.n_places))
        return np.split(split[order], ends)


def _chained(parts: Sequence[Sequence[Any]], dtype: Any) -> npt.NDArray[Any]:
    return np.array([one for part in parts for one in part], dtype=dtype)


def _added(base: Any, terms: Any) -> Any:
    """Return base + terms[0] + terms[1] …, in that order. Overwrites the terms: there may be millions of them."""
    if not len(terms):
        return np.broadcast_to(base, terms.shape[1:])
    terms[0] += base
    return np.add.accumulate(terms, axis=0, out=terms)[-1]
