"""A record that ends the worker each time: isolated, counted over restarts, its partition held, and set aside.

The cause is real: somebody has damaged a member's state in the changelog, so whoever handles an event of that member
runs into StateError.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from e2e.commands import memberstream
from e2e.counting import IDS, T0, Counting, counting, envelope, expected
from e2e.definitions import level
from e2e.foreign import delete_topic, remove_before
from e2e.system import Install, Pair, Place, Sent, System, event
from keys import KEYS
from recount import Shown
from servers import create_topic

from memberstream.stream.keyspace.formats import parse_beacon
from memberstream.stream.partition.skip_log import SkipLog
from memberstream.stream.partition.skips import Skip
from memberstream.stream.partition.stuck import LIMIT

N = 120
BAD = 7  # whose state is damaged


async def ended(system: System) -> None:
    """Return when the worker has ended by itself."""
    async with asyncio.timeout(60):
        while system.pid is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def damage(system: System, changelog: str, key: bytes, partition: int, value: bytes) -> None:
    """Write a value to the changelog that begins as a state and isn't one."""
    async with AIOKafkaProducer(bootstrap_servers=system.pair.broker.bootstrap) as producer:
        await producer.send_and_wait(changelog, value[:9] + b"\xc1\xc1\xc1", key, partition=partition)


async def committed(system: System, group: str, place: Place) -> int | None:
    """Return what the group has committed of the place's partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=system.pair.broker.bootstrap, group_id=group)
    await consumer.start()
    try:
        found: int | None = await consumer.committed(TopicPartition(system.settings.topic, place.partition))
        return found
    finally:
        await consumer.stop()


def held(system: System) -> dict[str, Any]:
    """Return the check `held` of /readyz, with the status of the answer."""
    connection = HTTPConnection("127.0.0.1", system.settings.metrics_port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        [check] = [check for check in json.loads(answer.read())["checks"] if check["name"] == "held"]
        return {"status": answer.status, **check}
    finally:
        connection.close()


def beacon(system: System, partition: int) -> Any:
    return parse_beacon(system.redis.hget(KEYS.beacons, partition))


def letters_of(letters: list[Any], place: Place) -> list[Any]:
    """Return the dead letters of one record."""
    origin = {"origin_partition": b"%d" % place.partition, "origin_offset": b"%d" % place.offset}
    return [letter for letter in letters if origin.items() <= dict(letter.headers).items()]


async def test_a_record_that_nobody_can_handle_is_held_and_set_aside_by_a_command(
    real_pair: Pair, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the worker twice, what comes before it applied and committed; then its partition is held, also after
    kill -9, and the other goes on. /readyz says so, with the command; that refuses other records and shows no data.
    Then the record is a dead letter, whole, and all that came behind it is applied."""
    system = await install(real_pair, [level()])
    ids = [f"m{i}" for i in range(N)]
    await system.send([Sent(m.encode(), event("replace", document={"x": -1})) for m in ids])
    system.start()
    await system.applied()
    bad, state = ids[BAD].encode(), (await system.changelog())[ids[BAD].encode()]
    system.stop()
    records = [Sent(m.encode(), event("patch", patch={"x": 1}), (("trace", b"\xff\x00"),)) for m in ids]
    places = await system.send(records)
    place = places[BAD]
    await damage(system, system.settings.changelog_topic, bad, place.partition, state)

    for times in range(1, LIMIT):
        system.start()
        await ended(system)
        where = f"partition {place.partition}, offset {place.offset}: StateError: member state: damaged bytes"
        assert f"({times} of {LIMIT} times" in system.says()
        assert where in system.says()
        assert await committed(system, system.settings.group, place) == place.offset

    def is_held() -> bool:
        found = held(system)
        command = f"`memberstream events skip {place.partition} {place.offset}` sets that record aside"
        return found["status"] == 503 and command in found.get("next", "")

    system.start()
    await system.until(is_held, "the hold")
    more = await system.send([Sent(m.encode(), event("patch", patch={"y": 2})) for m in ids if m != ids[BAD]])
    other = 1 - place.partition
    await system.until(lambda: beacon(system, other).next_offset == system.next_offset[other], "the other partition")
    assert system.metrics("memberstream_held_partitions")["stuck",] == 1
    assert system.metrics("memberstream_lag_records")[str(other),] == 0
    before = beacon(system, place.partition), beacon(system, other).written_ms
    await system.until(lambda: beacon(system, other).written_ms > before[1] + 1_500, "later beacons")
    assert beacon(system, place.partition) == before[0]
    assert before[0].next_offset == place.offset
    system.kill()
    system.start()
    await system.until(is_held, "the hold, after kill -9")

    said = await memberstream(system, "events", "skip", str(place.partition), str(place.offset + 1))
    assert said[0] == 1
    assert f"stands at offset {place.offset}: nothing fails at {place.offset + 1}" in said[2]
    assert "For good?" not in said[1] + said[2]
    said = await memberstream(system, "events", "skip", str(place.partition), "1000000", "--yes")
    assert said[0] == 1
    assert "no record at offset 1000000" in said[2]
    said = await memberstream(system, "events", "skip", str(place.partition), str(place.offset))
    assert said[0] == 1
    assert f"key: {len(bad)} bytes" in said[2]
    assert ids[BAD] not in said[1] + said[2]
    assert (await memberstream(system, "events", "skipped"))[1].startswith("no record of")
    why = ("--reason", "its state is damaged")
    said = await memberstream(
        system, "events", "skip", str(place.partition), str(place.offset), "--yes", "--show", *why
    )
    assert said[0] == 0, said
    assert f"set aside: partition {place.partition} goes on behind it" in said[1]
    assert ids[BAD] in said[2]
    await system.applied()
    await system.until(lambda: held(system)["ok"], "no hold")
    assert system.metrics("memberstream_held_partitions")["stuck",] == 0

    [letter] = letters_of(await system.dead_letters(), place)
    assert (letter.key, letter.value, tuple(letter.headers[:1])) == (bad, records[BAD].value, records[BAD].headers)
    assert dict(letter.headers)["reason"] == b"skipped"
    [step] = json.loads((await memberstream(system, "events", "skipped", "--json"))[1])
    assert (step["partition"], step["offset"], step["reason"]) == (place.partition, place.offset, why[1])
    system.stop()
    assert await committed(system, system.settings.group, place) == system.next_offset[place.partition]
    newest = await system.changelog()
    assert newest.pop(bad)[9:] == b"\xc1\xc1\xc1"
    monkeypatch.setattr(system, "changelog", lambda: _returned(newest))
    assert {m: state.document for m, state in (await system.states()).items()} == {
        m: {"x": 1, "y": 2} for m in ids if m != ids[BAD]
    }
    assert len(more) == N - 1
    assert {system.held(m)["level@1"].partition(":")[0] for m in ids if m != ids[BAD]} == {"2"}
    monkeypatch.undo()
    system.start()
    forget = ("members", "forget", ids[BAD], "--partition", str(place.partition), "--why", "damaged", "--yes")
    said = await memberstream(system, *forget)
    assert said[0] == 0, said
    system.next_offset[place.partition] += 1
    await system.send([Sent(bad, event("replace", document={"x": 1}))])
    await system.applied()
    assert (await system.states())[ids[BAD]].document == {"x": 1}
    assert system.held(ids[BAD])["level@1"].partition(":")[0] == "2"


async def test_what_a_failed_batch_has_written_is_taken_back(real_pair: Pair, install: Install) -> None:
    """A key in Redis that isn't ours fails the batch when the changelog has it already. The record alone is held and
    set aside; the changelog says of its member what the state does, and the next owner finds nothing stale there."""
    system = await install(real_pair, [level()])
    ids = [f"m{i}" for i in range(N)]
    await system.send([Sent(m.encode(), event("replace", document={"x": -1})) for m in ids])
    system.start()
    await system.applied()
    row = KEYS.member(ids[BAD].encode())
    system.redis.delete(row)
    system.redis.rpush(row, "a list")
    place = (await system.send([Sent(m.encode(), event("patch", patch={"x": 1})) for m in ids]))[BAD]
    for _ in range(LIMIT - 1):
        await ended(system)
        system.start()
    await system.until(lambda: held(system)["status"] == 503 and not held(system)["ok"], "the hold")
    assert f"at offset {place.offset} can't be handled, tried {LIMIT} times: RedisFault" in held(system)["problem"]
    said = await memberstream(system, "events", "skip", str(place.partition), str(place.offset), "--yes")
    assert said[0] == 0, said
    await system.applied()
    expected = {m: {"x": -1 if m == ids[BAD] else 1} for m in ids}
    assert {m: state.document for m, state in (await system.states()).items()} == expected
    assert len(letters_of(await system.dead_letters(), place)) == 1
    system.redis.delete(row)
    system.kill()
    system.lose_disk()
    system.start()
    await system.send([Sent(m.encode(), event("patch", patch={"y": 1})) for m in ids])
    await system.applied()
    assert {m: state.document for m, state in (await system.states()).items()} == {
        m: {**document, "y": 1} for m, document in expected.items()
    }
    assert "stale records" not in system.says()
    assert {system.held(m)["level@1"].partition(":")[0] for m in ids if m != ids[BAD]} == {"2"}
    assert system.held(ids[BAD])["level@1"].partition(":")[0] == "1"


@pytest.mark.long
async def test_what_is_named_can_be_done_also_when_topics_have_changed_meanwhile(
    real_pair: Pair, install: Install
) -> None:
    """The log of skips is deleted and made anew while a record is held: the step in the new one counts, whatever its
    offset. The next such record is removed by retention: the hold becomes the gap that it is; no command sets aside
    another record in its place."""
    system = await install(real_pair, [level()], n_partitions=1)
    ids = [f"m{i}" for i in range(20)]
    await system.send([Sent(m.encode(), event("replace", document={"x": -1})) for m in ids])
    system.start()
    await system.applied()
    for offset in ("0", "1"):  # the log that will be deleted is the longer one
        assert (await memberstream(system, "events", "skip", "0", offset, "--yes", "--force"))[0] == 0

    async def hold() -> Place:
        system.redis.delete(row := KEYS.member(ids[BAD].encode()))
        system.redis.rpush(row, "a list")
        place = (await system.send([Sent(m.encode(), event("patch", patch={"x": 1})) for m in ids]))[BAD]
        for _ in range(LIMIT - 1):
            await ended(system)
            system.start()
        await system.until(lambda: f"at offset {place.offset} can't" in held(system).get("problem", ""), "the hold")
        return place

    place = await hold()
    await delete_topic(system, system.settings.skips_topic)
    await create_topic(system.pair.broker.bootstrap, system.settings.skips_topic, partitions=1)
    said = await memberstream(system, "events", "skip", "0", str(place.offset), "--yes")
    assert said[0] == 0, said
    assert "set aside: partition 0 goes on behind it" in said[1]
    await system.applied()
    assert len(letters_of(await system.dead_letters(), place)) == 1

    place = await hold()
    await remove_before(system, {0: place.offset + 2})
    gone = f"offsets {place.offset} to {place.offset + 1} of {system.settings.topic}, partition 0, are gone"
    await system.until(lambda: gone in held(system).get("problem", ""), "the gap")
    said = await memberstream(system, "events", "skip", "0", str(place.offset), "--yes", "--force")
    assert said[0] == 1
    assert f"offset {place.offset} was removed from the topic" in said[2]
    said = await memberstream(system, "events", "skip", "0", str(place.offset + 2), "--yes")
    assert said[0] == 1
    assert f"stands at offset {place.offset}: nothing fails at {place.offset + 2}" in said[2]


async def test_a_log_of_skips_made_anew_is_told_by_its_id(real_pair: Pair, install: Install) -> None:
    """Whoever follows it finds as many steps in the new one as in the old, and reads all of them."""
    system = await install(real_pair, [])
    kafka, topic = system.settings.kafka, system.settings.skips_topic

    async def append(*offsets: int) -> None:
        await SkipLog(kafka, topic, 1).create()
        for offset in offsets:
            skip = Skip(topic="docs", topic_id="", partition=0, offset=offset, at_ms=1, actor="me")
            await SkipLog(kafka, topic, 1).append(skip)

    async def knows(*offsets: int) -> None:
        async with asyncio.timeout(60):
            while [step.offset for step in log.skips.steps.values()] != [*offsets]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    log = SkipLog(kafka, topic, 1)
    await append(1, 2)
    await log.read()
    following = asyncio.create_task(log.follow(lambda: None))
    await append(3)
    await knows(1, 2, 3)
    await delete_topic(system, topic)
    await append(7, 8, 9)
    await knows(7, 8, 9)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def _returned(value: Any) -> Any:
    return value


@pytest.fixture
async def interactions(real_pair: Pair, install: Install) -> AsyncIterator[Counting]:
    """Apache Kafka and redis-server."""
    made = await counting(real_pair, install)
    yield made
    await made.close()


async def test_an_interaction_that_nobody_can_count_is_set_aside_while_no_worker_runs(interactions: Counting) -> None:
    """The worker has ended once; the command finds where it stood, and the next worker reads of it before it counts
    anything. A record that hasn't been counted yet is set aside only when forced. All others are counted."""
    system = interactions
    ids = IDS[:N]

    def some(kind: str, at_ms: int, members: list[str]) -> list[Shown]:
        return [Shown(m, kind, f"{kind}-{m}", at_ms, "for-all") for m in members]

    shown, clicked, bought = some("impression", T0, ids), some("click", T0 + 1, ids), some("purchase", T0 + 2, ids)
    await system.send([Sent(one.member.encode(), envelope(one)) for one in shown])
    system.start()
    await system.applied()
    bad, state = ids[BAD].encode(), (await system.changelog())[ids[BAD].encode()]
    system.stop()
    place = (await system.send([Sent(one.member.encode(), envelope(one)) for one in clicked]))[BAD]
    changelog = f"{system.settings.interaction_group}-state-changelog"
    await damage(system, changelog, bad, place.partition, state)
    system.start()
    await ended(system)
    assert f"partition {place.partition}, offset {place.offset}: StateError: a member's interactions" in system.says()
    skip = ("events", "skip", "--interactions", "--yes")
    said = await memberstream(system, *skip, str(place.partition), str(place.offset), "--timeout-s", "1")
    assert said[0] == 0, said
    assert "hasn't passed it within" in said[1]
    bought = [one for one in bought if one.member != ids[BAD]]
    ahead = (await system.send([Sent(one.member.encode(), envelope(one)) for one in bought]))[-1]
    assert (await memberstream(system, *skip, str(ahead.partition), str(ahead.offset)))[0] == 1
    said = await memberstream(system, *skip, str(ahead.partition), str(ahead.offset), "--force")
    assert said[0] == 0, said
    system.start()
    await system.applied()
    assert held(system)["ok"]
    counted = [*shown, *[one for one in clicked if one.member != ids[BAD]], *bought[:-1]]
    assert system.counts() == expected(counted, system.n_partitions)
    letters = await system.read(system.settings.interaction_dead_letter_topic)
    assert sorted((dict(x.headers)["reason"], x.key) for x in letters) == sorted(
        [(b"skipped", bad), (b"skipped", bought[-1].member.encode())]
    )
