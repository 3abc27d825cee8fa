"""A crash at each numbered side effect of a batch, and a stale worker's late record: state and Redis stay right."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from chaos.check import check, check_disk, read_whole
from chaos.conftest import CrewOn
from chaos.crashing_worker import PAUSE, POINTS
from chaos.load import Load, models
from chaos.watcher import Watcher
from chaos.workers import Crew
from e2e.system import Pair
from servers import Broker, RedisServer

from memberstream.models.position import split_position
from memberstream.stream.partition.write_position import write_position

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

ENTRY = Path(__file__).with_name("crashing_worker.py")
PUT_RIGHT = "stale records of a former owner in the changelog, put right"


@pytest.fixture
def real_pair(apache_kafka: Broker, redis_server: RedisServer) -> Pair:
    """Apache Kafka 4 and Debian's redis-server."""
    return Pair(apache_kafka, redis_server)


def entry(point: str, armed: Path) -> list[str]:
    return [sys.executable, str(ENTRY), point, str(armed)]


@pytest.mark.parametrize("disk", ["kept", "lost"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_a_side_effect_loses_and_repeats_nothing(
    real_pair: Pair, crew_on: CrewOn, tmp_path: Path, point: str, disk: str
) -> None:
    """The worker kills itself just there, in a batch with every kind of event; after a restart, with its disk or with
    an empty one, Redis, changelog, RocksDB and dead letters are as replayed from scratch, and Redis never went back."""
    crew = await crew_on(real_pair, models())
    system, load, armed = crew.system, Load(POINTS.index(point), 150), tmp_path / "armed"
    with Watcher(system.settings.redis_url, load.member_ids, seed=1) as watcher:
        mortal = crew.hire(entry=entry(point, armed))
        mortal.start()
        await system.send(load.everyone() + load.some(300))
        await crew.applied()
        armed.touch()
        mortal.is_wanted = False  # it won't live long
        await system.send(load.some(400))
        await crew.until(lambda: mortal.pid is None, f"the crash {point}")
        heir = crew.hire()
        if disk == "kept":
            mortal.data_dir.rename(heir.data_dir)
        await system.send(load.some(50))
        heir.start()
        await crew.applied()
        await check(system)
        await system.send(load.some(200))
        await crew.applied()
        checked = await check(system)
        heir.stop()
        assert await check_disk(system, heir.data_dir) >= checked.living
    assert watcher.samples > 0
    assert checked.dead_letters > 0
    assert crew.restarts == []


@pytest.mark.parametrize("then", ["the owner has died", "the owner works on", "the owner rests"])
async def test_a_stale_worker_cannot_harm_the_state(
    real_pair: Pair, crew_on: CrewOn, tmp_path: Path, then: str
) -> None:
    """A worker is stopped exactly between the proof of its membership and its changelog write; another one takes over
    and writes later events of the same members, deletes without versions among them; then the stopped one goes on and
    its records land. Whoever recovers from that changelog, with an empty disk, has the state right, and Redis is."""
    crew = await crew_on(real_pair, models(), n_partitions=1)
    system, load, armed = crew.system, Load(77, 120), tmp_path / "armed"
    system.set(session_timeout_s=2.0)
    third = len(load.member_ids) // 3
    deleted, patched, created = (
        load.member_ids[:third],
        load.member_ids[third : 2 * third],
        load.member_ids[2 * third :],
    )
    with Watcher(system.settings.redis_url, load.member_ids, seed=2) as watcher:
        stale = crew.hire(entry=entry(PAUSE, armed))
        stale.start()
        await system.send(load.about(deleted + patched, "replace"))
        await crew.applied()
        armed.touch()
        stale.is_wanted = False
        await system.send(load.about(load.member_ids, "replace"))  # the batch that it is stopped in
        await crew.until(stale.is_paused, "the worker stopped before its write")
        owner = crew.hire()
        owner.start()
        await crew.applied()  # the owner has done that batch, too
        await system.send(load.about(deleted, "null") + load.about(patched + created, "append"))
        await crew.applied()
        await check(system)
        if then == "the owner has died":
            owner.kill()
        stale.resume()
        await until_it_landed(crew, deleted + created)
        stale.kill()
        if then == "the owner works on":
            await system.send(load.some(100))
            await crew.applied()
        elif then == "the owner rests":
            # A stale worker that rejoins before it is killed moves the partition once more: that recovery notices, too.
            await crew.until(lambda: crew.restarts != [] or PUT_RIGHT in owner.says(), "the owner to notice by itself")
            await crew.applied()
            await check(system)
        owner.kill()
        owner.lose_disk()
        owner.start()
        await crew.applied()
        await check(system)
        await system.send(load.some(100))
        await crew.applied()
        checked = await check(system)
        owner.stop()
        await check_disk(system, owner.data_dir)
    assert watcher.samples > 0
    assert checked.living > 0
    assert PUT_RIGHT in owner.says()
    assert crew.restarts == [] or (then != "the owner has died" and crew.restarts == ["ForeignWrite"])


async def until_it_landed(crew: Crew, member_ids: Sequence[bytes]) -> None:
    """Wait for changelog records with a lower write position than a record before them: what must be repaired."""
    for _ in range(200):
        highest, stale = -1, set()
        for record in await read_whole(crew.system, crew.system.settings.changelog_topic):
            position = write_position(record.value, record.headers)
            assert position is not None
            if position < highest:
                stale.add(record.key)
            highest = max(highest, position)
        if stale.issuperset(member_ids):
            return
    crew.fail(f"no stale record came; the highest write position is {split_position(highest)}")
