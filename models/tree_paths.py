"""What each input contributes to a raw score of trees: Shapley values, path-dependent.

Laws:
- A coalition of inputs is known; at a node that asks another one, both children count, by their share of the training
  data. That is the game of TreeSHAP (Lundberg, Erion, Lee: Consistent Individualized Feature Attribution for Tree
  Ensembles, 2018, algorithm 1), and of the trainers' own contributions.
- What all inputs contribute, and the baseline (the mean over the training data, as the covers weigh it), add up to the
  sum of the leaf values.

Each leaf is a game of the inputs on its path: its value times a factor of each, 1 or 0 for a known input (the row goes
that way, or not), and the share of the data for another one. The Shapley value of a product is an integral over its
multilinear extension (Owen, Multilinear Extensions of Games, 1972) of a polynomial; Gauss-Legendre quadrature is exact.

Cost: some milliseconds for a hundred trees; for people, never while members are scored.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from memberstream.models.forest import Floats, Forest, Indices

_AT_ONCE = 1_000_000  # steps of paths: memory


def contributions(forest: Forest, x: Floats) -> tuple[Floats, Floats]:
    """Return what each input of a row contributes to each raw score, and the baselines.

    Args:
        x: (n_inputs,).

    Returns:
        (n_inputs, n_outputs) and (n_outputs,).
    """
    share, goes = _shares(forest), _goes(forest, forest.spread(x[None, :])[0])
    values = forest.leaf_values()
    leaves = np.flatnonzero(forest.is_leaf)
    found = np.zeros((forest.n_inputs, forest.n_outputs))
    mean = np.ones(len(forest.column))  # the share of its tree's data that each leaf got
    for part in _slices(forest.depth[leaves]):
        some, its_values = leaves[part], values[part]
        leaf, step = _paths(forest, some)
        np.multiply.at(mean, some[leaf], share[step])
        column = forest.column[forest.parent[step]]
        order = np.lexsort((column, leaf))
        leaf, column, step = leaf[order], column[order], step[order]
        starts = np.flatnonzero(np.diff(leaf, prepend=-1) | np.diff(column, prepend=-1))
        if not len(starts):
            continue  # trees of one leaf
        zero = np.multiply.reduceat(share[step], starts)
        one = np.logical_and.reduceat(goes[step], starts)
        leaf, column = leaf[starts], column[starts]
        for places in _alike(leaf):
            weight = _weights(zero[places], one[places].astype(np.float64))
            for k in range(forest.n_outputs):
                each = weight * its_values[leaf[places], k]
                found[:, k] += np.bincount(column[places].ravel(), each.ravel(), forest.n_inputs)
    baseline = forest.base + (mean[leaves, None] * values).sum(axis=0)
    return found / forest.divisor, baseline / forest.divisor


def _shares(forest: Forest) -> Floats:
    """Return for each node its share of its parent's training data."""
    cover = forest.cover.copy()
    for level in reversed(forest.levels):
        cover[level] = cover[forest.child[2 * level]] + cover[forest.child[2 * level + 1]]
    above = cover[forest.parent]
    share: Floats = np.divide(cover, above, out=np.full(len(cover), 0.5), where=above > 0)
    return share


def _goes(forest: Forest, spread: Floats) -> npt.NDArray[np.bool_]:
    """Return for each node whether its parent sends the row there."""
    goes = np.ones(len(forest.column), dtype=bool)
    for level in forest.levels:
        is_left = spread[forest.place[level]] <= forest.split[level]
        goes[forest.child[2 * level]], goes[forest.child[2 * level + 1]] = is_left, ~is_left
    return goes


def _slices(lengths: Indices) -> Iterator[slice]:
    """Yield slices of leaves whose paths have some length together."""
    block = np.cumsum(lengths) // _AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(lengths)]
    for start, stop in itertools.pairwise(edges):
        yield slice(start, stop)


def _paths(forest: Forest, leaves: Indices) -> tuple[Indices, Indices]:
    """Return all steps on the paths to leaves: the place of the leaf, and the node that the step leads to."""
    leaf, node = np.arange(len(leaves)), leaves
    all_of_them = [np.zeros((2, 0), dtype=np.intp)]
    while len(leaf):
        below = forest.depth[node] > 0
        leaf, node = leaf[below], node[below]
        all_of_them.append(np.stack([leaf, node]))
        node = forest.parent[node]
    found = np.concatenate(all_of_them, axis=1)
    return found[0], found[1]


def _alike(leaf: Indices) -> Iterator[Indices]:
    """Yield the places of the inputs of all leaves that have as many of them, (n_leaves, n). `leaf`: ascending."""
    starts = np.flatnonzero(np.diff(leaf, prepend=-1))
    counts = np.diff(starts, append=len(leaf))
    for n in np.unique(counts).tolist():
        yield starts[counts == n, None] + np.arange(n)


def _weights(zero: Floats, one: Floats) -> Floats:
    """Return the Shapley values of products whose factors are `one` for known inputs, else `zero`; both (k, n)."""
    points, weights = np.polynomial.legendre.leggauss(zero.shape[1] // 2 + 1)
    total = np.zeros(zero.shape)
    edge = np.ones((len(zero), 1))
    for t, weight in zip((points + 1) / 2, weights / 2, strict=True):
        factor = t * one + (1 - t) * zero
        before = np.cumprod(np.concatenate([edge, factor[:, :-1]], axis=1), axis=1)
        after = np.cumprod(np.concatenate([edge, factor[:, :0:-1]], axis=1), axis=1)[:, ::-1]
        total += weight * before * after
    shapley: Floats = total * (one - zero)
    return shapley
