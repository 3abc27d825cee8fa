"""State that a later version has written in a schema of its own: this one says so and stops, and nobody is told wrong.

(By the rule of docs/upgrades.md that happens only to who goes back further than one version.)
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from chaos.check import check, check_disk
from e2e.definitions import level, recent
from e2e.system import Install, Pair, Sent, System, event

from memberstream.models.member import SCHEMA, NewerState
from memberstream.models.member import decode as decode_state
from memberstream.stream.partition.bookkeeping import APPLIED, SCORED, decode_mark, decode_progress

IDS = [f"m{i}" for i in range(40)]


async def rewrite(system: System, key: bytes, partition: int, value: bytes) -> None:
    """Append a record to the changelog, as another version of the worker would."""
    async with AIOKafkaProducer(bootstrap_servers=system.pair.broker.bootstrap) as producer:
        await producer.send_and_wait(system.settings.changelog_topic, value, key=key, partition=partition)


async def ended(system: System) -> str:
    """Return the last line with which the worker, started now, says why it ends."""
    n = len(system.says())
    system.start()
    async with asyncio.timeout(60):
        while system.pid is not None:  # noqa: ASYNC110 (a process)
            await asyncio.sleep(0.05)
    [*_, last] = [line for line in system.says()[n:].splitlines() if "stopping:" in line]
    return last


async def value_of(system: System, key: bytes, partition: int) -> bytes:
    records: list[Any] = await system.read(system.settings.changelog_topic)
    return bytes([r.value for r in records if r.key == key and r.partition == partition][-1])


@pytest.mark.parametrize("key", [SCORED, b"m7"], ids=["bookkeeping", "a member"])
async def test_state_of_a_newer_version_stops_the_worker_and_changes_nothing(
    real_pair: Pair, install: Install, key: bytes
) -> None:
    """On its disk or on an empty one the worker ends before it has written anything, and names the version to run; that
    one finds all as it was: state, timers, Redis, and the events that waited."""
    system = await install(real_pair, [level(), recent()])
    system.start()
    documents = [event("replace", document={"x": i % 4, "seen": "2026-01-01"}, at=1_767_225_600_000) for i in range(40)]
    places = await system.send([Sent(m.encode(), value) for m, value in zip(IDS, documents, strict=True)])
    await system.applied()
    system.stop()
    partition = next((p.partition for p, m in zip(places, IDS, strict=True) if m.encode() == key), 0)
    before = {m: system.held(m) for m in IDS}
    written_at = (await value_of(system, APPLIED, partition))[1:9]  # where its partition was when it stopped
    was = await value_of(system, key, partition)
    was = was[:1] + written_at + was[9:]
    await rewrite(system, key, partition, bytes([SCHEMA + 1]) + was[1:])
    await system.send([Sent(m.encode(), event("patch", patch={"x": 9})) for m in IDS])
    for keeps_disk in (True, False):
        if not keeps_disk:
            system.lose_disk()
        said = await ended(system)
        assert f"NewerState: {'member state' if key == b'm7' else 'a partition'}" in said
        assert f"in schema {SCHEMA + 1}" in said
        assert "Next: run the version that wrote it" in said
        assert {m: system.held(m) for m in IDS} == before
    await rewrite(system, key, partition, was)  # the newer version's own, which reads what it wrote
    system.lose_disk()
    system.start()
    await system.applied()
    system.stop()
    checked = await check(system)
    assert await check_disk(system, system.settings.data_dir) > checked.living == len(IDS)


def test_a_later_schema_is_known_by_its_number() -> None:
    """The first byte says it, whatever follows: later versions may change everything behind the write position."""
    rest = bytes(8) + b"something else"
    for decode, known in ((decode_state, SCHEMA), (decode_progress, 2), (decode_mark, 2)):
        with pytest.raises(NewerState, match=f"in schema {known + 1}, of a newer memberstream.*Next: run the version"):
            decode(bytes([known + 1]) + rest)
