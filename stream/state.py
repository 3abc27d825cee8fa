"""The state of the owned partitions, as the pipeline sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

Items = Sequence[tuple[bytes, bytes | None]]  # distinct keys; None deletes
Timers = Sequence[tuple[bytes, int, int]]  # member, when it would have fallen due so far, when it falls due now (ms)


class NotOwner(Exception):
    """The partition is another worker's by now; nothing was written. The rebalance that says so is under way."""


class Timer(NamedTuple):
    """A member and when it falls due: the end of its memberships' validity, ms."""

    due_ms: int
    key: bytes


class State(Protocol):
    """Keyed bytes per partition, kept by a changelog.

    Two of them: stream.faust_batch.PartitionState, which says what each method promises, and a dictionary in the tests.
    """

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]: ...
    def written_at(self, partition: int) -> int: ...
    async def publish(self, partition: int, items: Items, written_at: int) -> int: ...
    def write(
        self, partition: int, items: Items, changelog_offset: int, written_at: int, timers: Timers = ()
    ) -> None: ...
    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]: ...
    def approximate_count(self, partition: int) -> int: ...
    def due(self, partition: int, until_ms: int, limit: int, after: Timer | None = None) -> list[Timer]: ...
    def next_due_ms(self, partition: int) -> int: ...
    async def index_timers(self, partition: int) -> None: ...
