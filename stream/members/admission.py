"""May this worker go on with a partition, and from where? Asked of its state before anything is written.

Laws:
- A worker doesn't go on by fewer models than readers or the state know: all that it wrote would be wrong.
- The topic is the one from which the state was made, and its members lie where the setting says
  (partition/source_topic.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from memberstream.models.placement import Partitioner, Placement
from memberstream.stream.partition.bookkeeping import APPLIED, SCORED, Progress, decode_mark, decode_progress
from memberstream.stream.partition.source_topic import SourceTopic, admit, check_placement
from memberstream.stream.partition.state import State
from memberstream.stream.projection.writer import Writer


class Admission:
    """Admits partitions.

    Args:
        epoch: of the topic, as the operator says.
        partitioner: how members are spread over the topic's partitions.
        until_known: returns when this worker goes by all that the models' log holds, and by a step that somebody else
            has read.
    """

    def __init__(
        self,
        *,
        topic: SourceTopic,
        state: State,
        writer: Writer,
        epoch: int,
        partitioner: Partitioner,
        until_known: Callable[[int], Awaitable[None]],
    ) -> None:
        self._topic, self._state, self._writer = topic, state, writer
        self._epoch, self._partitioner, self._until_known = epoch, partitioner, until_known

    async def until_models_are_known(self, partitions: Iterable[int]) -> None:
        """Return when this worker knows all models that readers and the partitions' states know."""
        marks = [decode_mark(self._state.get_many(partition, [SCORED])[0]).offset for partition in partitions]
        await self._until_known(max([await self._writer.known(), *marks]))

    def progress(self, partition: int) -> Progress:
        """Return how far the partition is.

        Raises:
            TopicChanged: the topic isn't the one from which the state was made.
            OtherPartitioner: its members lie elsewhere than the setting says.
        """
        [stored] = self._state.get_many(partition, [APPLIED])
        progress = admit(decode_progress(stored), self._epoch, self._topic.topic_id, partition)
        placement = Placement(self._partitioner, self._topic.partition_count)
        check_placement(self._state.scan(partition), partition, placement)
        return progress
