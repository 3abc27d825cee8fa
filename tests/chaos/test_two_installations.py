"""Two installations on one broker and one Redis, set apart by the table of docs/operations.md: neither sees the other.

The table is read from the document: a row that is missing or wrong there makes this test fail.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
from e2e.definitions import level
from e2e.system import Pair, Sent, System, event
from e2e.test_start import run
from nodes import Cluster
from servers import ApacheKafka, Broker, RedisServer, create_topic

from memberstream.models.terms import Terms
from memberstream.stream.authoring.campaigning import Campaigning
from memberstream.stream.local.server_process import free_port
from memberstream.stream.lookup import Lookup
from memberstream.stream.settings import Settings, from_environment, variable

pytestmark = [pytest.mark.kafka, pytest.mark.redis_server]

OPERATIONS = Path(__file__).resolve().parents[2] / "docs/operations.md"
ROUNDS, N_PARTITIONS = 5, 2
BOTH = [f"m{i}" for i in range(300)]
ALONE = {"production": [f"p{i}" for i in range(50)], "staging": [f"s{i}" for i in range(50)]}


def told_apart() -> dict[str, dict[str, str]]:
    """Environment → variable → value, as the table says."""
    section = OPERATIONS.read_text().partition("### Several installations\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| .* \| `(\w+)=(\S+)` \| `(\w+)=(\S+)` \|$", section, re.MULTILINE)
    assert len(rows) >= 6
    assert all(one == other and mine != theirs for one, mine, other, theirs in rows)
    return {
        "production": {name: value for name, value, *_ in rows},
        "staging": {name: value for *_, name, value in rows},
    }


class Environment:
    """One of the two: its worker, and what must be true of its members."""

    def __init__(self, name: str, system: System, url: str) -> None:
        self.name, self.system, self.url = name, system, url
        self.ids = BOTH + ALONE[name]
        self.high: dict[str, bool] = {}

    async def send(self, rng: random.Random) -> None:
        """Change members, the same that the other has to other clusters."""
        some = self.ids if not self.high else rng.sample(self.ids, 150)
        self.high |= {member: rng.random() < 0.5 for member in some}
        await self.system.send(
            [Sent(m.encode(), event("replace", document={"x": 1 if self.high[m] else -1})) for m in some]
        )

    def check(self) -> None:
        """Compare members, the ends of the topic, and campaigns."""
        keys = self.system.keys
        found = {key.removeprefix(keys.member_prefix) for key in self.system.redis.scan_iter(keys.member_prefix + b"*")}
        assert found == {member.encode() for member in self.ids}
        with Lookup(self.url, prefix=keys.prefix) as lookup:
            answers = lookup.get_many(self.ids)
        assert {answer.member_id: answer.cluster("level") for answer in answers} == {
            member: 2 if is_high else 1 for member, is_high in self.high.items()
        }
        assert {answer.status for answer in answers} == {"current"}
        assert {name for answer in answers for name in answer.visible.campaigns} == {f"of-{self.name}"}
        ends = self.system.redis.hgetall(keys.beacons)
        assert {int(p): int(beacon.split(b":")[0]) for p, beacon in ends.items()} == self.system.next_offset
        assert not any(map(int, (self.system.metrics("memberstream_foreign_writes_total") or {(): 0}).values()))


@pytest.fixture(params=["server", "cluster"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """URL and client of Debian's redis-server, or of a cluster of three."""
    if request.param == "server":
        server: RedisServer = request.getfixturevalue("redis_server")
        client = redis.Redis.from_url(server.url)
        client.flushall()
        yield server.url, client
    else:
        cluster = Cluster(tmp_path / "cluster")
        yield cluster.url, redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
        cluster.kill()


@pytest.mark.long
async def test_neither_sees_the_other(own_kafka: ApacheKafka, store: tuple[str, Any], tmp_path: Path) -> None:
    """Five rounds of kill -9 of both workers, with the same members in both: each has its own clusters, campaigns, keys
    and topics. And before: without a group, or without a prefix of its own the second one doesn't start, and changes
    nothing."""
    url, client = store
    table, found, rng = told_apart(), {}, random.Random(7)
    for name, variables in table.items():
        system = _system(own_kafka, tmp_path / name, variables, url, client)
        await create_topic(own_kafka.bootstrap, system.settings.topic, partitions=N_PARTITIONS)
        found[name] = Environment(name, system, url)
    production, staging = found.values()
    try:
        await _publish(production)
        await production.send(rng)
        production.system.start()
        await production.system.applied()
        without = replace(staging.system.settings, redis_prefix=production.system.settings.redis_prefix)
        await _is_refused(staging.system, without, production, client)
        await _publish(staging)
        await staging.send(rng)
        staging.system.start()
        await staging.system.applied()
        for _ in range(ROUNDS):
            for environment in found.values():
                await environment.send(rng)
            await asyncio.sleep(rng.random() / 2)
            for environment in rng.sample([*found.values()], 2):
                environment.system.kill()
            for environment in found.values():
                environment.system.start()
            for environment in found.values():
                await environment.system.applied()
                await environment.system.until(lambda: environment.system.scrape() != "", "metrics")  # noqa: B023
                environment.check()
        prefixes = tuple(f"{environment.system.settings.redis_prefix}:" for environment in found.values())
        assert {key.decode().partition(":")[0] + ":" for key in client.scan_iter("*")} == set(prefixes)
        production.system.stop()
        topics = {environment.name: _own_topics(environment.system.settings) for environment in found.values()}
        assert not topics["production"] & topics["staging"]
    finally:
        for environment in found.values():
            await environment.system.close()


def _system(kafka: ApacheKafka, directory: Path, variables: dict[str, str], url: str, client: Any) -> System:
    """An installation by the table. Directory and port are this test's own: the table's may be taken here."""
    directory.mkdir()
    settings = from_environment(variables)
    system = System(Pair(Broker("apache", kafka.bootstrap), RedisServer("redis", directory / "unused")), directory, 2)
    own = {variable(name): name for name in ("group", "topic", "interactions_topic", "redis_prefix")}
    assert set(variables) == {*own, variable("data_dir"), variable("metrics_port")}
    system.set(redis_url=url, metrics_port=free_port(), **{name: getattr(settings, name) for name in own.values()})
    system.redis.close()
    system.redis = client
    return system


async def _publish(environment: Environment) -> None:
    """The model, and a campaign for everybody."""
    settings = environment.system.settings
    await environment.system.publish(level())
    await Campaigning(settings, "test").set(f"of-{environment.name}", Terms("level", (1, 2)))


async def _is_refused(system: System, without: Settings, owner: Environment, client: Any) -> None:
    """Neither kind of worker starts, and no command writes; they say whose keys these are, and what to set."""
    own = system.settings
    before = _small_keys(owner, client)
    system.set(**{"redis_prefix": without.redis_prefix})
    for command in (
        ["worker"],
        ["interactions", "worker"],
        ["model", "publish", _file(system), "--force", "--promote"],
    ):
        status, said = await run(system, {}, command=command)
        assert status == 1, said
        for part in ("keys ms:*", f"{owner.system.settings.group}@", f"{own.group}@", "MEMBERSTREAM_REDIS_PREFIX"):
            assert part in said, said
        assert "Traceback" not in said
    assert _small_keys(owner, client) == before
    system.set(redis_prefix=own.redis_prefix)


def _file(system: System) -> str:
    path = system.directory / "level.json"
    path.write_bytes(orjson.dumps(level(2)))
    return str(path)


def _small_keys(owner: Environment, client: Any) -> list[Any]:
    keys = owner.system.keys
    hashes = (keys.live, keys.models, keys.campaigns)
    return [*map(client.hgetall, hashes), *map(client.get, (keys.known, keys.epoch, keys.installation))]


def _own_topics(settings: Settings) -> set[str]:
    """Topics that are written to, by what the settings name."""
    return {
        *(settings.topic, settings.dead_letter_topic, settings.interactions_topic),
        *(settings.interaction_dead_letter_topic, settings.models_topic, settings.changelog_topic),
        *(settings.lists_topic, settings.skips_topic, settings.findings_topic),
    }
