"""Who is held out: even, independent, steady, and the same drawn one by one as all at once."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, kstest

from memberstream.stream.lookup.holdout import WHOLE, Holdouts, draw, is_held_out

MEMBERS = [f"member-{i:017d}" for i in range(100_000)]
IDS = st.text(st.characters(codec="utf-8"), max_size=12)


def halves(texts: list[str]) -> npt.NDArray[np.uint64]:
    return np.array([int.from_bytes(sha256(text.encode()).digest()[:4]) for text in texts], np.uint64)


def deciles(campaign: str, members: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return the decile that each member draws: a second implementation, over an array."""
    u, low = np.uint64, np.uint64(0xFFFF_FFFF)
    x = members ^ halves([campaign])
    x = (x ^ x >> u(16)) * u(0x85EB_CA6B) & low
    x = (x ^ x >> u(13)) * u(0xC2B2_AE35) & low
    x ^= x >> u(16)
    return (x * u(10) >> u(32)).astype(np.int64)


@given(st.dictionaries(IDS, st.integers(0, WHOLE) | st.sampled_from([0, 1, WHOLE]), max_size=12), IDS)
def test_all_at_once_as_one_by_one(holdouts: dict[str, int], member: str) -> None:
    """The lanes of the large integer hold what `draw` says, in the order asked; a holdout of all holds all out."""
    visible, held_out = Holdouts(list(holdouts), list(holdouts.values())).of(member)
    assert held_out == tuple(c for c, holdout in holdouts.items() if is_held_out(c, member, holdout))
    assert visible == tuple(c for c in holdouts if c not in held_out)
    assert all(is_held_out(c, member, WHOLE) and not is_held_out(c, member, 0) for c in holdouts)


@given(IDS, IDS, st.integers(0, WHOLE), st.integers(0, WHOLE))
def test_a_larger_holdout_keeps_who_was_held_out(campaign: str, member: str, one: int, other: int) -> None:
    """So it can grow without showing a campaign to anybody who hadn't seen it."""
    assert is_held_out(campaign, member, max(one, other)) or not is_held_out(campaign, member, min(one, other))


def test_the_share_is_right_and_each_campaign_has_its_own() -> None:
    """A hundred pairs of campaigns over 100,000 ids such as databases make: the ten by ten deciles of each pair are
    filled evenly (so each campaign alone is even, too). The hundred chi-square tests are, as p-values must be, spread
    evenly; nothing here is random, so it holds for ever."""
    members = halves(MEMBERS)
    p_values = []
    for i in range(100):
        pairs = 10 * deciles(f"summer-{i}", members) + deciles(f"winter-{i}", members)
        counts, expected = np.bincount(pairs, minlength=100), len(MEMBERS) / 100
        p_values.append(chi2.sf(((counts - expected) ** 2 / expected).sum(), 99))
    assert kstest(p_values, "uniform").pvalue > 0.05
    assert min(p_values) > 1e-4
    assert [draw("summer-7", m) * 10 >> 32 for m in MEMBERS[:500]] == deciles("summer-7", members)[:500].tolist()
