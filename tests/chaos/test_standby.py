"""Partitions that change hands: to a warm standby, and without one to a worker whose disk is older than the changelog.

How much a worker had to recover is its own metric, `memberstream_recovery_applied_records`: of the last recovery.
"""

from __future__ import annotations

import asyncio

import pytest
from chaos.check import check, check_disk, read_whole
from chaos.conftest import CrewOn
from chaos.load import Load, models
from chaos.traffic import Traffic
from chaos.vitals import metric, owned, share
from chaos.watcher import Watcher
from chaos.workers import Crew, Worker
from e2e.system import Pair
from servers import Broker, RedisServer

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_PARTITIONS, N_MEMBERS = 4, 2_000
EVERY_PARTITION = set(range(N_PARTITIONS))


@pytest.fixture
async def crew(apache_kafka: Broker, redis_server: RedisServer, crew_on: CrewOn) -> Crew:
    """An installation without a worker yet."""
    made = await crew_on(Pair(apache_kafka, redis_server), models(), n_partitions=N_PARTITIONS)
    made.system.set(session_timeout_s=3.0)
    return made


def recovered(worker: Worker) -> int:
    """Return how many changelog records its last recovery has applied."""
    return int(metric(worker, "memberstream_recovery_applied_records")[""])


async def warm(crew: Crew, workers: list[Worker]) -> None:
    """Return when every worker stands by for all partitions that aren't its own and lacks nothing of them; nothing is
    being sent. That a copy is also right is seen when it has taken over."""

    def is_warm() -> bool:
        lags = [metric(worker, "memberstream_standby_lag_records") for worker in workers]
        return all(
            {int(partition) for partition in lag} == EVERY_PARTITION - owned(worker) and not any(lag.values())
            for worker, lag in zip(workers, lags, strict=True)
        )

    await crew.until(is_warm, "the standbys to lack nothing")


async def test_a_standby_takes_over_with_nothing_to_recover(crew: Crew) -> None:
    """Two workers keep a copy of each other's state. After kill -9 of one under load, the other serves all partitions
    and has read almost nothing for it; twice, so that a former standby's copy has been written by both."""
    load = Load(31, N_MEMBERS)
    crew.system.set(standby_replicas=1)
    one, two = crew.hire(), crew.hire()
    for worker in (one, two):
        worker.start()
    await share(crew, [one, two])
    await crew.system.send(load.everyone() + load.some(3_000))
    await crew.applied()
    with Watcher(crew.system.settings.redis_url, load.member_ids, seed=6) as watcher:
        for owner, standby in ((one, two), (two, one)):
            await warm(crew, [owner, standby])
            async with Traffic(crew.system, load) as traffic:
                await asyncio.sleep(2)
                owner.kill()
                await share(crew, [standby])
                took_over = recovered(standby)
                await asyncio.sleep(1)
            await crew.applied()
            checked = await check(crew.system)
            await traffic.nothing_is_lost()
            records = len(await read_whole(crew.system, crew.system.settings.changelog_topic))
            print(f"taken over with {took_over} records to recover, of {records} in the changelog")
            # A fetch of what was written in the last moments; without the copy it is two of four partitions, whole.
            assert took_over < records / 20
            owner.start()
            await share(crew, [one, two])
        standby.stop()
        await share(crew, [owner])
        await crew.applied()
        owner.stop()
        assert await check_disk(crew.system, owner.data_dir) >= checked.living > 0
    assert watcher.samples > 0
    assert crew.restarts == []


async def test_without_a_standby_the_state_is_read_from_the_changelog(crew: Crew) -> None:
    """What the test above is compared with: the heir of a killed worker reads its partitions from the changelog."""
    load = Load(32, N_MEMBERS)
    one, two = crew.hire(), crew.hire()
    for worker in (one, two):
        worker.start()
    await share(crew, [one, two])
    await crew.system.send(load.everyone())
    await crew.applied()
    inherited = owned(one)
    one.kill()
    await share(crew, [two])
    records = await read_whole(crew.system, crew.system.settings.changelog_topic)
    of_the_heir = sum(record.partition in inherited for record in records)
    assert recovered(two) > 0.9 * of_the_heir > 0  # it may have owned a partition for a moment, when the group formed
    await check(crew.system)


async def test_partitions_go_back_and_forth_between_workers_that_keep_their_disks(crew: Crew) -> None:
    """A second worker joins, leaves, comes back, is killed and comes back, under load: each time somebody gets
    partitions that it once owned and others have written since. Its older state catches up before it is used."""
    load = Load(33, N_MEMBERS)
    one, two = crew.hire(), crew.hire()
    one.start()
    await crew.system.send(load.everyone())
    await share(crew, [one])
    with Watcher(crew.system.settings.redis_url, load.member_ids, seed=7) as watcher:
        steps = [("join", two), ("leave", one), ("join", one), ("kill", two), ("join", two), ("kill", one)]
        steps += [("join", one), ("leave", two)]
        for what, worker in steps:
            async with Traffic(crew.system, load, per_s=800) as traffic:
                await asyncio.sleep(1)
                if what == "join":
                    worker.start()
                elif what == "leave":
                    assert await asyncio.to_thread(worker.stop) < 10
                else:
                    worker.kill()
                await share(crew, crew.running)
                await asyncio.sleep(1)
            await crew.applied()
            await traffic.nothing_is_lost()
            checked = await check(crew.system)
            print(f"{what} of {worker.name}: {checked}, recovered {[recovered(w) for w in crew.running]}")
    one.stop()
    assert await check_disk(crew.system, one.data_dir) >= checked.living > 0
    assert watcher.samples > 0
    assert crew.restarts == []
