"""Pathway in its fastest mode: raw bytes in, documents as bytes in a stateful reducer, minibatches without a limit.

Guarantees: none kept on disk here (no persistence); a minibatch merges the updates of one member before they are seen.
Form: docs "Kafka connectors", "Stateful reducers" and "Python output connectors" (pathway.com/developers).
"""

import os
import time
from typing import Any

import orjson
import pathway as pw
import redis

from bench.job import change
from bench.peers.redis_batch import write

COMMIT_MS = 1000  # how long the reader collects before Python sees anything: 100 was slower, the default is 1,500
started = False


@pw.reducers.stateful_many
def document_after(state: bytes | None, rows: list[tuple[list[Any], int]]) -> bytes | None:
    """Apply the minibatch's changes of one member, which come in no order; the state holds [document, position]."""
    global started
    if not started:
        started = True
        # The reader's timer runs from the start: the first record has waited for half a period on average.
        print(f"FIRST {time.time_ns() - COMMIT_MS * 500_000}", flush=True)
    document = orjson.loads(state)[0] if state is not None else None
    for row, _ in sorted(rows):
        event = orjson.loads(row[2])
        document = change(document, event)
    return orjson.dumps([document, f"{row[1]}:{row[0]}:{event['at']}"])


class Clusters:
    """Collects the changed members of a minibatch and writes them when its time is over."""

    def __init__(self) -> None:
        self._client = redis.Redis.from_url(os.environ["REDIS_URL"])
        self._rows: dict[str, tuple[dict[str, Any], str]] = {}

    def change(self, key: pw.Pointer, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            document, position = orjson.loads(row["state"])
            self._rows[row["key"].decode()] = (document, position)

    def time_end(self, time: int) -> None:
        if self._rows:
            write(self._client, self._rows)
            self._rows = {}


def main() -> None:
    settings = {
        "bootstrap.servers": os.environ["BOOTSTRAP"],
        "group.id": os.environ["GROUP"],
        "auto.offset.reset": "earliest",
    }
    changes = pw.io.kafka.read(
        settings,
        os.environ["TOPIC"],
        format="raw",
        autogenerate_key=True,
        with_metadata=True,
        autocommit_duration_ms=COMMIT_MS,
    )
    place = pw.this._metadata
    changes = changes.select(
        pw.this.key, pw.this.data, partition=place["partition"].as_int(), offset=place["offset"].as_int()
    )
    documents = changes.groupby(pw.this.key).reduce(
        pw.this.key, state=document_after(pw.this.offset, pw.this.partition, pw.this.data)
    )
    clusters = Clusters()
    pw.io.subscribe(documents, clusters.change, on_time_end=clusters.time_end)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main()
