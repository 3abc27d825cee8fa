"""What workers make of offsets, as values: gaps, open transactions, what trails behind a quiet partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.position import position_of
from memberstream.stream.faust_batch.supported import UnsupportedVersion, check_supported
from memberstream.stream.faust_batch.trailing import QUIET_S, Trailing
from memberstream.stream.partition.bookkeeping import Progress, decode_progress
from memberstream.stream.partition.gaps import find_gap
from memberstream.stream.partition.source_topic import passed
from memberstream.stream.partition.transactions import HANGING_S, LONG_S, Transactions
from memberstream.stream.process.health import ready
from memberstream.stream.process.vitals import Vitals

OFFSETS = st.integers(0, 1_000)


@dataclass(frozen=True)
class Record:
    offset: int
    key: bytes | None = b"m"
    value: bytes | None = None
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


@given(needed=OFFSETS, begins=OFFSETS)
def test_a_gap_is_what_lies_between_what_is_needed_and_where_the_log_begins(needed: int, begins: int) -> None:
    """Without state nothing is needed; nothing that is there is lost."""
    gap = find_gap("docs", 3, needed, begins)
    assert (gap is not None) == (0 < needed < begins)
    if gap is not None:
        assert gap.n_offsets == begins - needed
        assert f"offsets {needed} to {begins - 1} of docs, partition 3, are gone" in str(gap)


@given(st.integers(0, 3), OFFSETS, st.lists(OFFSETS, unique=True), st.none() | OFFSETS)
def test_progress_goes_to_where_reading_goes_on_and_never_back(
    epoch: int, before: int, offsets: list[int], next_offset: int | None
) -> None:
    """Behind all records and what follows them; and the version before reads the same bytes as the same position."""
    progress = Progress(position_of(epoch, before - 1))
    records = [Record(offset) for offset in sorted(offsets)]
    found = passed(progress, records, next_offset)
    assert found.next_offset == max([before, next_offset or 0, *[offset + 1 for offset in offsets]])
    assert (found.epoch, decode_progress(found.encode(7))) == (epoch, found)


def test_without_codecs_a_worker_says_at_its_start_what_to_install() -> None:
    """And not when the first record comes that is compressed so."""

    def installed(name: str) -> str:
        if name == "cramjam":
            raise PackageNotFoundError(name)
        return version(name)

    with pytest.raises(UnsupportedVersion, match=r"cramjam: found not installed[\s\S]*Next: install"):
        check_supported(installed)


def test_a_state_is_told_once_of_what_its_quiet_partition_has_passed() -> None:
    """Only of a partition that is known, further than the state, and quiet for long enough."""
    tp, trailing = TP("docs", 0), Trailing()
    assert trailing.due({tp: 9}, 100.0) == []  # not assigned yet
    trailing.know(tp, 7, 100.0)
    assert trailing.due({tp: 9}, 100.0 + QUIET_S / 2) == []
    assert trailing.due({tp: 7}, 100.0 + 2 * QUIET_S) == []
    assert trailing.due({tp: 9}, 100.0 + 2 * QUIET_S) == [tp]
    trailing.know(tp, 9, 100.0 + 2 * QUIET_S)
    assert trailing.due({tp: 9}, 100.0 + 9 * QUIET_S) == []
    trailing.forget([tp])
    assert trailing.due({tp: 11}, 100.0 + 9 * QUIET_S) == []


def test_an_owner_is_told_once_that_reading_has_come_to_what_the_last_owner_had_applied() -> None:
    """Though nothing came up to there: what lies in between was control records."""
    tp, trailing = TP("docs", 0), Trailing()
    trailing.know(tp, 7, 100.0, is_told=False)
    assert trailing.due({tp: 5}, 100.0 + 2 * QUIET_S) == []
    assert trailing.due({tp: 7}, 100.0 + 2 * QUIET_S) == [tp]
    trailing.know(tp, 6, 100.0)  # a record that is replayed
    assert trailing.due({tp: 7}, 100.0 + 2 * QUIET_S) == [tp]
    trailing.know(tp, 7, 100.0)
    assert trailing.due({tp: 7}, 100.0 + 2 * QUIET_S) == []


def test_a_transaction_is_as_old_as_the_readable_end_stands_still() -> None:
    """One after the other is no old one; a long one is said once; one that hangs fails its check, with the command."""
    seen = Transactions("docs")
    assert seen.see({0: (5, 9), 1: (3, 3)}, 100.0) == []
    assert {p: (one.offset, one.n_behind) for p, one in seen.now.items()} == {0: (5, 4)}
    assert seen.see({0: (7, 9)}, 100.0 + LONG_S) == []  # that one has ended, another is open
    assert [one.offset for one in seen.see({0: (7, 12)}, 100.0 + 2 * LONG_S)] == [7]
    assert seen.see({0: (7, 12)}, 100.0 + 3 * LONG_S) == []
    for open_s, ok in ((HANGING_S - 1, True), (HANGING_S, False)):
        [check] = [
            check
            for check in ready(Vitals(transactions=tuple((one, open_s) for one in seen.now.values())), 0.0, 120.0)
            if check.name == "transactions"
        ]
        assert check.ok == ok
        assert "began at offset 7" in (check.detail if ok else check.problem)
    assert "abort --topic docs --partition 0 --start-offset 7" in check.next
    assert seen.see({0: (12, 12)}, 100.0 + 4 * LONG_S) == []
    assert seen.now == {}
