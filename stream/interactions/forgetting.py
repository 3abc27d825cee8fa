"""A deleted member's interactions: the workers that count them are told to forget it (docs/interactions.md).

Laws:
- They are told by a record without a value, before the delete counts as applied. After a crash they are told again.
- Redis shows the delete first. So an interaction that is handled after that record finds no cluster, and a deleted
  member doesn't get a new record.
- Every partition of the interactions' topic gets that record: only the producers' partitioner knows which one is the
  member's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from time import monotonic
from typing import Any

from memberstream.stream.projection.members import Deletion, Write
from memberstream.stream.projection.writer import Writer

# How long the number of partitions is remembered: it doesn't change, but the topic may be created, or created anew. If
# there is no topic, nothing can have been counted, and a worker that begins to count takes longer than this to start.
_KNOWN_S, _ABSENT_S = 60.0, 1.0
#: partition of the interactions' topic, (key, None) of each record → acknowledged.
Produce = Callable[[int, Sequence[tuple[bytes, None]]], Coroutine[Any, Any, None]]


class Forgetting:
    """Tells the interactions workers about deleted members.

    Args:
        n_partitions: asks how many partitions the topic of interactions has; 0: there is no topic.
    """

    def __init__(self, writer: Writer, n_partitions: Callable[[], Awaitable[int]], produce: Produce) -> None:
        self._writer, self._n_partitions, self._produce = writer, n_partitions, produce
        self._n, self._ask_at_s = 0, 0.0

    async def forget(self, partition: int, member_ids: Collection[bytes], updates: Sequence[Write]) -> None:
        """Tell about members that a batch of a partition deletes. `updates`: what the batch writes to Redis."""
        if monotonic() >= self._ask_at_s:
            self._n = await self._n_partitions()
            self._ask_at_s = monotonic() + (_KNOWN_S if self._n else _ABSENT_S)
        if not self._n:
            return
        await self._writer.write(partition, [update for update in updates if isinstance(update, Deletion)])
        records = [(member_id, None) for member_id in sorted(member_ids)]
        await asyncio.gather(*[self._produce(theirs, records) for theirs in range(self._n)])
