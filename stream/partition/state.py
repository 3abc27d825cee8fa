"""The state of the owned partitions, as the pipeline sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from memberstream.models.member import Move
from memberstream.stream.partition.census import Census

Items = Sequence[tuple[bytes, bytes | None]]  # distinct keys; None deletes
Timers = Sequence[
    tuple[bytes, int, int]
]  # member, when it would have fallen due until now, when it falls due from now on (ms)


class NotOwner(Exception):
    """The partition is another worker's by now, and nothing was written. The rebalance that tells so is under way."""


class StateUnusable(Exception):
    """The disk doesn't take the state, or doesn't give it back. The operator acts. Nothing is acknowledged, so the next
    start reads what is missing from the changelog.
    """


class HalfDone(Exception):
    """A batch is durable, but Redis lacks its counts. The next owner of the partition writes them all.

    So the worker ends: handling the same records again would not write the counts.
    """


class Timer(NamedTuple):
    """A member and when it falls due, ms: the end of its memberships' validity."""

    due_ms: int
    key: bytes


class State(Protocol):
    """Keyed bytes per partition, kept by a changelog.

    Two of them: stream.faust_batch.PartitionState, which says what each method promises, and a dictionary in the tests.

    Attributes:
        largest: bytes of the largest value.
    """

    largest: int

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]: ...
    def written_at(self, partition: int) -> int: ...
    async def publish(self, partition: int, items: Items, written_at: int) -> int: ...
    def write(
        self,
        partition: int,
        items: Items,
        changelog_offset: int,
        written_at: int,
        timers: Timers = (),
        moves: Sequence[Move] = (),
    ) -> None: ...
    async def take_back(self, partition: int) -> None: ...
    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]: ...
    def members(self, partition: int, after: bytes, limit: int) -> list[tuple[bytes, bytes]]: ...
    def approximate_count(self, partition: int) -> int: ...
    def due(self, partition: int, until_ms: int, limit: int, after: Timer | None = None) -> list[Timer]: ...
    def next_due_ms(self, partition: int) -> int: ...
    async def index_timers(self, partition: int) -> None: ...
    def census(self, partition: int) -> Census: ...
    def end_recount(self, partition: int) -> int: ...
