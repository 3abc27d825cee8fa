"""docs/disaster.md, run as an operator would: Kafka and worker end by kill -9, a snapshot comes back elsewhere."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from broker import ApacheKafka
from documents import run
from e2e.definitions import level, recent
from e2e.system import Install, Pair, Sent, System, event
from servers import Broker, RedisServer

from memberstream.models.member import decode
from memberstream.models.position import split_position
from memberstream.stream.authoring.snapshots import Snapshots
from memberstream.stream.files.snapshot import read_manifest, read_partition
from memberstream.stream.tasks.meter import unwatched

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/disaster.md"
N_PARTITIONS, N_MEMBERS = 4, 1_000


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Kafka's own command for topics, as far as the page needs it; it costs no Java here."""
    directory = tmp_path / "tools"
    directory.mkdir()
    tool = directory / "kafka-topics.sh"
    code = "import asyncio, sys; from servers import create_topic; a = sys.argv"
    code += "; asyncio.run(create_topic(a[2], a[5], partitions=int(a[7])))"
    paths = os.pathsep.join(path for path in sys.path if path)
    tool.write_text(f'#!/bin/sh\nPYTHONPATH="{paths}" exec {sys.executable} -c \'{code}\' "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    return directory


@pytest.fixture
def new_kafka(tmp_path: Path) -> Iterator[ApacheKafka]:
    """The broker of afterwards, not started."""
    server = ApacheKafka(tmp_path / "new-kafka")
    yield server
    server.stop()


class Disaster:
    """The other terminals of the page: what they start, and what goes on meanwhile."""

    def __init__(self, system: System, old: ApacheKafka, new: ApacheKafka) -> None:
        self._system, self._old, self._new = system, old, new
        self._loop = asyncio.get_running_loop()
        self.sent: dict[tuple[int, int], tuple[str, int]] = {}  # (partition, offset) → member, its x
        self._is_over = False

    async def keep_sending(self) -> None:
        """Replace members' documents again and again, each time by another number, until Kafka is to go."""
        number = 0
        while not self._is_over:
            names = [f"m{(number + i) * 7 % N_MEMBERS}" for i in range(50)]
            values = range(number, number + 50)
            records = [
                Sent(name.encode(), event("replace", document={"x": x})) for name, x in zip(names, values, strict=True)
            ]
            places = await self._system.send(records)
            for place, name, x in zip(places, names, values, strict=True):
                self.sent[place.partition, place.offset] = name, x
            number += 50
            await asyncio.sleep(0.02)

    def terminal(self, command: str) -> Mapping[str, str]:
        """Do what another terminal would; called in the thread that runs the page."""
        return asyncio.run_coroutine_threadsafe(self._open(command), self._loop).result(120)

    async def _open(self, command: str) -> Mapping[str, str]:
        system = self._system
        if command.startswith("kafka-server-start.sh"):
            self._is_over = True
            await self.sending
            await system.close_producer()
            system.kill()
            self._old.kill()
            await asyncio.to_thread(self._new.start)
            system.pair = Pair(Broker("apache", self._new.bootstrap), system.pair.store)
            system.set(kafka_bootstrap=(self._new.bootstrap,))
            system.next_offset = dict.fromkeys(range(N_PARTITIONS), 0)
            return {"MEMBERSTREAM_KAFKA_BOOTSTRAP": self._new.bootstrap}
        assert command == "MEMBERSTREAM_TOPIC_EPOCH=1 memberstream worker"
        assert not system.settings.data_dir.exists()
        system.set(topic_epoch=1)
        system.start()
        return {}

    def start_sending(self) -> None:
        self.sending = asyncio.create_task(self.keep_sending())


async def test_the_page(
    tmp_path: Path,
    tools: Path,
    own_kafka: ApacheKafka,
    new_kafka: ApacheKafka,
    redis_server: RedisServer,
    install: Install,
) -> None:
    """After the page each member is where the snapshot has it, in state and in Redis, and that is what the events up to
    its position make. Members that the new topic names go on from there. About 40 s."""
    here = tmp_path / "page"
    (here / "models").mkdir(parents=True)
    (here / "models/level.json").write_bytes(orjson.dumps(level()))
    # The second model isn't published again: so the new models' log is shorter than the one that the states know.
    pair = Pair(Broker("apache", own_kafka.bootstrap), redis_server)
    system = await install(pair, [level(), recent()], n_partitions=N_PARTITIONS)
    disaster = Disaster(system, own_kafka, new_kafka)
    disaster.start_sending()
    system.start()
    await system.until(lambda: len(disaster.sent) > 3_000 and len(system.positions(members())) > 900, "members")
    environment = {k: v for k, v in system.environment().items() if k.startswith("MEMBERSTREAM_")}
    del environment["MEMBERSTREAM_TOPIC_EPOCH"]
    assert await asyncio.to_thread(run, DOCUMENT, here, environment, disaster.terminal) == 11

    taken = taken_states(here / "snapshot-1")
    assert len(taken) > 900
    applied = {n: part.next_offset for n, part in enumerate(read_manifest(here / "snapshot-1").partitions)}
    for name, (partition, offset, document) in taken.items():
        assert disaster.sent[partition, offset] == (name, document["x"])
    last: dict[str, int] = {}
    for (partition, offset), (name, _) in disaster.sent.items():
        if offset < applied[partition]:
            last[name] = max(last.get(name, 0), offset)
    assert all(taken[name][1] >= offset for name, offset in last.items()), "an event is missing"

    await system.until(lambda: len(system.positions(members())) == len(taken), "all members in Redis again")
    await system.until(lambda: system.redis.exists(system.keys.epoch) == 1, "Redis to be whole")
    compare(system, taken)
    assert {n: split_position(s.position) for n, s in (await system.states()).items()} == {
        name: (0, offset) for name, (_, offset, _) in taken.items()
    }
    # Then go on.
    some = sorted(taken)[:100]
    places = await system.send([Sent(name.encode(), event("patch", patch={"y": 1})) for name in some])
    await system.until(lambda: {p.epoch for p in system.positions(some).values()} == {1}, "the new events")
    states = await system.states()
    assert {name: states[name].document for name in some} == {n: taken[n][2] | {"y": 1} for n in some}
    assert [system.positions([name])[name].offset for name in some] == [place.offset for place in places]
    # What is there isn't overwritten.
    command = [sys.executable, "-m", "memberstream", "state", "restore", str(here / "snapshot-1"), "--yes"]
    again = await asyncio.create_subprocess_exec(*command, env=system.environment(), stderr=asyncio.subprocess.PIPE)
    _, said = await again.communicate()
    assert again.returncode == 1
    assert b"a state that may be newer than the snapshot" in b" ".join(said.split())


async def test_a_lost_changelog_is_made_good_from_the_topic(real_pair: Pair, install: Install, tmp_path: Path) -> None:
    """The changelog is deleted, with the worker and its disk. What the snapshot lacks comes from the topic, under the
    same epoch: no member goes back, and the one deleted after the snapshot stays deleted. About 15 s."""
    system = await install(real_pair, [level()])
    names = [f"m{i}" for i in range(200)]
    await system.send([Sent(name.encode(), event("replace", document={"x": 1})) for name in names])
    system.start()
    await system.applied()
    snapshots = Snapshots(system.settings)
    await snapshots.take(tmp_path / "taken", unwatched)
    await system.send([Sent(name.encode(), event("patch", patch={"x": -1})) for name in names[:100]])
    await system.send([Sent(b"m199", None)])
    await system.applied()
    before = system.positions(names)
    system.kill()
    system.lose_disk()
    admin = AIOKafkaAdminClient(bootstrap_servers=real_pair.broker.bootstrap)
    await admin.start()
    await admin.delete_topics([system.settings.changelog_topic])
    while system.settings.changelog_topic in await admin.list_topics():  # noqa: ASYNC110 - brokers announce nothing
        await asyncio.sleep(0.1)
    await admin.close()
    done = await snapshots.restore(tmp_path / "taken", unwatched)
    assert (done.members, done.epoch, done.is_topic_new) == (200, 0, False)
    await system.send([Sent(b"m150", event("patch", patch={"x": -1}))])
    system.start()
    await system.applied()
    expected = {name: {"x": -1 if i < 100 or i == 150 else 1} for i, name in enumerate(names[:199])}
    assert {name: state.document for name, state in (await system.states()).items()} == expected
    after = system.positions(names)
    assert {name: position.offset for name, position in after.items() if name != "m150"} == {
        name: position.offset for name, position in before.items() if name != "m150"
    }


def members() -> list[str]:
    return [f"m{i}" for i in range(N_MEMBERS)]


def taken_states(directory: Path) -> dict[str, tuple[int, int, Any]]:
    """Return member → partition, offset and document in the snapshot."""
    found = {}
    for number, part in enumerate(read_manifest(directory).partitions):
        for key, value in read_partition(directory, part).items():
            if not key.startswith(b"\0"):
                member = decode(value)
                found[key.decode()] = number, split_position(member.position)[1], member.document
    return found


def compare(system: System, taken: Mapping[str, tuple[int, int, Any]]) -> None:
    """Redis has each member at its position in the snapshot, in the cluster that its document gives."""
    positions = system.positions(list(taken))
    assert {n: (p.epoch, p.partition, p.offset) for n, p in positions.items()} == {
        name: (0, partition, offset) for name, (partition, offset, _) in taken.items()
    }
    for name, (_, _, document) in taken.items():
        assert system.held(name)["level@1"].startswith("2:" if document["x"] > 0 else "1:")
