"""Three brokers, three copies of everything, two of them in sync for a write: what the loss of one, or two, may do.

Each test finds the cluster whole and leaves it whole; they share it, for three brokers take long to start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from chaos.check import Checked, check, check_disk, read_whole
from chaos.load import Load, models
from chaos.patient_sender import PatientSender
from chaos.vitals import is_alive, readyz
from chaos.watcher import Watcher
from chaos.workers import Crew, Worker
from e2e.system import Pair, System
from servers import ApacheKafka, Broker, KafkaMissing, RedisServer, create_topic, kafka_cluster, missing

from stream.faust_batch.changelog import CHANGELOG_MESSAGE_BYTES
from stream.keyspace import BEACONS, parse_beacon

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_PARTITIONS = 4
PER_SECOND = 400
CARRIES_ON_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ApacheKafka]]:
    """Three brokers, which are controllers, too."""
    try:
        with kafka_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
            yield cluster
    except KafkaMissing as error:
        missing(str(error))


@dataclass
class Cluster:
    """The brokers, and an installation with one worker on them."""

    nodes: list[ApacheKafka]
    crew: Crew
    worker: Worker
    load: Load

    @property
    def system(self) -> System:
        return self.crew.system

    def node(self, number: int) -> ApacheKafka:
        return next(node for node in self.nodes if node.node == number)

    async def described(self, topic: str) -> list[dict[str, Any]]:
        """Return the partitions of a topic: their leader and the copies in sync."""
        (found,) = await self.ask("describe_topics", [topic])
        return sorted(found["partitions"], key=lambda partition: partition["partition"])

    async def ask(self, what: str, *arguments: Any) -> Any:
        """Call a method of the admin client, on any broker that runs."""
        running = [node.bootstrap for node in self.nodes if node.pid is not None]
        admin = AIOKafkaAdminClient(bootstrap_servers=running, request_timeout_ms=5_000)
        await admin.start()
        try:
            return await getattr(admin, what)(*arguments)
        finally:
            await admin.close()

    async def whole(self) -> None:
        """Return when every copy of every partition is in sync."""
        settings, give_up_at = self.system.settings, time.monotonic() + 60
        while True:
            try:
                topics = [await self.described(topic) for topic in (settings.topic, settings.changelog_topic)]
                if all(len(partition["isr"]) == len(self.nodes) for topic in topics for partition in topic):
                    return
            except KafkaError:
                pass
            assert time.monotonic() < give_up_at, "not all copies in sync within 60 s"
            await asyncio.sleep(0.2)

    def applied_offsets(self) -> dict[bytes, int]:
        """Return how far each partition is, as readers are told."""
        return {p: parse_beacon(value).next_offset for p, value in self.system.redis.hgetall(BEACONS).items()}

    async def committed(self) -> dict[int, int]:
        """Return the offsets that the group has committed."""
        found = await self.ask("list_consumer_group_offsets", self.system.settings.group)
        return {tp.partition: offset.offset for tp, offset in found.items() if tp.topic == self.system.settings.topic}

    async def moves_on(self) -> None:
        """Return when every partition has moved on from where it is now: nobody waits for a broker that is away."""
        before = self.applied_offsets()
        await self.crew.until(
            lambda: all(now > before[p] for p, now in self.applied_offsets().items()),
            "every partition moving on",
            CARRIES_ON_WITHIN_S,
        )

    async def right(self, sender: PatientSender, pid: int | None) -> Checked:
        """Everything acknowledged is in the topic and applied, by the process that was there from the start."""
        await self.crew.applied()
        assert self.worker.pid == pid
        assert self.crew.restarts == []
        sender.assert_kept(await read_whole(self.system, self.system.settings.topic))
        checked = await check(self.system)
        self.worker.stop()
        assert await check_disk(self.system, self.worker.data_dir) >= checked.living
        return checked


@pytest.fixture
async def cluster(nodes: list[ApacheKafka], redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A topic with three copies, and a worker at work on it."""
    pair = Pair(Broker("apache", ",".join(node.bootstrap for node in nodes)), redis_server)
    system = System(pair, tmp_path, N_PARTITIONS)
    system.redis.flushall()
    await create_topic(pair.broker.bootstrap, system.settings.topic, partitions=N_PARTITIONS, copies=len(nodes))
    system.publish(*models())
    system.set(replication_factor=len(nodes), session_timeout_s=6.0)
    crew = Crew(system)
    worker = crew.hire()
    worker.start()
    found = Cluster(nodes, crew, worker, Load(9, 400))
    await crew.ready()
    await found.whole()
    yield found
    crew.close()
    await system.close()
    for node in nodes:
        if node.pid is None:  # a test that failed
            node.start()


@pytest.mark.parametrize("role", ["source", "changelog", "coordinator"])
async def test_a_leader_dies(cluster: Cluster, role: str) -> None:
    """kill -9 of the broker that leads a source partition, a changelog partition, or the group: the worker goes on
    with the brokers that are left, before that one is back, and nothing is lost."""
    system = cluster.system
    with Watcher(system.settings.redis_url, cluster.load.member_ids, seed=4):
        async with PatientSender(system, cluster.load, PER_SECOND) as sender:
            sender.put(cluster.load.everyone())
            await asyncio.sleep(2)
            pid = cluster.worker.pid
            leader = cluster.node(await leading(cluster, role))
            leader.kill()
            killed_at = time.monotonic()
            await cluster.moves_on()
            print(f"{role}: every partition moved on {time.monotonic() - killed_at:.1f} s after its leader died")
            await asyncio.sleep(2)
            await cluster.moves_on()
            leader.spawn()
            leader.wait_until_ready(len(cluster.nodes))
            await cluster.whole()
        await cluster.right(sender, pid)


async def leading(cluster: Cluster, role: str) -> int:
    """Return the number of the broker that has this role."""
    if role == "coordinator":
        return int(await cluster.ask("find_coordinator", cluster.system.settings.group))
    settings = cluster.system.settings
    described = await cluster.described(settings.topic if role == "source" else settings.changelog_topic)
    return int(described[0]["leader"])


async def test_one_broker_dies_and_another_restarts(cluster: Cluster) -> None:
    """One broker is killed, and the moment it is back, before its copies have caught up, another one is restarted;
    under load all the while. Every acknowledged event is applied; Redis, changelog and RocksDB are right."""
    first, second, _ = cluster.nodes
    with Watcher(cluster.system.settings.redis_url, cluster.load.member_ids, seed=5):
        async with PatientSender(cluster.system, cluster.load, PER_SECOND) as sender:
            sender.put(cluster.load.everyone())
            await asyncio.sleep(2)
            pid = cluster.worker.pid
            first.kill()
            await asyncio.sleep(3)
            first.spawn()
            first.wait_until_ready(len(cluster.nodes))
            await asyncio.to_thread(second.stop)
            second.spawn()
            second.wait_until_ready(len(cluster.nodes))
            await cluster.moves_on()
            await cluster.whole()
        await cluster.right(sender, pid)


async def test_two_brokers_die(cluster: Cluster) -> None:
    """With one of three brokers left nothing can be written: the worker waits, alive, not ready, and says so; with
    the second one back it carries on by itself, while the third is still away."""
    first, second, _ = cluster.nodes
    async with PatientSender(cluster.system, cluster.load, PER_SECOND) as sender:
        sender.put(cluster.load.everyone())
        await asyncio.sleep(2)
        pid = cluster.worker.pid
        first.kill()
        second.kill()
        await asyncio.sleep(1)
        stands_at = cluster.applied_offsets()
        await cluster.crew.until(lambda: not cluster.worker.is_ready(), "the worker is no longer ready")
        await asyncio.sleep(15)
        assert is_alive(cluster.worker)
        assert cluster.applied_offsets() == stands_at
        second.spawn()
        second.wait_until_ready(2)
        back_at = time.monotonic()
        await cluster.moves_on()
        print(f"every partition moved on {time.monotonic() - back_at:.1f} s after the second broker was back")
        first.spawn()
        first.wait_until_ready(len(cluster.nodes))
        await cluster.whole()
    await cluster.right(sender, pid)


async def test_a_changelog_that_takes_no_writes_holds_back_the_offsets(cluster: Cluster) -> None:
    """The changelog alone lacks a copy in sync; events keep coming. The worker commits nothing and tells readers
    nothing new, until the copy is back: an offset ahead of the changelog would lose what it stands for."""
    changelog = cluster.system.settings.changelog_topic
    async with PatientSender(cluster.system, cluster.load, PER_SECOND) as sender:
        sender.put(cluster.load.everyone())
        await asyncio.sleep(2)
        pid = cluster.worker.pid
        await demand_copies(cluster, changelog, 3)
        coordinator = await cluster.ask("find_coordinator", cluster.system.settings.group)
        away = next(node for node in cluster.nodes if node.node != coordinator)
        away.kill()
        await cluster.crew.until(
            lambda: f"a write to {changelog} isn't acknowledged" in readyz(cluster.worker), "the worker saying why"
        )
        stands_at, committed = cluster.applied_offsets(), await cluster.committed()
        n_acknowledged = len(sender.acknowledged)
        await asyncio.sleep(6)
        assert len(sender.acknowledged) > n_acknowledged
        assert cluster.applied_offsets() == stands_at
        assert await cluster.committed() == committed
        assert all(offset <= stands_at[b"%d" % partition] for partition, offset in committed.items())
        away.spawn()
        away.wait_until_ready(len(cluster.nodes))
        await cluster.moves_on()
        await cluster.whole()
        await demand_copies(cluster, changelog, 2)
    await cluster.right(sender, pid)


async def demand_copies(cluster: Cluster, changelog: str, n: int) -> None:
    """Set how many copies of the changelog must be in sync for a write; the call replaces all its settings."""
    configs = {"cleanup.policy": "compact", "max.message.bytes": str(CHANGELOG_MESSAGE_BYTES)}
    configs["min.insync.replicas"] = str(n)
    await cluster.ask("alter_configs", [ConfigResource(ConfigResourceType.TOPIC, changelog, configs)])
