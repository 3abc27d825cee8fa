"""SIGTERM behind a backlog: with the largest batches in hand, a worker ends in time and leaves nothing half done."""

from __future__ import annotations

import pytest
from chaos.check import check, check_disk
from chaos.conftest import CrewOn
from chaos.load import Load, models
from chaos.vitals import metric
from chaos.workers import Worker
from e2e.system import Pair
from servers import Broker, RedisServer

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_PARTITIONS, N_MEMBERS, N_EVENTS = 2, 20_000, 260_000
STOP_LIMIT_S = 10.0  # a supervisor's usual patience


def n_done(worker: Worker) -> float:
    """Records of which a worker knows what became of them."""
    return sum(metric(worker, "memberstream_events_total").values())


async def test_a_stop_behind_a_backlog_is_in_time_and_whole(
    apache_kafka: Broker, redis_server: RedisServer, crew_on: CrewOn
) -> None:
    """Each partition has more than a batch can hold. The signal comes when the first is written out, with two in hand:
    they are applied and committed within 10 s, so that the next worker meets none of their records again, and does the
    rest. Only a machine so busy that a batch takes longer than its grace of 5 s has it replayed; the worker says so."""
    load = Load(41, N_MEMBERS)
    crew = await crew_on(Pair(apache_kafka, redis_server), models(), n_partitions=N_PARTITIONS)
    await crew.system.send(load.everyone() + load.some(N_EVENTS))
    first, second = crew.hire(), crew.hire()
    first.start()
    await crew.until(lambda: first.is_ready() and n_done(first) > 0, "the first batch")
    took_s = first.stop()
    print(f"stopped in {took_s:.1f} s")
    assert took_s < STOP_LIMIT_S
    second.start()
    await crew.applied()
    n_replayed = metric(second, "memberstream_events_total")["replayed"]
    assert n_replayed == 0 or "a batch in flight did not end within" in first.says()
    n_records = N_MEMBERS + N_EVENTS
    print(f"{n_records - n_done(second):.0f} of {n_records} done by the first")
    assert 0.2 * n_records < n_records - n_done(second) < 0.95 * n_records, "the stop didn't come amid the backlog"
    await check(crew.system)
    second.stop()
    await check_disk(crew.system, second.data_dir)
    assert crew.restarts == []
