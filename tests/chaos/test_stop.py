"""SIGTERM behind a backlog: with the largest batches in hand, a worker ends in time and leaves nothing half done."""

from __future__ import annotations

import pytest
from chaos.check import check, check_disk
from chaos.conftest import CrewOn
from chaos.load import Load, models
from chaos.vitals import metric
from e2e.system import Pair
from servers import Broker, RedisServer

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_PARTITIONS, N_MEMBERS, N_EVENTS = 2, 20_000, 260_000
STOP_LIMIT_S = 10.0  # a supervisor's usual patience


async def test_a_stop_behind_a_backlog_is_in_time_and_whole(
    apache_kafka: Broker, redis_server: RedisServer, crew_on: CrewOn
) -> None:
    """Each partition has more than a batch can hold. The signal comes while the first two are in hand: they are applied
    and committed within 10 s, so that the next worker meets none of their records again; then it does the rest."""
    load = Load(41, N_MEMBERS)
    crew = await crew_on(Pair(apache_kafka, redis_server), models(), n_partitions=N_PARTITIONS)
    await crew.system.send(load.everyone() + load.some(N_EVENTS))
    first, second = crew.hire(), crew.hire()
    first.start()
    await crew.until(lambda: first.is_ready() and metric(first, "memberstream_lag_records") != {}, "a first batch")
    took_s = first.stop()
    print(f"stopped in {took_s:.1f} s")
    assert took_s < STOP_LIMIT_S
    second.start()
    await crew.applied()
    outcomes = metric(second, "memberstream_events_total")
    print(outcomes)
    assert outcomes["replayed"] == 0
    assert outcomes["applied"] > N_EVENTS / 10, "nothing was left to do: the stop came after the backlog"
    await check(crew.system)
    second.stop()
    await check_disk(crew.system, second.data_dir)
    assert crew.restarts == []
