"""A worker process between Apache Kafka and Valkey, for the measurements of latency and scaling.

Laws:
1. Everything is the real thing: `python -m memberstream worker` as a process of its own, set up by Settings alone.
2. A measurement ends when Redis shows the position of the last record of every partition, not when a counter says so.
3. CPU is what the kernel booked on the worker (user and system), so that other processes on the cores change it little.
4. Rigs on the same servers don't see each other: each has its own topic, group, directory; Redis is emptied.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.request import urlopen

import redis
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from bench.measured_kafka import MeasuredKafka
from memberstream.models.model_file import parse
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.kafka.topics import create_topic
from memberstream.stream.keyspace.formats import POS, parse_position, parse_row
from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.local.embedded import EmbeddedValkey
from memberstream.stream.local.server_process import ServerProcess, free_port
from memberstream.stream.settings import Settings, to_environment

KEYS = Keys()

Event = tuple[bytes, bytes]
BATCH_BYTES = 500_000
PATIENCE_S = 600.0
_HERTZ = os.sysconf("SC_CLK_TCK")


def _offset_in(row: bytes | None) -> int:
    """The offset of a member's row; -1 of none."""
    pos = parse_row(row).get(POS)
    return -1 if pos is None else parse_position(pos).offset


def partition_of(member_id: bytes, partitions: int) -> int:
    """Where a member's records go; any function of the key will do."""
    return zlib.crc32(member_id) % partitions


def pin(pid: int | None, cores: set[int]) -> None:
    """Put every thread of a process on these cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def cpu_s(pid: int | None) -> float:
    """CPU seconds of a process, user and system, since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _HERTZ


class Servers:
    """One Apache Kafka and one Valkey for a whole bench. `store`: in Valkey's place."""

    def __init__(self, directory: Path, store: Any = None) -> None:
        self.directory = directory
        self.kafka = MeasuredKafka(directory / "kafka")
        self.valkey = store or EmbeddedValkey()
        self._rigs = 0

    def __enter__(self) -> Self:
        self.kafka.start()
        self.valkey.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.valkey.stop()
        self.kafka.stop()

    @asynccontextmanager
    async def rig(self, models: Iterable[Mapping[str, Any]], partitions: int = 4) -> AsyncIterator[Rig]:
        """A fresh topic with published models; no worker runs yet. What is left of the workers ends with it."""
        self._rigs += 1
        rig = Rig(self, f"bench-{self._rigs}", partitions)
        rig.redis.flushall()
        await create_topic(rig.settings.kafka, rig.settings.topic, partitions)
        await Publishing(rig.settings, "bench").install(parse(dict(model)) for model in models)
        try:
            async with AIOKafkaProducer(
                bootstrap_servers=self.kafka.bootstrap, acks="all", max_batch_size=BATCH_BYTES
            ) as rig.producer:
                yield rig
        finally:
            for worker in rig.workers:
                worker.process.kill()
            rig.redis.close()


@contextmanager
def servers() -> Iterator[Servers]:
    """Both servers in a temporary directory."""
    with TemporaryDirectory(prefix="memberstream-bench-") as name, Servers(Path(name)) as started:
        yield started


class Worker:
    """One worker process. `command`: of memberstream."""

    def __init__(self, settings: Settings, directory: Path, command: Sequence[str] = ("worker",)) -> None:
        self.command = command
        self.settings, self.directory = settings, directory
        self.log = directory / "worker.log"
        self.process = ServerProcess("the worker", self.log)

    def start(self, cores: set[int] | None = None, tree: Path | None = None) -> Self:
        """Launch it, if asked for on these cores only, or from another tree; returns before it is ready."""
        self.directory.mkdir(parents=True, exist_ok=True)
        others = {name: value for name, value in os.environ.items() if not name.startswith("MEMBERSTREAM_")}
        command = [sys.executable, "-m", "memberstream", *self.command]
        path = {} if tree is None else {"PYTHONPATH": str(tree)}
        self.process.spawn(command, cwd=self.directory, env=others | path | to_environment(self.settings))
        if cores is not None:
            os.sched_setaffinity(self.pid, cores)
        return self

    def stop(self) -> None:
        """SIGTERM: it finishes its batch and commits."""
        self.process.stop(grace_s=20.0)

    def pause(self) -> None:
        """SIGSTOP; for less than the session timeout."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Process id; ends the bench when the worker has ended."""
        if self.process.pid is None:
            raise SystemExit(f"the worker has ended:\n{self.says()[-4000:]}")
        return self.process.pid

    def says(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def cpu_s(self) -> float:
        """CPU seconds, user and system, since its start."""
        return cpu_s(self.pid)

    def memory_mb(self) -> dict[str, float]:
        """Resident memory now (VmRSS) and at its highest (VmHWM), MB."""
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return {name: int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")}

    def metrics(self, name: str) -> dict[tuple[str, ...], float]:
        """Samples of one metric by their labels' values; empty while the worker doesn't answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.settings.metrics_port}/metrics", timeout=5) as response:
                text: str = response.read().decode()
        except OSError:
            return {}
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }


class Rig:
    """A topic with its models, what was sent to it, and its workers."""

    producer: AIOKafkaProducer

    def __init__(self, on: Servers, name: str, partitions: int) -> None:
        self.partitions = partitions
        self.directory = on.directory / name
        self.redis: Any = redis.Redis.from_url(on.valkey.url)
        self.settings = Settings(
            kafka_bootstrap=(on.kafka.bootstrap,),
            topic=name,
            group=name,
            redis_url=on.valkey.url,
            replication_factor=1,
            metrics_host="127.0.0.1",
            partitioner="crc32",  # as partition_of
        )
        self.workers: list[Worker] = []
        self.last: dict[int, tuple[bytes, int]] = {}  # partition → member and offset of the last record sent

    def worker(self, *command: str) -> Worker:
        """One more worker of the group, not yet started, on an empty disk; of documents, unless `command` says."""
        directory = self.directory / f"worker-{len(self.workers)}"
        worker = Worker(
            replace(self.settings, data_dir=directory / "data", metrics_port=free_port()),
            directory,
            command or ("worker",),
        )
        self.workers.append(worker)
        return worker

    def partition(self, member_id: bytes) -> int:
        """Where a member's records go."""
        return partition_of(member_id, self.partitions)

    async def send(self, events: Iterable[Event]) -> int:
        """Send events in large batches, those of a partition in order; returns their number once acknowledged."""
        queues: defaultdict[int, list[Event]] = defaultdict(list)
        n = 0
        for event in events:
            queues[self.partition(event[0])].append(event)
            n += 1
        await asyncio.gather(*[self._send(partition, queue) for partition, queue in queues.items()])
        return n

    async def _send(self, partition: int, queue: list[Event]) -> None:
        start = 0
        while start < len(queue):
            batch, taken = self.producer.create_batch(), start
            now_ms = time.time_ns() // 1_000_000
            while taken < len(queue):
                key, value = queue[taken]
                if batch.append(timestamp=now_ms, key=key, value=value) is None:
                    break
                taken += 1
            acked = await (await self.producer.send_batch(batch, self.settings.topic, partition=partition))
            self.last[partition] = (queue[taken - 1][0], acked.offset + taken - 1 - start)
            start = taken

    def is_applied(self) -> bool:
        """Whether Redis is whole and shows the last record of every partition."""
        pipeline = self.redis.pipeline(transaction=False)
        pipeline.exists(KEYS.epoch)
        for member_id, _ in self.last.values():
            pipeline.get(KEYS.member(member_id))
        is_whole, *rows = pipeline.execute()
        return bool(is_whole) and all(
            _offset_in(row) >= offset for row, (_, offset) in zip(rows, self.last.values(), strict=True)
        )

    def is_any_applied(self) -> bool:
        """Whether Redis shows the last record of some partition."""
        return any(
            _offset_in(self.redis.get(KEYS.member(member_id))) >= offset for member_id, offset in self.last.values()
        )

    async def applied(self) -> float:
        """Wait until all that was sent is in Redis; returns time.perf_counter() of that moment."""
        await self.until(self.is_applied)
        return time.perf_counter()

    async def until(self, holds: Callable[[], bool], poll_s: float = 0.01) -> None:
        """Wait for a condition; ends the bench when a worker has ended, or after ten minutes."""
        give_up_at = time.monotonic() + PATIENCE_S
        while not holds():
            for worker in self.workers:
                if worker.process.pid is None and worker.says():
                    _ = worker.pid
            if time.monotonic() > give_up_at:
                raise SystemExit(f"not within {PATIENCE_S:.0f} s:\n{self.workers[-1].says()[-4000:]}")
            await asyncio.sleep(poll_s)
