"""One test's own installation: a topic, a group, published models and a worker process, on shared servers.

Laws:
1. The worker is the real command (`python -m memberstream worker`) in a process of its own, set up by Settings alone.
2. The test knows the position of every record it sent, so "applied" means: each partition's beacon in Redis says so.
3. Whatever is waited for fails the test with the end of the worker's log; a worker that died is noticed at once.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from prefork import PythonProcess
from prometheus_client.parser import text_string_to_metric_families
from releases import NOW, Release
from servers import Broker, RedisServer, create_topic, unique

from memberstream.models.member import Member
from memberstream.models.member import decode as decode_state
from memberstream.models.model_file import parse
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.keyspace.formats import POS, Position, is_tombstone, parse_beacon, parse_position, parse_row
from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.local.server_process import free_port
from memberstream.stream.settings import Settings, to_environment

PATIENCE_S = 60.0  # the machine may be busy; a test that waits this long has failed
_POLL_S = 0.02
_BATCH_BYTES = 500_000


class Sent(NamedTuple):
    """One record for the topic; headers are the producer's own."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Place(NamedTuple):
    """Where a record that was sent came to lie."""

    partition: int
    offset: int
    timestamp_ms: int


@dataclass(frozen=True)
class Pair:
    """A broker and a store to run a worker between."""

    broker: Broker
    store: RedisServer


#: `await install(pair, models)`, the fixture.
Install = Callable[..., Awaitable["System"]]


def event(op: str, **fields: Any) -> bytes:
    """Return the envelope of a change event."""
    return orjson.dumps({"op": op, **fields})


def pause_s(asked: float) -> float:
    """Return how long to wait before asking again what was asked at that time: whoever waits leaves the processor to
    those who are waited for."""
    return max(_POLL_S, 2 * (time.monotonic() - asked))


def unready(port: int) -> str:
    """Return what a worker's /readyz complains of, for the first line of a failure; "" if of nothing."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return ""
    except HTTPError as error:
        checks = orjson.loads(error.read())["checks"]
        return "".join(f"; {check['name']}: {check['problem']}" for check in checks if not check["ok"])
    except OSError as error:
        return f"; readyz: {error}"


class System:
    """See the laws above. `close()` ends what is left of it."""

    def __init__(self, pair: Pair, directory: Path, n_partitions: int) -> None:
        self.pair, self.directory, self.n_partitions = pair, directory, n_partitions
        self.settings = Settings(
            kafka_bootstrap=tuple(pair.broker.bootstrap.split(",")),
            broker_kind="embedded" if pair.broker.kind == "embedded" else "kafka",
            topic=unique("docs"),
            group=unique("group"),
            redis_url=pair.store.url,
            data_dir=directory / "worker",
            clock="event",
            replication_factor=1,
            # Tansu lets a member in after half of this, and a killed one is waited for as long.
            session_timeout_s=1.5,
            metrics_port=free_port(),
        )
        self.log = directory / "worker.log"
        self.release: Release = NOW  # which version of memberstream the worker is from its next start on
        self.next_offset = dict.fromkeys(range(n_partitions), 0)
        self.redis: Any = redis.Redis.from_url(pair.store.url)  # its types can't tell bytes from text
        self._worker = PythonProcess("the worker", self.log)
        self._producer: AIOKafkaProducer | None = None

    @classmethod
    async def create(
        cls, pair: Pair, directory: Path, models: Iterable[dict[str, Any]], n_partitions: int = 2
    ) -> System:
        """Empty the store, make the topic, publish the models; the worker isn't started yet."""
        system = cls(pair, directory, n_partitions)
        system.redis.flushall()
        await create_topic(pair.broker.bootstrap, system.settings.topic, partitions=n_partitions)
        await system.publish(*models)
        return system

    # -- the worker -------------------------------------------------------------------------------------------------

    def set(self, **changed: Any) -> None:
        """Change settings for the next start of the worker."""
        self.settings = replace(self.settings, **changed)

    async def publish(self, *definitions: dict[str, Any]) -> None:
        """Publish model files and make each live, whatever is there."""
        await Publishing(self.settings, "test").install(map(parse, definitions))

    @property
    def keys(self) -> Keys:
        """The names of its keys in Redis."""
        return self.settings.keys

    def start(self) -> None:
        """Launch the worker; returns before it is ready."""
        self._worker.spawn(self.command(), cwd=self.directory, env=self.environment())

    @staticmethod
    def command() -> list[str]:
        return [sys.executable, "-m", "memberstream", "worker"]

    def environment(self) -> dict[str, str]:
        """Return the worker's environment."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("MEMBERSTREAM_")}
        return self.release.environment(others | to_environment(self.settings))

    def stop(self) -> None:
        """SIGTERM; the worker finishes its batch, commits and goes."""
        self._worker.stop(grace_s=20.0)

    def kill(self) -> None:
        """kill -9."""
        self._worker.kill()

    @property
    def pid(self) -> int | None:
        """Process id while the worker runs, else None."""
        return self._worker.pid

    def lose_disk(self) -> None:
        """Remove the local state of a worker that isn't running."""
        shutil.rmtree(self.settings.data_dir)

    def says(self) -> str:
        """Return what the worker has logged, over all its starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    async def until(self, holds: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Return when `holds()`; it may raise OSError or a Redis error for "not yet"."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            asked = time.monotonic()
            try:
                if holds():
                    return
            except (OSError, redis.RedisError):
                pass
            if self._worker.pid is None or time.monotonic() > give_up_at:
                why = "the worker has ended" if self._worker.pid is None else f"not within {timeout_s:g} s"
                why += f"; {self.how_far()}{unready(self.settings.metrics_port)}"
                pytest.fail(f"waited for {what}: {why}\n{self.says()[-4000:]}")
            await asyncio.sleep(pause_s(asked))

    def how_far(self) -> str:
        """Return how far Redis says the partitions are, for the first line of a failure."""
        try:
            told = {int(p): value.decode() for p, value in self.redis.hgetall(self.beacons_key).items() if p.isdigit()}
            behind = [f"partition {p}: {told.get(p)} of {end}" for p, end in self.next_offset.items()]
        except redis.RedisError as error:
            behind = [f"Redis: {error}"]
        return ", ".join(behind)

    @property
    def beacons_key(self) -> bytes:
        """Where Redis says how far the partitions are."""
        return self.keys.beacons

    # -- records ----------------------------------------------------------------------------------------------------

    async def send(self, records: Sequence[Sent]) -> list[Place]:
        """Send records, those of one partition in order; returns where each lies, once all are acknowledged."""
        producer = await self._started_producer()
        choose, partitions = DefaultPartitioner(), list(range(self.n_partitions))
        queues: defaultdict[int, list[int]] = defaultdict(list)
        for i, record in enumerate(records):
            queues[choose(record.key, partitions, partitions) if record.key else 0].append(i)
        places: list[Place | None] = [None] * len(records)
        for partition, queue in queues.items():
            while queue:
                batch, taken = producer.create_batch(), 0
                now_ms = time.time_ns() // 1_000_000
                for i in queue:
                    key, value, headers = records[i]
                    if batch.append(timestamp=now_ms, key=key, value=value, headers=list(headers)) is None:
                        break
                    taken += 1
                acked = await (await producer.send_batch(batch, self.settings.topic, partition=partition))
                for n, i in enumerate(queue[:taken]):
                    places[i] = Place(partition, acked.offset + n, now_ms)
                self.next_offset[partition] = acked.offset + taken
                del queue[:taken]
        return [place for place in places if place is not None]

    async def _started_producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self.pair.broker.bootstrap, acks="all", max_batch_size=_BATCH_BYTES
            )
            await self._producer.start()
        return self._producer

    def is_applied(self) -> bool:
        """Return whether the beacons say that all that was sent is applied, and Redis is whole."""
        beacons = {int(p): parse_beacon(value).next_offset for p, value in self.redis.hgetall(self.beacons_key).items()}
        is_whole = self.redis.exists(self.keys.epoch) == 1
        return is_whole and all(beacons.get(p, 0) >= end for p, end in self.next_offset.items())

    def is_nobody_due(self) -> bool:
        """Return whether all memberships in Redis hold, by the clocks that the beacons tell."""
        clocks = {int(p): parse_beacon(value).clock_ms for p, value in self.redis.hgetall(self.keys.beacons).items()}
        pipeline = self.redis.pipeline(transaction=False)
        for key in self.redis.scan_iter(self.keys.member_prefix + b"*", count=5_000):
            pipeline.get(key)
        rows = [parse_row(row) for row in pipeline.execute() if row and not is_tombstone(row)]
        held = [parse_position(row[POS]) for row in rows if POS in row]
        return not any(pos.valid_until_ms and pos.valid_until_ms <= clocks.get(pos.partition, 0) for pos in held)

    async def applied(self, timeout_s: float = PATIENCE_S) -> None:
        """Return when all that was sent is applied, and Redis is whole."""
        await self.until(self.is_applied, "all records applied", timeout_s)

    async def read(self, topic: str) -> list[Any]:
        """Return all records of a topic, each partition's in order; the end is what the fetches say."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.pair.broker.bootstrap, fetch_max_wait_ms=50)
        await consumer.start()
        try:
            parts = [TopicPartition(topic, number) for number in range(self.n_partitions)]
            consumer.assign(parts)
            await consumer.seek_to_beginning(*parts)
            found: list[Any] = []
            # An empty partition never tells its end by a fetch; of others the embedded broker says a wrong one here.
            left = {part for part, end in (await consumer.end_offsets(parts)).items() if end}
            idle_at = time.monotonic() + 1.0
            while left and time.monotonic() < idle_at:
                for records in (await consumer.getmany(*left, timeout_ms=100)).values():
                    found += records
                    idle_at = time.monotonic() + 1.0
                for part in list(left):
                    end = consumer.highwater(part)
                    if end is not None and await consumer.position(part) >= end:
                        left.discard(part)
            return sorted(found, key=lambda record: (record.partition, record.offset))
        finally:
            await consumer.stop()

    async def dead_letters(self) -> list[Any]:
        """Return the records of the dead-letter topic."""
        return await self.read(self.settings.dead_letter_topic)

    async def changelog(self) -> dict[bytes, bytes]:
        """Return the compacted view of the changelog: the last value of each key, bookkeeping left out."""
        newest = {(r.partition, r.key): r.value for r in await self.read(self.settings.changelog_topic)}
        return {key: value for (_, key), value in newest.items() if value is not None and not key.startswith(b"\0")}

    async def states(self) -> dict[str, Member]:
        """Return the members that the changelog holds."""
        return {key.decode(): decode_state(value) for key, value in (await self.changelog()).items()}

    # -- Redis and metrics ------------------------------------------------------------------------------------------

    def held(self, member_id: str) -> dict[str, str]:
        """Return a member's row."""
        return {
            k.decode(): v.decode() for k, v in parse_row(self.redis.get(self.keys.member(member_id.encode()))).items()
        }

    def positions(self, member_ids: Sequence[str]) -> dict[str, Position]:
        """Return the positions of those of the members that Redis holds."""
        rows = self.redis.mget([self.keys.member(member_id.encode()) for member_id in member_ids]) if member_ids else []
        found = zip(member_ids, map(parse_row, rows), strict=True)
        return {member_id: parse_position(row[POS]) for member_id, row in found if POS in row}

    def scrape(self) -> str:
        """Return what the worker's Prometheus endpoint says."""
        with urlopen(f"http://127.0.0.1:{self.settings.metrics_port}/metrics", timeout=20) as response:
            text: str = response.read().decode()
        return text

    def metrics(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the samples of one name by their labels' values, in the order of the labels' names."""
        lines = [line for line in self.scrape().splitlines() if line.startswith(name)]  # all of them take 6 ms of CPU
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families("\n".join([*lines, ""]))
            for sample in family.samples
            if sample.name == name
        }

    async def close(self) -> None:
        """End the worker and the connections."""
        self.kill()
        self.redis.close()
        await self.close_producer()

    async def close_producer(self) -> None:
        """Close what sends events; the next `send` opens it anew."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
