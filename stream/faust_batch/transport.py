"""What `BatchApp` puts in the place of Faust's transport: our consumer, and a producer that never gives up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from faust.transport.drivers import aiokafka as driver

from stream.faust_batch.consumer import BatchConsumer

if TYPE_CHECKING:
    from stream.faust_batch.app import BatchApp


class BatchProducer(driver.Producer):  # type: ignore[misc]
    """Faust's producer, idempotent: a retry after a lost answer must not write a changelog record twice."""

    app: BatchApp

    def _settings_extra(self) -> dict[str, Any]:
        return {"enable_idempotence": True} if self.app.is_producer_idempotent else {}

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        producer = super()._new_producer(transactional_id)
        if self.app.is_producer_idempotent:
            # aiokafka lets a batch expire while its partition has no leader, although its sequence numbers are used up:
            # the next one would be refused. Never expire: an outage is waited for.
            producer._message_accumulator._batch_ttl = math.inf
        return producer


class BatchTransport(driver.Transport):  # type: ignore[misc]
    """The pair."""

    Consumer = BatchConsumer
    Producer = BatchProducer
