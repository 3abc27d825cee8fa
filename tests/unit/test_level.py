"""A projection is complete when each partition has once been level with its topic; that is remembered."""

from __future__ import annotations

import asyncio

from unit.shell import Disk, Process
from unit.test_unscored import MODELS, replace

from memberstream.stream.partition.bookkeeping import LEVEL


async def started(disk: Disk, end: int | None) -> Process:
    """Start a worker; `end`: where the topic ends at its first fetch, which comes after the assignment."""
    process = Process(disk, MODELS)
    process.topic.waiting = {}
    await process.ownership.assigned({0: 0})
    process.topic.end = end
    return process


async def handle(process: Process, *offsets: int) -> None:
    await process.pipeline.handle(0, [replace(offset, b"m%d" % offset) for offset in offsets])
    await look(process)


async def look(process: Process) -> None:
    """What happens each second until a partition is complete."""
    await process.background.repair(0)


def test_readers_are_told_rebuilding_until_the_first_load_is_done() -> None:
    """Up to where the topic ended when its partition was assigned; what has come since is an ordinary backlog."""

    async def load() -> None:
        disk = Disk()
        process = await started(disk, end=3)
        assert not disk.epoch
        await handle(process, 0, 1)
        assert not disk.epoch
        process.topic.end = 9
        await process.pipeline.handle(0, [replace(2, b"m2")])
        async with asyncio.timeout(60):
            while not disk.epoch:  # noqa: ASYNC110 (nobody announces it)
                await asyncio.sleep(0)
        assert LEVEL in disk.state()

    asyncio.run(load())


def test_a_load_that_is_interrupted_goes_on() -> None:
    """The next worker goes by where the topic ends then, and writes all that Redis may lack when it is there."""

    async def load() -> None:
        disk = Disk()
        first = await started(disk, end=3)
        await handle(first, 0, 1)
        await first.backfilled()
        disk.redis.clear()
        disk.built.clear()
        process = await started(disk, end=4)
        await handle(process, 2)
        assert not disk.epoch
        await handle(process, 3)
        assert disk.epoch
        assert disk.redis.keys() == {b"m0", b"m1", b"m2", b"m3"}

    asyncio.run(load())


def test_redis_that_is_emptied_during_the_load_is_written_whole() -> None:
    async def load() -> None:
        disk = Disk()
        process = await started(disk, end=3)
        await handle(process, 0, 1)
        disk.redis.clear()
        disk.built.clear()
        await handle(process, 2)
        assert disk.epoch
        assert disk.redis.keys() == {b"m0", b"m1", b"m2"}

    asyncio.run(load())


def test_nobody_waits_twice_or_without_need() -> None:
    """Not with an empty topic, nor where Redis is emptied after the load, nor after an upgrade while Redis is whole."""

    async def load() -> None:
        empty, loaded, upgraded = Disk(), Disk(), Disk(epoch=True)
        process = await started(empty, end=0)
        await look(process)
        assert empty.epoch

        process = await started(loaded, end=1)
        await handle(process, 0)
        await process.backfilled()
        loaded.epoch = False
        await started(loaded, end=1_000)
        assert loaded.epoch

        await started(upgraded, end=1_000)
        assert LEVEL in upgraded.state()

    asyncio.run(load())


def test_it_is_level_when_nothing_can_come() -> None:
    """The end of a topic may be a transaction's marker, which no record ever reaches."""

    async def load() -> None:
        disk = Disk()
        process = await started(disk, end=3)
        await handle(process, 0, 1)
        assert not disk.epoch
        process.topic.waiting = {0: 0}
        await look(process)
        assert disk.epoch

    asyncio.run(load())
