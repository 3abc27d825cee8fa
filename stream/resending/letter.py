"""A dead letter as it stands in its topic: the record that failed, and why. The format: docs/events.md, "Dead letters".

Laws:
- Our headers stand behind the record's own, whatever names these have.
- A letter is named by the record that failed. Written twice after a crash, it is one letter.
- What was sent again and failed again holds the event inside; `first` says where that one stood.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from contextlib import suppress
from typing import Any, NamedTuple

from memberstream.models.resend import resent_in
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.outgoing import Headers
from memberstream.stream.kafka.topic_reader import connected, records
from memberstream.stream.kafka.topics import count_partitions
from memberstream.stream.partition.dead_letters import RESENT
from memberstream.stream.tasks.meter import Meter, unwatched

Place = tuple[int, int]  # partition, offset


class Letter(NamedTuple):
    """A dead letter.

    Attributes:
        place: of the record that failed, in the source topic.
        first: of the event in it, when it came for the first time; offset -1: in another partition.
        headers: the record's own.
        marks: ours, behind them.
        value, at_ms: the event's, and its record's timestamp (-1: none).
        times: how often it was sent again.
    """

    place: Place
    first: Place
    key: bytes | None
    value: bytes | None
    at_ms: int
    headers: Headers
    marks: Headers
    reason: str
    detail: str
    failed_at_ms: int
    times: int

    @property
    def is_cut(self) -> bool:
        return any(name == "cut" for name, _ in self.marks)


def to_letter(record: Any) -> Letter | None:
    """Return the letter of a record of a dead-letter topic (aiokafka's); None if it is none."""
    names = [name for name, _ in record.headers]
    if "reason" not in names:
        return None
    ours = len(names) - 1 - names[::-1].index("reason")
    own, marks = record.headers[:ours], record.headers[ours:]
    said = {name: (value or b"").decode(errors="replace") for name, value in marks}
    try:
        place = int(said["origin_partition"]), int(said["origin_offset"])
        at_ms, failed_at_ms = int(said["origin_timestamp_ms"]), int(said["failed_at_ms"])
    except (KeyError, ValueError):
        return None
    times = 0
    with suppress(ValueError):
        times = max(0, int(dict(own).get(RESENT) or b"0"))
    first, value = place, record.value
    if times and (inside := resent_in(value)) is not None:
        first, value, at_ms = (place[0], inside.origin), inside.value, inside.at
    return Letter(
        place, first, record.key, value, at_ms, own, marks, said["reason"], said.get("detail", ""), failed_at_ms, times
    )


class Choice(NamedTuple):
    """Which letters are meant; None: all. Partitions are those of the records that failed; times are when they did."""

    reasons: Container[str] | None = None
    partition: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def has(self, letter: Letter) -> bool:
        return (
            (self.reasons is None or letter.reason in self.reasons)
            and self.partition in (None, letter.place[0])
            and (self.since_ms is None or letter.failed_at_ms >= self.since_ms)
            and (self.until_ms is None or letter.failed_at_ms < self.until_ms)
        )


async def read_letters(kafka: Kafka, topic: str, progress: Meter = unwatched) -> AsyncIterator[Letter]:
    """Yield the letters of a dead-letter topic, each once; none if there is no such topic: nothing ever failed.

    Raises:
        TopicUnreadable, TopicsUnreadable: Kafka can't be read; the text says what to do.
    """
    if not await count_partitions(kafka, topic):
        return
    seen: set[Place] = set()
    done = 0
    async with connected(kafka, topic, "check MEMBERSTREAM_TOPIC") as (consumer, partitions):
        total = sum((await consumer.end_offsets(partitions)).values())
        for partition in partitions:
            async for some in records(consumer, partition):
                for record in some:
                    letter = to_letter(record)
                    if letter is not None and letter.place not in seen:
                        seen.add(letter.place)
                        yield letter
                done += len(some)
                progress(done, max(done, total))
