"""How the peers that work in batches write to Redis: members scored together, one pipeline, plain redis-py."""

from typing import Any

import redis

from bench.job import ACTIVITY, STYLE, score_many


def write(client: redis.Redis, rows: dict[str, tuple[dict[str, Any], str]]) -> None:
    """Write both clusters and the position of every member: member → (document, position)."""
    activities, styles = score_many([document for document, _ in rows.values()])
    pipe = client.pipeline(transaction=False)
    for member, activity, style, (_, position) in zip(rows, activities, styles, rows.values(), strict=True):
        key = f"ms:member:{member}"
        pipe.set(key, f"{position}|{ACTIVITY}@1={activity}|{STYLE}@1={style}")
    pipe.execute()
