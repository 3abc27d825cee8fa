"""Members with long lists go on from what was written last: nothing but the time that it takes is another."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.shell import CRASH_POINTS, Crash, CrashPoint, Disk, Process, Record
from unit.test_pipeline import MODELS, RECORDS, cut
from unit.test_timers import check

from memberstream.models.member import Member, decode, encode
from memberstream.models.packed_list import PackedList, packed_lists
from memberstream.stream.members.recent import MOST_SEEN, Recent


@contextmanager
def every_list_is_long() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in ("models.packed_list", "models.member", "stream.members.recent"):
            patch.setattr(f"memberstream.{module}.LONG_BYTES", 1)
        yield


def caught_up(batches: Sequence[Sequence[Record]], crash_at: CrashPoint | None) -> Disk:
    """Return the disk after processes that die once, each at a later batch, and one that doesn't."""
    disk = Disk()

    async def go_on(crash_at: CrashPoint | None) -> None:
        process = Process(disk, MODELS)
        await process.run(batches, crash_at)
        await process.rescore_due(crash_at)

    for _ in range(2 if crash_at else 0):
        with suppress(Crash):
            asyncio.run(go_on(crash_at))
    asyncio.run(go_on(None))
    return disk


def members(disk: Disk) -> dict[bytes, bytes]:
    """Return the members' states, without the write position: others' writes beside them decide that."""
    return {key: value[9:] for key, value in disk.state().items() if not key.startswith(b"\0")}


@pytest.mark.parametrize("crash_at", [None, *CRASH_POINTS])
@given(RECORDS, st.lists(st.integers(1, 4), max_size=12))
def test_state_and_redis_are_those_of_lists_that_are_read(
    crash_at: CrashPoint | None, records: list[Record], sizes: list[int]
) -> None:
    """Byte for byte, after batches of any size and a crash at each side effect, and after members fell due."""
    batches = cut(records, sizes)
    read = caught_up(batches, crash_at)
    with every_list_is_long():
        kept = caught_up(batches, crash_at)
    assert members(kept) == members(read)
    assert kept.redis == read.redis
    check(kept)


def state_of(document: dict[str, Any], position: int = 0) -> bytes:
    return encode(Member(position, document=document), 0)


LONG = {"l": list(range(9_000))}


def packed(recent: Recent, key: bytes, state: bytes) -> bool:
    """Look at a member and write it as it is. Returns whether its list was packed."""
    member = recent.decode(key, state)
    recent.keep(key, state, member)
    return bool(packed_lists(member.document))


def test_from_the_second_look_on() -> None:
    """Somebody who is looked at once costs what reading costs; short documents are always read."""
    recent, state = Recent(), state_of(LONG)
    assert [packed(recent, b"a", state) for _ in range(3)] == [False, True, True]
    assert packed(recent, b"a", state_of({"l": [1]})) is False
    assert recent.size_bytes == 0
    for i in range(MOST_SEEN):
        recent.decode(b"%d" % i, state)
    assert packed(recent, b"a", state) is False


def test_who_has_no_long_list_is_not_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look through many values takes longer than to read them. Whoever has doubled may have one now."""
    looks = []

    def noted(state: bytes, *, is_packed: bool = False) -> Member:
        looks.append(is_packed)
        return decode(state, is_packed=is_packed)

    monkeypatch.setattr("memberstream.stream.members.recent.decode", noted)
    recent, flat = Recent(), {f"key {i}": 0.5 * i for i in range(900)}
    for document in (flat, flat, flat, flat | {"x": 1}, flat | LONG, flat | LONG):
        assert packed(recent, b"a", state_of(document)) is ("l" in document)
    assert looks == [False, True, False, False, True]


def test_only_what_was_written_is_taken() -> None:
    """If the stored state is another, it is read; what is taken is the batch's own."""
    recent, state = Recent(), state_of(LONG)
    for _ in range(2):
        packed(recent, b"a", state)
    found = recent.find(b"a", bytes(bytearray(state)))
    assert found is not None
    found.memberships[1] = (1, 1)
    found.rows[1] = b"row"
    found.touched.add(("l",))
    again = recent.find(b"a", state)
    assert again is not None
    assert (again.memberships, again.rows, again.touched) == ({}, {}, set())
    assert again.document_bytes == len(state)
    other = state_of(LONG, position=1)
    assert recent.find(b"a", other) is None
    assert recent.find(b"b", state) is None
    assert recent.decode(b"a", other).position == 1


def test_memory_is_bounded() -> None:
    """Who wasn't looked at for longest goes first; other models are other columns."""
    state = state_of(LONG)
    recent = Recent(most_bytes=5 * len(state))  # two fit: each as its state and as its list
    for key in (b"a", b"b", b"a", b"b", b"c", b"a", b"c"):
        packed(recent, key, state)
    assert [key for key in (b"a", b"b", b"c") if recent.find(key, state)] == [b"a", b"c"]
    assert 0 < recent.size_bytes <= 5 * len(state)
    recent.under(7)
    assert recent.size_bytes == 0
    assert recent.find(b"a", state) is None
    packed(recent, b"a", state)
    recent.under(7)
    assert recent.find(b"a", state) is not None


def test_memory_counts_what_isnt_packed() -> None:
    """Beside a long list a document may hold objects, and they take many times their bytes."""
    state = state_of(LONG | {"o": {f"k{i}": {"a": i} for i in range(1_000)}})
    recent = Recent()
    for _ in range(2):
        packed(recent, b"a", state)
    tracemalloc.start()
    try:
        member = decode(state, is_packed=True)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert member.document is not None
    assert len(member.document["o"]) == 1_000
    assert recent.size_bytes > taken


def test_who_is_rescored_stays_and_nobody_else_comes() -> None:
    recent, state, later = Recent(), state_of(LONG), state_of(LONG, position=1)
    for _ in range(2):
        packed(recent, b"a", state)
    for key in (b"a", b"b"):
        recent.renew(key, later, decode(later, is_packed=True))
    assert (recent.find(b"a", later) is not None, recent.find(b"b", later)) == (True, None)


def test_a_list_that_grows_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's appends to one member: from the third on its elements aren't read, nor written one by one."""
    n_read = 0
    items = PackedList.items

    def counted(packed: PackedList) -> list[Any]:
        nonlocal n_read
        n_read += 1
        return items(packed)

    monkeypatch.setattr(PackedList, "items", counted)
    day_ms = 86_400_000
    seen = [{"at": 1_000 * day_ms + i} for i in range(2_000)]
    first = b'{"op":"replace","document":{"seen":%s}}' % repr(seen).replace("'", '"').encode()
    disk = Disk()

    async def appends() -> list[int]:
        process, found = Process(disk, MODELS), []
        await process.run([[Record(0, b"a", first, 1_003 * day_ms)]])
        for i in range(1, 6):
            value = b'{"op":"append","path":"seen","value":{"at":%d}}' % (1_003 * day_ms)
            await process.pipeline.handle(0, [Record(i, b"a", value, 1_003 * day_ms)])
            found.append(n_read)
        return found

    reads = asyncio.run(appends())
    assert reads[1:] == [reads[1]] * 4, reads
    document = decode(disk.state()[b"a"]).document
    assert document is not None
    assert len(document["seen"]) == 2_005


def test_of_whom_nothing_is_stored_nothing_stays() -> None:
    """A deleted member's document doesn't wait in memory for others to push it out."""
    long = orjson.dumps({"op": "replace", "document": LONG})
    append = orjson.dumps({"op": "append", "path": "l", "value": 1})

    async def kept_bytes() -> list[int]:
        process, found = Process(Disk(), MODELS), []
        for i, value in enumerate([long, append, append, None]):
            await process.run([[Record(i, b"a", value)]])
            found.append(process.pipeline._computing._recent.size_bytes)
        return found

    assert [size > 0 for size in asyncio.run(kept_bytes())] == [False, False, True, False]
