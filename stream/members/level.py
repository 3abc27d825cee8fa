"""Has a partition ever been level with its topic? Before that nobody knows which members there are.

Laws:
- A partition is level when everything is applied that its topic held when it was assigned (by the first fetch after
  that), or when nothing waits. Its state remembers for good that it has been level. What waits later is a backlog, and
  `stale` tells readers about that.
- Until all partitions have been level once, the projection isn't complete. Readers are told `rebuilding`, not
  `unknown member`, of members whose events wait unread.
- If an older version has told readers that the projection is complete, partitions count as level: nobody waits
  needlessly.
"""

from __future__ import annotations

import logging

from memberstream.stream.members.rescoring import Rescoring
from memberstream.stream.partition.source_topic import SourceTopic
from memberstream.stream.projection.writer import Writer

log = logging.getLogger(__name__)


class Level:
    """Knows which owned partitions have been level. Call it under a partition's lock."""

    def __init__(self, topic: SourceTopic, writer: Writer, rescoring: Rescoring) -> None:
        self._topic, self._writer, self._rescoring = topic, writer, rescoring
        self._awaited: set[int] = set()  # partitions that aren't level and about which somebody has asked
        self._ends: dict[int, int] = {}  # where they ended when they were assigned

    async def reached(self, partition: int) -> bool:
        """Return whether the partition has been level, now or before."""
        if self._rescoring.is_marked_level(partition):
            return True
        self._awaited.add(partition)
        end = self._topic.end_offset(partition)
        if end is None and self._topic.lag().get(partition) != 0:
            return False
        if end is not None and partition not in self._ends:
            self._ends[partition] = end
            if not self._is_reached(partition):
                log.info(
                    "partition %d: readers are told `rebuilding` until all is applied that its topic holds now, up to "
                    "offset %d: which members there are isn't known before", partition, end - 1,
                )  # fmt: skip
        if not self._is_reached(partition):
            return False
        await self.note(partition)
        return True

    def is_awaited(self, partition: int) -> bool:
        """Return whether somebody who was told "not yet" should ask again."""
        return partition in self._awaited and self._is_reached(partition)

    async def note(self, partition: int) -> None:
        """Remember that the partition has been level."""
        if not self._rescoring.is_marked_level(partition):
            await self._rescoring.mark_level(partition)
        self.leave(partition)

    def leave(self, partition: int) -> None:
        """Forget a partition that is level or no longer owned."""
        self._awaited.discard(partition)
        self._ends.pop(partition, None)

    def _is_reached(self, partition: int) -> bool:
        applied = self._writer.progress[partition].next_offset
        return applied >= self._ends.get(partition, 0) or self._topic.lag().get(partition) == 0
