"""All of Kafka's codecs: chosen by producers, or by a broker that compresses all topics by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Producer
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.foreign import ends
from e2e.system import Install, Pair, System, event
from servers import ApacheKafka, Broker, RedisServer

from memberstream.stream.authoring.uploading import Options, Uploading
from memberstream.stream.files.lists import read_rows
from memberstream.stream.kafka.clients import Kafka

pytestmark = [pytest.mark.kafka, pytest.mark.redis_server]

CODECS = ("gzip", "snappy", "lz4", "zstd")
N = 200
DOCUMENT = event("replace", document={"x": 1, "text": "y" * 100})


async def compress(broker: ApacheKafka, codec: str) -> None:
    """Have the broker compress whatever any topic gets from now on."""
    admin = Kafka((broker.bootstrap,)).admin()
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", {"compression.type": codec})])
    finally:
        await admin.close()


def by_librdkafka(system: System, codec: str) -> None:
    """Send `c0` …"""
    settings = {"bootstrap.servers": system.pair.broker.bootstrap, "compression.codec": codec, "linger.ms": 20}
    producer = Producer({**settings, "partitioner": "murmur2_random", "log_level": 0})
    for i in range(N):
        producer.produce(system.settings.topic, key=f"c{i}", value=DOCUMENT)
    producer.flush(30)


async def by_aiokafka(system: System, codec: str) -> None:
    """Send `a0` …, and what becomes a dead letter."""
    producer = system.settings.kafka.producer(compression_type=None if codec == "none" else codec, linger_ms=20)
    await producer.start()
    try:
        sent = [await producer.send(system.settings.topic, DOCUMENT, f"a{i}".encode()) for i in range(N)]
        sent.append(await producer.send(system.settings.topic, b"no envelope", b"a0"))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


@pytest.mark.long
async def test_every_topic_may_be_compressed_by_every_codec(
    own_kafka: ApacheKafka, redis_server: RedisServer, install: Install, tmp_path: Path
) -> None:
    """A broker that compresses all it gets, and producers of two libraries that compress: models published, events
    applied, a dead letter, a list, state read by commands and recovered on an empty disk, histories."""
    (tmp_path / "predictors.json").write_bytes(orjson.dumps(level()["predictors"]))
    (tmp_path / "rows.csv").write_text("member_id,at\nc1,4102444800000\na1,4102444800000\n")
    for codec in CODECS:
        await compress(own_kafka, codec)
        system = await install(Pair(Broker("apache", own_kafka.bootstrap), redis_server), [level()])
        await all_topics(system, tmp_path, codec)
        await system.close()


async def all_topics(system: System, tmp_path: Path, codec: str) -> None:
    """Have each topic written and read."""
    system.start()
    await asyncio.to_thread(by_librdkafka, system, codec)
    await by_aiokafka(system, codec)
    system.next_offset = await ends(system)
    await system.applied()
    expected = {f"{sender}{i}" for sender in "ca" for i in range(N)}
    assert set(await system.states()) == expected, codec
    assert len(await system.dead_letters()) == 1, codec
    uploading = Uploading(system.settings, "author@notebook")
    await uploading.upload(read_rows({f"c{i}": 1 for i in range(N)}), Options("buyers"))
    await system.until(lambda: "buyers@1" in system.held("c1"), f"the list ({codec})")
    status, _, problem = await memberstream(system, "explain", "c1", "level")
    assert status == 0, problem
    status, _, problem = await memberstream(
        system, "model", "training-data", str(tmp_path / "predictors.json"), "--rows", str(tmp_path / "rows.csv"),
        "--out", str(tmp_path / f"{codec}.parquet"),
    )  # fmt: skip
    assert status == 0, problem
    system.stop()
    system.lose_disk()
    system.redis.flushall()
    system.start()
    await system.applied()
    assert set(system.positions(sorted(expected))) == expected, codec


async def test_producers_may_change_their_codec(real_pair: Pair, install: Install) -> None:
    """All five in one topic, from two libraries: the broker keeps what it gets."""
    system = await install(real_pair, [level()])
    system.start()
    for codec in ("none", *CODECS):
        await asyncio.to_thread(by_librdkafka, system, codec)
        await by_aiokafka(system, codec)
    system.next_offset = await ends(system)
    await system.applied()
    assert sum(system.metrics("memberstream_events_total").values()) == 5 * (2 * N + 1)
