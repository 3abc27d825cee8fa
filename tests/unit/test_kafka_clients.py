"""What the one place that makes Kafka clients adds to aiokafka's."""

from __future__ import annotations

import asyncio
import logging
import socket
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError

from memberstream.stream.kafka import clients
from memberstream.stream.kafka.clients import Kafka, closed_is_outage


async def test_an_answer_that_a_closed_connection_takes_away_is_an_outage() -> None:
    """aiokafka cancels the future of an answer when it closes the connection; who waits for it isn't meant to end."""
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(answer.cancel)
    with pytest.raises(KafkaConnectionError, match="closed"), closed_is_outage():
        await answer


async def test_who_is_cancelled_ends() -> None:
    """A cancellation of the task itself goes on, and so does that of a time-out around the question."""

    async def ask() -> None:
        with closed_is_outage():
            await asyncio.Event().wait()

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError), closed_is_outage():
        async with asyncio.timeout(0):
            await asyncio.Event().wait()


@pytest.mark.parametrize("kind", ["consumer", "producer", "admin"])
async def test_a_broker_that_takes_connections_and_is_silent_is_named(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each kind of client says whom it waits for; a command has no other line for half a minute."""
    monkeypatch.setattr(clients, "SILENT_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent, caplog.at_level(logging.WARNING, clients.__name__):
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        client = getattr(Kafka((address,)), kind)()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.start()
        await (client.close() if kind == "admin" else client.stop())
    assert caplog.messages == [
        f"waiting for Kafka at {address}, which doesn't answer. "
        "Next: nothing while it starts; else check address and broker"
    ]


async def test_a_consumer_is_stopped_whole_while_a_fetch_pauses_after_an_outage() -> None:
    """aiokafka's own `stop` waits for that fetch, which it has cancelled, and ends whoever awaits it."""

    async def pausing() -> None:
        await asyncio.Event().wait()

    async def closed() -> None:
        await fetches[0]

    async def client_closed() -> None:
        ended.append("client")

    fetches, ended = [asyncio.create_task(pausing()) for _ in range(2)], list[str]()
    consumer = Kafka(("127.0.0.1:1",)).consumer()
    consumer._client.close = client_closed
    consumer._fetcher = SimpleNamespace(_pending_tasks=set(fetches), close=closed)
    await asyncio.sleep(0)
    fetches[0].cancel()
    await consumer.stop()
    assert [fetch.cancelled() for fetch in fetches] == [True, True]
    assert ended == ["client"]
