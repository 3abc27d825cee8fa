"""The topic of change events as positions see it: which topic a partition's state was made from, and may it go on.

Laws:
1. Offsets of one topic say nothing about another of the same name. State goes on with the topic it was made from, or
   with a new one under a higher epoch, which is the operator's word that the change was meant.
2. What can't be told apart stops the worker with the procedure; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from models.position import NOWHERE
from stream.bookkeeping import Progress, begin_epoch

PROCEDURE = 'docs/operations.md, "A topic re-created or re-partitioned"'


class Record(Protocol):
    """What is used of a record of it (aiokafka's own, before it becomes a ConsumerRecord)."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class TopicChanged(RuntimeError):
    """The topic isn't the one that the state was made from; the operator decides by raising the epoch."""


class SourceTopic(Protocol):
    """The topic as the broker shows it. Two of them: stream.faust_batch.BatchApp, and one in the tests.

    Attributes:
        topic_id: given by the broker when the topic was created; b"" where the broker doesn't tell.
    """

    topic_id: bytes

    def end_offset(self, partition: int) -> int | None:
        """Where the partition ended at the last fetch; None before one."""


def admit(progress: Progress, epoch: int, topic_id: bytes, partition: int) -> Progress:
    """Return the progress to go on from with the topic that is there now.

    Args:
        progress: as stored. epoch: as configured.

    Raises:
        TopicChanged: another topic under the same epoch, the same one under a higher, or a lower epoch.
    """
    if progress.position == NOWHERE:
        return begin_epoch(progress, epoch, topic_id)
    is_known = bool(topic_id and progress.topic_id)
    is_same = topic_id == progress.topic_id
    if epoch < progress.epoch:
        raise TopicChanged(
            f"partition {partition}: its state has reached epoch {progress.epoch} of the topic, the worker is set to "
            f"{epoch}. Next: set MEMBERSTREAM_TOPIC_EPOCH to {progress.epoch} on all workers."
        )
    if epoch > progress.epoch:
        if is_known and is_same:
            raise TopicChanged(
                f"partition {partition}: the epoch is raised to {epoch}, but the topic is the very one that the state "
                f"was made from in epoch {progress.epoch}. Next: set MEMBERSTREAM_TOPIC_EPOCH back to {progress.epoch}."
            )
        return begin_epoch(progress, epoch, topic_id)
    if is_known and not is_same:
        raise TopicChanged(
            f"partition {partition}: the topic was deleted and created again since its state was made (id "
            f"{progress.topic_id.hex()} then, {topic_id.hex()} now). Next: {PROCEDURE}."
        )
    return Progress(progress.position, progress.clock_ms, topic_id or progress.topic_id)


def check_end(progress: Progress, end_offset: int | None, partition: int) -> None:
    """Raise TopicChanged if the partition ends below what was applied."""
    if end_offset is not None and progress.next_offset > end_offset:
        raise TopicChanged(
            f"partition {partition}: applied up to offset {progress.next_offset - 1}, but the topic ends at "
            f"{end_offset - 1}: it was deleted and created again, or the broker lost records. Next: {PROCEDURE}."
        )
