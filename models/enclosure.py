"""What a model can say while a raw value runs over an interval: bounds of its columns, and of what separates clusters.

Laws:
- Bounds enclose: every number that the engine computes for a value of the interval lies between them. Bounds of a
  narrower interval are narrower, and of one value (nearly) that value.
- A margin is what a member's cluster is ahead of a rival. While all lower bounds are above their slack, the cluster
  can't change. `slack` bounds what rounding does to the engine's own sums (Higham, Accuracy and Stability of Numerical
  Algorithms, 2002, section 4.2), with plenty to spare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from memberstream.models.predictor import LIMIT, Combination, Predictor
from memberstream.models.scorer import Floats, GaussianMixture, KMeans, Logistic, Multinomial, Scorer, Trees
from memberstream.models.transform import Bins, Clip, Codes, Log, Log1p, Scale, Sqrt

Interval = tuple[float, float]
_EPS = float(np.finfo(np.float64).eps)
_MOST, _LEAST = float(np.finfo(np.float64).max), 5e-324
_BEGIN = {Log1p: math.nextafter(-1.0, 0.0), Log: _LEAST, Sqrt: 0.0}  # the first number that each can take
_SPARE = 16.0


class Margins(NamedTuple):
    """For each rival of the member's cluster: bounds of the margin, and the slack of rounding; (n_rivals,) each."""

    low: Floats
    high: Floats
    slack: Floats

    @property
    def are_safe(self) -> bool:
        """Whether the cluster can't change."""
        return bool((self.low > self.slack).all())

    @property
    def are_ahead(self) -> bool:
        """Whether the cluster is ahead of all rivals, were it not for rounding."""
        return bool((self.low > 0).all())

    @property
    def are_noise(self) -> bool:
        """Whether rounding alone decides about the rivals that might win: narrower intervals tell no more."""
        open_ = self.low <= self.slack
        return bool((self.high - self.low <= 8 * self.slack)[open_].all())


def columns(predictor: Predictor, interval: Interval | None, fallback: tuple[float, ...]) -> tuple[Interval, ...]:
    """Return bounds of each column of a predictor while its raw number lies in an interval; None: no raw number.

    Args:
        fallback: the columns of a value that can't be used.
    """
    whole = tuple((value, value) for value in fallback)
    if interval is None:
        return whole
    low, high = interval
    may_fail = False
    found: tuple[Interval, ...] | None = None
    for transform in predictor.transforms:
        match transform:
            case Log1p() | Log() | Sqrt():
                begin = _BEGIN[type(transform)]
                if high < begin:
                    return whole
                may_fail |= low < begin
                function = transform.compile()
                low, high = function(max(low, begin)), function(high)
                low, high = low - 4 * _EPS * abs(low), high + 4 * _EPS * abs(high)  # libm isn't quite monotone
            case Clip(least, most):
                low, high = min(max(low, least), most), min(max(high, least), most)
            case Scale(mean, sd):
                low, high = (low - mean) / sd, (high - mean) / sd
            case Bins():
                low, high = transform.compile()(low), transform.compile()(high)
            case Codes(categories):
                code = transform.compile()
                within = [code(c) for c in categories if isinstance(c, float) and low <= c <= high]
                low, high = (code(low), code(low)) if low == high else (-1.0, max(within, default=-1.0))
            case _:
                found = tuple(_indicator(category, low, high) for category in transform.categories)
    if found is None:
        if low > LIMIT or high < -LIMIT:
            return whole
        may_fail |= low < -LIMIT or high > LIMIT
        found = ((max(low, -LIMIT), min(high, LIMIT)),)
    return tuple(map(_hull, found, whole)) if may_fail else found


def _indicator(category: object, low: float, high: float) -> Interval:
    if not isinstance(category, float) or not low <= category <= high:
        return (0.0, 0.0)
    return (1.0, 1.0) if low == high else (0.0, 1.0)


def _hull(a: Interval, b: Interval) -> Interval:
    return min(a[0], b[0]), max(a[1], b[1])


def combined(source: Combination, known: Mapping[str, Interval]) -> tuple[Interval | None, bool]:
    """Return bounds of a ratio or product, and whether it may be no usable number; None: it never is one.

    Args:
        known: bounds of the predictors before it.
    """
    left, right = source.operands
    a, b = known[left], known[right]
    if source.operation == "product":
        ends = [p * q for p in a for q in b]
        low = min(ends)
        if left == right:
            ends = [a[0] * a[0], a[1] * a[1]]
            low = 0.0 if a[0] <= 0 <= a[1] else min(ends)
        return _finite(low, max(ends))
    may_fail = b[0] <= 0 <= b[1]
    parts = [(b[0], min(b[1], -_LEAST)), (max(b[0], _LEAST), b[1])]
    parts = [part for part in parts if part[0] <= part[1]]
    if not parts:
        return None, True
    ends = [1.0] if left == right else [p / q for p in a for part in parts for q in part]
    found, is_cut = _finite(min(ends), max(ends))
    return found, may_fail or is_cut


def _finite(low: float, high: float) -> tuple[Interval, bool]:
    return (max(low, -_MOST), min(high, _MOST)), low < -_MOST or high > _MOST


def margins(scorer: Scorer, low: Floats, high: Floats, here: int) -> Margins:
    """Return what cluster `here` is ahead of its rivals while the columns lie between `low` and `high` (n_columns,)."""
    if isinstance(scorer, Logistic):
        return _of_thresholds(scorer, low, high, here)
    if isinstance(scorer, Multinomial):
        rivals = np.delete(np.arange(len(scorer.coef)), here)
        coef = scorer.coef[here] - scorer.coef[rivals]
        sizes = np.abs(scorer.coef[here]) + np.abs(scorer.coef[rivals])
        ahead = scorer.intercept[here] - scorer.intercept[rivals]
        constant = np.abs(scorer.intercept[here]) + np.abs(scorer.intercept[rivals])
        return _linear(coef, ahead, low, high, sizes, constant)
    if isinstance(scorer, KMeans):
        return _of_centroids(scorer, low, high, here)
    if isinstance(scorer, Trees):
        return _of_trees(scorer, low, high, here)
    return _of_components(scorer, low, high, here)


def _slack(sizes: Floats, n: int) -> Floats:
    """Return what rounding may do to sums of n terms of these sizes."""
    slack: Floats = _SPARE * (n + 8) * _EPS * sizes
    return slack


def _linear(coef: Floats, constant: Floats, low: Floats, high: Floats, sizes: Floats, constant_size: Floats) -> Margins:
    """Return bounds of coef · x + constant, (k, n) and (k,). `sizes`: |coef| as the engine computes with it."""
    ends = coef * low, coef * high
    size = (sizes * np.maximum(np.abs(low), np.abs(high))).sum(axis=-1) + constant_size
    lowest, highest = np.minimum(*ends).sum(axis=-1) + constant, np.maximum(*ends).sum(axis=-1) + constant
    return Margins(lowest, highest, _slack(size, len(low)))


def _of_thresholds(scorer: Logistic, low: Floats, high: Floats, here: int) -> Margins:
    places = [i for i in (here - 1, here) if 0 <= i < len(scorer.thresholds)]
    signs = np.array([1.0 if i < here else -1.0 for i in places])
    at = scorer.thresholds[places]
    cut = np.log(at) - np.log1p(-at)  # logit
    coef, size = signs[:, None] * scorer.coef, np.abs(scorer.intercept) + np.abs(cut)
    found = _linear(coef, signs * (scorer.intercept - cut), low, high, np.abs(coef), size)
    # Near 1 the probability itself is coarse: its last digit is worth eps / (1 - p) in eta.
    return found._replace(slack=found.slack + _SPARE * _EPS * (1 + 1 / (1 - at)))


def _of_centroids(scorer: KMeans, low: Floats, high: Floats, here: int) -> Margins:
    """The margin is the rival's squared distance less the cluster's own, which is linear in x."""
    rivals = np.delete(scorer.centroids, here, axis=0)
    own = scorer.centroids[here]
    ends = [(own - rivals) * ((x - rivals) + (x - own)) for x in (low, high)]
    sizes = [np.maximum((x - rivals) ** 2, (x - own) ** 2) for x in (low, high)]
    lowest, highest = np.minimum(*ends).sum(axis=1), np.maximum(*ends).sum(axis=1)
    return Margins(lowest, highest, _slack(np.maximum(*sizes).sum(axis=1), len(low)))


def _of_trees(scorer: Trees, low: Floats, high: Floats, here: int) -> Margins:
    """Bounds of raw scores have the engine's own bits, so there is no slack. Where a margin of nothing is enough, it
    counts as the smallest number."""
    least, most = scorer.forest.bounds(low, high)
    if scorer.thresholds is None:
        rank = np.argsort(scorer.ties)
        rivals = np.delete(np.arange(len(least)), here)
        low, high, is_enough = least[here] - most[rivals], most[here] - least[rivals], rank[here] < rank[rivals]
    else:
        below, above = scorer.thresholds[:here][-1:], scorer.thresholds[here : here + 1]
        low, high = np.concatenate([least - below, above - most]), np.concatenate([most - below, above - least])
        is_passed = scorer.threshold_rule == ">="
        is_enough = np.array([is_passed] * len(below) + [not is_passed] * len(above), dtype=bool)
    low, high = (np.where((margin == 0) & is_enough, _LEAST, margin) for margin in (low, high))
    return Margins(low, high, np.zeros(len(low)))


def _of_components(scorer: GaussianMixture, low: Floats, high: Floats, here: int) -> Margins:
    """The margin is the difference of two log(weight × density), so a quadratic in x.

    It is expanded around the middle of the bounds. In each column's own direction the parabola's range is exact, and
    what pairs of columns add is bounded by its size.
    """
    middle = low + (high - low) / 2
    free = np.flatnonzero(low < high)
    radius = np.maximum(high - middle, middle - low)
    each, rivals = _components(scorer, middle, radius, free), np.delete(np.arange(len(scorer.weights)), here)
    value, slope, curve = (of[here] - of[rivals] for of in (each.value, each.slope, each.curve))
    reach, bend = radius[free], curve.diagonal(axis1=1, axis2=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = np.clip(-slope / (2 * bend), -reach, reach)
    vertex = np.where(np.isnan(vertex), 0.0, vertex)  # neither slope nor bend: any place will do
    values = [slope * d + bend * d * d for d in (-reach, reach, vertex)]
    pairs = (np.abs(curve) * np.outer(reach, reach)).sum(axis=(1, 2)) - (np.abs(bend) * reach * reach).sum(axis=1)
    lowest, highest = (f.reduce(values, axis=0).sum(axis=1) for f in (np.minimum, np.maximum))
    size = each.size[here] + each.size[rivals]
    return Margins(value + lowest - pairs, value + highest + pairs, _slack(size, len(low)))


class _Quadratics(NamedTuple):
    """Each component's log(weight × density), less what all have, around a point: value + slope · d + dᵀ curve d.

    `d`: (n_free,), how far the free columns are from the point. `value` (k,), `slope` (k, n_free), `curve` (k, n_free,
    n_free); `size` (k,): of all terms, before anything cancels.
    """

    value: Floats
    slope: Floats
    curve: Floats
    size: Floats


def _components(scorer: GaussianMixture, x: Floats, radius: Floats, free: npt.NDArray[np.intp]) -> _Quadratics:
    centred, factors = x - scorer.means, scorer.factors
    far = np.abs(centred) + radius
    if factors.ndim == 2:
        y, size, diagonal = centred * factors, far * factors, factors
        slope = -factors[:, free] * y[:, free]
        curve = -0.5 * np.square(factors[:, free])[:, :, None] * np.eye(len(free))
    else:
        # einsum rather than matmul: for sizes like these the threads of BLAS cost more than they save
        y, size = (np.einsum("kn,knm->km", v, f) for v, f in ((centred, factors), (far, np.abs(factors))))
        diagonal, rows = factors.diagonal(axis1=1, axis2=2), factors[:, free, :]
        slope, curve = -np.einsum("kfn,kn->kf", rows, y), -0.5 * np.einsum("kfn,kgn->kfg", rows, rows)
    logs = np.log(diagonal)
    constant = np.log(scorer.weights) + logs.sum(axis=1)
    total = np.abs(constant) + np.abs(logs).sum(axis=1) + np.square(size).sum(axis=1) + len(x)
    return _Quadratics(constant - 0.5 * np.square(y).sum(axis=1), slope, curve, total)
