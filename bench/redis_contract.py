"""What the Redis contract costs: calls of the writer, and look-ups against redis-py on the same server.

    python bench/redis_contract.py writes|lookups [URL]       (URL: a server of its own; it is emptied)

Method. Writes: 10,000 members with 24-character ids, 2 or 6 model fields, one partition, overwritten 9 times in
writes of 1,000; microseconds per call are the server's own (INFO commandstats), and the best round counts: other
processes on the cores can only add. Look-ups: same kind of connection on both sides, the contenders interleaved in
rounds, percentiles over all rounds, one client process; server and client are pinned to one core, then to two.
One machine, noisy: read the ratios.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import redis
import redis.asyncio

from stream import projection as projection_module
from stream.keyspace import Beacon, PublishedModel, member_key, membership_field
from stream.lookup import AsyncLookup, Lookup
from stream.projection import Projection, Update

MEMBERS = 10_000
WRITE = 1_000
ROUNDS = 9


def _ids(n: int) -> list[str]:
    return [f"member-{i:017d}" for i in range(n)]


def _updates(fields: list[bytes], offset: int, ids: list[str]) -> list[Update]:
    now = 1_700_000_000_000
    return [
        Update(m.encode(), offset + i, now, now + 86_400_000, [(f, 1 + i % 3, now - 60_000) for f in fields])
        for i, m in enumerate(ids)
    ]


async def writes(url: str) -> None:
    admin = redis.Redis.from_url(url, decode_responses=True)
    print("fields  cost/call  members/call  µs/call  µs/member  members/s")
    for n_fields in (2, 6):
        fields = [membership_field(f"model_number_{i}", 1) for i in range(n_fields)]
        for cost in (100, 200, 400, 2000):
            projection_module.CALL_COST = cost
            admin.flushall()
            async with Projection(url) as projection:
                per_call, per_member, rate = [], [], []
                for turn in range(ROUNDS + 1):
                    offset = turn * MEMBERS
                    batches = [
                        _updates(fields, offset + i, _ids(MEMBERS)[i : i + WRITE]) for i in range(0, MEMBERS, WRITE)
                    ]
                    admin.config_resetstat()
                    start = time.perf_counter()
                    for batch in batches:
                        await projection.write(0, batch)
                    took = time.perf_counter() - start
                    stats = admin.info("commandstats")["cmdstat_evalsha"]
                    if turn:  # the first round creates the members, the others overwrite them
                        per_call.append(stats["usec_per_call"])
                        per_member.append(stats["usec"] / MEMBERS)
                        rate.append(MEMBERS / took)
            size = cost // (n_fields + projection_module.MEMBER_COST)
            print(f"{n_fields:6}  {cost:9}  {size:12}  {min(per_call):7.0f}  {min(per_member):9.2f}  {max(rate):9,.0f}")
    admin.close()


async def _fill(url: str, n: int) -> list[str]:
    now = time.time_ns() // 1_000_000
    names = ("repeat_buyer", "buying_style", "spender")
    ids = _ids(n)
    async with Projection(url) as projection:
        await projection.set_models([PublishedModel(m, 1, "logistic", {1: "low", 2: "mid", 3: "high"}) for m in names])
        token = await projection.begin(0)
        await projection.write(0, _updates([membership_field(m, 1) for m in names], 0, ids))
        await projection.beacon({0: Beacon(n, now, now)})
        await projection.finish(0, token, 1, now)
    return ids


def _report(title: str, base: list[float], ours: list[float]) -> None:
    def at(values: list[float], q: float) -> float:
        return statistics.quantiles(values, n=100)[int(q) - 1]

    b50, b99, o50, o99 = at(base, 50), at(base, 99), at(ours, 50), at(ours, 99)
    print(f"{title:58} {b50:7.0f} /{b99:7.0f}   {o50:7.0f} /{o99:7.0f}   {o50 / b50:5.2f} /{o99 / b99:5.2f}")


def _interleave(base: Callable[[], object], ours: Callable[[], object], rounds: int, each: int) -> list[list[float]]:
    times: list[list[float]] = [[], []]
    clock = time.perf_counter_ns
    for _ in range(rounds):
        for series, run in zip(times, (base, ours), strict=True):
            for _ in range(each):
                start = clock()
                run()
                series.append((clock() - start) / 1000)
    return times


async def _interleave_async(
    base: Callable[[], Awaitable[object]], ours: Callable[[], Awaitable[object]], rounds: int, each: int
) -> list[list[float]]:
    times: list[list[float]] = [[], []]
    clock = time.perf_counter_ns
    for _ in range(rounds):
        for series, run in zip(times, (base, ours), strict=True):
            for _ in range(each):
                start = clock()
                await run()
                series.append((clock() - start) / 1000)
    return times


async def _each(call: Callable[[str], Awaitable[object]], ids: list[str]) -> list[float]:
    """µs of each of the calls made at once, from the common start."""
    clock = time.perf_counter_ns
    start = clock()

    async def one(member_id: str) -> float:
        await call(member_id)
        return (clock() - start) / 1000

    return list(await asyncio.gather(*[one(member_id) for member_id in ids]))


async def lookups(url: str) -> None:
    ids = await _fill(url, 10_000)
    plain = redis.Redis.from_url(url)
    plain.mset({f"plain:{m}": "1:1700000000000|2:1700000000000|3:1700000000000" for m in ids})
    pid = int(plain.info("server")["process_id"])
    placements = [("same core", {0}), ("other core", {1})] if os.cpu_count() and os.cpu_count() != 1 else [("one", {0})]
    os.sched_setaffinity(pid, {0})
    key = member_key(ids[7].encode())
    hundred = ids[:100]
    plain_hundred = [f"plain:{m}" for m in hundred]
    print(f"{'µs, p50 / p99':58} {'redis-py':>16}   {'ours':>16}   {'ratio':>12}")
    for where, cores in placements:
        os.sched_setaffinity(0, cores)
        with Lookup(url) as lookup, contextlib.closing(redis.Redis.from_url(url)) as client:
            single = client.client()
            single.single_connection_client = True
            result = _interleave(lambda: client.hgetall(key), lambda: lookup.get(ids[7]), 20, 500)
            _report(f"{where}: get, sync, vs HGETALL", *result)
            result = _interleave(
                lambda: client.hgetall(key), lambda: (a := lookup.get(ids[7]), a.status, a.cluster("spender")), 20, 500
            )
            _report(f"{where}: get + status + cluster, sync, vs HGETALL", *result)
            result = _interleave(lambda: client.mget(plain_hundred), lambda: lookup.get_many(hundred), 10, 50)
            _report(f"{where}: get_many(100), sync, vs MGET of 100 strings", *result)
            result = _interleave(
                lambda: client.mget(plain_hundred),
                lambda: [a.cluster("spender") for a in lookup.get_many(hundred)],
                10,
                50,
            )
            _report(f"{where}: get_many(100) + cluster, sync, vs MGET", *result)
        async with AsyncLookup(url) as alookup, redis.asyncio.Redis.from_url(url) as aclient:
            aresult = await _interleave_async(lambda: aclient.hgetall(key), lambda: alookup.get(ids[7]), 20, 200)
            _report(f"{where}: get, async, vs HGETALL", *aresult)
            aresult = await _interleave_async(
                lambda: aclient.mget(plain_hundred), lambda: alookup.get_many(hundred), 10, 50
            )
            _report(f"{where}: get_many(100), async, vs MGET", *aresult)
            base: list[float] = []
            ours: list[float] = []
            for _ in range(60):
                base += await _each(lambda m: aclient.hgetall(f"ms:member:{m}"), hundred[:50])
                ours += await _each(alookup.get, hundred[:50])
            _report(f"{where}: 50 concurrent get, async, vs redis-py's pool", base, ours)
    plain.close()


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "lookups"
    asyncio.run({"writes": writes, "lookups": lookups}[what](sys.argv[2] if len(sys.argv) > 2 else "redis://127.0.0.1"))
