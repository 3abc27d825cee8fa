"""Which changelog records a recovery believes: those of owners, never a stale worker's; and what it knows to repair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import pack

import pytest
import rocksdict
from hypothesis import given
from hypothesis import strategies as st
from unit.test_timer_index import opened

from memberstream.stream.faust_batch.stale_keys import StaleKeys
from memberstream.stream.partition.write_position import deletion_headers, judge, rewritten, write_position

KEYS = [b"a", b"b", b"c"]


@dataclass(unsafe_hash=True)
class Record:
    key: bytes
    value: bytes | None
    offset: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


def record(key: bytes, written_at: int, body: bytes | None) -> Record:
    if body is None:
        return Record(key, None, headers=deletion_headers(written_at))
    return Record(key, pack("<Bq", 2, written_at) + body)


_batches = st.lists(
    st.tuples(
        st.integers(1, 3), st.dictionaries(st.sampled_from(KEYS), st.sampled_from([None, b"x", b"y"]), min_size=1)
    ),
    min_size=1,
    max_size=8,
)


@given(_batches, _batches, st.data())
def test_a_recovery_gives_the_owners_state_whatever_a_stale_worker_adds(
    batches: list[tuple[int, dict[bytes, bytes | None]]],
    stale: list[tuple[int, dict[bytes, bytes | None]]],
    data: st.DataObject,
) -> None:
    """Updates and deletions of a stale worker, anywhere behind a later write of the owner; fetches cut anywhere; all
    but the last record of any keys compacted away: what remains is what the owner wrote last."""
    log: list[tuple[Record, bool]] = []
    position, right = 0, dict[bytes, bytes | None]()
    for step, items in batches:
        position += step
        log += [(record(key, position, body), True) for key, body in items.items()]
        right |= {key: one.value for key, one in zip(items, (r for r, _ in log[-len(items) :]), strict=True)}
    for _, items in stale:
        for key, body in items.items():
            at = data.draw(st.integers(1, len(log)))
            before = max(write_position(one.value, one.headers) or 0 for one, _ in log[:at])
            log.insert(at, (record(key, data.draw(st.integers(-1, before - 1)), body), False))
    records = [one for one, _ in log]
    cut = data.draw(st.integers(0, len(records)))
    state, refused, highest = dict[bytes, bytes | None](), set[bytes](), -1
    for fetch in (records[:cut], records[cut:]):
        latest, stale_keys, highest = judge(fetch, highest)
        state |= latest
        refused = (refused - set(latest)) | stale_keys
    assert state == right
    last_is_stale = {one.key: not is_owners for one, is_owners in log}
    assert refused == {key for key, is_stale in last_is_stale.items() if is_stale}
    assert highest == position

    # What the owner publishes behind it survives any compaction.
    records += [Record(k, None if (v := state.get(k)) is None else rewritten(v, highest), 0,
                       deletion_headers(highest)) for k in sorted(refused)]  # fmt: skip
    last = {one.key: i for i, one in enumerate(records)}
    kept = [one for i, one in enumerate(records) if i == last[one.key] or data.draw(st.booleans())]
    latest, _, _ = judge(kept, -1)
    assert _bodies(latest) == _bodies(right)


def _bodies(state: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    return {key: value[9:] for key, value in state.items() if value is not None}


def test_records_from_before_write_positions_are_taken_as_they_come() -> None:
    """A changelog of the first release: schema 1 and deletions without a header say nothing, and refuse nothing."""
    old = Record(b"a", pack("<Bq", 1, 77) + b"old")
    latest, refused, highest = judge([old, Record(b"b", None), record(b"c", 3, b"new"), old], -1)
    assert latest == {b"a": old.value, b"b": None, b"c": pack("<Bq", 2, 3) + b"new"}
    assert (refused, highest) == (set(), 3)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rocksdict.Rdict]:
    opened = rocksdict.Rdict(str(tmp_path_factory.mktemp("notes")), options=rocksdict.Options(raw_mode=True))
    yield opened
    opened.close()


_fetches = st.lists(
    st.tuples(st.sets(st.sampled_from([*KEYS, b"", b"\xff\xff"])), st.sets(st.sampled_from(KEYS)), st.booleans()),
    max_size=8,
)


@given(_fetches)
def test_what_has_to_be_repaired_is_noted(
    database: rocksdict.Rdict, fetches: list[tuple[set[bytes], set[bytes], bool]]
) -> None:
    """A recovery passes over stale records for good. Whatever is written and refused, the notes are the keys whose last
    record is stale, also for whoever opens the database next."""
    for key in list(database.keys()):
        database.delete(key)
    expected, notes = set[bytes](), StaleKeys(database)
    for written, refused, is_opened_anew in fetches:
        batch = rocksdict.WriteBatch(raw_mode=True)
        notes.change(batch, written, refused)
        database.write(batch)
        if is_opened_anew:
            notes = StaleKeys(database)
        expected = expected - written | refused
        assert notes.keys == expected


def test_a_store_that_is_opened_anew_knows_what_to_repair(tmp_path: Path) -> None:
    """A clean stop between recovery and repair: the disk has passed over the stale record, and what it has is right."""
    owners, stale = record(b"a", 5, b"owner's"), record(b"a", 3, None)
    with opened(tmp_path) as store:
        store.apply(0, [owners, stale])
        assert store.stale(0) == {b"a"}
    with opened(tmp_path) as store:
        assert store.get_many(0, [b"a"]) == [owners.value]
        assert store.stale(0) == {b"a"}
        store.write(0, [(b"a", owners.value)], 2, 5)
        assert store.stale(0) == set()
    with opened(tmp_path) as store:
        assert store.stale(0) == set()
