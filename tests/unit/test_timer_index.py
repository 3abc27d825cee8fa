"""The index of timers in a real RocksDB: always exactly what the states say, in order, across crashes and versions."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import rocksdict
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.member import Member, encode
from memberstream.models.member import decode as decode_state
from memberstream.models.timestamps import FOREVER
from memberstream.stream.faust_batch.app import BatchApp
from memberstream.stream.faust_batch.store import StateStore
from memberstream.stream.faust_batch.tables import StateTable
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.partition.state import Timer
from memberstream.stream.partition.write_position import write_position

DUE = st.one_of(st.integers(-5, 20), st.sampled_from([FOREVER, -(10**14), 253_402_300_799_999]))
CHANGE = st.tuples(st.sampled_from([b"a", b"ab", b"b", b"\xff\xff"]), st.one_of(st.none(), DUE))
CHANGES = st.lists(st.lists(CHANGE, max_size=5), max_size=8)


@dataclass
class LogRecord:
    """A record of the changelog."""

    key: bytes
    value: bytes | None
    offset: int
    headers: Sequence[tuple[str, bytes]] = ()


@contextmanager
def opened(directory: Path) -> Iterator[StateStore]:
    """Open the store of a worker that isn't started."""
    app = BatchApp(kafka=Kafka(("127.0.0.1:1",)), group="g", source_topic="t", data_dir=directory)
    store: StateStore = StateTable(app, name="state", partitions=1, key_type=bytes, value_type=bytes).data
    yield store
    asyncio.run(store.stop())


def member(due_ms: int, written_at: int = 0) -> bytes:
    return encode(Member(valid_until_ms=due_ms, document={"x": 1}), written_at)


def expected(store: StateStore) -> list[Timer]:
    """Return what the states say."""
    dues = ((decode_state(value).valid_until_ms, key) for key, value in store.scan(0))
    return [Timer(due_ms, key) for due_ms, key in sorted(dues) if due_ms < FOREVER]


def found(store: StateStore) -> list[Timer]:
    return store.timers(0).due(FOREVER - 1, 1_000)


def write(store: StateStore, changes: Sequence[tuple[bytes, int | None]], offset: int) -> None:
    """Write as the pipeline does: with the old times, which it has read."""
    newest = dict(changes)
    before = dict(zip(newest, store.get_many(0, list(newest)), strict=True))
    was = {key: FOREVER if old is None else decode_state(old).valid_until_ms for key, old in before.items()}
    now = {key: FOREVER if due_ms is None else due_ms for key, due_ms in newest.items()}
    items = [(key, None if due_ms is None else member(due_ms)) for key, due_ms in newest.items()]
    store.write(0, items, offset, 0, [(key, was[key], now[key]) for key in newest if was[key] != now[key]])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@given(CHANGES, st.lists(st.booleans(), min_size=8, max_size=8), DUE)
def test_the_index_says_what_the_states_say(
    root: Path, rounds: list[list[tuple[bytes, int | None]]], by_recovery: list[bool], until_ms: int
) -> None:
    """After every write, of the pipeline or of recovery: each member with an end is there once, the due in order, cut
    anywhere; nothing else is. (What has been looked at before must not hide what comes later with an earlier time.)"""
    shutil.rmtree(root / "law", ignore_errors=True)
    with opened(root / "law") as store:
        for offset, (changes, is_recovery) in enumerate(zip(rounds, by_recovery, strict=False)):
            if is_recovery and changes:
                values = [(key, None if due_ms is None else member(due_ms)) for key, due_ms in changes]
                store.apply(0, [LogRecord(key, value, offset) for key, value in values])
            else:
                write(store, changes, offset)
            index, everybody = store.timers(0), expected(store)
            due = [timer for timer in everybody if timer.due_ms <= until_ms]
            assert index.due(until_ms, 1_000) == due
            assert index.next_due_ms() <= min((timer.due_ms for timer in everybody), default=FOREVER)
            first = index.due(until_ms, 2)
            assert first == due[:2]
            if first:
                assert index.due(until_ms, 2, first[-1]) == due[2:4]
            assert found(store) == everybody
            assert store.timers_count(0) == len(everybody)


def test_nobody_due_costs_no_look(root: Path) -> None:
    """Once looked at, the index knows when the next member falls due; a sooner timer brings that forward."""
    with opened(root / "next") as store:
        assert store.timers(0).next_due_ms() == -FOREVER  # unknown
        write(store, [(b"a", 10), (b"b", 30)], 0)
        assert found(store)[0].due_ms == store.timers(0).next_due_ms() == 10
        write(store, [(b"a", 50)], 1)
        assert store.timers(0).due(20, 9) == []
        assert store.timers(0).next_due_ms() == 30
        write(store, [(b"c", 5)], 2)
        assert store.timers(0).next_due_ms() == 5
        write(store, [(b"a", None), (b"b", None), (b"c", FOREVER)], 3)
        assert found(store) == []
        assert store.timers(0).next_due_ms() == FOREVER


def test_the_index_outlives_a_restart_and_leaves_the_directory(root: Path) -> None:
    """Closed and opened again, also in the same process, as a rebalance does: nothing keeps the files locked."""
    with opened(root / "again") as store:
        write(store, [(b"a", 10)], 0)
        before = found(store)
        tp = TP("g-state-changelog", 0)
        table = type("Table", (), {"changelog_topic": type("Topic", (), {"topics": [tp.topic]})})
        store.revoke_partitions(table, {tp})
        assert found(store) == before
        assert store.timers(0).is_whole
    with opened(root / "again") as store:
        assert found(store) == before


_CRASH = """
import os, sys
from pathlib import Path
from unit.test_timer_index import opened, write
with opened(Path(sys.argv[1])) as store:
    for offset in range(10_000):
        write(store, [(b"m%d" % (offset % 7_000), offset % 1_000)], offset)
        if offset == 9_000:
            store._db_for_partition(0).flush()
    os._exit(9)
"""


def test_after_a_crash_index_and_state_are_of_one_moment(root: Path) -> None:
    """The process dies with writes in memory, which aren't logged: what is left of both is as of the same write."""
    path = os.pathsep.join(["tests", "."])
    done = subprocess.run(
        [sys.executable, "-c", _CRASH, str(root / "crash")], env=os.environ | {"PYTHONPATH": path}, check=False
    )
    assert done.returncode == 9
    with opened(root / "crash") as store:
        offset = store.persisted_offset(TP("", 0))
        assert 9_000 <= offset < 10_000
        assert store.timers(0).is_whole
        assert found(store) == expected(store)[:1_000]
        assert len(expected(store)) == 7_000


def as_the_version_before(directory: Path, dues: dict[bytes, int], offset: int) -> None:
    """Write states and offset as a version without an index does; it leaves an index that is there alone."""
    with opened(directory) as store:
        path, offset_key = store.partition_path(0), store.offset_key
    path.parent.mkdir(parents=True, exist_ok=True)
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    database = rocksdict.Rdict(str(path), options)
    for key, due_ms in dues.items():
        database[key] = member(due_ms)
    database[offset_key] = b"%d" % offset
    database.close()


def test_state_of_a_version_without_timers_is_indexed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update, a downgrade, and an update again: each time the members' timers are noted, once, while batches go on;
    those of a former time are removed."""
    monkeypatch.setattr("memberstream.stream.faust_batch.store.INDEX_SLICE", 2)
    directory = root / "versions"
    as_the_version_before(directory, {b"a": 10, b"b": 20, b"c": FOREVER, b"d": 40}, 7)
    with opened(directory) as store:
        assert not store.timers(0).is_whole

        async def index_beside_a_batch() -> None:
            indexing = asyncio.create_task(store.index_timers(0))
            await asyncio.sleep(0)
            write(store, [(b"d", 5), (b"e", 6)], 8)
            await indexing

        asyncio.run(index_beside_a_batch())
        assert found(store) == expected(store) == [(5, b"d"), (6, b"e"), (10, b"a"), (20, b"b")]
        assert store.timers(0).is_whole
        assert store.timers_count(0) == 4
    with opened(directory) as store:
        assert store.timers(0).is_whole
        assert store.timers_count(0) == 4
    as_the_version_before(directory, {b"a": 11}, 9)
    with opened(directory) as store:
        assert not store.timers(0).is_whole
        store.apply(0, [LogRecord(b"b", member(12, 99), 10)])  # a recovery or standby comes before the assignment
        assert not store.timers(0).is_whole
        asyncio.run(store.index_timers(0))
        assert found(store) == expected(store)
        assert found(store) == [(5, b"d"), (6, b"e"), (11, b"a"), (12, b"b")]


def test_values_of_other_kinds_have_no_timer(root: Path) -> None:
    """Bookkeeping and what can't be read as a member are stored as they are; the member's reader will refuse it."""
    with opened(root / "others") as store:
        values = [(b"\0applied", member(5)), (b"a", b"\x7f" + bytes(20)), (b"b", b"\x02" + bytes(8) + b"\xc1")]
        assert [write_position(value, ()) for _, value in values] == [0, 0, 0]
        store.apply(0, [LogRecord(key, value, i) for i, (key, value) in enumerate(values)])
        assert found(store) == []
        assert store.get_many(0, [key for key, _ in values]) == [value for _, value in values]
