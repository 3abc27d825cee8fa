"""How often a log-in may fail, by name and by address, before nobody is let through for a while.

Law: whoever is over the limit isn't looked at, also with the right password: else a guess would still be answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

#: People mistype two or three times. At this rate a hundred thousand guesses take a month.
MOST, WITHIN_S = 10, 300.0
_REMEMBERED = 10_000


class Attempts:
    """The failures of late. Somebody else's may keep a person out for some minutes; sessions go on."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failed: dict[tuple[str, str], deque[float]] = {}

    def wait_s(self, name: str, address: str) -> float:
        """Return how long to wait before the next attempt; 0: none."""
        return max(self._wait_s(key) for key in _keys(name, address))

    def failed(self, name: str, address: str) -> None:
        """Count a failure."""
        for key in _keys(name, address):
            times = self._failed.pop(key, deque[float](maxlen=MOST))
            times.append(self._clock())
            self._failed[key] = times  # the latest stands last
        while len(self._failed) > _REMEMBERED:
            del self._failed[next(iter(self._failed))]

    def _wait_s(self, key: tuple[str, str]) -> float:
        times = self._failed.get(key)
        return 0.0 if times is None or len(times) < MOST else max(0.0, times[0] + WITHIN_S - self._clock())


def _keys(name: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("name", name), ("address", address)
