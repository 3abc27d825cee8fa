"""Every member in Redis against a recomputation that shares no code with the worker.

Read by redis-py from the raw hashes (docs/redis.md), computed by stream.demo.oracle from the raw purchases.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import redis

from stream.demo.history import History
from stream.demo.oracle import recompute_all
from stream.keyspace import parse_position

_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class Verification:
    """What Redis holds.

    Attributes:
        members: how many members were looked at.
        wrong: of them, members that are missing or have another cluster than recomputed at their as-of time.
        clusters: model → cluster id → members.
        held: member id → model → cluster id.
    """

    members: int
    wrong: int
    clusters: dict[str, dict[int, int]]
    held: dict[str, dict[str, int]]


def verify(url: str, histories: dict[str, History]) -> Verification:
    """Compare all members under all models."""
    held: dict[str, dict[str, int]] = {}
    as_of: dict[str, int] = {}
    member_ids = list(histories)
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for start in range(0, len(member_ids), _CHUNK):
            part = member_ids[start : start + _CHUNK]
            pipeline = client.pipeline(transaction=False)
            for member_id in part:
                pipeline.hgetall(f"ms:member:{member_id}")
            for member_id, fields in zip(part, pipeline.execute(), strict=True):
                if fields:
                    as_of[member_id] = parse_position(fields.pop("pos").encode()).as_of_ms
                    held[member_id] = {name.split("@")[0]: int(v.split(":")[0]) for name, v in fields.items()}
    expected = recompute_all({member_id: histories[member_id] for member_id in as_of}, as_of)
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
