"""Three brokers, three copies of everything, two of them in sync at least: brokers go and come back under load.

Laws:
1. The nodes are brokers and controllers at once, so at most one is down at a time, unless the test is about that.
2. Each test leaves the cluster whole: all nodes up, every copy in sync, every preferred leader leading.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from chaos.check import check, check_disk
from chaos.load import Load, models
from chaos.traffic import Traffic
from chaos.watcher import Watcher
from chaos.workers import Crew, Worker
from e2e.system import PATIENCE_S, Pair, System
from keys import KEYS
from servers import (
    COMPACTED,
    ApacheKafka,
    Broker,
    KafkaMissing,
    RedisServer,
    create_topic,
    kafka_cluster,
    missing,
)

from memberstream.stream.doctor.checks import copies
from memberstream.stream.doctor.facts import gather
from memberstream.stream.keyspace.formats import parse_beacon

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_MEMBERS, N_PARTITIONS = 300, 4
OFFSETS = "__consumer_offsets"


class Cluster:
    """The nodes, and what their controller says."""

    def __init__(self, nodes: list[ApacheKafka]) -> None:
        self.nodes = {node.node: node for node in nodes}
        self.bootstrap = ",".join(node.bootstrap for node in nodes)

    async def topics(self) -> dict[str, list[dict[str, Any]]]:
        """Return topic → its partitions, in order, each with leader, replicas and isr."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            described = await admin.describe_topics()
        finally:
            await admin.close()
        return {t["topic"]: sorted(t["partitions"], key=lambda part: int(part["partition"])) for t in described}

    async def leader(self, topic: str) -> int:
        """Return the node that leads partition 0."""
        return int((await self.topics())[topic][0]["leader"])

    async def coordinator(self, group: str) -> int:
        """Return the node that coordinates a group."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            return int(await admin.find_coordinator(group))
        finally:
            await admin.close()

    async def bring_back(self, *nodes: int) -> None:
        """Start nodes; the event loop turns meanwhile, so the load goes on."""
        for node in nodes:
            self.nodes[node].spawn()
        for node in nodes:
            await asyncio.to_thread(self.nodes[node].wait_until_ready)

    async def whole(self) -> None:
        """Start what is down; return when every partition has all its copies in sync and its preferred leader."""
        await self.bring_back(*[number for number, node in self.nodes.items() if node.pid is None])
        await eventually(self._is_whole, "all copies in sync, preferred leaders leading")

    async def _is_whole(self) -> bool:
        partitions = [part for parts in (await self.topics()).values() for part in parts]
        return all(
            part["leader"] == part["replicas"][0] and set(part["isr"]) == set(part["replicas"]) for part in partitions
        )


async def eventually(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return when the cluster says that it holds; one that is changing answers with errors meanwhile."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        with suppress(KafkaError):
            if await holds():
                return
        await asyncio.sleep(0.2)
    pytest.fail(f"waited for {what}")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ApacheKafka]]:
    """Three running nodes, for all tests of this file."""
    try:
        with kafka_cluster(tmp_path_factory.mktemp("cluster")) as running:
            yield running
    except KafkaMissing as error:
        missing(str(error))


@pytest.fixture
async def cluster(nodes: list[ApacheKafka]) -> AsyncIterator[Cluster]:
    """The cluster, whole before and after."""
    cluster = Cluster(nodes)
    await cluster.whole()
    yield cluster
    await cluster.whole()


@pytest.fixture
async def crew(cluster: Cluster, redis_server: RedisServer, tmp_path: Any) -> AsyncIterator[Crew]:
    """An installation with three copies of every topic; no worker runs yet."""
    system = System(Pair(Broker("apache", cluster.bootstrap), redis_server), tmp_path, N_PARTITIONS)
    system.set(replication_factor=3, session_timeout_s=6.0)
    system.redis.flushall()
    await create_topic(cluster.bootstrap, system.settings.topic, partitions=N_PARTITIONS, copies=3)
    await system.publish(*models())
    crew = Crew(system)
    yield crew
    crew.close()
    await system.close()


async def at_work(crew: Crew, load: Load) -> Worker:
    """Start a worker and have it know every member."""
    worker = crew.hire()
    worker.start()
    await crew.system.send(load.everyone() + load.some(300))
    await crew.applied()
    return worker


async def carried_on(crew: Crew, worker: Worker, pid: int | None, traffic: Traffic) -> None:
    """The checks that all tests share, the worker's disk among them; it has ended then."""
    await crew.applied()
    assert worker.pid == pid
    assert crew.restarts == []
    checked = await check(crew.system)
    await traffic.nothing_is_lost()
    assert len(traffic.acknowledged) > 500
    assert worker.stop() < 10
    assert await check_disk(crew.system, worker.data_dir) >= checked.living > 0
    assert checked.dead_letters > 0


async def test_every_topic_has_three_copies(cluster: Cluster, crew: Crew) -> None:
    """What the worker creates, and what brokers keep of it, is as safe as the source: else the tests below prove
    nothing."""
    await at_work(crew, Load(20, 20))
    topics, settings = await cluster.topics(), crew.system.settings
    for name in (settings.topic, settings.changelog_topic, settings.dead_letter_topic, OFFSETS):
        assert [len(part["replicas"]) for part in topics[name]] == [3] * len(topics[name]), name


@pytest.mark.parametrize("of", ["source", "changelog", "group"])
async def test_a_new_leader_is_found(cluster: Cluster, crew: Crew, of: str) -> None:
    """kill -9 of the leader of a source partition, of a changelog partition, of the group's coordinator, under load;
    then it comes back and, being preferred, leads again: two changes of leader, and the same worker carries on."""
    load, settings = Load(21, N_MEMBERS), crew.system.settings
    topic = {"source": settings.topic, "changelog": settings.changelog_topic, "group": OFFSETS}[of]

    async def leading() -> int:
        return await (cluster.coordinator(settings.group) if of == "group" else cluster.leader(topic))

    worker = await at_work(crew, load)
    pid = worker.pid
    with Watcher(settings.redis_url, load.member_ids, seed=4) as watcher:
        async with Traffic(crew.system, load) as traffic:
            await asyncio.sleep(1)
            first = await leading()
            cluster.nodes[first].kill()

            async def another_leads() -> bool:
                return await leading() not in (first, -1)

            await eventually(another_leads, "another leader")
            await asyncio.sleep(3)
            await cluster.whole()
            assert await leading() == first
            await asyncio.sleep(3)
        await carried_on(crew, worker, pid, traffic)
    assert watcher.samples > 0


async def test_one_broker_killed_and_another_restarted(cluster: Cluster, crew: Crew) -> None:
    """Each node once, one after the other, the first by kill -9, the second in order, the third by kill -9, under
    load: every event that was acknowledged is applied once, in Redis, changelog and RocksDB; Redis never went back."""
    load = Load(22, N_MEMBERS)
    worker = await at_work(crew, load)
    pid = worker.pid
    with Watcher(crew.system.settings.redis_url, load.member_ids, seed=5) as watcher:
        async with Traffic(crew.system, load) as traffic:
            for number, node in cluster.nodes.items():
                await asyncio.sleep(2)
                if number == 2:
                    await asyncio.to_thread(node.stop)
                else:
                    node.kill()
                await asyncio.sleep(3)
                await cluster.whole()
        await carried_on(crew, worker, pid, traffic)
    assert watcher.samples > 0


def applied(system: System) -> dict[int, int]:
    """Return how far each partition is, as readers are told."""
    return {int(p): parse_beacon(value).next_offset for p, value in system.redis.hgetall(KEYS.beacons).items()}


async def test_with_two_of_three_brokers_down_the_worker_waits(cluster: Cluster, crew: Crew) -> None:
    """Two nodes are down for 30 s: nothing gets on, the worker isn't ready and stays alive; with one of them back,
    it carries on."""
    load = Load(23, N_MEMBERS)
    worker = await at_work(crew, load)
    pid = worker.pid
    async with Traffic(crew.system, load) as traffic:
        await asyncio.sleep(2)
        for number in (1, 2):
            cluster.nodes[number].kill()
        await asyncio.sleep(10)  # what can still get on has
        stands = applied(crew.system)
        await asyncio.sleep(20)
        assert applied(crew.system) == stands
        assert worker.pid == pid
        assert not worker.is_ready()
        await cluster.bring_back(2)
        await crew.until(worker.is_ready, "the worker to be ready with two of three brokers")
        await asyncio.sleep(3)
        await crew.until(lambda: applied(crew.system) != stands, "progress")
    await cluster.whole()
    await carried_on(crew, worker, pid, traffic)


async def test_a_changelog_that_takes_no_writes_is_waited_for(cluster: Cluster, crew: Crew) -> None:
    """The changelog wants three copies in sync, the source two, and one node is down: the source goes on, the leader of
    the changelog answers and refuses. Nothing counts as applied meanwhile; the worker waits and then carries on."""
    load, system = Load(24, N_MEMBERS), crew.system
    config = COMPACTED | {"min.insync.replicas": "3"}
    await create_topic(
        cluster.bootstrap, system.settings.changelog_topic, partitions=N_PARTITIONS, copies=3, config=config
    )
    worker = await at_work(crew, load)
    pid = worker.pid
    async with Traffic(system, load) as traffic:
        await asyncio.sleep(1)
        cluster.nodes[3].kill()
        await asyncio.sleep(8)  # until the node counts as gone: 3 s
        stands = applied(system)
        await asyncio.sleep(10)
        assert applied(system) == stands
        assert worker.pid == pid
        assert not worker.is_ready()
        await cluster.whole()
        await crew.until(worker.is_ready, "the worker to be ready again")
    await carried_on(crew, worker, pid, traffic)


async def test_doctor_names_a_topic_that_is_content_with_one_copy(crew: Crew) -> None:
    """Three copies, and a record counts as written when one has it. The topic's own setting makes it so."""
    settings = crew.system.settings
    row = copies(settings, await gather(settings))
    assert row is not None
    assert row.ok
    assert "3 copies" in row.detail
    admin = AIOKafkaAdminClient(bootstrap_servers=crew.system.pair.broker.bootstrap)
    await admin.start()
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic, {"min.insync.replicas": "1"})])
    await admin.close()
    give_up_at = time.monotonic() + PATIENCE_S
    while row is not None and row.ok and time.monotonic() < give_up_at:  # each broker hears of it by and by
        row = copies(settings, await gather(settings))
    assert row is not None
    assert not row.ok
    assert f"--topic {settings.topic} --add-config min.insync.replicas=2" in row.next
