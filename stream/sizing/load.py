"""Sends synthetic events at a steady rate, and says what became of it.

Laws:
- An event is due at its own moment, whatever was held up before. What a pause has held up is made up for.
- What was achieved is counted in acknowledged events. So a broker, a network or this process that can't keep up shows.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from memberstream.stream.kafka.producer import Producer
from memberstream.stream.sizing.shape import Event

_TICK_S = 0.01  # below what a batch takes from Kafka to Redis
_SAMPLE = 20  # every twentieth event is timed
#: A rate that is missed by more than this has a reason that its sender should know.
KEPT = 0.95


@dataclass(frozen=True, slots=True)
class Achieved:
    """What was sent.

    Attributes:
        events, bytes: of keys and values; all of them acknowledged.
        seconds: from the first event until the last was acknowledged.
        late_p99_ms: how long after it was due an event went to the producer.
        acknowledged_p99_ms: from there until Kafka had acknowledged it. None: nothing was sent.
    """

    events: int
    bytes: int
    seconds: float
    late_p99_ms: float | None
    acknowledged_p99_ms: float | None

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0


async def send(
    producer: Producer, events: Iterable[Event], rate: float, shown: Callable[[int], None] = lambda n: None
) -> Achieved:
    """Send events at a rate, events per second. `shown` is told now and then how many have gone.

    Raises:
        SendError: Kafka didn't take one.
    """
    n = n_bytes = 0
    late_s: list[float] = []
    acknowledged_s: list[float] = []
    began = perf_counter()
    for key, value in events:
        due = began + n / rate
        if due > (now := perf_counter()):
            shown(n)
            while due > now:
                await asyncio.sleep(max(due - now, _TICK_S))
                now = perf_counter()
        elif n % _SAMPLE == 0:
            await asyncio.sleep(0)  # the producer's turn
        future = await producer.send(key, value)
        n, n_bytes = n + 1, n_bytes + len(key) + len(value)
        if n % _SAMPLE == 1:
            late_s.append(now - due)
            future.add_done_callback(_timed(acknowledged_s, now))
    await producer.flush()
    seconds = perf_counter() - began
    await asyncio.sleep(0)  # callbacks of the last
    shown(n)
    return Achieved(n, n_bytes, seconds, _p99_ms(late_s), _p99_ms(acknowledged_s))


def _timed(seconds: list[float], began: float) -> Callable[[asyncio.Future[Any]], None]:
    def note(_: asyncio.Future[Any]) -> None:
        seconds.append(perf_counter() - began)

    return note


def _p99_ms(seconds: list[float]) -> float | None:
    ranked = sorted(seconds)
    return 1000 * ranked[math.ceil(0.99 * len(ranked)) - 1] if ranked else None
