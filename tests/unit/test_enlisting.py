"""Lists on their way to Redis: rows that are lost, and members that leave meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

from unit.shell import Disk, Process
from unit.test_unscored import replace

from memberstream.models.list_version import ListVersion
from memberstream.stream.keyspace.formats import Announcement, membership_field
from memberstream.stream.lists.enlisting import Enlisting
from memberstream.stream.lists.rows import SEPARATOR, Chunk, RowsLost
from memberstream.stream.projection.writer import Writer
from memberstream.stream.registry.publication import Current, Lists, compile_models

GONE = 4  # of `replace`: the member is deleted


def test_lost_rows_are_told_of_with_their_lists() -> None:
    """The topic was deleted: the error names the lists that are to be uploaded again, those with rows there."""

    async def lost(topic_id: str, partition: int, first: int, end: int) -> AsyncGenerator[Chunk, None]:
        raise RowsLost("partition 0 ends at 0, the list's rows at 5: they are lost. Next: upload the list again")
        yield

    async def progress(done: int, total: int) -> None:
        """Nobody listens."""

    nobody: Any = None
    enlisting = Enlisting(cast(Current, nobody), cast(Writer, nobody), lambda: 1, nobody, lost, nobody)
    lists = [ListVersion("buyers", n, "", "token", 0, first=(2,), end=(end,)) for n, end in ((1, 2), (2, 5), (3, 4))]
    told = asyncio.run(enlisting.enlist(0, lists, progress))
    assert told.keys() == {"buyers@2", "buyers@3"}
    assert all("partition 0 ends at 0" in why and "Next: upload the list again" in why for why in told.values())


def test_rows_are_written_before_it_is_asked_what_came_meanwhile() -> None:
    """A member deleted and back in one batch, while its row is on its way to Redis, leaves no tombstone: the withdrawal
    that is read after the row takes the field away."""
    listed = ListVersion("buyers", 1, "", "token", 7, first=(0,), end=(1,))
    disk, key = Disk(), listed.prefix + SEPARATOR + b"m"
    fields = []

    async def reading(topic_id: str, partition: int, first: int, end: int) -> AsyncGenerator[Chunk, None]:
        yield Chunk([(key, b"2")], 1, 1)
        yield Chunk([], 1, 1)
        fields.append(dict(disk.redis[b"m"].memberships or {}))
        yield Chunk([(key, None)], 2, 2)
        yield Chunk([], 2, 2)
        fields.append(dict(disk.redis[b"m"].memberships or {}))

    process = Process(disk, [])
    process.pipeline._enlisting._read = reading

    async def progress(done: int, total: int) -> None:
        """Nobody listens."""

    assert asyncio.run(process.pipeline._enlisting.enlist(0, [listed], progress)) == {}
    assert fields == [{b"buyers@1": (2, 7)}, {}]


def test_a_member_deleted_by_a_worker_that_has_not_heard_of_an_upload_leaves_it_all_the_same() -> None:
    """The upload is announced, a row of the member written; the worker goes by the steps before. The delete waits for
    it, and takes no lock from the new publication. So the member, back at once, isn't on the list that is published."""
    listed = ListVersion("buyers", 2, "", "token", 7, first=(0,), end=(1,))
    key, field = listed.prefix + SEPARATOR + b"m", membership_field("buyers", 2)
    uploading = compile_models([], 5, lists=Lists(uploading=(listed,)))
    published = compile_models([], 6, lists=Lists(published=((6, listed),)))

    async def deleted() -> Disk:
        disk = Disk()
        process = Process(disk, [])
        await process.run([[replace(0, b"m")]])
        await process.backfilled()
        disk.known, disk.rows = 5, [(key, b"2")]
        batch = asyncio.create_task(process.pipeline.handle(0, [replace(1, b"m", GONE), replace(2, b"m")]))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not batch.done()
        assert disk.rows == [(key, b"2")]
        await process.ownership.adopt(uploading, Announcement(5, (), {}))
        await batch
        assert disk.rows == [(key, b"2"), (key, None)]
        await process.ownership.adopt(published, Announcement(6, (), {}))
        await process.backfilled()
        return disk

    found = asyncio.run(deleted()).redis[b"m"].memberships
    assert found is not None
    assert field not in found


def test_who_deletes_nobody_asks_nothing() -> None:
    """What readers know is asked at an assignment and where somebody is deleted, not for each batch."""

    async def handled() -> None:
        process = Process(Disk(), [])
        await process.run([[replace(0, b"m")]])
        process.disk.known = 5  # who asked would wait
        await process.pipeline.handle(0, [replace(1, b"m"), replace(2, b"n")])

    asyncio.run(handled())
