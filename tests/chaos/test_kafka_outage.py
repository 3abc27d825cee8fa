"""The only broker goes away under load and comes back: the same worker process carries on by itself, nobody is wrong.

What a cluster of brokers adds (leader changes, too few replicas in sync) is in test_cluster_of_brokers.py.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from chaos.check import check, check_disk
from chaos.conftest import CrewOn
from chaos.load import Load, models
from chaos.traffic import Traffic
from chaos.vitals import cpu_s, metric
from chaos.watcher import Watcher
from chaos.workers import Crew, Worker
from e2e.system import Pair
from servers import ApacheKafka, Broker, RedisServer

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_MEMBERS = 300
SESSION_S = 6.0  # Kafka's own minimum, so that an outage outlasts it or doesn't, as the test wants


@pytest.fixture
async def crew(own_kafka: ApacheKafka, redis_server: RedisServer, crew_on: CrewOn) -> Crew:
    """An installation on a broker that may be hurt; no worker runs yet."""
    made = await crew_on(Pair(Broker("apache", own_kafka.bootstrap), redis_server), models(), n_partitions=4)
    made.system.set(session_timeout_s=SESSION_S)
    return made


async def bring_back(kafka: ApacheKafka) -> None:
    """Start a broker and return when it is ready; the event loop turns meanwhile, so the load goes on."""
    kafka.spawn()
    await asyncio.to_thread(kafka.wait_until_ready)


async def carried_on(crew: Crew, worker: Worker, pid: int | None, traffic: Traffic) -> None:
    """The checks that all outages share, the worker's disk among them; it has ended then."""
    await crew.applied()
    assert worker.pid == pid
    assert crew.restarts == []
    checked = await check(crew.system)
    await traffic.nothing_is_lost()
    assert worker.stop() < 10
    assert await check_disk(crew.system, worker.data_dir) >= checked.living > 0


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_a_restarted_broker_costs_nothing(own_kafka: ApacheKafka, crew: Crew, how: str) -> None:
    """Stopped in order, or kill -9, and started again at once, three times under load: the worker that was running
    carries on, every acknowledged event is applied once, in Redis, changelog and RocksDB; Redis never went back."""
    load = Load(11, N_MEMBERS)
    worker = crew.hire()
    worker.start()
    await crew.system.send(load.everyone())
    await crew.applied()
    pid = worker.pid
    with Watcher(crew.system.settings.redis_url, load.member_ids, seed=3) as watcher:
        async with Traffic(crew.system, load) as traffic:
            for _ in range(3):
                await asyncio.sleep(2)
                if how == "killed":
                    own_kafka.kill()
                else:
                    await asyncio.to_thread(own_kafka.stop)
                await bring_back(own_kafka)
            await asyncio.sleep(2)
        await carried_on(crew, worker, pid, traffic)
    assert watcher.samples > 0


async def test_a_broker_gone_for_a_minute_is_waited_for(own_kafka: ApacheKafka, crew: Crew) -> None:
    """Gone for 70 s, longer than the session and than any time-out of a client: the worker stays alive, says that
    Kafka is away and is not ready, hardly works and hardly logs; then it carries on, and nothing is lost or doubled."""
    load = Load(12, N_MEMBERS)
    worker = crew.hire()
    worker.start()
    await crew.system.send(load.everyone())
    await crew.applied()
    pid = worker.pid
    async with Traffic(crew.system, load) as traffic:
        await asyncio.sleep(2)
        own_kafka.kill()
        await crew.until(lambda: not worker.is_ready(), "the worker to notice")
        busy_s, lines = cpu_s(worker), worker.says().count("\n")
        await asyncio.sleep(70)
        busy_s, lines = cpu_s(worker) - busy_s, worker.says().count("\n") - lines
        assert worker.pid == pid
        assert not worker.is_ready()
        await bring_back(own_kafka)
        await crew.until(worker.is_ready, "the worker to be ready again")
        await asyncio.sleep(2)
    await carried_on(crew, worker, pid, traffic)
    print(f"in 70 s without a broker: {busy_s:.1f} s CPU, {lines} lines logged")
    assert busy_s < 0.15 * 70
    assert lines < 200


#: The worker, stopping itself by a signal at a moment of its recovery if a file says so.
PAUSING = """
import os, signal, sys
from pathlib import Path
from memberstream.stream.cli import main
from memberstream.stream.faust_batch.recovery import BatchRecovery

build, feed, armed = BatchRecovery._build_highwaters, BatchRecovery.feed, Path(sys.argv.pop())

def pause(point):
    if armed.exists() and armed.read_text() == point:
        armed.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)

async def build_and(self, consumer, tps, destination, title):
    await build(self, consumer, tps, destination, title)
    pause("nothing is read")

def feed_and(self, tp, records):
    feed(self, tp, records)
    pause("something is read")

BatchRecovery._build_highwaters, BatchRecovery.feed = build_and, feed_and
main()
"""


async def test_a_broker_that_goes_while_state_is_recovered(own_kafka: ApacheKafka, crew: Crew, tmp_path: Path) -> None:
    """A worker with an empty disk knows where its changelog ends and has read nothing of it, or some of it, when the
    broker dies: it goes on where it was when the broker is back, and applies what comes then."""
    load, armed = Load(13, 10_000), tmp_path / "armed"
    worker = crew.hire(entry=[sys.executable, "-c", PAUSING, "worker", str(armed)])
    worker.start()
    await crew.system.send(load.everyone())
    await crew.applied()
    for point in ("nothing is read", "something is read"):
        worker.kill()
        worker.lose_disk()
        armed.write_text(point)
        worker.start()
        pid = worker.pid
        await crew.until(worker.is_paused, f"the recovery in which {point}")
        own_kafka.kill()
        worker.resume()
        await asyncio.sleep(3)
        assert point != "nothing is read" or metric(worker, "memberstream_recovering")[""] == 1
        await bring_back(own_kafka)
        await crew.system.send(load.some(300))
        await crew.applied()
        assert worker.pid == pid
    await check(crew.system)
    worker.stop()
    await check_disk(crew.system, worker.data_dir)


async def test_a_stop_during_an_outage_is_in_time_and_loses_nothing(own_kafka: ApacheKafka, crew: Crew) -> None:
    """SIGTERM while the broker is away and a batch is unacknowledged: the worker can't finish it and ends within the
    time that a supervisor gives; the next one, on the same disk, applies what is left."""
    load = Load(14, N_MEMBERS)
    worker = crew.hire()
    worker.start()
    await crew.system.send(load.everyone())
    await crew.applied()
    async with Traffic(crew.system, load) as traffic:
        await asyncio.sleep(1)
        own_kafka.kill()
        await asyncio.sleep(3)
        took_s = await asyncio.to_thread(worker.stop)
        await bring_back(own_kafka)
    print(f"the stop took {took_s:.1f} s")
    assert took_s < 10
    worker.start()
    await carried_on(crew, worker, worker.pid, traffic)
