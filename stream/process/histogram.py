"""Figures that are taken in as they come, and read at each scrape.

Law: thread-safe enough for one writer and scrapes. Many observations cost one call.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from time import time

import numpy as np
import numpy.typing as npt
from prometheus_client.samples import Exemplar

# Seconds. From a fifth of a millisecond, which one event alone takes, to a minute: then freshness is an outage.
BUCKETS = (
    *(0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0),
)
BATCH_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)

#: Observations that are cheaper one by one than by NumPy's dozen calls.
FEW = 16


class Histogram:
    """A Prometheus histogram that takes many observations at once. Thread-safe enough for one writer and scrapes."""

    def __init__(self, buckets: Sequence[float]) -> None:
        self._bounds = list(buckets)
        self._edges = np.array(buckets, dtype=np.float64)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0
        self._exemplars: list[Exemplar | None] = [None] * len(self._counts)

    def observe_one(self, value: float) -> None:
        """Add one observation, in a tenth of the time that NumPy takes for it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def observe_many(self, values: npt.ArrayLike, trace_id: str | None = None) -> None:
        """Add observations, (n,), n ≥ 1. `trace_id`: the exemplar of the largest."""
        observed = np.asarray(values, dtype=np.float64)
        index = self._edges.searchsorted(observed, side="left")  # Prometheus: a bucket holds values ≤ its bound
        self._counts += np.bincount(index, minlength=len(self._counts))
        self._sum += float(observed.sum())
        if trace_id is not None:
            largest = float(observed.max())
            self._exemplars[bisect_left(self._bounds, largest)] = Exemplar({"trace_id": trace_id}, largest, time())

    def observe_ages(self, now_ms: int, times_ms: Sequence[int], trace_id: str | None = None) -> None:
        """Add how old these are, n ≥ 1; what lies ahead is 0 s old. `trace_id`: as above."""
        if len(times_ms) > FEW or trace_id is not None:
            ages_ms = now_ms - np.array(times_ms, dtype=np.int64)
            self.observe_many(np.maximum(ages_ms, 0) / 1000, trace_id)
            return
        for at_ms in times_ms:
            self.observe_one(max(now_ms - at_ms, 0) / 1000)

    def buckets(self) -> tuple[list[tuple[str, float] | tuple[str, float, Exemplar]], float]:
        """Return the buckets, and the sum of all observations.

        A bucket: its upper bound, the observations up to it, and its latest exemplar if there is one.
        """
        bounds = [*(f"{edge:g}" for edge in self._edges.tolist()), "+Inf"]
        counts = np.cumsum(self._counts).astype(float).tolist()
        told = zip(bounds, counts, self._exemplars, strict=True)
        return [(up_to, n) if one is None else (up_to, n, one) for up_to, n, one in told], self._sum


class Youngest:
    """The smallest age of a record in this minute and the one before. Negative: the producer's clock is ahead.

    A record is at least as old as its way takes. On a quiet stream any more age is a difference between the two clocks.
    """

    def __init__(self) -> None:
        self._minute = -1
        self._ages_ms: list[int] = [0, 0]  # of the minute before, of this one

    def see(self, now_ms: int, age_ms: int) -> None:
        """Take in the smallest age of some records."""
        if (minute := now_ms // 60_000) == self._minute:
            self._ages_ms[1] = min(self._ages_ms[1], age_ms)
        else:
            self._ages_ms = [self._ages_ms[1] if self._minute >= 0 else age_ms, age_ms]
            self._minute = minute

    @property
    def age_ms(self) -> int:
        """Return it in ms. While nothing arrives it is that of the last record; before the first it is 0."""
        return min(self._ages_ms)
