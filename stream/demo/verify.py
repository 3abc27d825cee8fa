"""Every member in Redis against a recomputation that shares no code with the worker.

redis-py reads the raw rows (docs/redis.md), and stream.demo.oracle computes from the raw purchases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import redis

from memberstream.stream.demo.history import Customer
from memberstream.stream.demo.oracle import MODELS, recompute_all
from memberstream.stream.keyspace.formats import (
    POS,
    Position,
    parse_membership,
    parse_position,
    parse_row,
    split_field,
)
from memberstream.stream.keyspace.keys import Keys

_CHUNK = 1_000
_KEYS = Keys()


@dataclass(frozen=True, slots=True)
class Verification:
    """What Redis holds.

    Attributes:
        members: how many members were looked at.
        wrong: of them, members that are missing or have another cluster than recomputed.
        clusters: model → cluster id → members.
        held: member id → model → cluster id.
    """

    members: int
    wrong: int
    clusters: dict[str, dict[int, int]]
    held: dict[str, dict[str, int]]


def n_due(url: str, member_ids: Sequence[str], at_ms: int) -> int:
    """Return how many members aren't as of a time yet: they are missing, or their validity ended before it."""
    found = _read(url, member_ids)
    ends = [position.valid_until_ms for position, _ in found.values()]
    return len(member_ids) - len(found) + sum(end is not None and end <= at_ms for end in ends)


def verify(
    url: str, histories: dict[str, Customer], at_ms: int | None = None, models: Sequence[str] = MODELS
) -> Verification:
    """Compare all members under all models.

    Args:
        at_ms: as of when they are recomputed; None: each as of its own last scoring.
    """
    member_ids = list(histories)
    found = _read(url, member_ids)
    held = {member_id: clusters for member_id, (_, clusters) in found.items()}
    as_of = {member_id: position.as_of_ms if at_ms is None else at_ms for member_id, (position, _) in found.items()}
    expected = recompute_all(histories, as_of, models)
    wrong = sum(held.get(member_id) != expected.get(member_id, {}) for member_id in member_ids)
    clusters: dict[str, Counter[int]] = {}
    for memberships in held.values():
        for model, cluster in memberships.items():
            clusters.setdefault(model, Counter())[cluster] += 1
    return Verification(
        len(member_ids),
        wrong,
        {model: dict(sorted(counts.items())) for model, counts in sorted(clusters.items())},
        held,
    )


def _read(url: str, member_ids: Sequence[str]) -> dict[str, tuple[Position, dict[str, int]]]:
    """Return the position and the clusters of the members that are there."""
    found: dict[str, tuple[Position, dict[str, int]]] = {}
    with redis.Redis.from_url(url) as client:
        for start in range(0, len(member_ids), _CHUNK):
            part = member_ids[start : start + _CHUNK]
            rows = client.mget([_KEYS.member(member_id.encode()) for member_id in part])
            for member_id, fields in zip(part, map(parse_row, rows), strict=True):
                if fields:
                    position = parse_position(fields.pop(POS))
                    clusters = {split_field(field)[0]: parse_membership(held)[0] for field, held in fields.items()}
                    found[member_id] = position, clusters
    return found
