"""What failed, and why: the newest letters of a dead-letter topic, counted by reason and day, without their data.

Laws:
- Keys, values and headers are forgotten as they are read: only their sizes are kept, and no page can show more.
- A look costs the same, however many letters there are: at most MOST of a topic are read, the newest of each partition.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from aiokafka.errors import KafkaError

from memberstream.models.timestamps import DAY_MS
from memberstream.stream.console.following import Problem
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.topic_reader import TopicUnreadable, connected, records
from memberstream.stream.kafka.topics import TopicsUnreadable, count_partitions
from memberstream.stream.resending.advice import EVENTS, INTERACTIONS, Advice
from memberstream.stream.resending.letter import Place, to_letter
from memberstream.stream.resending.sending import Topic

MOST = 10_000
#: Days of which a page shows how many letters failed on each.
DAYS = 14
SAMPLES = 20
#: By a version of workers that knows more reasons than this console.
_UNKNOWN = Advice("a reason that this version doesn't know", "update the console")


class Masked(NamedTuple):
    """A letter without its data. Sizes in bytes; None: there was no key, or no value."""

    place: Place
    reason: str
    detail: str
    failed_at_ms: int
    times: int
    key_bytes: int | None
    value_bytes: int | None


class Row(NamedTuple):
    """The letters of one reason.

    Attributes:
        days: of each of the last DAYS days, how many failed; today is the last.
        resent: letters that had been sent again before.
    """

    reason: str
    advice: Advice
    letters: int
    resent: int
    first_ms: int
    last_ms: int
    days: list[int]


class Letters(NamedTuple):
    """The letters that were read of a topic. `is_part`: older ones weren't read. `problem`: why none could be."""

    topic: Topic
    letters: tuple[Masked, ...] = ()
    is_part: bool = False
    problem: Problem | None = None

    def rows(self, now_ms: int) -> list[Row]:
        """Return them by reason, most letters first."""
        by_reason: dict[str, list[Masked]] = {}
        for letter in self.letters:
            by_reason.setdefault(letter.reason, []).append(letter)
        advice = INTERACTIONS if self.topic.is_of_interactions else EVENTS
        rows = [_row(reason, advice.get(reason, _UNKNOWN), its, now_ms) for reason, its in by_reason.items()]
        return sorted(rows, key=lambda row: (-row.letters, row.reason))

    def samples(self, reason: str = "") -> list[Masked]:
        """Return the newest letters, of one reason or of all."""
        its = [letter for letter in self.letters if reason in ("", letter.reason)]
        return sorted(its, key=lambda letter: (-letter.failed_at_ms, letter.place))[:SAMPLES]


def _row(reason: str, advice: Advice, letters: list[Masked], now_ms: int) -> Row:
    at = [letter.failed_at_ms for letter in letters]
    days = [0] * DAYS
    for ms in at:
        if 0 <= (ago := now_ms // DAY_MS - ms // DAY_MS) < DAYS:
            days[-1 - ago] += 1
    return Row(reason, advice, len(letters), sum(letter.times > 0 for letter in letters), min(at), max(at), days)


async def read(kafka: Kafka, topic: Topic) -> Letters:
    """Return the newest letters. Nothing is raised that is expected: why it can't be read is told, too."""
    try:
        if not await count_partitions(kafka, topic.dead):
            return Letters(topic)  # nothing ever failed
        found, is_part = dict[Place, Masked](), False
        async with connected(kafka, topic.dead, "check MEMBERSTREAM_TOPIC") as (consumer, partitions):
            begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            for partition in partitions:
                start = max(begins[partition], ends[partition] - MOST // len(partitions))
                is_part = is_part or start > begins[partition]
                async for some in records(consumer, partition, start):
                    found.update((letter.place, letter) for letter in _masked(some))
        return Letters(topic, tuple(found.values()), is_part)
    except (TopicUnreadable, TopicsUnreadable) as error:
        return Letters(topic, problem=Problem.of(str(error), "check the brokers"))
    except KafkaError as error:
        return Letters(topic, problem=Problem.of(kafka.said(error, topic.dead), "check the brokers"))


def _masked(some: Iterable[object]) -> Iterable[Masked]:
    for record in some:
        if (letter := to_letter(record)) is not None:
            sizes = [None if content is None else len(content) for content in (letter.key, letter.value)]
            yield Masked(letter.place, letter.reason, letter.detail, letter.failed_at_ms, letter.times, *sizes)
