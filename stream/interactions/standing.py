"""Where members stood at a time: their clusters under any version, read from Redis like any reader.

Laws:
- A member's row says its clusters, since when, and what they were before (models/past.py). A time that it doesn't reach
  is unknown. It is never taken for now.
- A cluster that isn't there yet is never taken for "no cluster". The look-up waits while Redis is away, is being
  filled, or lacks a member's cluster under a version that was just made live.
"""

from __future__ import annotations

from collections.abc import Sequence

from memberstream.models.rules import Stood
from memberstream.stream.lookup import Answer, AsyncLookup, LookupUnavailable
from memberstream.stream.projection.patience import Patience


class Standing:
    """Looks members up, and waits until the answer is reliable."""

    def __init__(self, lookup: AsyncLookup, patience: Patience) -> None:
        self._lookup, self._patience = lookup, patience

    async def of_many(self, member_ids: Sequence[str]) -> list[Stood | None]:
        """Return where each member stood; None: there is no such member, or it was deleted. One round trip."""
        return await self._patience.until_available(lambda: self._look(member_ids))

    async def _look(self, member_ids: Sequence[str]) -> list[Stood | None]:
        found: list[Stood | None] = []
        for answer in await self._lookup.get_many(member_ids):
            if (doubt := answer.doubt) == "rebuilding":
                raise LookupUnavailable(
                    "members are still being written there. Next: wait; if it lasts, see whether `memberstream worker` "
                    "runs and what its /readyz says"
                )
            found.append(None if doubt else _Courses(answer).__getitem__)
        return found


class _Courses(dict[str, Sequence[tuple[int, int]]]):
    """Label of a version → where a member stood under it, read from its row when it is first asked."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __missing__(self, label: str) -> Sequence[tuple[int, int]]:
        course = self[label] = self._answer.course(label)
        return course
