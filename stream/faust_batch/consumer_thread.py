"""aiokafka's consumer in its own thread: how much it fetches, and that no fetch outlives a rebalance."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka.consumer.fetcher import FetchResult
from faust.transport.drivers import aiokafka as driver

if TYPE_CHECKING:
    from stream.faust_batch.app import BatchApp


class BatchThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust's classes are Any to mypy
    """The thread that aiokafka's consumer lives in."""

    app: BatchApp

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_bytes = consumer._max_partition_fetch_bytes  # a partition with a backlog gets all of it
        consumer._fetch_max_wait_ms = self.app.fetch_max_wait_ms  # Faust hard-codes 1,500 ms: that is its p99 latency
        return consumer

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Any,
        timeout: float | None = None,  # Faust hands it over by this name
        max_records: int | None = None,
    ) -> Any:
        """Faust's, except that it never sits in aiokafka's wait for a new assignment.

        That one ends after the rebalance, and the rebalance waits for this fetch (consumer.py, law 3). Runs in the loop
        that starts rebalances, so nothing comes between the check and the call.
        """
        fetcher = consumer._fetcher
        for is_last in (False, True):
            if not self.consumer.flow_active or consumer._subscription.reassignment_in_progress:
                return {}
            if consumer._closed or fetcher._closed:
                raise driver.ConsumerStoppedError()
            _leave_records_bare(fetcher)
            with fetcher._subscriptions.fetch_context():
                records = await fetcher.fetched_records(active_partitions, timeout=0, max_records=max_records)
            if records or is_last:
                return records
            waiter = fetcher._create_fetch_waiter()
            done, _ = await asyncio.wait([waiter], timeout=timeout)
            if done:
                waiter.result()  # raises what aiokafka tells its users so, such as a missing authorisation
            else:
                waiter.cancel()


def _leave_records_bare(fetcher: Any) -> None:
    """Have the fetched records handed out as they were parsed; a ConsumerRecord of each would double their cost."""
    for found in fetcher._records.values():
        if isinstance(found, FetchResult) and found._partition_records is not None:
            found._partition_records._consumer_record = _bare


def _bare(tp: Any, record: Any) -> Any:
    return record
