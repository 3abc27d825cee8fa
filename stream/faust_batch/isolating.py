"""A batch that fails is handed on in halves, until the record that fails stands alone.

Laws:
- The records before that one are applied, those behind it aren't. Handing on again is as safe as a replay: whoever
  handles batches must allow it (stream/members/pipeline.py), or raise HalfDone. What a part that failed has published
  is taken back by then.
- Only errors that a record can cause are isolated. Errors that stop the worker on purpose, and those of the machine or
  of servers, pass as they are.
- Of an error its type is reported. Its text is reported only if the error is one of ours: these hold no personal data.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError

from memberstream.models.member import NewerState
from memberstream.stream.faust_batch.errors import ForeignWrite, StartError, StateAhead
from memberstream.stream.partition.source_topic import TopicChanged
from memberstream.stream.partition.state import HalfDone, NotOwner, StateUnusable

log = logging.getLogger(__name__)

_ON_PURPOSE = (NotOwner, TopicChanged, ForeignWrite, StateAhead, StateUnusable, StartError, NewerState, HalfDone)
#: After these the restart, once the disk or the server is repaired, goes on with the very same record.
_SURROUNDINGS = (OSError, MemoryError, KafkaError)
_OF_A_RECORD = (MessageSizeTooLargeError, RecordTooLargeError, RecordListTooLargeError)


class BadRecord(Exception):
    """The record by which a batch fails. The records before it in the batch are applied.

    Attributes:
        error: its error, as text for a log.
    """

    def __init__(self, partition: int, offset: int, error: str) -> None:
        super().__init__(f"partition {partition}, offset {offset}: {error}")
        self.partition, self.offset, self.error = partition, offset, error


async def handle_isolating(
    handle: Callable[[int, Sequence[Any], int], Awaitable[None]],
    partition: int,
    records: Sequence[Any],
    next_offset: int,
) -> None:
    """Hand a partition's records to `handle`. Raises BadRecord for the first that can't be handled.

    An error that no record causes is raised as it is. `next_offset`: where reading goes on behind the records.
    """
    try:
        await handle(partition, records, next_offset)
    except Exception as error:
        if not records or not may_be_a_records(error):
            raise
        if len(records) == 1:
            log.error("where it failed:\n%s", "".join(traceback.format_tb(error.__traceback__)))
            raise BadRecord(partition, records[0].offset, describe(error)) from None
    else:
        return
    middle = len(records) // 2
    await handle_isolating(handle, partition, records[:middle], records[middle].offset)
    await handle_isolating(handle, partition, records[middle:], next_offset)


def may_be_a_records(error: Exception) -> bool:
    """Return whether a record may be the cause of an error."""
    if isinstance(error, _OF_A_RECORD):
        return True
    # RocksDB's errors are bare (rocksdict): they are the disk's.
    return not isinstance(error, _ON_PURPOSE + _SURROUNDINGS) and type(error) is not Exception


def describe(error: Exception) -> str:
    """Return an error's type, and its text if the error is one of ours."""
    kind = type(error)
    is_ours = kind.__module__.partition(".")[0] == "memberstream"
    return f"{kind.__name__}: {error}" if is_ours else kind.__name__
