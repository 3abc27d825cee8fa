"""Look-ups against redis-py on the same Valkey.

    python -m bench.lookups [--small]

Method. 10,000 members with 24-character ids, three models. Same kind of connection on both sides (one; redis-py with
hiredis), the contenders alternating in rounds of one run, percentiles over all rounds, one client process; client and
server pinned to one core, then to two.
- "used": the status and one cluster of every answer are read within the time, as a service would. The other rows stop
  when the answers are there, as redis-py's do.
- HGETALL reads a hash of four fields that holds what a member's row holds, MGET copies of the rows; redis-py leaves
  both as they are.
- 50 at once: 50 tasks that each make one look-up after another, as 50 requests of a web service do, each call timed by
  its task; ours share one connection, redis-py takes its pool (its limit raised to 50).
- "bare": the same commands packed beforehand, sent and received on a naked socket, nothing parsed: what server, kernel
  and network take of the figures above.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis
import redis.asyncio
from hiredis import pack_command

from bench.results_file import about, machine, save, table
from memberstream.stream.keyspace.formats import Announcement, Beacon, PublishedModel, membership_field, parse_row
from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.local.embedded import EmbeddedValkey
from memberstream.stream.lookup import Answer, AsyncLookup, Lookup
from memberstream.stream.projection.members import Update
from memberstream.stream.projection.projection import Projection

KEYS = Keys()

MODELS = ("repeat_buyer", "buying_style", "spender")
FIELDS = [membership_field(model, 1) for model in MODELS]
AT_ONCE = 50
DAY_MS = 86_400_000

Times = list[float]
Pair = tuple[Times, Times]  # redis-py's, ours; µs


def ids(n: int) -> list[str]:
    """As document databases make them: 24 characters."""
    return [f"member-{i:017d}" for i in range(n)]


async def fill(url: str, n: int) -> list[str]:
    """Members of partition 0 as a worker leaves them."""
    now_ms = time.time_ns() // 1_000_000
    members = ids(n)
    async with Projection(url, KEYS) as projection:
        models = tuple(PublishedModel(m, 1, "logistic", {1: "low", 2: "mid", 3: "high"}) for m in MODELS)
        await projection.readers.announce(Announcement(0, models, dict.fromkeys(MODELS, 1)))
        token = await projection.build.begin(0)
        for start in range(0, n, 1_000):
            await projection.members.write(0, [
                Update(
                    member.encode(), start + i, now_ms, now_ms + DAY_MS,
                    tuple(FIELDS), [(1 + (i + k) % 3, now_ms - 60_000) for k in range(len(FIELDS))],
                )
                for i, member in enumerate(members[start : start + 1_000])
            ])  # fmt: skip
        await projection.build.beacon({0: Beacon(n, now_ms, now_ms)})
        await projection.build.finish(0, token, 1, now_ms)
    return members


def _plain(url: str, members: list[str]) -> list[str]:
    """Copies of the rows under keys of their own; returns the keys."""
    with redis.Redis.from_url(url) as client:
        rows = client.mget([KEYS.member(m.encode()) for m in members])
        client.mset({f"plain:{m}": row for m, row in zip(members, rows, strict=True)})
    return [f"plain:{m}" for m in members]


def as_hashes(url: str, members: list[str]) -> None:
    """Copies of the rows as hashes, one field for each part, under `hash:<member>`."""
    with redis.Redis.from_url(url) as client, client.pipeline(transaction=False) as pipeline:
        for member, row in zip(members, client.mget([KEYS.member(m.encode()) for m in members]), strict=True):
            pipeline.hset(f"hash:{member}", mapping=parse_row(row))
        pipeline.execute()


def interleave(base: Callable[[], object], ours: Callable[[], object], rounds: int, each: int) -> Pair:
    times: Pair = ([], [])
    clock = time.perf_counter_ns
    for _ in range(rounds):
        for series, run in zip(times, (base, ours), strict=True):
            for _ in range(each):
                start = clock()
                run()
                series.append((clock() - start) / 1000)
    return times


async def interleave_async(
    base: Callable[[], Awaitable[object]], ours: Callable[[], Awaitable[object]], rounds: int, each: int
) -> Pair:
    times: Pair = ([], [])
    clock = time.perf_counter_ns
    for _ in range(rounds):
        for series, run in zip(times, (base, ours), strict=True):
            for _ in range(each):
                start = clock()
                await run()
                series.append((clock() - start) / 1000)
    return times


async def _callers(call: Callable[[str], Awaitable[object]], members: list[str], each: int) -> Times:
    """µs of every call of AT_ONCE tasks that make `each` calls, one after another."""
    times: Times = []
    clock = time.perf_counter_ns

    async def caller(n: int) -> None:
        for k in range(each):
            start = clock()
            await call(members[(37 * n + k) % len(members)])
            times.append((clock() - start) / 1000)

    await asyncio.gather(*[caller(n) for n in range(AT_ONCE)])
    return times


async def interleave_callers(
    base: Callable[[str], Awaitable[object]], ours: Callable[[str], Awaitable[object]], members: list[str], rounds: int
) -> Pair:
    times: Pair = ([], [])
    for turn in range(rounds + 1):
        for series, call in zip(times, (base, ours), strict=True):
            found = await _callers(call, members, 20)
            if turn:  # the first one connects
                series += found
    return times


def used(answers: list[Answer]) -> None:
    """What a service does with answers."""
    for answer in answers:
        _ = answer.status, answer.cluster("spender")


def bare(url: str, commands: list[tuple[str | bytes, ...]], rounds: int, each: int) -> Times:
    """µs of packed commands on a naked socket."""
    payload = b"".join(map(pack_command, commands))
    port = int(redis.connection.parse_url(url)["port"])
    times: Times = []
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(payload)
        time.sleep(0.2)
        n_bytes = len(sock.recv(1 << 20))
        for _ in range(rounds * each):
            start = time.perf_counter_ns()
            sock.sendall(payload)
            got = 0
            while got < n_bytes:
                got += len(sock.recv(1 << 16))
            times.append((time.perf_counter_ns() - start) / 1000)
    return times


async def contenders(url: str, members: list[str], scale: int) -> dict[str, Pair]:
    """What is compared → times of both."""
    one, hundred = members[7], members[:100]
    as_hashes(url, members)
    key, plain = f"hash:{one}", _plain(url, hundred)
    found: dict[str, Pair] = {}
    with Lookup(url) as lookup, redis.Redis.from_url(url) as client:
        found["one, sync / HGETALL"] = interleave(
            lambda: client.hgetall(key), lambda: lookup.get(one), 20, 500 // scale
        )
        found["one, sync, used / HGETALL"] = interleave(
            lambda: client.hgetall(key), lambda: used([lookup.get(one)]), 20, 500 // scale
        )
        found["100, sync / MGET of 100 strings"] = interleave(
            lambda: client.mget(plain), lambda: lookup.get_many(hundred), 20, 100 // scale
        )
        found["100, sync, used / MGET of 100 strings"] = interleave(
            lambda: client.mget(plain), lambda: used(lookup.get_many(hundred)), 20, 100 // scale
        )
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=AT_ONCE)
    async with AsyncLookup(url) as alookup, redis.asyncio.Redis(connection_pool=pool) as aclient:

        async def used_async(asked: list[str]) -> None:
            used(await alookup.get_many(asked))

        found["one, async / HGETALL"] = await interleave_async(
            lambda: aclient.hgetall(key), lambda: alookup.get(one), 20, 300 // scale
        )
        found["100, async / MGET of 100 strings"] = await interleave_async(
            lambda: aclient.mget(plain), lambda: alookup.get_many(hundred), 20, 100 // scale
        )
        found["100, async, used / MGET of 100 strings"] = await interleave_async(
            lambda: aclient.mget(plain), lambda: used_async(hundred), 20, 100 // scale
        )
        found[f"{AT_ONCE} at once, async / HGETALL by a pool"] = await interleave_callers(
            lambda m: aclient.hgetall(f"hash:{m}"), alookup.get, members, 20 // min(scale, 10)
        )
    await pool.disconnect()
    mget: list[tuple[str | bytes, ...]] = [("MGET", KEYS.epoch, *[KEYS.member(m.encode()) for m in hundred])]
    found["100, bare / MGET bare"] = (
        bare(url, [("MGET", *plain)], 20, 100 // scale),
        bare(url, mget, 20, 100 // scale),
    )
    return found


def percentiles(times: Times) -> dict[str, float]:
    ranked = sorted(times)
    return {"p50_us": ranked[len(ranked) // 2], "p99_us": ranked[int(0.99 * len(ranked))], "n": len(ranked)}


def measure(scale: int) -> dict[str, Any]:
    """All of it, in both placements."""
    results: dict[str, Any] = {"machine": machine(), "places": {}}
    cores = sorted(os.sched_getaffinity(0))
    with EmbeddedValkey() as valkey:
        members = asyncio.run(fill(valkey.url, 10_000))
        for thread in os.listdir(f"/proc/{valkey.pid}/task"):
            os.sched_setaffinity(int(thread), {cores[0]})
        for place, core in (("same core", cores[0]), ("other core", cores[-1])):
            if place == "other core" and len(cores) == 1:
                continue
            os.sched_setaffinity(0, {core})
            found = asyncio.run(contenders(valkey.url, members, scale))
            results["places"][place] = {
                name: {"redis_py": percentiles(base), "ours": percentiles(ours)} for name, (base, ours) in found.items()
            }
    return results


def text(results: dict[str, Any]) -> list[str]:
    """The section of the README."""
    rows = []
    for place, found in results["places"].items():
        for name, both in found.items():
            base, ours = both["redis_py"], both["ours"]
            rows.append(
                (
                    place,
                    name,
                    f"{base['p50_us']:.0f} / {base['p99_us']:.0f}",
                    f"{ours['p50_us']:.0f} / {ours['p99_us']:.0f}",
                    f"{ours['p50_us'] / base['p50_us']:.2f} / {ours['p99_us'] / base['p99_us']:.2f}",
                )
            )
    return [
        "## Look-ups against redis-py",
        "",
        "`python -m bench.lookups` (its head says the method).",
        about(results),
        "p50 / p99, µs:",
        "",
        *table(("client and server on", "ours / redis-py's", "redis-py", "ours", "ratio"), rows),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="look-ups against redis-py")
    parser.add_argument("--small", action="store_true", help="a tenth of the rounds, to try the bench itself")
    asked = parser.parse_args()
    results = measure(10 if asked.small else 1)
    if asked.small:
        print("\n".join(text(results)))
    else:
        save("lookups", results, text(results))


if __name__ == "__main__":
    main()
