"""What the source topic holds of some members, from their letters' events on: read to its end, and then on.

Laws:
- If a letter's own record is seen, all records of its member behind it are. If it isn't there any more, nothing is
  known, and nobody may say "nothing since".
- What retention removes before it is read leaves a gap in its partition. Then nothing is known there, either.
- What was sent again counts by where its event stood first, not by where it stands now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from memberstream.stream.kafka.topic_reader import records
from memberstream.stream.partition.dead_letters import RESENT_ORIGIN
from memberstream.stream.resending.letter import Letter, Place
from memberstream.stream.tasks.meter import Meter, unwatched


class Later(NamedTuple):
    """A record of a member.

    Attributes:
        version: of the event; None: it has none.
        is_delete: the member is forgotten.
        first: where in this partition its event stood first, if it was sent again; else None. An event that came from
            another partition is one like any: offsets don't say whether it is older.
    """

    offset: int
    version: int | None = None
    is_delete: bool = False
    first: int | None = None


#: Return what a record says of its member; None: nothing that counts. Its argument is aiokafka's record.
Understand = Callable[[Any], "Later | None"]


class Since:
    """See above.

    Args:
        starts: partition → the first offset that matters.
        letters: those that are to be judged.
        understand: what a record says.

    Attributes:
        sent: place of a failed record → where it was sent again.
        there: places of letters' events that the topic still holds, as they came.
        gaps: partitions that didn't hold any more all that was to be read.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        topic: str,
        starts: Mapping[int, int],
        letters: Collection[Letter],
        understand: Understand,
    ) -> None:
        self._consumer, self._topic, self._understand = consumer, topic, understand
        self._next = dict(starts)
        self._keys = {letter.key for letter in letters}
        self._first = {letter.first: (letter.key, letter.value) for letter in letters}
        self._records: defaultdict[tuple[int, bytes | None], list[Later]] = defaultdict(list)
        self.sent: dict[Place, Place] = {}
        self.there: set[Place] = set()
        self.gaps: set[int] = set()
        self._from_elsewhere: defaultdict[tuple[int, bytes | None], list[int]] = defaultdict(list)

    def of(self, partition: int, key: bytes | None) -> list[Later]:
        """Return what a partition holds of a member, in order."""
        return self._records[partition, key]

    def from_elsewhere(self, partition: int, key: bytes | None) -> list[int]:
        """Return the offsets at which letters of a member, of foreign partitions, were noted in a partition."""
        return self._from_elsewhere[partition, key]

    def seen_to(self, partition: int) -> int:
        """Return the offset up to which a partition is read; that one isn't."""
        return self._next[partition]

    def note(self, letter: Letter, place: Place) -> None:
        """Note where a letter was sent, ahead of reading it."""
        self.sent[letter.place] = place
        partition, first = letter.first
        if first >= 0 and partition == place[0]:
            self._records[place[0], letter.key].append(Later(place[1], first=first))
        else:
            self._from_elsewhere[place[0], letter.key].append(place[1])

    async def read_on(self, progress: Meter = unwatched) -> None:
        """Take in all that has come by now. Raises TopicUnreadable."""
        parts = {TopicPartition(self._topic, number): start for number, start in self._next.items()}
        ends = await self._consumer.end_offsets(parts)
        begins = await self._consumer.beginning_offsets(parts)
        left = sum(max(0, end - max(parts[part], begins[part])) for part, end in ends.items())
        done = 0
        for part, end in ends.items():
            start = max(parts[part], begins[part])
            if start > parts[part]:
                self.gaps.add(part.partition)
                self.there = {place for place in self.there if place[0] != part.partition}
            if end <= start:
                continue
            async for some in records(self._consumer, part, start):
                for record in some:
                    self._take(part.partition, record)
                self._next[part.partition] = some[-1].offset + 1
                done += len(some)
                progress(done, max(done, left))

    def _take(self, partition: int, record: Any) -> None:
        if record.key not in self._keys:
            return
        if self._first.get((partition, record.offset)) == (record.key, record.value):
            self.there.add((partition, record.offset))
        if record.headers and (place := _origin(record)) is not None:
            self.sent[place] = (partition, record.offset)
        if (later := self._understand(record)) is not None:
            self._records[partition, record.key].append(later)


def _origin(record: Any) -> Place | None:
    """Return which failed record a record sends again; None: none."""
    with suppress(ValueError):
        partition, _, offset = (dict(record.headers).get(RESENT_ORIGIN) or b"").partition(b"/")
        return int(partition), int(offset)
    return None
