"""The values of which answers are made."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

#: How far an answer can be relied on. (No StrEnum: a type checker would let any text be compared with it.)
Status = Literal["current", "stale", "rebuilding", "unknown member"]


class Membership(NamedTuple):
    """A member's cluster under a model's live version, since when (ms). `name` is None if the model names none."""

    model: str
    version: int
    cluster: int
    name: str | None
    since_ms: int


class LiveModel(NamedTuple):
    """A model as readers see it: its live version, what its membership follows in a row, its clusters' names."""

    model: str
    version: int
    marker: bytes
    names: Mapping[int, str]


class Visible(NamedTuple):
    """The campaigns that a member sees, and those from which it is held out; ids in order.

    They go by the clusters that are known. `stale`: the last ones. `rebuilding`: those that are there already, so what
    is told is right and something may be missing. `unknown member`: none.
    """

    campaigns: tuple[str, ...]
    held_out: tuple[str, ...]
    status: Status
