"""Dead letters: an event that can't be applied goes, whole, to its own topic, with the reason in headers.

Laws:
- Key, value and headers are the record's own, untouched. Headers added behind them say why, from where and when. They
  hold no personal data. Only what its topic doesn't take is cut, and marked so (stream/kafka/outgoing.py).
- The broker acknowledges a dead letter before the event's position moves. A crash in between repeats it, with the same
  origin headers, by which readers recognise it.

Format: docs/events.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from memberstream.models.event import BadEvent
from memberstream.stream.kafka.outgoing import Outgoing
from memberstream.stream.partition.source_topic import Record

#: Headers of a dead letter that is sent again: how often it has been, and of which record it is, "partition/offset".
RESENT, RESENT_ORIGIN = "resent", "resent_origin"


class DeadLetter(NamedTuple):
    """A record and why it can't be applied."""

    record: Record
    error: BadEvent


def to_records(letters: Sequence[DeadLetter], topic: str, partition: int, now_ms: int) -> list[Outgoing]:
    """Return dead letters from one partition of `topic`."""
    return [
        Outgoing(
            letter.record.key,
            letter.record.value,
            letter.record.headers,
            [
                ("reason", letter.error.reason.encode()),
                ("detail", letter.error.detail.encode()),
                ("origin_topic", topic.encode()),
                ("origin_partition", b"%d" % partition),
                ("origin_offset", b"%d" % letter.record.offset),
                ("origin_timestamp_ms", b"%d" % letter.record.timestamp),
                ("failed_at_ms", b"%d" % now_ms),
            ],
        )
        for letter in letters
    ]


class DeadLetters:
    """Sends the dead letters of a topic.

    Args:
        source: the topic that they come from.
        topic: the topic that they go to.
        produce: sends records to a topic and returns once the broker has acknowledged them.
        wall_ms: the wall clock, ms.
    """

    def __init__(
        self,
        source: str,
        topic: str,
        produce: Callable[[str, Sequence[Outgoing]], Awaitable[None]],
        wall_ms: Callable[[], int],
    ) -> None:
        self._source, self._topic, self._produce, self._wall_ms = source, topic, produce, wall_ms

    async def send(self, partition: int, letters: Sequence[DeadLetter]) -> None:
        """Send what a batch of one partition can't apply, in the order of offsets; returns when it is acknowledged."""
        ordered = sorted(letters, key=attrgetter("record.offset"))
        await self._produce(self._topic, to_records(ordered, self._source, partition, self._wall_ms()))
