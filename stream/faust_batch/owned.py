"""Which partitions of the source topic are this worker's, and who works on them.

Laws:
- The owner is told of partitions before any batch of them, and of their end exactly once, after the last batch.
- They stand here before the owner is told. So if a beginning was told, the end is told, too, whatever comes in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from memberstream.stream.partition.holds import Holds
from memberstream.stream.partition.source_topic import Record


class Owner(Protocol):
    """Is told about the partitions that this worker has. All calls come from the event loop."""

    async def assigned(self, committed: Mapping[int, int]) -> Mapping[int, int]:
        """The state of these partitions is recovered, and no batch of them has come yet. A rebalance may cancel this.

        `committed`: partition → the offset below which all effects are durable; 0 if there is none.
        Returns partition → the first offset that its state has not applied. Reading begins at the lower of the two.
        """

    async def revoked(self, partitions: frozenset[int]) -> None:
        """No batch of `partitions` is in flight, and what was handled is committed. A stop calls this, too."""


#: Called with the records of a partition, and where reading goes on: behind them and behind what isn't to be applied
#: (stream/partition/source_topic.py). Without records only that is to be noted. It returns when all is durable; then
#: the offset moves. A partition has never two calls at a time. A call may be cancelled; then its records are replayed.
Handle = Callable[[int, Sequence[Record], int], Awaitable[None]]
#: Called after the broker has taken offsets: partition → offset, and from when to when that took (`perf_counter`).
OnCommit = Callable[[Mapping[int, int], float, float], None]


def unheard(offsets: Mapping[int, int], began: float, ended: float) -> None:
    """Nobody wants to know of commits."""


class Owned:
    """The partitions of this worker.

    Attributes:
        partitions: from the moment at which they are recovered.
        is_settled: whether the last rebalance is over: its partitions are recovered, and the owner was told.
        holds: the partitions that aren't read (stream/partition/holds.py).
        handle: who handles their batches.
        on_commit: who is told of commits.
    """

    handle: Handle
    on_commit: OnCommit
    _owner: Owner

    def __init__(self) -> None:
        self.partitions: frozenset[int] = frozenset()
        self.is_settled = False
        self.holds = Holds()

    def serve(self, owner: Owner, handle: Handle, on_commit: OnCommit = unheard) -> None:
        """Name who works on them, and who is told of commits. Called once, before the start."""
        self._owner, self.handle, self.on_commit = owner, handle, on_commit

    async def take(self, committed: Mapping[int, int]) -> Mapping[int, int]:
        """Tell the owner about partitions and what is committed of them. Returns what Owner.assigned returns."""
        self.partitions = frozenset(committed)
        return await self._owner.assigned(committed)

    async def release(self) -> None:
        """Tell the owner, once, that it no longer has its partitions."""
        partitions, self.partitions = self.partitions, frozenset()
        if partitions:
            await self._owner.revoked(partitions)
        self.holds.release(partitions)
