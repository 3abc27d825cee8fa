"""Asking where the models' log ends, while a worker follows it: each batch of interactions does."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from servers import Broker, unique

from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.registry.follower import Follower
from memberstream.stream.registry.log import ModelsLog

pytestmark = pytest.mark.kafka
FETCH_S = 0.5  # how long a broker lets a reader wait for records


async def test_asking_does_not_wait_for_records(apache_kafka: Broker) -> None:
    """A broker answers the requests of one connection in turn. Behind the reader's own fetch each question took half a
    second, and a batch with it."""
    log = ModelsLog(Kafka((apache_kafka.bootstrap,)), unique("models"), 1, patience_s=60.0)
    follower = Follower(log, await log.read())
    following = asyncio.create_task(follower.run(lambda: asyncio.sleep(0)))
    took_s = []
    async with asyncio.timeout(120):
        await follower.until_known(-1)
        for _ in range(5):
            started = time.monotonic()
            await follower.until_known(-1)
            took_s.append(time.monotonic() - started)
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    assert min(took_s) < FETCH_S / 2, took_s
