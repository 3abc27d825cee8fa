"""How long a change takes until Redis shows it, for each partition, measured from outside.

One member of each partition gets an event at a steady pace. A change is readable once its member's row has the position
of its record, or a later one.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self

import redis.asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from e2e.system import System, event

from memberstream.stream.keyspace.formats import POS, parse_position, parse_row

_EVERY_S, _LOOK_S = 0.05, 0.002


class Seen(NamedTuple):
    """A change: when it was sent (monotonic clock), and after how many seconds it was readable."""

    sent_at: float
    took_s: float


class Freshness:
    """`async with Freshness(system) as freshness:` measures until the block ends; then waits for what is under way.

    Attributes:
        seen: partition → the changes that became readable.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._member: dict[int, bytes] = {}
        partitions, choose = list(range(system.n_partitions)), DefaultPartitioner()
        for i in range(10_000):
            member_id = b"fresh-%d" % i
            self._member.setdefault(choose(member_id, partitions, partitions), member_id)
        self._waiting: defaultdict[int, deque[tuple[int, float]]] = defaultdict(deque)
        self.seen: dict[int, list[Seen]] = {partition: [] for partition in partitions}
        self._is_over = False

    async def _send(self) -> None:
        i = 0
        while not self._is_over:
            started, i = time.monotonic(), i + 1
            value = event("patch", patch={"x": i}, create=True)
            await asyncio.gather(*(self._send_one(p, member_id, value) for p, member_id in self._member.items()))
            await asyncio.sleep(max(0.0, started + _EVERY_S - time.monotonic()))

    async def _send_one(self, partition: int, member_id: bytes, value: bytes) -> None:
        sent_at = time.monotonic()
        acked = await self._producer.send_and_wait(
            self._system.settings.topic, value, key=member_id, partition=partition
        )
        self._waiting[partition].append((acked.offset, sent_at))

    async def _look(self) -> None:
        keys = {partition: self._system.keys.member(member_id) for partition, member_id in self._member.items()}
        while not self._is_over:
            rows = await self._redis.mget(list(keys.values()))
            now = time.monotonic()
            for partition, row in zip(keys, rows, strict=True):
                found, waiting = parse_row(row).get(POS), self._waiting[partition]
                while found is not None and waiting and waiting[0][0] <= parse_position(found).offset:
                    _, sent_at = waiting.popleft()
                    self.seen[partition].append(Seen(sent_at, now - sent_at))
            await asyncio.sleep(_LOOK_S)

    def within(self, partitions: Iterable[int], start: float, end: float) -> list[float]:
        """Return the seconds that changes took which were sent to these partitions from `start` to `end`, sorted."""
        return sorted(one.took_s for p in partitions for one in self.seen[p] if start <= one.sent_at <= end)

    async def settled(self) -> None:
        """Return when nothing that was sent by now is still waited for."""
        until = time.monotonic()
        while any(waiting and waiting[0][1] < until for waiting in self._waiting.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        self._redis: Any = redis.asyncio.Redis.from_url(self._system.settings.redis_url)
        self._producer = AIOKafkaProducer(bootstrap_servers=self._system.pair.broker.bootstrap, acks="all")
        await self._producer.start()
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._look())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True  # a cancellation may get lost in the libraries' waits (Python 3.11's asyncio.wait_for)
        await asyncio.gather(*self._tasks)
        await self._producer.stop()
        await self._redis.aclose()


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(seconds)[int(0.99 * len(seconds))]
