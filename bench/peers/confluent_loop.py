"""A plain confluent-kafka loop: documents in a dict, batches of up to 1,000, one Redis pipeline for each.

Guarantees: none for its state, which is lost with the process; the limit that a loop in Python has without durability.
Form: docs "Python Client" (docs.confluent.io), consume() with asynchronous commits.
"""

import os
import time
from typing import Any

import orjson
import redis
from confluent_kafka import Consumer

from bench.job import change
from bench.peers.redis_batch import write

BATCH = 1_000
WAIT_S = float(os.environ.get("CONSUME_S", "0.1"))  # for more records than one


def main() -> None:
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["BOOTSTRAP"],
            "group.id": os.environ["GROUP"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([os.environ["TOPIC"]])
    documents: dict[str, dict[str, Any]] = {}
    started = False
    while True:
        messages = consumer.consume(BATCH, WAIT_S)
        if not messages:
            continue
        if not started:
            started = True
            print(f"FIRST {time.time_ns()}", flush=True)
        rows = {}
        for message in messages:
            if message.error():
                raise SystemExit(str(message.error()))
            member = (message.key() or b"").decode()
            event = orjson.loads(message.value() or b"")
            documents[member] = document = change(documents.get(member), event)
            at_ms = event.get("at", message.timestamp()[1])  # live events have their record's time only
            rows[member] = (document, f"{message.partition()}:{message.offset()}:{at_ms}")
        write(client, rows)
        consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()
