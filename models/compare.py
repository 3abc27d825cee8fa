"""Two versions over the same members: where they agree, who would move, how the probabilities shift.

Laws:
- A tally is a sum over members. Neither their order nor the slices they come in change it, nor its samples.
- A member agrees if both versions give it the cluster of the same id. A member of whom a version says nothing (it isn't
  on a list) is counted apart and is no flip.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from memberstream.models.model import Cluster
from memberstream.models.scorer import Floats, Indices

N_BINS = 10  # deciles of the old probabilities, as scorecards use
NOTHING = -1  # the index of a member that a version says nothing of


@dataclass(frozen=True, slots=True)
class Side:
    """What one version says of n members.

    Attributes:
        index: (n,) of the cluster in the version's list, or NOTHING.
        probability: logistic (n,); multinomial and mixtures (n, n_clusters); None: the version has none.
    """

    index: Indices
    probability: Floats | None = None


class Flip(NamedTuple):
    """How many members would move from one cluster to another, by ids."""

    old: int
    new: int
    n: int


@dataclass(frozen=True, slots=True)
class Shift:
    """How a probability's distribution over the members moves.

    Attributes:
        of: whose probability: a cluster's name; "" for the positive class of a binary model.
        psi: population stability index over the old deciles; below 0.1 nothing to speak of, above 0.25 a lot.
        ks: two-sample Kolmogorov–Smirnov statistic, the largest distance between the two cumulative distributions.
        old, new: (n,) the probability of every member.
    """

    of: str
    psi: float
    ks: float
    old: Floats
    new: Floats


@dataclass(frozen=True, slots=True)
class Comparison:
    """A finished tally.

    Attributes:
        matrix: (n_old + 1, n_new + 1) members by old and new cluster, in the order of the files. In the last row and
            column stand members of whom a version says nothing.
        n_both: members to whom both versions give a cluster; n_agree: to whom they give the same one.
        flips: the most frequent first.
        shifts: of the probabilities that both versions have.
        samples: for each kind of flip, in that order, some members (what was handed in about them).
    """

    old: tuple[Cluster, ...]
    new: tuple[Cluster, ...]
    matrix: list[list[int]]
    n_both: int
    n_agree: int
    flips: tuple[Flip, ...]
    shifts: tuple[Shift, ...]
    samples: tuple[Any, ...]


class Tally:
    """Collects what two versions say, some members at a time.

    Args:
        n_samples: how many members of each kind of flip are kept.
    """

    def __init__(self, old: Sequence[Cluster], new: Sequence[Cluster], n_samples: int) -> None:
        self._old, self._new, self._n_samples = tuple(old), tuple(new), n_samples
        self._matrix = np.zeros((len(old) + 1, len(new) + 1), dtype=np.int64)
        self._samples: dict[tuple[int, int], list[tuple[int, bytes, Any]]] = {}
        self._probabilities: tuple[list[Floats], list[Floats]] = ([], [])
        old_ids, new_ids = ([cluster.id for cluster in side] for side in (old, new))
        self._is_flip = np.array([[a != b for b in new_ids] for a in old_ids]).reshape(len(old), len(new))

    def add(self, member_ids: Sequence[bytes], about: Sequence[Any], old: Side, new: Side) -> None:
        """Take n more members. `about`: what a sample shows of each."""
        np.add.at(self._matrix, (old.index, new.index), 1)  # NOTHING is the last row or column
        both = (old.index != NOTHING) & (new.index != NOTHING)
        flipped = np.flatnonzero(both)[self._is_flip[old.index[both], new.index[both]]]
        for i in flipped.tolist():
            kept = self._samples.setdefault((int(old.index[i]), int(new.index[i])), [])
            # The lowest checksums: as good as chance, and the same whatever the order.
            item = (-crc32(member_ids[i]), member_ids[i], about[i])
            if len(kept) < self._n_samples:
                heapq.heappush(kept, item)
            elif kept and item[:2] > kept[0][:2]:
                heapq.heapreplace(kept, item)
        for kept_probabilities, side in zip(self._probabilities, (old, new), strict=True):
            if side.probability is not None:
                kept_probabilities.append(side.probability)

    def finish(self) -> Comparison:
        """Return the comparison of all members taken."""
        old, new, inner = self._old, self._new, self._matrix[:-1, :-1]
        places = zip(*(axis.tolist() for axis in (self._is_flip & (inner > 0)).nonzero()), strict=True)
        ranked = sorted(places, key=lambda place: (-inner[place], place))
        n_both = int(inner.sum())
        n_flips = int(inner[self._is_flip].sum())
        before, after = (np.concatenate(found) if found else None for found in self._probabilities)
        return Comparison(
            old,
            new,
            self._matrix.tolist(),
            n_both,
            n_both - n_flips,
            tuple(Flip(old[i].id, new[j].id, int(inner[i, j])) for i, j in ranked),
            tuple(_shifts(old, new, before, after)),
            tuple(
                about
                for place in ranked
                for *_, about in sorted(self._samples.get(place, []), key=_by_id, reverse=True)
            ),
        )


def _by_id(item: tuple[int, bytes, Any]) -> tuple[int, bytes]:
    return item[:2]


def _shifts(
    old: Sequence[Cluster], new: Sequence[Cluster], before: Floats | None, after: Floats | None
) -> Iterable[Shift]:
    """Yield the shifts of the probabilities that both versions have."""
    if before is None or after is None or before.ndim != after.ndim:
        return
    if before.ndim == 1:
        yield _shift("", before, after)
        return
    columns = {cluster.id: j for j, cluster in enumerate(new)}
    for i, cluster in enumerate(old):
        if cluster.id in columns:
            yield _shift(cluster.name, before[:, i], after[:, columns[cluster.id]])


def _shift(of: str, before: Floats, after: Floats) -> Shift:
    return Shift(of, psi(before, after), ks(before, after), before, after)


def psi(before: Floats, after: Floats) -> float:
    """Return the population stability index: sum of (q - p) ln(q / p) over the deciles of `before`.

    p and q are the shares of `before` and `after`; half a member is added to each bin, so that an empty one stays
    finite.
    Source: Siddiqi, Credit Risk Scorecards (2006), chapter 9.
    """
    edges = np.unique(np.quantile(before, np.arange(1, N_BINS) / N_BINS))
    p, q = (_shares(values, edges) for values in (before, after))
    return float(((q - p) * np.log(q / p)).sum())


def _shares(values: Floats, edges: Floats) -> Floats:
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) + 0.5
    shares: Floats = counts / counts.sum()
    return shares


def ks(before: Floats, after: Floats) -> float:
    """Return the two-sample Kolmogorov–Smirnov statistic (scipy.stats.ks_2samp's, two-sided), from 0 to 1."""
    before, after = np.sort(before), np.sort(after)
    everywhere = np.concatenate([before, after])
    distances = [np.searchsorted(values, everywhere, side="right") / len(values) for values in (before, after)]
    return float(np.abs(distances[0] - distances[1]).max())
