"""A record that can't be handled: found in its batch, counted over restarts, held, set aside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, OffsetOutOfRangeError
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.member import NewerState, StateError
from memberstream.stream.faust_batch.errors import Fenced, ForeignWrite, StateAhead
from memberstream.stream.faust_batch.isolating import BadRecord, handle_isolating
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.partition.holds import Holds, Kind
from memberstream.stream.partition.skip_log import SkipLog
from memberstream.stream.partition.skips import Skip, Skips, encode
from memberstream.stream.partition.source_topic import TopicChanged
from memberstream.stream.partition.state import HalfDone
from memberstream.stream.partition.stuck import LIMIT, Stuck

COMMAND = "memberstream events skip"


def records(n: int) -> list[Any]:
    return [SimpleNamespace(offset=10 + 2 * i) for i in range(n)]


#: Where reading goes on behind a batch.
END = 1_000


class Handler:
    """Applies records as a pipeline does, each once; fails at some of them, and at some calls."""

    def __init__(self, bad: Sequence[int] = (), bad_calls: Sequence[int] = (), error: Exception | None = None) -> None:
        self.applied: list[int] = []
        self.calls, self.read_to = 0, 0
        self._bad, self._bad_calls, self._error = set(bad), set(bad_calls), error or KeyError("m1")

    async def handle(self, partition: int, records: Sequence[Any], next_offset: int) -> None:
        self.calls += 1
        if self.calls in self._bad_calls or any(record.offset in self._bad for record in records):
            raise self._error
        self.applied += [record.offset for record in records]
        self.read_to = next_offset


@given(st.integers(1, 70), st.sets(st.integers(0, 69)))
def test_what_comes_before_the_record_that_fails_is_applied_and_nothing_else(n: int, bad: set[int]) -> None:
    """Whatever else fails behind it; in few attempts. Without one the batch goes through at once."""
    batch = records(n)
    wrong = sorted(batch[i].offset for i in bad if i < n)
    handler = Handler(wrong)
    handing = handle_isolating(handler.handle, 3, batch, END)
    if not wrong:
        asyncio.run(handing)
        assert handler.calls == 1
    else:
        with pytest.raises(BadRecord) as error:
            asyncio.run(handing)
        assert (error.value.partition, error.value.offset) == (3, wrong[0])
        assert handler.calls <= 1 + 2 * n.bit_length()
    assert handler.applied == [record.offset for record in batch if not wrong or record.offset < wrong[0]]
    assert handler.read_to == (END if not wrong else wrong[0] if handler.applied else 0)  # nothing unapplied is passed


@given(st.integers(2, 40), st.sets(st.integers(2, 60)))
def test_what_fails_once_and_not_again_is_no_bad_record(n: int, bad_calls: set[int]) -> None:
    """A batch whose parts go through is applied, in order and whole; a part of one record that fails is bad."""
    batch = records(n)
    handler = Handler(bad_calls=[1, *bad_calls])
    end = 10 + 2 * n
    try:
        asyncio.run(handle_isolating(handler.handle, 0, batch, END))
    except BadRecord as error:
        end = error.offset
    assert handler.applied == [record.offset for record in batch if record.offset < end]


@pytest.mark.parametrize(
    "error",
    [
        Fenced("lost"),
        ForeignWrite("foreign"),
        StateAhead("ahead"),
        TopicChanged("changed"),
        NewerState("of a later version"),
        HalfDone("counted, not told"),
        OSError(28, "No space left on device"),
        KafkaConnectionError("away"),
        MemoryError(),
        Exception("IO error: No space left on device"),  # as rocksdict raises it
        asyncio.CancelledError(),
    ],
)
async def test_what_no_record_causes_passes_as_it_is(error: BaseException) -> None:
    """At once: nothing is tried again, and no record is blamed."""
    batch, calls = records(8), []

    async def handle(partition: int, records: Sequence[Any], next_offset: int) -> None:
        calls.append(len(records))
        raise error

    with pytest.raises(type(error)) as found:
        await handle_isolating(handle, 0, batch, END)
    assert found.value is error
    assert calls == [8]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("secret"), "KeyError"),
        (ValueError("secret"), "ValueError"),
        (MessageSizeTooLargeError("secret"), "MessageSizeTooLargeError"),
        (StateError("damaged bytes"), "StateError: damaged bytes"),
    ],
)
async def test_only_our_own_texts_are_said(error: Exception, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """Others' may hold a member's data. Where it failed is logged, which is what a developer needs."""
    with pytest.raises(BadRecord) as found:
        await handle_isolating(Handler([10], error=error).handle, 0, records(3), END)
    assert found.value.error == said
    assert found.value.__suppress_context__
    assert "in handle" in caplog.text
    assert "secret" not in caplog.text + str(found.value)


def new(path: Path, now_ms: int = 1_000) -> tuple[Stuck, Holds]:
    """Return what a process that begins has."""
    holds = Holds()
    stuck = Stuck(path, holds, COMMAND, lambda: now_ms)
    stuck.load()
    return stuck, holds


def test_failures_are_counted_over_processes_and_then_the_partition_is_held(tmp_path: Path) -> None:
    """The first ones end the worker; from then on each process tries once and holds, since the first of all."""
    path = tmp_path / "stuck.json"
    for n in range(1, LIMIT):
        stuck, holds = new(path, 1_000 * n)
        assert stuck.failed(3, 7, "KeyError", 8)
        assert not holds.now
    for n in range(LIMIT, LIMIT + 2):
        stuck, holds = new(path, 1_000 * n)
        assert not stuck.failed(3, 7, "KeyError", 8)
        [(partition, hold)] = holds.now.items()
        assert (partition, hold.kind, hold.offset, hold.since_ms) == (3, Kind.STUCK, 7, 1_000)
        assert hold.why == f"its record at offset 7 can't be handled, tried {n} times: KeyError"
        assert hold.next.startswith(f"`{COMMAND} 3 7` sets that record aside")


def test_another_record_and_one_that_went_through_begin_anew(tmp_path: Path) -> None:
    """What counts is failures at one place without a success; each partition for itself."""
    path = tmp_path / "stuck.json"
    for _ in range(LIMIT - 1):
        assert new(path)[0].failed(3, 7, "KeyError", 8)
    assert new(path)[0].failed(4, 7, "KeyError", 8)
    assert new(path)[0].failed(3, 9, "KeyError", 8)
    stuck, _ = new(path)
    stuck.passed(3, 9)  # everything below; not itself
    for _ in range(LIMIT - 2):
        assert new(path)[0].failed(3, 9, "KeyError", 8)
    stuck, _ = new(path)
    stuck.passed(3, 10)
    assert new(path)[0].failed(3, 9, "KeyError", 8)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b'{"3":{"offset":"x"}}'])
def test_a_damaged_count_begins_anew(tmp_path: Path, content: bytes) -> None:
    """It is no reason not to start."""
    path = tmp_path / "stuck.json"
    path.write_bytes(content)
    stuck, holds = new(path)
    assert stuck.failed(3, 7, "KeyError", 8)
    assert not holds.now
    assert msgspec.json.decode(path.read_bytes())["3"]["times"] == 1


def test_partitions_that_all_fail_alike_are_not_blamed_on_records(tmp_path: Path) -> None:
    """The last one's action begins with the cause that they have in common; if one differs, it doesn't."""
    for errors, is_alike in ((["KeyError"] * 3, True), (["KeyError", "ValueError", "KeyError"], False)):
        stuck, holds = new(tmp_path / "-".join(errors))
        for partition, error in enumerate(errors):
            for _ in range(LIMIT):
                stuck.failed(partition, 5, error, len(errors))
        assert ("all partitions fail alike" in holds.now[2].next) == is_alike
        assert f"`{COMMAND} 2 5`" in holds.now[2].next
        assert "alike" not in holds.now[1].next


def test_an_error_that_says_what_to_do_is_believed(tmp_path: Path) -> None:
    """Its action comes first; setting the record aside is what is left when that doesn't help."""
    stuck, holds = new(tmp_path / "stuck.json")
    for _ in range(LIMIT):
        stuck.failed(1, 7, "RedisFault: WRONGTYPE. Next: remove the key.", 3)
    assert holds.now[1].why.endswith(": RedisFault: WRONGTYPE")
    assert holds.now[1].next.startswith("remove the key; restarted, this worker tries it again")
    assert f"Otherwise `{COMMAND} 1 7` sets" in holds.now[1].next


def test_a_hold_ends_when_its_record_is_set_aside(tmp_path: Path) -> None:
    """Its own and no other."""
    stuck, holds = new(tmp_path / "stuck.json")
    for partition in (1, 2):
        for _ in range(LIMIT):
            stuck.failed(partition, 7, "KeyError", 3)
    stuck.release(lambda partition, offset: (partition, offset) == (1, 8))
    assert set(holds.now) == {1, 2}
    stuck.release(lambda partition, offset: (partition, offset) == (1, 7))
    assert set(holds.now) == {2}


SKIP = Skip(topic="docs", topic_id="0a", partition=3, offset=7, at_ms=1, actor="me@host")


@given(st.lists(st.none() | st.binary() | st.sampled_from([encode(SKIP), encode(SKIP)[:-1], b"[" * 100_000])))
def test_no_record_stops_the_fold_of_skips(values: list[bytes | None]) -> None:
    """What isn't a step is left out; the steps around it count."""
    skips = Skips()
    for offset, value in enumerate([*values, encode(SKIP)]):
        skips.take(offset, value)
    assert skips.offset == len(values)
    assert set(skips.of("docs", b"\x0a", 3)) == {7}


def test_a_skip_names_one_record_of_one_topic(caplog: pytest.LogCaptureFixture) -> None:
    """Not of another topic, partition, or a topic made anew under the name; where the broker gives no ids, by the name.
    A later format isn't guessed at."""
    caplog.set_level(logging.ERROR)
    skips = Skips()
    skips.take(4, encode(SKIP))
    skips.take(4, encode(msgspec.structs.replace(SKIP, offset=99)))  # read twice
    skips.take(5, encode(msgspec.structs.replace(SKIP, offset=8, format=2)))
    assert dict(skips.of("docs", b"\x0a", 3)) == {
        7: "set aside by an operator, step 4 of `memberstream events skipped`"
    }
    assert set(skips.of("docs", b"", 3)) == {7}
    for elsewhere in (("docs", b"\x0b", 3), ("docs", b"\x0a", 2), ("other", b"\x0a", 3)):
        assert not skips.of(*elsewhere)
    assert "expected format 1, found 2" in caplog.text
    assert skips.offset == 5


def test_the_same_offset_set_aside_in_a_topic_made_anew_is_another_record() -> None:
    """Each topic's step counts for its own record: the older one takes nothing from the newer."""
    skips = Skips()
    skips.take(0, encode(SKIP))
    skips.take(1, encode(msgspec.structs.replace(SKIP, topic_id="0b")))
    skips.take(2, encode(msgspec.structs.replace(SKIP, topic_id="", offset=8)))
    assert [set(skips.of("docs", topic_id, 3)) for topic_id in (b"\x0a", b"\x0b", b"\x0c", b"")] == [
        {7, 8},
        {7, 8},
        {8},
        {7, 8},
    ]
    assert "step 1 " in skips.of("docs", b"\x0b", 3)[7]


KAFKA = Kafka(("nowhere:1",))


class LogConsumer:
    """Reads a list as aiokafka reads a topic, whose first record has the offset `begins`."""

    _client = None

    def __init__(self, log: list[bytes], begins: int) -> None:
        self._log, self._begins, self._at = log, begins, 0

    async def start(self) -> None:
        """There is nobody to connect to."""

    stop = start

    def assign(self, partitions: Any) -> None:
        """There is one."""

    async def beginning_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(partitions, self._begins)

    async def end_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(partitions, self._begins + len(self._log))

    def seek(self, part: Any, offset: int) -> None:
        self._at = offset

    async def position(self, part: Any) -> int:
        return self._at

    async def getmany(self, part: Any, timeout_ms: int) -> dict[Any, list[Any]]:
        await asyncio.sleep(0.001)
        if not self._begins <= self._at <= self._begins + len(self._log):
            raise OffsetOutOfRangeError({part: self._at})
        found = [SimpleNamespace(offset=self._begins + i, value=value) for i, value in enumerate(self._log)]
        found, self._at = found[self._at - self._begins :], self._begins + len(self._log)
        return {part: found}


@pytest.mark.parametrize("begins", [0, 5])
async def test_a_log_of_skips_made_anew_is_followed_from_its_beginning(
    begins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By who follows it and by who reads it next: its first offsets aren't taken for those that were read before. What
    was set aside by the old one stays so."""
    monkeypatch.setattr("memberstream.stream.partition.skip_log._AGAIN_S", 0.0)

    async def no_id(client: object, topic: str) -> bytes:
        return b""  # as of some brokers

    monkeypatch.setattr("memberstream.stream.partition.skip_log.topic_id", no_id)
    log, options = [encode(SKIP), encode(SKIP)], list[dict[str, Any]]()

    def consumer(**its_options: Any) -> LogConsumer:
        options.append(its_options)
        return LogConsumer(log, begins)

    kafka = SimpleNamespace(consumer=consumer, explained=KAFKA.explained)
    skip_log, changed = SkipLog(kafka, "skips", 1), asyncio.Event()  # type: ignore[arg-type]
    following = asyncio.create_task(skip_log.follow(changed.set))
    async with asyncio.timeout(60):
        while len(skip_log.skips.steps) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        log[:] = [encode(msgspec.structs.replace(SKIP, offset=9))]
        while set(skip_log.skips.of("docs", b"\x0a", 3)) != {7, 9}:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    following.cancel()
    await asyncio.wait([following])
    log[:] = []
    await skip_log.read()
    log[:] = [encode(msgspec.structs.replace(SKIP, offset=11))]
    assert set((await skip_log.read()).of("docs", b"\x0a", 3)) == {7, 9, 11}
    assert all(its_options == {"auto_offset_reset": "none"} for its_options in options)


async def test_a_log_of_skips_as_long_as_the_one_before_is_told_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """No offset tells that it is another one. Who follows it reads it whole."""
    log, ids = [encode(SKIP), encode(SKIP)], [b"first"]

    async def topic_id(client: object, topic: str) -> bytes:
        return ids[-1]

    monkeypatch.setattr("memberstream.stream.partition.skip_log.topic_id", topic_id)
    kafka = SimpleNamespace(consumer=lambda **_: LogConsumer(log, 0), explained=KAFKA.explained)
    skip_log = SkipLog(kafka, "skips", 1)  # type: ignore[arg-type]
    following = asyncio.create_task(skip_log.follow(lambda: None))
    async with asyncio.timeout(60):
        while len(skip_log.skips.steps) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        log[:] = [encode(msgspec.structs.replace(SKIP, offset=offset)) for offset in (9, 11)]
        ids.append(b"second")
        while set(skip_log.skips.of("docs", b"\x0a", 3)) != {7, 9, 11}:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    following.cancel()
    await asyncio.wait([following])
