"""The models' log as a worker follows it: what it goes by, and when it says that the log is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError
from authored import BY, defined

from memberstream.models.log_record import COMPLETE, NOTHING, encode
from memberstream.models.log_steps import Publish
from memberstream.models.registry import Registry
from memberstream.stream.registry import follower
from memberstream.stream.registry.follower import Follower
from memberstream.stream.registry.log import ModelsLog


@dataclass
class Log:
    """A models' log, and a consumer of it; some brokers give topics no id."""

    values: list[bytes] = field(default_factory=list)
    id: bytes = b"id"
    topic: str = "models"
    partition: int = 0
    at: int = 0
    is_away: bool = False
    patience_s: float = 0.01
    _client: Any = None

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[Log]:
        yield self

    asker = consumer

    def seek(self, _: int, offset: int) -> None:
        self.at = offset

    async def position(self, _: int) -> int:
        return self.at

    async def getmany(self, partition: int, timeout_ms: int) -> dict[int, list[Any]]:
        await asyncio.sleep(0)
        if self.is_away:
            return {partition: []}
        found, self.at = self.records(self.at), len(self.values)
        return {partition: found}

    async def topics(self) -> set[str]:
        return {self.topic}

    async def end_offsets(self, _: Sequence[int]) -> dict[int, int]:
        if self.is_away:
            raise RequestTimedOutError
        return {self.partition: len(self.values)}

    async def read_on(self, _: object, registry: Registry) -> None:
        for record in self.records(registry.offset + 1):
            registry.take(record.offset, record.value)
        self.at = len(self.values)

    def records(self, first: int) -> list[Any]:
        return [SimpleNamespace(offset=o, value=v) for o, v in enumerate(self.values) if o >= first]


def published(version: int) -> bytes:
    return encode(Publish("level", version, defined("level", version, {}), **BY))


def following(monkeypatch: pytest.MonkeyPatch, log: Log) -> Follower:
    async def topic_id(client: object, topic: str) -> bytes:
        return log.id

    monkeypatch.setattr(follower, "topic_id", topic_id)
    registry = Registry()
    asyncio.run(log.read_on(None, registry))
    return Follower(cast(ModelsLog, log), registry)


def test_what_could_not_be_handed_on_is_handed_on_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told of a step fails with it, or is cancelled by a library: the next run tells of it, once."""
    log = Log([published(1)])
    one, told = following(monkeypatch, log), 0
    one.LOOK_EVERY_S = 0  # type: ignore[misc]

    async def changed() -> None:
        nonlocal told
        told += 1
        if told < 3:
            raise asyncio.CancelledError if told == 1 else ValueError

    async def begun_again_and_again() -> None:
        for expected in (asyncio.CancelledError, ValueError):
            with pytest.raises(expected):
                async with asyncio.timeout(60):
                    await one.run(changed)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await one.run(changed)

    log.values.append(published(2))
    asyncio.run(begun_again_and_again())
    assert told == 3


def test_a_connection_that_is_closed_is_opened_again_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Brokers close what is idle, or whose log-in ended, however often. If the next one fails at once, it is said."""
    log = Log([published(1)])
    one = following(monkeypatch, log)
    one.LOOK_EVERY_S = 0  # type: ignore[misc]
    n_asked, is_away = 0, False

    async def end_offsets(_: object) -> dict[int, int]:
        nonlocal n_asked
        n_asked += 1
        if n_asked % 3 == 0 or is_away:
            raise KafkaConnectionError("closed")
        return {log.partition: len(log.values)}

    monkeypatch.setattr(log, "end_offsets", end_offsets)

    async def follow() -> None:
        nonlocal is_away
        following = asyncio.create_task(one.run(never))
        while n_asked < 10:  # noqa: ASYNC110 (a double, not an event)
            await asyncio.sleep(0)
        assert not caplog.records
        is_away = True
        while not caplog.records:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert "can't be read: KafkaConnectionError: closed. Next: " in caplog.text
        assert one.unreadable is not None
        is_away = False
        while one.unreadable is not None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        following.cancel()

    async def never() -> None:
        raise AssertionError("nothing has changed")

    asyncio.run(asyncio.wait_for(follow(), 60))


def test_a_moment_without_an_answer_is_nobodys_business() -> None:
    """It is logged, with nothing to do; only if it lasts somebody should act. An error's own advice stays."""
    one = Follower(cast(ModelsLog, Log()), Registry())
    assert (one.why_unreadable, one.is_unreadable_for_long) == ("", False)
    one.unreadable = (monotonic(), "no answer in time")
    assert one.why_unreadable.endswith("can't be read: no answer in time. Next: nothing, it is tried again")
    assert not one.is_unreadable_for_long
    one.unreadable = (monotonic() - one.LASTS_S, "no answer in time")
    assert one.why_unreadable.endswith("no answer in time. Next: see the brokers; it is tried again all the time")
    assert one.is_unreadable_for_long
    one.unreadable = (0, "no right. Next: grant it")
    assert one.why_unreadable.endswith("can't be read: no right. Next: grant it")


def look(one: Follower, log: Log, *, n_read: int | None = None) -> bool:
    """Look once; `n_read`: records of those that are new that have been fetched, all by default."""
    return asyncio.run(one._look(log, log.records(one.registry.offset + 1)[:n_read]))


def test_a_log_begun_anew_in_the_same_topic_says_nothing_until_it_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only broker that had it has lost its disk: the topic has its id, and nothing in it. Filled up to what was
    known it isn't whole; what is published then counts only with the step that says that all is there."""
    log = Log([published(1), published(2)])
    one = following(monkeypatch, log)
    assert not look(one, log)
    log.values = []
    for value in (NOTHING, NOTHING, published(2), published(3)):
        log.values.append(value)
        assert not look(one, log)
        assert one.lost is not None
        assert list(one.registry.versions) == ["level@1", "level@2"]
        assert one.is_whole  # what it knew: it goes on by that
    log.values.append(COMPLETE)
    assert look(one, log)
    assert one.lost is None
    assert list(one.registry.versions) == ["level@2", "level@3"]
    assert one.registry.offset == 4


def test_a_step_that_is_on_its_way_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Readers know of it before this worker has fetched it: the log has it, so nobody is woken."""
    log = Log([published(1)])
    one = following(monkeypatch, log)
    assert not look(one, log)
    log.values += [published(2), published(3)]
    one.expect(2)
    for n_read in (0, 1):
        assert not look(one, log, n_read=n_read)
        assert one.lost is None
        assert not one.is_whole
    assert look(one, log)
    assert one.is_whole
    assert not caplog.records


def test_a_log_that_ends_before_what_readers_know_is_lost_until_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log([published(1)])
    one = following(monkeypatch, log)
    one.expect(2)
    assert not look(one, log)
    assert one.lost is not None
    log.values += [published(2), published(3)]
    assert look(one, log)
    assert one.lost is None
    assert one.registry.offset == 2


async def nobody() -> None:
    """Is told of new steps."""


async def waits(waiting: asyncio.Task[None]) -> bool:
    """Return whether it still waits when it has had its time."""
    await asyncio.wait([waiting], timeout=0.1)
    return not waiting.done()


def test_a_step_that_only_the_log_names_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis was emptied just after it: nobody else says that there is such a step. Found: interactions were counted by
    the terms before it, for good."""
    log = Log([published(1)])
    one = following(monkeypatch, log)
    held_back, one.LOOK_EVERY_S = asyncio.Event(), 0  # type: ignore[misc]
    getmany = log.getmany

    async def delayed(partition: int, timeout_ms: int) -> dict[int, list[Any]]:
        await held_back.wait()
        return await getmany(partition, timeout_ms)

    monkeypatch.setattr(log, "getmany", delayed)

    async def both() -> None:
        following = asyncio.create_task(one.run(nobody))
        async with asyncio.timeout(60):
            await one.until_known(-1)
            log.values += [published(2), published(3)]
            waiting = asyncio.create_task(one.until_known(-1))
            assert await waits(waiting)
            held_back.set()
            await waiting
        assert one.registry.offset == 2
        following.cancel()

    asyncio.run(both())


def test_where_the_log_ends_is_asked_until_there_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Kafka is away nobody can say. A log that is lost is no outage: then what is known has to do."""
    log = Log([published(1)])
    one = following(monkeypatch, log)
    one.LOOK_EVERY_S = 0  # type: ignore[misc]

    async def both() -> None:
        waiting = asyncio.create_task(one.until_known(-1))
        assert await waits(waiting), "nobody follows the log yet"
        log.is_away = True
        following = asyncio.create_task(one.run(nobody))
        assert await waits(waiting)
        log.is_away = False
        async with asyncio.timeout(60):
            await waiting
            log.values = []
            while one.lost is None:  # noqa: ASYNC110 (nobody announces it)
                await asyncio.sleep(0.001)
            await one.until_known(0)
        following.cancel()

    asyncio.run(both())
