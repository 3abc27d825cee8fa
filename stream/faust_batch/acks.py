"""Waits for acknowledgements. A long wait is a wait for Kafka: a leader may answer and yet take no writes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from time import monotonic


class Acks:
    """What has been sent and not been acknowledged yet."""

    def __init__(self) -> None:
        self._waits: dict[object, tuple[float, str]] = {}  # since, topic

    @contextmanager
    def awaiting(self, topic: str) -> Iterator[None]:
        """Put this around every wait for an acknowledgement."""
        token = object()
        self._waits[token] = (monotonic(), topic)
        try:
            yield
        finally:
            del self._waits[token]

    def longest(self, missing: Collection[str]) -> tuple[float, str] | None:
        """Return since when (monotonic clock) and to which topic, unless it is missing: that is told of for what it is.

        May be called from any thread.
        """
        return min([wait for wait in list(self._waits.values()) if wait[1] not in missing], default=None)
