"""A worker's registry, kept up to date; and a watch on whether the models' log is still the one that is known.

Laws:
- A log is ignored if it is gone, ends before what is known of it, or was begun anew and isn't complete yet. Then the
  registry stays as it was, and `lost` says why. Three things are known: the last step that was read here, the one that
  Redis names, and the one in the state of each partition (`expect`).
- Redis may have lost what it names, or hold an older state. So whoever must know all steps asks the log, too, where it
  ends (`until_known`).
- A log made anew counts from its beginning when it reaches beyond all that is known and is complete. So offsets never
  go back; state and Redis rely on that. `memberstream model restart-log` and `complete-log` take care of both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, ClassVar

from aiokafka.errors import KafkaConnectionError, KafkaError

from memberstream.models.registry import Registry
from memberstream.models.wording import counted
from memberstream.stream.kafka.clients import closed_is_outage
from memberstream.stream.kafka.topic_id import topic_id
from memberstream.stream.registry.log import ModelsLog, ModelsLogError

log = logging.getLogger(__name__)
_POLL_S = 0.02
_AT_FIRST, _LASTING = "nothing, it is tried again", "see the brokers; it is tried again all the time"
_NAMED = 30  # records set aside that are logged at once: somebody may have written millions


class Follower:
    """Follows a log for one worker.

    Attributes:
        registry: what the log says.
        lost: since when (monotonic clock) and why the log isn't the one that is known; None while it is.
        unreadable: since when and why it can't be read; None while it can.
    """

    LOOK_EVERY_S: ClassVar[float] = 2.0  # like the questions to Kafka (faust_batch/probe.py)
    PATIENCE_S: ClassVar[float] = 5.0
    LASTS_S: ClassVar[float] = 15.0  # a question or two without an answer, as a busy machine has them, wake nobody up
    SAY_EVERY_S: ClassVar[float] = 300.0

    def __init__(self, models_log: ModelsLog, registry: Registry) -> None:
        self._log, self.registry = models_log, registry
        self._expected = -1
        self._id = b""
        self._said_at = 0.0
        self._said = 0  # of the records set aside
        self._asker: Any = None  # while there is one
        self._taken_to = registry.offset + 1  # up to here the log is taken in; some offsets are no steps
        self._is_due = False  # whether there is something that wasn't handed on yet, or not completely
        self.lost: tuple[float, str] | None = None
        self.unreadable: tuple[float, str] | None = None
        self._say_set_aside()

    @property
    def is_whole(self) -> bool:
        """Whether the registry holds all that is known."""
        return self.registry.is_complete and self.registry.offset >= self._expected

    @property
    def is_unreadable_for_long(self) -> bool:
        """Whether somebody should act."""
        return self.unreadable is not None and monotonic() - self.unreadable[0] >= self.LASTS_S

    @property
    def why_unreadable(self) -> str:
        """Why the log can't be read and what to do, as it is logged; "": it can."""
        if self.unreadable is None:
            return ""
        why = self.unreadable[1]
        more = "" if "Next: " in why else f". Next: {_LASTING if self.is_unreadable_for_long else _AT_FIRST}"
        return f"the models' log can't be read: {why}{more}"

    def expect(self, offset: int) -> None:
        """Note that somebody has read the log up to this offset."""
        self._expected = max(self._expected, offset)

    async def until_known(self, offset: int) -> None:
        """Return when all is known that the log holds now, and a step that somebody else has read.

        Usually that is at once: it takes one question to Kafka. While the log is lost, what is known has to do. While
        it can't be read, nobody can say, and this waits.
        """
        self.expect(offset)
        end: int | None = None
        while True:
            if end is None and self.lost is None:
                end = await self._end()
            if self.is_whole and (self.lost is not None or (end is not None and self._taken_to >= end)):
                return
            await asyncio.sleep(_POLL_S)

    async def _end(self) -> int | None:
        """Return where the log ends; None: there is no answer now."""
        if (asker := self._asker) is None:
            return None
        try:
            with closed_is_outage():
                async with asyncio.timeout(self.PATIENCE_S):
                    return int((await asker.end_offsets([self._log.partition]))[self._log.partition])
        except (KafkaError, TimeoutError):
            return None  # `run` says so

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Take in new steps, and call `changed` after them. Never returns. An outage of Kafka is waited out.

        If `changed` failed or was cancelled, and this is begun again, `changed` is called again.
        """
        while True:
            was_read = False
            try:
                async with self._log.consumer() as consumer, self._log.asker() as self._asker:
                    consumer.seek(self._log.partition, self.registry.offset + 1)
                    records: Sequence[Any] = []
                    while True:
                        with closed_is_outage():
                            is_new = await self._look(consumer, records)
                        was_read, self.unreadable = True, None
                        self._is_due = self._is_due or is_new
                        if self._is_due and self.lost is None:
                            await changed()
                            self._is_due = False
                        wait_ms = int(1000 * self.LOOK_EVERY_S)
                        with closed_is_outage():
                            found = await consumer.getmany(self._log.partition, timeout_ms=wait_ms)
                        records = found.get(self._log.partition, [])
            except (ModelsLogError, KafkaError, TimeoutError) as error:
                if was_read and isinstance(error, KafkaConnectionError):
                    await asyncio.sleep(_POLL_S)
                    continue  # brokers close what is idle, or whose log-in ended; an outage shows at the next look
                why = str(error) or "no answer in time"
                self.unreadable = (monotonic() if self.unreadable is None else self.unreadable[0], why)
                log.warning("%s", self.why_unreadable)
                await asyncio.sleep(self._log.patience_s)
            finally:
                self._asker = None

    async def _look(self, consumer: Any, records: Sequence[Any]) -> bool:
        """Take in new steps, if the log is the one that is known. Returns whether there is something new to go by."""
        before, was_lost = self.registry.offset, self.lost is not None
        found = await topic_id(consumer._client, self._log.topic)
        if not found and self._log.topic not in await consumer.topics():  # some brokers give topics no id
            self._lose("it is gone")
            return False
        async with asyncio.timeout(self.PATIENCE_S):  # aiokafka asks for 40 s, even for a topic that was just deleted
            end = (await consumer.end_offsets([self._log.partition]))[self._log.partition]
        if found == (self._id or found) and end > before and not was_lost:
            for record in records:
                if record.offset > self.registry.offset:
                    self.registry.take(record.offset, record.value)
        else:
            fresh = Registry()
            await self._log.read_on(consumer, fresh)
            if fresh.offset < max(before, self._expected):
                self._lose(f"it ends at step {fresh.offset}, but step {max(before, self._expected)} is known")
                return False
            if not fresh.is_complete:
                self._lose("it was begun anew and isn't complete yet")
                return False
            self.registry.become(fresh)
            if found != self._id:
                log.warning("the models' log was made anew: its steps count from now on, up to step %d", fresh.offset)
        self._id, self._taken_to = found, await consumer.position(self._log.partition)
        self._say_set_aside()
        if self.registry.is_complete and self.registry.offset < self._expected < end:
            return False  # it is there, and on its way to here
        if not self.is_whole:
            self._lose(
                f"it ends at step {self.registry.offset}, but step {self._expected} is known"
                if self.registry.is_complete
                else "it was begun anew and isn't complete yet"
            )
            return False
        if was_lost:
            log.info("the models' log is whole again, up to step %d", self.registry.offset)
        self.lost = None
        return was_lost or self.registry.offset > before

    def _say_set_aside(self) -> None:
        new, self._said = max(0, self.registry.n_set_aside - self._said), self.registry.n_set_aside
        if new > _NAMED:
            log.error(
                "the models' log: %s set aside, the last of them are named", counted(new, "record is", "records are")
            )
        for one in list(self.registry.set_aside)[-min(new, _NAMED) :] if new else ():
            log.error(
                "the models' log, offset %d: set aside, it isn't a step: %s. Next: find who writes there; written by a "
                "newer memberstream? then update this worker", *one,
            )  # fmt: skip

    def _lose(self, why: str) -> None:
        now = monotonic()
        since = now if self.lost is None else self.lost[0]
        self.lost = since, f"topic {self._log.topic}: {why}"
        if since == now or now - self._said_at >= self.SAY_EVERY_S:
            self._said_at = now
            log.error(
                "THE MODELS' LOG IS LOST: topic %s: %s. This worker tells nobody of fewer models than there were. "
                'Next: see docs/operations.md, "The models\' log is lost"', self._log.topic, why,
            )  # fmt: skip
