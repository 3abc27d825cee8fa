"""`memberstream doctor` of a real installation: sound, then with what it is asked for most often."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.foreign import remove_before
from e2e.fuzzing import alter
from e2e.system import Install, Pair, Sent, System, event
from e2e.test_health import health
from servers import unique

from memberstream.models.model_file import parse
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.doctor.checks import BEHIND, CHECKS
from memberstream.stream.registry.log import ModelsLog


@pytest.mark.kafka
@pytest.mark.redis_server
async def test_the_doctor_finds_what_is_wrong(real_pair: Pair, install: Install) -> None:
    """Exit status 0 and a line for each check; 1 with the next action, for people and as JSON, without a worker,
    without the topic, without Redis and without Kafka."""
    system = await install(real_pair, [level()])
    system.start()
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    await system.applied()
    await system.until(lambda: health(system)[0] == 200, "ready")
    await system.until(lambda: system.redis.hlen(b"ms:{meta}:scored") == system.n_partitions, "scored")
    status, out, err = await memberstream(system, "doctor")
    assert (status, err) == (0, ""), out
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ok", name]
        for name in (
            *("kafka", "topic", "changelog", "copies", "models_log", "set_aside"),
            *("redis", "installation", "surroundings", "workers", "held", "whole", "scored", "lag"),
        )
    ]
    system.stop()
    system.redis.delete(b"ms:{meta}:beacons")
    found = orjson.loads((await memberstream(system, "doctor", "--json"))[1])
    assert {check["name"] for check in found["checks"] if not check["ok"]} == {"workers"}

    sound = system.settings
    for changed, name in (
        ({"topic": unique("no-such")}, "topic"),
        ({"redis_url": "redis://127.0.0.1:1/0"}, "redis"),
        ({"kafka_bootstrap": ("127.0.0.1:1",)}, "kafka"),
    ):
        system.set(**changed)
        status, out, _ = await memberstream(system, "doctor", "--json")
        wrong = {check["name"]: check for check in orjson.loads(out)["checks"] if not check["ok"]}
        assert (status, orjson.loads(out)["ok"], wrong[name]["ok"]) == (1, False, False)
        assert wrong[name]["next"]
        assert "wrong" in (await memberstream(system, "doctor"))[1]
        system.settings = sound


@pytest.mark.kafka
@pytest.mark.redis_server
async def test_records_that_expire_unread_are_named(real_pair: Pair, install: Install) -> None:
    """Nobody reads on, and the topic keeps records for some seconds only."""
    system = await install(real_pair, [level()])
    system.start()
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    await system.applied()
    system.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=real_pair.broker.bootstrap)
    await admin.start()
    short = ConfigResource(ConfigResourceType.TOPIC, system.settings.topic, {"retention.ms": "4000"})
    await admin.alter_configs([short])
    await admin.close()

    async def topic() -> dict[str, Any]:
        checks: list[dict[str, Any]] = orjson.loads((await memberstream(system, "doctor", "--json"))[1])["checks"]
        return next(check for check in checks if check["name"] == "topic")

    assert (await topic())["ok"]
    await system.send([Sent(b"m", event("replace", document={"x": 2}))])
    await asyncio.sleep(4)
    said = await topic()
    assert "75% of the retention time" in said["problem"]
    assert "retention.ms=-1" in said["next"]


async def wrong(system: System) -> dict[str, str]:
    """The rows of `doctor` that are red, each with what it says to do."""
    checks = orjson.loads((await memberstream(system, "doctor", "--json"))[1])["checks"]
    return {check["name"]: check["next"] for check in checks if not check["ok"]}


#: Rows that other tests of this module and of its neighbours break, and the one that needs several brokers
#: (tests/chaos/test_cluster_of_brokers.py).
ELSEWHERE = {"kafka", "topic", "redis", "workers", "copies"}


@pytest.mark.kafka
@pytest.mark.redis_server
async def test_each_row_is_red_when_that_very_thing_is_broken(real_pair: Pair, install: Install) -> None:
    """And no other one, apart from `workers`: none runs, so nothing is put right before it was seen."""
    system = await install(real_pair, [level()])
    system.start()
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    await system.applied()
    await system.until(lambda: system.redis.hlen(system.keys.scored) == system.n_partitions, "scored")
    system.stop()
    redis, keys, settings, seen = system.redis, system.keys, system.settings, set[str]()

    async def breaks(name: str, breaking: Callable[[], Awaitable[Any]], mending: Callable[[], Awaitable[Any]]) -> None:
        await breaking()
        found = await wrong(system)
        assert found.keys() - {"workers"} == {name}, found
        assert found[name]
        seen.add(name)
        await mending()
        assert name not in await wrong(system)

    async def redis_call(call: Callable[..., Any], *arguments: Any) -> None:
        await asyncio.to_thread(call, *arguments)

    own, epoch = redis.get(keys.installation), redis.get(keys.epoch)
    foreign, policy = partial(redis_call, redis.set, keys.installation, "other@kafka"), "maxmemory-policy"
    await breaks("installation", foreign, partial(redis_call, redis.set, keys.installation, own))
    gone = partial(redis_call, redis.delete, keys.epoch)
    await breaks("whole", gone, partial(redis_call, redis.set, keys.epoch, epoch))
    for name, topic in (("changelog", settings.changelog_topic), ("models_log", settings.models_topic)):
        set_policy = partial(alter, system, topic)
        await breaks(
            name,
            partial(set_policy, **{"cleanup.policy": "delete"}),
            partial(set_policy, **{"cleanup.policy": "compact"}),
        )
    redis.config_set("maxmemory", "500mb")
    try:
        evicting, sound = (
            partial(redis_call, redis.config_set, policy, value) for value in ("allkeys-lru", "noeviction")
        )
        await breaks("surroundings", evicting, sound)
    finally:
        redis.config_set(policy, "noeviction")
        redis.config_set("maxmemory", "0")
    publishing, second = Publishing(settings, "test"), level() | {"version": 2}
    await breaks(
        "scored",
        lambda: publishing.publish(parse(second), force=True),
        lambda: publishing.retire("level", 2),
    )
    redis.delete(keys.behind)  # as if the worker had been gone for longer: its word of how far it was counts no more
    await system.send([Sent(b"m", None)] * (BEHIND + 1))
    assert "lag" in await wrong(system)
    await ModelsLog(settings.kafka, settings.models_topic, 1).append_value(b"x", b"no step")
    assert "set_aside" in await wrong(system)
    await remove_before(system, dict(system.next_offset))
    system.start()
    held: dict[str, str] = {}
    async with asyncio.timeout(60):
        while "held" not in held:
            held = await wrong(system)
    assert "/readyz" in held["held"]
    assert seen | {"lag", "set_aside", "held"} | ELSEWHERE == {check.__name__ for check in CHECKS}
