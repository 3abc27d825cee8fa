"""Both clients against real servers: the same answers, one round trip, clear errors."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from announcing import announcing
from believing import async_believing, beat, believing
from keys import KEYS
from proxy import CountingProxy
from servers import RedisServer

from memberstream.stream.keyspace.formats import Beacon, KeyspaceError, PublishedModel, membership_field
from memberstream.stream.lookup import Answer, AsyncLookup, Lookup, LookupUnavailable, exchange
from memberstream.stream.projection.members import Deletion, Update
from memberstream.stream.projection.projection import Projection

MODELS = [
    PublishedModel("repeat_buyer", 1, "logistic", {1: "low", 2: "medium", 3: "high"}),
    PublishedModel("buying_style", 4, "kmeans", {0: "small baskets"}),
]
FIELDS = [membership_field(m.name, m.version) for m in MODELS]
WEIRD = [
    "m-1", " ", "a b", "a:b:c", "{m}", "{}", "}{", "ms:member:x", "naïve", "会員", "\N{FAMILY}\u200d\N{GIRL}",
    "a\r\nb", "\0", "a\tb", "x" * 200, "\"'", "$1\r\n*1",
]  # fmt: skip


async def fill(url: str, *, complete: bool = True, n: int = 0) -> None:
    """Members of partition 0 as the pipeline leaves them; `gone` is deleted, `old` is no longer valid."""
    now = time.time_ns() // 1_000_000
    async with Projection(url, KEYS) as projection:
        await projection.readers.announce(announcing(MODELS))
        token = await projection.build.begin(0)
        ids = [*WEIRD, *(f"m{i}" for i in range(n))]
        updates: list[Update | Deletion] = [
            Update(member.encode(), i, now, None, tuple(FIELDS), [(1 + i % 3, now - i), (0, 5)])
            for i, member in enumerate(ids)
        ]
        updates.append(Update(b"old", 5, now, now - 1, tuple(FIELDS), [(1, 5) for _ in FIELDS]))
        updates.append(Deletion(b"gone", 6, now))
        await projection.members.write(0, updates)
        await projection.build.beacon({0: Beacon(len(ids), now, now)})
        if complete:
            await projection.build.finish(0, token, 1, now)


def ask(url: str, ids: list[str], *, is_believing: bool = True) -> list[dict[str, object]]:
    """The same by all four ways; they must agree."""
    admin = redis.Redis.from_url(url)
    with Lookup(url) as lookup:
        if is_believing:
            believing(lookup, admin)
        many = [answer.as_dict() for answer in lookup.get_many(ids)]
        single = [lookup.get(member).as_dict() for member in ids]

    async def asynchronous() -> tuple[list[Answer], list[Answer]]:
        async with AsyncLookup(url) as lookup:
            if is_believing:
                await async_believing(lookup, admin)
            return await lookup.get_many(ids), await asyncio.gather(*[lookup.get(member) for member in ids])

    async_many, async_single = asyncio.run(asynchronous())
    assert many == single == [a.as_dict() for a in async_many] == [a.as_dict() for a in async_single]
    return many


def test_sync_and_async_one_and_many_agree(redis_url: str) -> None:
    """Order and duplicates are kept, any text is an id, and every kind of member is told apart."""
    asyncio.run(fill(redis_url))
    ids = [*WEIRD, "gone", "nobody", "old", *WEIRD[:3]]
    answers = ask(redis_url, ids)
    assert [answer["member_id"] for answer in answers] == ids
    statuses = [answer["status"] for answer in answers]
    assert statuses == ["current"] * len(WEIRD) + ["unknown member"] * 2 + ["stale"] + ["current"] * 3
    assert [answer["offset"] for answer in answers[: len(WEIRD)]] == list(range(len(WEIRD)))
    memberships = answers[1]["memberships"]
    assert isinstance(memberships, dict)
    assert memberships["repeat_buyer"]["name"] == "medium"
    assert memberships["buying_style"] == {
        "model": "buying_style", "version": 4, "cluster": 0, "name": "small baskets", "since_ms": 5,
    }  # fmt: skip


def test_while_rebuilding_nobody_is_unknown(redis_url: str) -> None:
    """Without the epoch: what is there is returned, what is missing is not called unknown."""
    asyncio.run(fill(redis_url, complete=False))
    answers = ask(redis_url, ["m-1", "nobody", "gone"], is_believing=False)
    assert [answer["status"] for answer in answers] == ["rebuilding"] * 3
    assert [len(answer["memberships"]) for answer in answers] == [2, 0, 0]  # type: ignore[arg-type]


def test_an_emptied_redis_is_noticed_by_the_next_look_up(redis_url: str) -> None:
    """Not only when the copy of the small keys is read again: the epoch is in every round trip."""
    asyncio.run(fill(redis_url))
    with Lookup(redis_url) as lookup, redis.Redis.from_url(redis_url) as admin:
        assert lookup.get("m-1").status == "current"
        admin.flushall()
        assert lookup.get("m-1").status == "rebuilding"
        asyncio.run(fill(redis_url))
        admin.delete("ms:member:m-1")
        believing(lookup, admin)
        assert lookup.get("m-1").status == "unknown member"


def test_an_answer_read_across_a_rebuild_is_not_trusted(redis_url: str) -> None:
    """The copy of the small keys ends with its epoch."""
    asyncio.run(fill(redis_url))
    with Lookup(redis_url) as lookup, redis.Redis.from_url(redis_url) as admin:
        believing(lookup, admin)
        copy = lookup._copy
    assert copy is not None
    request = exchange.Request(exchange.Commands(KEYS), ["m-1"], copy, copy.connections, False)
    for epoch, status in [(copy.epoch, "unknown member"), (None, "rebuilding")]:
        newer, answers = request.read([[epoch, None]], "here", copy.connections)
        assert newer is None
        assert answers is not None
        assert answers[0].status == status
    newer, answers = request.read([[b"2", None]], "here", copy.connections)
    assert newer is not None
    assert answers is None  # the members are asked again, with all the small keys
    assert (
        exchange.Request(exchange.Commands(KEYS), ["m-1"], newer, newer.connections, False).payload.count(b"HGETALL")
        == 4
    )


def test_a_promotion_reaches_readers_within_the_second(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One write to `live` switches; a client with an old copy reads all small keys and asks again."""
    asyncio.run(fill(redis_url))

    async def asynchronous() -> int | None:
        async with AsyncLookup(redis_url) as lookup:
            await lookup.get("m-1")
            admin.hset("ms:{meta}:live", "repeat_buyer", 2)
            return (await lookup.get("m-1")).cluster("repeat_buyer")

    with Lookup(redis_url) as lookup, redis.Redis.from_url(redis_url) as admin:
        admin.append("ms:member:m-1", "|repeat_buyer@2=7:8")
        assert lookup.get("m-1").cluster("repeat_buyer") == 1
        admin.hset("ms:{meta}:live", "repeat_buyer", 2)
        assert lookup.get("m-1").cluster("repeat_buyer") == 1
        monkeypatch.setattr(exchange, "META_TTL_S", -1.0)
        assert lookup.get("m-1").cluster("repeat_buyer") == 7
        assert lookup.get("m-1").memberships["repeat_buyer"].name is None
        admin.hset("ms:{meta}:live", "repeat_buyer", 1)
        assert asyncio.run(asynchronous()) == 7


def test_what_is_not_there_is_believed_when_a_beacon_has_moved(redis_url: str) -> None:
    """Redis may have come back with an older dump a moment ago. After each connection anew; hits are as ever."""
    asyncio.run(fill(redis_url))
    ids = ["m-1", "nobody", "gone"]

    async def asynchronous() -> list[str]:
        async with AsyncLookup(redis_url) as lookup:
            found = [str(a.status) for a in await lookup.get_many(ids)]
            beat(admin)
            await asyncio.sleep(1.1 * exchange.UNVOUCHED_TTL_S)
            return found + [str(a.status) for a in await asyncio.gather(*map(lookup.get, ids))]

    before, after = ["current", "rebuilding", "rebuilding"], ["current", "unknown member", "unknown member"]
    with Lookup(redis_url) as lookup, redis.Redis.from_url(redis_url) as admin:
        for _ in range(2):
            assert [a.status for a in lookup.get_many(ids)] == before
            time.sleep(1.1 * exchange.UNVOUCHED_TTL_S)
            assert [lookup.get(member).status for member in ids] == before
            beat(admin)
            time.sleep(1.1 * exchange.UNVOUCHED_TTL_S)
            assert [lookup.get(member).status for member in ids] == after
            assert [a.status for a in lookup.get_many(ids)] == after
            admin.client_kill_filter(_type="normal", skipme=True)
        assert asyncio.run(asynchronous()) == before + after


def test_a_redis_that_went_back_is_rebuilding_to_who_knows_better(redis_url: str) -> None:
    """Beacons older than the client has seen: what is there may be of yesterday. Until a worker has spoken again."""
    asyncio.run(fill(redis_url))
    with Lookup(redis_url) as lookup, redis.Redis.from_url(redis_url) as admin:
        old = admin.hgetall(KEYS.beacons)
        beat(admin)
        believing(lookup, admin)
        assert lookup.get("m-1").status == "current"
        admin.hset(KEYS.beacons, mapping=old)
        admin.client_kill_filter(_type="normal", skipme=True)
        assert [lookup.get("m-1").status, lookup.visible("m-1").status] == ["rebuilding"] * 2
        asyncio.run(fill(redis_url))
        believing(lookup, admin)
        assert lookup.get("m-1").status == "current"


async def test_one_round_trip(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, a hundred, or fifty at once: one trip each; also when the small keys are read again."""
    await fill(redis_url, n=100)
    ids = [f"m{i}" for i in range(100)]
    async with CountingProxy(urlsplit(redis_url).port or 0) as proxy:
        with Lookup(proxy.url) as lookup:
            for ttl_s in (1e9, -1.0):
                await asyncio.to_thread(lookup.get, "m1")
                monkeypatch.setattr(exchange, "META_TTL_S", ttl_s)
                proxy.round_trips = 0
                await asyncio.to_thread(lookup.get, "m1")
                assert proxy.round_trips == 1
                assert len(await asyncio.to_thread(lookup.get_many, ids)) == 100
                assert proxy.round_trips == 2
        async with AsyncLookup(proxy.url) as alookup:
            for ttl_s in (1e9, -1.0):
                await alookup.get("m1")
                monkeypatch.setattr(exchange, "META_TTL_S", ttl_s)
                proxy.round_trips = proxy.connections = 0
                await alookup.get("m1")
                assert proxy.round_trips == 1
                await alookup.get_many(ids)
                assert proxy.round_trips == 2
                await asyncio.gather(*[alookup.get(member) for member in ids[:50]], alookup.get_many(ids))
                assert proxy.round_trips == 3
                assert proxy.connections == 0


def test_nothing_asked_nothing_sent() -> None:
    """An empty list needs no server."""
    with Lookup("redis://127.0.0.1:1") as lookup:
        assert lookup.get_many([]) == []
    assert asyncio.run(AsyncLookup("redis://127.0.0.1:1").get_many([])) == []


async def test_an_id_that_is_no_text_fails_alone(redis_url: str) -> None:
    """Look-ups that travel together don't fail together."""
    await fill(redis_url)
    async with AsyncLookup(redis_url) as lookup:
        bad, good = await asyncio.gather(lookup.get("\ud800"), lookup.get("m-1"), return_exceptions=True)
    assert isinstance(bad, UnicodeEncodeError)
    assert isinstance(good, Answer)
    assert good.cluster("repeat_buyer") == 1
    with Lookup(redis_url) as sync, pytest.raises(UnicodeEncodeError):
        sync.get("\ud800")


async def test_a_cancelled_look_up_leaves_the_others_right(redis_url: str) -> None:
    """A caller that gives up must not shift replies."""
    await fill(redis_url, n=20)
    async with AsyncLookup(redis_url) as lookup:
        tasks = [asyncio.create_task(lookup.get(f"m{i}")) for i in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        after = await lookup.get("m7")
    for i, answer in enumerate(answers):
        if i % 3 == 0:
            assert isinstance(answer, asyncio.CancelledError)
        else:
            assert isinstance(answer, Answer)
            assert answer.offset == len(WEIRD) + i
    assert after.offset == len(WEIRD) + 7


def test_threads_share_one_client(redis_url: str) -> None:
    """Every thread gets the answer to its own question."""
    asyncio.run(fill(redis_url, n=50))
    wrong: list[str] = []

    def run(start: int) -> None:
        for i in range(200):
            n = (start + i) % 50
            if lookup.get(f"m{n}").offset != len(WEIRD) + n:
                wrong.append(f"m{n}")

    with Lookup(redis_url) as lookup:
        threads = [threading.Thread(target=run, args=(7 * k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_restart_between_look_ups_is_not_noticed(own_redis: Callable[..., RedisServer]) -> None:
    """Idle connections that died are replaced; while the server is down the error names the next action."""
    server = own_redis(persistent=True)
    asyncio.run(fill(server.url))

    async def asynchronous() -> None:
        async with AsyncLookup(server.url) as lookup:
            assert (await lookup.get("m-1")).cluster("repeat_buyer") == 1
            server.stop()
            with pytest.raises(LookupUnavailable, match=r"no connection.*Next: check that it runs"):
                await lookup.get("m-1")
            server.start()
            assert (await lookup.get("m-1")).cluster("repeat_buyer") == 1

    with Lookup(server.url) as lookup:
        assert lookup.get("m-1").cluster("repeat_buyer") == 1
        server.stop()
        server.start()
        assert lookup.get("m-1").cluster("repeat_buyer") == 1
        server.stop()
        with pytest.raises(LookupUnavailable, match=r"no connection.*Next: check that it runs"):
            lookup.get("m-1")
        server.start()
        assert lookup.get("m-1").cluster("repeat_buyer") == 1
    asyncio.run(asynchronous())


def test_a_server_that_does_not_answer_is_left_in_time() -> None:
    """Accepts and says nothing: both clients end after the time allowed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with Lookup(url, timeout_s=0.1) as lookup, pytest.raises(LookupUnavailable, match=r"within 0.1 s.*Next: "):
            lookup.get("m")

        async def asynchronous() -> None:
            async with AsyncLookup(url, timeout_s=0.1) as alookup:
                with pytest.raises(LookupUnavailable, match=r"within 0.1 s.*Next: "):
                    await alookup.get("m")

        asyncio.run(asynchronous())
        assert time.monotonic() - start < 10  # s, of two calls


async def test_what_befalls_a_look_up_that_goes_alone(own_redis: Callable[..., RedisServer]) -> None:
    """A connection that breaks is made anew, unnoticed; a missing epoch, a silent server and the end of the client are
    told as to others."""
    server = own_redis()
    await fill(server.url)
    lookup = AsyncLookup(server.url, timeout_s=1.0)
    await lookup.get("m-1")
    with redis.Redis.from_url(server.url) as admin:
        admin.client_kill_filter(_type="normal", skipme=True)  # the loop has had no turn to notice
        assert (await lookup.get("m-1")).status == "current"
        admin.delete(KEYS.epoch.decode())
        assert (await lookup.get("m-1")).status == "rebuilding"
        await fill(server.url)
        assert (await lookup.get("m-1")).status == "current"
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(LookupUnavailable, match=r"no answer within 1.0 s.*Next: "):
            await lookup.get("m-1")
        assert time.monotonic() - start < 1.9  # not asked twice
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await lookup.get("m-1")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        task = asyncio.create_task(lookup.get("m-1"))
        await asyncio.sleep(0.05)
        await lookup.close()
        with pytest.raises(LookupUnavailable, match="the client was closed"):
            await task
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def test_closing_ends_look_ups_under_way() -> None:
    """Nobody waits for ever on a closed client."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        lookup = AsyncLookup(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout_s=60)
        task = asyncio.create_task(lookup.get("m"))
        await asyncio.sleep(0.05)
        await lookup.close()
        with pytest.raises(LookupUnavailable):
            await asyncio.wait_for(task, 5)


def test_errors_of_the_server_are_told(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign key in place of a small one, and foreign text in place of a row and a beacon."""
    asyncio.run(fill(redis_url))
    with redis.Redis.from_url(redis_url) as admin:
        admin.set("ms:member:foreign", "x|repeat_buyer@1=1:2|buying_style@4=1:2")
        admin.set("ms:member:other", "x")
        with Lookup(redis_url) as lookup:
            for wrong in (lambda: lookup.get("foreign").status, lambda: lookup.get("other").offset):
                with pytest.raises(KeyspaceError, match="found b'x'"):
                    wrong()
            admin.rename("ms:{meta}:known", "kept")
            admin.hset("ms:{meta}:known", "1", "1")
            monkeypatch.setattr(exchange, "META_TTL_S", -1.0)
            with pytest.raises(LookupUnavailable, match=r"WRONGTYPE.*Next: "):
                lookup.get("m-1")
            admin.rename("kept", "ms:{meta}:known")
        admin.hset("ms:{meta}:beacons", "0", "soon")
    with Lookup(redis_url) as lookup, pytest.raises(KeyspaceError, match="found b'soon'"):
        lookup.get("m-1")

    async def asynchronous() -> None:
        async with AsyncLookup(redis_url) as alookup:
            with pytest.raises(KeyspaceError, match="found b'soon'"):
                await alookup.get("m-1")

    asyncio.run(asynchronous())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_makes_its_own_connection(redis_url: str) -> None:
    """Parent and child must not read each other's replies."""
    asyncio.run(fill(redis_url, n=3))
    script = (
        "import os, sys; from memberstream.stream.lookup import Lookup\n"
        "lookup = Lookup(sys.argv[1]); lookup.get('m1'); pid = os.fork()\n"
        "for _ in range(300): assert lookup.get('m1' if pid else 'm2').offset == int(sys.argv[2 if pid else 3])\n"
        "pid and sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    command = [sys.executable, "-c", script, redis_url, str(len(WEIRD) + 1), str(len(WEIRD) + 2)]
    subprocess.run(command, check=True, timeout=30, cwd=Path(__file__).parents[2])


def test_the_look_up_imports_neither_faust_nor_numpy() -> None:
    """A campaign service installs and loads a small client, not a stream processor."""
    script = "import json, sys, memberstream.stream.lookup; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, timeout=30, cwd=Path(__file__).parents[2]
    )
    modules = set(json.loads(done.stdout))
    loaded = {name.partition(".")[0] for name in modules}
    assert not loaded & {
        "faust",
        "mode",
        "numpy",
        "orjson",
        "aiokafka",
        "rocksdict",
        "redis",
        "typer",
        "rich",
    }
    assert {"memberstream", "hiredis"} <= loaded
    assert "memberstream.models" not in modules
