"""Dead letters: an event that can't be applied goes, whole, to its own topic, with the reason in headers.

Law: key, value and headers are the record's own, untouched; headers added behind them say why, from where and when, and
hold no personal data. A dead letter is acknowledged by the broker before the event's position is; a crash between
repeats it, with the same origin headers, by which readers know it again. Format: docs/events.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from models.event import BadEvent
from stream.source_topic import Record


class DeadLetter(NamedTuple):
    """A record and why it can't be applied."""

    record: Record
    error: BadEvent


OutgoingRecord = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]


def to_records(letters: Sequence[DeadLetter], topic: str, partition: int, now_ms: int) -> list[OutgoingRecord]:
    """Return (key, value, headers) of dead letters from one partition of `topic`."""
    return [
        (
            letter.record.key,
            letter.record.value,
            [
                *letter.record.headers,
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
