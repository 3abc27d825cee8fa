"""The census in a real RocksDB: always exactly what the states say, across recovery, recounts, crashes and versions."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import rocksdict
from hypothesis import given
from hypothesis import strategies as st
from unit.test_timer_index import LogRecord, opened

from memberstream.models.member import Member, Memberships, Move, encode, head_of
from memberstream.models.member import decode as decode_state
from memberstream.stream.faust_batch.disk import BLOCK_CACHE_BYTES, options
from memberstream.stream.faust_batch.store import StateStore
from memberstream.stream.partition.census import CELLS, MARKER

KEYS = st.sampled_from([b"a", b"ab", b"b", b"\xff\xff"])
HELD = st.dictionaries(st.sampled_from([7, 2**64 - 1]), st.tuples(st.integers(0, 2), st.integers(0, 1)))
#: None: gone; "deleted": without a document, but with a version.
CHANGES = st.lists(
    st.tuples(KEYS, HELD | st.none() | st.just("deleted")), max_size=4, unique_by=lambda change: change[0]
)
ROUNDS = st.lists(st.tuples(st.sampled_from(["write", "recover", "count", "reopen"]), CHANGES), max_size=12)


def member(held: Memberships | str | None) -> bytes | None:
    if held is None:
        return None
    if isinstance(held, str):
        return encode(Member(version=5), 0)
    return encode(Member(document={"x": 1}, memberships=dict(held)), 0)


def held_of(value: bytes | None) -> Memberships | None:
    found = None if value is None else decode_state(value)
    return None if found is None or found.document is None else found.memberships


def write(store: StateStore, changes: Sequence[tuple[bytes, Memberships | str | None]], offset: int) -> None:
    """Write as the pipeline does: with the memberships of before, which it has read."""
    items = [(key, member(held)) for key, held in changes]
    before = store.get_many(0, [key for key, _ in items])
    moves = [Move(k, held_of(old), held_of(new)) for (k, new), old in zip(items, before, strict=True)]
    store.write(0, items, offset, 0, (), [move for move in moves if move.was != move.now])


def check(store: StateStore) -> None:
    """The counts, also as stored, are those of the states."""
    everybody = [held_of(value) for _, value in store.scan(0)]
    expected = Counter((key, cluster) for held in everybody for key, (cluster, _) in (held or {}).items())
    census = store.census(0)
    assert census.is_whole
    assert census.counts.cells() == expected
    assert census.counts.documents == sum(held is not None for held in everybody)
    keys = [7, 2**64 - 1]
    lacking = [sum(held is not None and key not in held for held in everybody) for key in keys]
    assert census.counts.lacking(keys) == max(lacking)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@given(ROUNDS, st.integers(1, 3))
def test_the_counts_say_what_the_states_say(root: Path, rounds: list[tuple[str, list]], n: int) -> None:  # type: ignore[type-arg]
    """After every write, of the pipeline or of recovery, and after the store was closed; a recount, a slice at a time
    between the writes, ends with the same, and finds nothing wrong."""
    shutil.rmtree(root / "law", ignore_errors=True)
    after: bytes | None = None  # of the recount under way
    context = opened(root / "law")
    store = context.__enter__()
    for offset, (what, changes) in enumerate(rounds):
        if what == "write":
            write(store, changes, offset)
        elif what == "recover" and changes:
            store.apply(0, [LogRecord(key, member(held), offset) for key, held in changes])
        elif what == "count":
            if after is None:
                store.census(0).begin_recount()
            found = store.members(0, after or b"", n)
            store.census(0).recount((key, head_of(value).held) for key, value in found)
            after = found[-1][0] if len(found) == n else None
            if after is None:
                assert store.end_recount(0) == 0
        elif what == "reopen":
            context.__exit__(None, None, None)
            context, after = opened(root / "law"), None
            store = context.__enter__()
        check(store)
    context.__exit__(None, None, None)


def count(store: StateStore) -> int:
    store.census(0).begin_recount()
    store.census(0).recount((key, head_of(value).held) for key, value in store.members(0, b"", 1_000))
    return store.end_recount(0)


def test_a_state_that_an_older_version_has_written_is_counted_anew(root: Path) -> None:
    """It wrote members and where the changelog is, and left the counts as they were: these are known to be old."""
    directory = root / "older"
    with opened(directory) as store:
        write(store, [(b"a", {7: (1, 0)}), (b"b", {7: (2, 0)})], 0)
    raw = rocksdict.Rdict(str(store.partition_path(0)), options=options(rocksdict.Cache(BLOCK_CACHE_BYTES)))
    assert raw[MARKER] == b"0 2"
    raw[b"b"] = member({7: (1, 0)})
    raw[b"c"] = member({})
    raw[store.offset_key] = b"1"
    raw.close()
    with opened(directory) as store:
        assert not store.census(0).is_whole
        store.census(0).begin_recount()
        write(store, [(b"0", {7: (1, 0)}), (b"c", {7: (0, 0)})], 2)  # recovery and batches go on beside it
        store.census(0).recount((key, head_of(value).held) for key, value in store.members(0, b"", 2))
        write(store, [(b"a", {7: (0, 0)}), (b"b", None), (b"z", {7: (0, 0)})], 3)
        store.census(0).recount((key, head_of(value).held) for key, value in store.members(0, b"a", 9))
        assert store.end_recount(0) == 0  # nothing was known that could be wrong
        check(store)
    with opened(directory) as store:
        check(store)


def test_a_recount_puts_right_what_was_wrong(root: Path) -> None:
    """Two counts that nobody kept, and one left of a model that nobody has: three mistakes, and none from then on."""
    directory = root / "wrong"
    with opened(directory) as store:
        write(store, [(b"a", {7: (1, 0)})], 0)
        store.write(0, [(b"b", member({7: (2, 0)}))], 1, 0)  # no word of the move
        store.write(0, [], 2, 0, (), [Move(b"c", {}, {9: (1, 0)})])  # and one that never was
        assert count(store) == 3
        check(store)
        assert count(store) == 0
    with opened(directory) as store:
        check(store)
        assert {key for key, _ in store._db_for_partition(0).items() if key[:2] == CELLS} == {
            CELLS + (7).to_bytes(8, "big") + cluster.to_bytes(8, "big") for cluster in (1, 2)
        }
