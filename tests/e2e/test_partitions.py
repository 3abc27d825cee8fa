"""Members and partitions: producers that choose other ones than the setting says; what an earlier version took in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson
from confluent_kafka import Producer
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from e2e.test_bad_input import origin

from memberstream.models.placement import Placement
from memberstream.stream.files.history import topic_history

N = 3  # partitions
MURMUR, CRC = Placement("murmur2", N), Placement("crc32", N)
MEMBERS = [b"member-%d" % i for i in range(120)]


def send_by_librdkafka(system: System, records: Iterable[tuple[bytes, bytes | None]], **options: Any) -> None:
    """Send as librdkafka does by default: the partition is the key's CRC-32."""
    producer = Producer({"bootstrap.servers": system.pair.broker.bootstrap, **options})

    def acked(error: Any, message: Any) -> None:
        assert error is None
        partition, offset = message.partition(), message.offset()
        system.next_offset[partition] = max(system.next_offset[partition], offset + 1)

    for key, value in records:
        producer.produce(system.settings.topic, value, key, on_delivery=acked)
    producer.flush()


def setting(x: int) -> bytes:
    return event("replace", document={"x": x})


async def test_a_producer_with_another_partitioner_is_found_out_before_anything_happens(
    real_pair: Pair, install: Install
) -> None:
    """Half of the members are known, by a producer like Java's; librdkafka then sends new values of known ones and
    unknown ones. What lies in a wrong partition is a dead letter, counted; all else is applied, the worker lives, also
    through a replay from a lost disk. Under `crc32` the same producer is right."""
    system = await install(real_pair, [level()], n_partitions=N)
    known, unknown = MEMBERS[:60], MEMBERS[60:]
    system.start()
    await system.send([Sent(key, setting(0)) for key in known])
    await system.applied()
    send_by_librdkafka(system, [(key, setting(1)) for key in known + unknown])
    send_by_librdkafka(system, [(unknown[0], None), (unknown[1], None)])
    await system.applied()
    wrong = {key for key in MEMBERS if MURMUR.partition_of(key) != CRC.partition_of(key)}
    assert 60 < len(wrong) < 110

    async def check() -> None:
        letters = await system.dead_letters()
        deleted = [key for key in unknown[:2] if key in wrong]
        assert sorted(letter.key for letter in letters) == sorted([*wrong, *deleted])
        assert {dict(letter.headers)["reason"] for letter in letters} == {b"wrong_partition"}
        assert all(origin(letter)[0] == CRC.partition_of(letter.key) for letter in letters)
        for key in MEMBERS:
            held = system.held(key.decode())
            if key in wrong and key in unknown:
                assert held == {}
            elif key in wrong:
                assert held["level@1"].startswith("1:")
            elif key not in unknown[:2]:
                assert held["level@1"].startswith("2:")

    await check()
    n = system.metrics("memberstream_dead_letters_total")[("wrong_partition",)]
    assert n == len(await system.dead_letters())
    assert system.metrics("memberstream_redis_foreign_writes_total") == {(): 0}
    history = await topic_history(
        system.settings.kafka, system.settings.topic, set(MEMBERS), "murmur2", may_be_json=False
    )
    assert len(history.problems) == n
    assert len(list(history.records)) == 60 + 120 + 2 - n
    system.kill()
    system.lose_disk()
    system.redis.flushall()
    system.start()
    await system.applied()
    await check()
    system.stop()

    other = await install(real_pair, [level()], n_partitions=N)
    other.set(partitioner="crc32")
    other.start()
    send_by_librdkafka(other, [(key, setting(1)) for key in MEMBERS])
    await other.applied()
    assert await other.dead_letters() == []
    assert all(other.held(key.decode())["level@1"].startswith("2:") for key in MEMBERS)
    status, output, problem = await memberstream(other, "explain", MEMBERS[0].decode(), "level", "--json")
    assert status == 0, problem
    assert orjson.loads(output)["explanation"]["cluster"]["id"] == 2
    file = other.directory / "events.ndjson"
    file.write_bytes(
        b"".join(orjson.dumps({"op": "patch", "patch": {"x": 0}, "member_id": key.decode()}) + b"\n" for key in MEMBERS)
    )
    status, _, problem = await memberstream(other, "events", "send", str(file))
    assert status == 0, problem
    await other.until(lambda: other.held(MEMBERS[7].decode())["level@1"].startswith("1:"), "the command's events")
    assert await other.dead_letters() == []
    other.stop()
    other.set(partitioner="murmur2")  # who changes it by mistake, or upgrades without having set it
    other.start()
    await other.until(
        lambda: "MEMBERSTREAM_PARTITIONER=crc32 on all workers" in other.says(), "the setting to be named"
    )
    assert await other.dead_letters() == []


async def test_what_an_earlier_version_took_in_is_served_told_and_cleaned_up(real_pair: Pair, install: Install) -> None:
    """A worker that checks nothing, as earlier ones, has members in two partitions, and others only in a wrong one. It
    lives, Redis takes each from one partition, the rest is counted; so is a rebuild. `members misplaced` names them,
    `members forget` leaves state, changelog and Redis as if they had never come there."""
    system = await install(real_pair, [level()], n_partitions=N)
    system.set(partitioner="any")
    wrong = [key for key in MEMBERS if MURMUR.partition_of(key) != CRC.partition_of(key)]
    first_right, first_wrong, only_wrong = wrong[:5], wrong[5:10], wrong[10:12]
    settled = [key for key in MEMBERS if key not in wrong]
    more = [b"more-%d" % i for i in range(300)]  # so that those in wrong partitions are few
    system.start()
    await system.send([Sent(key, setting(0)) for key in settled + first_right + more])
    await system.applied()
    send_by_librdkafka(system, [(key, setting(1)) for key in first_right + first_wrong + only_wrong])
    await system.applied()
    await system.send([Sent(key, setting(0)) for key in first_wrong])
    await system.applied()
    assert system.metrics("memberstream_redis_foreign_writes_total") == {(): 10}
    assert all(system.held(k.decode())["level@1"].startswith("1:") for k in first_right)
    assert all(system.held(k.decode())["level@1"].startswith("2:") for k in first_wrong)  # wrong, and told

    status, _, problem = await memberstream(system, "explain", only_wrong[0].decode(), "level")
    assert status == 0, problem  # found wherever it lies
    system.stop()
    system.set(partitioner="murmur2")
    system.redis.flushall()
    system.start()
    await system.applied()  # a rebuild, with two workers' worth of members under one name
    await system.send([Sent(key, event("patch", patch={"x": 0})) for key in first_right + first_wrong])
    send_by_librdkafka(system, [(only_wrong[0], event("patch", patch={"x": 0}))])  # served where it is
    await system.applied()
    assert system.held(only_wrong[0].decode())["level@1"].startswith("1:")
    assert await system.dead_letters() == []

    status, output, _ = await memberstream(system, "members", "misplaced", "--json")
    named = {(one["member_id"].encode(), one["partition"], one["own"]) for one in orjson.loads(output)["misplaced"]}
    assert status == 1
    assert named == {(k, CRC.partition_of(k), MURMUR.partition_of(k)) for k in first_right + first_wrong + only_wrong}
    one = first_wrong[0]
    where = str(CRC.partition_of(one))
    status, output, problem = await memberstream(
        system, "members", "forget", one.decode(), "--partition", where, "--why", "a test", "--yes"
    )
    assert status == 0, problem
    assert system.held(one.decode())["level@1"].startswith("1:")
    assert system.held(one.decode())["pos"].split(":")[1] == str(MURMUR.partition_of(one))
    status, output, problem = await memberstream(
        system, "members", "forget", one.decode(), "--partition", where, "--yes"
    )  # it is gone from there
    assert (status, output) == (0, "dropped: nothing; their own partitions have written what they hold\n")
    assert f"partition {where} holds nothing of {one.decode()}" in problem
    status, output, problem = await memberstream(system, "members", "forget", "--misplaced", "--yes")
    assert status == 0, problem
    assert sum(int(n) for n in re.findall(r"(\d+) of partition", output)) == len(named) - 1
    status, output, _ = await memberstream(system, "members", "misplaced")
    assert (status, output.splitlines()[-1]) == (0, "0 members lie in a wrong partition")

    async def check() -> None:
        states = await system.read(system.settings.changelog_topic)
        newest = {(r.partition, r.key): r.value for r in states}
        left = {(p, key) for (p, key), value in newest.items() if value is not None and not key.startswith(b"\0")}
        assert left == {(MURMUR.partition_of(k), k) for k in settled + first_right + first_wrong + more}
        for key in first_right + first_wrong:
            held = system.held(key.decode())
            assert held["level@1"].startswith("1:")
            assert held["pos"].split(":")[1] == str(MURMUR.partition_of(key))
        assert [system.held(key.decode()) for key in only_wrong] == [{}, {}]

    await check()
    await system.send([Sent(key, setting(0)) for key in only_wrong])
    await system.applied()
    assert all(system.held(k.decode())["level@1"].startswith("1:") for k in only_wrong)
    assert await system.dead_letters() == []
