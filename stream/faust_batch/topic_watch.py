"""The topics that a worker needs, looked at while it runs: do they exist, and do they keep what is written?

Laws:
1. Problems are reported (`/readyz`, log, metric), each with the next action, and the worker goes on. A stop would mend
   nothing: the longer nobody reads a compacted topic, the more it loses unread. Two things stop the worker: a source
   topic that was created anew (stream/partition/source_topic.py), and, at the start, a policy that loses records.
2. A topic is missing if it was missing twice in a row: a broker that has just come up may not know all topics yet.
3. Nobody creates a topic by asking for it (stream/kafka/clients.py).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any

from memberstream.stream.faust_batch.source import Source
from memberstream.stream.faust_batch.topics import Problem, Topics
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.policies import cleanup_policies
from memberstream.stream.kafka.topic_id import topic_ids
from memberstream.stream.partition.source_topic import PROCEDURE, TopicChanged

log = logging.getLogger(__name__)

#: Seconds between two questions for policies. Compaction takes its time: segments must be closed first.
POLICIES_EVERY_S = 60.0
_AGAIN = "create it again with as many partitions; the workers carry on by themselves"
_CHANGELOG = (
    "state is only on the workers' disks now and nothing can be applied: docs/operations.md, "
    '"A topic deleted under running workers"'
)
_SOURCE = f"create it again with as many partitions, then {PROCEDURE}"


class TopicWatch:
    """Looks when the probe asks it to.

    Args:
        stop: stops the worker for an error that no batch has met.

    Attributes:
        problems: as of the last look. Each look makes a new tuple, so any thread may read it.
        missing: topics that weren't there at the last look.
    """

    def __init__(
        self, kafka: Kafka, topics: Topics, source: Source, stop: Callable[[Exception], Awaitable[None]]
    ) -> None:
        self._server, self._topics, self._source, self._stop = kafka.bootstrap[0], topics, source, stop
        self._lossy: dict[str, Problem] = {}
        self._asked_policies_at = monotonic()  # the policies were checked at the start
        self.missing: frozenset[str] = frozenset()
        self.problems: tuple[Problem, ...] = ()

    async def look(self, client: Any) -> None:
        """Ask a broker. Raises KafkaError."""
        ids = await topic_ids(client, needed := self._needed())
        missing = frozenset(topic for topic in needed if topic not in ids)
        gone, self.missing = missing & self.missing, missing
        if found := ids.get(self._topics.source):
            await self._check_source(found)
        if monotonic() - self._asked_policies_at >= POLICIES_EVERY_S:
            self._asked_policies_at = monotonic()
            self._lossy = self._topics.lossy(await cleanup_policies(client, self._topics.guarded), self._server)
        problems = [Problem(f"the topic {topic} was deleted", needed[topic]) for topic in sorted(gone)]
        problems += [problem for topic, problem in sorted(self._lossy.items()) if topic not in missing]
        for problem in problems:
            if problem not in self.problems:
                log.error("%s. Next: %s", *problem)
        for problem in self.problems:
            if problem not in problems:
                log.info("not any more: %s", problem.what)
        self.problems = tuple(problems)

    async def _check_source(self, found: bytes) -> None:
        """Stop the worker if the source topic has been created anew: if another id is found than at the start."""
        if self._source.topic_id and found != self._source.topic_id:
            await self._stop(
                TopicChanged(f"topic {self._topics.source} was deleted and created again. Next: {PROCEDURE}.")
            )

    def _needed(self) -> Mapping[str, str]:
        """Return the topics, each with what to do if it is gone."""
        topics = self._topics
        return {
            topics.source: _SOURCE,
            topics.changelog: _CHANGELOG,
            **dict.fromkeys(topics.created, _AGAIN),
            **({} if topics.skips is None else {topics.skips: _AGAIN}),
        }
