"""A rolling upgrade and a rollback under load, the release before and this one in one group: nothing is lost.

The rule that makes it so is docs/upgrades.md. Two workers on Apache Kafka and redis-server keep their disks over each
change of version, or lose them, so that each version reads what the other has written: state, changelog, Redis, models'
log, lists. Commands of both are used meanwhile, and workers are killed (-9) between.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from chaos.check import check, check_disk
from chaos.check_lists import check_lists
from chaos.conftest import CrewOn
from chaos.load import Load, models
from chaos.test_rounds import repaired
from chaos.traffic import Traffic
from chaos.vitals import share
from chaos.workers import Crew, Worker
from e2e.definitions import level
from e2e.system import Pair
from keys import KEYS
from releases import NOW, Release
from servers import ApacheKafka, Broker, RedisServer

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_PARTITIONS, N_MEMBERS = 4, 1_000
EVENTS_PER_S = 300
SESSION_S = 2.0


class Town:
    """The installation, and what people do in it meanwhile by commands of either release."""

    def __init__(self, crew: Crew, directory: Path, member_ids: list[bytes]) -> None:
        self.crew, self._directory, self._member_ids = crew, directory, member_ids
        self.uploaded: dict[str, dict[bytes, int]] = {}

    async def does(self, release: Release, *arguments: str) -> str:
        """Run a command that must succeed."""
        status, output = await release.run(self.crew.system, *arguments)
        if status:
            self.crew.fail(f"memberstream {' '.join(arguments)} ({release.name}) ended with {status}:\n{output}")
        return output

    async def publish(self, release: Release, version: int, threshold: float) -> None:
        """Publish `level@version` as a candidate and wait until all members are scored with it."""
        file = self._directory / f"level-{version}.json"
        file.write_bytes(orjson.dumps(level(version, threshold)))
        await self.does(release, "model", "publish", str(file), "--wait")

    async def promote(self, release: Release, label: str) -> None:
        await self.does(release, "model", "promote", label, "--max-flips", "100%")

    async def upload(self, release: Release, version: int) -> None:
        """Upload a half of the members as `tried@version`; it is complete and live in the end."""
        rows = {m: 1 + i % 3 for i, m in enumerate(self._member_ids) if (i + version) % 2}
        file = self._directory / f"tried-{version}.csv"
        file.write_text("".join(f"{member.decode()},{cluster}\n" for member, cluster in rows.items()))
        await self.does(release, "clusters", "upload", "tried", str(file), "--promote", "--max-flips", "100%")
        self.uploaded[f"tried@{version}"] = rows

    async def campaign(self, release: Release, name: str, *terms: str) -> None:
        await self.does(release, "campaign", "set", name, *terms)

    def change(self, worker: Worker, release: Release, *, kill: bool, lose_disk: bool = False) -> None:
        """Make a worker one of another release: stopped or killed, on the disk as it was or on an empty one."""
        worker.kill() if kill else worker.stop()
        if lose_disk:
            worker.lose_disk()
        worker.release = release
        worker.start()


async def test_a_rolling_upgrade_and_a_rollback_lose_nothing(
    own_kafka: ApacheKafka, tmp_path: Path, before: Release, crew_on: CrewOn
) -> None:
    """N−1 → N, one after the other, and back, with models, lists and campaigns of both: afterwards state, changelog,
    Redis and dead letters are as replayed from scratch, every acknowledged event is there, and both versions tell the
    same of models and campaigns."""
    load = Load(15, N_MEMBERS, without=["at in seconds"])  # the version before takes them for 1970
    with RedisServer("redis", tmp_path / "store") as store:
        crew = await crew_on(Pair(Broker("apache", own_kafka.bootstrap), store), models()[1:], N_PARTITIONS)
        system = crew.system
        system.set(session_timeout_s=SESSION_S)
        town = Town(crew, tmp_path, load.member_ids)
        (tmp_path / "level-1.json").write_bytes(orjson.dumps(level()))
        await town.does(before, "model", "publish", str(tmp_path / "level-1.json"), "--promote", "--force")
        first, second = crew.hire(), crew.hire()
        for worker in (first, second):
            worker.release = before
            worker.start()
        await system.send(load.everyone())
        await share(crew, [first, second])
        async with Traffic(system, load, per_s=EVENTS_PER_S) as traffic:
            await rolling_upgrade(town, first, second, before)
            await rollback(town, first, second, before)
        await crew.applied()
        await repaired(crew)
        checked = await check(system)
        n_rows = await check_lists(system, town.uploaded)
        await traffic.nothing_is_lost()
        await told_alike(town, before)
        print(
            checked, f"{n_rows} rows on lists; {len(traffic.acknowledged)} events; workers restarted: {crew.restarts}"
        )
        second.stop()
        await share(crew, [first])
        await crew.applied()
        first.stop()
        assert await check_disk(system, first.data_dir) > checked.living


async def rolling_upgrade(town: Town, first: Worker, second: Worker, before: Release) -> None:
    """One worker at a time becomes today's, on its disk and after a kill -9 on an empty one."""
    town.change(first, NOW, kill=False)
    await asyncio.gather(town.upload(before, 1), share(town.crew, [first, second]))
    await asyncio.gather(
        town.publish(NOW, 2, 0.4), town.campaign(before, "spring", "--model", "level", "--clusters", "2")
    )
    await town.promote(before, "level@2")
    second.kill()
    first.pause()  # who might have taken over by now, on a quick machine
    refusal = await waits_for_partitions(town)
    first.resume()
    town.change(second, NOW, kill=True, lose_disk=True)
    await asyncio.gather(share(town.crew, [first, second]), town.campaign(NOW, "spring", "--holdout", "10%"))
    print(refusal)
    await town.publish(NOW, 3, 0.6)
    town.change(first, NOW, kill=True)
    await asyncio.gather(town.upload(NOW, 2), town.campaign(NOW, "tried-ones", "--model", "tried", "--clusters", "1,3"))
    await share(town.crew, [first, second])


async def rollback(town: Town, first: Worker, second: Worker, before: Release) -> None:
    """And back: one after a kill -9 on its disk, the other on an empty one, which it fills from the changelog."""
    town.change(first, before, kill=True)
    await asyncio.gather(town.promote(before, "level@3"), share(town.crew, [first, second]))
    await asyncio.gather(town.publish(NOW, 4, 0.3), town.does(before, "model", "retire", "level@1"))
    town.change(second, before, kill=False, lose_disk=True)
    await asyncio.gather(town.does(before, "model", "rollback", "level"), share(town.crew, [first, second]))
    await town.does(before, "campaign", "pause", "spring")


async def waits_for_partitions(town: Town) -> str:
    """While a partition has no worker a version isn't complete: who wants to promote it is told what is waited for."""
    file = town.crew.system.directory / "hasty.json"
    file.write_bytes(orjson.dumps(level(1, name="hasty")))
    status, output = await NOW.run(town.crew.system, "model", "publish", str(file), "--force")
    assert status == 0, output
    status, output = await NOW.run(town.crew.system, "model", "promote", "hasty@1")
    text = " ".join(output.split())
    assert status == 1, text
    assert "isn't scored for all members yet" in text
    assert "it waits for partition" in text
    return text


async def told_alike(town: Town, before: Release) -> None:
    """Both releases read the same models and campaigns from the log, and Redis has them."""
    system = town.crew.system
    for command in (
        ("model", "list", "--json"),
        ("campaign", "list", "--json"),
        ("model", "history", "level", "--json"),
    ):
        outputs = await asyncio.gather(town.does(before, *command), town.does(NOW, *command))
        then, now = map(_told, outputs)
        known = [{name: one[name] for name in old} for old, one in zip(then, now, strict=True)]  # today's may say more
        assert then == known, command
    assert system.redis.hget(KEYS.live, "level") == b"2"
    assert system.redis.hget(KEYS.live, "tried") == b"2"
    told = {name.decode(): orjson.loads(value) for name, value in system.redis.hgetall(KEYS.campaigns).items()}
    assert {name: (one["model"], one["clusters"], one["holdout"], one["state"]) for name, one in told.items()} == {
        "spring": ("level", [2], 1_000, "paused"),
        "tried-ones": ("tried", [1, 3], 0, "enabled"),
    }


def _told(output: str) -> list[Any]:
    """The JSON of an output: one text, or one on each line."""
    try:
        found: list[Any] = orjson.loads(output)
    except orjson.JSONDecodeError:
        found = [orjson.loads(line) for line in output.splitlines()]
    return found
