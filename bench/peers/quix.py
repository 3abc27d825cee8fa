"""Quix Streams: state in RocksDB with its changelog, both clusters written to Redis by a batching sink.

Guarantees: at least once; Redis, changelog, offset and RocksDB follow one another at every checkpoint.
Form: docs "Stateful Applications", "Checkpointing" and "Creating a Custom Sink" (quix.io/docs/quix-streams).
"""

import os
import time
from typing import Any

import redis
from quixstreams import Application, State
from quixstreams.sinks import BatchingSink, SinkBatch

from bench.job import change
from bench.peers.redis_batch import write

# A checkpoint every 1,000 events or every 5 s (the default) cost the same CPU; longer ones leave Redis behind.
COMMIT_EVERY, COMMIT_INTERVAL_S = 5_000, 1.0


class Clusters(BatchingSink):
    """Scores the last document of every member in the checkpoint and writes it in one pipeline."""

    def setup(self) -> None:
        self._client = redis.Redis.from_url(os.environ["REDIS_URL"])

    def write(self, batch: SinkBatch) -> None:
        rows = {}
        for item in batch:
            document, at = item.value
            rows[item.key.decode()] = (document, f"{batch.partition}:{item.offset}:{at}")
        write(self._client, rows)


started = False


def apply(event: dict[str, Any], state: State) -> tuple[dict[str, Any], int]:
    """Apply a change to its member's document; return the document and the time of the change."""
    global started
    if not started:
        started = True
        print(f"FIRST {time.time_ns()}", flush=True)
    document = change(state.get("document"), event)
    state.set("document", document)
    return document, event["at"]


def main() -> None:
    app = Application(
        broker_address=os.environ["BOOTSTRAP"],
        consumer_group=os.environ["GROUP"],
        auto_offset_reset="earliest",
        state_dir=os.environ["STATE_DIR"],
        commit_every=COMMIT_EVERY,
        commit_interval=COMMIT_INTERVAL_S,
        processing_guarantee="at-least-once",
    )
    changes = app.dataframe(app.topic(os.environ["TOPIC"], value_deserializer="json", key_deserializer="bytes"))
    changes.apply(apply, stateful=True).sink(Clusters())
    app.run()


if __name__ == "__main__":
    main()
