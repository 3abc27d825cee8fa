"""The steps that send dead letters again. Nothing is kept beside the topics: they say what was sent.

    1  the dead letters are read         nothing else has happened
    2  the source topic is read          from the first letter's record to its end: what came since, what was sent again
    3  each letter is judged             (judging.py)
    4  a letter is sent, with its place  a crash after it: the next run finds that place in the source topic
       in a header                       and sends it no more; the owner would refuse a second one

Before each slice of letters the source topic is read on, and the slice is judged again: a slow run goes by what its
topic holds now, not by what it held at first. Letters of one member go one after the other: each names where those
before it went.

A delete without a version that comes between a look and the letter is found by looking back: at the end, after a
failure, and in the next run that chooses the letter.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from memberstream.models.placement import Placement
from memberstream.models.resend import encode_resend
from memberstream.stream.kafka.letters import TOGETHER_BYTES
from memberstream.stream.kafka.outgoing import Batch, Outgoing
from memberstream.stream.kafka.producer import SendError
from memberstream.stream.kafka.topic_reader import connected
from memberstream.stream.partition.dead_letters import RESENT, RESENT_ORIGIN
from memberstream.stream.resending import judging
from memberstream.stream.resending.judging import Rules, Verdict
from memberstream.stream.resending.letter import Choice, Letter, Place, read_letters
from memberstream.stream.resending.since import Later, Since
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter, unwatched

SLICE = 500  # letters between two looks at the source topic
_LAST_LOOK_S = 5.0  # after a failure; the next run looks back, too
RATE = 1_000.0  # letters a second: a small part of what a worker handles, so that live events don't wait


class Topic(NamedTuple):
    """One of the two topics whose letters come back."""

    name: str
    dead: str
    is_of_interactions: bool

    @classmethod
    def of(cls, settings: Settings, interactions: bool) -> Topic:
        if interactions:
            return cls(settings.interactions_topic, settings.interaction_dead_letter_topic, True)
        return cls(settings.topic, settings.dead_letter_topic, False)


@dataclass(slots=True)
class Resent:
    """What became of the letters that were chosen.

    Attributes:
        refused: each letter that isn't sent, with its reason.
        done: how many were sent by an earlier run.
        overtaken: letters sent, by this run or an earlier one, although a delete of their member, which no state
            remembers, came just before; and none came since.
    """

    chosen: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[Letter, str]] = field(default_factory=list)
    done: int = 0
    overtaken: list[Letter] = field(default_factory=list)


class Resending:
    """One run. `by`: who asks for it."""

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        choice: Choice,
        by: str,
        *,
        named: Sequence[str] = (),
        most_times: int = judging.MOST_TIMES,
        progress: Meter = unwatched,
    ) -> None:
        self._settings, self._topic, self._choice, self._by = settings, topic, choice, by
        self._named, self._most_times, self._progress = named, most_times, progress
        self._letters: list[Letter] = []
        self.outcome = Resent()

    @asynccontextmanager
    async def planned(self) -> AsyncIterator[list[Letter]]:
        """Give the letters that would be sent, in order; `outcome` has the others. `send` sends them.

        Raises:
            TopicUnreadable, TopicsUnreadable: Kafka can't be read; the text says what to do.
        """
        dead: set[Place] = set()
        async for letter in read_letters(self._settings.kafka, self._topic.dead, self._progress):  # 1
            dead.add(letter.place)
            if self._choice.has(letter):
                self._letters.append(letter)
        self._letters.sort(key=lambda letter: letter.first)
        self.outcome.chosen = len(self._letters)
        async with AsyncExitStack() as stack:
            if not self._letters:
                yield []
                return
            its = connected(self._settings.kafka, self._topic.name, "check MEMBERSTREAM_TOPIC")
            consumer, partitions = await stack.enter_async_context(its)
            placement = Placement(self._settings.partitioner, len(partitions))
            self._rules = Rules(
                now_ms=time.time_ns() // 1_000_000,
                placement=placement,
                named=self._named,
                most_times=self._most_times,
                dead=dead,
                whole_only=self._settings.is_compaction_admitted,
                json_keys=self._settings.are_json_keys_allowed,
                kinds=self._settings.interaction_kinds,
            )
            self._since = Since(consumer, self._topic.name, self._starts(), self._letters, self._understand)
            await self._since.read_on(self._progress)  # 2
            self._look_back()
            yield list(self._judged(self._letters))  # 3

    def _starts(self) -> dict[int, int]:
        """Return from where each partition is to be read."""
        starts: dict[int, int] = {}
        for letter in self._letters:
            (partition, offset), own = letter.first, judging.target(letter, self._rules)
            offset = max(0, offset)
            starts[partition] = min(starts.get(partition, offset), offset)
            if own != partition:  # offsets say nothing there
                starts[own] = 0
        return starts

    def _understand(self, record: Any) -> Later | None:
        understand = judging.understand_interaction if self._topic.is_of_interactions else judging.understand_event
        return understand(record, self._rules)

    def _judge(self, letter: Letter, *, is_behind: bool) -> Verdict:
        judge = judging.judge_interaction if self._topic.is_of_interactions else judging.judge_event
        return judge(letter, self._since, self._rules, is_behind=is_behind)

    def _judged(self, letters: Iterable[Letter]) -> Iterable[Letter]:
        """Yield those that may be sent; note the others."""
        before: set[tuple[int, bytes | None]] = set()
        for letter in letters:
            whose = letter.first[0], letter.key
            verdict = self._judge(letter, is_behind=whose in before)
            if verdict.is_done:
                self.outcome.done += 1
            elif verdict.why:
                self.outcome.refused.append((letter, verdict.why))
            else:
                before.add(whose)
                yield letter

    async def send(self, letters: Sequence[Letter], rate: float, progress: Meter = unwatched) -> None:
        """Send the letters of `planned`, at most `rate` a second. `outcome` is true after an error, too.

        Raises:
            SendError: Kafka doesn't take one; TopicUnreadable: the topic can't be read on. The text says what to do.
        """
        kafka = self._settings.kafka
        producer = kafka.producer()
        began_at, size = monotonic(), max(1, min(SLICE, int(rate)))
        try:
            await producer.start()
            for start in range(0, len(letters), size):
                if (ahead_s := began_at + start / rate - monotonic()) > 0:
                    await asyncio.sleep(ahead_s)
                await self._since.read_on()  # the first time, too: somebody may have thought about it for long
                for wave in _waves(self._judged(letters[start : start + size])):
                    await self._send(producer, wave)
                progress(min(start + size, len(letters)), len(letters))
            await self._since.read_on()
        except BaseException as error:
            with suppress(KafkaError, OSError):
                async with asyncio.timeout(_LAST_LOOK_S):
                    await self._since.read_on()
            if isinstance(error, KafkaError):
                raise SendError(
                    f"{kafka.said(error, self._topic.name)}; then repeat: what was sent stays sent"
                ) from None
            raise
        finally:
            self._look_back()
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, letters: Iterable[Letter]) -> None:  # 4
        by_partition: defaultdict[int, list[tuple[Letter, Outgoing]]] = defaultdict(list)
        for letter in letters:
            partition = letter.place[0]
            if not self._topic.is_of_interactions:
                partition = judging.target(letter, self._rules)
            by_partition[partition].append((letter, self._record(letter, partition)))
        await asyncio.gather(*[self._send_to(producer, partition, some) for partition, some in by_partition.items()])

    async def _send_to(
        self, producer: AIOKafkaProducer, partition: int, some: Sequence[tuple[Letter, Outgoing]]
    ) -> None:
        """Send letters to one partition, several at a time. (aiokafka takes one batch of a partition after another.)"""
        start = 0
        while start < len(some):
            end, n_bytes = start + 1, some[start][1].n_bytes
            while end < len(some) and (n_bytes := n_bytes + some[end][1].n_bytes) <= TOGETHER_BYTES:
                end += 1
            together = some[start:end]
            batch = Batch([record for _, record in together], time.time_ns() // 1_000_000)
            acked = await (await producer.send_batch(batch, self._topic.name, partition=partition))
            for i, (letter, _) in enumerate(together):
                self._since.note(letter, (partition, acked.offset + i))
                self.outcome.sent[letter.reason] += 1
            start = end

    def _record(self, letter: Letter, partition: int) -> Outgoing:
        kept = [(name, value) for name, value in letter.headers if name not in (RESENT, RESENT_ORIGIN)]
        marks = [(RESENT, b"%d" % (letter.times + 1)), (RESENT_ORIGIN, b"%d/%d" % letter.place)]
        if self._topic.is_of_interactions:
            return Outgoing(letter.key, letter.value, kept, marks, None if letter.at_ms < 0 else letter.at_ms)
        first = letter.first[1] if partition == letter.first[0] else -1
        before = self._judge(letter, is_behind=True).before
        seen_to = self._since.seen_to(partition)
        value = encode_resend(letter.value, partition, first, seen_to, before, letter.at_ms, self._by)
        return Outgoing(letter.key, value, kept, marks)

    def _look_back(self) -> None:
        """Find deletes that came between the look at the topic and a letter, be it of an earlier run."""
        self.outcome.overtaken = [letter for letter in self._letters if self._is_overtaken(letter)]

    def _is_overtaken(self, letter: Letter) -> bool:
        sent, dead = self._since.sent.get(letter.place), self._rules.dead
        if sent is None or sent in dead:
            return False
        first = letter.first[1] if sent[0] == letter.first[0] else -1
        deletes = [
            one.offset
            for one in self._since.of(sent[0], letter.key)
            if one.is_delete and one.version is None and one.first is None and (sent[0], one.offset) not in dead
        ]
        return any(first < offset < sent[1] for offset in deletes) and not any(offset > sent[1] for offset in deletes)


def _waves(letters: Iterable[Letter]) -> list[list[Letter]]:
    """Return letters in groups to be sent one after the other; in each a member has one letter at most."""
    waves: list[list[Letter]] = []
    depth: Counter[bytes | None] = Counter()
    for letter in letters:
        if depth[letter.key] == len(waves):
            waves.append([])
        waves[depth[letter.key]].append(letter)
        depth[letter.key] += 1
    return waves
