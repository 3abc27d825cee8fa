"""Idiomatic Faust: an agent, a table in memory with its changelog, one Redis write per event.

Guarantees: at least once (an event whose processing raises is acknowledged all the same); a table with changelog.
Form: user guide, "Agents" and "Tables - Stateful Streams" (faust-streaming.github.io); orjson does the JSON.
"""

import os
import sys
import time

import faust
import redis.asyncio

from bench.job import ACTIVITY, STYLE, change, score_many

app = faust.App(
    os.environ["GROUP"],
    broker=f"kafka://{os.environ['BOOTSTRAP']}",
    datadir=os.environ["STATE_DIR"],
    store="memory://",
    topic_partitions=4,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
)
changes = app.topic(os.environ["TOPIC"], key_type=bytes, value_serializer="json")
documents = app.Table("documents", key_type=bytes)
client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])


@app.agent(changes)
async def apply(stream: faust.StreamT) -> None:
    """Apply each change to its member's document and write both clusters to Redis."""
    started = False
    async for event in stream.events():
        if not started:
            started = True
            print(f"FIRST {time.time_ns()}", file=sys.__stdout__, flush=True)
        member, message = event.key, event.message
        document = documents[member] = change(documents.get(member), event.value)  # assigned: this logs the change
        activity, style = score_many([document])
        position = f"{message.partition}:{message.offset}:{event.value['at']}"
        row = f"{position}|{ACTIVITY}@1={activity[0]}|{STYLE}@1={style[0]}"
        await client.set(f"ms:member:{member.decode()}", row)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--loglevel", "info", "--without-web"]
    app.main()
