"""Lists on their way to Redis: rows that are lost, and members that leave meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

from unit.shell import Disk, Process

from models.list_version import ListVersion
from stream.enlisting import Enlisting
from stream.list_rows import SEPARATOR, Chunk, RowsLost
from stream.publication import Current
from stream.writer import Writer


def test_lost_rows_are_told_of_with_their_lists() -> None:
    """The topic was deleted: the error names the lists that are to be uploaded again, those with rows there."""

    async def lost(topic_id: str, partition: int, first: int, end: int) -> AsyncGenerator[Chunk, None]:
        raise RowsLost("partition 0 ends at 0, the list's rows at 5: they are lost. Next: upload the list again")
        yield

    async def progress(done: int, total: int) -> None:
        """Nobody listens."""

    nobody: Any = None
    enlisting = Enlisting(cast(Current, nobody), cast(Writer, nobody), lambda: 1, lost, nobody)
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
