"""When a version may be promoted, by what the workers tell of each partition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import cast

import pytest
from authored import defined
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.registry import Version
from memberstream.stream.authoring.coverage import Coverage, check_coverage, coverage_of
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.cli.model.versions import follow
from memberstream.stream.keyspace.formats import Beacon, Behind, Scored, format_behind, parse_behind
from memberstream.stream.projection.partitions import Look, Partitions
from memberstream.stream.registry.refused import PublishError

COUNTS = st.none() | st.integers(0, 2**53)


class Told:
    """What Redis holds of two partitions that are scored; `ages_s`: how old what they tell is."""

    def __init__(self, *behind: Behind) -> None:
        self._behind = dict(enumerate(behind))

    async def scored(self) -> dict[int, Scored]:
        return {0: Scored(5, 0), 1: Scored(5, 0)}

    async def behind(self) -> dict[int, Behind]:
        return self._behind

    async def look(self) -> Look:
        """The beacon of partition 1 stands, as if it were held."""
        now_ms = ago(0)
        return Look(True, 0, {0: Beacon(5, now_ms, now_ms), 1: Beacon(5, ago(40), ago(40))})


def ago(s: float) -> int:
    return int((time.time() - s) * 1000)


def judge(*behind: Behind, type_: str = "logistic") -> str:
    """Return why a version can't be promoted; how far it is, if it can."""
    entry = Version("level", 2, defined("level", 2, type_=type_), 5)
    coverage = asyncio.run(coverage_of(cast(Partitions, Told(*behind)), entry, 2))
    try:
        check_coverage(entry, coverage)
    except PublishError as error:
        return str(error)
    return f"{coverage.events} events, {coverage.members} members, not told of {coverage.untold}"


def test_few_events_may_wait() -> None:
    """Ten thousand, or one for each hundred members. A partition that is held isn't waited for: nothing comes of it."""
    assert judge(Behind(9_999, 10, 0, ago(0)), Behind(1, 10, 0, ago(0))) == "10000 events, 20 members, not told of ()"
    refused = judge(Behind(18_690, 10, 0, ago(0)), Behind(10, 21_000, 0, ago(0)))
    assert refused.startswith("18,700 events wait for the workers, which have 21,010 members so far")
    assert refused.endswith(
        "Next: partition 1 is held until somebody acts: memberstream doctor says what to do; or --force"
    )
    gone = judge(Behind(18_690, 10, 0, ago(0)), Behind(10, 21_000, 0, ago(60)))
    assert gone.endswith("Next: memberstream model wait; or --force")
    assert "18700 events" in judge(Behind(18_690, 2_000_000, 0, ago(0)), Behind(10, 0, 0, ago(0)))


class Waiting:
    """A wait in which a partition is held; in the end somebody has acted."""

    async def wait(self, entry: Version) -> AsyncIterator[Coverage]:
        for _ in range(3):
            yield Coverage(2, (1,), 5, 0, (), 20_000, 9, (), (1,))
        yield Coverage(2, (), 0, 0, (), 0, 9, ())

    async def coverage(self, entry: Version) -> list[object]:
        return []


def test_who_waits_for_a_held_partition_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """`model wait` goes on: the partition may be released while it looks."""
    entry = Version("level", 2, defined("level", 2, {}), 5)
    asyncio.run(follow(cast(Publishing, Waiting()), entry, {}))
    told = capsys.readouterr().err
    assert told == "waiting, but partition 1 is held until somebody acts: memberstream doctor says what to do\n"


def test_members_that_lack_a_version_are_in_the_way() -> None:
    """Counted ones, and those that nobody knows of yet. A list isn't scored."""
    assert judge(Behind(0, 9, 3, ago(0)), Behind(0, 9, 4, ago(0))).startswith("7 members lack a version")
    uncounted = Behind(0, None, None, ago(0)), Behind(0, 9, 4, ago(0))
    assert "members of partition 0 are still being counted" in judge(*uncounted)
    assert judge(*uncounted, type_="list") == "0 events, 9 members, not told of ()"


def test_what_nobody_tells_is_said() -> None:
    """A worker of an older version tells nothing, one that is gone told it long ago: neither is a reason to refuse."""
    assert judge() == "0 events, 0 members, not told of (0, 1)"
    assert judge(Behind(50_000, 9, 9, ago(60)), Behind(None, 9, 0, ago(1))) == "0 events, 9 members, not told of (0, 1)"


@given(st.builds(Behind, COUNTS, COUNTS, COUNTS, st.integers(0, 2**53)))
def test_what_a_partition_is_behind_with_reads_as_it_was_written(behind: Behind) -> None:
    assert parse_behind(format_behind(behind)) == behind
