"""What people did meanwhile, and between which two moments: so what may hold at a time, written from the docs alone.

A step takes effect somewhere between its command's begin and its end, and readers keep a copy of the small keys for a
second at most (docs/redis.md, "Reading"); of campaigns they know within two (docs/campaigns.md). So at each moment one
or two things may hold, and `possible` returns them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from oracle.campaigns import Campaign

T = TypeVar("T")
COPY_MS, CAMPAIGN_COPY_MS = 1_000, 2_000


class Span(NamedTuple):
    """From when to when something was done, ms by the wall clock."""

    began_ms: int
    ended_ms: int


class Listed(NamedTuple):
    """An uploaded list: member → cluster."""

    rows: Mapping[bytes, int]
    upload: Span


@dataclass
class Steps(Generic[T]):
    """What became of one thing, in order; before the first step it was None."""

    done: list[tuple[Span, T]] = field(default_factory=list)

    def add(self, span: Span, value: T) -> None:
        self.done.append((span, value))

    @property
    def last(self) -> T | None:
        return self.done[-1][1] if self.done else None

    def possible(self, asked_ms: int, answered_ms: int, copy_ms: int) -> list[T | None]:
        """What an answer may go by that was asked for and given at these times."""
        values: list[tuple[int, T | None]] = [(0, None), *((span.began_ms, value) for span, value in self.done)]
        ends: Sequence[float] = [*(span.ended_ms for span, _ in self.done), float("inf")]
        return [
            v
            for (began, v), end in zip(values, ends, strict=True)
            if began <= answered_ms and asked_ms <= end + copy_ms
        ]


@dataclass
class Journal:
    """All of it. Versions are named by label, name@version."""

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    lists: dict[str, Listed] = field(default_factory=dict)
    retired: set[str] = field(default_factory=set)
    live: dict[str, Steps[int]] = field(default_factory=dict)
    campaigns: dict[str, Steps[Campaign | None]] = field(default_factory=dict)

    def standing(self) -> dict[str, dict[str, Any]]:
        """The computed versions that are candidates or live."""
        return {label: file for label, file in self.files.items() if label not in self.retired}

    def next_version(self, name: str) -> int:
        taken = [int(label.split("@")[1]) for label in (*self.files, *self.lists) if label.split("@")[0] == name]
        return max(taken, default=0) + 1
