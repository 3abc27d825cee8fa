"""Where members stand at this moment, read from Redis as any reader does: their clusters under the live versions.

Law: nothing is taken for "no cluster" that is only not there yet: while Redis is away, being filled, or lacks a
member's cluster under a version just made live, the look-up waits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from models.engagement import Memberships
from models.model import label
from stream.lookup import AsyncLookup, LookupUnavailable, Status
from stream.patience import Patience


class Standing:
    """Looks members up, patiently."""

    def __init__(self, lookup: AsyncLookup, patience: Patience) -> None:
        self._lookup, self._patience = lookup, patience

    async def of_many(self, member_ids: Sequence[str], models: Collection[str]) -> list[Memberships]:
        """Return each member's memberships of those of the models that have a live version, in one round trip."""
        return await self._patience.until_available(lambda: self._look(member_ids, models))

    async def _look(self, member_ids: Sequence[str], models: Collection[str]) -> list[Memberships]:
        found: list[Memberships] = []
        labels: dict[str, str] = {}
        for answer in await self._lookup.get_many(member_ids):
            if answer.status is Status.REBUILDING:
                raise LookupUnavailable(
                    "members are still being written there. Next: wait; if it lasts, see whether `memberstream worker` "
                    "runs and what its /readyz says"
                )
            if not labels:
                labels = {m: label(m, version) for m in models if (version := answer.version(m)) is not None}
            is_there = answer.status is not Status.UNKNOWN  # a tombstone has no clusters
            found.append(
                {m: (name, c) for m, name in labels.items() if (c := answer.cluster(m)) is not None} if is_there else {}
            )
        return found
