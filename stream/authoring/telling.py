"""What reports have told of campaigns, kept in a topic of its own: so that what is taken back is known.

Laws:
- A finding is written when it differs from the last one told, never else: looking daily writes nothing.
- The topic is for people alone. Workers and services don't read it, and a report is made without it, too.
- Each record has a key of its own, so compaction keeps them all. Two who report at once may both write the same: that
  says the same.
- A record that isn't a finding is left out: anybody may write into a topic.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from memberstream.models.told import Told, ToldError, decode, encode, is_news
from memberstream.stream.kafka.topic_reader import connected, records
from memberstream.stream.kafka.topics import TopicsUnreadable, count_partitions, create_missing
from memberstream.stream.settings import Settings

_CONFIGS = {"cleanup.policy": "compact"}


class FindingsError(OSError):
    """What was told can't be read or written; the text says what to do next."""


class Findings:
    """The findings of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._kafka, self._topic = settings.kafka, settings.findings_topic
        self._replication_factor = settings.replication_factor

    async def read(self) -> list[Told]:
        """Return what was told, in its order. Raises FindingsError."""
        found: list[Told] = []
        try:
            if not await count_partitions(self._kafka, self._topic):
                return []
            with self._kafka.explained(FindingsError, self._topic):
                async with connected(self._kafka, self._topic, "report again") as (consumer, partitions):
                    async for some in records(consumer, partitions[0]):
                        for record in some:
                            try:
                                found.append(decode(record.value))
                            except ToldError:
                                continue
        except OSError as error:  # says itself what to do
            raise FindingsError(str(error)) from None
        return found

    async def tell(self, told: Iterable[Told], before: Iterable[Told]) -> None:
        """Write down what is new. Raises FindingsError."""
        before = list(before)
        new = [finding for finding in told if is_news(finding, before)]
        if not new:
            return
        admin, producer = self._kafka.admin(), self._kafka.producer()
        try:
            with self._kafka.explained(FindingsError, self._topic):
                await admin.start()
                await create_missing(admin, self._topic, 1, self._replication_factor, _CONFIGS)
                await producer.start()
                for finding in new:
                    key = f"{finding.family}/{finding.kind}/{secrets.token_hex(8)}".encode()
                    await producer.send_and_wait(self._topic, encode(finding), key, partition=0)
        except TopicsUnreadable as error:
            raise FindingsError(str(error)) from None
        finally:
            await producer.stop()
            await admin.close()
