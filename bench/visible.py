"""`visible` with 500 campaigns against a bare HGETALL of a hash with the same member's memberships.

    python -m bench.visible [--small]

Method. As bench/lookups.py, and its members, by turns 1,000 of them. 500 campaigns, all of them shown, each to one of
the three clusters of one of the three models, so a member is offered 167. Three mixtures: nobody is held out; a tenth
of the members from a fifth of the campaigns; a tenth from every campaign. The client has its copy of the campaigns, and
has answered for these members before, as it has when a page asks campaign by campaign; "first time" are calls for
members of whom nothing is remembered. Three contenders take turns of 3,000 calls, ten times: in turns of 300 the first
three calls, which find another's code and data in the core's caches, were the p99.
- "redis-py": HGETALL by redis-py with hiredis, a dict.
- "our wire": the same command on memberstream's own connection, packed, sent and its reply parsed, nothing else: the
  least that a look-up can cost there.
- "visible": campaigns, holdouts and status.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle, product
from typing import Any

import redis
import redis.asyncio
from hiredis import pack_command

from bench.lookups import DAY_MS, MODELS, Times, as_hashes, fill, percentiles
from bench.results_file import about, machine, save, table
from memberstream.stream.keyspace.formats import Announcement, Beacon, PublishedCampaign, PublishedModel
from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.local.embedded import EmbeddedValkey
from memberstream.stream.lookup import AsyncLookup, Lookup, campaigns
from memberstream.stream.projection.projection import Projection
from memberstream.stream.wire.aio import AsyncWire
from memberstream.stream.wire.endpoint import parse_url
from memberstream.stream.wire.sync import SyncWire

KEYS = Keys()

CONTENDERS = ("redis-py", "our wire", "visible")
#: What is held out → one campaign of so many has a holdout; 0: none has.
MIXTURES = {"nobody held out": 0, "10% from a fifth": 5, "10% from all": 1}
N_CAMPAIGNS = 500
N_MEMBERS = 1_000
EACH = 3_000  # calls of a turn


async def beat(url: str) -> None:
    """As a living worker does: without it all members were stale after 30 s."""
    now_ms = time.time_ns() // 1_000_000
    async with Projection(url, KEYS) as projection:
        await projection.build.beacon({0: Beacon(N_MEMBERS, now_ms, now_ms)})


async def announce(url: str, offset: int, every: int) -> None:
    """500 campaigns, of which each so many holds out a tenth."""
    now_ms = time.time_ns() // 1_000_000
    campaigns = tuple(
        PublishedCampaign(
            f"campaign-{i:03}",
            MODELS[i % 3],
            (1 + i // 3 % 3,),
            now_ms - DAY_MS,
            now_ms + DAY_MS,
            1_000 if every and i % every == 0 else 0,
        )
        for i in range(N_CAMPAIGNS)
    )
    models = tuple(PublishedModel(m, 1, "logistic", {1: "low", 2: "mid", 3: "high"}) for m in MODELS)
    async with Projection(url, KEYS) as projection:
        await projection.readers.announce(Announcement(offset, models, dict.fromkeys(MODELS, 1), campaigns))


def in_turns(calls: Sequence[Callable[[str], object]], members: Iterator[str], rounds: int, each: int) -> list[Times]:
    times: list[Times] = [[] for _ in calls]
    clock = time.perf_counter_ns
    for _ in range(rounds):
        for series, call in zip(times, calls, strict=True):
            for _ in range(each):
                member = next(members)
                start = clock()
                call(member)
                series.append((clock() - start) / 1000)
    return times


async def in_turns_async(
    calls: Sequence[Callable[[str], Awaitable[object]]], members: Iterator[str], rounds: int, each: int
) -> list[Times]:
    times: list[Times] = [[] for _ in calls]
    clock = time.perf_counter_ns
    for _ in range(rounds):
        for series, call in zip(times, calls, strict=True):
            for _ in range(each):
                member = next(members)
                start = clock()
                await call(member)
                series.append((clock() - start) / 1000)
    return times


async def contenders(url: str, members: Iterator[str], rounds: int) -> dict[str, list[Times]]:
    """Blocking or asyncio → the times of each contender."""
    found: dict[str, list[Times]] = {}
    await beat(url)

    def hgetall(member: str) -> bytes:
        return bytes(pack_command((b"HGETALL", b"hash:" + member.encode())))

    wire = SyncWire(parse_url(url), "bench", 1.0)
    with Lookup(url) as lookup, redis.Redis.from_url(url) as client:
        calls: list[Callable[[str], object]] = [
            lambda member: client.hgetall(f"hash:{member}"),
            lambda member: wire.call(hgetall(member), 1),
            lookup.visible,
        ]
        in_turns(calls, members, 1, N_MEMBERS)
        found["sync"] = in_turns(calls, members, rounds, EACH)
    wire.close()
    awire = AsyncWire(parse_url(url), "bench", 1.0)
    async with AsyncLookup(url) as alookup, redis.asyncio.Redis.from_url(url) as aclient:
        acalls: list[Callable[[str], Awaitable[object]]] = [
            lambda member: aclient.hgetall(f"hash:{member}"),
            lambda member: awire.call(hgetall(member), 1),
            alookup.visible,
        ]
        await in_turns_async(acalls, members, 1, N_MEMBERS)
        found["async"] = await in_turns_async(acalls, members, rounds, EACH)
    await awire.close()
    return found


def measure(rounds: int) -> dict[str, Any]:
    """All of it, in both placements."""
    results: dict[str, Any] = {"machine": machine(), "places": {}}
    cores = sorted(os.sched_getaffinity(0))
    with EmbeddedValkey() as valkey:
        filled = asyncio.run(fill(valkey.url, N_MEMBERS))
        as_hashes(valkey.url, filled)
        members, remembered = cycle(filled), campaigns._MEMBERS
        for thread in os.listdir(f"/proc/{valkey.pid}/task"):
            os.sched_setaffinity(int(thread), {cores[0]})
        places = {"same core": cores[0], "other core": cores[-1]} if len(cores) > 1 else {"same core": cores[0]}
        for offset, (mixture, every) in enumerate(MIXTURES.items(), 1):
            asyncio.run(announce(valkey.url, offset, every))
            for (place, core), (when, n) in product(places.items(), {"": remembered, ", first time": 0}.items()):
                os.sched_setaffinity(0, {core})
                campaigns._MEMBERS = n
                for kind, times in asyncio.run(contenders(valkey.url, members, rounds)).items():
                    figures = dict(zip(CONTENDERS, map(percentiles, times), strict=True))
                    results["places"].setdefault(place, {})[f"{kind}, {mixture}{when}"] = figures
    return results


def text(results: dict[str, Any]) -> list[str]:
    """The section of the README."""
    rows = []
    for place, found in results["places"].items():
        for name, figures in found.items():
            ours = figures["visible"]
            rows.append((
                place,
                name,
                *(f"{figures[c]['p50_us']:.0f} / {figures[c]['p99_us']:.0f}" for c in CONTENDERS),
                *(
                    f"{ours['p50_us'] / figures[c]['p50_us']:.2f} / {ours['p99_us'] / figures[c]['p99_us']:.2f}"
                    for c in CONTENDERS[:2]
                ),
            ))  # fmt: skip
    head = ("client and server on", "500 campaigns", "HGETALL, redis-py", "HGETALL, our wire", "`visible`")
    return [
        "## Campaigns: `visible` against HGETALL",
        "",
        "`python -m bench.visible` (its head says the method).",
        about(results),
        "p50 / p99, µs:",
        "",
        *table((*head, "× redis-py", "× our wire"), rows),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="visible with 500 campaigns against HGETALL")
    parser.add_argument("--small", action="store_true", help="a tenth of the rounds, to try the bench itself")
    asked = parser.parse_args()
    results = measure(1 if asked.small else 10)
    if asked.small:
        print("\n".join(text(results)))
    else:
        save("visible", results, text(results))


if __name__ == "__main__":
    main()
