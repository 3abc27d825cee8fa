"""The demo's measurements, all taken from outside the worker, as its users would see them."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping, Sequence
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from memberstream.stream.lookup import AsyncLookup, Lookup


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the values don't exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


#: Metrics of the worker that the demo reads: records by what became of them, and the lag of each fetched partition.
EVENTS, LAG = "memberstream_events_total", "memberstream_lag_records"


def worker_metrics(port: int, *names: str) -> dict[str, dict[str, float]]:
    """Return metrics of the worker from its Prometheus endpoint, by their names: the label's value → the sample.

    Raises:
        OSError: it doesn't answer.
    """
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as response:
        text = response.read().decode()
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in found:
                found[sample.name]["".join(sample.labels.values())] = sample.value
    return found


class CatchingUp:
    """How long a worker takes for a backlog, as seen from outside at moments.

    Laws:
    - The clock starts at the last look before the worker had fetched anything. A partition has a lag from its first
      fetch on. So the seconds are an upper bound, and the rate is a lower one.
    - Counts of events can't start it: they rise when a batch is done, and a whole partition can be one batch. When the
      first is counted, most of the work on the others is done, too.
    """

    def __init__(self, n_events: int, now_s: float) -> None:
        self._n_events, self._began_s = n_events, now_s
        self.n_done = 0
        self.seconds: float | None = None  # once all is done

    def look(self, asked_s: float, lags: Mapping[str, float], events: Mapping[str, float], told_s: float) -> None:
        """Take what the worker told. `asked_s`, `told_s`: the clock before it was asked, and after its answer."""
        self.n_done = int(sum(events.values()))
        if not lags and not self.n_done:
            self._began_s = asked_s
        elif self.n_done >= self._n_events:
            self.seconds = told_s - self._began_s


class Freshness:
    """From `producer.send` until a look-up shows the event's position: what a campaign service would see, in seconds.

    Pending members are looked up together, every millisecond. So a figure is late by up to a millisecond and a look-up.
    """

    POLL_S = 0.001

    def __init__(self, client: AsyncLookup) -> None:
        self._client = client
        self._pending: list[tuple[str, int, float]] = []  # member id, offset, time sent
        self._asked = 0  # members whose look-up is under way
        self.seconds: list[float] = []

    def expect(self, member_id: str, offset: int, sent_at: float) -> None:
        """Watch until a member reaches an offset. `sent_at`: by time.perf_counter."""
        self._pending.append((member_id, offset, sent_at))

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            pending, self._pending = self._pending, []
            self._asked = len(pending)
            if pending:
                answers = await self._client.get_many([member_id for member_id, _, _ in pending])
                now = time.perf_counter()
                for (member_id, offset, sent_at), answer in zip(pending, answers, strict=True):
                    if answer.offset is not None and answer.offset >= offset:
                        self.seconds.append(now - sent_at)
                    else:
                        self._pending.append((member_id, offset, sent_at))
            self._asked = 0
            await asyncio.sleep(self.POLL_S)

    async def settle(self) -> None:
        """Return when nothing is pending."""
        while self._pending or self._asked:  # noqa: ASYNC110 (the poll is what is measured; an event would only wrap it)
            await asyncio.sleep(self.POLL_S)


def time_lookups(url: str, member_ids: Sequence[str], n: int) -> list[float]:
    """Return the seconds of n look-ups of random members, one after the other on one connection."""
    chosen = random.Random(1).choices(member_ids, k=n)
    seconds: list[float] = []
    with Lookup(url) as client:
        for member_id in chosen[: n // 10]:  # warm up
            client.get(member_id)
        for member_id in chosen:
            start = time.perf_counter()
            client.get(member_id).cluster("repeat_buyer")
            seconds.append(time.perf_counter() - start)
    return seconds
