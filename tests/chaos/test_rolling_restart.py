"""Workers with names in their group (static membership): each is restarted under events, and nobody else notices.

How it was measured on a quiet machine is in docs/decisions/0052-kubernetes.md.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from chaos.check import check
from chaos.conftest import CrewOn
from chaos.freshness import Freshness, p99
from chaos.load import Load, models
from chaos.traffic import Traffic
from chaos.vitals import metric, owned, share
from chaos.watcher import Watcher
from chaos.workers import Worker
from e2e.system import Pair
from servers import Broker, RedisServer

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_PARTITIONS, N_MEMBERS = 6, 2_000
SESSION_S = 60.0  # as the chart sets it; a restart takes seconds
MORE_S = 2.0  # what a partition may lack beyond the restart of its worker
NOISE_S = 1.0  # less than this is a crowded machine's; that there was no rebalance, the workers' counters say
NAME = "MEMBERSTREAM_KAFKA_GROUP_INSTANCE_ID"


def is_as_before(worker: Worker, partitions: set[int]) -> bool:
    return owned(worker) == partitions


def rebalances(worker: Worker) -> float:
    return metric(worker, "memberstream_rebalances_total")[""]


@asynccontextmanager
async def as_busy_as_a_restart() -> AsyncIterator[None]:
    """Have a Python import all of a worker meanwhile: the processor that a restart takes isn't what is measured."""
    command = [sys.executable, "-c", "import memberstream.stream.cli.main, memberstream.stream.worker"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, env=dict(os.environ))
    yield
    assert await process.wait() == 0


async def test_a_rolling_restart_causes_no_rebalance(
    apache_kafka: Broker, redis_server: RedisServer, crew_on: CrewOn
) -> None:
    """Three named workers under 300 events/s are restarted, one after the other. The group's partitions stay where they
    are, nothing is lost or applied twice, and no partition of another worker is later than a busy machine makes it.
    Then a second process takes the name of one: that one stops, says what to do, and ends at a signal. About 60 s."""
    load = Load(61, N_MEMBERS)
    crew = await crew_on(Pair(apache_kafka, redis_server), models(), n_partitions=N_PARTITIONS)
    crew.system.set(session_timeout_s=SESSION_S)
    workers = [crew.hire(variables={NAME: f"memberstream-{i}"}) for i in range(3)]
    for worker in workers:
        worker.start()
    await crew.system.send(load.everyone())
    await share(crew, workers)
    await crew.applied()
    parts = {worker.name: owned(worker) for worker in workers}
    with Watcher(crew.system.settings.redis_url, load.member_ids, seed=8) as watcher:
        async with Traffic(crew.system, load, per_s=300) as traffic, Freshness(crew.system) as freshness:
            every, while_beside, while_restarting, later_s = range(N_PARTITIONS), [], [], []
            for worker in workers:
                began = time.monotonic()
                async with as_busy_as_a_restart():
                    await asyncio.sleep(1)
                await freshness.settled()
                while_beside += freshness.within(every, began, time.monotonic())

                others = [one for one in workers if one is not worker]
                before = [rebalances(one) for one in others]
                stopped = time.monotonic()
                await asyncio.to_thread(worker.stop)
                worker.start()
                await crew.until(partial(is_as_before, worker, parts[worker.name]), "its partitions again")
                restart_s = time.monotonic() - stopped
                await freshness.settled()
                own = freshness.within(parts[worker.name], stopped, stopped + restart_s)
                rest = freshness.within(set(every) - parts[worker.name], stopped, stopped + restart_s)
                while_restarting += rest
                print(f"{worker.name}: restart {restart_s:.2f} s, others p99 {p99(rest):.3f} s, own {own[-1]:.2f} s")
                assert [rebalances(one) for one in others] == before, "a rebalance"
                assert rebalances(worker) == 1
                assert {one.name: owned(one) for one in workers} == parts
                later_s.append(own[-1] - restart_s)
            beside_s, others_s = p99(while_beside), p99(while_restarting)
            print(f"others p99 {others_s:.3f} s; without a restart, the machine as busy, {beside_s:.3f} s")
            assert others_s <= max(2 * beside_s, NOISE_S)
            assert max(later_s) <= MORE_S + beside_s  # beyond its restart; a crowded machine is as late without one
        await crew.applied()
        await traffic.nothing_is_lost()
        await check(crew.system)

        # Two processes by one name: the first ends, the second has the partitions.
        first, others = workers[0], workers[1:]
        second = crew.hire(variables={NAME: "memberstream-0"})
        before = [rebalances(one) for one in others]
        second.start()
        first.is_wanted = False
        await crew.until(lambda: "the name is taken: this process ends in 60 s" in first.says(), "the first to stop")
        assert first.ended_because() == "NameTaken"
        assert "give each process its own MEMBERSTREAM_KAFKA_GROUP_INSTANCE_ID" in first.says()
        assert first.pid is not None  # a supervisor doesn't start it at once
        await asyncio.to_thread(first.stop)
        await crew.system.send(load.some(1_000))
        await crew.applied()
        assert [rebalances(one) for one in others] == before
        await check(crew.system)
    assert watcher.samples > 0
    assert crew.restarts in ([], ["ForeignWrite"])  # the first may have written once more before it was told
