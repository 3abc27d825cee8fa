"""`memberstream doctor` of a real installation: sound, then with what it is asked for most often."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, event
from e2e.test_health import health
from servers import unique


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
