"""A partition brought up to the published versions, between the fakes: what a process that is started again repeats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from unit.shell import Disk, Process

from memberstream.models.list_version import ListVersion
from memberstream.stream.lists.rows import Chunk
from memberstream.stream.partition.bookkeeping import Mark, decode_mark, encode_mark
from memberstream.stream.registry.publication import Lists, compile_models


class Reading(Process):
    """A process that notes from where it reads rows of lists."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk, [])
        self.read_from: list[int] = []

    async def _read(self, topic_id: str, partition: int, first: int, end: int) -> AsyncGenerator[Chunk, None]:
        self.read_from.append(first)
        yield Chunk([], first, first)

    async def up_to(self, offset: int, *ended: tuple[int, ListVersion]) -> list[int]:
        """Start with a publication of lists that have ended; returns from where their rows were read."""
        publication = compile_models([], offset, lists=Lists(withdrawn=ended))
        self.current.publication = publication
        await self.ownership.assigned({0: self.disk.committed})
        await self.backfilled()
        return self.read_from


def ended(version: int, first: int) -> ListVersion:
    return ListVersion("buyers", version, "", f"token {version}", 0, (first,))


def test_lists_that_have_ended_are_withdrawn_once() -> None:
    """A process that finds the partition marked with an earlier publication takes up only what ended since; one whose
    models' log was lost, and begins at 0 again, takes up all."""
    disk = Disk()
    one, two = (5, ended(1, 100)), (9, ended(2, 200))
    assert asyncio.run(Reading(disk).up_to(5, one)) == [100]
    assert asyncio.run(Reading(disk).up_to(5, one)) == []
    assert asyncio.run(Reading(disk).up_to(9, one, two)) == [200]
    assert asyncio.run(Reading(disk).up_to(3, (3, ended(1, 7)))) == [7]


@pytest.mark.parametrize(
    ("data", "mark"),
    [
        (None, Mark()),
        (encode_mark(3, 2**64 - 1, 9), Mark(2**64 - 1, 9)),
        (encode_mark(3, 5, 9)[:-8], Mark(5, -1)),
    ],
)
def test_a_mark_reads_as_it_was_written(data: bytes | None, mark: Mark) -> None:
    """Also one of before it held the offset."""
    assert decode_mark(data) == mark
