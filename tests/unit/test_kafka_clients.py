"""What the one place that makes Kafka clients adds to aiokafka's."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    InvalidReplicationFactorError,
    InvalidRequestError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    PolicyViolationError,
    RecordTooLargeError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from secure import Certificates

from memberstream.stream.kafka import clients
from memberstream.stream.kafka.clients import Kafka, closed_is_outage
from memberstream.stream.kafka.refusal import Unreachable
from memberstream.stream.kafka.security import Security


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


class OwnError(OSError):
    """As each part that uses Kafka has one."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            TopicAuthorizationFailedError("t"),
            "topic t: Kafka at h:1 doesn't allow that to this user (.*t). Next: grant",
        ),
        (UnknownTopicOrPartitionError(), "topic t: Kafka at h:1 has no such topic (.*). Next: create it"),
        (KafkaConnectionError("gone"), "topic t: Kafka at h:1 can't be used (.*gone). Next: check the broker"),
        (OSError("no route"), "topic t: Kafka at h:1 can't be used (no route). Next: check the broker"),
        (RequestTimedOutError(), "topic t: Kafka at h:1 can't be used (.*). Next: check the broker"),
        (MessageSizeTooLargeError(), "topic t: Kafka at h:1 refuses that (.*). Next: raise max.message.bytes"),
        (RecordTooLargeError(), "topic t: Kafka at h:1 refuses that (.*). Next: raise max.message.bytes"),
        (NotEnoughReplicasError(), "refuses that (.*). Next: bring the brokers back that are down"),
        (InvalidReplicationFactorError(), "refuses that (.*). Next: set MEMBERSTREAM_REPLICATION_FACTOR"),
        (PolicyViolationError("no"), "refuses that (.*no). Next: create the topic by hand"),
        (InvalidRequestError(), "topic t: Kafka at h:1 has failed (.*). Next: see the broker's log, and try again"),
        (Unreachable("no broker. Next: start one"), "topic t: no broker. Next: start one"),
    ],
)
def test_whatever_kafka_refuses_is_said_in_one_way(error: Exception, said: str) -> None:
    """Where, what, and one next action; and it is the error of the part that met it."""
    escaped = said.replace("(", r"\(").replace(")", r"\)")
    text = Kafka(("h:1",)).said(error, "t")
    assert re.search(escaped, text)
    assert text.count("Next: ") == 1
    if isinstance(error, KafkaError):
        with pytest.raises(OwnError, match=re.escape(text)), Kafka(("h:1",)).explained(OwnError, "t"):
            raise error


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing")
async def test_new_certificates_are_taken_by_the_next_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By a client that lives on, as a worker's do. While the new files don't fit together, by those of before."""
    made = Certificates.made(tmp_path / "certificates")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=made.ca)
    server.load_cert_chain(made.server)
    server.verify_mode = ssl.CERT_REQUIRED
    seen: list[str] = []

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(dict(pair for [pair] in writer.get_extra_info("peercert")["subject"])["commonName"])
        writer.write(b"hello")
        writer.close()

    own = tmp_path / "own.pem"
    own.write_bytes(made.client.read_bytes())
    context = Security("SSL", ssl_ca_location=made.ca, ssl_certificate_location=own).options()["ssl_context"]

    async def connect() -> None:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname(), ssl=context)
        assert await reader.read() == b"hello"
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server) as listening:
        await connect()
        for number, content in enumerate((made.server.read_bytes(), b"half of a file")):
            own.write_bytes(content)
            os.utime(own, (number, number))  # a file system's clock may be coarse
            await connect()
    assert seen == ["worker", "localhost", "localhost"]
    assert "going on with the certificates of before: Kafka: the certificate" in caplog.text
