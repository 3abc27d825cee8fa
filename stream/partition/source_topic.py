"""The topic of change events: from which topic was a partition's state made, and may the state go on with this one?

Laws:
1. Offsets of one topic say nothing about another of the same name. State goes on with the topic from which it was made,
   or with a new one under a higher epoch. With the higher epoch the operator says that the change was meant.
2. If the topics can't be told apart, the worker stops and names the procedure. Nothing is guessed.
3. Producers decide where a member's events lie. If the state contradicts the setting, the worker stops before it
   refuses any member for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Protocol

from memberstream.models.placement import PARTITIONERS, Placement
from memberstream.models.position import NOWHERE, position_of
from memberstream.stream.partition.bookkeeping import Progress, begin_epoch

#: How many members are looked at to see how they were spread; fewer than the second number show nothing.
_LOOKED_AT, _ENOUGH = 400, 20
PROCEDURE = 'docs/operations.md, "A topic re-created or re-partitioned"'


class Record(Protocol):
    """The parts of a record that are used (aiokafka's record, before it becomes a ConsumerRecord)."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class TopicChanged(RuntimeError):
    """The topic isn't the one from which the state was made. The operator decides, by raising the epoch."""


class OtherPartitioner(RuntimeError):
    """The members of the state lie where another partitioner puts them. The operator names it in the settings."""


class SourceTopic(Protocol):
    """The topic as the broker shows it. Two of them: stream.faust_batch.source.Source, and one in the tests.

    Attributes:
        topic_id: given by the broker when the topic was created; b"" where the broker doesn't tell.
        partition_count: how many partitions it has.
    """

    topic_id: bytes
    partition_count: int

    def end_offset(self, partition: int) -> int | None:
        """Where the partition ended at the last fetch, open transactions included; None before the first fetch."""

    def skipped(self, partition: int) -> Mapping[int, str]:
        """Offsets that an operator has set aside, each with the text of its dead letter. Nearly always none."""

    def lag(self) -> Mapping[int, int]:
        """Records of owned partitions that have arrived and aren't handled yet. Before a fetch a partition has none."""


def admit(progress: Progress, epoch: int, topic_id: bytes, partition: int) -> Progress:
    """Return the progress from which to go on with the topic that is there now.

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


def check_placement(members: Iterable[tuple[bytes, bytes]], partition: int, placement: Placement) -> None:
    """Raise OtherPartitioner if a partition's members, (id, state), don't lie where the setting puts them.

    A few that lie elsewhere are leftovers. If most do, the setting is wrong, and every new member would be refused.
    Only the first members are looked at.
    """
    keys = [key for key, _ in islice(members, _LOOKED_AT)]
    # If another partitioner has put members here, all but one in `n_partitions` are misplaced. Half of that share is
    # far from it, and far from a few leftovers, whatever chance does.
    bound = len(keys) * (1 - 1 / placement.n_partitions) / 2
    if len(keys) < _ENOUGH or len(placement.misplaced(keys, partition)) <= bound:
        return
    others = [Placement(name, placement.n_partitions) for name in PARTITIONERS]
    fitting = next(other.partitioner for other in others if len(other.misplaced(keys, partition)) <= bound)
    raise OtherPartitioner(
        f"partition {partition}: its members don't lie where MEMBERSTREAM_PARTITIONER={placement.partitioner} puts "
        "them, so every new member would be refused. Next: set MEMBERSTREAM_PARTITIONER="
        f"{fitting} on all workers and commands"
    )


def ends_below(partition: int, next_offset: int) -> TopicChanged:
    """Return the error about a partition that was read further than it goes at the broker."""
    return TopicChanged(
        f"partition {partition}: read up to offset {next_offset - 1}, but the topic ends before it: it was deleted and "
        f"created again, or the broker lost records. Next: {PROCEDURE}."
    )


def passed(progress: Progress, records: Sequence[Record], next_offset: int | None) -> Progress:
    """Return the progress once records are applied.

    Args:
        next_offset: where reading goes on: behind the last record, and behind what follows and isn't to be applied
            (control records, aborted records). None: behind the last record.
    """
    behind = max(next_offset or 0, records[-1].offset + 1 if records else 0)
    position = max(progress.position, position_of(progress.epoch, behind - 1))
    return Progress(position, progress.clock_ms, progress.topic_id)
