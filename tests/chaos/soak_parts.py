"""The two processes beside the worker of the soak: one sends at a steady rate, one looks members up and times it.

    python soak_parts.py send BOOTSTRAP TOPIC PARTITIONS MEMBERS RATE SECONDS
    python soak_parts.py look REDIS_URL MEMBERS

Both end at SIGTERM; each line of output is JSON. What was sent is a function of its number alone (`sent`), so the test
can work out what must come of it without reading millions of records back.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import orjson
import redis
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from bench import job
from memberstream.stream.lookup import Lookup

POOL = 5_000  # distinct patches
WINDOW_S = 10.0  # of the look-ups' p99
_TICK_S = 0.02
_PAUSE_S = 0.004  # between two look-ups: some 200 a second, enough for a p99 of ten seconds


def bodies(n_members: int) -> tuple[list[Any], list[Any]]:
    """Return every member's first event and the pool of patches: no version and no time, so they can come again."""
    events = [orjson.loads(value) for _, value in job.events(n_members, POOL)]
    kept = [{name: body[name] for name in ("op", "document", "patch") if name in body} for body in events]
    return kept[:n_members], kept[n_members:]


def sent(n_members: int) -> Iterator[tuple[int, int]]:
    """Yield (member, patch) for ever: the n-th event, by numbers."""
    chance = random.Random(5)
    n = 0
    while True:
        yield chance.randrange(n_members), n % POOL
        n += 1


async def send(
    bootstrap: str, topic: str, n_partitions: int, n_members: int, rate: int, seconds: float, stop: asyncio.Event
) -> int:
    """Send patches until the time is over or `stop`; returns how many, all of them acknowledged and in order."""
    patches = [orjson.dumps(body) for body in bodies(n_members)[1]]
    choose, partitions = DefaultPartitioner(), list(range(n_partitions))
    keys = [job.member_id(i) for i in range(n_members)]
    places = [choose(key, partitions, partitions) for key in keys]
    source, total = sent(n_members), 0
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=900_000) as producer:
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < seconds and not stop.is_set():
            due: defaultdict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
            # At most twice the rate: what a pause of the machine has held up is caught up slowly.
            for _ in range(min(int(elapsed * rate) - total, rate // 25)):
                member, patch = next(source)
                due[places[member]].append((keys[member], patches[patch]))
                total += 1
            now_ms = time.time_ns() // 1_000_000
            acks = []
            for partition, queue in due.items():
                batch = producer.create_batch()
                for key, value in queue:
                    if batch.append(timestamp=now_ms, key=key, value=value) is None:
                        acks.append(await producer.send_batch(batch, topic, partition=partition))
                        batch = producer.create_batch()
                        batch.append(timestamp=now_ms, key=key, value=value)
                acks.append(await producer.send_batch(batch, topic, partition=partition))
            await asyncio.gather(*acks)
            await asyncio.sleep(_TICK_S)
    return total


async def run_send(arguments: list[str]) -> None:
    bootstrap, topic, n_partitions, n_members, rate, seconds = arguments
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    started = time.monotonic()
    total = await send(bootstrap, topic, int(n_partitions), int(n_members), int(rate), float(seconds), stop)
    print(orjson.dumps({"sent": total, "seconds": time.monotonic() - started}).decode(), flush=True)


def look(url: str, n_members: int) -> None:
    """Look up random members, one after another; a line for each window with the p99 of look-ups, and of a bare PING
    after each, ms."""
    chance = random.Random(6)
    with Lookup(url) as lookup, redis.Redis.from_url(url) as bare:
        while True:
            times: tuple[list[float], list[float]] = ([], [])
            end = time.monotonic() + WINDOW_S
            while time.monotonic() < end:
                member_id = job.member_id(chance.randrange(n_members)).decode()
                started = time.perf_counter()
                answer = lookup.get(member_id)
                looked_up = time.perf_counter()
                bare.ping()
                times[0].append(1000 * (looked_up - started))
                times[1].append(1000 * (time.perf_counter() - looked_up))
                assert answer.cluster(job.ACTIVITY) is not None, answer
                time.sleep(_PAUSE_S)
            p99, ping_p99 = (sorted(each)[int(0.99 * len(each))] for each in times)
            print(orjson.dumps({"n": len(times[0]), "p99": p99, "ping_p99": ping_p99}).decode(), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        asyncio.run(run_send(sys.argv[2:]))
    else:
        look(sys.argv[2], int(sys.argv[3]))
