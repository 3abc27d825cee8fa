"""What `memberstream plan` says is what a job then takes; what `memberstream load` sends arrives."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from e2e.commands import memberstream
from e2e.system import Install, Pair
from servers import RedisServer

from bench.rig import Servers
from bench.sizing import Measured, measure, models
from memberstream.stream.sizing.plan import Job, coefficients, plan
from memberstream.stream.sizing.shape import member_id

#: Of what is planned, and of the processor's time: others on the machine change the latter more than they change the
#: yardstick that runs beside.
OFF, OFF_CPU = 0.3, 0.5
SMALL = Measured(members=12_000, document_bytes=1_800, columns=40, models=4)


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.redis_server
async def test_a_small_job_takes_what_was_planned(tmp_path: Path) -> None:
    """Another size than the coefficients were made of, on Apache Kafka and redis-server (they were made on Valkey).

    Redis, changelog and disk are within 30%. Processor time is compared by a yardstick that runs beside the worker. (In
    a minute, most of which is the start of servers.)
    """
    with Servers(tmp_path, RedisServer("redis", tmp_path / "redis")) as on:
        took = await measure(on, SMALL)
    by = coefficients()
    planned = plan(Job(SMALL.members, SMALL.document_bytes, 1_000, SMALL.models, SMALL.columns), by)
    mb = SMALL.members / 1e6
    assert took["redis_bytes"] * mb == pytest.approx(planned.redis_mb, rel=OFF)
    assert took["record_bytes"] * mb == pytest.approx(planned.changelog_mb, rel=OFF)
    assert took["disk_bytes"] * mb == pytest.approx(planned.disk_mb_per_worker, rel=OFF)
    assert took["before_compaction_bytes"] * mb < planned.disk_mb_per_worker * (1 + OFF) + planned.uncompacted_mb
    print(took, planned)  # shown where one fails
    slower = took["patch_yardstick_us"] / by.yardstick_us
    assert took["patch_us"] / slower == pytest.approx(planned.cpu_us, rel=OFF_CPU)


async def test_load_is_scored_and_goes_again(embedded_pair: Pair, install: Install) -> None:
    """Members of a load are in Redis like any others, none of their events is refused, and `--delete` removes them."""
    system = await install(embedded_pair, models(1, 10))
    system.start()
    members = [member_id(i).decode() for i in range(40)]
    shape = ("--members", "40", "--rate", "400", "--yes", "--json")
    status, out, err = await memberstream(system, "load", *shape, "--seconds", "0.5", "--patches", "80%")
    assert status == 0, err
    told = orjson.loads(out)
    assert (told["topic"], told["events"]) == (system.settings.topic, 240)
    assert 0 < told["events_per_s"] <= 400 * 240 / 239
    await system.until(lambda: system.metrics("memberstream_events_total").get(("applied",)) == 240, "all applied")
    assert all(map(system.held, members))
    status, out, err = await memberstream(system, "load", *shape, "--delete")
    assert (status, orjson.loads(out)["events"]) == (0, 40), err
    await system.until(lambda: system.metrics("memberstream_events_total").get(("applied",)) == 280, "all deleted")
    for member in (members[0], members[-1]):
        answer = await memberstream(system, "lookup", member, "--json")
        assert orjson.loads(answer[1])["status"] == "unknown member", answer
    assert await system.dead_letters() == []
