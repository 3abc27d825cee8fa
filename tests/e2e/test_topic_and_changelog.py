"""The two topics of a worker when somebody else touches them: the input made anew, stale records in the changelog."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from e2e.definitions import demo_models
from e2e.system import Install, Pair, Sent, System, event
from servers import create_topic

from memberstream.models.member import decode
from memberstream.models.member import encode as encode_member
from memberstream.models.position import position_of
from memberstream.stream.partition.write_position import deletion_headers


def documents(first: int, n: int, **fields: Any) -> list[Sent]:
    """Replace events of members first … first + n - 1."""
    return [Sent(b"m%d" % i, event("replace", document={"n": i, **fields})) for i in range(first, first + n)]


async def make_anew(system: System, n_records: int) -> list[Sent]:
    """Delete the input topic and create it again, with `n_records` records of the members m0 …"""
    admin = AIOKafkaAdminClient(bootstrap_servers=system.pair.broker.bootstrap)
    await admin.start()
    await admin.delete_topics([system.settings.topic])
    while system.settings.topic in await admin.list_topics():  # noqa: ASYNC110 - brokers announce nothing
        await asyncio.sleep(0.1)
    await admin.close()
    await create_topic(system.pair.broker.bootstrap, system.settings.topic, partitions=system.n_partitions)
    system.next_offset = dict.fromkeys(range(system.n_partitions), 0)
    records = documents(0, n_records, made="anew")
    await system.send(records)
    return records


async def ended(system: System) -> None:
    """Return when the worker has ended by itself."""
    async with asyncio.timeout(60):
        while system.pid is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def check_made_anew(system: System, new: int, old: int) -> None:
    """The members of the new topic have its documents, the others kept theirs; Redis holds the new epoch."""
    members = [f"m{i}" for i in range(new)]
    await system.until(  # beacons can't tell: those of the old epoch were further
        lambda: {p.epoch for p in system.positions(members).values()} == {1} and system.is_applied(), "the new epoch"
    )
    states = await system.states()
    assert {m: state.document for m, state in states.items()} == {
        f"m{i}": {"n": i, "made": "anew"} if i < new else {"n": i} for i in range(max(new, old))
    }
    positions = system.positions(list(states))
    assert {m: position.epoch for m, position in positions.items()} == {
        f"m{i}": int(i < new) for i in range(max(new, old))
    }


async def test_a_topic_made_anew_stops_a_running_worker_and_goes_on_under_a_higher_epoch(
    real_pair: Pair, install: Install
) -> None:
    """Fewer records than before: all have offsets that were applied already, and none is dropped as a replay."""
    system = await install(real_pair, demo_models())
    await system.send(documents(0, 300))
    system.start()
    await system.applied()
    await make_anew(system, 40)
    await ended(system)
    assert "Next: docs/operations.md" in system.says()
    system.start()  # a supervisor would: it must not run with the old epoch
    await ended(system)
    system.set(topic_epoch=1)
    system.start()
    await check_made_anew(system, new=40, old=300)
    system.stop()
    system.set(topic_epoch=0)
    system.start()
    await ended(system)
    assert "MEMBERSTREAM_TOPIC_EPOCH to 1 on all workers" in system.says()


async def test_a_longer_topic_made_anew_behind_a_stopped_worker_is_noticed_by_its_id(
    real_pair: Pair, install: Install
) -> None:
    """More records than before: no offset looks wrong, only the topic's id tells."""
    system = await install(real_pair, demo_models())
    await system.send(documents(0, 40))
    system.start()
    await system.applied()
    system.stop()
    await make_anew(system, 300)
    system.start()
    await ended(system)
    assert "deleted and created again since its state was made" in system.says()
    assert all(state.document == {"n": int(m[1:])} for m, state in (await system.states()).items())
    system.set(topic_epoch=1)
    system.start()
    await check_made_anew(system, new=300, old=40)


async def test_an_epoch_raised_without_a_new_topic_is_refused(real_pair: Pair, install: Install) -> None:
    """It would replay the whole topic onto newer documents."""
    system = await install(real_pair, demo_models())
    await system.send(documents(0, 10))
    system.start()
    await system.applied()
    system.stop()
    system.set(topic_epoch=1)
    system.start()
    await ended(system)
    assert "set MEMBERSTREAM_TOPIC_EPOCH back to 0" in system.says()


async def test_stale_records_of_every_kind_are_refused_and_put_right(real_pair: Pair, install: Install) -> None:
    """A former owner's late writes: an old document, a member deleted since, a deletion of a member created since. The
    owner stops at its next write; with its disk lost, all three are refused by what the changelog says alone."""
    system = await install(real_pair, demo_models(), n_partitions=1)
    changed, deleted, created = b"m0", b"m1", b"m2"
    await system.send([*documents(0, 2), Sent(created, None)])
    system.start()
    await system.applied()
    old = await system.changelog()
    await system.send(
        [
            *documents(0, 1, now="changed"),
            Sent(deleted, None),
            *documents(2, 1),
            *documents(3, 50),
        ]
    )
    await system.applied()
    right = {m: state.document for m, state in (await system.states()).items()}
    assert deleted.decode() not in right

    late = position_of(0, 2)  # how far the stale worker was
    producer = AIOKafkaProducer(bootstrap_servers=real_pair.broker.bootstrap)
    await producer.start()
    for key in (changed, deleted):
        value = encode_member(decode(old[key]), late)
        await producer.send_and_wait(system.settings.changelog_topic, value, key=key, partition=0)
    headers = deletion_headers(late)
    await producer.send_and_wait(system.settings.changelog_topic, None, key=created, partition=0, headers=headers)
    await producer.stop()
    assert {m: state.document for m, state in (await system.states()).items()} != right

    await system.send(documents(60, 1))
    await ended(system)
    assert "ForeignWrite" in system.says()
    system.lose_disk()
    system.start()
    await system.applied()
    assert "3 stale records of a former owner in the changelog, put right" in system.says()
    right["m60"] = {"n": 60}
    assert {m: state.document for m, state in (await system.states()).items()} == right
    assert system.held("m1")["pos"].endswith(":gone")
    assert {m for m in right if system.held(m).get("pos", ":gone").endswith(":gone")} == set()
