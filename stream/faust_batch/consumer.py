"""Faust's aiokafka consumer, made to read in batches: how it meets a rebalance. Its loop is in draining.py.

Laws:
1. Nothing of a partition is under way when another worker may have it. The loop is parked, what is durable is
   committed, and the owner is told, in this order.
2. The flow goes on with the recovery of the next assignment, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from faust.types import TP

from memberstream.stream.faust_batch.draining import DrainingConsumer
from memberstream.stream.faust_batch.errors import NameTaken, StartError
from memberstream.stream.faust_batch.offsets import BATCH_GRACE_S


class BatchConsumer(DrainingConsumer):
    """The consumer that transport.py puts in the place of Faust's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._revoking = False
        self.revocations = 0
        super().__init__(*args, **kwargs)

    async def park(self) -> None:
        """Stop the flow. Returns when no fetch and no batch is in flight. A batch that takes too long is cancelled."""
        self.stop_flow()
        for grace_s in (BATCH_GRACE_S, 1.0):
            try:
                await asyncio.wait_for(self._parked.wait(), grace_s)
                return
            except TimeoutError:
                self.log.warning("a batch in flight did not end within %s s: cancelled, it will be replayed", grace_s)
                self._in_flight.cancel()
        raise RuntimeError("the handler ignores its cancellation: stopping rather than running beside a new owner")

    async def committed_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return partition of the source topic → the group's committed offset; 0 if there is none."""
        return await self._thread.committed_offsets(partitions)

    async def read_from(self, offsets: Mapping[int, int], committed: Mapping[int, int]) -> None:
        """Begin to read newly assigned partitions: partition → the first offset that its state lacks."""
        await self._positions.begin(self._thread, offsets, committed)

    def resume_flow(self) -> None:
        """Resume the flow. (Faust also calls this from a recovery that a rebalance has overtaken: then it doesn't.)"""
        if not self._revoking:
            super().resume_flow()

    def allow_flow(self) -> None:
        """The recovery of a new assignment calls this: from now on a resume is meant for it."""
        self._revoking = False

    async def name_taken(self, error: NameTaken) -> None:
        """Another process has this worker's name in the group: stop."""
        self.app.is_name_taken = True
        self.log.error("stopping: %s: %s", type(error).__name__, error)
        await self.app.crash(error)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Give partitions away. The steps are numbered: a crash or a lost membership may come between any two."""
        self.revocations += 1
        self._revoking = True
        self._owned.is_settled = False
        try:
            # 1. No batch runs on. Crash here: nothing of an unfinished batch is committed.
            await self.park()
            await self.app.tables.recovery.assigning.cancel()
            # 2. Commit what is durable. Crash, or refusal by the broker: the new owner replays, which changes nothing.
            await self.commit_range()
            # 3. The pipeline forgets the partitions before anybody else can own them.
            await self._owned.release()
        except Exception as error:
            await self.app.crash(error)
        self._positions.forget(revoked)
        # 4. Faust's own bookkeeping; the changelog and RocksDB of these partitions are closed by it.
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._membership.confirm()  # the assignment is the broker's word
        grown = max((tp.partition for tp in assigned if tp.topic == self._source.name), default=-1)
        if grown >= self._source.partition_count:
            await self.app.crash(
                StartError(
                    f"topic {self._source.name} has more partitions than the {self._source.partition_count} its state "
                    "was made for: members have moved to other partitions. Next: stop all workers and replay the "
                    "topic under a new group name."
                )
            )
            return
        await super().on_partitions_assigned(assigned, generation_id)
