"""A plain aiokafka loop on uvloop: documents in a dict, batches of up to 1,000, one Redis pipeline for each.

Guarantees: none for its state, which is lost with the process.
Form: docs "Consumer client" (aiokafka.readthedocs.io), getmany() with manual commits, here not waited for.
"""

import asyncio
import os
import time
from typing import Any

import orjson
import redis
import uvloop
from aiokafka import AIOKafkaConsumer

from bench.job import change
from bench.peers.redis_batch import write

BATCH = 1_000


async def main() -> None:
    client = redis.Redis.from_url(os.environ["REDIS_URL"])  # local, and waited for at once: asyncio would add cost only
    consumer = AIOKafkaConsumer(
        os.environ["TOPIC"],
        bootstrap_servers=os.environ["BOOTSTRAP"],
        group_id=os.environ["GROUP"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    documents: dict[str, dict[str, Any]] = {}
    started = False
    commit = None
    while True:
        found = await consumer.getmany(timeout_ms=100, max_records=BATCH)
        if found and not started:
            started = True
            print(f"FIRST {time.time_ns()}", flush=True)
        rows = {}
        for records in found.values():
            for record in records:
                member = record.key.decode()
                event = orjson.loads(record.value)
                documents[member] = document = change(documents.get(member), event)
                rows[member] = (document, f"{record.partition}:{record.offset}:{event['at']}")
        if rows:
            write(client, rows)
            if commit is None or commit.done():  # one commit under way at a time; the next one says more
                commit = asyncio.ensure_future(consumer.commit())


if __name__ == "__main__":
    uvloop.run(main())
