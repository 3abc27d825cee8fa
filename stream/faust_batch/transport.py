"""What `BatchApp` uses instead of Faust's transport: our consumer, and a producer that never gives up."""

from __future__ import annotations

import math
from typing import Any

from faust.transport.drivers import aiokafka as driver

from memberstream.stream.faust_batch.consumer import BatchConsumer
from memberstream.stream.faust_batch.source import Source


class BatchProducer(driver.Producer):  # type: ignore[misc]
    """Faust's producer. It is idempotent if the broker can do that: a retry must not write a changelog record twice."""

    def __init__(self, *args: Any, is_idempotent: bool, **kwargs: Any) -> None:
        self._is_idempotent = is_idempotent
        super().__init__(*args, **kwargs)

    def _settings_extra(self) -> dict[str, Any]:
        return {"enable_idempotence": True} if self._is_idempotent else {}

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        producer = super()._new_producer(transactional_id)
        if self._is_idempotent:
            # aiokafka lets a batch expire while its partition has no leader, although its sequence numbers are used up.
            # The next batch would then be refused. So batches never expire: an outage is waited out.
            producer._message_accumulator._batch_ttl = math.inf
        return producer


class BatchTransport(driver.Transport):  # type: ignore[misc]
    """Makes consumer and producer, and hands them our parts.

    `is_embedded`: the broker is Tansu. It refuses idempotent producers, and looks for new records only now and then
    while a fetch waits: the longer the wait, the more rarely.
    """

    def __init__(self, *args: Any, source: Source, is_embedded: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._source, self._is_embedded = source, is_embedded

    def create_consumer(self, callback: Any, **kwargs: Any) -> BatchConsumer:
        may_wait = not self._is_embedded
        consumer = BatchConsumer(
            self, callback=callback, loop=self.loop, source=self._source, may_fetches_wait=may_wait, **kwargs
        )
        self._source.reading = consumer
        return consumer

    def create_producer(self, **kwargs: Any) -> BatchProducer:
        return BatchProducer(self, is_idempotent=not self._is_embedded, **kwargs)
