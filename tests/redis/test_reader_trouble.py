"""Readers in trouble: each call ends in its time, with the right answer or an error that says what to do next."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BoundedSemaphore, BrokenBarrierError
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry
from proxy import CountingProxy
from servers import RedisServer
from test_lookup import fill

from memberstream.stream.lookup import Answer, AsyncLookup, Lookup, LookupUnavailable, client
from memberstream.stream.lookup.prometheus import counting
from memberstream.stream.wire.once import Once
from memberstream.stream.wire.replies import ConnectionLost

SLACK_S = 1.5  # a busy machine


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test alone, with members."""
    with RedisServer("valkey", tmp_path / "redis") as own:
        asyncio.run(fill(own.url, n=200))
        yield own


def pause(server: RedisServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)


def resume(server: RedisServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGCONT)


async def test_each_call_has_one_deadline_however_many_wait(server: RedisServer) -> None:
    """Redis is stopped; a call comes every 50 ms. None waits for the time-outs of those before it."""
    timeout_s, times = 0.5, list[float]()

    async def one(lookup: AsyncLookup, i: int) -> None:
        await asyncio.sleep(0.05 * i)
        began = time.monotonic()
        with pytest.raises(LookupUnavailable, match="Next: "):
            await (lookup.get("m-1") if i % 2 else lookup.get_many(["m-1", "m2"]))
        times.append(time.monotonic() - began)

    async with AsyncLookup(server.url, timeout_s=timeout_s) as lookup:
        assert (await lookup.get("m-1")).cluster("repeat_buyer") is not None
        pause(server)
        await asyncio.gather(*[one(lookup, i) for i in range(40)])
        resume(server)
        assert max(times) < timeout_s + SLACK_S
        assert sorted(times)[len(times) // 2] < timeout_s + 0.2
        assert (await lookup.get("m-1")).cluster("repeat_buyer") is not None


async def test_one_attempt_to_connect_serves_all_who_wait(server: RedisServer) -> None:
    """A hundred tasks with a fresh client, of which some give up before it is connected."""
    async with CountingProxy(server.port) as proxy, AsyncLookup(proxy.url) as lookup:
        tasks = [asyncio.ensure_future(lookup.get(f"m{i}")) for i in range(100)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(one, "member_id", None) for i, one in enumerate(found) if i % 3] == [
            f"m{i}" for i in range(100) if i % 3
        ]
        assert proxy.connections == 1


async def test_who_waits_for_work_that_somebody_else_ends_is_told_of_a_lost_connection() -> None:
    """A CancelledError would say that the caller itself was cancelled. A caller that is, is."""
    once, begun = Once(asyncio.Event().wait), asyncio.Event()

    async def waiting() -> str:
        begun.set()
        try:
            await once.done()
        except ConnectionLost:
            return "lost"
        return "done"

    tasks = [asyncio.create_task(waiting()) for _ in range(3)]
    await begun.wait()
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    once.cancel()
    assert await asyncio.gather(*tasks[1:]) == ["lost", "lost"]
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


async def test_a_storm_of_cancellations_mixes_nothing_up(server: RedisServer) -> None:
    """Whoever isn't cancelled gets its own member; the connection stays."""
    chance = random.Random(3)
    async with AsyncLookup(server.url) as lookup:
        await lookup.get("m0")
        for _ in range(30):
            tasks = {i: asyncio.ensure_future(lookup.get(f"m{i}")) for i in range(100)}
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            gone = set(chance.sample(sorted(tasks), 40))
            for i in gone:
                tasks[i].cancel()
            found = await asyncio.gather(*tasks.values(), return_exceptions=True)
            for i, one in enumerate(found):
                if i not in gone:
                    assert not isinstance(one, BaseException)
                    assert (one.member_id, one.offset) == (f"m{i}", 17 + i)
        assert lookup._wire.connections == 1


@pytest.mark.filterwarnings("ignore:unclosed")  # as Python says of any connection whose loop ends first
def test_a_client_goes_on_in_another_loop(server: RedisServer) -> None:
    """`asyncio.run` for each job, or a loop for each test: the loop that had it is over."""
    lookup = AsyncLookup(server.url)

    async def ask() -> int | None:
        return (await lookup.get("m-1")).cluster("repeat_buyer")

    assert [asyncio.run(ask()) for _ in range(3)] == [1, 1, 1]

    async def from_elsewhere() -> str:
        await ask()
        with pytest.raises(RuntimeError, match=r"another event loop.*Next: one AsyncLookup for each loop"):
            await asyncio.to_thread(asyncio.run, ask())
        assert await ask() == 1  # this loop keeps it
        await lookup.close()
        return "closed"

    assert asyncio.run(from_elsewhere()) == "closed"
    gc.collect()


WRONG_ONE = [(7, "member_id: expected a text, found int 7. Next: str"), (None, "NoneType"), (b"m", "bytes b'm'")]
WRONG_MANY = [
    ("m-1", r"member_ids: expected a list of texts, found str 'm-1'. Next: \[member_id\]"),
    (None, "found NoneType"),
    (7, "found int 7"),
    (["m-1", 7], r"member_ids\[1\]: expected a text, found int 7. Next: str"),
    ([float("nan")], r"member_ids\[0\]: .* float nan"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG_ONE)
def test_an_id_of_the_wrong_type_is_named(server: RedisServer, wrong: Any, message: str) -> None:
    """By both clients."""
    with Lookup(server.url) as lookup, pytest.raises(TypeError, match=message):
        lookup.get(wrong)

    async def asynchronous() -> None:
        async with AsyncLookup(server.url) as lookup:
            with pytest.raises(TypeError, match=message):
                await lookup.get(wrong)

    asyncio.run(asynchronous())


@pytest.mark.parametrize(("wrong", "message"), WRONG_MANY)
def test_ids_of_the_wrong_type_are_named(server: RedisServer, wrong: Any, message: str) -> None:
    """A text alone isn't taken for its characters."""
    with Lookup(server.url) as lookup, pytest.raises(TypeError, match=message):
        lookup.get_many(wrong)

    async def asynchronous() -> None:
        async with AsyncLookup(server.url) as lookup:
            with pytest.raises(TypeError, match=message):
                await lookup.get_many(wrong)

    asyncio.run(asynchronous())


def test_any_iterable_of_texts_is_taken(server: RedisServer) -> None:
    """A generator, a set, a column of a data frame."""
    pandas = pytest.importorskip("pandas")
    with Lookup(server.url) as lookup:
        for ids in (iter(["m1", "m2"]), {"m1": 0, "m2": 0}.keys(), pandas.Series(["m1", "m2"])):
            assert [answer.member_id for answer in lookup.get_many(ids)] == ["m1", "m2"]
        assert lookup.get_many(iter(())) == []


def outcome(url: str) -> str:
    """What both clients say; they must agree but for what the system calls it."""
    with Lookup(url, timeout_s=0.5) as lookup, pytest.raises(LookupUnavailable) as blocking:
        lookup.get("m-1")

    async def asynchronous() -> str:
        async with AsyncLookup(url, timeout_s=0.5) as lookup:
            with pytest.raises(LookupUnavailable) as raised:
                await lookup.get("m-1")
            return str(raised.value)

    said = str(blocking.value)
    assert said.rpartition("Next: ")[2] == asyncio.run(asynchronous()).rpartition("Next: ")[2]
    return said


def test_a_server_full_of_connections_is_an_outage(server: RedisServer) -> None:
    """It passes, and says what to raise."""
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxclients", "1")
        assert "Next: it has as many clients as it takes: raise its maxclients" in outcome(server.url)


def test_settings_that_do_not_fit_the_server_are_named(server: RedisServer) -> None:
    """Not "report it": the URL is to be corrected."""
    host = server.url.removeprefix("redis://")
    assert "Next: it hasn't that database" in outcome(f"redis://{host.removesuffix('/0')}/99")
    assert "that its port speaks TLS" in outcome(f"rediss://{host}")


def test_another_program_behind_the_port_is_named() -> None:
    """A web server, say."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1_000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        said = outcome(f"redis://127.0.0.1:{listening.getsockname()[1]}/0")
        thread.join()
    assert "not a Redis reply" in said
    assert "Next: another program answers there" in said


def test_threads_share_a_bounded_pool(server: RedisServer) -> None:
    """Fifty threads over four connections: each gets its own member; the server never sees a fifth connection.
    (On a busy machine one of them may wait for its turn for seconds.)"""
    with Lookup(server.url, timeout_s=60.0, max_connections=4) as lookup, redis.Redis.from_url(server.url) as admin:
        most = 0
        with ThreadPoolExecutor(50) as pool:
            asked = [pool.submit(lookup.get, f"m{i % 200}") for i in range(2_000)]
            while not all(one.done() for one in asked):
                most = max(most, len([c for c in admin.client_list() if c["name"] == "memberstream-lookup"]))
        assert [one.result().member_id for one in asked] == [f"m{i % 200}" for i in range(2_000)]
        assert 0 < most <= 4


@pytest.mark.parametrize("is_forked", [False, True])
def test_a_pool_is_made_once_for_all_threads(
    server: RedisServer, is_forked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that use it first at the same time, also in a process that has just been forked, share its turns."""
    made, both = list[BoundedSemaphore](), Barrier(2)

    def make(value: int) -> BoundedSemaphore:
        with suppress(BrokenBarrierError):  # a second thread that makes one, too, comes within that time
            both.wait(0.5)
        made.append(BoundedSemaphore(value))
        return made[-1]

    if not is_forked:
        monkeypatch.setattr(client, "BoundedSemaphore", make)
    with Lookup(server.url, max_connections=1) as lookup, ThreadPoolExecutor(2) as pool:
        if is_forked:
            lookup._turns = 0, lookup._turns[1]  # of a process that isn't this one
            monkeypatch.setattr(client, "BoundedSemaphore", make)
        assert [one.member_id for one in pool.map(lookup.get, ["m1", "m2"])] == ["m1", "m2"]
        assert lookup._connections == 1
    assert len(made) == 1


class Asked:
    """What came of many calls: how long the longest took, what was wrong, and how many were answered or refused."""

    def __init__(self) -> None:
        self.longest_s, self.wrong, self.outcomes = 0.0, list[str](), Counter[str]()

    def note(self, member: int, began: float, answer: Answer | None, error: Exception | None) -> None:
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        self.outcomes["answered" if error is None else "refused"] += 1
        if answer is not None:  # a Redis that was emptied may lack the member, but never has another one's row
            is_missing = answer.offset is None and answer.status == "rebuilding"
            if answer.member_id != f"m{member}" or not (is_missing or answer.offset == 17 + member):
                self.wrong.append(repr(answer))
        elif not isinstance(error, LookupUnavailable) or "Next: " not in str(error):
            self.wrong.append(repr(error))


@pytest.mark.long
async def test_threads_and_cancellations_in_the_midst_of_outages(server: RedisServer) -> None:
    """Fifty threads over four connections, and tasks of which a third is cancelled, while Redis is stopped, goes on, is
    killed and comes back empty: each call ends in its time, with its own member or an error that helps. 6 s."""
    timeout_s, over = 0.5, threading.Event()
    by_threads, by_tasks = Asked(), Asked()
    chance = random.Random(7)

    def ask(lookup: Lookup, first: int) -> None:
        for i in range(first, 10**9, 50):
            if over.is_set():
                return
            member, began = i % 200, time.monotonic()
            try:
                by_threads.note(member, began, lookup.get(f"m{member}"), None)
            except Exception as error:
                by_threads.note(member, began, None, error)
                time.sleep(0.01)

    async def one(lookup: AsyncLookup, member: int) -> None:
        began = time.monotonic()
        try:
            by_tasks.note(member, began, await lookup.get(f"m{member}"), None)
        except Exception as error:
            by_tasks.note(member, began, None, error)

    async def storm(lookup: AsyncLookup) -> None:
        while not over.is_set():
            tasks = [asyncio.create_task(one(lookup, chance.randrange(200))) for _ in range(60)]
            await asyncio.sleep(chance.choice((0, 0.005, 0.05)))
            for task in tasks[::3]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    with ThreadPoolExecutor(50) as pool, Lookup(server.url, timeout_s=timeout_s, max_connections=4) as shared:
        async with AsyncLookup(server.url, timeout_s=timeout_s) as lookup:
            asking = [pool.submit(ask, shared, first) for first in range(50)]
            storming = asyncio.create_task(storm(lookup))
            try:
                await asyncio.sleep(1)
                pause(server)
                await asyncio.sleep(1.5)
                resume(server)
                await asyncio.sleep(1)
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(1)
                await asyncio.to_thread(server.start)
                await asyncio.sleep(1)
            finally:
                over.set()
                await storming
                await asyncio.to_thread(lambda: [one.result() for one in asking])
            assert (await lookup.get("m1")).member_id == shared.get("m1").member_id == "m1"
    assert by_threads.wrong == by_tasks.wrong == []
    assert min(*by_threads.outcomes.values(), *by_tasks.outcomes.values()) > 10
    assert len(by_threads.outcomes) == len(by_tasks.outcomes) == 2
    assert by_tasks.longest_s < timeout_s + SLACK_S
    assert by_threads.longest_s < 3 * timeout_s + SLACK_S  # for a turn, for the connection, for the reply


def test_who_waits_too_long_for_a_connection_is_told(server: RedisServer) -> None:
    """Redis is stopped, so the one connection stays in use: two more threads end in their time all the same."""
    with Lookup(server.url, timeout_s=0.5, max_connections=1) as lookup:
        lookup.get("m-1")
        pause(server)
        began = time.monotonic()
        with ThreadPoolExecutor(3) as pool:
            failed = [one.exception() for one in [pool.submit(lookup.get, "m-1") for _ in range(3)]]
        took_s = time.monotonic() - began
        resume(server)
        assert all(isinstance(one, LookupUnavailable) for one in failed)
        assert any("all 1 connections were in use" in str(one) for one in failed)
        assert took_s < 2 * 0.5 + SLACK_S
        assert lookup.get("m-1").member_id == "m-1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_turns_that_other_threads_had_at_a_fork_are_free_in_the_child(server: RedisServer) -> None:
    """They don't exist there, so nobody would give them back."""
    with Lookup(server.url, max_connections=1) as lookup:
        lookup.get("m-1")
        turns = lookup._take_turn()  # as another thread does in the middle of a call
        child = os.fork()
        if not child:
            os._exit(0 if lookup.get("m-1").member_id == "m-1" else 1)
        assert os.waitpid(child, 0)[1] == 0
        turns.release()


def test_calls_and_outages_are_told(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """The hook hears of each call once; the log has a line for the beginning of an outage and one for its end."""
    told, registry = Counter[tuple[str, str]](), CollectorRegistry()
    count = counting(registry)

    def on_call(call: str, seconds: float, outcome: str) -> None:
        assert 0 <= seconds < 30
        told[call, outcome] += 1
        count(call, seconds, outcome)

    def both(n: int, expected: str) -> None:
        for _ in range(n):
            for call in (
                lambda: lookup.get(member_id="m1"),
                lambda: lookup.get_many(["m1"]),
                lambda: lookup.visible("m1"),
            ):
                if expected == "ok":
                    call()
                else:
                    with pytest.raises(LookupUnavailable):
                        call()

    async def asynchronous() -> None:
        async with AsyncLookup(server.url, on_call=on_call) as lookup:
            await asyncio.gather(lookup.get("m1"), lookup.get_many(["m2"]), lookup.visible("m3"))

    with caplog.at_level(logging.INFO, "memberstream_lookup"), Lookup(server.url, on_call=on_call) as lookup:
        both(2, "ok")
        server.kill()
        both(3, "unavailable")
        server.start()
        both(2, "ok")
        with pytest.raises(TypeError):
            lookup.get(None)  # type: ignore[arg-type]
        asyncio.run(asynchronous())
    assert told == {
        ("get", "ok"): 8 + 2, ("get_many", "ok"): 4 + 1, ("get", "unavailable"): 6, ("get_many", "unavailable"): 3,
        ("get", "error"): 1,
    }  # fmt: skip
    assert registry.get_sample_value("memberstream_lookup_seconds_count", {"call": "get", "outcome": "ok"}) == 10
    assert ["look-ups fail" in line.getMessage() for line in caplog.records] == [True, False]
    assert "answered again" in caplog.records[1].getMessage()
