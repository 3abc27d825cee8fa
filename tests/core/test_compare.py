"""Two versions over the same members: counts, flips, samples and shifts of probabilities."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from memberstream.models.compare import NOTHING, Comparison, Flip, Side, Tally, ks, psi
from memberstream.models.model import Cluster

OLD = (Cluster(1, "low"), Cluster(2, "high"))
NEW = (Cluster(1, "low"), Cluster(2, "medium"), Cluster(5, "high"))
MEMBERS = st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, 2)), max_size=60)


def side(index: list[int], probability: Any = None) -> Side:
    return Side(np.array(index, dtype=np.intp), None if probability is None else np.array(probability, dtype=float))


def compared(pairs: list[tuple[int, int]], cuts: list[int], n_samples: int = 2) -> Comparison:
    """Tally numbered members with these (old, new) indices, in slices that end at the cuts."""
    tally = Tally(OLD, NEW, n_samples)
    bounds = [0, *sorted(cut % (len(pairs) + 1) for cut in cuts), len(pairs)]
    for start, end in pairwise(bounds):
        part = pairs[start:end]
        numbers = list(range(start, end))
        tally.add([b"m%d" % i for i in numbers], numbers, side([a for a, _ in part]), side([b for _, b in part]))
    return tally.finish()


@given(MEMBERS, st.lists(st.integers(0, 60), max_size=4))
def test_counts_are_those_of_a_plain_count(pairs: list[tuple[int, int]], cuts: list[int]) -> None:
    """Matrix, agreement and flips are what counting pair by pair gives, however the members are cut into slices; each
    sample is a member of its kind of flip, and as many are kept as asked for."""
    found = compared(pairs, cuts)
    counts = Counter(pairs)
    assert found.matrix == [[counts[a, b] for b in (0, 1, 2, NOTHING)] for a in (0, 1, NOTHING)]
    both = [(OLD[a].id, NEW[b].id) for a, b in pairs if NOTHING not in (a, b)]
    assert (found.n_both, found.n_agree) == (len(both), sum(a == b for a, b in both))
    flips = Counter((a, b) for a, b in both if a != b)
    assert {(flip.old, flip.new): flip.n for flip in found.flips} == flips
    assert [flip.n for flip in found.flips] == sorted(flips.values(), reverse=True)
    kinds = Counter((OLD[pairs[i][0]].id, NEW[pairs[i][1]].id) for i in found.samples)
    assert kinds == {kind: min(n, 2) for kind, n in flips.items()}
    assert compared(pairs, []) == found


def test_samples_follow_the_flips() -> None:
    """The most frequent kind of flip comes first, and its samples; with none asked for none are kept."""
    pairs = [(0, 1)] + [(1, 2)] * 3 + [(0, 0)]
    found = compared(pairs, [])
    assert found.flips == (Flip(2, 5, 3), Flip(1, 2, 1))
    assert [pairs[i] for i in found.samples] == [(1, 2), (1, 2), (0, 1)]
    assert compared(pairs, [], n_samples=0).samples == ()


PROBABILITIES = st.lists(st.floats(0, 1), min_size=2, max_size=80)


@given(PROBABILITIES, PROBABILITIES)
def test_ks_is_scipys(before: list[float], after: list[float]) -> None:
    """The statistic of scipy.stats.ks_2samp, ties included."""
    expected = stats.ks_2samp(before, after, method="asymp").statistic
    assert ks(np.array(before), np.array(after)) == pytest.approx(expected, abs=1e-12)


@given(PROBABILITIES, PROBABILITIES)
def test_psi_is_a_distance(before: list[float], after: list[float]) -> None:
    """Never below 0, and 0 against itself; never infinite, though a bin be empty."""
    assert 0 <= psi(np.array(before), np.array(after)) < np.inf
    assert psi(np.array(before), np.array(before)) == 0


def test_psi_by_hand() -> None:
    """A hundred members spread over the deciles against a hundred in the lowest two: by the formula."""
    before = np.arange(100) / 100
    after = np.repeat([0.0, 0.15], 50)
    p, q = np.full(10, 10.5), np.array([50.5, 50.5, *[0.5] * 8])
    p, q = p / p.sum(), q / q.sum()
    assert psi(before, after) == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=1e-12)


def test_shifts_of_what_both_have() -> None:
    """A binary model's probability; of a multinomial those of the clusters with ids in both; none where one side has
    none, or where one has one probability and the other several."""
    tally = Tally(OLD, NEW, 0)
    tally.add([b"a", b"b"], [0, 1], side([0, 1], [0.2, 0.6]), side([0, 2], [0.3, 0.9]))
    tally.add([b"c"], [2], side([0], [0.1]), side([0], [0.1]))
    [shift] = tally.finish().shifts
    assert (shift.of, shift.old.tolist(), shift.new.tolist()) == ("", [0.2, 0.6, 0.1], [0.3, 0.9, 0.1])
    assert shift.ks == pytest.approx(1 / 3)

    several = Tally(OLD, NEW[::2], 0)
    several.add([b"a"], [0], side([0], [[0.7, 0.3]]), side([0], [[0.6, 0.4]]))
    [shift] = several.finish().shifts
    assert (shift.of, shift.old.tolist(), shift.new.tolist()) == ("low", [0.7], [0.6])

    for other in (None, [[0.1, 0.2, 0.7]]):
        uneven = Tally(OLD, NEW, 0)
        uneven.add([b"a"], [0], side([0], [0.7]), side([0], other))
        assert uneven.finish().shifts == ()
