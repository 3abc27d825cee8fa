"""The batch path on Faust, with real worker processes, on the embedded broker and on Apache Kafka 4.

A toy worker (toy_worker.py) sums numbers per key. The proof is always the same: what the changelog says at the end
equals what a plain loop over all sent records gives; a record applied twice or never shows in the sum or the count.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import struct
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer
from prefork import Fork
from servers import Broker, create_topic, unique
from worker.toy_worker import BIG

from memberstream.stream.faust_batch import UnsupportedVersion, check_supported
from memberstream.stream.faust_batch.data_dir import DataDir

HERE = Path(__file__).resolve().parent
PARTITIONS = 2
KEYS = 300
_STATE = struct.Struct("<Bqqqq")
Totals = dict[bytes, tuple[int, int]]  # key → (sum, count)


class Job:
    """One topic, one group, its workers and everything that was sent."""

    def __init__(self, broker: Broker, directory: Path) -> None:
        self.broker, self.directory = broker, directory
        self.topic, self.group = unique("src"), unique("toy")
        self.sent: defaultdict[bytes, list[int]] = defaultdict(list)
        self.count = 0
        self.workers: list[Worker] = []
        self.random = random.Random(7)

    @property
    def changelog(self) -> str:
        return f"{self.group}-state-changelog"

    def worker(self, name: str = "a", **more: Any) -> Worker:
        # Tansu's joins take half the session timeout; Apache Kafka's test settings allow a short one as well.
        worker = Worker(
            self.directory / f"{name}.log",
            {
                "bootstrap": [self.broker.bootstrap],
                "group": self.group,
                "source_topic": self.topic,
                "data_dir": str(self.directory / "nested" / name),
                "session_timeout_s": 2.0,
                "heartbeat_s": 0.3,
                "commit_interval_s": 0.2,
                "replication_factor": 1,
                "is_embedded_broker": self.broker.kind == "embedded",
                **more,
            },
        )
        self.workers.append(worker)
        return worker

    async def send(self, records: int, pause_s: float = 0.0) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap, linger_ms=2)
        await producer.start()
        for at in range(0, records, 50):
            acks = []
            for _ in range(min(50, records - at)):
                number, chosen = self.random.randrange(1000), self.random.randrange(KEYS)
                key = b"member-%d" % chosen
                acks.append(await producer.send(self.topic, b"%d" % number, key=key, partition=chosen % PARTITIONS))
                self.sent[key].append(number)
                self.count += 1
            await asyncio.gather(*acks)
            await asyncio.sleep(pause_s)
        await producer.stop()

    @contextlib.asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Some 500 records/s arrive until the block ends, however long its workers take."""
        is_over = asyncio.Event()

        async def run() -> None:
            while not is_over.is_set():
                await self.send(200, pause_s=0.08)

        sending = asyncio.create_task(run())
        try:
            yield
        finally:
            is_over.set()
            await sending

    async def send_one(self, key: bytes, number: int, topic: str | None = None, value: bytes | None = None) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap)
        await producer.start()
        await producer.send_and_wait(topic or self.topic, value or b"%d" % number, key=key, partition=0)
        await producer.stop()
        if topic is None:
            self.sent[key].append(number)
            self.count += 1

    def replayed(self) -> Totals:
        return {key: (sum(numbers), len(numbers)) for key, numbers in self.sent.items()}

    async def changelog_totals(self) -> Totals:
        """State as the changelog has it: the last record per key. Reads to the end that the fetches show."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.broker.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            parts = [TopicPartition(self.changelog, number) for number in range(PARTITIONS)]
            consumer.assign(parts)
            totals: Totals = {}
            idle = 0
            while idle < 2:
                fetched = await consumer.getmany(*parts, timeout_ms=100)
                idle = 0 if fetched else idle + 1
                for records in fetched.values():
                    for record in records:
                        if record.key.startswith(b"\0"):
                            continue
                        totals[record.key] = _STATE.unpack_from(record.value)[3:]
            return totals
        finally:
            await consumer.stop()

    async def settled(self, timeout_s: float = 60.0) -> Totals:
        """Returns the changelog's totals once they equal the replay; fails with the difference after `timeout_s`."""
        await self.workers[0].says("ASSIGNED")  # asking for the changelog sooner would make Tansu create it
        give_up_at = time.monotonic() + timeout_s
        expected = self.replayed()
        while (found := await self.changelog_totals()) != expected:
            if time.monotonic() > give_up_at:
                wrong = {key: (found.get(key), want) for key, want in expected.items() if found.get(key) != want}
                tails = "\n".join(f"--- {worker.log}\n{worker.text()[-3000:]}" for worker in self.workers)
                pytest.fail(f"{len(wrong)} keys wrong (found, expected), e.g. {list(wrong.items())[:3]}\n{tails}")
            assert sum(count for _, count in found.values()) <= self.count, "a record was applied twice"
        return found

    async def committed(self) -> dict[int, int]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.broker.bootstrap, group_id=self.group)
        await consumer.start()
        try:
            parts = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
            return {part.partition: await consumer.committed(part) or 0 for part in parts}
        finally:
            await consumer.stop()


class Worker:
    """A worker process and its log."""

    def __init__(self, log: Path, arguments: dict[str, Any]) -> None:
        self.log, self.data_dir = log, Path(arguments["data_dir"])
        argv = [sys.executable, str(HERE / "toy_worker.py"), json.dumps(arguments)]
        self.process = Fork(argv, log=log, cwd=HERE, env=os.environ)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    async def says(self, what: str, times: int = 1, timeout_s: float = 60.0) -> None:
        await eventually(lambda: self.text().count(what) >= times, f"{what!r} in {self.log}", timeout_s, self.text)

    async def ends(self, timeout_s: float = 60.0) -> int:
        await eventually(lambda: self.process.poll() is not None, f"the end of {self.log}", timeout_s, self.text)
        return self.process.wait()

    async def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert await self.ends() == 0, self.text()[-3000:]

    async def kill(self) -> None:
        self.process.kill()
        await self.ends()


async def eventually(true: Callable[[], bool], what: str, timeout_s: float, more: Callable[[], str]) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > give_up_at:
            pytest.fail(f"waited {timeout_s:g} s for {what}\n{more()[-3000:]}")
        await asyncio.sleep(0.02)


@pytest.fixture
async def job(broker: Broker, tmp_path: Path) -> AsyncIterator[Job]:
    """A job on each kind of broker."""
    async for started in _job(broker, tmp_path):
        yield started


@pytest.fixture
async def kafka_job(apache_kafka: Broker, tmp_path: Path) -> AsyncIterator[Job]:
    """A job on Apache Kafka alone: promises are kept there; Tansu is for the demo, and time is short."""
    async for started in _job(apache_kafka, tmp_path):
        yield started


async def _job(broker: Broker, directory: Path) -> AsyncIterator[Job]:
    job = Job(broker, directory)
    await create_topic(broker.bootstrap, job.topic, partitions=PARTITIONS)
    yield job
    for worker in job.workers:
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()
        worker.process.wait()


async def test_every_record_is_applied_once_and_survives_restarts(job: Job) -> None:
    """Load, SIGTERM, restart with the disk intact, restart with one partition's files gone and the other's damaged: the
    same state every time, and SIGTERM leaves nothing uncommitted. At the end a value larger than a batch."""
    await job.send(2000)
    worker = job.worker()
    await job.settled()
    await worker.stop()
    assert sum((await job.committed()).values()) == 2000
    assert "LAG 0 AFTER 2000" in worker.text()
    again = job.worker("a")
    await again.says("ASSIGNED", times=2)
    await job.send(500)
    await job.settled()
    await again.stop()
    for damaged in again.data_dir.glob("v1/tables/state-0.db/MANIFEST-*"):
        damaged.write_bytes(b"no longer a manifest" * 10)
    shutil.rmtree(again.data_dir / "v1/tables/state-1.db")
    empty = job.worker("a")
    await empty.says("ASSIGNED", times=3)
    assert restored(empty) == KEYS  # without the bookkeeping record that the toy keeps in each partition
    assert "local state of partition 0 is corrupt" in empty.text()
    big = {b"big": BIG, b"small": 1}
    for key, number in big.items():
        await job.send_one(key, number)
    await job.settled()
    await empty.stop()


def restored(worker: Worker) -> int:
    """Members that the last `assigned` found in the local state."""
    line = [line for line in worker.text().splitlines() if "ASSIGNED" in line][-1]
    return sum(json.loads(line.split("ASSIGNED ")[1]).values())


async def test_kill_nine_under_load_loses_and_doubles_nothing(kafka_job: Job) -> None:
    """Three times kill -9 while records arrive, once with the disk lost: state equals a replay."""
    job = kafka_job
    async with job.traffic():
        for round_ in range(3):
            worker = job.worker("a")
            await worker.says("ASSIGNED", times=round_ + 1)
            await asyncio.sleep(0.4)
            await worker.kill()
            if round_ == 1:
                shutil.rmtree(worker.data_dir)
        job.worker("a")
    assert await job.settled() == job.replayed()


async def test_an_error_in_the_handler_stops_the_worker_before_the_offset(kafka_job: Job) -> None:
    """A bug is no reason to lose a record: exit status 1, the record and the kind of error in the log, and where it was
    raised; the record still uncommitted."""
    job = kafka_job
    await job.send(400)
    worker = job.worker(poison=-1)
    await worker.says("ASSIGNED")
    await job.settled()
    await asyncio.sleep(0.5)  # a commit interval
    before = await job.committed()
    await job.send_one(b"member-0", -1)
    assert await worker.ends() == 1
    assert f"partition 0, offset {before[0]}: RuntimeError ends this worker" in worker.text()
    assert 'raise RuntimeError(f"poison' in worker.text()
    assert await job.committed() == before


async def test_a_held_partition_waits_and_the_others_go_on(kafka_job: Job) -> None:
    """Nothing of partition 0 is applied or committed, its lag is told, and a rebalance gives it away without waiting
    for it: the next owner, who holds nothing, applies it. Released, it goes on where it stood; nothing twice."""
    job = kafka_job
    released = job.directory / "released"
    await job.send(400)
    of_held = sum(len(sent) for key, sent in job.sent.items() if int(key.split(b"-")[1]) % PARTITIONS == 0)
    worker = job.worker("a", held_until=str(released))
    await worker.says(f"LAG {of_held} AFTER {400 - of_held}")
    await job.send(100)
    of_held = sum(len(sent) for key, sent in job.sent.items() if int(key.split(b"-")[1]) % PARTITIONS == 0)
    await worker.says(f"LAG {of_held} AFTER {500 - of_held}")
    await asyncio.sleep(0.5)  # a commit interval
    assert await job.committed() == {0: 0, 1: 500 - of_held}
    heir = job.worker("b", held_until=str(released))
    await heir.says("ASSIGNED")
    await worker.says("ASSIGNED", times=2)
    released.touch()
    await job.settled()
    for one in (worker, heir):
        await one.stop()
    assert sum((await job.committed()).values()) == 500


async def test_a_second_worker_joins_and_leaves_under_load(job: Job) -> None:
    """Rebalances move partitions while batches are in flight (each call sleeps): nothing lost, nothing twice."""
    async with job.traffic():
        first = job.worker("a", slow_s=0.05)
        await first.says("ASSIGNED")
        second = job.worker("b", slow_s=0.05)
        await second.says("ASSIGNED")
        await asyncio.sleep(0.5)
        await second.stop()
        assert "REVOKED" in second.text()
    await job.settled()
    await first.stop()
    assert sum((await job.committed()).values()) == job.count


async def test_a_sleeping_worker_wakes_up_as_a_stranger(kafka_job: Job) -> None:
    """SIGSTOP for longer than the session, another worker takes over, SIGCONT: the sleeper's batch is not applied
    twice and its records don't end in the state."""
    job = kafka_job
    async with job.traffic():
        sleeper = job.worker("a")
        await sleeper.says("ASSIGNED")
        await asyncio.sleep(0.3)
        sleeper.process.send_signal(signal.SIGSTOP)
        heir = job.worker("b")
        await heir.says("ASSIGNED")
        await asyncio.sleep(0.3)
        sleeper.process.send_signal(signal.SIGCONT)
    assert await job.settled(30) == job.replayed()
    await sleeper.says("REVOKED")  # by itself and in its own time: at its next heartbeat


async def test_a_stale_record_in_the_changelog_is_noticed_and_put_right(kafka_job: Job) -> None:
    """A worker that lost its partition writes an old value late. The owner stops at its next write rather than build
    on it; its restart refuses the old value and publishes the right one behind it, where compaction will keep it."""
    job = kafka_job
    await job.send(400)
    worker = job.worker("a")
    await job.settled()
    key = b"member-0"
    await job.send_one(key, 0, topic=job.changelog, value=_STATE.pack(2, 0, 0, 5, 1))  # at offset 0, sum 5
    assert (await job.changelog_totals())[key] == (5, 1)
    await job.send_one(b"member-2", 7)  # the owner's next write to that partition
    assert await worker.ends() == 1
    assert "ForeignWrite" in worker.text()
    shutil.rmtree(worker.data_dir)  # the hard case: nothing but the changelog remembers
    again = job.worker("a")
    await again.says("1 stale records of a former owner")
    await job.settled()
    await again.stop()


async def test_state_ahead_of_its_changelog_stops_the_worker(kafka_job: Job) -> None:
    """A data directory of another group or cluster is not silently believed."""
    job = kafka_job
    await job.send(100)
    worker = job.worker("a")
    await job.settled()
    await worker.stop()
    job.group = unique("toy")
    stranger = job.worker("a")
    assert await stranger.ends() == 1
    assert "Next: remove" in stranger.text()
    assert "StateAhead" in stranger.text()


async def test_a_missing_source_topic_is_an_error_with_the_next_action(embedded_broker: Broker, tmp_path: Path) -> None:
    """Waited for, then an exit status and what to do; not created, not waited for in silence."""
    job = Job(embedded_broker, tmp_path)
    worker = job.worker(source_topic_wait_s=0.5)
    assert await worker.ends() == 1
    assert f"waiting for the topic {job.topic}" in worker.text()
    assert f"the topic {job.topic} doesn't exist. Next: create it" in worker.text()


async def test_one_data_directory_serves_one_worker(tmp_path: Path) -> None:
    """A second worker on the same directory ends with the holder's process id and what to do."""
    directory = DataDir(tmp_path / "nested" / "a")
    directory.acquire()
    second = Job(Broker("embedded", "127.0.0.1:1"), tmp_path).worker("a")
    assert await second.ends() == 1
    assert f"in use by another worker (process {os.getpid()})" in second.text()
    directory.release()


def test_other_versions_are_refused_with_the_next_action() -> None:
    """All differences at once: what was found, what is supported, what to do."""
    found = {"faust-streaming": "0.16.0", "mode-streaming": "0.7.1", "aiokafka": "0.15.2", "rocksdict": "0.3.29"}
    found["cramjam"] = "2.14.0"
    with pytest.raises(UnsupportedVersion) as error:
        check_supported(found.__getitem__)
    text = str(error.value)
    assert "faust-streaming: found 0.16.0, supported 0.15.x" in text
    assert "aiokafka: found 0.15.2, supported 0.14.x" in text
    assert "rocksdict: found" not in text
    assert "Next: install the versions pinned" in text


def test_a_changed_internal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same version with another signature, or without a method, is no better than another version."""

    def changed(self: object, fetcher: object, other: object) -> None: ...

    monkeypatch.setattr(Consumer, "_drain_messages", changed)
    monkeypatch.delattr(Recovery, "need_recovery")
    with pytest.raises(UnsupportedVersion) as error:
        check_supported()
    assert "Consumer._drain_messages: found parameters ('fetcher', 'other'), expected ('fetcher',)" in str(error.value)
    assert "Recovery.need_recovery: gone" in str(error.value)
