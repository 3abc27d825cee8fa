"""A deleted member's interactions: the workers that count them are told to forget it (docs/interactions.md).

Laws:
- They are told by a record without a value, before the delete counts as applied: a crash tells them again.
- Redis shows the delete first. So an interaction that is handled behind the record finds no cluster, and whoever is
  deleted doesn't get a record anew.
- In each partition of their topic: which one is the member's is a matter of the producers' partitioner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from time import monotonic
from typing import Any

from stream.projection import Deletion, Update
from stream.writer import Writer

# How long the number of partitions is good for: it doesn't change, but the topic may be made, or made anew. Without
# the topic nothing can have been counted; a worker that is to count needs longer to begin.
_KNOWN_S, _ABSENT_S = 60.0, 1.0
#: partition of the interactions' topic, (key, None) of each record → acknowledged.
Produce = Callable[[int, Sequence[tuple[bytes, None]]], Coroutine[Any, Any, None]]


class Forgetting:
    """Tells of members that are deleted.

    Args:
        n_partitions: asks how many partitions the topic of interactions has; 0: there is none.
    """

    def __init__(self, writer: Writer, n_partitions: Callable[[], Awaitable[int]], produce: Produce) -> None:
        self._writer, self._n_partitions, self._produce = writer, n_partitions, produce
        self._n, self._ask_at_s = 0, 0.0

    async def forget(self, partition: int, member_ids: Collection[bytes], updates: Sequence[Update | Deletion]) -> None:
        """Tell of members that a batch of a partition deletes; `updates`: what the batch writes to Redis."""
        if monotonic() >= self._ask_at_s:
            self._n = await self._n_partitions()
            self._ask_at_s = monotonic() + (_KNOWN_S if self._n else _ABSENT_S)
        if not self._n:
            return
        await self._writer.write(partition, [update for update in updates if isinstance(update, Deletion)])
        records = [(member_id, None) for member_id in sorted(member_ids)]
        await asyncio.gather(*[self._produce(theirs, records) for theirs in range(self._n)])
