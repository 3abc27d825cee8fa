"""aiokafka's consumer in its own thread: what it reads and how much. No fetch outlives a rebalance.

Laws:
- Records that aren't committed aren't read (stream/kafka/clients.py).
- A position of the source topic that the broker no longer has is reported, never moved. Otherwise the records between
  it and the next one would be lost silently. (A changelog is then read from its beginning: recovery knows what it has.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult, OffsetResetStrategy
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from memberstream.stream.faust_batch.errors import NameTaken
from memberstream.stream.faust_batch.static_membership import KeptName
from memberstream.stream.faust_batch.waiting import BESIDE_OTHERS_MS, FetchWait
from memberstream.stream.kafka.any_record import read_any_record
from memberstream.stream.kafka.clients import READ_COMMITTED


class BatchThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust's classes are Any to mypy
    """The thread of aiokafka's consumer.

    Attributes:
        positions: where reading goes on in each partition that the last fetch fetched. Everything below has been handed
            out, or never comes (control records, aborted records, compacted records).
        out_of_range: positions in the source topic that the broker no longer has.
    """

    def __init__(self, *args: Any, source_topic: str, may_fetches_wait: bool, **kwargs: Any) -> None:
        self._source_topic, self._may_fetches_wait = source_topic, may_fetches_wait
        super().__init__(*args, **kwargs)
        self.positions: dict[TP, int] = {}
        self.out_of_range: dict[TP, int] = {}
        self._waiter: asyncio.Future[None] | None = None

    async def on_start(self) -> None:
        """Start aiokafka's consumer, which joins the group as soon as Faust subscribes."""
        await super().on_start()
        self._wait = FetchWait(self._ensure_consumer()._fetcher, self._may_fetches_wait)
        if self._ensure_consumer()._group_instance_id is not None:
            KeptName(self._ensure_consumer()._coordinator, self._name_taken)

    def _name_taken(self, error: NameTaken) -> None:
        asyncio.run_coroutine_threadsafe(self.consumer.name_taken(error), self.consumer.loop)

    def position_of(self, tp: TP) -> int | None:
        """Return where reading goes on in a partition; None while that isn't settled. For any thread, at any time."""
        try:
            return _positions(self._ensure_consumer(), [tp]).get(tp)
        except (AssertionError, AttributeError):  # not started, or nothing is assigned
            return None

    async def committed_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return partition of the source topic → the group's committed offset; 0 if there is none."""
        ask = self._ensure_consumer().committed
        return {p: await self.call_thread(ask, TopicPartition(self._source_topic, p)) or 0 for p in partitions}

    def _create_worker_consumer(self, transport: Any) -> Any:
        read_any_record()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_bytes = consumer._max_partition_fetch_bytes  # a partition with a backlog gets all of it
        consumer._fetch_max_wait_ms = BESIDE_OTHERS_MS
        consumer._isolation_level = READ_COMMITTED  # Faust does this in its own exactly-once mode only
        consumer._auto_offset_reset = "none"
        return consumer

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:
        """Like Faust's, but not by way of its queue of calls, which takes a dozen more turns of both loops."""
        consumer = self._ensure_consumer()
        fetching = self._fetch_records(consumer, active_partitions, timeout, consumer._max_poll_records)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetching, self.thread_loop))

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Any,
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Any:
        """Like Faust's, except that it never stays in aiokafka's wait for a new assignment.

        That wait ends after the rebalance, and the rebalance waits for this fetch (positions.py). This runs in the loop
        that starts rebalances, so nothing comes between the check and the call.
        """
        fetcher, self.positions = consumer._fetcher, {}
        self._wait.reads(self.consumer._active_partitions or ())
        for is_last in (False, True):
            if not self.consumer.flow_active or consumer._subscription.reassignment_in_progress:
                self._wait.unsettle()
                return {}
            if consumer._closed or fetcher._closed:
                raise driver.ConsumerStoppedError()
            _leave_records_bare(fetcher)
            try:
                with fetcher._subscriptions.fetch_context():
                    records = await fetcher.fetched_records(active_partitions, timeout=0, max_records=max_records)
            except OffsetOutOfRangeError as error:
                [(tp, offset)] = error.args[0].items()
                self._leave_range(consumer, tp, offset)
                return {}
            except NoOffsetForPartitionError as error:
                self._leave_range(consumer, error.args[0], None)
                return {}
            self.positions = _positions(consumer, active_partitions)
            if records or is_last:
                return records
            waiter = self._waiter = fetcher._create_fetch_waiter()
            if not self.consumer.flow_active:
                timeout = 0.0  # it was stopped since the look above
            done, _ = await asyncio.wait([waiter], timeout=timeout)
            if done:
                waiter.result()  # raises what aiokafka tells its users in this way, such as a missing authorisation
            else:
                waiter.cancel()

    @property
    def wait_s(self) -> float:
        """How long to wait for records."""
        return self._wait.seconds

    def wake(self) -> None:
        """End the wait for records. For any thread."""
        with suppress(RuntimeError):  # its loop is closed
            self.thread_loop.call_soon_threadsafe(self._end_wait)

    def _end_wait(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _leave_range(self, consumer: Any, tp: Any, offset: int | None) -> None:
        if tp.topic == self._source_topic and offset is not None:
            self.out_of_range[TP(tp.topic, tp.partition)] = offset
        elif (state := consumer._subscription.subscription.assignment.state_value(tp)) is not None:
            state.await_reset(OffsetResetStrategy.EARLIEST)


def _positions(consumer: Any, partitions: Any) -> dict[TP, int]:
    states = [(tp, consumer._subscription.subscription.assignment.state_value(tp)) for tp in partitions]
    return {tp: state.position for tp, state in states if state is not None and state.has_valid_position}


def _leave_records_bare(fetcher: Any) -> None:
    """Have fetched records handed out as they were parsed. A ConsumerRecord for each would double their cost."""
    for found in fetcher._records.values():
        if isinstance(found, FetchResult) and found._partition_records is not None:
            found._partition_records._consumer_record = _bare


def _bare(tp: Any, record: Any) -> Any:
    return record
