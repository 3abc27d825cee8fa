"""The state of the owned partitions, as the pipeline sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol


class State(Protocol):
    """Keyed bytes per partition, kept by a changelog.

    Two of them: stream.faust_batch.PartitionState, which says what each method promises, and a dictionary in the tests.
    """

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]: ...
    async def publish(self, partition: int, items: Sequence[tuple[bytes, bytes | None]]) -> int: ...
    def write(self, partition: int, items: Sequence[tuple[bytes, bytes | None]], changelog_offset: int) -> None: ...
    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]: ...
