"""What a member's clusters were before: its last changes, as far back as somebody may still ask.

Interactions come late. The cluster that counts is the one in which the member was shown a campaign, and what it did
then may have moved it since (docs/decisions/0041-counting-by-event-time.md).

Laws:
- Each entry is a cluster and since when. It ended when the next one began, the latest when the member's present one
  did.
- What the entries don't reach isn't known. So dropping one is never wrong.
- A version that doesn't know of them writes the member without them, so they are never behind.
"""

from __future__ import annotations

from memberstream.models.timestamps import DAY_MS

#: Model key → (cluster, since_ms), the latest first.
Past = dict[int, tuple[tuple[int, int], ...]]

#: A cluster that ended earlier is dropped. More than the horizon of interactions that is usual; a longer one needs
#: tokens for what is later than this (docs/interactions.md).
KEPT_MS = 30 * DAY_MS
#: Of one version. All are written with each change of the member, some 16 bytes each.
KEPT = 8


def moved(past: Past, key: int, was: tuple[int, int]) -> Past:
    """Return what the clusters were before, once a version has moved the member out of one. `was`: it, since when."""
    return past | {key: (was, *past.get(key, ()))[:KEPT]}


def kept(past: Past, present: dict[int, tuple[int, int]], now_ms: int) -> Past:
    """Return the entries of versions that are still scored, without those that ended too long ago.

    Args:
        present: model key → (cluster, since_ms) of today.
    """
    found: Past = {}
    for key, entries in past.items():
        if key in present:
            ends_ms = (present[key][1], *[since_ms for _, since_ms in entries])
            if some := tuple([e for e, end_ms in zip(entries, ends_ms, strict=False) if end_ms > now_ms - KEPT_MS]):
                found[key] = some
    return found
