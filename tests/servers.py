"""Brokers and stores for the tests: what the fixtures in conftest.py hand out.

The law of this file:
1. Each kind exists twice: from a wheel (always there) and the real thing (Apache Kafka, Debian's redis-server).
2. A server that is missing skips the test on a laptop and fails it in CI: `missing()`.
3. Servers are shared by a whole test session, so topics, groups and member ids are unique: `unique()`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn, Self

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code
from broker import ApacheKafka, KafkaMissing, kafka_cluster

from memberstream.stream.local.embedded import valkey_binary
from memberstream.stream.local.server_process import ServerError, ServerProcess, check_free, free_port, redis_answers

__all__ = ["ApacheKafka", "Broker", "KafkaMissing", "RedisServer", "create_topic", "kafka_cluster", "missing"]

BrokerKind = Literal["embedded", "apache"]
RedisFlavour = Literal["valkey", "redis"]

# A compacted topic as Faust needs its changelog: compact only, never "compact,delete".
COMPACTED = {"cleanup.policy": "compact"}


@dataclass(frozen=True)
class Broker:
    """A running broker. `kind` lets a test leave out what Tansu can't do, with its reason."""

    kind: BrokerKind
    bootstrap: str


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where every server has to be there (CI=true)."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def unique(prefix: str) -> str:
    """A topic name, group id or key prefix that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


async def create_topic(
    bootstrap: str,
    name: str,
    *,
    partitions: int = 1,
    copies: int = 1,
    config: Mapping[str, str] | None = None,
    timeout_s: float = 20.0,
) -> str:
    """Create a topic, wait until every partition has a leader, return the name. `COMPACTED` is one `config`.

    It keeps records of any age. (A broker looks every five minutes for segments whose records are all older than a
    week by their timestamps, which some tests make up.)
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topic = NewTopic(name, partitions, copies, topic_configs={"retention.ms": "-1", **(config or {})})
        response = await admin.create_topics([topic])
        for _, code, *_ in response.topic_errors:
            if code != 0:
                raise for_code(code)(name)
        async with asyncio.timeout(timeout_s):
            while not await _has_leaders(admin, name, partitions):  # noqa: ASYNC110 - brokers announce nothing
                await asyncio.sleep(0.02)
    finally:
        await admin.close()
    return name


async def _has_leaders(admin: AIOKafkaAdminClient, topic: str, partitions: int) -> bool:
    (described,) = await admin.describe_topics([topic])
    leaders = [part["leader"] for part in described["partitions"] if part["error_code"] == 0]
    return len(leaders) == partitions and min(leaders) >= 0


class RedisServer:
    """A Valkey or Redis that a test may stop, kill and start again on the same port.

    `persistent` keeps the data over stop() and kill() (append-only file); without it every start is empty.
    """

    def __init__(
        self, flavour: RedisFlavour, directory: Path, *, persistent: bool = False, port: int | None = None
    ) -> None:
        self.flavour = flavour
        self.directory = directory
        self.persistent = persistent
        self.port = port or free_port()
        self._server = ServerProcess(f"{flavour}-server", directory / "server.log")

    @property
    def url(self) -> str:
        """`redis://` URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Process id while the server runs, else None."""
        return self._server.pid

    def start(self) -> Self:
        """Start it; returns when it answers PING (with its data loaded). Skips or fails when it is missing."""
        self.directory.mkdir(parents=True, exist_ok=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--protected-mode", "yes"]
        options += ["--save", "", "--dir", str(self.directory)]
        # No fsync: what was written outlives kill -9; only a crash of the machine would lose it.
        options += ["--appendonly", "yes" if self.persistent else "no", "--appendfsync", "no"]
        check_free(self.port, f"{self.flavour}-server")
        self._server.spawn([self._binary(), *options], cwd=self.directory)
        self._server.wait_until(lambda: redis_answers(self.port), timeout_s=20)
        return self

    def stop(self) -> None:
        """Orderly stop (SIGTERM)."""
        self._server.stop(grace_s=5.0)

    def kill(self) -> None:
        """kill -9."""
        self._server.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _binary(self) -> str:
        if self.flavour == "valkey":
            try:
                return valkey_binary()
            except ServerError as error:
                missing(str(error))
        binary = shutil.which("redis-server")
        if binary is None:
            missing("redis-server is missing. Install it (Debian: redis-server)")
        return binary
