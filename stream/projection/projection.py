"""What is written to Redis about members and about counts, each put together over one connection."""

from types import TracebackType
from typing import Self

from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.projection.build import Build
from memberstream.stream.projection.calls import Calls, ReadingCalls
from memberstream.stream.projection.counts import Counts
from memberstream.stream.projection.members import Members
from memberstream.stream.projection.partitions import Partitions
from memberstream.stream.projection.readers import Readers
from memberstream.stream.projection.rows import Rows


class Projection:
    """What is written about members. Its parts say what they do; they share `calls`."""

    def __init__(self, url: str, keys: Keys, owner: str = "", timeout_s: float = 5.0) -> None:
        self.calls = Calls(url, keys, owner, timeout_s)
        self.members, self.rows = Members(self.calls), Rows(self.calls)
        self.readers, self.partitions = Readers(self.calls), Partitions(self.calls)
        self.build = Build(self.calls, self.readers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.calls.close()


class Glance:
    """What can be read of a projection, by a user who may only read."""

    def __init__(self, url: str, keys: Keys) -> None:
        self.calls = ReadingCalls(url, keys)
        self.readers, self.partitions = Readers(self.calls), Partitions(self.calls)

    async def aclose(self) -> None:
        """Close the connection. Safe to call twice."""
        await self.calls.close()


class CountProjection:
    """What is written about counts. Its parts say what they do; they share `calls`."""

    def __init__(self, url: str, keys: Keys, owner: str = "") -> None:
        self.calls = Calls(url, keys, owner)
        self.counts, self.readers = Counts(self.calls), Readers(self.calls)
