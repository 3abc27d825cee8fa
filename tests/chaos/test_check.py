"""The check that the other tests here rely on: it passes what is right, and finds each kind of damage."""

from __future__ import annotations

import re
from typing import Any

import pytest
from chaos.check import check, check_disk, on_disk, read_whole
from chaos.conftest import CrewOn
from chaos.load import Load, models
from e2e.system import Pair, Sent, System
from keys import KEYS
from servers import Broker, RedisServer

from memberstream.models.member import decode, encode
from memberstream.models.timestamps import FOREVER
from memberstream.stream.keyspace.formats import is_tombstone

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]


async def test_the_check_finds_each_kind_of_damage(
    apache_kafka: Broker, redis_server: RedisServer, crew_on: CrewOn
) -> None:
    """A wrong cluster, position, beacon, absence or stranger in Redis; a lost update, a bit of x or a survivor of a
    delete in the changelog; a missing, superfluous or cut dead letter; a disk behind the changelog."""
    crew = await crew_on(Pair(apache_kafka, redis_server), models(), n_partitions=1)
    system, load = crew.system, Load(5, 60)
    worker = crew.hire()
    worker.start()
    for records in (load.everyone(), load.some(200)):  # two batches, so that the changelog has older values
        await system.send(records)
        await crew.applied()
    worker.stop()  # it would put Redis' beacons right
    assert (await check(system)).dead_letters > 0
    await check_disk(system, worker.data_dir)

    changelog = await read_whole(system, system.settings.changelog_topic)
    last = {record.key: record.value for record in changelog}
    earlier = {r.key: r.value for r in reversed(changelog) if r.value != last[r.key]}
    living, gone = living_and_gone(system)
    member_id = next(m for m in sorted(living) if earlier.get(m) and decode(last[m]).valid_until_ms < FOREVER)
    key, held = KEYS.member(member_id), system.redis.get(KEYS.member(member_id))
    await redis_damage(system, member_id, "cluster of level@1", re.sub(rb"\|level@1=\d+:", b"|level@1=9:", held))
    await redis_damage(system, member_id, "position", b"0:0:0:1:|" + held.partition(b"|")[2])
    await redis_damage(system, gone[0], "no tombstone", b"0:0:1:1:|level@1=1:1")
    await redis_damage(system, b"stranger", "whom no event named", b"0:0:1:1:")
    system.redis.delete(key)
    await finds(system, "absent")
    system.redis.set(key, held)
    beacon = system.redis.hget(KEYS.beacons, "0")
    system.redis.hset(KEYS.beacons, "0", b"7:1:1")
    await finds(system, "beacon of partition 0")
    system.redis.hset(KEYS.beacons, "0", beacon)
    await check(system)

    older = earlier[member_id]
    other = decode(last[member_id])
    part, row = next(iter(other.rows.items()))
    other.rows[part] = bytes([row[0] ^ 1]) + row[1:]
    await changelog_damage(system, member_id, last[member_id], older, "changelog.*: position; ")
    await changelog_damage(system, member_id, last[member_id], encode(other, 0), ": rows;")
    for by_ms in (-1, 1):
        early_or_late = decode(last[member_id])
        early_or_late.valid_until_ms += by_ms
        await changelog_damage(system, member_id, last[member_id], encode(early_or_late, 0), ": valid_until;")
    await changelog_damage(system, gone[0], last[gone[0]], older, "position" if last[gone[0]] else "not forgotten")
    await changelog_damage(system, b"stranger", None, older, "whom no event named")
    disk = on_disk(worker.data_dir, 0)
    await write(system, system.settings.changelog_topic, member_id, older)
    assert disk[member_id] == last[member_id]
    with pytest.raises(AssertionError, match="RocksDB"):
        await check_disk(system, worker.data_dir)
    await write(system, system.settings.changelog_topic, member_id, last[member_id])
    await check(system)

    letter = (await read_whole(system, system.settings.dead_letter_topic))[0]
    dead = system.settings.dead_letter_topic
    await write(system, dead, letter.key, letter.value, letter.headers)  # a repeat is right
    await check(system)
    system.set(topic_epoch=1)
    await finds(system, "epoch or partition")
    system.set(topic_epoch=0)
    await write(system, dead, letter.key, b"cut", letter.headers)
    await finds(system, "isn't whole")
    await system.send([Sent(load.member_ids[0], b"{")])  # nobody is there to refuse it
    await finds(system, "no dead letter")


def living_and_gone(system: System) -> tuple[list[bytes], list[bytes]]:
    """Return the ids of members that Redis holds with clusters, and of those that have a tombstone there."""
    living, gone = list[Any](), list[Any]()
    for key in system.redis.scan_iter("ms:member:*"):
        (gone if is_tombstone(system.redis.get(key)) else living).append(key.removeprefix(b"ms:member:"))
    return living, gone


async def finds(system: System, what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        await check(system)


async def redis_damage(system: System, member_id: bytes, what: str, row: bytes) -> None:
    """Write a row, see the check find it, put it right."""
    key = KEYS.member(member_id)
    held = system.redis.get(key)
    system.redis.set(key, row)
    await finds(system, what)
    system.redis.delete(key)
    if held:
        system.redis.set(key, held)


async def changelog_damage(system: System, key: bytes, right: bytes | None, wrong: bytes, what: str) -> None:
    """Write a value behind all others, see the check find it, put it right."""
    topic = system.settings.changelog_topic
    await write(system, topic, key, wrong)
    await finds(system, what)
    await write(system, topic, key, right)


async def write(
    system: System, topic: str, key: bytes, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()
) -> None:
    producer = await system._started_producer()
    await producer.send_and_wait(topic, value, key=key, headers=list(headers), partition=0)
