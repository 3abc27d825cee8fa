"""A lock for each partition: a batch, a rebuild and a slice of a backfill take turns on its members."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class Locks:
    """The partitions' locks, made on first use."""

    def __init__(self) -> None:
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def of(self, partition: int) -> asyncio.Lock:
        """Return the lock of a partition."""
        return self._locks[partition]
