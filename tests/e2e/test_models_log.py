"""The models' log hurt: records that aren't steps, and the log itself gone, under running workers and stopped ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Producer
from core.test_registry import MISSHAPEN
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from e2e.test_every_command import documented
from e2e.test_health import health, wrong
from keys import KEYS

#: A record's key may be anything, and its headers, too.
SOME_KEYS = (None, b"", b"\xff\xfe", b"publish/level@1/0123456789abcdef" * 100)


def spoil(system: System) -> int:
    """Write to the models' log what isn't a step, as anybody's producer could; returns how many records."""
    producer = Producer({"bootstrap.servers": system.pair.broker.bootstrap, "message.max.bytes": 9_000_000})
    values = [*MISSHAPEN, b"{" * 2_000_000]
    for i, value in enumerate(values):
        key, headers = SOME_KEYS[i % len(SOME_KEYS)], list[Any]([("x", None), ("x", b"\xff")])
        producer.produce(system.settings.models_topic, value, key or b"k", headers=headers, partition=0)
    assert producer.flush(30) == 0
    return len(values)


async def delete(system: System, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=system.pair.broker.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


def clusters(system: System, member: str) -> dict[str, str]:
    """Return field → cluster, of what Redis holds of a member."""
    return {name: value.split(":")[0] for name, value in system.held(member).items() if name != "pos"}


@pytest.mark.kafka
@pytest.mark.redis_server
async def test_records_that_arent_steps_are_set_aside(real_pair: Pair, install: Install) -> None:
    """Each kind of them, while a worker runs and before it starts: it lives, names them by offset and reason, in log,
    metric and `model list`, and the steps behind them count."""
    system = await install(real_pair, [level()])
    n = spoil(system)
    system.start()
    await system.until(lambda: health(system)[0] == 200, "ready")
    n += spoil(system)
    await system.publish(level(version=2, threshold=0.9))
    await system.until(lambda: sum(system.metrics("memberstream_model_info").values()) == 2, "the second version")
    assert system.metrics("memberstream_models_log_set_aside_records") == {(): n}
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    await system.applied()
    status, shown, said = await memberstream(system, "model", "list")
    assert (status, "level@2" in shown) == (0, True)
    assert f"{n} records are set aside" in said
    assert "offset " in said
    assert "the models' log, offset 2: set aside" in system.says()
    for words in (["model", "history", "level"], ["campaign", "list"], ["model", "live-at", "level", "2100-01-01"]):
        assert (await memberstream(system, *words))[0] == 0


@pytest.mark.kafka
@pytest.mark.redis_server
async def test_a_models_log_that_is_lost_takes_no_models_away(
    real_pair: Pair, install: Install, tmp_path: Path
) -> None:
    """Deleted under a running worker: that says so and goes on by the models it has. One that starts then takes no
    partition, with Redis as it was, also where Redis was emptied and only the state knows. Begun anew, with the models
    published again, the log counts once it is complete, and every member is right."""
    system = await install(real_pair, [level(), level(name="other")])
    system.start()
    await system.send([Sent(b"a", event("replace", document={"x": 1}))])
    await system.applied()
    assert set(clusters(system, "a").values()) == {"2"}
    await system.until(lambda: b"0:" not in b" ".join(system.redis.hvals(b"ms:{meta}:scored")), "the mark")
    rows, live, known = system.held("a"), system.redis.hgetall(KEYS.live), int(system.redis.get(KEYS.known))

    await delete(system, system.settings.models_topic)
    await system.until(lambda: wrong(system) == {"models_log"}, "the loss named")
    await system.send([Sent(b"b", event("replace", document={"x": 1}))])
    await system.applied()
    assert set(clusters(system, "b").values()) == {"2"}
    assert (system.redis.hgetall(KEYS.live), int(system.redis.get(KEYS.known))) == (live, known)
    assert "THE MODELS' LOG IS LOST" in system.says()
    system.stop()

    for is_redis_emptied in (False, True):
        if is_redis_emptied:
            system.stop()
            system.redis.flushall()
        system.start()
        await system.until(lambda: "models_log" in wrong(system), "the loss named by a worker that starts")
        # Readers know of the last step, a promotion; a state of the last that changed what is scored.
        assert f"step {known - is_redis_emptied} is known" in health(system)[1]["models_log"]["problem"]
        if not is_redis_emptied:
            assert system.held("a") == rows
            assert system.redis.hgetall(KEYS.live) == live

    status, said, why = await memberstream(system, "model", "restart-log", "--yes", "--known", str(known - 1), "--json")
    assert status == 0, why
    assert orjson.loads(said).keys() == documented()["model restart-log"]
    path = tmp_path / "model.json"
    for name in ("level", "other"):
        path.write_bytes(orjson.dumps(level(name=name, threshold=0.5)))
        status, _, why = await memberstream(system, "model", "publish", str(path), "--promote", "--force")
        assert status == 0, why
        assert "models_log" in wrong(system)
    status, said, why = await memberstream(system, "model", "complete-log", "--yes", "--json")
    assert (status, why) == (0, "")
    assert orjson.loads(said).keys() == documented()["model complete-log"]
    await system.until(lambda: health(system)[0] == 200, "ready")
    await system.send([Sent(b"c", event("replace", document={"x": -1}))])
    await system.applied()
    assert system.redis.hgetall(KEYS.live) == live
    assert [set(clusters(system, member).values()) for member in "abc"] == [{"2"}, {"2"}, {"1"}]
    assert (await memberstream(system, "model", "restart-log", "--yes"))[0] == 1, "nothing is lost"
